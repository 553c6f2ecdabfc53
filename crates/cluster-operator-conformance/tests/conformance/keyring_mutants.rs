//! Each keyring check fails on a backend that breaks its rule alone.

#[path = "keyring_mutants/answers.rs"]
mod answers;
#[path = "keyring_mutants/changes.rs"]
mod changes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::keyring::{Answers, Keyring, NodeKeys};
use cluster_operator::mock::{MockClock, MockKeyring};
use cluster_operator::{
    GossipKey, GossipQuery, KeyChange, KeyringBackend, NodeFailure, NodeName, OperatorError, Pool,
    RelayFactor, Timer,
};
use cluster_operator_conformance::keyring::{CHECKS, KeyringFixture, Node, Rings, run};
use cluster_operator_conformance::{CheckResult, Fixture, NotSupported, Report, keyring_backend};

use crate::give_way;
use crate::keyring::{Gossip, SHOWN, ring};

type Answer = Result<NodeKeys, NodeFailure>;

/// A keyring that breaks the rule of the check of this name.
struct Broken {
    /// The rings.
    real: MockKeyring,
    rule: &'static str,
    /// Whether it tells no primaries.
    terse: bool,
    clock: MockClock,
    /// What a backend with a ring of its own believes.
    believed: MockKeyring,
    state: Arc<Mutex<State>>,
}

/// What the nodes of one broken pool have in common.
#[derive(Default)]
struct State {
    stopped: BTreeSet<NodeName>,
    late: BTreeMap<NodeName, Duration>,
    listings: usize,
    installs: usize,
    in_flight: usize,
    busy: bool,
    changed: bool,
    used: bool,
    removed: Vec<GossipKey>,
}

impl Broken {
    fn state(&self) -> MutexGuard<'_, State> {
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

    /// The nodes that are asked.
    fn members(&self) -> Vec<NodeName> {
        let mut members = match self.rule {
            "dead_node_is_not_asked" => self.real.nodes(),
            _ => self.real.members(),
        };
        if self.rule == "last_living_node_asks_itself" && members.len() == 1 {
            members.clear();
        }
        if self.rule == "counts one less" {
            members.pop();
        }
        members
    }

