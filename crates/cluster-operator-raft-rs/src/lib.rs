//! A [`RaftBackend`](cluster_operator::RaftBackend) over raft-rs, the `raft` crate 0.7.
//!
//! It proves that the trait fits a Raft in the manner of etcd, and shows how. The
//! suite runs on it with no check skipped. It is not published: [`Node`] keeps its
//! log in memory, never compacts it, and trusts its [`Transport`], since raft-rs
//! panics on messages that no server sends.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//!
//! use cluster_operator::{Leadership, RaftBackend};
//! use cluster_operator_raft_rs::{Node, NodeConfig, RaftRsBackend, Transport};
//! use raft::eraftpb::Message;
//!
//! struct Nowhere;
//!
//! impl Transport for Nowhere {
//!     fn send(&self, _: Message) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = NodeConfig {
//!     id: 1,
//!     voters: vec![1],
//!     learners: vec![],
//!     addresses: BTreeMap::from([(1, "10.0.0.1:8300".into())]),
//!     tick: Duration::from_millis(5),
//! };
//! let node = Node::start(config, Nowhere, |write| println!("{write:?}"))?;
//! node.state().wait_for(|state| state.leads()).await?;
//! let backend = RaftRsBackend::new(node);
//! assert_eq!(backend.view().await?.leadership, Leadership::Local);
//! # Ok(())
//! # }
//! ```
//!
//! The recipe for such a Raft is in the guide to embedding, `docs/embedding.md`.

mod backend;
mod node;

pub use backend::RaftRsBackend;
pub use node::{Configuration, Node, NodeConfig, NodeState, Progress, Transport};
