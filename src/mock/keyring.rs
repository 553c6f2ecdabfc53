//! The keyring of a simulated gossip pool, seen from one of its nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::select;

use super::clock::{Gate, MockClock, lock};
use super::fault::{FaultId, NodeFault};
use super::gossip::{Gossip, Late, Query};
use super::transcript::Recorder;
use crate::autopilot::{Detection, FailureDetector};
use crate::error::{OperatorError, Outcome};
use crate::keyring::{GossipKey, GossipQuery, KeyChange, Keyring, KeyringBackend, Pool};
use crate::timer::Timer;
use crate::types::NodeName;

/// A [`KeyringBackend`] in memory: one node of a gossip pool that all its handles
/// share. Each node has a [`Keyring`] of its own.
///
/// A stopped node is a member that does not answer, until its failure is noticed,
/// by all nodes or by one; a node that has noticed does not count it any more. It
/// keeps its ring for when it is restarted. Nothing can be asked through a stopped
/// node.
///
/// A node sends with its primary key, and reads with every key that it holds: nodes
/// that lack each other's primary key are silent for each other. A node without
/// encryption can talk to all.
///
/// All methods panic if the pool has no node of the given name.
///
/// ```
/// use cluster_operator::mock::MockKeyring;
/// use cluster_operator::keyring::{GossipQuery, KeyChange};
/// use cluster_operator::{GossipKey, KeyringBackend, Pool};
///
/// # futures_executor::block_on(async {
/// let (old, new) = (GossipKey::from_bytes(&[1; 16])?, GossipKey::from_bytes(&[2; 16])?);
/// let keyring = MockKeyring::new(Pool::Lan, old.clone(), ["alice", "bob"]);
/// keyring.stop("bob");
///
/// let query = GossipQuery::new(std::time::Duration::from_secs(5));
/// keyring.change(&KeyChange::Install(new.clone()), &query).await?;
/// let report = query.answers.report().unwrap();
/// assert_eq!(report.failure().unwrap().to_string(), "1/2 nodes reported success");
/// assert_eq!(report.silent, ["bob"]);
/// assert_eq!(keyring.keys("alice"), [old.clone(), new]);
/// assert_eq!(keyring.keys("bob"), [old]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MockKeyring {
    pool: Pool,
    gossip: Arc<Mutex<Gossip>>,
    node: NodeName,
    /// Closed while the server is paused.
    gate: Gate,
}

impl MockKeyring {
    /// Creates a pool whose nodes have this key, and returns its first node.
    ///
    /// # Panics
    /// If there are no nodes.
    pub fn new<N: Into<NodeName>>(
        pool: Pool,
        primary: GossipKey,
        nodes: impl IntoIterator<Item = N>,
    ) -> Self {
        MockKeyring::with_ring(pool, Some(Keyring::new(primary)), nodes)
    }

    /// Creates a pool without encryption, and returns its first node.
    ///
    /// # Panics
    /// If there are no nodes.
    pub fn unencrypted<N: Into<NodeName>>(pool: Pool, nodes: impl IntoIterator<Item = N>) -> Self {
        MockKeyring::with_ring(pool, None, nodes)
    }

    pub(super) fn with_ring<N: Into<NodeName>>(
        pool: Pool,
        ring: Option<Keyring>,
        nodes: impl IntoIterator<Item = N>,
    ) -> Self {
        let gossip = Gossip::new(pool.clone(), nodes.into_iter().map(Into::into), ring);
        let Some(first) = gossip.nodes.first() else {
            panic!("a gossip pool needs a node");
        };
        MockKeyring {
            pool,
            node: first.name.clone(),
            gossip: Arc::new(Mutex::new(gossip)),
            gate: Gate::default(),
        }
    }

    /// Returns another node of the same pool.
    pub fn at(&self, node: impl Into<NodeName>) -> Self {
        let node = node.into();
        self.gossip().node(&node);
        MockKeyring {
            node,
            gate: Gate::default(),
            ..self.clone()
        }
    }

