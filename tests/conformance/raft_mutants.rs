//! Each Raft check fails on a backend that breaks its rule alone.

#[path = "raft_mutants/other_ways.rs"]
mod other_ways;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cluster_operator::conformance::raft::{CHECKS, Member, RaftFixture, Servers, run};
use cluster_operator::conformance::{self, CheckResult, Fixture, NotSupported};
use cluster_operator::mock::{MockClock, MockRaft};
use cluster_operator::{
    Consistency, ErrorKind, LeaderHint, Leadership, OperatorError, Outcome, PeerSelector,
    RaftBackend, RaftConfiguration, ServerId, Suffrage, Timer,
};

use self::other_ways::{
    FORMER_LEADER_ANSWERS, FORMER_LEADER_CONFIRMS, FORMER_LEADER_REMOVES,
    FORMER_LEADER_REMOVES_FOR, HANDED_TO_ANYBODY, LATE, LATE_NOT_APPLIED, LATE_SUCCESS, OTHER_WAYS,
};
use crate::give_way;
use crate::raft::Datacenter;

type Answer<T> = Result<T, OperatorError>;

/// A Raft that breaks the rule of the check of this name, or as one of
/// [`OTHER_WAYS`] says.
struct Broken {
    real: MockRaft,
    clock: MockClock,
    rule: &'static str,
    shared: Arc<Shared>,
}

/// What the servers of one broken cluster have in common.
struct Shared {
    /// The configuration at the beginning.
    first: RaftConfiguration,
    first_leader: LeaderHint,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reads: u64,
    reading: bool,
    removed: Vec<PeerSelector>,
    half_removed: Option<ServerId>,
    /// What is told once more after a removal.
    late: Option<RaftConfiguration>,
}

impl Broken {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    fn leads(&self) -> bool {
        self.real.leadership() == Leadership::Local
    }

    /// Whether this server is the one that led at the beginning.
    fn led_first(&self) -> bool {
        *self.real.id() == self.shared.first_leader.id
    }

    /// The server that leads.
    fn leader(&self) -> Option<MockRaft> {
        self.real.leader().map(|leader| self.real.at(leader))
    }

    async fn stale(&self) -> Answer<RaftConfiguration> {
        self.real.configuration(Consistency::Stale).await
    }

    /// What is told instead of what is so.
    fn retold(&self, mut told: RaftConfiguration) -> RaftConfiguration {
        let mut state = self.state();
        state.reads += 1;
        match self.rule {
            "the_configuration_holds_the_servers_there_are" => drop(told.servers.pop()),
            "ids_and_addresses_are_unique" => told.servers.push(told.servers[0].clone()),
            "a_server_without_a_vote_is_told_to_have_none" => {
                for server in &mut told.servers {
                    server.suffrage = Suffrage::Voter;
                }
            }
            "the_leader_alone_is_marked_as_the_leader" => {
                for server in &mut told.servers {
                    server.leader = true;
                }
            }
            "a_read_changes_nothing" => told.index += state.reads,
            "a_removed_voter_does_not_stay_as_a_nonvoter" => {
                let first = self.shared.first.servers.iter();
                let demoted = first
                    .filter(|server| state.removed.iter().any(|removed| removed.matches(server)));
                let demoted = demoted.cloned();
                told.servers
                    .extend(demoted.map(|server| server.with_suffrage(Suffrage::Nonvoter)));
            }
            "a_removal_has_happened_when_it_returns" => return state.late.take().unwrap_or(told),
            "a_removal_leaves_the_others_as_they_were" if told.index > self.shared.first.index => {
                told.servers.reverse();
            }
            "the_index_grows_with_each_removal" => told.index = self.shared.first.index,
            "a_dropped_removal_happens_whole_or_not_at_all" => {
                for server in &mut told.servers {
                    if state.half_removed.as_ref() == Some(&server.id) {
                        server.suffrage = Suffrage::Nonvoter;
                    }
                }
            }
            _ => {}
        }
        told
    }

    /// A read that takes two polls, and that stands in the way of others.
    async fn read_alone(&self, consistency: Consistency) -> Answer<RaftConfiguration> {
        if std::mem::replace(&mut self.state().reading, true) {
            return Err(OperatorError::backend("busy"));
        }
        give_way().await;
        let read = self.real.configuration(consistency).await;
        self.state().reading = false;
        read
    }
}

