//! The Raft of the demo cluster: its types, its log and its state machine.

#[path = "../../../../demo/src/cluster/log.rs"]
pub mod log;
#[path = "../../../../demo/src/cluster/machine.rs"]
pub mod machine;
#[path = "../../../../demo/src/cluster/network.rs"]
pub mod network;
#[path = "../../../../demo/src/cluster/store.rs"]
pub mod store;
#[path = "../../../../demo/src/cluster/transfer.rs"]
pub mod transfer;
#[path = "../../../../demo/src/cluster/types.rs"]
mod types;

pub use types::{Node, NodeId, Raft, Reply, Request, TypeConfig};
