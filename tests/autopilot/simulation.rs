//! Clusters of simulated servers with an acting autopilot each, while random faults occur.
//!
//! A seed determines everything. `AUTOPILOT_SEED=17` runs one, `AUTOPILOT_SEEDS=1000` that
//! many.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cluster_operator::autopilot::Detected;
use cluster_operator::mock::{Fault, FaultId, MockClock};
use cluster_operator::raft::{Change, PeerSelector, PendingChange, RaftBackend};
use cluster_operator::service::Caller;
use cluster_operator::{OperatorError, Outcome};
use fastrand::Rng;

use crate::cluster::{Cluster, DC};
use crate::support::settings;
use crate::watch::{Covered, Watch};

/// The default number of seeds.
const SEEDS: u64 = 40;

/// The number of events of each seed.
const STEPS: usize = 40;

pub(crate) const HOLD: u64 = 60;
pub(crate) const WINDOW: u64 = 600;

/// A cluster, and what happens to it.
struct Simulation<'a> {
    rng: Rng,
    cluster: &'a Cluster,
    watch: &'a Watch,
    names: Vec<String>,
    faults: Vec<FaultId>,
}

impl Simulation<'_> {
    fn any(&mut self) -> String {
        self.rng.choice(&self.names).unwrap().clone()
    }

    fn note(&self, text: &str) {
        self.watch.note(self.cluster, text);
    }

    fn inject(&mut self, fault: Fault) {
        let text = fault.to_string();
        self.faults.push(self.cluster.federation.inject(fault));
        self.note(&text);
    }

    fn partition(&mut self) {
        let (one, other): (Vec<_>, Vec<_>) =
            self.names.iter().cloned().partition(|_| self.rng.bool());
        self.watch.cut(&one, &other);
        self.inject(Fault::partition(one, other));
    }

    fn heal(&mut self) {
        for fault in self.faults.drain(..) {
            self.cluster.federation.heal(fault);
        }
        self.watch.heal();
        self.note("all faults are healed");
    }

    fn kill(&self, names: &str) {
        self.cluster.kill(names);
        self.note(&format!("{names} killed"));
    }

    fn start(&self, names: &str) {
        self.cluster.start(names);
        self.note(&format!("{names} started"));
    }

    async fn wait(&mut self, longest: u64) {
        let seconds = self.rng.u64(1..=longest);
        self.cluster.wait(seconds).await;
    }

    async fn live(&mut self) {
        for _ in 0..STEPS {
            self.event().await;
            self.wait(40).await;
            if self.rng.u8(..6) == 0 {
                self.heal();
            }
            if self.rng.u8(..3) == 0 {
                let name = self.any();
                self.start(&name);
            }
            if self.watch.is_violated() {
                return;
            }
        }
        self.converge().await;
    }

    async fn event(&mut self) {
        let name = self.any();
        match self.rng.u8(..33) {
            0..=4 => {
                self.kill(&name);
                self.wait(2 * HOLD).await;
            }
            5 | 6 => self.inject(Fault::pause(name)),
            7 | 8 => self.partition(),
            9 => {
                let all = self.names.concat();
                self.kill(&all);
                self.wait(100).await;
                let back = self.names.iter().filter(|_| self.rng.u8(..4) > 0);
                let back: String = back.map(String::as_str).collect();
                self.start(&back);
            }
            10 | 11 => {
                for _ in 0..self.rng.u8(2..6) {
                    self.kill(&name);
                    self.wait(HOLD / 2).await;
                    self.start(&name);
                    self.wait(30).await;
                }
            }
            12..=14 => {
                let lies = [
                    None,
                    Some(Detected::Alive),
                    Some(Detected::Failed),
                    Some(Detected::Left),
                ];
                let lie = *self.rng.choice(&lies).unwrap();
                self.cluster.lie(&name, lie);
                self.note(&format!("detectors say of {name}: {lie:?}"));
            }
            15 => {
                self.cluster.stop_lies();
                self.note("detectors tell the truth");
            }
            16 => _ = self.cluster.federation.elect(name),
            // Between the decision and the change of the next action.
            17 | 18 => {
                let call = self.rng.u64(1..6);
                self.inject(Fault::lose_lead_at(DC, call));
            }
            19 | 20 => {
                let delay = Duration::from_millis(self.rng.u64(1..3000));
                self.inject(Fault::slow_raft(DC, delay));
            }
            21 => {
                let outcomes = [Outcome::NotApplied, Outcome::Unknown];
                let outcome = *self.rng.choice(&outcomes).unwrap();
                self.inject(Fault::fail_change(DC, outcome));
            }
            22 => {
                let changes = [PendingChange::Uncommitted, PendingChange::Joint];
                let change = *self.rng.choice(&changes).unwrap();
                self.inject(Fault::unfinished_removal(name, change));
            }
            23 => {
                if self.watch.lose(&name) {
                    self.inject(Fault::lose_at_change(name));
                }
            }
            24..=26 => self.operate(&name).await,
            27 | 28 => self.die_in_the_middle(&name).await,
            _ => self.join(&name),
        }
    }

    /// Kills a server, and others while autopilot executes what it has decided. The first
    /// may come back then, so that its removal would cost a vote.
    async fn die_in_the_middle(&mut self, name: &str) {
        let delay = Duration::from_millis(self.rng.u64(1500..3000));
        self.inject(Fault::slow_raft(DC, delay));
        self.kill(name);
        for _ in 0..2 * HOLD {
            self.cluster.wait(1).await;
            if self.cluster.is_acting() {
                self.watch.cover("deaths in the middle of a change");
                for _ in 0..self.rng.u8(1..4) {
                    let other = self.any();
                    self.kill(&other);
                }
                if self.rng.bool() {
                    self.start(name);
                }
                return;
            }
        }
    }

    fn join(&self, name: &str) {
        if self.cluster.federation.join_without_vote(name) {
            self.note(&format!("{name} joins"));
        }
    }

    /// An operator changes the configuration on the leader, while autopilot runs.
    async fn operate(&mut self, name: &str) {
        let Some(leader) = self.cluster.leader() else {
            return;
        };
        let other = self.any();
        let federation = &self.cluster.federation;
        let service = federation.service(leader.as_str());
        let caller = Caller::anonymous();
        self.watch.operate(Some(name));
        let (what, result): (_, Result<(), OperatorError>) = match self.rng.u8(..3) {
            0 => {
                let server = PeerSelector::Id(name.into());
                ("remove", service.remove_peer(&caller, server, None).await)
            }
            1 => {
                let (id, with) = (name.into(), other.as_str().into());
                ("replace", service.replace_peer(&caller, id, with).await)
            }
            _ => {
                let raft = federation.raft(leader.as_str());
                let promoted = async {
                    let promotion = Change::promote(name, &raft.view().await?, DEADLINE);
                    raft.change_membership(&promotion).await
                };
                ("promote", promoted.await)
            }
        };
        self.watch.operate(None);
        let end = result.map_or_else(|error| error.to_string(), |()| "done".into());
        self.note(&format!("an operator: {what} {name} ({other}): {end}"));
    }

    /// Ends all faults but for a minority that stays dead, and waits until autopilot has
    /// done all that it can do.
    async fn converge(&mut self) {
        self.heal();
        self.cluster.stop_lies();
        let all = self.names.concat();
        self.start(&all);
        self.cluster.wait(1).await;
        let voters = self.cluster.voters();
        let dead = self.rng.usize(..=(voters.len() - 1) / 2);
        let mut doomed: Vec<_> = voters.chars().collect();
        self.rng.shuffle(&mut doomed);
        doomed.truncate(dead);
        for name in &all.chars().collect::<Vec<_>>() {
            if !doomed.contains(name) && self.rng.bool() {
                self.join(&name.to_string());
            }
        }
        self.kill(&doomed.iter().collect::<String>());
        for _ in 0..60 {
            self.cluster.wait(WINDOW / 4).await;
            if self.unfinished().is_none() || self.watch.is_violated() {
                break;
            }
        }
        match self.unfinished() {
            Some(why) => {
                let refusals = self.cluster.refusals();
                self.watch.violated(format!("no end: {why}; {refusals:?}"));
            }
            None => self.watch.cover(format!("converged with {dead} dead")),
        }
    }

    /// What autopilot has still to do.
    fn unfinished(&self) -> Option<String> {
        let (voters, spares) = (self.cluster.voters(), self.cluster.spares());
        let up = |name: &char| self.cluster.runs(&name.to_string());
        let dead: String = voters.chars().filter(|name| !up(name)).collect();
        let ready: String = spares.chars().filter(up).collect();
        let settings = self.watch.settings();
        if self.cluster.leader().is_none() {
            return Some("there is no leader".into());
        }
        if ready.len() < spares.len() {
            return Some(format!("dead spares among {spares}"));
        }
        if !ready.is_empty() && (!dead.is_empty() || voters.len() < settings.intended()) {
            return Some(format!("{dead} dead of {voters}, and {ready} could vote"));
        }
        if !dead.is_empty() && voters.len() > settings.min_quorum() {
            return Some(format!("{dead} dead of {voters}"));
        }
        None
    }
}

