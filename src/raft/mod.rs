//! The Raft configuration and the removal of servers from it.

mod backend;
mod configuration;
pub(crate) mod removal;

pub use backend::{LeaderHint, Leadership, RaftBackend};
pub use configuration::{Consistency, PeerSelector, RaftConfiguration, RaftServer, Suffrage};
pub use removal::QuorumGuard;
