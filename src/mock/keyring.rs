//! One gossip pool's keyring, as one of its nodes operates it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::select;

use super::gate::Gate;
use super::gossip::{Gossip, Late, Question, SharedGossip};
use super::transcript::Recorder;
use super::{MockClock, NodeFault, lock};
use crate::error::{OperatorError, Outcome};
use crate::keyring::{Answers, GossipKey, GossipQuery, KeyChange, Keyring, KeyringBackend, Pool};
use crate::timer::Timer;
use crate::types::NodeName;

/// A [`KeyringBackend`] in memory: one node of a gossip pool that all handles
/// share, each node with a [`Keyring`] of its own.
///
/// A stopped node stays a member that does not answer, until its failure is
/// noticed, by everyone or by one node alone; then that node counts it no
/// longer. It keeps its ring, and comes back with it. Through a stopped node
/// nothing can be asked.
///
/// ```
/// use cluster_operator::mock::MockKeyring;
/// use cluster_operator::{GossipKey, GossipQuery, KeyChange, KeyringBackend, Pool};
///
/// # futures_executor::block_on(async {
/// let (old, new) = (GossipKey::from_bytes(&[1; 16])?, GossipKey::from_bytes(&[2; 16])?);
/// let keyring = MockKeyring::new(Pool::Lan, old.clone(), ["alice", "bob"]);
/// keyring.stop("bob");
///
/// let query = GossipQuery::new(std::time::Duration::from_secs(5));
/// keyring.change(&KeyChange::Install(new.clone()), &query).await?;
/// let report = query.answers.report().unwrap();
/// assert_eq!(report.fault().unwrap().to_string(), "1/2 nodes reported success");
/// assert_eq!(report.silent, ["bob"]);
/// assert_eq!(keyring.keys("alice"), [old.clone(), new]);
/// assert_eq!(keyring.keys("bob"), [old]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MockKeyring {
    pool: Pool,
    gossip: SharedGossip,
    observer: NodeName,
    /// What the server waits at while it is paused.
    gate: Gate,
}

impl MockKeyring {
    /// The first node of a pool in which every node's ring holds this key.
    ///
    /// # Panics
    /// Without a node.
    pub fn new<N: Into<NodeName>>(
        pool: Pool,
        primary: GossipKey,
        nodes: impl IntoIterator<Item = N>,
    ) -> Self {
        MockKeyring::with_ring(pool, Some(Keyring::new(primary)), nodes)
    }

    /// The first node of a pool that gossips in clear text.
    ///
    /// # Panics
    /// Without a node.
    pub fn unencrypted<N: Into<NodeName>>(pool: Pool, nodes: impl IntoIterator<Item = N>) -> Self {
        MockKeyring::with_ring(pool, None, nodes)
    }

    pub(super) fn with_ring<N: Into<NodeName>>(
        pool: Pool,
        ring: Option<Keyring>,
        nodes: impl IntoIterator<Item = N>,
    ) -> Self {
        let gossip = Gossip::new(nodes.into_iter().map(Into::into), ring);
        let Some(observer) = gossip.nodes().next().cloned() else {
            panic!("a gossip pool needs a node");
        };
        MockKeyring {
            pool,
            gossip: Arc::new(Mutex::new(gossip)),
            observer,
            gate: Gate::default(),
        }
    }

    /// Another node of the same pool.
    ///
    /// # Panics
    /// Without such a node; so do all methods that name one.
    pub fn at(&self, node: impl Into<NodeName>) -> Self {
        let observer = node.into();
        lock(&self.gossip).node(&observer);
        MockKeyring {
            pool: self.pool.clone(),
            gossip: Arc::clone(&self.gossip),
            observer,
            gate: Gate::default(),
        }
    }

    /// Which node this is.
    pub fn node(&self) -> &NodeName {
        &self.observer
    }

    /// All nodes, dead or alive.
    pub fn nodes(&self) -> Vec<NodeName> {
        lock(&self.gossip).nodes().cloned().collect()
    }

    /// A node's ring; `None` if it gossips in clear text.
    pub fn ring(&self, node: impl Into<NodeName>) -> Option<Keyring> {
        lock(&self.gossip).node(&node.into()).ring.clone()
    }

    /// A node's keys, the primary first; none if it gossips in clear text.
    pub fn keys(&self, node: impl Into<NodeName>) -> Vec<GossipKey> {
        self.ring(node)
            .map_or_else(Vec::new, |ring| ring.keys().to_vec())
    }

    /// Gives a node another ring, behind the back of the others.
    pub fn set_ring(&self, node: impl Into<NodeName>, ring: Option<Keyring>) {
        lock(&self.gossip).node(&node.into()).ring = ring;
    }

    /// Stops a node.
    pub fn stop(&self, node: impl Into<NodeName>) {
        lock(&self.gossip).stop(&node.into());
    }

    /// Starts a stopped node again. Everyone takes it for a member.
    pub fn restart(&self, node: impl Into<NodeName>) {
        lock(&self.gossip).restart(&node.into());
    }

    /// Lets every node notice that this one is down. One that is up is a member
    /// nevertheless.
    pub fn notice_failure(&self, failed: impl Into<NodeName>) {
        let failed = failed.into();
        for observer in self.nodes() {
            lock(&self.gossip).notice_failure(&observer, &failed);
        }
    }