    /// Returns the name of this node.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Returns all nodes, dead or alive.
    pub fn nodes(&self) -> Vec<NodeName> {
        let gossip = self.gossip();
        gossip.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Returns the nodes that this one counts as members, dead or alive.
    pub fn members(&self) -> Vec<NodeName> {
        self.gossip().members(&self.node).cloned().collect()
    }

    /// Returns a node's ring; `None` if it does not encrypt.
    pub fn ring(&self, node: impl Into<NodeName>) -> Option<Keyring> {
        self.gossip().node(&node.into()).ring.clone()
    }

    /// Returns a node's keys, the primary first; none if it does not encrypt.
    pub fn keys(&self, node: impl Into<NodeName>) -> Vec<GossipKey> {
        let ring = self.ring(node);
        ring.map_or_else(Vec::new, |ring| ring.keys().to_vec())
    }

    /// Replaces a node's ring, without the others' knowledge.
    pub fn set_ring(&self, node: impl Into<NodeName>, ring: Option<Keyring>) {
        self.gossip().node(&node.into()).ring = ring;
    }

    /// Stops a node.
    pub fn stop(&self, node: impl Into<NodeName>) {
        self.set_up(&node.into(), false);
    }

    /// Restarts a stopped node. All nodes count it as a member.
    pub fn restart(&self, node: impl Into<NodeName>) {
        self.set_up(&node.into(), true);
    }

    /// Lets every node notice that this one is down. A node that is up stays a
    /// member.
    pub fn notice_failure(&self, failed: impl Into<NodeName>) {
        let failed = failed.into();
        for observer in self.nodes() {
            self.notice_failure_by(observer, failed.clone());
        }
    }

    /// Lets one node notice that another one is down.
    pub fn notice_failure_by(&self, observer: impl Into<NodeName>, failed: impl Into<NodeName>) {
        let (observer, failed) = (observer.into(), failed.into());
        let mut gossip = self.gossip();
        gossip.node(&observer);
        gossip.node(&failed);
        gossip.notice(observer, failed);
    }

    /// Sets whether every node notices at once that another one is down.
    /// Default: false.
    pub fn set_notices_failures(&self, notices: bool) {
        self.gossip().notices_failures = notices;
    }

    pub(super) fn set_up(&self, node: &NodeName, up: bool) {
        self.gossip().set_up(node, up);
    }

    /// Returns whether both are nodes of the same pool.
    pub(super) fn is_joined_with(&self, other: &MockKeyring) -> bool {
        Arc::ptr_eq(&self.gossip, &other.gossip)
    }

    /// Records the calls of all nodes.
    pub(super) fn record(&self, recorder: Recorder) {
        self.gossip().recorder = Some(recorder);
    }

    /// Makes calls wait while the gate is closed.
    pub(super) fn behind(mut self, gate: &Gate) -> Self {
        self.gate = gate.clone();
        self
    }

    /// Separates these pairs of nodes, given in both orders, and no others.
    pub(super) fn cut(&self, pairs: BTreeSet<(NodeName, NodeName)>) {
        self.gossip().cut(pairs);
    }

    /// Adds a fault of this node.
    pub(super) fn add_fault(&self, by: FaultId, fault: &NodeFault) {
        let fault = (by, self.node.clone(), fault.clone());
        self.gossip().faults.push(fault);
    }

    /// Ends a fault.
    pub(super) fn heal(&self, fault: FaultId) {
        self.gossip().faults.retain(|(by, ..)| *by != fault);
    }

    fn gossip(&self) -> MutexGuard<'_, Gossip> {
        lock(&self.gossip)
    }

    async fn ask(
        &self,
        change: Option<KeyChange>,
        query: &GossipQuery,
    ) -> Result<(), OperatorError> {
        self.gate.pass().await;
        let outcome = match change {
            None => Outcome::NotApplied,
            Some(_) => Outcome::Unknown,
        };
        let ((asked, late), recorder) = {
            let mut gossip = self.gossip();
            let asked = gossip.ask(&self.node, change, &query.answers)?;
            (asked, gossip.recorder.clone())
        };
        if let (false, Some(Recorder { clock, .. })) = (late.is_empty(), recorder) {
            let gossip = Arc::clone(&self.gossip);
            let answers = answer_late(clock.clone(), gossip, asked, late);
            let answered = pin!(clock.detach(answers));
            select(answered, clock.sleep(query.timeout)).await;
        }
        self.gate.pass().await;
        let up = self.gossip().check_up(&self.node);
        up.map_err(|error| error.with_outcome(outcome))
    }
}

/// Lets the late nodes answer, each at its time, even if nobody waits any more.
async fn answer_late(clock: MockClock, gossip: Arc<Mutex<Gossip>>, query: Query, late: Vec<Late>) {
    let mut waited = Duration::ZERO;
    for (after, at, call) in late {
        clock.sleep(after - waited).await;
        waited = after;
        lock(&gossip).answer(&query, at, call);
    }
}

