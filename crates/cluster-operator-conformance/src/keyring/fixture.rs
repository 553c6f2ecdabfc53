//! The pool that a keyring check runs against.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::fixture::{Fixture, NotSupported};
use cluster_operator::keyring::{GossipKey, KeyringBackend};
use cluster_operator::types::NodeName;

/// The nodes that a check needs: for each of them, what its ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rings {
    numbers: &'static [&'static [u8]],
}

impl Rings {
    /// For each node the [numbers](key) of its keys, the primary first; none for
    /// a node that gossips in clear text.
    pub const fn new(numbers: &'static [&'static [u8]]) -> Self {
        Rings { numbers }
    }

    /// For each node its keys, the primary first; none for a node that gossips
    /// in clear text. All that gossip with each other hold each other's
    /// primaries.
    pub fn rings(&self) -> Vec<Vec<GossipKey>> {
        let ring = |numbers: &&[u8]| numbers.iter().copied().map(key).collect();
        self.numbers.iter().map(ring).collect()
    }
}

/// The key of this number, of 32 bytes, as the checks use it. A report calls it
/// `key 1`.
pub fn key(number: u8) -> GossipKey {
    sized_key(number, 32)
}

/// The key of this number, of so many bytes.
///
/// # Panics
/// Unless they are 16, 24 or 32.
pub(super) fn sized_key(number: u8, bytes: usize) -> GossipKey {
    // Looks like a real one, so that it is not taken for other text.
    let hash = Sha256::digest([b"conformance", &[number][..]].concat());
    match GossipKey::from_bytes(&hash[..bytes]) {
        Ok(key) => key,
        Err(error) => panic!("{error}"),
    }
}

/// One node of the pool.
#[derive(Clone)]
pub struct Node {
    /// Its name, as the backends tell it.
    pub name: NodeName,
    /// The backend under test, as it runs in this node.
    pub backend: Arc<dyn KeyringBackend>,
}

impl Node {
    /// A node of the pool.
    pub fn new(name: impl Into<NodeName>, backend: impl KeyringBackend + 'static) -> Self {
        Node {
            name: name.into(),
            backend: Arc::new(backend),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A pool of the nodes that were wanted, all of them up, with its backends.
///
/// They need not have joined yet: a check waits until all of them answer. What a
/// fixture cannot do, it leaves at the default; the checks that need it are then
/// skipped.
#[async_trait]
pub trait KeyringFixture: Fixture {
    /// The nodes, in the order of the rings that were wanted.
    fn nodes(&self) -> Vec<Node>;

    /// What a node's ring holds, the primary first, without asking its backend.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn ring(&self, node: &NodeName) -> Result<Vec<GossipKey>, NotSupported> {
        let _ = node;
        Err(NotSupported::new(
            "the fixture cannot look into a node's ring",
        ))
    }

    /// Stops a node for good and without a farewell. Returns once nothing of it
    /// runs; whether the others have noticed does not matter.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn stop(&self, node: &NodeName) -> Result<(), NotSupported> {
        let _ = node;
        Err(NotSupported::new("the fixture cannot stop a node"))
    }

    /// Returns once all nodes that are up have noticed that a stopped one is down.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn noticed(&self, node: &NodeName) -> Result<(), NotSupported> {
        let _ = node;
        Err(NotSupported::new(
            "the fixture cannot tell when a stopped node is noticed",
        ))
    }

    /// Makes a node answer, and change what it is to, only after this time.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn slow_down(&self, node: &NodeName, by: Duration) -> Result<(), NotSupported> {
        let _ = (node, by);
        Err(NotSupported::new("the fixture cannot slow a node down"))
    }
}
