//! Each keyring check fails on a backend that breaks its rule alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::conformance::keyring::{CHECKS, KeyringFixture, Node, Rings, run};
use cluster_operator::conformance::{Fixture, NotSupported, keyring_backend};
use cluster_operator::keyring::{KeyCounts, Keyring};
use cluster_operator::mock::{MockClock, MockKeyring};
use cluster_operator::{
    GossipKey, KeyringBackend, NodeFailure, NodeMessage, NodeName, OperatorError, Pool,
    RelayFactor, RingReport, Timer,
};

use crate::give_way;
use crate::keyring::{Gossip, ring};

type Answer = Result<RingReport, OperatorError>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Install,
    Use,
    Remove,
}

/// A keyring that breaks the rule of the check of this name.
struct Broken {
    real: MockKeyring,
    rule: &'static str,
    /// What a backend with a ring of its own believes.
    believed: MockKeyring,
    state: Arc<Mutex<State>>,
}

/// What the nodes of one broken pool have in common.
#[derive(Default)]
struct State {
    listings: usize,
    installs: usize,
    in_flight: usize,
    busy: bool,
    changed: bool,
    removed: Vec<GossipKey>,
    late: Option<NodeName>,
}

impl Broken {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn rings(&self) -> Vec<(NodeName, Keyring)> {
        let nodes = self.real.nodes().into_iter();
        nodes
            .filter_map(|node| Some((node.clone(), self.real.ring(node)?)))
            .collect()
    }

    fn held_by_any(&self, key: &GossipKey) -> bool {
        self.rings().iter().any(|(_, ring)| ring.contains(key))
    }

    /// Gives every node the ring of these of its keys.
    fn keep(&self, keep: impl Fn(&Keyring) -> Vec<GossipKey>) {
        for (node, held) in self.rings() {
            self.real.set_ring(node, ring(&keep(&held)));
        }
    }

    fn everyone(&self, failure: Option<NodeFailure>) -> RingReport {
        let nodes = self.real.nodes();
        let mut report = RingReport::new(nodes.len());
        for node in nodes {
            report.answered(node, failure.clone().map_or(Ok(()), Err));
        }
        report
    }

    async fn really(&self, change: Change, key: &GossipKey) -> Answer {
        let real = match self.rule {
            "the_nodes_hold_what_is_listed" => &self.believed,
            _ => &self.real,
        };
        ask(real, change, key).await
    }

    /// What is told instead of what was listed.
    fn retold(&self, mut told: RingReport, relay: RelayFactor) -> RingReport {
        let mut state = self.state();
        state.listings += 1;
        let own = || self.real.keys(self.real.node().clone());
        let recounted = |counts: &KeyCounts, by: &dyn Fn(usize) -> usize| {
            let counts = counts.iter();
            counts
                .map(|(key, count)| (key.clone(), by(count)))
                .collect()
        };
        match self.rule {
            "a_listing_counts_each_key_on_every_node" => told.keys = recounted(&told.keys, &|_| 1),
            "a_key_that_some_nodes_lack_is_counted_on_the_others" => {
                told.keys = recounted(&told.keys, &|_| told.nodes);
            }
            "a_listing_counts_the_primary_of_every_node" => told.primary_keys = told.keys.clone(),
            "a_node_with_another_primary_is_seen" => {
                told.primary_keys = [(own()[0].clone(), told.nodes)].into_iter().collect();
            }
            "it_does_not_matter_which_node_lists" => {
                let note = NodeMessage::Note("asked here".into());
                told.messages.insert(self.real.node().clone(), note);
            }
            "a_listing_changes_nothing" => {
                let first = told.keys.iter().next().map(|(key, _)| key.clone());
                if let Some(first) = first.filter(|_| state.listings.is_multiple_of(5)) {
                    told.keys.add(&first);
                }
            }
            "every_node_of_the_pool_is_counted" => {
                told.nodes += 1;
                told.responses += 1;
            }
            "many_keys_are_counted_or_told_to_be_cut" => told.messages.clear(),
            "a_listing_is_the_same_with_every_relay_factor" => {
                told.responses += usize::from(relay.get());
            }
            "without_encryption_every_node_says_so" => {
                told.errors = 0;
                told.messages.clear();
            }
            "a_stopped_node_is_silent_or_not_counted" if told.responses < told.nodes => {
                told.failed("node-2".into(), NodeFailure::Other("no answer".into()));
            }
            "a_dead_node_is_not_counted" => told.nodes = self.real.nodes().len(),
            "a_late_node_is_counted_or_silent" => {
                if let Some(late) = &state.late {
                    told.responses -= 1;
                    told.failed(late.clone(), NodeFailure::Other("too late".into()));
                }
            }
            _ => {}
        }
        told
    }

