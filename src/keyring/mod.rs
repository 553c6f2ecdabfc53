//! Gossip encryption keys: the key, one node's ring, and a pool's answer.

mod answers;
mod backend;
pub mod exposed;
mod key;
mod report;
mod ring;

pub use answers::{Answers, NodeKeys};
pub use backend::{GossipQuery, InvalidRelayFactor, KeyChange, KeyringBackend, Pool, RelayFactor};
pub use key::{GossipKey, InvalidKey};
pub use report::{KeyCounts, NodeFailure, NodeMessage, RingFault, RingReport};
pub use ring::Keyring;