    /// Asks all members, one after another, those that are late last.
    async fn ask(
        &self,
        change: Option<&KeyChange>,
        query: &GossipQuery,
    ) -> Result<(), OperatorError> {
        let late = self.state().late.clone();
        let delay = |node: &NodeName| late.get(node).copied().unwrap_or_default();
        let mut members = self.members();
        members.sort_by_key(&delay);
        // Those who collect the answers before they hand them over.
        let collects = match self.rule {
            "answers_arrive_while_a_listing_runs" => change.is_none(),
            "answers_arrive_while_a_change_runs" => change.is_some(),
            _ => false,
        };
        let names_last = self.rule == "dropped_call_has_named_whom_it_asked" && change.is_some();
        let names = members.iter().map(|node| self.asked_as(node, change));
        let names: Vec<_> = names.collect();
        if !names_last {
            query.answers.asking(names.iter().cloned());
        }
        self.ask_strangers(change, query);
        let mut collected = Vec::new();
        let mut waited = Duration::ZERO;
        for (node, name) in std::iter::zip(&members, &names) {
            let wait = delay(node).min(query.timeout).saturating_sub(waited);
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
                waited += wait;
            }
            if delay(node) > query.timeout {
                break;
            }
            let Some(answer) = self.answer(node, change, query) else {
                continue;
            };
            if collects || names_last {
                collected.push((name, answer));
            } else {
                query.answers.answered(name, answer);
            }
        }
        if names_last {
            query.answers.asking(names.iter().cloned());
        }
        for (name, answer) in collected {
            query.answers.answered(name, answer);
        }
        if self.rule == "call_ends_with_the_last_answer" {
            self.clock.sleep(query.timeout - waited).await;
        }
        Ok(())
    }

    /// What a node does, and what is handed over as its answer.
    fn answer(
        &self,
        node: &NodeName,
        change: Option<&KeyChange>,
        query: &GossipQuery,
    ) -> Option<Answer> {
        if self.state().stopped.contains(node) {
            let failure = NodeFailure::Other("no answer".into());
            return (self.rule == "stopped_node_is_silent_or_not_counted").then_some(Err(failure));
        }
        let rings = match self.rule {
            "nodes_hold_what_is_listed" => &self.believed,
            _ => &self.real,
        };
        let before = rings.ring(node.clone());
        let answer = act(rings, node, change);
        match change {
            None => Some(self.listed(node, answer, query.relay)),
            Some(change) => self.changed(node, change, answer, before),
        }
    }

    async fn make_change(
        &self,
        change: &KeyChange,
        query: &GossipQuery,
    ) -> Result<(), OperatorError> {
        if let Some(result) = self.instead(change, query).await {
            return result;
        }
        let before = self.rings();
        self.counted(self.ask(Some(change), query)).await?;
        {
            let mut state = self.state();
            state.changed = true;
            match change {
                KeyChange::Install(_) => state.installs += 1,
                KeyChange::Use(_) => state.used = true,
                KeyChange::Remove(key) => state.removed.push(key.clone()),
            }
        }
        self.afterwards(change, before);
        Ok(())
    }

    /// A call, unless there are many.
    async fn counted(
        &self,
        call: impl Future<Output = Result<(), OperatorError>>,
    ) -> Result<(), OperatorError> {
        if self.rule != "many_calls_at_once_all_end" {
            return call.await;
        }
        self.state().in_flight += 1;
        let crowd = self.state().in_flight > 9;
        let result = call.await;
        self.state().in_flight -= 1;
        if crowd {
            return Err(OperatorError::backend("too many calls"));
        }
        result
    }

    /// An error if this node is stopped.
    fn running(&self, change: Option<&KeyChange>, answers: &Answers) -> Result<(), OperatorError> {
        if !self.state().stopped.contains(self.real.node()) {
            return Ok(());
        }
        let error = OperatorError::backend("this node is stopped");
        Err(match (self.rule, change) {
            ("no_key_is_in_an_error", Some(change)) => {
                let key = change.key().to_base64();
                error.with_source(std::io::Error::other(format!("cannot send {:?}", *key)))
            }
            ("tells bytes in hexadecimal digits", Some(change)) => {
                OperatorError::backend(format!("cannot send {:02x?}", change.key().as_bytes()))
            }
            ("stopped_node_asks_nobody", _) => {
                answers.asking(self.real.nodes());
                error
            }
            ("changes the others while it is stopped", Some(change)) => {
                let _ = act(&self.real, &"node-0".into(), Some(change));
                error
            }
            _ => error,
        })
    }
}

/// Does what a node is asked, by the rules.
fn act(rings: &MockKeyring, node: &NodeName, change: Option<&KeyChange>) -> Answer {
    let mut held = rings.ring(node.clone()).ok_or(NodeFailure::EncryptionOff)?;
    match change {
        None => {
            // The first node's own ring goes through no message.
            let shown = match node.as_str() {
                "node-0" => usize::MAX,
                _ => SHOWN,
            };
            let keys = NodeKeys::ring(held.keys().iter().take(shown).cloned());
            return Ok(match held.keys().len() {
                total if total > shown => keys.truncated(total),
                _ => keys,
            });
        }
        Some(KeyChange::Install(key)) => _ = held.install(key.clone()),
        Some(KeyChange::Use(key)) => held.use_key(key)?,
        Some(KeyChange::Remove(key)) => _ = held.remove(key)?,
    }
    rings.set_ring(node.clone(), Some(held));
    Ok(NodeKeys::done())
}

#[async_trait]
impl KeyringBackend for Broken {
    fn pool(&self) -> &Pool {
        if self.rule == "pool_never_changes" && self.state().changed {
            return &Pool::Wan;
        }
        self.real.pool()
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        self.running(None, &query.answers)?;
        if self.rule == "dropped_listing_blocks_nothing" {
            if std::mem::replace(&mut self.state().busy, true) {
                return Err(OperatorError::backend("busy"));
            }
            give_way().await;
            self.state().busy = false;
        }
        self.state().listings += 1;
        self.counted(self.ask(None, query)).await
    }

    async fn change(&self, change: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        self.running(Some(change), &query.answers)?;
        self.make_change(change, query).await
    }
}