#[async_trait]
impl RaftBackend for Broken {
    fn leadership(&self) -> Leadership {
        let led = self.real.leadership();
        let first = || Leadership::Elsewhere(self.shared.first_leader.clone());
        match (self.rule, led) {
            ("one_server_leads_and_the_others_follow", _) => Leadership::Local,
            ("a_hint_is_the_leaders_id_and_address", Leadership::Elsewhere(mut hint)) => {
                hint.address = "127.0.0.1:1".into();
                Leadership::Elsewhere(hint)
            }
            ("another_server_leads_once_the_leader_stops", _) if !self.led_first() => first(),
            ("without_a_majority_nobody_leads", Leadership::None) => first(),
            (
                "a_removed_leader_leads_no_more"
                | "a_leader_without_a_majority_leads_no_more"
                | "a_leader_that_is_cut_off_leads_no_more",
                _,
            ) if self.led_first() => Leadership::Local,
            (_, led) => led,
        }
    }

    async fn configuration(&self, consistency: Consistency) -> Answer<RaftConfiguration> {
        let stale = consistency == Consistency::Stale;
        let consistent = consistency == Consistency::Consistent;
        let read = match self.rule {
            "a_dropped_read_leaves_the_next_one_alone" => self.read_alone(consistency).await,
            "a_removal_reaches_the_followers" if stale && !self.leads() => {
                Ok(self.shared.first.clone())
            }
            "a_consistent_read_sees_what_was_removed" if consistent => {
                Ok(self.shared.first.clone())
            }
            _ => self.real.configuration(consistency).await,
        };
        let read = match (self.rule, read) {
            ("without_a_leader_a_read_is_refused", Err(_))
            | ("a_follower_answers_no_other_read", Err(_)) => self.stale().await,
            ("a_leader_that_is_cut_off_answers_no_consistent_read", Err(_)) if consistent => {
                self.stale().await
            }
            (
                "a_removed_leader_answers_no_read"
                | "a_leader_without_a_majority_answers_no_read"
                | FORMER_LEADER_ANSWERS,
                Err(_),
            ) if self.led_first() && !consistent => self.stale().await,
            (LATE_SUCCESS, Err(_)) if consistent => {
                self.clock.sleep(LATE).await;
                self.stale().await
            }
            (FORMER_LEADER_CONFIRMS, Err(_)) if self.led_first() && consistent => {
                self.stale().await
            }
            ("without_a_leader_a_stale_read_is_answered", Ok(_))
                if self.real.leader().is_none() =>
            {
                Err(ErrorKind::NoLeader.into())
            }
            ("the_leader_answers_a_consistent_read", Ok(_)) if consistent => {
                Err(OperatorError::unsupported("a consistent read"))
            }
            ("a_follower_answers_a_stale_read", Ok(_)) if stale && !self.leads() => {
                Err(ErrorKind::NotLeader { leader: None }.into())
            }
            (_, read) => read,
        };
        read.map(|told| self.retold(told))
    }

