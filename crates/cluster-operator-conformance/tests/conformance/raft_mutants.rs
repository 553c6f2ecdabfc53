//! Each Raft check fails on a backend that breaks its rule.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cluster_operator::mock::{MockClock, MockRaft};
use cluster_operator::raft::{
    Change, ChangeKind, LeaderHint, Leadership, Membership, PendingChange, Proof, RaftView,
    Suffrage,
};
use cluster_operator::{ErrorKind, OperatorError, Outcome, RaftBackend, ServerId, Timer};
use cluster_operator_conformance::raft::{CHECKS, RaftFixture, Servers, by_name, run};

use crate::give_way;
use crate::raft::Datacenter;

type Answer<T> = Result<T, OperatorError>;

/// Each check, and the mistakes of a backend that it notices.
const MUTANTS: crate::Mutants = &[
    (
        "one_server_leads_and_the_others_follow",
        &["every server leads", "the hint has another address"],
    ),
    ("single_voter_leads", &["a single voter does not lead"]),
    (
        "view_shows_its_server_and_the_membership",
        &[
            "a view has the leader's id",
            "a server is missing",
            "every server has a vote",
        ],
    ),
    (
        "reading_changes_nothing",
        &[
            "the version grows with each view",
            "a dropped view stands in the way",
        ],
    ),
    (
        "only_the_leader_confirms_its_view",
        &[
            "a view is confirmed in another term",
            "views are confirmed without asking",
        ],
    ),
    (
        "follower_without_a_majority_knows_no_leader",
        &["the last leader is remembered", "a former leader stays"],
    ),
    (
        "leader_without_a_majority_stops_leading",
        &["the last leader is remembered", "a former leader stays"],
    ),
    (
        "cut_off_leader_confirms_nothing_and_stops_leading",
        &[
            "views are confirmed without asking",
            "the outcome of a read is unknown",
            "the last leader is remembered",
            "a former leader stays",
        ],
    ),
    ("follower_refuses_a_removal", &["a follower forwards"]),
    (
        "other_term_or_version_is_refused",
        &[
            "the term is ignored",
            "the version is ignored",
            "the index of the version is compared alone",
        ],
    ),
    (
        "term_of_a_former_leader_is_refused",
        &["the term stays", "the term is ignored"],
    ),
    (
        "removal_during_another_change_is_refused",
        &["another change is not looked for"],
    ),
    (
        "removal_ends_a_joint_configuration",
        &["nobody ends a joint configuration"],
    ),
    (
        "removal_after_a_death_is_refused",
        &[
            "nothing is proven",
            "an unproven removal is refused at the end of its timeout",
        ],
    ),
    (
        "unproven_removal_appends_nothing",
        &[
            "nothing is proven",
            "earlier acknowledgements count",
            "an unproven removal is appended",
        ],
    ),
    (
        "only_voters_that_stay_prove_anything",
        &[
            "nothing is proven",
            "a leader that is removed counts",
            "servers without a vote count",
        ],
    ),
    (
        "margin_needs_one_voter_more",
        &[
            "nothing is proven",
            "the margin is a majority",
            "the margin is everybody",
        ],
    ),
    (
        "removal_needs_no_dead_voter",
        &["a change needs all servers", "a removal leaves no majority"],
    ),
    (
        "old_majority_is_no_success",
        &[
            "a change is done with the old majority",
            "what is unknown is not applied",
            "a change that failed stands in the way",
        ],
    ),
    (
        "leader_lost_during_a_removal_claims_nothing",
        &[
            "a change is done with the old majority",
            "what is unknown is not applied",
        ],
    ),
    (
        "any_timeout_is_kept",
        &[
            "an error comes after the timeout",
            "a timeout is added to the present",
        ],
    ),
    (
        "removal_has_happened_when_it_returns",
        &[
            "a change is answered and not done",
            "a removed server loses its vote alone",
            "the version stays",
            "a removal changes the order",
            "followers learn nothing",
        ],
    ),
    (
        "removed_leader_stops_leading",
        &[
            "a former leader stays",
            "a leader cannot be removed",
            "a removed leader forwards",
        ],
    ),
    (
        "removals_at_once_succeed_once",
        &[
            "the version is ignored",
            "a server that is gone is removed again",
        ],
    ),
    (
        "dropped_removal_happens_whole_or_not_at_all",
        &[
            "a dropped removal is done by half",
            "a dropped change stands in the way",
        ],
    ),
    (
        "replacement_has_happened_when_it_returns",
        &[
            "a change is answered and not done",
            "a removed server loses its vote alone",
            "the version stays",
            "a replacement begins with a removal",
        ],
    ),
    (
        "replaced_leader_stops_leading",
        &["a former leader stays", "a leader cannot be removed"],
    ),
    (
        "only_nonvoter_replaces_a_voter",
        &["the votes of the servers are not looked at"],
    ),
    (
        "outdated_replacement_is_refused",
        &[
            "the term is ignored",
            "the version is ignored",
            "the index of the version is compared alone",
            "a follower forwards",
        ],
    ),
    (
        "replacement_during_another_change_is_refused",
        &["another change is not looked for"],
    ),
    (
        "replacement_ends_another_joint_configuration",
        &["nobody ends a joint configuration"],
    ),
    (
        "replacement_is_proven_by_the_new_voters",
        &[
            "a replacement is not proven",
            "the margin is a majority",
            "a replacement begins with a removal",
            "a change needs all servers",
        ],
    ),
    (
        "server_without_the_whole_log_replaces_nobody",
        &["a part of the log is enough"],
    ),
    (
        "voter_lost_during_a_replacement_does_not_stop_it",
        &["a replacement begins with a removal"],
    ),
    (
        "new_voter_lost_during_a_replacement_does_not_stop_it",
        &[
            "a replacement begins with a removal",
            "a change is answered and not done",
        ],
    ),
    (
        "leader_lost_during_a_replacement_claims_nothing",
        &[
            "a change is done with the old majority",
            "what is unknown is not applied",
        ],
    ),
    (
        "dropped_replacement_happens_whole_or_not_at_all",
        &[
            "a replacement begins with an addition",
            "a dropped change stands in the way",
        ],
    ),
    (
        "promotion_has_happened_when_it_returns",
        &["a change is answered and not done", "the version stays"],
    ),
    (
        "only_nonvoter_is_promoted",
        &[
            "the votes of the servers are not looked at",
            "an unknown server is promoted",
        ],
    ),
    (
        "outdated_promotion_is_refused",
        &[
            "the term is ignored",
            "the version is ignored",
            "the index of the version is compared alone",
            "a follower forwards",
        ],
    ),
    (
        "promotion_during_another_change_is_refused",
        &["another change is not looked for"],
    ),
    (
        "promotion_ends_another_joint_configuration",
        &["nobody ends a joint configuration"],
    ),
    (
        "promotion_is_proven_by_the_new_voters",
        &[
            "a promotion is not proven",
            "the margin is a majority",
            "the margin is everybody",
            "a change needs all servers",
        ],
    ),
    (
        "server_without_the_whole_log_is_not_promoted",
        &[
            "a part of the log is enough",
            "a server that was behind stays behind",
        ],
    ),
    (
        "old_majority_is_no_promotion",
        &[
            "a change is done with the old majority",
            "what is unknown is not applied",
            "a change that failed stands in the way",
        ],
    ),
    (
        "leader_lost_during_a_promotion_claims_nothing",
        &[
            "a change is done with the old majority",
            "what is unknown is not applied",
        ],
    ),
    (
        "dropped_promotion_happens_whole_or_not_at_all",
        &[
            "a promotion begins with a removal",
            "a dropped change stands in the way",
        ],
    ),
    (
        "transfer_makes_the_target_lead",
        &["a transfer is answered and not done"],
    ),
    (
        "transfer_to_an_unreachable_server_fails",
        &["a transfer is answered and not done"],
    ),
];

