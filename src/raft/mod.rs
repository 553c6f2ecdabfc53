//! The Raft configuration, the removal of servers, and leadership transfer.

mod backend;
mod configuration;
mod guard;
mod view;

pub use backend::RaftBackend;
pub use configuration::{RaftConfiguration, RaftServer};
pub use guard::QuorumGuard;
pub use view::{
    Leadership, Membership, PendingChange, Proof, RaftMember, RaftView, Removal, ServerStatus,
};

pub use crate::types::{
    ConfigVersion, Consistency, LeaderHint, LogPosition, PeerSelector, Suffrage,
};

pub(crate) use guard::{selected, transfer_target};
