//! Each keyring check fails on a backend that breaks its rule.

#[path = "keyring_mutants/answers.rs"]
mod answers;
#[path = "keyring_mutants/changes.rs"]
mod changes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::keyring::{
    Answers, GossipQuery, KeyChange, Keyring, NodeFailure, NodeKeys, RelayFactor,
};
use cluster_operator::mock::{MockClock, MockKeyring};
use cluster_operator::{GossipKey, KeyringBackend, NodeName, OperatorError, Pool, Timer};
use cluster_operator_conformance::keyring::{CHECKS, KeyringFixture, Node, Rings, by_name, run};
use cluster_operator_conformance::{CheckResult, Fixture, NotSupported, Report, keyring_backend};

use crate::give_way;
use crate::keyring::{Gossip, SHOWN, ring};

type Answer = Result<NodeKeys, NodeFailure>;

/// Each check, and the mistakes of a backend that it notices.
const MUTANTS: crate::Mutants = &[
    (
        "listing_counts_each_key_on_every_node",
        &[
            "only the own node's keys are listed",
            "every fifth listing has another key",
        ],
    ),
    (
        "node_with_another_primary_is_seen",
        &[
            "the last key is listed as the primary",
            "the own primary is listed for all nodes",
            "the own primary is not among the keys",
        ],
    ),
    (
        "install_brings_a_key_to_those_that_lack_it",
        &[
            "every node is listed with the first one's keys",
            "a key that one node has is not installed",
        ],
    ),
    (
        "removal_succeeds_where_some_lack_the_key",
        &["removing an absent key fails on some nodes"],
    ),
    (
        "report_tells_what_each_node_did",
        &[
            "one node too many is counted",
            "failures are not handed over",
            "the own success is reported as a failure",
            "nodes have other names in a change",
            "a change lists keys",
            "the pool changes with the first change",
        ],
    ),
    (
        "many_keys_are_counted_or_reported_as_truncated",
        &["keys that do not fit are just missing"],
    ),
    (
        "nodes_hold_what_is_listed",
        &["a node changes a copy of its ring"],
    ),
    (
        "relay_factor_changes_no_result",
        &[
            "a relayed listing has another key",
            "relayed answers are counted again",
        ],
    ),
    (
        "no_key_is_in_a_report",
        &[
            "a failure has the bytes of the key",
            "texts have the bytes in hexadecimal digits",
            "a note has twenty letters of base64",
        ],
    ),
    (
        "no_key_is_in_an_error",
        &[
            "texts have the bytes in hexadecimal digits",
            "the source of an error has the key",
        ],
    ),
    (
        "install_keeps_the_primary",
        &[
            "the last node does not install",
            "an installed key is the primary",
            "installing again fails",
        ],
    ),
    (
        "use_changes_the_primary_of_every_node",
        &[
            "the last node keeps its primary",
            "a use removes the old primary",
            "using the primary fails",
            "primaries are not shown after a use",
        ],
    ),
    (
        "key_that_is_not_installed_cannot_be_used",
        &[
            "a use installs the key",
            "a removed key comes back with a use",
        ],
    ),
    (
        "removed_key_is_on_no_node",
        &[
            "the last node does not remove",
            "a removal keeps the primary alone",
            "removing an absent key fails",
        ],
    ),
    ("primary_cannot_be_removed", &["the primary can be removed"]),
    (
        "key_is_rotated_through_any_node",
        &[
            "primaries are not shown after a use",
            "a removed key cannot come back",
            "the third install fails",
            "all nodes but the first install for themselves",
        ],
    ),
    (
        "keys_of_all_sizes_are_told_apart",
        &[
            "keys of 24 bytes are rejected",
            "the first 16 bytes of keys are compared",
        ],
    ),
    (
        "pool_of_one_node_is_a_pool",
        &["a single node does not count itself"],
    ),
    (
        "node_that_lacks_the_key_to_use_fails_alone",
        &[
            "a use fails on all nodes if one lacks the key",
            "a failed use is a success",
        ],
    ),
    (
        "primary_of_one_node_is_removed_from_the_others",
        &["a removal fails on all nodes if one uses the key"],
    ),
    (
        "without_encryption_every_node_says_so",
        &["a node in clear text lists no keys"],
    ),
    (
        "node_without_encryption_fails_alone",
        &["a node in clear text makes a change an error"],
    ),
    (
        "stopped_node_is_silent_or_not_counted",
        &[
            "a stopped node is reported as failed",
            "a silent node has another name",
            "a stopped node makes a change an error",
        ],
    ),
    (
        "dead_node_is_not_asked",
        &[
            "dead nodes are asked",
            "every call lasts until its timeout",
            "the last living node asks nobody",
        ],
    ),
    (
        "late_node_is_counted_or_silent",
        &["a late node is reported as failed"],
    ),
    (
        "answers_arrive_while_a_call_runs",
        &[
            "a listing hands over its answers at its end",
            "a change hands over its answers at its end",
        ],
    ),
    (
        "stopped_node_asks_nobody",
        &[
            "a stopped node names nodes",
            "a stopped node changes another one",
        ],
    ),
    (
        "many_calls_at_once_all_end",
        &[
            "an install beside another one is an error",
            "installs at once overwrite each other",
            "the tenth call at once is an error",
        ],
    ),
    (
        "uses_of_two_keys_at_once_leave_every_ring_whole",
        &[
            "primaries are not shown after a use",
            "a use takes the key out first",
        ],
    ),
    (
        "key_is_not_used_and_removed_at_once",
        &["a removal beside a use removes the primary"],
    ),
    (
        "listing_beside_changes_sees_whole_rings",
        &["a change empties the rings first"],
    ),
    (
        "dropped_call_leaves_every_ring_whole",
        &[
            "primaries are not shown after a use",
            "a use takes the key out first",
            "a change names the nodes at its end",
            "a change empties the rings first",
            "a removal empties the rings first",
            "a dropped listing blocks the next",
        ],
    ),
];