/// A Raft that does one thing wrong.
struct Broken {
    real: MockRaft,
    clock: MockClock,
    mutant: &'static str,
    shared: Arc<Shared>,
}

/// What the servers of one broken cluster have in common.
struct Shared {
    /// The first leader's view at the beginning.
    first: RaftView,
    first_leader: LeaderHint,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    views: u64,
    /// A call is under way, or was dropped.
    busy: bool,
    removed: BTreeSet<ServerId>,
    half_removed: Option<ServerId>,
    half_added: Option<ServerId>,
    half_promoted: Option<ServerId>,
    behind: bool,
    appended: bool,
}

impl Broken {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Whether this server is the one that led at the beginning.
    fn led_first(&self) -> bool {
        *self.real.id() == self.shared.first_leader.id
    }

    fn leads(&self) -> bool {
        self.real.leader().as_ref() == Some(self.real.id())
    }

    /// Whether a server was stopped.
    fn is_one_down(&self) -> bool {
        let mut servers = self.shared.first.membership.servers.iter();
        servers.any(|server| !self.real.is_up(server.id.clone()))
    }

    /// The number of servers that are up, and that this one does not reach.
    async fn cut_off(&self) -> usize {
        let Ok(view) = self.real.view().await else {
            return 0;
        };
        let unseen = view.servers().filter(|(server, status)| {
            let unseen = status.is_some_and(|status| status.alive == Some(false));
            unseen && self.real.is_up(server.id.clone())
        });
        unseen.count()
    }