/// The service's deadline.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Runs a seed. Returns what was covered, or what is wrong.
fn simulate(seed: u64) -> Result<Covered, String> {
    let mut rng = Rng::with_seed(seed);
    let clock = MockClock::new();
    let voters = &"abcdefg"[..rng.usize(3..8)];
    let spares = &"stu"[..rng.usize(..4)];
    let intended = rng.usize(3..=voters.len());
    let least = rng.u64(..=intended as u64);
    let settings = settings(intended, least)
        .with_hold(Duration::from_secs(HOLD))
        .and_then(|settings| settings.with_window(Duration::from_secs(WINDOW)));
    let cluster = Cluster::with_clock(voters, spares, settings.unwrap(), &clock);
    let watch = Watch::new(&cluster);
    watch.note(
        &cluster,
        &format!("{voters} and {spares}: {intended}, {least}"),
    );
    let mut simulation = Simulation {
        rng,
        cluster: &cluster,
        watch: &watch,
        names: voters
            .chars()
            .chain(spares.chars())
            .map(String::from)
            .collect(),
        faults: Vec::new(),
    };
    let report = watch.report();
    let run = || cluster.play(seed, &*report, simulation.live());
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        watch.violated("a panic, see above".into());
    }
    watch.end().map_err(|story| {
        format!(
            "{story}\nto repeat it:\n\n    AUTOPILOT_SEED={seed} cargo test -p cluster-operator \
             --all-features --test autopilot simulation\n"
        )
    })
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name}={text:?} is not a number"),
    }
}

