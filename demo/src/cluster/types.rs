//! The types that Raft replicates.

use std::fmt;
use std::io::Cursor;
use std::net::SocketAddr;

use cluster_operator::autopilot::AutopilotChange;
use serde::{Deserialize, Serialize};

/// A server's number in Raft. It belongs to one server and one data folder forever: a
/// new server, or one that lost its disk, takes a new number.
pub type NodeId = u64;

/// The Raft of these examples.
pub type Raft = openraft::Raft<TypeConfig>;

openraft::declare_raft_types!(
    /// The type configuration of openraft.
    pub TypeConfig:
        D = Request,
        R = Reply,
        NodeId = NodeId,
        Node = Node,
);

/// A server in the Raft configuration. It is replicated, so every server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The server's name.
    pub name: String,
    /// The address for Raft's calls.
    pub raft: SocketAddr,
    /// The address of the HTTP API, which includes the operator endpoints.
    pub http: SocketAddr,
    /// The server's ID in the operator endpoints, unless it is the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_id: Option<String>,
}

impl Node {
    /// Returns the ID in the operator endpoints of the server with this number.
    pub fn operator_id(&self, number: NodeId) -> String {
        let chosen = self.operator_id.clone();
        chosen.unwrap_or_else(|| number.to_string())
    }
}

// openraft requires it, because a configuration can contain a server without a `Node`.
impl Default for Node {
    fn default() -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            name: String::new(),
            raft: nowhere,
            http: nowhere,
            operator_id: None,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.raft)
    }
}

/// A change to the replicated state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Changes nothing. Before a server is removed, the voters that stay write such an
    /// entry as a proof that they are alive.
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
    /// Replaces the configuration of autopilot.
    SetAutopilot(AutopilotChange),
}

/// The reply to a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// There is nothing to tell.
    #[default]
    Done,
    /// The previous value of a key.
    Previous(Option<String>),
    /// True if the configuration of autopilot was replaced.
    AutopilotSet(bool),
}
