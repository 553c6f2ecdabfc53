//! Each keyring check fails on a backend that breaks its rule alone.

#[path = "keyring_mutants/deeds.rs"]
mod deeds;
#[path = "keyring_mutants/words.rs"]
mod words;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::conformance::keyring::{CHECKS, KeyringFixture, Node, Rings, run};
use cluster_operator::conformance::{CheckResult, Fixture, NotSupported, Report, keyring_backend};
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
    /// Whether it tells no primaries.
    terse: bool,
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
    used: bool,
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
                Change::Use => state.used = true,
                Change::Remove => state.removed.push(key.clone()),
            }
        }
        match (self.rule, answer) {
            ("no_key_is_in_an_error", Err(error)) => {
                let source = std::io::Error::other(format!("cannot send {:?}", *key.to_base64()));
                Err(error.with_source(source))
            }
            ("tells bytes in hexadecimal digits", Err(_)) => {
                let words = format!("cannot send {:02x?}", key.as_bytes());
                Err(OperatorError::backend(words))
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
    terse: bool,
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
            terse: false,
            believed,
            state: Arc::default(),
        }
    }

    fn terse(self) -> Self {
        BrokenGossip {
            terse: true,
            ..self
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
            terse: self.terse,
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

/// Other backends that break the rule of a check.
const MORE: [(&str, &str); 10] = [
    ("no_key_is_in_a_report", "tells bytes in hexadecimal digits"),
    ("no_key_is_in_a_report", "tells pairs of hexadecimal digits"),
    ("no_key_is_in_a_report", "tells twenty letters"),
    ("no_key_is_in_a_report", "tells escaped bytes"),
    ("no_key_is_in_an_error", "tells bytes in hexadecimal digits"),
    ("use_moves_the_primary_of_every_node", LOSES_PRIMARIES),
    (
        "using_the_primary_succeeds_and_changes_nothing",
        LOSES_PRIMARIES,
    ),
    ("a_key_is_rotated", LOSES_PRIMARIES),
    (
        "uses_of_two_keys_at_once_leave_every_ring_whole",
        LOSES_PRIMARIES,
    ),
    ("a_dropped_use_leaves_every_ring_whole", LOSES_PRIMARIES),
];

const LOSES_PRIMARIES: &str = "tells no primaries after a use";

#[test]
fn a_rule_can_be_broken_in_other_ways() {
    let clock = MockClock::new();
    crate::assert_caught(MORE.iter().map(|(name, way)| {
        let check = CHECKS.iter().find(|check| check.name() == *name).unwrap();
        let broken = async |wanted| Ok(BrokenGossip::new(&clock, wanted, way));
        clock.run(run(check, broken))
    }));
}

/// What is seen of these rules without primaries in a listing.
const WITHOUT_PRIMARIES: [&str; 8] = [
    "install_keeps_the_primary",
    "use_moves_the_primary_of_every_node",
    "who_lacks_the_key_to_use_fails_alone",
    "who_lacks_the_key_to_use_is_no_success",
    "the_primary_of_one_node_is_removed_from_the_others",
    "uses_of_two_keys_at_once_leave_every_ring_whole",
    "a_key_is_not_used_and_removed_at_once",
    "a_dropped_use_leaves_every_ring_whole",
];

#[test]
fn a_backend_that_tells_no_primaries_is_caught_too() {
    let clock = MockClock::new();
    let checks = CHECKS.iter();
    let checks = checks.filter(|check| WITHOUT_PRIMARIES.contains(&check.name()));
    crate::assert_caught(checks.map(|check| {
        let broken = async |wanted| Ok(BrokenGossip::new(&clock, wanted, check.name()).terse());
        clock.run(run(check, broken))
    }));
}

/// The report of a suite whose first fixture is not what was wanted.
fn ends_with_the_first(report: &Report) -> &str {
    let first = &report.checks()[0];
    let CheckResult::Failed { expected, seen } = &first.result else {
        panic!("{report}");
    };
    assert!(expected.contains("before the rule is tried") || expected.contains("wanted"));
    assert_eq!(report.skipped().count(), CHECKS.len() - 1, "{report}");
    for check in report.skipped() {
        let CheckResult::Skipped { reason } = &check.result else {
            unreachable!();
        };
        assert!(reason.contains(first.name), "{reason}");
    }
    seen
}

#[test]
fn a_pool_that_is_never_whole_is_waited_for_once() {
    let clock = MockClock::new();
    let broken = async |wanted| Ok(BrokenGossip::new(&clock, wanted, "counts one less"));
    let report = clock.run(keyring_backend(broken));
    let seen = ends_with_the_first(&report);
    assert!(seen.contains("the backend leaves one out"), "{seen}");
}

#[test]
fn a_fixture_of_too_few_nodes_is_blamed() {
    let clock = MockClock::new();
    let few = Rings::new(&[&[1, 2, 3], &[1, 2, 3]]);
    let pool = async |_| Ok(Gossip::new(&clock, few));
    let report = clock.run(keyring_backend(pool));
    let seen = ends_with_the_first(&report);
    assert!(seen.contains("node-1"), "{seen}");
    // Where one pool was what was wanted, another is no reason to stop.
    let pool = async |wanted: Rings| {
        let like_the_first = wanted == *CHECKS[0].wanted();
        Ok(Gossip::new(
            &clock,
            if like_the_first { wanted } else { few },
        ))
    };
    let report = clock.run(keyring_backend(pool));
    assert_eq!(report.skipped().count(), 0, "{report}");
    assert!(report.failures().count() > 10, "{report}");
}

#[test]
fn a_failure_calls_keys_by_their_numbers() {
    let clock = MockClock::new();
    let check = &CHECKS[0];
    let broken = async |wanted| Ok(BrokenGossip::new(&clock, wanted, check.name()));
    let report = clock.run(run(check, broken)).to_string();
    assert!(report.contains("key 1: 3"), "{report}");
}

#[test]
fn a_node_may_remark_something_else_each_time() {
    let clock = MockClock::new();
    let chatty = async |wanted| Ok(BrokenGossip::new(&clock, wanted, "numbers its answers"));
    clock.run(keyring_backend(chatty)).assert_complete();
}

#[test]
fn a_backend_that_breaks_no_rule_passes() {
    let clock = MockClock::new();
    let sound = async |wanted| Ok(BrokenGossip::new(&clock, wanted, "none"));
    clock.run(keyring_backend(sound)).assert_complete();
}