    /// The server that leads.
    fn leader(&self) -> Option<MockRaft> {
        self.real.leader().map(|leader| self.real.at(leader))
    }

    /// What is shown instead of what is so.
    fn mutated(&self, mut view: RaftView) -> RaftView {
        let mut state = self.state();
        state.views += 1;
        let first = &self.shared.first;
        let mut servers = view.membership.servers.clone();
        match self.mutant {
            "every server leads" => view.leadership = Leadership::Local,
            "a single voter does not lead" if servers.len() == 1 => {
                view.leadership = Leadership::Unknown;
            }
            "a view has the leader's id" => view.id = self.shared.first_leader.id.clone(),
            "the hint has another address" => {
                if let Leadership::Remote(hint) = &mut view.leadership {
                    hint.address = "127.0.0.1:1".into();
                }
            }
            "a server is missing" => drop(servers.pop()),
            "every server has a vote" => {
                for server in &mut servers {
                    server.suffrage = Suffrage::Voter;
                }
            }
            "the version grows with each view" => view.version.index += state.views,
            "the term stays" => view.term = first.term,
            "the last leader is remembered" if view.leadership == Leadership::Unknown => {
                view.leadership = Leadership::Remote(self.shared.first_leader.clone());
            }
            "a former leader stays" if self.led_first() => view.leadership = Leadership::Local,
            "an unproven removal is appended" if state.appended => view.version.index += 1,
            "a removal leaves no majority" if !state.removed.is_empty() && self.is_one_down() => {
                view.leadership = Leadership::Unknown;
            }
            "a removed server loses its vote alone" => {
                for server in &first.membership.servers {
                    if state.removed.contains(&server.id) {
                        let mut server = server.clone();
                        server.suffrage = Suffrage::Nonvoter;
                        servers.push(server);
                    }
                }
            }
            "the version stays" => view.version = first.version,
            "a removal changes the order" if !state.removed.is_empty() => servers.reverse(),
            "followers learn nothing" if !self.leads() => {
                servers.clone_from(&first.membership.servers);
                view.version = first.version;
            }
            "a replacement begins with an addition" => {
                for server in &mut servers {
                    if state.half_added.as_ref() == Some(&server.id) {
                        server.suffrage = Suffrage::Voter;
                    }
                }
            }
            "a promotion begins with a removal" => {
                servers.retain(|server| state.half_promoted.as_ref() != Some(&server.id));
            }
            "a dropped removal is done by half" => {
                for server in &mut servers {
                    if state.half_removed.as_ref() == Some(&server.id) {
                        server.suffrage = Suffrage::Nonvoter;
                    }
                }
            }
            _ => {}
        }
        view.membership = Arc::new(Membership { servers });
        view
    }