    /// What happens before a change, or instead of it.
    async fn instead(&self, change: Change, key: &GossipKey) -> Option<Answer> {
        let rings = self.rings();
        let is_primary = || rings.iter().any(|(_, ring)| ring.primary() == key);
        let done = || Some(Ok(self.everyone(None)));
        let refused = |failure| Some(Ok(self.everyone(Some(failure))));
        let other = |words: &str| refused(NodeFailure::Other(words.into()));
        match (self.rule, change) {
            ("installing_again_succeeds_and_changes_nothing", Change::Install)
                if self.held_by_any(key) =>
            {
                return other("it is there");
            }
            ("keys_of_all_sizes_are_taken", Change::Install) if key.as_bytes().len() == 24 => {
                return refused(NodeFailure::KeySize);
            }
            ("a_key_that_begins_like_another_is_another", Change::Install) => {
                let begins = |held: &GossipKey| held.as_bytes()[..16] == key.as_bytes()[..16];
                if rings[0].1.keys().iter().any(begins) {
                    return done();
                }
            }
            ("using_the_primary_succeeds_and_changes_nothing", Change::Use) if is_primary() => {
                return other("it is the primary");
            }
            ("a_key_that_is_not_installed_cannot_be_used", Change::Use) => {
                ask(&self.real, Change::Install, key).await.unwrap();
            }
            ("removing_an_absent_key_succeeds_and_changes_nothing", Change::Remove)
                if !self.held_by_any(key) =>
            {
                return refused(NodeFailure::KeyNotInstalled);
            }
            ("the_primary_cannot_be_removed", Change::Remove) if is_primary() => {
                self.keep(|ring| ring.keys()[1..].to_vec());
                return done();
            }
            ("a_removed_key_cannot_be_used", Change::Use) if self.state().removed.contains(key) => {
                self.keep(|ring| [&[key.clone()], ring.keys()].concat());
            }
            ("a_removed_key_can_be_installed_again", Change::Install)
                if self.state().removed.contains(key) =>
            {
                return done();
            }
            ("a_key_is_rotated", Change::Install) if self.state().installs == 2 => {
                return other("the ring is full");
            }
            ("a_change_can_be_asked_of_any_node", Change::Install)
                if self.real.node().as_str() != "node-0" =>
            {
                let mut own = self.real.ring(self.real.node().clone()).unwrap();
                own.install(key.clone());
                self.real.set_ring(self.real.node().clone(), Some(own));
                return done();
            }
            ("who_lacks_the_key_to_use_fails_alone", Change::Use)
                if !rings.iter().all(|(_, ring)| ring.contains(key)) =>
            {
                return refused(NodeFailure::KeyNotInstalled);
            }
            ("the_primary_of_one_node_is_removed_from_the_others", Change::Remove)
                if is_primary() =>
            {
                return refused(NodeFailure::PrimaryKey);
            }
            ("install_brings_a_key_to_those_that_lack_it", Change::Install)
                if self.held_by_any(key) =>
            {
                return done();
            }
            ("a_node_without_encryption_fails_alone", _)
                if rings.len() < self.real.nodes().len() =>
            {
                return Some(Err(OperatorError::backend("gossip encryption is off")));
            }
            ("the_others_change_while_a_node_is_down", _) => {
                let listed = self.real.list(RelayFactor::default()).await;
                if listed.is_ok_and(|listed| listed.fault().is_some()) {
                    return Some(Err(OperatorError::backend("the pool is not healthy")));
                }
            }
            _ => return self.interleaved(change, key).await,
        }
        None
    }

