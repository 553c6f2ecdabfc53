//! The trait that a server's gossip implements.

use std::sync::Arc;
use std::time::Duration;

use super::{Answers, GossipKey};
use crate::error::OperatorError;
use crate::types::{Pool, RelayFactor};
use async_trait::async_trait;

/// A change to every node's ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// Adds a key. A node that has it succeeds.
    Install(GossipKey),
    /// Makes an installed key the primary. A node that does not have it fails with
    /// [`KeyNotInstalled`](super::NodeFailure::KeyNotInstalled).
    Use(GossipKey),
    /// Removes a key. A node that does not have it succeeds; one whose primary it
    /// is fails with [`PrimaryKey`](super::NodeFailure::PrimaryKey).
    Remove(GossipKey),
}

impl KeyChange {
    /// The key that is installed, used or removed.
    pub fn key(&self) -> &GossipKey {
        match self {
            KeyChange::Install(key) | KeyChange::Use(key) | KeyChange::Remove(key) => key,
        }
    }
}

/// How a pool is asked, and where its nodes' answers go.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GossipQuery {
    /// Through how many other nodes each answer is sent as well.
    pub relay: RelayFactor,
    /// How long the nodes have to answer. The service drops the call a little
    /// later.
    pub timeout: Duration,
    /// Collects the answers. Clones share them.
    pub answers: Answers,
}

impl GossipQuery {
    /// A query without relays and without answers so far.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use cluster_operator::{GossipQuery, RelayFactor};
    ///
    /// let query = GossipQuery::new(Duration::from_secs(5));
    /// assert_eq!(query.relay, RelayFactor::default());
    /// assert!(query.answers.report().is_none());
    /// ```
    pub fn new(timeout: Duration) -> Self {
        GossipQuery {
            relay: RelayFactor::default(),
            timeout,
            answers: Answers::default(),
        }
    }

    /// Sets the relay factor.
    #[must_use]
    pub fn with_relay(mut self, relay: RelayFactor) -> Self {
        self.relay = relay;
        self
    }
}

/// The keyring of one gossip pool: asks every node of the pool.
///
/// Answers go into the query's [`Answers`] as they arrive, not into a return value,
/// so that a node that is late or silent hides nobody's answer: the service takes
/// what is there when the call ends, or when its time is over.
///
/// # Contract
/// The suite `cluster_operator_conformance::keyring_backend` checks it; the names of
/// its checks are in parentheses.
///
/// - A call names the nodes that it asks with [`Answers::asking`], just before it
///   sends: every member that is not known to be dead, this node included,
///   whichever node it is called on and whatever the relay factor. Until then
///   nothing was sent, and a call that ends without it counts as not applied.
/// - It hands each node's answer to [`Answers::answered`], a failure too, and
///   returns `Ok` when all have answered, or after [`GossipQuery::timeout`]. An
///   `Err` is for a pool that could not be asked; answers that came before it
///   still count.
/// - A listing hands over what the rings hold, the primary first. Either every
///   listing tells primaries or none.
/// - Each node keeps memberlist's rules, as [`Keyring`](super::Keyring) does, also
///   where calls meet.
/// - Dropping the future leaves every node's ring whole. Which nodes have changed
///   is then unknown, and each call can be made again.
/// - No text in an answer contains a key, or eight bytes of one in a row, in any
///   notation.
#[async_trait]
pub trait KeyringBackend: Send + Sync {
    /// The pool. It never changes.
    fn pool(&self) -> &Pool;

    /// Asks every node for the keys of its ring.
    ///
    /// # Errors
    /// The pool could not be asked.
    ///
    /// # Cancel safety
    /// It only reads; the future can be dropped.
    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError>;

    /// Asks every node to change its ring.
    ///
    /// # Errors
    /// The pool could not be asked.
    ///
    /// # Cancel safety
    /// Dropping the future leaves every ring whole; any node may have changed.
    async fn change(&self, change: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError>;
}

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        #[async_trait]
        impl<T: KeyringBackend + ?Sized> KeyringBackend for $pointer<T> {
            fn pool(&self) -> &Pool {
                (**self).pool()
            }

            async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
                (**self).list(query).await
            }

            async fn change(
                &self,
                change: &KeyChange,
                query: &GossipQuery,
            ) -> Result<(), OperatorError> {
                (**self).change(change, query).await
            }
        }
    )+};
}

forward!(Arc, Box);