    async fn remove_server(&self, server: &PeerSelector, expected: Option<u64>) -> Answer<()> {
        let latest = self.real.latest();
        let text = match server {
            PeerSelector::Id(id) => id.as_str(),
            PeerSelector::Address(address) => address.as_str(),
        };
        let by_id = matches!(server, PeerSelector::Id(_));
        let mut standing = latest.servers.iter();
        let victim = standing.find(|standing| server.matches(standing)).cloned();
        let victim = victim.as_ref();
        let was_removed = self.state().removed.contains(server);
        let mut meant = server.clone();
        let mut index = expected;
        // What happens before, or instead.
        match self.rule {
            "a_voter_is_removed_by_its_id" if by_id => return Ok(()),
            "a_voter_is_removed_by_its_address" if !by_id => return Ok(()),
            "a_nonvoter_is_removed_by_its_id_or_address"
                if victim.is_some_and(|victim| !victim.is_voter()) =>
            {
                return Ok(());
            }
            "the_leader_can_be_removed"
                if victim.is_some_and(|victim| Some(&victim.id) == self.real.leader().as_ref()) =>
            {
                return Err(OperatorError::backend("a leader stays"));
            }
            "a_removal_goes_on_without_a_minority"
                if latest
                    .servers
                    .iter()
                    .any(|server| !self.real.is_up(server.id.clone())) =>
            {
                return Err(OperatorError::backend("the cluster is not healthy"));
            }
            "a_removal_at_the_latest_index_is_done" if expected.is_some() => {
                let actual = latest.index;
                let expected = actual + 1;
                return Err(ErrorKind::Conflict { expected, actual }.into());
            }
            "a_server_is_matched_byte_for_byte" => {
                let text = text.trim();
                let alike = latest.servers.iter().find(|server| {
                    text.eq_ignore_ascii_case(server.id.as_str())
                        || text.eq_ignore_ascii_case(server.address.as_str())
                });
                if let Some(alike) = alike {
                    meant = PeerSelector::Id(alike.id.clone());
                }
            }
            "an_id_is_not_taken_for_an_address" if victim.is_none() => {
                meant = match server {
                    PeerSelector::Id(_) => PeerSelector::Address(text.into()),
                    PeerSelector::Address(_) => PeerSelector::Id(text.into()),
                };
            }
            "odd_names_are_unknown_servers" => assert!(!text.contains('\0'), "no C string"),
            "a_removal_at_another_index_is_a_conflict" => {
                index = expected.filter(|expected| *expected < latest.index);
            }
            "an_index_that_has_moved_on_is_a_conflict" => {
                index = expected.filter(|expected| *expected != self.shared.first.index);
            }
            "removals_at_the_same_index_succeed_once" if index == Some(latest.index) => {
                give_way().await;
                index = None;
            }
            "removals_of_two_servers_at_once_do_what_they_answer" => give_way().await,
            "a_dropped_removal_happens_whole_or_not_at_all" if victim.is_some() => {
                self.state().half_removed = victim.map(|victim| victim.id.clone());
                give_way().await;
                self.state().half_removed = None;
            }
            "a_follower_removes_nothing" => {
                if let Some(leader) = self.leader() {
                    return leader.remove_server(server, expected).await;
                }
            }
            _ => {}
        }
        let removal = self.real.remove_server(&meant, index).await;
        let kind = removal.as_ref().map_err(OperatorError::kind);
        // What is answered instead.
        match (self.rule, kind) {
            (LATE_SUCCESS, Err(_)) => {
                self.clock.sleep(LATE).await;
                return Ok(());
            }
            (LATE_NOT_APPLIED, Err(_)) => {
                self.clock.sleep(LATE).await;
                return removal.map_err(|error| error.with_outcome(Outcome::NotApplied));
            }
            (FORMER_LEADER_REMOVES_FOR, Err(_)) if self.led_first() => {
                if let Some(leader) = self.leader() {
                    leader.remove_server(server, expected).await?;
                }
            }
            ("without_a_leader_nothing_is_removed", Err(ErrorKind::NoLeader))
            | ("a_leader_that_is_cut_off_removes_nothing", Err(_))
            | ("a_leader_without_a_majority_removes_nothing", Err(_))
            | ("a_removed_leader_removes_nothing", Err(_))
            | (FORMER_LEADER_REMOVES, Err(_))
            | ("the_last_voter_is_never_removed", Err(ErrorKind::LastVoter))
            | ("removals_at_once_leave_a_voter", Err(ErrorKind::LastVoter)) => return Ok(()),
            ("nonvoters_do_not_make_the_last_voter_removable", Err(ErrorKind::LastVoter))
                if latest.servers.len() > 1 =>
            {
                return Ok(());
            }
            ("an_unknown_id_is_an_unknown_server", Err(ErrorKind::UnknownServer(_))) if by_id => {
                return Ok(());
            }
            ("an_unknown_address_is_an_unknown_server", Err(ErrorKind::UnknownServer(_)))
                if !by_id =>
            {
                return Ok(());
            }
            ("a_removed_server_is_unknown_from_then_on", Err(_)) if was_removed => return Ok(()),
            ("removals_of_one_server_at_once_succeed_once", Err(ErrorKind::UnknownServer(_))) => {
                return Ok(());
            }
            ("not_applied_is_said_only_of_what_did_not_happen", Err(_)) => {
                return removal.map_err(|error| error.with_outcome(Outcome::NotApplied));
            }
            // A configuration that was read before the other removal is written.
            ("removals_of_two_servers_at_once_do_what_they_answer", Ok(())) => {
                for server in &latest.servers {
                    if victim.is_none_or(|victim| victim.id != server.id) {
                        self.real.join(server.id.clone());
                    }
                }
            }
            _ => {}
        }
        if removal.is_ok() {
            let mut state = self.state();
            state.removed.push(server.clone());
            state.late = Some(latest);
        }
        removal
    }

