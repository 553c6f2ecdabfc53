//! Watches what autopilots do to a simulated cluster, and knows the truth about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster_operator::autopilot::{Action, Settings};
use cluster_operator::mock::{MockClock, MockFederation, RaftChange};
use cluster_operator::raft::{Proof, RaftServer};
use cluster_operator::service::Tick;
use cluster_operator::{OperatorError, Outcome};

use crate::cluster::{Cluster, DC, Report};
use crate::simulation::{DEADLINE, HOLD, WINDOW};

/// What occurred, and how often.
pub(crate) type Covered = BTreeMap<String, usize>;

#[derive(Clone)]
pub(crate) struct Watch {
    clock: MockClock,
    federation: MockFederation,
    settings: Settings,
    seen: Arc<Mutex<Seen>>,
}

/// The beginning and, once it is over, the end.
type Silence = (Duration, Option<Duration>);

#[derive(Default)]
struct Seen {
    story: String,
    violation: Option<String>,
    covered: Covered,
    /// The number of changes that are explained.
    changes: usize,
    /// The pairs of servers that a partition separates, in both orders.
    cuts: BTreeSet<(String, String)>,
    /// When a server began to hear nothing of another one, and until when it lasted.
    silences: BTreeMap<(String, String), Vec<Silence>>,
    /// The server that is cut off in the middle of the next change.
    lost: Option<String>,
    /// The server that an operator changes at the moment.
    operated: Option<String>,
    last_action: Option<Duration>,
    /// The removals by each process, and whether they were of voters.
    removals: BTreeMap<(String, usize), Vec<(Duration, bool)>>,
}

impl Watch {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Watch {
            clock: cluster.clock.clone(),
            federation: cluster.federation.clone(),
            settings: cluster.settings(),
            seen: Arc::default(),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    fn seen<T>(&self, visit: impl FnOnce(&mut Seen) -> T) -> T {
        visit(&mut self.seen.lock().unwrap())
    }

    /// Notes an event, and who hears whom from now on.
    pub(crate) fn note(&self, cluster: &Cluster, text: &str) {
        let now = self.clock.now();
        let names: Vec<String> = cluster.names().map(String::from).collect();
        self.seen(|seen| {
            seen.tell(now, text);
            for to in &names {
                let runs = cluster.runs(to);
                let is_lost = seen.lost.as_ref() == Some(to);
                for from in &names {
                    let pair = (from.clone(), to.clone());
                    let is_silent = !runs || is_lost || seen.cuts.contains(&pair);
                    let silences = seen.silences.entry(pair).or_default();
                    match silences.last_mut() {
                        Some((_, end @ None)) if !is_silent => *end = Some(now),
                        Some((_, None)) => {}
                        _ if is_silent => silences.push((now, None)),
                        _ => {}
                    }
                }
            }
        });
    }

    pub(crate) fn cut(&self, one: &[String], other: &[String]) {
        self.seen(|seen| {
            for (one, other) in one
                .iter()
                .flat_map(|one| other.iter().map(move |it| (one, it)))
            {
                seen.cuts.insert((one.clone(), other.clone()));
                seen.cuts.insert((other.clone(), one.clone()));
            }
        });
    }

    /// Notes that a server will be lost. Returns false if another one will be.
    pub(crate) fn lose(&self, name: &str) -> bool {
        self.seen(|seen| {
            let first = seen.lost.is_none();
            if first {
                seen.lost = Some(name.into());
            }
            first
        })
    }

    pub(crate) fn heal(&self) {
        self.seen(|seen| {
            seen.cuts.clear();
            seen.lost = None;
        });
    }

    /// Notes that an operator begins to change a server, or has ended.
    pub(crate) fn operate(&self, server: Option<&str>) {
        self.seen(|seen| {
            seen.operated = server.map(String::from);
            if server.is_none() {
                seen.changes = self.changes().len();
            }
        });
    }

    pub(crate) fn cover(&self, what: impl Into<String>) {
        self.seen(|seen| *seen.covered.entry(what.into()).or_default() += 1);
    }

    pub(crate) fn violated(&self, why: String) {
        self.seen(|seen| _ = seen.violation.get_or_insert(why));
    }

    pub(crate) fn is_violated(&self) -> bool {
        self.seen(|seen| seen.violation.is_some())
    }

    /// Returns what was covered, or the story up to the violation.
    pub(crate) fn end(&self) -> Result<Covered, String> {
        self.seen(|seen| match &seen.violation {
            None => Ok(std::mem::take(&mut seen.covered)),
            Some(why) => Err(format!("{}\n{why}", seen.story)),
        })
    }

    fn changes(&self) -> Vec<RaftChange> {
        let any = self.federation.servers(DC).remove(0);
        self.federation.raft(any).changes()
    }

    /// Checks every tick of every server.
    pub(crate) fn report(&self) -> Box<Report> {
        let watch = self.clone();
        Box::new(move |server, process, tick| {
            if let Err(why) = watch.check(server, process, tick) {
                watch.violated(why);
            }
        })
    }

