//! Consul's operator endpoints for any Rust server.

pub mod acl;
pub mod autopilot;
mod error;
#[cfg(feature = "http")]
pub mod http;
pub mod keyring;
#[cfg(feature = "mock")]
pub mod mock;
mod name;
mod peers;
pub mod raft;
mod reply;
mod request;
mod service;
mod time;
#[cfg(feature = "tokio")]
mod tokio;
pub mod wire;

pub use acl::{
    Access, AccessorId, AclAuthorizer, AclError, AllowAll, DefaultPolicy, Resource, Token,
};
pub use autopilot::{
    AutopilotBackend, AutopilotConfiguration, AutopilotServer, AutopilotState, RaftRole,
};
pub use error::{ErrorKind, OperatorError, Outcome};
pub use keyring::{
    GossipKey, InvalidKey, KeyringBackend, NodeFailure, NodeMessage, Pool, RelayFactor, RingReport,
};
pub use name::{DatacenterName, NodeName, SegmentName, ServerAddress, ServerId};
pub use peers::{Peers, Target};
pub use raft::{
    Consistency, LeaderHint, Leadership, PeerSelector, QuorumGuard, RaftBackend, RaftConfiguration,
    RaftServer, Suffrage,
};
pub use reply::{KeyringReply, OperatorReply, RingOutcome};
pub use request::{
    KeyFault, KeyringAction, KeyringScope, KeyringWrite, Operation, OperatorRequest,
};
pub use service::{BuildError, Caller, OperatorService, OperatorServiceBuilder};
pub use time::{Sleep, Timer};
#[cfg(feature = "tokio")]
pub use tokio::TokioTimer;
