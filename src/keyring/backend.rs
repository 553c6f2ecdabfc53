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
/// `conformance::keyring_backend` holds a backend to it; in parentheses are the
/// names of its checks.
/// - A method asks every node that is a member and not known to be dead, and
///   counts exactly those in [`RingReport::nodes`]
///   (`every_node_of_the_pool_is_counted`, `a_dead_node_is_not_counted`),
///   whichever node it is called on and whatever the relay factor
///   (`it_does_not_matter_which_node_lists`,
///   `a_change_can_be_asked_of_any_node`,
///   `a_listing_is_the_same_with_every_relay_factor`,
///   `a_change_counts_once_with_every_relay_factor`).
/// - A node that fails is told in the report by its name
///   (`who_fails_is_told_by_name`, `without_encryption_every_node_says_so`), and
///   one that stays silent by its absence
///   (`a_stopped_node_is_silent_or_not_counted`). Neither hides what the others
///   have done (`who_lacks_the_key_to_use_fails_alone`,
///   `the_others_change_while_a_node_is_down`). An `Err` is for a pool that could
///   not be asked at all (`a_stopped_node_can_ask_nobody`).
/// - A listing counts what the rings hold
///   (`a_listing_counts_each_key_on_every_node`,
///   `a_node_with_another_primary_is_seen`, `the_nodes_hold_what_is_listed`). Either
///   every listing tells primaries or none
///   (`use_moves_the_primary_of_every_node`). Keys that do not fit into a node's
///   answer are told as [`Truncated`](super::NodeMessage::Truncated)
///   (`many_keys_are_counted_or_told_to_be_cut`).
/// - Each node keeps memberlist's rules, as [`Keyring`](super::Keyring) does
///   (`installing_again_succeeds_and_changes_nothing`, `use_keeps_all_keys`,
///   `a_key_that_is_not_installed_cannot_be_used`,
///   `removing_an_absent_key_succeeds_and_changes_nothing`,
///   `the_primary_cannot_be_removed`, `keys_of_all_sizes_are_taken`), also where
///   calls meet (`installs_of_several_keys_at_once_add_all`,
///   `uses_of_two_keys_at_once_leave_every_ring_whole`,
///   `a_key_is_not_used_and_removed_at_once`).
/// - A method may take its time: the service puts a deadline on it and then
///   drops the future. Dropping it must leave every node's ring whole; which
///   nodes have changed is then unknown, and each method can be called again
///   (`a_dropped_install_leaves_every_ring_whole`,
///   `a_dropped_use_leaves_every_ring_whole`,
///   `a_dropped_removal_leaves_every_ring_whole`,
///   `a_dropped_listing_leaves_the_next_one_alone`).
/// - No text in an answer contains a key, or eight bytes of one in a row, however
///   they are written (`no_key_is_in_a_report`, `no_key_is_in_an_error`).
#[async_trait]
pub trait KeyringBackend: Send + Sync {
    /// Which pool this is. Always the same one (`the_pool_is_always_the_same`).
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
    /// node would have said (`the_members_are_the_nodes`,
    /// `a_dead_node_is_no_member`).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) by default.
    fn members(&self) -> Result<Vec<NodeName>, OperatorError> {
        Err(OperatorError::unsupported(
            "listing the members of a gossip pool",
        ))
    }
}