/// A keyring that does one thing wrong.
struct Broken {
    /// The rings.
    real: MockKeyring,
    mutant: &'static str,
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
        let mut members = match self.mutant {
            "dead nodes are asked" => self.real.nodes(),
            _ => self.real.members(),
        };
        if self.mutant == "the last living node asks nobody" && members.len() == 1 {
            members.clear();
        }
        if self.mutant == "counts one less" {
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
        // Collects the answers before it hands them over.
        let collects = match self.mutant {
            "a listing hands over its answers at its end" => change.is_none(),
            "a change hands over its answers at its end" => change.is_some(),
            _ => false,
        };
        let names_last = self.mutant == "a change names the nodes at its end" && change.is_some();
        let names = members.iter().map(|node| self.asked_as(node, change));
        let names: Vec<_> = names.collect();
        if !names_last {
            query.answers.asking(names.iter().cloned());
        }
        self.ask_unknown_nodes(change, query);
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
        if self.mutant == "every call lasts until its timeout" {
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
            return (self.mutant == "a stopped node is reported as failed").then_some(Err(failure));
        }
        let rings = match self.mutant {
            "a node changes a copy of its ring" => &self.believed,
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
        if self.mutant != "the tenth call at once is an error" {
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
        Err(match (self.mutant, change) {
            ("the source of an error has the key", Some(change)) => {
                let key = change.key().to_base64();
                error.with_source(std::io::Error::other(format!("cannot send {:?}", *key)))
            }
            ("texts have the bytes in hexadecimal digits", Some(change)) => {
                OperatorError::backend(format!("cannot send {:02x?}", change.key().as_bytes()))
            }
            ("a stopped node names nodes", _) => {
                answers.asking(self.real.nodes());
                error
            }
            ("a stopped node changes another one", Some(change)) => {
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
        if self.mutant == "the pool changes with the first change" && self.state().changed {
            return &Pool::Wan;
        }
        self.real.pool()
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        self.running(None, &query.answers)?;
        if self.mutant == "a dropped listing blocks the next" {
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

/// A pool in which every node does the same thing wrong.
struct BrokenGossip {
    sound: Gossip,
    mutant: &'static str,
    terse: bool,
    clock: MockClock,
    believed: MockKeyring,
    state: Arc<Mutex<State>>,
}

impl BrokenGossip {
    fn new(clock: &MockClock, wanted: Rings, mutant: &'static str) -> Self {
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
            mutant,
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
            mutant: self.mutant,
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

/// A pool of which only the nodes can be had, and whose backends show no primaries.
struct Terse(BrokenGossip);

#[async_trait]
impl Fixture for Terse {
    fn timer(&self) -> &dyn Timer {
        self.0.timer()
    }
}

#[async_trait]
impl KeyringFixture for Terse {
    fn nodes(&self) -> Vec<Node> {
        self.0.nodes()
    }
}

/// The mutants that are caught even if the backend shows no primaries.
const WITHOUT_PRIMARIES: [&str; 7] = [
    "an installed key is the primary",
    "the last node keeps its primary",
    "a use fails on all nodes if one lacks the key",
    "a failed use is a success",
    "a removal fails on all nodes if one uses the key",
    "a use takes the key out first",
    "a removal beside a use removes the primary",
];

#[test]
fn each_mutant_is_caught() {
    let clock = MockClock::new();
    crate::assert_caught(crate::each_mutant(CHECKS, MUTANTS).map(|(check, mutant)| {
        let broken = async |wanted| Ok(BrokenGossip::new(&clock, wanted, mutant));
        println!("{mutant}:");
        clock.run(run(check, broken))
    }));
}

#[test]
fn mutants_without_primaries_are_caught() {
    let clock = MockClock::new();
    let mutants = crate::each_mutant(CHECKS, MUTANTS);
    let mutants = mutants.filter(|(_, mutant)| WITHOUT_PRIMARIES.contains(mutant));
    crate::assert_caught(mutants.map(|(check, mutant)| {
        let broken = async |wanted| Ok(BrokenGossip::new(&clock, wanted, mutant).terse());
        clock.run(run(check, broken))
    }));
}

/// The report of a suite whose first fixture is not what was wanted.
fn ends_with_the_first(report: &Report) -> &str {
    let first = &report.checks()[0];
    let CheckResult::Failed { expected, seen } = &first.result else {
        panic!("{report}");
    };
    assert!(expected.contains("before the rule is tested") || expected.contains("wanted"));
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
        let like_the_first = wanted == CHECKS[0].wanted;
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
fn failure_lists_its_steps_and_calls_keys_by_numbers() {
    let clock = MockClock::new();
    let mutant = "an installed key is the primary";
    let broken = async |wanted| Ok(BrokenGossip::new(&clock, wanted, mutant));
    let report = clock.run(run(&by_name::install_keeps_the_primary, broken));
    let report = report.to_string();
    assert!(report.contains("key 100: 3"), "{report}");
    let step = "Install(key 100) of node-0: 3 of 3 nodes answered, 0 of them failed";
    assert!(report.contains(step), "{report}");
}

#[test]
fn notes_may_differ() {
    let clock = MockClock::new();
    let chatty = async |wanted| Ok(BrokenGossip::new(&clock, wanted, "numbers its answers"));
    clock.run(keyring_backend(chatty)).assert_complete();
}

#[test]
fn backend_without_a_mutation_passes() {
    let clock = MockClock::new();
    let sound = async |wanted| Ok(BrokenGossip::new(&clock, wanted, "none"));
    clock.run(keyring_backend(sound)).assert_complete();
}

#[test]
fn unsupported_checks_are_skipped() {
    let clock = MockClock::new();
    let pool = async |wanted| Ok(Terse(BrokenGossip::new(&clock, wanted, "none").terse()));
    let report = clock.run(keyring_backend(pool));
    report.assert();
    let mut skipped: BTreeMap<_, usize> = BTreeMap::new();
    for check in report.skipped() {
        if let CheckResult::Skipped { reason } = &check.result {
            *skipped.entry(reason.as_str()).or_default() += 1;
        }
    }
    let expected = [
        ("the backend tells no primaries", 1),
        ("the fixture cannot look into a node's ring", 1),
        ("the fixture cannot slow a node down", 2),
        ("the fixture cannot stop a node", 4),
    ];
    assert_eq!(skipped, expected.into(), "{report}");
}
