//! The Raft configuration, the removal of servers from it, and the transfer of the
//! lead.

mod backend;
mod configuration;
mod guard;
mod view;

pub use backend::RaftBackend;
pub use configuration::{Consistency, PeerSelector, RaftConfiguration, RaftServer, Suffrage};
pub use guard::QuorumGuard;
pub use view::{
    ConfigVersion, LeaderHint, Leadership, LogPosition, Membership, PendingChange, Proof,
    RaftMember, RaftView, Removal, ServerStatus,
};

pub(crate) use guard::{selected, transfer_target};
