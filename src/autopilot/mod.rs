//! Autopilot: its configuration, which controls how dead servers are removed and new
//! servers become voters, and the health of the servers.

mod backend;
mod configuration;
mod health;
mod state;

pub use backend::AutopilotBackend;
pub use configuration::{AutopilotChange, AutopilotConfiguration, AutopilotSetting};
pub use health::HealthTracker;
pub use state::{AutopilotServer, AutopilotState, RaftRole};