/// Runs seeds, one on each core, up to the first that fails.
fn simulate_all(seeds: Range<u64>) -> Result<Covered, String> {
    let next = AtomicU64::new(seeds.start);
    let run = || {
        let mut covered = Covered::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                return Ok(covered);
            }
            match simulate(seed) {
                Ok(met) => merge(&mut covered, met),
                Err(story) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    return Err(story);
                }
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
        let mut all = BTreeMap::new();
        for thread in threads {
            merge(&mut all, thread.join().unwrap()?);
        }
        Ok(all)
    })
}

fn merge(all: &mut Covered, met: Covered) {
    for (what, times) in met {
        *all.entry(what).or_default() += times;
    }
}

#[test]
fn no_action_costs_a_quorum_under_random_faults() {
    let seeds = match number("AUTOPILOT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("AUTOPILOT_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let covered = simulate_all(seeds).unwrap_or_else(|story| panic!("{story}"));
    println!("{covered:#?}");
    if count >= SEEDS {
        for what in [
            "remove: done",
            "replace: done",
            "promote: done",
            "remove: not applied",
            "remove: unknown",
            "converged with 1 dead",
            "deaths in the middle of a change",
        ] {
            assert!(
                covered.contains_key(what),
                "not covered: {what}: {covered:#?}"
            );
        }
    }
}

/// Waits until autopilot executes a decision, which takes some seconds.
async fn slow_action(cluster: &Cluster) {
    let delay = Duration::from_secs(2);
    cluster.federation.inject(Fault::slow_raft(DC, delay));
    cluster.wait_until(|| cluster.is_acting()).await;
}

#[test]
fn quorum_that_is_lost_in_the_middle_is_not_removed() {
    let cluster = Cluster::new("abc", "", settings(3, 2));
    cluster.script(async {
        cluster.wait(60).await;
        cluster.kill("c");
        slow_action(&cluster).await;
        // Of a and b, one would be left.
        cluster.start("c");
        cluster.kill("b");
        cluster.wait(60).await;
        assert_eq!(cluster.voters(), "abc");
        assert!(cluster.leader().is_some());
    });
    let acts = cluster.acts();
    assert!(acts[0].1.contains("remove c"), "{acts:?}");
}

#[test]
fn margin_that_is_lost_in_the_middle_stops_the_removal() {
    let cluster = Cluster::new("abcde", "", settings(5, 0));
    cluster.script(async {
        cluster.wait(60).await;
        cluster.kill("e");
        slow_action(&cluster).await;
        cluster.kill("d");
        cluster.wait_until(|| !cluster.is_acting()).await;
        assert_eq!(cluster.voters(), "abcde");
    });
    let acts = cluster.acts();
    assert!(acts[0].1.contains("remove e"), "{acts:?}");
}