/// A pool in which every node breaks the same rule.
struct BrokenGossip {
    sound: Gossip,
    rule: &'static str,
    terse: bool,
    clock: MockClock,
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
        let state = State {
            late: nodes()
                .zip(0..)
                .map(|(node, number)| (node, Duration::from_millis(20) * number))
                .collect(),
            ..State::default()
        };
        BrokenGossip {
            sound,
            rule,
            terse: false,
            clock: clock.clone(),
            believed,
            state: Arc::new(Mutex::new(state)),
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
            clock: self.clock.clone(),
            state: Arc::clone(&self.state),
        })
    }

    async fn ring(&self, node: &NodeName) -> Result<Vec<GossipKey>, NotSupported> {
        self.sound.ring(node).await
    }

    async fn stop(&self, node: &NodeName) -> Result<(), NotSupported> {
        self.state.lock().unwrap().stopped.insert(node.clone());
        self.sound.stop(node).await
    }

    async fn noticed(&self, node: &NodeName) -> Result<(), NotSupported> {
        self.sound.noticed(node).await
    }

    async fn slow_down(&self, node: &NodeName, by: Duration) -> Result<(), NotSupported> {
        self.state.lock().unwrap().late.insert(node.clone(), by);
        Ok(())
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
const MORE: [(&str, &str); 11] = [
    ("no_key_is_in_a_report", "tells bytes in hexadecimal digits"),
    ("no_key_is_in_a_report", "tells pairs of hexadecimal digits"),
    ("no_key_is_in_a_report", "tells twenty letters"),
    ("no_key_is_in_a_report", "tells escaped bytes"),
    ("no_key_is_in_an_error", "tells bytes in hexadecimal digits"),
    (
        "stopped_node_asks_nobody",
        "changes the others while it is stopped",
    ),
    ("use_changes_the_primary_of_every_node", LOSES_PRIMARIES),
    (
        "using_the_primary_succeeds_and_changes_nothing",
        LOSES_PRIMARIES,
    ),
    ("key_is_rotated", LOSES_PRIMARIES),
    (
        "uses_of_two_keys_at_once_leave_every_ring_whole",
        LOSES_PRIMARIES,
    ),
    ("dropped_use_leaves_every_ring_whole", LOSES_PRIMARIES),
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
    "use_changes_the_primary_of_every_node",
    "node_that_lacks_the_key_to_use_fails_alone",
    "node_that_lacks_the_key_to_use_is_no_success",
    "primary_of_one_node_is_removed_from_the_others",
    "uses_of_two_keys_at_once_leave_every_ring_whole",
    "key_is_not_used_and_removed_at_once",
    "dropped_use_leaves_every_ring_whole",
];

#[test]
fn backend_without_primaries_is_caught_too() {
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
fn pool_that_is_never_whole_is_waited_for_once() {
    let clock = MockClock::new();
    let broken = async |wanted| Ok(BrokenGossip::new(&clock, wanted, "counts one less"));
    let report = clock.run(keyring_backend(broken));
    let seen = ends_with_the_first(&report);
    assert!(seen.contains("the backend leaves one out"), "{seen}");
}

#[test]
fn fixture_of_too_few_nodes_is_blamed() {
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
fn failure_lists_its_steps_and_calls_keys_by_their_numbers() {
    let clock = MockClock::new();
    let name = "install_keeps_the_primary";
    let check = CHECKS.iter().find(|check| check.name() == name).unwrap();
    let broken = async |wanted| Ok(BrokenGossip::new(&clock, wanted, name));
    let report = clock.run(run(check, broken)).to_string();
    assert!(report.contains("key 100: 3"), "{report}");
    let step = "Install(key 100) of node-0: 3 of 3 nodes answered, 0 of them failed";
    assert!(report.contains(step), "{report}");
}

#[test]
fn node_may_remark_something_else_each_time() {
    let clock = MockClock::new();
    let chatty = async |wanted| Ok(BrokenGossip::new(&clock, wanted, "numbers its answers"));
    clock.run(keyring_backend(chatty)).assert_complete();
}

#[test]
fn backend_that_breaks_no_rule_passes() {
    let clock = MockClock::new();
    let sound = async |wanted| Ok(BrokenGossip::new(&clock, wanted, "none"));
    clock.run(keyring_backend(sound)).assert_complete();
}
