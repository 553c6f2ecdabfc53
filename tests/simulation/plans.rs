//! Planned, forced and plain removals, and replacements, while servers die.
//!
//! Each seed is a datacenter of its own with a random guard and random voters. What was
//! planned is made together with other changes, elections and deaths.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use cluster_operator::mock::{Fault, MockClock, MockFederation, RaftChange};
use cluster_operator::raft::{
    PeerSelector, Proof, QuorumGuard, RaftConfiguration, RemovalPlan, RemovalVerdict,
};
use cluster_operator::service::Caller;
use cluster_operator::{NodeName, OperatorError, Outcome, ServerId, Timer};
use fastrand::Rng;

use crate::Violation;

/// The default number of seeds.
const SEEDS: u64 = 150;

/// The number of plans of each seed.
const STEPS: usize = 12;

const DC: &str = "dc1";

/// What a run has covered, with how often.
type Covered = BTreeMap<String, usize>;

struct Datacenter {
    rng: Rng,
    clock: MockClock,
    federation: MockFederation,
    guard: QuorumGuard,
    covered: Covered,
}

/// An action that happens beside others.
type Action = Pin<Box<dyn Future<Output = Option<Result<(), OperatorError>>>>>;

impl Datacenter {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let clock = MockClock::new();
        let guards = [QuorumGuard::Off, QuorumGuard::Quorum, QuorumGuard::Margin];
        let guard = *rng.choice(&guards).unwrap();
        let voters = (0..rng.u64(3..8)).map(|number| format!("voter-{number}"));
        let spares = (0..rng.u64(1..3)).map(|number| format!("spare-{number}"));
        let federation = MockFederation::builder()
            .datacenter(DC, voters.chain(spares.clone()))
            .nonvoters(spares)
            .clock(&clock)
            .seed(seed)
            .service_options(move |service| service.quorum_guard(guard))
            .build();
        Datacenter {
            rng,
            clock,
            federation,
            guard,
            covered: Covered::new(),
        }
    }

    fn cover(&mut self, what: impl Into<String>) {
        *self.covered.entry(what.into()).or_default() += 1;
    }

    fn changes(&self) -> Vec<RaftChange> {
        self.federation.raft(self.servers()[0].clone()).changes()
    }

    fn servers(&self) -> Vec<NodeName> {
        self.federation.servers(DC)
    }

    fn any(&mut self) -> NodeName {
        self.rng.choice(self.servers()).unwrap()
    }

    fn id(&self, server: &NodeName) -> ServerId {
        self.federation.raft(server.clone()).id().clone()
    }

    /// A server that is up, to be asked.
    fn entry(&mut self) -> Option<NodeName> {
        let members = self.federation.configuration(DC).servers.into_iter();
        let names = members.filter_map(|server| server.name);
        let up: Vec<_> = names
            .filter(|name| self.federation.is_up(name.clone()))
            .collect();
        self.rng.choice(up)
    }

    fn recover(&mut self) {
        self.federation.heal_all();
        self.clock.settle();
        for server in self.servers() {
            self.federation.restart(server.clone());
            // Some of the removed servers come back.
            if self.rng.u8(..3) == 0 {
                self.federation.join(server);
            }
        }
    }

    /// Stops some servers, plans a removal, lets something happen, and does as planned.
    fn step(&mut self) -> Result<(), Violation> {
        self.recover();
        for _ in 0..self.rng.u64(..3) {
            let server = self.any();
            self.federation.stop(server);
        }
        let Some((entry, leader)) = self.entry().zip(self.federation.leader(DC)) else {
            return Ok(());
        };
        let members = self.federation.configuration(DC).servers;
        let target = self.rng.choice(&members).unwrap().id.clone();
        let service = self.federation.service(entry);
        let caller = Caller::anonymous();
        let planned = service.plan_removal(&caller, PeerSelector::Id(target));
        let plan = self.clock.run(planned);
        let plan = plan.map_err(|error| format!("no plan: {error:?}"))?;
        self.is_true(&plan, &leader)?;
        self.cover(format!("verdict: {}", plan.verdict().name()));
        for _ in 0..self.rng.u64(..3) {
            let action = self.disturbance(&plan, Duration::ZERO);
            self.clock.run(action);
        }
        self.carry_out(&plan)
    }

    /// Checks a plan against the true state of the servers.
    fn is_true(&self, plan: &RemovalPlan, leader: &NodeName) -> Result<(), Violation> {
        let configuration = self.federation.configuration(DC);
        let known: BTreeSet<_> = plan.healthy().iter().chain(plan.unhealthy()).collect();
        let truth = configuration
            .servers
            .iter()
            .filter(|server| server.is_voter());
        let voters: BTreeSet<_> = truth.clone().map(|server| &server.id).collect();
        let alive = truth.clone().filter(|server| server.alive == Some(true));
        let dead: Vec<_> = truth
            .filter(|server| server.alive == Some(false))
            .map(|server| server.id.clone())
            .collect();
        let holds = known == voters
            && plan.before().alive == alive.count()
            && plan.unhealthy() == dead
            && plan.unknown().is_empty()
            && plan.guard() == self.guard
            && plan.version().index == configuration.index
            && plan.leads() == (*plan.id() == self.id(leader));
        if holds {
            Ok(())
        } else {
            Err(format!("{plan:?} is not true of {configuration:?}"))
        }
    }

    /// Something that happens: another change, an election, a death or a return.
    fn disturbance(&mut self, plan: &RemovalPlan, after: Duration) -> Action {
        let federation = self.federation.clone();
        let clock = self.clock.clone();
        let server = self.any();
        let spare = self.any();
        let (id, with) = (self.id(&server), self.id(&spare));
        let which = self.rng.u8(..6);
        let entry = self.entry().filter(|_| id != *plan.id());
        Box::pin(async move {
            clock.sleep(after).await;
            let caller = Caller::anonymous();
            match (which, entry) {
                (0, _) => federation.stop(server),
                (1, _) => federation.restart(server),
                (2, _) => drop(federation.elect(server)),
                (3, Some(entry)) => {
                    let service = federation.service(entry);
                    let removed = service.remove_peer(&caller, PeerSelector::Id(id), None);
                    return Some(removed.await);
                }
                (4, Some(entry)) => {
                    let service = federation.service(entry);
                    return Some(service.force_removal(&caller, id).await);
                }
                (_, Some(entry)) => {
                    let service = federation.service(entry);
                    return Some(service.replace_peer(&caller, id, with).await);
                }
                (_, None) => {}
            }
            None
        })
    }

    /// Does as planned while other things happen.
    fn carry_out(&mut self, plan: &RemovalPlan) -> Result<(), Violation> {
        let Some(entry) = self.entry() else {
            return Ok(());
        };
        if self.rng.bool() {
            let delay = Duration::from_millis(20);
            self.federation.inject(Fault::slow_raft(DC, delay));
        }
        let lost = (self.rng.u8(..4) == 0).then(|| self.any());
        if let Some(lost) = lost.clone() {
            self.federation.inject(Fault::lose_at_change(lost));
        }
        let done = self.changes().len();
        let service = self.federation.service(entry);
        let planned = plan.clone();
        let removal: Action =
            Box::pin(
                async move { Some(service.remove_planned(&Caller::anonymous(), &planned).await) },
            );
        let mut actions = vec![removal];
        for _ in 0..self.rng.u64(..3) {
            let after = Duration::from_millis(self.rng.u64(..60));
            actions.push(self.disturbance(plan, after));
        }
        let alone = actions.len() == 1;
        let clock = self.clock.clone();
        let mut answers = clock.run_all(self.rng.u64(..), actions).into_iter();
        let Some(Some(answer)) = answers.next() else {
            return Err("the removal has no answer".into());
        };
        let changes = self.changes().split_off(done);
        let lost = lost.map(|lost| self.id(&lost));
        for change in &changes {
            has_majority(change, lost.as_ref())?;
        }
        self.is_as_planned(plan, &answer, &changes)?;
        if alone && answer.is_ok() && lost.is_none() {
            self.survives_a_death()?;
        }
        Ok(())
    }

    /// Checks that a planned removal has the plan's outcome, or changed nothing.
    fn is_as_planned(
        &mut self,
        plan: &RemovalPlan,
        answer: &Result<(), OperatorError>,
        changes: &[RaftChange],
    ) -> Result<(), Violation> {
        let own = changes
            .iter()
            .find(|change| change.removed.as_ref() == Some(plan.id()));
        let wrong = |what: &str| Err(format!("{what}: {plan:?}, {answer:?}, {own:?}"));
        if let Some(change) = own {
            let voters: BTreeSet<_> = voters(&change.before).collect();
            let planned = plan.healthy().iter().chain(plan.unhealthy());
            let is_planned = change.before.index == plan.version().index
                && voters == planned.collect()
                && self::voters(&change.after).count() == plan.after().voters
                && change.added.is_none();
            if !is_planned {
                return wrong("another removal than the planned one");
            }
            // Also if one of them was lost after the proof.
            let left = self::voters(&change.after).filter(|id| was_alive(change, id));
            let needed = Proof::Majority.needed(plan.after().voters);
            if self.guard == QuorumGuard::Margin && plan.is_voter() && left.count() < needed {
                return wrong("one death was fatal in spite of the margin");
            }
        }
        match answer {
            Ok(()) if own.is_none() => wrong("no removal"),
            Ok(()) => {
                self.cover("answer: ok");
                Ok(())
            }
            Err(error) => {
                self.cover(format!("answer: {}", error.kind().name()));
                match error.outcome() {
                    Outcome::NotApplied if own.is_some() => wrong("a removal that was made"),
                    Outcome::Applied => wrong("a removal that failed and was applied"),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Checks that there is a leader after an accepted removal, and with `Margin` also after
    /// one later death.
    fn survives_a_death(&mut self) -> Result<(), Violation> {
        if self.federation.leader(DC).is_none() {
            return Err("an accepted removal left no leader".into());
        }
        let change = self.changes().pop();
        let Some(change) = change.filter(|_| self.guard == QuorumGuard::Margin) else {
            return Ok(());
        };
        let was_voter = voters(&change.before).any(|id| Some(id) == change.removed.as_ref());
        if !was_voter {
            return Ok(());
        }
        for server in self.servers() {
            if self.federation.is_up(server.clone()) {
                self.federation.stop(server.clone());
                if self.federation.leader(DC).is_none() {
                    return Err(format!("the death of {server} after {change:?} is fatal"));
                }
                self.federation.restart(server);
            }
        }
        self.cover("a later death");
        Ok(())
    }
}

fn voters(configuration: &RaftConfiguration) -> impl Iterator<Item = &ServerId> {
    let servers = configuration.servers.iter();
    let voters = servers.filter(|server| server.is_voter());
    voters.map(|server| &server.id)
}

/// Whether the leader reached a server when the change was appended.
fn was_alive(change: &RaftChange, id: &ServerId) -> bool {
    let mut servers = change.before.servers.iter();
    servers.any(|server| server.id == *id && server.alive == Some(true))
}

/// Checks that the proof of a change was sound: of the voters after it, the leader reached
/// a majority, one of which may have been lost since. A replacement keeps the number of
/// voters.
fn has_majority(change: &RaftChange, lost: Option<&ServerId>) -> Result<(), Violation> {
    let count = |configuration: &RaftConfiguration| voters(configuration).count();
    let (before, after) = (count(&change.before), count(&change.after));
    let alive = |id: &ServerId| was_alive(change, id) || lost == Some(id);
    let reached = voters(&change.after).filter(|id| alive(id)).count();
    if reached < Proof::Majority.needed(after) {
        return Err(format!("a change without a majority: {change:?}"));
    }
    match &change.added {
        Some(_) if before != after => Err(format!("a replacement changed the number: {change:?}")),
        Some(added) if !alive(added) => Err(format!("a dead server got the vote: {change:?}")),
        _ => Ok(()),
    }
}

fn simulate(seed: u64) -> Result<Covered, Violation> {
    let mut datacenter = Datacenter::new(seed);
    for _ in 0..STEPS {
        let step = datacenter.step();
        step.map_err(|violation| {
            format!(
                "{}\n{violation}\nto repeat it:\n\n    PLAN_SEED={seed} cargo test --all-features \
                 --test simulation plan\n",
                datacenter.federation.transcript()
            )
        })?;
        datacenter.federation.clear_transcript();
    }
    let changes = datacenter.changes();
    let replaced = changes.iter().any(|change| change.added.is_some());
    if replaced {
        datacenter.cover("a replacement");
    }
    Ok(datacenter.covered)
}

#[test]
fn planned_removal_has_planned_outcome_or_is_refused() {
    let seeds = match crate::setting("PLAN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..crate::setting("PLAN_SEEDS").unwrap_or(SEEDS),
    };
    let all = seeds.end - seeds.start >= SEEDS;
    let mut covered = Covered::new();
    for seed in seeds {
        let more = simulate(seed).unwrap_or_else(|violation| panic!("{violation}"));
        for (what, count) in more {
            *covered.entry(what).or_default() += count;
        }
    }
    println!("{covered:#?}");
    let verdicts = [
        RemovalVerdict::Safe,
        RemovalVerdict::ReducesTolerance,
        RemovalVerdict::LosesQuorum,
    ];
    let verdicts = verdicts.map(|verdict| format!("verdict: {}", verdict.name()));
    let answers = [
        "ok",
        "conflict",
        "quorum-loss",
        "quorum-unproven",
        "backend",
    ];
    let answers = answers.map(|kind| format!("answer: {kind}"));
    let others = ["a later death", "a replacement"].map(str::to_owned);
    let wanted = verdicts.into_iter().chain(answers).chain(others);
    let missing: Vec<_> = wanted.filter(|it| !covered.contains_key(it)).collect();
    assert!(!all || missing.is_empty(), "not covered: {missing:?}");
}
