//! A Raft backend over raft-rs.

mod backend;
mod node;

pub use backend::RaftRsBackend;
pub use node::{Configuration, Node, NodeConfig, NodeState, Progress, Transport};
