//! The trait for a server's gossip pool.

use std::sync::Arc;
use std::time::Duration;

use super::{Answers, GossipKey};
use crate::error::OperatorError;
use crate::types::{Pool, RelayFactor};
use async_trait::async_trait;

/// A change to every node's ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// Adds a key. A node that already has it succeeds.
    Install(GossipKey),
    /// Makes an installed key the primary. A node that does not have it fails with
    /// [`KeyNotInstalled`](super::NodeFailure::KeyNotInstalled).
    Use(GossipKey),
    /// Removes a key. A node that does not have it succeeds; a node whose primary key
    /// it is fails with [`PrimaryKey`](super::NodeFailure::PrimaryKey).
    Remove(GossipKey),
}

impl KeyChange {
    /// Returns the key that is installed, used or removed.
    pub fn key(&self) -> &GossipKey {
        match self {
            KeyChange::Install(key) | KeyChange::Use(key) | KeyChange::Remove(key) => key,
        }
    }
}

/// The parameters of a query to a pool, and the collector of its nodes' answers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GossipQuery {
    /// The number of other nodes through which each answer is sent as well.
    pub relay: RelayFactor,
    /// The time that the nodes have to answer. The service drops the call a little
    /// later.
    pub timeout: Duration,
    /// Collects the answers. Clones share them.
    pub answers: Answers,
}

impl GossipQuery {
    /// Creates a query without relays and with no answers yet.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use cluster_operator::keyring::{GossipQuery, RelayFactor};
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

/// The keyrings of all nodes of one gossip pool.
///
/// Answers are collected in the query's [`Answers`] as they arrive and are not
/// returned, so that a late or silent node does not hide the answers of others: the
/// service reads the answers when the call ends or times out.
///
/// # Contract
/// The suite `cluster_operator_conformance::keyring_backend` checks it.
///
/// - A call names the nodes that it asks with [`Answers::asking`], just before it
///   sends: every member that is not known to be dead, also this node, whichever node
///   the call is made on and whatever the relay factor. A call that ends without
///   naming a node has sent nothing and counts as not applied.
/// - A call names the members that are known to be dead with [`Answers::absent`]. Their
///   keys are unchanged.
/// - A call passes each node's answer, also a failure, to [`Answers::answered`]. It
///   returns `Ok` when all nodes have answered, or after [`GossipQuery::timeout`]. It
///   returns `Err` if the pool could not be asked; earlier answers still count.
/// - A listing reports the keys of each ring, the primary key first. A backend reports
///   primary keys in all of its listings or in none.
/// - Each node follows memberlist's rules, as [`Keyring`](super::Keyring) does, also
///   for concurrent calls.
/// - Dropping the future leaves every node's ring valid. Each node may or may not have
///   changed, and the call can be repeated.
/// - No text in an answer contains a key, or eight consecutive bytes of a key, in any
///   encoding.
#[async_trait]
pub trait KeyringBackend: Send + Sync {
    /// Returns the pool. It never changes.
    fn pool(&self) -> &Pool;

    /// Asks every node for the keys of its ring.
    ///
    /// # Errors
    /// The pool cannot be asked.
    ///
    /// # Cancel safety
    /// The call only reads; the future can be dropped.
    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError>;

    /// Asks every node to change its ring.
    ///
    /// # Errors
    /// The pool cannot be asked.
    ///
    /// # Cancel safety
    /// Dropping the future leaves every ring valid; any node may have changed.
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
