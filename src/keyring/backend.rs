//! What a server's gossip has to be able to do.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{GossipKey, RingReport};
use crate::error::OperatorError;
use crate::name::{NodeName, SegmentName};

/// A gossip pool. Each has a ring of its own on every member.
///
/// The order is the order of a listing: WAN, LAN, then segments by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pool {
    /// The pool of all servers of all datacenters.
    Wan,
    /// The pool of all nodes of one datacenter.
    Lan,
    /// A part of a datacenter that gossips by itself.
    Segment(SegmentName),
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pool::Wan => f.write_str("WAN"),
            Pool::Lan => f.write_str("LAN"),
            Pool::Segment(name) => write!(f, "segment {name}"),
        }
    }
}

/// Through how many other nodes each answer is sent a second time, as in Serf:
/// 0 to 5.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct RelayFactor(u8);

impl RelayFactor {
    /// The largest factor.
    pub const MAX: RelayFactor = RelayFactor(5);

    /// The factor as a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// A relay factor above 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("relay factor must be in range: [0, 5]")]
pub struct InvalidRelayFactor;

impl TryFrom<u8> for RelayFactor {
    type Error = InvalidRelayFactor;

    fn try_from(factor: u8) -> Result<Self, InvalidRelayFactor> {
        if factor <= RelayFactor::MAX.0 {
            Ok(RelayFactor(factor))
        } else {
            Err(InvalidRelayFactor)
        }
    }
}

impl From<RelayFactor> for u8 {
    fn from(factor: RelayFactor) -> u8 {
        factor.0
    }
}

/// The keyring of one gossip pool: asks every node of the pool and merges what
/// they answer.
///
/// # Contract
/// - A method asks every node that is a member and not known to be dead, and
///   counts exactly those in [`RingReport::nodes`].
/// - A node that fails, and one that stays silent, is told in the report. An
///   `Err` is for a pool that could not be asked at all.
/// - Each node keeps memberlist's rules, as [`Keyring`](super::Keyring) does.
/// - A method may take its time: the service puts a deadline on it and then
///   drops the future. Dropping it must leave every node's ring whole; which
///   nodes have changed is then unknown, and each method can be called again.
/// - No text in an answer contains a key.
#[async_trait]
pub trait KeyringBackend: Send + Sync {
    /// Which pool this is. Always the same one.
    fn pool(&self) -> Pool;

    /// Which keys are on how many nodes.
    ///
    /// # Errors
    /// The pool could not be asked.
    async fn list(&self, relay: RelayFactor) -> Result<RingReport, OperatorError>;

    /// Adds a key to every node's ring. A node that has it succeeds.
    ///
    /// # Errors
    /// The pool could not be asked.
    async fn install(
        &self,
        key: &GossipKey,
        relay: RelayFactor,
    ) -> Result<RingReport, OperatorError>;

    /// Makes an installed key every node's primary. A node that does not have
    /// it fails with [`NodeFailure::KeyNotInstalled`](super::NodeFailure).
    ///
    /// # Errors
    /// The pool could not be asked.
    async fn use_key(
        &self,
        key: &GossipKey,
        relay: RelayFactor,
    ) -> Result<RingReport, OperatorError>;

    /// Removes a key from every node's ring. A node that does not have it
    /// succeeds; one whose primary it is fails with
    /// [`NodeFailure::PrimaryKey`](super::NodeFailure).
    ///
    /// # Errors
    /// The pool could not be asked.
    async fn remove(
        &self,
        key: &GossipKey,
        relay: RelayFactor,
    ) -> Result<RingReport, OperatorError>;

    /// The names of the nodes that the other methods would ask, at this moment.
    /// Only the Consul dialects use it, to say of a malformed key what each
    /// node would have said.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) by default.
    fn members(&self) -> Result<Vec<NodeName>, OperatorError> {
        Err(OperatorError::unsupported(
            "listing the members of a gossip pool",
        ))
    }
}
