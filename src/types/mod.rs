//! The values that all other modules share. This module imports nothing from the
//! rest of the crate.

mod access;
mod gossip;
mod key;
mod name;
mod raft;
mod removal;

pub use access::{Access, AccessorId, DefaultPolicy, Identity, Resource};
pub use gossip::{
    InvalidRelayFactor, KeyCounts, NodeFailure, NodeMessage, Pool, RelayFactor, RingFailure,
    RingReport,
};
pub use key::{GossipKey, InvalidKey, exposed};
pub use name::{DatacenterName, NodeName, ProtocolVersion, SegmentName, ServerAddress, ServerId};
pub use raft::{
    ConfigVersion, Consistency, InvalidConfigVersion, LeaderHint, LogPosition, PeerSelector,
    Suffrage,
};
pub use removal::{QuorumGuard, RemovalPlan, RemovalVerdict, VoterCount};

pub(crate) use name::{TEXT_LIMIT, cut_name, cut_text};
pub(crate) use removal::{count, majority, margin};
