//! The Raft configuration, the removal, replacement and promotion of servers, and
//! leadership transfer.

mod backend;
mod change;
mod configuration;
mod plan;
mod selection;
mod view;

pub use backend::RaftBackend;
pub use change::{Change, ChangeKind, Proof};
pub use configuration::{RaftConfiguration, RaftServer};
pub use view::{Leadership, Membership, PendingChange, RaftMember, RaftView, ServerStatus};

pub use crate::types::{
    ConfigVersion, Consistency, InvalidConfigVersion, LeaderHint, LogPosition, PeerSelector,
    QuorumGuard, RemovalPlan, RemovalVerdict, Suffrage, VoterCount,
};

pub(crate) use selection::{check_replacement, selected, transfer_target};