    /// Lets one node notice that another one is down.
    pub fn notice_failure_by(&self, observer: impl Into<NodeName>, failed: impl Into<NodeName>) {
        lock(&self.gossip).notice_failure(&observer.into(), &failed.into());
    }

    /// Sets whether every node notices at once that another one is down.
    /// Default: not until it is told.
    pub fn set_notices_failures(&self, notices: bool) {
        lock(&self.gossip).notices_failures = notices;
    }

    /// Whether both are nodes of the same pool.
    pub(super) fn is_joined_with(&self, other: &MockKeyring) -> bool {
        Arc::ptr_eq(&self.gossip, &other.gossip)
    }

    /// Makes its nodes' calls be recorded, and late nodes go by this clock.
    pub(super) fn watch(&self, recorder: Recorder, clock: MockClock) {
        lock(&self.gossip).watch(recorder, clock);
    }

    /// The same, that goes on only while the gate is open.
    pub(super) fn behind(mut self, gate: &Gate) -> Self {
        self.gate = gate.clone();
        self
    }

    pub(super) fn set_cuts(&self, cuts: BTreeSet<(NodeName, NodeName)>) {
        lock(&self.gossip).set_cuts(cuts);
    }

    pub(super) fn set_faults(&self, faults: BTreeMap<NodeName, NodeFault>) {
        lock(&self.gossip).set_faults(faults);
    }

    /// The nodes that this one takes for members, dead or alive.
    pub fn members(&self) -> Vec<NodeName> {
        let gossip = lock(&self.gossip);
        let members = gossip.members(&self.observer);
        members.map(|node| node.name.clone()).collect()
    }

    async fn ask(&self, question: Question, query: &GossipQuery) -> Result<(), OperatorError> {
        self.gate.pass().await;
        let outcome = match question {
            None => Outcome::NotApplied,
            Some(_) => Outcome::Unknown,
        };
        let (late, clock) = {
            let mut gossip = lock(&self.gossip);
            let late = gossip.ask(&self.observer, &self.pool, &question, &query.answers)?;
            (late, gossip.clock())
        };
        if let Some(clock) = clock.filter(|_| !late.is_empty()) {
            let answers = late_answers(
                clock.clone(),
                Arc::clone(&self.gossip),
                self.observer.clone(),
                question,
                late,
                query.answers.clone(),
            );
            let answered = pin!(clock.detach(answers));
            select(answered, clock.sleep(query.timeout)).await;
        }
        self.gate.pass().await;
        lock(&self.gossip)
            .live(&self.observer)
            .map_err(|error| error.with_outcome(outcome))
    }
}

/// Waits for those who are late. They do what they were asked, whether or not
/// anybody waits.
async fn late_answers(
    clock: MockClock,
    gossip: SharedGossip,
    observer: NodeName,
    question: Question,
    late: Vec<Late>,
    answers: Answers,
) {
    let mut waited = Duration::ZERO;
    for (after, node, call) in late {
        clock.sleep(after - waited).await;
        waited = after;
        lock(&gossip).answer_late(&observer, &node, &question, &answers, call);
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

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::error::ErrorKind;
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

    #[test]
    fn each_node_has_a_ring_of_its_own() {
        let alice = MockKeyring::new(Pool::Lan, key(1), ["alice", "bob"]);
        let mut other = Keyring::new(key(2));
        other.install(key(1));
        alice.set_ring("bob", Some(other));
        let report = list(&alice.at("bob"));
        assert_eq!(report.keys.get(&key(1)), 2);
        assert_eq!(report.primary_keys.get(&key(1)), 1);

        let removed = change(&alice, KeyChange::Remove(key(1))).unwrap();
        let failed: Vec<_> = removed.failures().collect();
        assert_eq!(failed, [(&"alice".into(), &NodeFailure::PrimaryKey)]);
        assert_eq!(alice.keys("bob"), [key(2)]);
    }

    #[test]
    fn a_dead_node_comes_back_with_the_keys_that_it_had() {
        let alice = MockKeyring::new(Pool::Wan, key(1), ["alice", "bob"]);
        alice.stop("bob");
        alice.notice_failure("bob");
        let installed = change(&alice, KeyChange::Install(key(2))).unwrap();
        assert_eq!((installed.nodes, installed.fault()), (1, None));
        assert_eq!(alice.members(), ["alice"]);
        alice.restart("bob");
        assert_eq!(list(&alice).keys.get(&key(2)), 1);
        assert_eq!(alice.members(), ["alice", "bob"]);
    }

    #[test]
    fn nothing_is_asked_through_a_stopped_node() {
        let alice = MockKeyring::new(Pool::Lan, key(1), ["alice", "bob"]);
        alice.stop("alice");
        let install = change(&alice, KeyChange::Install(key(2)));
        let error = install.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
        assert_eq!(alice.keys("bob"), [key(1)]);
    }

    #[test]
    fn one_node_without_encryption_fails_alone() {
        let alice = MockKeyring::new(Pool::Lan, key(1), ["alice", "bob"]);
        alice.set_ring("bob", None);
        let report = list(&alice);
        assert_eq!((report.responses, report.errors), (2, 1));
        assert_eq!(report.keys.get(&key(1)), 1);
        assert_eq!(alice.keys("bob"), []);
    }
}