    fn check(
        &self,
        server: &str,
        process: usize,
        tick: &Result<Tick, OperatorError>,
    ) -> Result<(), String> {
        let Ok(Tick {
            decision,
            result: Some(result),
            ..
        }) = tick
        else {
            return Ok(());
        };
        let Some(action) = &decision.action else {
            return Ok(());
        };
        let now = self.clock.now();
        let (end, outcome) = match result {
            Ok(()) => ("done".into(), Outcome::Applied),
            Err(error) => (error.to_string(), error.outcome()),
        };
        let verb = action.to_string();
        let verb = verb.split(' ').next().unwrap_or_default();
        let how = match outcome {
            Outcome::Applied => "done",
            Outcome::NotApplied => "not applied",
            _ => "unknown",
        };
        self.cover(format!("{verb}: {how}"));
        let (changes, is_operated) = self.seen(|seen| {
            seen.tell(now, &format!("{server}'s autopilot: {action}: {end}"));
            let new = self.changes().split_off(seen.changes);
            seen.changes += new.len();
            let is_operated = seen.operated.as_deref() == Some(action.id().as_ref());
            (new, is_operated)
        });
        // Others are an operator's.
        let is_own = |change: &&RaftChange| match action.removes() {
            true => change.removed.as_ref() == Some(action.id()),
            false => change.removed.is_none() && change.added.as_ref() == Some(action.id()),
        };
        let own: Vec<_> = changes.iter().filter(is_own).collect();
        if is_operated {
            return Ok(());
        }
        if outcome != Outcome::NotApplied {
            let last = self.seen(|seen| seen.last_action.replace(now));
            let pause = last.map_or(Duration::MAX, |last| now - last);
            if pause < self.settings.pause() {
                return Err(format!("{pause:?} after another action"));
            }
        }
        match (&own[..], outcome) {
            ([], Outcome::Applied) => Err("nothing was changed".into()),
            ([], _) => Ok(()),
            ([_], Outcome::NotApplied) => Err("it was applied".into()),
            ([change], _) => self.check_change(server, process, action, change),
            _ => Err("more than one change".into()),
        }
    }

    fn check_change(
        &self,
        server: &str,
        process: usize,
        action: &Action,
        change: &RaftChange,
    ) -> Result<(), String> {
        let id = action.id();
        let now = self.clock.now();
        let voters: Vec<_> = change
            .after
            .servers
            .iter()
            .filter(|it| it.is_voter())
            .collect();
        let before = |id| change.before.servers.iter().find(|server| server.id == id);
        let was_voter = before(id.clone()).is_some_and(RaftServer::is_voter);

        // The quorum.
        let lost = self.seen(|seen| seen.lost.clone());
        let up = |voter: &&&RaftServer| {
            before(voter.id.clone()).is_some_and(|server| server.alive == Some(true))
        };
        let is_lost = |voter: &&&RaftServer| Some(voter.id.as_ref()) == lost.as_deref();
        let later = voters.iter().filter(|it| up(it) && !is_lost(it)).count();
        let proven = voters.iter().filter(|it| up(it) || is_lost(it)).count();
        let needed = voters.len() / 2 + 1;
        if proven < needed {
            return Err(format!("the quorum is lost: {proven} voters of {needed}"));
        }
        let proof = match action {
            Action::Remove { proof, .. } | Action::Replace { proof, .. } => *proof,
            _ => Proof::Majority,
        };
        if proof == Proof::Margin && later < needed {
            return Err(format!("no margin: {later} voters of {needed}"));
        }
        if let Some(added) = &change.added {
            let votes = voters.iter().find(|voter| voter.id == *added);
            if !votes.is_some_and(|it| up(&it) || is_lost(&it)) {
                return Err(format!("{added} got the vote while it was down"));
            }
        }
        if !action.removes() {
            return Ok(());
        }

        // The limits.
        if was_voter && matches!(action, Action::Remove { .. }) {
            let least = self.settings.min_quorum();
            if voters.len() < least {
                return Err(format!("below MinQuorum {least}"));
            }
        }
        let window = Duration::from_secs(WINDOW);
        let removed = self.seen(|seen| {
            let removals = seen.removals.entry((server.into(), process)).or_default();
            removals.push((now, was_voter));
            let recent = removals.iter();
            let recent = recent.filter(|(at, voter)| now - *at < window && (*voter || !was_voter));
            recent.count()
        });
        let limit = self.settings.removal_limit();
        if removed > limit {
            return Err(format!("{removed} servers removed of {limit}"));
        }

        // The server was dead for the whole hold when it was decided.
        let silences = self.seen(|seen| {
            let pair = (server.to_string(), id.to_string());
            seen.silences.get(&pair).cloned().unwrap_or_default()
        });
        let is_dead = silences.iter().any(|(from, to)| {
            let to = to.unwrap_or(now);
            now - to <= DEADLINE && to - *from >= Duration::from_secs(HOLD)
        });
        match is_dead {
            true => Ok(()),
            false => Err(format!("{id} was not dead for the hold: {silences:?}")),
        }
    }
}

impl Seen {
    fn tell(&mut self, now: Duration, text: &str) {
        _ = writeln!(self.story, "{:>6} s: {text}", now.as_secs());
    }
}
