//! Each keyring check fails on a backend that breaks its rule alone.

#[path = "keyring_mutants/deeds.rs"]
mod deeds;
#[path = "keyring_mutants/words.rs"]
mod words;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::conformance::keyring::{CHECKS, KeyringFixture, Node, Rings, run};
use cluster_operator::conformance::{Fixture, NotSupported, keyring_backend};
use cluster_operator::keyring::Keyring;
use cluster_operator::mock::{MockClock, MockKeyring};
use cluster_operator::{
    GossipKey, KeyringBackend, NodeFailure, NodeName, OperatorError, Pool, RelayFactor, RingReport,
    Timer,
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
