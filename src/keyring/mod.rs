//! Gossip encryption keys, the keyring of a node, and the backend of a gossip pool.

mod answers;
mod backend;
mod ring;

pub use answers::{Answers, NodeKeys};
pub use backend::{GossipQuery, KeyChange, KeyringBackend};
pub use ring::Keyring;

pub use crate::types::{
    GossipKey, InvalidKey, InvalidRelayFactor, KeyCounts, NodeFailure, NodeMessage, Pool,
    RelayFactor, RingFailure, RingReport, exposed,
};