    async fn transfer_leadership(&self, to: Option<&ServerId>) -> Answer<()> {
        if self.rule == "a_follower_hands_no_lead_on"
            && let Some(leader) = self.leader()
        {
            return leader.transfer_leadership(to).await;
        }
        let servers = self.real.latest().servers;
        let heir = servers.iter().find(|server| Some(&server.id) == to);
        match (self.rule, heir, to) {
            ("the_lead_is_not_handed_to_an_unknown_server", None, Some(name))
                if name.as_str().is_empty() =>
            {
                Ok(())
            }
            ("the_lead_is_not_handed_to_a_nonvoter", Some(heir), _) if !heir.is_voter() => Ok(()),
            ("the_lead_is_handed_to_the_server_that_is_named", Some(_), _)
            | ("the_lead_is_handed_on_where_nobody_is_named", _, None) => Ok(()),
            (HANDED_TO_ANYBODY, None, _) => self.real.transfer_leadership(None).await,
            _ => self.real.transfer_leadership(to).await,
        }
    }
}

/// A datacenter in which every server breaks the same rule.
struct BrokenDatacenter {
    sound: Datacenter,
    clock: MockClock,
    rule: &'static str,
    shared: Arc<Shared>,
}

impl BrokenDatacenter {
    fn new(clock: &MockClock, wanted: Servers, rule: &'static str) -> Self {
        let sound = Datacenter::new(clock, wanted);
        let first = sound.federation.configuration("dc1");
        let leader = first.servers.iter().find(|server| server.leader).unwrap();
        let first_leader = LeaderHint {
            id: leader.id.clone(),
            address: leader.address.clone(),
        };
        BrokenDatacenter {
            sound,
            clock: clock.clone(),
            rule,
            shared: Arc::new(Shared {
                first,
                first_leader,
                state: Mutex::default(),
            }),
        }
    }
}

#[async_trait]
impl Fixture for BrokenDatacenter {
    fn timer(&self) -> &dyn Timer {
        self.sound.timer()
    }
}

#[async_trait]
impl RaftFixture for BrokenDatacenter {
    fn members(&self) -> Vec<Member> {
        self.sound.members_with(|real| Broken {
            real,
            clock: self.clock.clone(),
            rule: self.rule,
            shared: Arc::clone(&self.shared),
        })
    }

    async fn stop(&self, server: &ServerId) -> Result<(), NotSupported> {
        self.sound.stop(server).await
    }

    async fn isolate(&self, server: &ServerId) -> Result<(), NotSupported> {
        self.sound.isolate(server).await
    }
}

#[test]
fn each_check_fails_on_a_backend_that_breaks_its_rule() {
    let clock = MockClock::new();
    crate::assert_caught(CHECKS.iter().map(|check| {
        let broken = async |wanted| Ok(BrokenDatacenter::new(&clock, wanted, check.name()));
        clock.run(run(check, broken))
    }));
}

#[test]
fn what_else_breaks_a_rule_is_caught_too() {
    let clock = MockClock::new();
    crate::assert_caught(OTHER_WAYS.map(|(check, way)| {
        let broken = async |wanted| Ok(BrokenDatacenter::new(&clock, wanted, way));
        clock.run(run(conformance::named(CHECKS, check), broken))
    }));
}

#[test]
fn a_transfer_to_nobody_that_is_done_is_told_as_such_by_each_check_of_a_transfer() {
    let clock = MockClock::new();
    let broken = async |wanted| Ok(BrokenDatacenter::new(&clock, wanted, HANDED_TO_ANYBODY));
    let report = clock.run(conformance::raft_backend(broken));
    let failed: Vec<_> = report.failures().map(|check| check.name).collect();
    assert_eq!(failed.len(), 5, "{report}");
    for check in report.failures() {
        let CheckResult::Failed { expected, seen } = &check.result else {
            unreachable!("{check:?}");
        };
        assert!(check.name.contains("lead"), "{report}");
        assert!(expected.contains("which no server is"), "{report}");
        assert_eq!(seen, "Ok(())", "{report}");
    }
}

#[test]
fn a_backend_that_breaks_no_rule_passes() {
    let clock = MockClock::new();
    let sound = async |wanted| Ok(BrokenDatacenter::new(&clock, wanted, "none"));
    let report = clock.run(conformance::raft_backend(sound));
    report.assert_complete();
}