    /// A change that is made, or answered, in the wrong way from the beginning.
    async fn change_wrongly(&self, change: &mut Change) -> Option<Answer<()>> {
        let view = self.real.view().await.ok()?;
        let leads = self.leads();
        match self.mutant {
            "a follower forwards" => return Some(self.leader()?.change_membership(change).await),
            "a removed leader forwards" if self.led_first() => {
                let at = self.leader()?;
                return Some(at.change_membership(change).await);
            }
            "a timeout is added to the present" => {
                let _deadline = Instant::now() + change.timeout;
            }
            "the term is ignored" => change.term = view.term,
            "the version is ignored" => change.version = view.version,
            "the index of the version is compared alone" => {
                change.version.term = view.version.term;
            }
            "nobody ends a joint configuration" if view.change == Some(PendingChange::Joint) => {
                return Some(Err(ErrorKind::ChangeInProgress.into()));
            }
            "the margin is a majority" => change.proof = Proof::Majority,
            "the margin is everybody" if change.proof == Proof::Margin => {
                return Some(Err(self.unproven(usize::MAX)));
            }
            "a change needs all servers" if self.is_one_down() => {
                return Some(Err(ErrorKind::NoTransferTarget.into()));
            }
            "a change is answered and not done" if leads => return Some(Ok(())),
            "a leader cannot be removed" if removed(change) == Some(self.real.id()) => {
                return Some(Err(OperatorError::backend("a leader stays")));
            }
            "a change that failed stands in the way" if self.state().busy => {
                return Some(Err(ErrorKind::ChangeInProgress.into()));
            }
            "a server that is gone is removed again"
                if leads && removed(change).is_some_and(|id| view.membership.get(id).is_none()) =>
            {
                return Some(Ok(()));
            }
            "a dropped removal is done by half" => {
                self.state().half_removed = removed(change).cloned();
                give_way().await;
                self.state().half_removed = None;
            }
            "a dropped change stands in the way" => {
                if std::mem::replace(&mut self.state().busy, true) {
                    return Some(Err(ErrorKind::ChangeInProgress.into()));
                }
                give_way().await;
                self.state().busy = false;
            }
            "a replacement begins with a removal" => {
                if let ChangeKind::Replace { id, .. } = &change.kind {
                    change.kind = ChangeKind::Remove { id: id.clone() };
                }
            }
            "an unknown server is promoted" => match &change.kind {
                ChangeKind::Promote { id } if view.membership.get(id).is_none() => {
                    return Some(Ok(()));
                }
                _ => {}
            },
            "a server that was behind stays behind" if self.state().behind => {
                return Some(Err(OperatorError::backend("it was behind")));
            }
            "a promotion begins with a removal" => {
                if let ChangeKind::Promote { id } = &change.kind {
                    self.state().half_promoted = Some(id.clone());
                    give_way().await;
                    self.state().half_promoted = None;
                }
            }
            "a replacement begins with an addition" => {
                if let ChangeKind::Replace { with, .. } = &change.kind {
                    self.state().half_added = Some(with.clone());
                    give_way().await;
                    self.state().half_added = None;
                }
            }
            _ => {}
        }
        None
    }

    fn unproven(&self, needed: usize) -> OperatorError {
        let kind = ErrorKind::QuorumUnproven {
            confirmed: 0,
            needed,
            after: Duration::ZERO,
        };
        kind.into()
    }

    /// What is answered instead of an error.
    async fn mutated_error(&self, change: &Change, error: OperatorError) -> Answer<()> {
        let unproven = match error.kind() {
            ErrorKind::QuorumUnproven {
                confirmed, needed, ..
            } => Some(needed - confirmed),
            _ => None,
        };
        let is_unknown = error.outcome() == Outcome::Unknown;
        let cut_off = self.cut_off().await;
        match (self.mutant, error.kind()) {
            ("another change is not looked for", ErrorKind::ChangeInProgress) => {
                Err(self.unproven(2))
            }
            ("nothing is proven", _) if unproven.is_some() => Ok(()),
            ("a replacement is not proven", ErrorKind::QuorumUnproven { .. })
                if matches!(change.kind, ChangeKind::Replace { .. }) =>
            {
                Ok(())
            }
            ("a promotion is not proven", ErrorKind::QuorumUnproven { .. })
                if matches!(change.kind, ChangeKind::Promote { .. }) =>
            {
                Ok(())
            }
            (
                "the votes of the servers are not looked at",
                ErrorKind::NothingToReplace { .. } | ErrorKind::AlreadyVoter { .. },
            )
            | ("a part of the log is enough", ErrorKind::NotCaughtUp { .. }) => Ok(()),
            ("earlier acknowledgements count", _)
                if unproven.is_some_and(|missing| missing <= cut_off) =>
            {
                Ok(())
            }
            ("a leader that is removed counts", _)
                if unproven == Some(1) && removed(change) == Some(self.real.id()) =>
            {
                Ok(())
            }
            ("servers without a vote count", _) => {
                let servers = self.real.latest().servers;
                let more = servers.iter().filter(|server| !server.is_voter()).count();
                match unproven {
                    Some(missing) if missing <= more => Ok(()),
                    _ => Err(error),
                }
            }
            ("a server that was behind stays behind", ErrorKind::NotCaughtUp { .. }) => {
                self.state().behind = true;
                Err(error)
            }
            ("an unproven removal is appended", _) if unproven.is_some() => {
                self.state().appended = true;
                Err(error)
            }
            ("an unproven removal is refused at the end of its timeout", _)
                if unproven.is_some() =>
            {
                self.clock.sleep(change.timeout).await;
                Err(error)
            }
            ("a change is done with the old majority", _) if is_unknown => Ok(()),
            ("what is unknown is not applied", _) if is_unknown => {
                Err(error.with_outcome(Outcome::NotApplied))
            }
            ("a change that failed stands in the way", _) if is_unknown => {
                self.state().busy = true;
                Err(error)
            }
            ("an error comes after the timeout", _) => {
                self.clock
                    .sleep(change.timeout + Duration::from_secs(10))
                    .await;
                Err(error)
            }
            _ => Err(error),
        }
    }
}