    /// What another call, or the end of this one, comes between.
    async fn interleaved(&self, change: Change, key: &GossipKey) -> Option<Answer> {
        match (self.rule, change) {
            ("installs_of_one_key_at_once_add_it_once", Change::Install) => {
                if std::mem::replace(&mut self.state().busy, true) {
                    return Some(Err(OperatorError::backend("busy")));
                }
                give_way().await;
                self.state().busy = false;
            }
            // A ring that was read before the other one's key is written.
            ("installs_of_several_keys_at_once_add_all", Change::Install) => {
                let rings = self.rings();
                give_way().await;
                for (node, held) in rings {
                    let keys = [held.keys(), &[key.clone()]].concat();
                    self.real.set_ring(node, ring(&keys));
                }
                return Some(Ok(self.everyone(None)));
            }
            // A key that is taken out before it is put in front.
            (
                "uses_of_two_keys_at_once_leave_every_ring_whole"
                | "a_dropped_use_leaves_every_ring_whole",
                Change::Use,
            ) => {
                self.keep(|ring| without(ring, key));
                let rings = self.rings();
                give_way().await;
                for (node, rest) in rings {
                    let keys = [&[key.clone()], rest.keys()].concat();
                    self.real.set_ring(node, ring(&keys));
                }
                return Some(Ok(self.everyone(None)));
            }
            ("a_key_is_not_used_and_removed_at_once", Change::Remove) => {
                give_way().await;
                self.keep(|ring| without(ring, key));
                return Some(Ok(self.everyone(None)));
            }
            // A ring that is emptied before it is written anew.
            ("a_listing_beside_changes_sees_whole_rings", _)
            | ("a_dropped_install_leaves_every_ring_whole", Change::Install)
            | ("a_dropped_removal_leaves_every_ring_whole", Change::Remove) => {
                let rings = self.rings();
                self.keep(|ring| vec![ring.primary().clone()]);
                give_way().await;
                for (node, held) in rings {
                    self.real.set_ring(node, Some(held));
                }
            }
            _ => {}
        }
        None
    }

    /// What happens after a change.
    fn afterwards(&self, change: Change, key: &GossipKey, before: Vec<(NodeName, Keyring)>) {
        let Some((last, held)) = before.into_iter().next_back() else {
            return;
        };
        match (self.rule, change) {
            ("an_installed_key_is_on_every_node", Change::Install)
            | ("use_moves_the_primary_of_every_node", Change::Use)
            | ("a_removed_key_is_on_no_node", Change::Remove) => {
                self.real.set_ring(last, Some(held));
            }
            ("install_keeps_the_primary", Change::Install) => self.keep(|ring| {
                let rest = without(ring, key);
                [&[key.clone()], &rest[..]].concat()
            }),
            ("use_keeps_all_keys", Change::Use) => {
                self.keep(|ring| without(ring, held.primary()));
            }
            ("a_removal_leaves_the_other_keys", Change::Remove) => {
                self.keep(|ring| vec![ring.primary().clone()]);
            }
            _ => {}
        }
    }

