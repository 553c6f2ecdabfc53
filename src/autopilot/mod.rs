//! Autopilot: the rules by which dead servers are cleaned up and new ones get
//! to vote, and the health of the servers.

mod backend;
mod configuration;

pub use backend::AutopilotBackend;
pub use configuration::{AutopilotConfiguration, AutopilotServer, AutopilotState, RaftRole};
