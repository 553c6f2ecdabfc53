//! What Raft replicates, and how it names a server.

use std::fmt;
use std::io::Cursor;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A server's number in Raft. It belongs to one server and one data folder for
/// ever: a new server, or one that lost its disk, takes a new number.
pub type NodeId = u64;

/// The Raft of these examples.
pub type Raft = openraft::Raft<TypeConfig>;

openraft::declare_raft_types!(
    /// The types that openraft is put together with.
    pub TypeConfig:
        D = Request,
        R = Reply,
        NodeId = NodeId,
        Node = Node,
);

/// What the Raft configuration holds of a server. It is replicated, and so known
/// to every server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The name, as operators know it.
    pub name: String,
    /// Where it takes Raft's calls.
    pub raft: SocketAddr,
    /// Where it serves its HTTP API, that of the operator among it.
    pub http: SocketAddr,
}

// openraft asks for it: a configuration may name a server that it has no `Node` of.
impl Default for Node {
    fn default() -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            name: String::new(),
            raft: nowhere,
            http: nowhere,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.raft)
    }
}

/// A change to the replicated table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Changes nothing. A server is removed only after the voters that stay have
    /// written such an entry.
    Noop,
    /// Sets a key.
    Set {
        /// The key.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Removes a key, if it is there.
    Remove {
        /// The key.
        key: String,
    },
}

/// What a change answers: the value before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply(pub Option<String>);