    /// What is told instead of what a change has come to.
    fn reworded(
        &self,
        change: Change,
        key: &GossipKey,
        relay: RelayFactor,
        mut told: RingReport,
        lacking: Vec<NodeName>,
    ) -> RingReport {
        let failures: Vec<NodeName> = told.failures().map(|(node, _)| node.clone()).collect();
        let own = self.real.node();
        match self.rule {
            "a_pool_of_one_node_is_a_pool" if told.nodes == 1 => told.responses = 0,
            "answers_and_failures_add_up" => told.errors = told.errors.min(1),
            "who_succeeds_is_not_told_to_have_failed" if told.errors == 0 => {
                let words = NodeFailure::Other("success".into());
                told.messages
                    .insert(own.clone(), NodeMessage::Failed(words));
            }
            "who_fails_is_told_by_name" => {
                for node in failures {
                    let message = told.messages.remove(&node).unwrap();
                    told.messages.insert(format!("{node}.dc1").into(), message);
                }
            }
            "a_change_lists_no_keys" => {
                for key in self.real.keys(own.clone()) {
                    told.keys.add(&key);
                }
            }
            "a_change_counts_once_with_every_relay_factor" => {
                told.responses += usize::from(relay.get());
            }
            "no_key_is_in_a_report" => {
                for node in failures {
                    let words = format!("no key {:?}", key.as_bytes());
                    let failed = NodeMessage::Failed(NodeFailure::Other(words));
                    told.messages.insert(node, failed);
                }
            }
            "who_lacks_the_key_to_use_is_no_success" => {
                told.errors = 0;
                told.messages.clear();
            }
            "remove_succeeds_where_some_lack_the_key" if change == Change::Remove => {
                for node in lacking {
                    told.responses -= 1;
                    told.failed(node, NodeFailure::KeyNotInstalled);
                }
            }
            _ => {}
        }
        told
    }

    async fn change(&self, change: Change, key: &GossipKey, relay: RelayFactor) -> Answer {
        if let Some(answer) = self.instead(change, key).await {
            return answer;
        }
        let before = self.rings();
        let lacking = before.iter().filter(|(_, ring)| !ring.contains(key));
        let lacking = lacking.map(|(node, _)| node.clone()).collect();
        let answer = self.counted(self.really(change, key)).await;
        {
            let mut state = self.state();
            state.changed = true;
            match change {
                Change::Install => state.installs += 1,
                Change::Use => {}
                Change::Remove => state.removed.push(key.clone()),
            }
        }
        match (self.rule, answer) {
            ("no_key_is_in_an_error", Err(error)) => {
                let source = std::io::Error::other(format!("cannot send {:?}", *key.to_base64()));
                Err(error.with_source(source))
            }
            ("a_stopped_node_can_ask_nobody", Err(error)) => {
                ask(&self.real.at("node-0"), change, key).await?;
                Err(error)
            }
            (_, Err(error)) => Err(error),
            (_, Ok(report)) => {
                self.afterwards(change, key, before);
                Ok(self.reworded(change, key, relay, report, lacking))
            }
        }
    }

    /// A call, unless there are many.
    async fn counted(&self, call: impl Future<Output = Answer>) -> Answer {
        if self.rule != "many_calls_at_once_all_end" {
            return call.await;
        }
        self.state().in_flight += 1;
        let crowd = self.state().in_flight > 9;
        let answer = call.await;
        self.state().in_flight -= 1;
        if crowd {
            return Err(OperatorError::backend("too many calls"));
        }
        answer
    }
}

fn without(ring: &Keyring, key: &GossipKey) -> Vec<GossipKey> {
    let keys = ring.keys().iter();
    keys.filter(|held| *held != key).cloned().collect()
}

async fn ask(ring: &MockKeyring, change: Change, key: &GossipKey) -> Answer {
    let relay = RelayFactor::default();
    match change {
        Change::Install => ring.install(key, relay).await,
        Change::Use => ring.use_key(key, relay).await,
        Change::Remove => ring.remove(key, relay).await,
    }
}

#[async_trait]
impl KeyringBackend for Broken {
    fn pool(&self) -> Pool {
        if self.rule == "the_pool_is_always_the_same" && self.state().changed {
            return Pool::Wan;
        }
        self.real.pool()
    }

