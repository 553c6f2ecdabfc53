//! How a server is started, and why it may not be.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use cluster_operator::GossipKey;

use super::gossip::Pool;
use super::types::NodeId;

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name, which no other server of the datacenter has.
    pub name: String,
    /// Its number in Raft.
    pub id: NodeId,
    /// Its datacenter.
    pub datacenter: String,
    /// The address of the machine, one of 127.0.0.0/8 in the examples.
    pub ip: IpAddr,
    /// The ports of Raft and gossip.
    pub ports: Ports,
    /// Where the program serves HTTP. It listens before it starts the server, as
    /// the others get to know the address.
    pub http: SocketAddr,
    /// The folder for what outlives the process; none keeps it in memory.
    pub data: Option<PathBuf>,
    /// The gossip key of both pools, until it is rotated.
    pub key: GossipKey,
}

/// The ports of a server. 0, the default, takes a free one: for a server in
/// memory, as the others look for a restarted one where it was.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    /// Raft's calls, TCP.
    pub raft: u16,
    /// The LAN pool, TCP and UDP.
    pub lan: u16,
    /// The WAN pool, TCP and UDP.
    pub wan: u16,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("the data folder cannot be used; does another server have it open?")]
    Data(#[source] io::Error),
    /// Raft's address cannot be listened on.
    #[error("cannot listen on {address} for Raft")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A gossip agent did not start.
    #[error("the {pool:?} gossip on {address} did not start")]
    Gossip {
        /// The pool.
        pool: Pool,
        /// Where it was to listen.
        address: SocketAddr,
        /// What the agent says.
        source: io::Error,
    },
    /// Raft did not start.
    #[error("Raft did not start")]
    Raft(#[source] io::Error),
}
