#![doc = include_str!("../README.md")]

mod backend;
mod node;

pub use backend::RaftRsBackend;
pub use node::{Configuration, Node, NodeConfig, NodeState, Progress, Transport};