    async fn list(&self, relay: RelayFactor) -> Answer {
        let real = match self.rule {
            "the_nodes_hold_what_is_listed" => &self.believed,
            _ => &self.real,
        };
        if self.rule == "a_dropped_listing_leaves_the_next_one_alone" {
            if std::mem::replace(&mut self.state().busy, true) {
                return Err(OperatorError::backend("busy"));
            }
            give_way().await;
            self.state().busy = false;
        }
        let listed = self.counted(real.list(relay)).await?;
        Ok(self.retold(listed, relay))
    }

    async fn install(&self, key: &GossipKey, relay: RelayFactor) -> Answer {
        self.change(Change::Install, key, relay).await
    }

    async fn use_key(&self, key: &GossipKey, relay: RelayFactor) -> Answer {
        self.change(Change::Use, key, relay).await
    }

    async fn remove(&self, key: &GossipKey, relay: RelayFactor) -> Answer {
        self.change(Change::Remove, key, relay).await
    }

    fn members(&self) -> Result<Vec<NodeName>, OperatorError> {
        let mut members = self.real.members()?;
        match self.rule {
            "the_members_are_the_nodes" => members.retain(|node| node != self.real.node()),
            "a_dead_node_is_no_member" => members = self.real.nodes(),
            _ => {}
        }
        Ok(members)
    }
}

/// A pool in which every node breaks the same rule.
struct BrokenGossip {
    sound: Gossip,
    rule: &'static str,
    believed: MockKeyring,
    state: Arc<Mutex<State>>,
}

impl BrokenGossip {
    fn new(clock: &MockClock, wanted: Rings, rule: &'static str) -> Self {
        let sound = Gossip::new(clock, wanted);
        let nodes = || sound.nodes.iter().map(|node| node.node().clone());
        let believed = MockKeyring::unencrypted(Pool::Lan, nodes());
        for (node, keys) in nodes().zip(wanted.rings()) {
            believed.set_ring(node, ring(&keys));
        }
        BrokenGossip {
            sound,
            rule,
            believed,
            state: Arc::default(),
        }
    }
}

#[async_trait]
impl Fixture for BrokenGossip {
    fn timer(&self) -> &dyn Timer {
        self.sound.timer()
    }
}

#[async_trait]
impl KeyringFixture for BrokenGossip {
    fn nodes(&self) -> Vec<Node> {
        self.sound.nodes_with(|real| Broken {
            believed: self.believed.at(real.node().clone()),
            real,
            rule: self.rule,
            state: Arc::clone(&self.state),
        })
    }

    async fn ring(&self, node: &NodeName) -> Result<Vec<GossipKey>, NotSupported> {
        self.sound.ring(node).await
    }

    async fn stop(&self, node: &NodeName) -> Result<(), NotSupported> {
        self.sound.stop(node).await
    }

    async fn noticed(&self, node: &NodeName) -> Result<(), NotSupported> {
        self.sound.noticed(node).await
    }

    async fn slow_down(&self, node: &NodeName, by: Duration) -> Result<(), NotSupported> {
        self.state.lock().unwrap().late = Some(node.clone());
        self.sound.slow_down(node, by).await
    }
}

#[test]
fn each_check_fails_on_a_backend_that_breaks_its_rule() {
    let clock = MockClock::new();
    crate::assert_caught(CHECKS.iter().map(|check| {
        let broken = async |wanted| Ok(BrokenGossip::new(&clock, wanted, check.name()));
        clock.run(run(check, broken))
    }));
}

#[test]
fn a_backend_that_breaks_no_rule_passes() {
    let clock = MockClock::new();
    let sound = async |wanted| Ok(BrokenGossip::new(&clock, wanted, "none"));
    clock.run(keyring_backend(sound)).assert_complete();
}