#[async_trait]
impl RaftBackend for Broken {
    async fn view(&self) -> Answer<RaftView> {
        match self.real.view().await {
            // A server that was stopped has the view with which it began.
            Err(_) if self.mutant == "a former leader stays" => {
                Ok(self.mutated(self.shared.first.clone()))
            }
            view => view.map(|view| self.mutated(view)),
        }
    }

    async fn confirmed_view(&self, timeout: Duration) -> Answer<RaftView> {
        match self.mutant {
            "views are confirmed without asking" => return self.view().await,
            "a dropped view stands in the way" => {
                if std::mem::replace(&mut self.state().busy, true) {
                    return Err(OperatorError::backend("busy"));
                }
                give_way().await;
                self.state().busy = false;
            }
            _ => {}
        }
        let mut view = match self.real.confirmed_view(timeout).await {
            Ok(view) => self.mutated(view),
            Err(error) if self.mutant == "the outcome of a read is unknown" => {
                return Err(error.with_outcome(Outcome::Unknown));
            }
            Err(error) => return Err(error),
        };
        if self.mutant == "a view is confirmed in another term" {
            view.term += 1;
        }
        Ok(view)
    }

    async fn change_membership(&self, change: &Change) -> Answer<()> {
        let mut change = change.clone();
        if let Some(answer) = self.change_wrongly(&mut change).await {
            return answer;
        }
        match self.real.change_membership(&change).await {
            Ok(()) => {
                self.state().removed.extend(removed(&change).cloned());
                Ok(())
            }
            Err(error) => self.mutated_error(&change, error).await,
        }
    }

    async fn transfer_leadership(&self, to: &ServerId, timeout: Duration) -> Answer<()> {
        if self.mutant == "a transfer is answered and not done" {
            return Ok(());
        }
        self.real.transfer_leadership(to, timeout).await
    }
}

/// The server that a change removes.
fn removed(change: &Change) -> Option<&ServerId> {
    match &change.kind {
        ChangeKind::Remove { id } | ChangeKind::Replace { id, .. } => Some(id),
        _ => None,
    }
}

/// A datacenter in which every server does the same thing wrong.
async fn broken(clock: &MockClock, wanted: Servers, mutant: &'static str) -> Datacenter {
    let sound = Datacenter::new(clock, wanted);
    let leader = sound.members().remove(0);
    let shared = Arc::new(Shared {
        first: leader.backend.view().await.unwrap(),
        first_leader: LeaderHint {
            id: leader.id,
            address: leader.address,
        },
        state: Mutex::default(),
    });
    assert_eq!(shared.first.leadership, Leadership::Local);
    sound.with_backends(|real| Broken {
        real,
        clock: clock.clone(),
        mutant,
        shared: Arc::clone(&shared),
    })
}

#[test]
fn each_mutant_is_caught() {
    let clock = MockClock::new();
    crate::assert_caught(crate::each_mutant(CHECKS, MUTANTS).map(|(check, mutant)| {
        let broken = async |wanted| Ok(broken(&clock, wanted, mutant).await);
        println!("{mutant}:");
        clock.run(run(check, broken))
    }));
}

#[test]
fn backend_without_a_mutation_passes() {
    let clock = MockClock::new();
    let sound = async |wanted| Ok(broken(&clock, wanted, "none").await);
    let report = clock.run(cluster_operator_conformance::raft_backend(sound));
    report.assert_complete();
}

#[test]
fn failure_shows_its_rule_and_steps() {
    let clock = MockClock::new();
    let broken = async |wanted| {
        let mutant = "a change is done with the old majority";
        Ok(broken(&clock, wanted, mutant).await)
    };
    let report = clock.run(run(&by_name::old_majority_is_no_success, broken));
    let report = report.to_string();
    for part in [
        "a majority of the voters that stay holds the final entry",
        "A Raft in the manner of etcd",
        "step 1:   ",
        "once a change is appended, before it reaches",
        "(term 1, version 1-1, Majority, timeout 5s): Ok",
        "seen:     Ok(())",
    ] {
        assert!(report.contains(part), "no {part:?} in {report}");
    }
}
