//! The settings of a server, and the errors of its start.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use cluster_operator::GossipKey;
use cluster_operator::peer_http::SharedSecret;

use super::gossip::Pool;
use super::types::NodeId;
use crate::serving::Limits;

/// The settings of a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name, unique in the datacenter.
    pub name: String,
    /// Its number in Raft.
    pub id: NodeId,
    /// Its ID in the operator endpoints; `None` for the number.
    pub operator_id: Option<String>,
    /// Its datacenter.
    pub datacenter: String,
    /// The address of the machine, one of 127.0.0.0/8 in the examples.
    pub ip: IpAddr,
    /// The ports of Raft and gossip.
    pub ports: Ports,
    /// The address of the program's HTTP listener, which is opened before the server
    /// starts, because other servers learn the address.
    pub http: SocketAddr,
    /// The data folder; `None` keeps the data in memory.
    pub data: Option<PathBuf>,
    /// The gossip key of both pools, until it is rotated.
    pub key: GossipKey,
    /// The secret of the calls between servers, the same on all of them.
    pub secret: SharedSecret,
    /// The limits of the listener for the calls between servers.
    pub limits: Limits,
}

/// The ports of a server. 0, the default, selects a free port. Use it only for a server
/// in memory: a restarted server must have the same ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports {
    /// Raft's calls, TCP.
    pub raft: u16,
    /// The LAN pool, TCP and UDP.
    pub lan: u16,
    /// The WAN pool, TCP and UDP.
    pub wan: u16,
}

/// The reason why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("the data folder cannot be used: check that no other server has it open")]
    Data(#[source] io::Error),
    /// The listener for Raft cannot be opened.
    #[error("cannot listen on {address} for Raft")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// A gossip agent did not start.
    #[error("the {pool:?} gossip on {address} did not start")]
    Gossip {
        /// The pool.
        pool: Pool,
        /// Its address.
        address: SocketAddr,
        /// The agent's error.
        source: io::Error,
    },
    /// Raft did not start.
    #[error("Raft did not start")]
    Raft(#[source] io::Error),
}
