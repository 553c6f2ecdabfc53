//! Autopilot: its configuration, which controls how dead servers are removed and new
//! servers become voters, the health of the servers, and the decision about what to change.

mod backend;
mod configuration;
mod decide;
mod detector;
mod health;
mod report;
mod state;

pub use backend::AutopilotBackend;
pub use configuration::{
    AutopilotChange, AutopilotConfiguration, AutopilotSetting, DriverChange, ValueChange,
};
pub use decide::{
    Action, Decision, Failure, InvalidSettings, Memory, Reason, Refusal, Settings, Snapshot, decide,
};
pub use detector::{Detected, Detection, FailureDetector};
pub use health::HealthTracker;
pub use report::{
    ActionKind, ActionResult, AutopilotReport, Blocked, ReportedAction, ReportedServer,
};
pub(crate) use state::limited;
pub use state::{AutopilotServer, AutopilotState, RaftRole, ServerHealth};