#[async_trait]
impl KeyringBackend for MockKeyring {
    fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        self.ask(None, query).await
    }

    async fn change(&self, change: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        self.ask(Some(change.clone()), query).await
    }
}

/// Its gossip as a failure detector: a member is alive, and every other node has failed.
/// The times are those of the federation's [clock](super::MockFederationBuilder::clock);
/// without one they are zero.
#[async_trait]
impl FailureDetector for MockKeyring {
    async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
        self.gate.pass().await;
        self.gossip().detect(&self.node)
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::keyring::{NodeFailure, RingReport};

    fn key(n: u8) -> GossipKey {
        GossipKey::from_bytes(&[n; 16]).unwrap()
    }

    fn list(keyring: &MockKeyring) -> RingReport {
        let query = GossipQuery::new(Duration::from_secs(1));
        block_on(keyring.list(&query)).unwrap();
        query.answers.report().unwrap()
    }

    fn change(keyring: &MockKeyring, change: KeyChange) -> Result<RingReport, OperatorError> {
        let query = GossipQuery::new(Duration::from_secs(1));
        block_on(keyring.change(&change, &query))?;
        Ok(query.answers.report().unwrap())
    }

    fn ring(primary: u8, other: u8) -> Option<Keyring> {
        let mut ring = Keyring::new(key(primary));
        ring.install(key(other));
        Some(ring)
    }

    #[test]
    fn each_node_has_a_ring_of_its_own() {
        let alice = MockKeyring::new(Pool::Lan, key(1), ["alice", "bob"]);
        alice.set_ring("alice", ring(1, 2));
        alice.set_ring("bob", ring(2, 1));
        let report = list(&alice.at("bob"));
        assert_eq!(report.keys.get(&key(1)), 2);
        assert_eq!(report.primary_keys.get(&key(1)), 1);

        let removed = change(&alice, KeyChange::Remove(key(1))).unwrap();
        let failed: Vec<_> = removed.failures().collect();
        assert_eq!(failed, [(&"alice".into(), &NodeFailure::PrimaryKey)]);
        assert_eq!(alice.keys("bob"), [key(2)]);
    }

    #[test]
    fn node_with_only_the_old_key_is_silent_for_the_new_one() {
        let alice = MockKeyring::new(Pool::Lan, key(1), ["alice", "bob", "carol"]);
        alice.stop("carol");
        for change_to in [KeyChange::Install(key(2)), KeyChange::Use(key(2))] {
            change(&alice, change_to).unwrap();
        }
        // The others still hold the old key, and carol cannot read what they send.
        alice.restart("carol");
        let report = list(&alice);
        assert_eq!((report.responses, report.errors), (2, 0));
        assert_eq!(report.silent, ["carol"]);
        assert_eq!(list(&alice.at("carol")).silent, ["alice", "bob"]);
        let removed = change(&alice, KeyChange::Remove(key(1))).unwrap();
        assert_eq!(removed.silent, ["carol"]);
        assert_eq!(alice.keys("carol"), [key(1)]);

        // Carol's own answer reaches her, so she can be repaired at her own address.
        for change_to in [KeyChange::Install(key(2)), KeyChange::Use(key(2))] {
            change(&alice.at("carol"), change_to).unwrap();
        }
        assert_eq!(list(&alice).responses, 3);
    }

    #[test]
    fn answer_with_a_key_that_the_asking_node_lacks_is_lost() {
        let alice = MockKeyring::new(Pool::Lan, key(1), ["alice", "bob"]);
        alice.set_ring("bob", ring(1, 2));
        let used = change(&alice, KeyChange::Use(key(2))).unwrap();
        let failed: Vec<_> = used.failures().collect();
        assert_eq!(failed, [(&"alice".into(), &NodeFailure::KeyNotInstalled)]);
        assert_eq!(used.silent, ["bob"]);
        assert_eq!(alice.keys("bob"), [key(2), key(1)]);
    }

    #[test]
    fn restarted_node_has_its_former_keys() {
        let alice = MockKeyring::new(Pool::Wan, key(1), ["alice", "bob"]);
        alice.stop("bob");
        alice.notice_failure("bob");
        let installed = change(&alice, KeyChange::Install(key(2))).unwrap();
        assert_eq!((installed.nodes, installed.failure()), (1, None));
        assert_eq!(alice.members(), ["alice"]);
        alice.restart("bob");
        assert_eq!(list(&alice).keys.get(&key(2)), 1);
        assert_eq!(alice.members(), ["alice", "bob"]);
    }
}
