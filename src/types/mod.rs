//! Values that everything else is made of. They import nothing of this crate.

mod access;
pub mod exposed;
mod gossip;
mod key;
mod name;
mod raft;
mod report;
pub mod text;

pub use access::{Access, AccessorId, DefaultPolicy, Identity, Resource};
pub use gossip::{InvalidRelayFactor, Pool, RelayFactor};
pub use key::{GossipKey, InvalidKey};
pub use name::{DatacenterName, NodeName, ProtocolVersion, SegmentName, ServerAddress, ServerId};
pub use raft::{ConfigVersion, Consistency, LeaderHint, LogPosition, PeerSelector, Suffrage};
pub use report::{KeyCounts, NodeFailure, NodeMessage, RingFault, RingReport};
