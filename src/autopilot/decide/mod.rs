//! The decision of an autopilot, as a pure function.

mod memory;
mod reason;
mod settings;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

pub use memory::Memory;
pub use reason::{Action, Failure, Reason, Refusal};
pub use settings::{InvalidSettings, Settings};

use super::health::{keeps_up, last_contact};
use super::{Detected, Detection};
use crate::raft::{Leadership, Proof, RaftMember, RaftView, ServerStatus, Suffrage, VoterCount};
use crate::types::{ServerId, count, majority};

/// The shortest time to the next decision.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// What a server knows of its cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The time since any fixed moment, on a monotonic clock. All snapshots that are
    /// decided on with one memory share the moment.
    pub now: Duration,
    /// The view of this server's Raft, taken at that time. The failure detector's word
    /// counts, and not [`alive`](ServerStatus::alive).
    pub view: RaftView,
    /// What this server's failure detector says about each server that it knows.
    pub detected: BTreeMap<ServerId, Detection>,
    /// True if the Raft can replace a voter in one change.
    pub can_replace: bool,
    /// True if the Raft can promote a server.
    pub can_promote: bool,
}

impl Snapshot {
    /// Creates a snapshot of a Raft that can replace and promote servers. The failure
    /// detector knows no server.
    pub fn new(now: Duration, view: RaftView) -> Self {
        Snapshot {
            now,
            view,
            detected: BTreeMap::new(),
            can_replace: true,
            can_promote: true,
        }
    }
}

/// What is to be done, and what is not, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Decision {
    /// The one change to make. In a dry run, it is the change that would be made.
    pub action: Option<Action>,
    /// The reasons for not doing more. The first one concerns the whole cluster if its
    /// [`server`](Refusal::server) is `None`.
    pub refusals: Vec<Refusal>,
    /// What is wrong with each server that the leader does not see healthy, whatever blocks
    /// a change. A refusal says why it is not removed.
    pub reasons: BTreeMap<ServerId, Reason>,
    /// The time, on the snapshot's clock, at which to decide again.
    pub next_check: Duration,
    /// What to give to the next decision. It counts the action as done, unless this is a
    /// dry run; see [`Memory::ended`] and [`Memory::not_applied`].
    pub memory: Memory,
}

/// Decides what an autopilot does: it promotes, removes or replaces one server, or
/// nothing. The function has no clock, no I/O and no Raft; the same arguments give the
/// same decision.
///
/// # Rules
/// Each refusal names its rule, as [`Reason::rule`] does.
///
/// | rule | meaning |
/// |---|---|
/// | `leader` | Only the leader acts. |
/// | `contact` | A majority of the voters answered within `LastContactThreshold`. |
/// | `calm` | Nothing changes within the pause after an election, or after a start. |
/// | `one-change` | One change at a time. After it, the pause has to pass, no change may be pending, and each voter has to be healthy or dead for its hold. Not waited for is a silent voter that the failure detector does not know, or one that answers while the detector calls it dead: this may last forever, and neither counts as healthy. |
/// | `known` | A server that the failure detector does not know is neither removed nor promoted, and one whose log is unknown is not promoted. |
/// | `agreement` | A server is dead only if the failure detector and the silence of its Raft agree. |
/// | `hold` | A server has to be dead for the whole hold: in the detector, since its last answer, and as this leader has observed it. A break begins it anew. Each further failure in the window doubles it, up to eight times. A server that left on purpose has the same hold, since it may only be restarting. |
/// | `cleanup` | No server is removed while `CleanupDeadServers` is off. |
/// | `window` | At most (n−1)/2 voters leave in a window, where n is the intended size, and a server without a vote only if fewer servers left in it, or none. A leader that has led for less than a window counts the voters that are missing as removed in it, before it removes another one. |
/// | `replace-first` | A voter is replaced by a stable spare in one change if the Raft can do that. Otherwise, the spare is promoted first. A removal waits for a spare that is healthy but not stable yet. |
/// | `min-quorum` | At least MinQuorum voters remain. A replacement is always possible, since the number of voters stays. |
/// | `majority` | The healthy voters after the change are a majority, also if a server without a vote is removed. If the cluster tolerates a failure, the change is proven with [`Proof::Margin`], so that it cannot cost the quorum. |
/// | `stable` | A server is promoted after it was healthy for `ServerStabilizationTime` under this leader: its last contact and its log are within the limits, in the leader's term. |
/// | `size` | A server is promoted only up to the intended size, or for a dead voter. |
/// | `supported` | A server is promoted only if the Raft can do that. |
///
/// The rules were made from measurements of Consul 1.17 (raft-autopilot 0.1.6), which
/// removes a server that is frozen for 12 seconds, and shrinks five voters to two within a
/// minute if `MinQuorum` is 0.
///
/// ```
/// use std::time::Duration;
///
/// use cluster_operator::autopilot::{
///     AutopilotConfiguration, Detected, Detection, Memory, Settings, Snapshot, decide,
/// };
/// use cluster_operator::raft::{
///     Leadership, LogPosition, Membership, RaftMember, RaftView, ServerStatus,
/// };
///
/// // The leader a of five voters, of which e stops answering at second 100.
/// let names = ["a", "b", "c", "d", "e"];
/// let voters = names.map(|name| RaftMember::voter(name, name));
/// let snapshot = |second| {
///     let mut view = RaftView::new("a", Membership::new(voters.clone()).into());
///     view.leadership = Leadership::Local;
///     view.term = 2;
///     let log = LogPosition { term: 2, index: 900 };
///     let answered = ServerStatus::unknown().with_last_log(log);
///     view.status = vec![answered.with_last_contact(Duration::ZERO); 5];
///     let silence = Duration::from_secs(second).saturating_sub(Duration::from_secs(100));
///     view.status[4].last_contact = Some(silence);
///     let mut snapshot = Snapshot::new(Duration::from_secs(second), view);
///     for name in names {
///         let dead = name == "e" && !silence.is_zero();
///         let status = if dead { Detected::Failed } else { Detected::Alive };
///         let lasted = if dead { silence } else { Duration::from_secs(second) };
///         snapshot.detected.insert(name.into(), Detection { status, lasted });
///     }
///     snapshot
/// };
///
/// let settings = Settings::new(5, AutopilotConfiguration::default())?.acting();
/// let mut memory = Memory::default();
/// let mut actions = Vec::new();
/// for second in (0..300).step_by(10) {
///     let decision = decide(&snapshot(second), &settings, memory);
///     actions.extend(decision.action.map(|action| (second, action.to_string())));
///     memory = decision.memory;
/// }
/// let removal = "remove e: failed for 180 s of 180, 4 healthy voters of 4 remain";
/// assert_eq!(actions, [(290, removal.to_string())]);
/// # Ok::<(), cluster_operator::autopilot::InvalidSettings>(())
/// ```
pub fn decide(snapshot: &Snapshot, settings: &Settings, mut memory: Memory) -> Decision {
    let view = &snapshot.view;
    let servers = view.servers();
    let signs: BTreeMap<_, _> = servers
        .map(|(member, status)| (&member.id, sign(snapshot, settings, member, status)))
        .collect();
    memory.observe(snapshot, settings, &signs);
    let mut judge = Judge {
        snapshot,
        settings,
        signs: &signs,
        memory: &memory,
        refusals: Vec::new(),
    };
    let blocked = judge.blocked();
    let action = match &blocked {
        Some(_) => None,
        None => judge.choose(),
    };
    let reasons = judge.reasons();
    let mut refusals = judge.refusals;
    if blocked.is_none() {
        memory.settle();
    }
    refusals.splice(0..0, blocked);
    if let Some(action) = &action
        && !settings.is_dry_run()
    {
        let member = view.membership.get(action.id());
        let leaves = member.filter(|_| action.removes());
        memory.take(snapshot.now, leaves.map(RaftMember::is_voter));
    }
    let ends = refusals.iter().filter_map(|it| it.reason.ends_after());
    let wait = ends.fold(settings.pause, Duration::min).max(SHORTEST_WAIT);
    Decision {
        action,
        refusals,
        reasons,
        next_check: snapshot.now.saturating_add(wait),
        memory,
    }
}

/// What one snapshot says about a server.
enum Sign {
    Healthy,
    /// The failure detector and the server's Raft agree that it is gone, for this long.
    Failing {
        status: Detected,
        lasted: Duration,
    },
    Unclear(Reason),
}

fn sign(
    snapshot: &Snapshot,
    settings: &Settings,
    member: &RaftMember,
    status: Option<&ServerStatus>,
) -> Sign {
    let view = &snapshot.view;
    let threshold = settings.configuration.last_contact_threshold;
    let contact = last_contact(view, member, status);
    let fresh = contact.filter(|contact| *contact <= threshold);
    let detected = snapshot.detected.get(&member.id);
    match (detected.map(|it| (it.status, it.lasted)), fresh) {
        (None, None) => Sign::Unclear(Reason::Unknown),
        (Some((Detected::Alive, _)), None) => Sign::Unclear(Reason::Silent { contact, threshold }),
        (Some((Detected::Alive, _)) | None, Some(_)) => {
            log_sign(view, status, settings.configuration.max_trailing_logs)
        }
        (Some((status, _)), Some(contact)) => {
            Sign::Unclear(Reason::StillAnswers { status, contact })
        }
        (Some((status, lasted)), None) => {
            // A server that has never answered this leader was silent all the time.
            let lasted = contact.map_or(lasted, |contact| contact.min(lasted));
            Sign::Failing { status, lasted }
        }
    }
}

fn log_sign(view: &RaftView, status: Option<&ServerStatus>, limit: u64) -> Sign {
    let last_log = |status: &ServerStatus| status.last_log;
    let last = status.and_then(last_log);
    let leader = view.own_status().and_then(last_log);
    match (last, leader) {
        (Some(_), Some(_)) if keeps_up(last, leader, limit) => Sign::Healthy,
        (Some(last), Some(leader)) => Sign::Unclear(Reason::Behind {
            entries: leader.index.saturating_sub(last.index),
            limit,
        }),
        _ => Sign::Unclear(Reason::NoLog),
    }
}

/// Chooses an action, and collects the refusals.
struct Judge<'a> {
    snapshot: &'a Snapshot,
    settings: &'a Settings,
    signs: &'a BTreeMap<&'a ServerId, Sign>,
    memory: &'a Memory,
    refusals: Vec<Refusal>,
}

/// A server that is dead for its whole hold.
struct Dead<'a> {
    member: &'a RaftMember,
    failure: Failure,
}

/// A spare that is stable.
struct Ready<'a> {
    id: &'a ServerId,
    stable_for: Duration,
}

impl<'a> Judge<'a> {
    fn refuse(&mut self, server: &ServerId, reason: Reason) {
        self.refusals.push(Refusal {
            server: Some(server.clone()),
            reason,
        });
    }

    fn members(&self) -> &'a [RaftMember] {
        &self.snapshot.view.membership.servers
    }

    fn is_healthy(&self, id: &ServerId) -> bool {
        matches!(self.signs.get(id), Some(Sign::Healthy))
    }

    /// Returns the failure of a server, and the hold that it has to last.
    fn failure(&self, id: &ServerId) -> Option<Failure> {
        let Some(&Sign::Failing { status, lasted }) = self.signs.get(id) else {
            return None;
        };
        let observed = self.memory.failing_for(id, self.snapshot.now);
        Some(Failure {
            status,
            lasted: lasted.min(observed),
            hold: self.memory.hold(id, self.settings.hold),
        })
    }

    /// Returns what is wrong with the servers that are not healthy.
    fn reasons(&self) -> BTreeMap<ServerId, Reason> {
        let leads = self.snapshot.view.leadership == Leadership::Local;
        let signs = self.signs.iter().filter(|_| leads);
        let reasons = signs.filter_map(|(id, sign)| {
            let reason = match sign {
                Sign::Healthy => return None,
                Sign::Failing { .. } => Reason::Failing(self.failure(id)?),
                Sign::Unclear(reason) => reason.clone(),
            };
            Some(((*id).clone(), reason))
        });
        reasons.collect()
    }

    /// Returns the rule that blocks all changes.
    fn blocked(&self) -> Option<Refusal> {
        let cluster = |reason| {
            Some(Refusal {
                server: None,
                reason,
            })
        };
        let (now, view) = (self.snapshot.now, &self.snapshot.view);
        let (needed, pause) = (
            majority(view.membership.voters().count()),
            self.settings.pause,
        );
        if view.leadership != Leadership::Local {
            return cluster(Reason::NotLeader);
        }
        if view.change.is_some() {
            return cluster(Reason::ChangeInProgress);
        }
        let threshold = self.settings.configuration.last_contact_threshold;
        let voters = view.servers().filter(|(member, _)| member.is_voter());
        let contacts = voters.filter_map(|(member, status)| last_contact(view, member, status));
        let fresh = contacts.filter(|contact| *contact <= threshold).count();
        if fresh < needed {
            return cluster(Reason::NoMajority { fresh, needed });
        }
        let observed = self.memory.led_for(now);
        let lasted = view.leading_for.map_or(observed, |led| led.min(observed));
        if lasted < pause {
            let needed = pause;
            return cluster(Reason::NewLeader { lasted, needed });
        }
        let lasted = self.memory.since_last(now)?;
        if lasted < pause {
            let needed = pause;
            return cluster(Reason::Paused { lasted, needed });
        }
        let unsettled = view.membership.voters().find(|voter| {
            let failing = self.failure(&voter.id);
            match self.signs.get(&voter.id) {
                Some(Sign::Failing { .. }) => failing.is_some_and(|it| it.lasted < it.hold),
                Some(Sign::Unclear(reason)) => {
                    // There is nothing to wait for with the others.
                    !matches!(reason, Reason::Unknown | Reason::StillAnswers { .. })
                }
                _ => false,
            }
        })?;
        Some(Refusal {
            server: Some(unsettled.id.clone()),
            reason: Reason::Unsettled,
        })
    }

    /// Chooses the action: a replacement, else a promotion, else a removal.
    fn choose(&mut self) -> Option<Action> {
        let dead = self.dead();
        let ready = self.ready();
        let action = self
            .replacement(&dead, &ready)
            .or_else(|| self.promotion(&dead, &ready))
            .or_else(|| self.removal(&dead));
        if let Some(action) = &action {
            let concerned = |id: &ServerId| match action {
                Action::Replace { id: old, with, .. } => id == old || id == with,
                action => id == action.id(),
            };
            self.refusals
                .retain(|it| it.server.as_ref().is_none_or(|id| !concerned(id)));
            let refused: Vec<_> = self
                .refusals
                .iter()
                .filter_map(|it| it.server.clone())
                .collect();
            let dead = dead.iter().map(|dead| &dead.member.id);
            for id in dead.chain(ready.iter().map(|ready| ready.id)) {
                if !concerned(id) && !refused.contains(id) {
                    let first = action.id().clone();
                    self.refuse(id, Reason::OneChange { first });
                }
            }
        }
        action
    }

    /// Returns the servers that may be removed as far as they alone are concerned: voters
    /// first, the longest dead first.
    fn dead(&mut self) -> Vec<Dead<'a>> {
        let mut dead = Vec::new();
        for member in self.members() {
            match (self.failure(&member.id), self.signs.get(&member.id)) {
                (Some(failure), _) if failure.lasted < failure.hold => {
                    self.refuse(&member.id, Reason::Failing(failure));
                }
                (Some(_), _) if !self.settings.configuration.cleanup_dead_servers => {
                    self.refuse(&member.id, Reason::CleanupOff);
                }
                (Some(failure), _) => dead.push(Dead { member, failure }),
                (None, Some(Sign::Unclear(reason))) => self.refuse(&member.id, reason.clone()),
                (None, _) => {}
            }
        }
        dead.sort_by_key(|dead| {
            let lasted = Reverse(dead.failure.lasted);
            (!dead.member.is_voter(), lasted, &dead.member.id)
        });
        dead
    }

    /// Returns the servers that may be promoted as far as they alone are concerned, the
    /// longest stable first.
    fn ready(&mut self) -> Vec<Ready<'a>> {
        let now = self.snapshot.now;
        let needed = self.settings.configuration.server_stabilization_time;
        let mut ready = Vec::new();
        for member in self.members() {
            let id = &member.id;
            if member.suffrage != Suffrage::Nonvoter || !self.is_healthy(id) {
                continue;
            }
            let stable_for = self.memory.healthy_for(id, now);
            if !self.snapshot.detected.contains_key(id) {
                self.refuse(id, Reason::Unknown);
            } else if stable_for < needed {
                self.refuse(id, Reason::Unstable { stable_for, needed });
            } else {
                ready.push(Ready { id, stable_for });
            }
        }
        ready.sort_by_key(|ready| (Reverse(ready.stable_for), ready.id));
        ready
    }

    /// Counts the voters after a change. The healthy ones count as alive.
    fn count(&self, without: Option<&ServerId>, with: Option<&ServerId>) -> VoterCount {
        let voters = self.snapshot.view.membership.voters();
        let before = voters.map(|voter| &voter.id);
        let after = before.filter(|id| Some(*id) != without).chain(with);
        count(after.map(|id| (id, Some(self.is_healthy(id)))), true)
    }

    /// Returns the proof to make: the margin, unless the cluster has none to lose.
    fn proof(&self) -> Proof {
        match self.count(None, None).failure_tolerance {
            0 => Proof::Majority,
            _ => Proof::Margin,
        }
    }

    /// Returns the reason if no voter may leave, or no other server, because those that
    /// left in the window are too many.
    fn window_full(&self, voter: bool) -> Option<Reason> {
        self.window_full_of(voter, self.memory.removals(voter))
    }

    fn window_full_of(&self, voter: bool, removed: usize) -> Option<Reason> {
        // The limit is 0 for an intended size of 1 or 2, which protects voters only.
        let limit = self.settings.removal_limit().max(usize::from(!voter));
        (removed >= limit).then_some(Reason::WindowFull {
            removed,
            limit,
            window: self.settings.window,
        })
    }

    /// Returns the voters that an earlier leader may have removed in the window: those
    /// that are missing, unless this leader has led for all of it.
    fn missing(&self) -> usize {
        let led_for = self.memory.led_for(self.snapshot.now);
        if led_for >= self.settings.window {
            return 0;
        }
        let voters = self.count(None, None).voters;
        self.settings.intended().saturating_sub(voters)
    }

    /// True if there are not more voters than intended, so that a dead one needs a
    /// successor.
    fn needs_successor(&self) -> bool {
        self.count(None, None).voters <= self.settings.intended()
    }

    fn replacement(&self, dead: &[Dead<'_>], ready: &[Ready<'_>]) -> Option<Action> {
        let (dead, ready) = (dead.first()?, ready.first()?);
        let (id, with) = (&dead.member.id, ready.id);
        let after = self.count(Some(id), Some(with));
        let fits = self.snapshot.can_replace
            && dead.member.is_voter()
            && self.needs_successor()
            && self.window_full(true).is_none()
            && after.alive >= after.quorum;
        fits.then(|| Action::Replace {
            id: id.clone(),
            with: with.clone(),
            failure: dead.failure,
            after,
            proof: self.proof(),
        })
    }

    fn promotion(&mut self, dead: &[Dead<'_>], ready: &[Ready<'_>]) -> Option<Action> {
        let intended = self.settings.intended();
        let voters = self.count(None, None).voters;
        let replaces = dead.first().is_some_and(|dead| dead.member.is_voter())
            && !self.snapshot.can_replace
            && self.window_full(true).is_none();
        let room = voters < intended || (replaces && voters == intended);
        let mut action = None;
        for ready in ready {
            let after = self.count(None, Some(ready.id));
            let reason = if !room {
                Reason::Spare { voters, intended }
            } else if !self.snapshot.can_promote {
                Reason::PromotionUnsupported
            } else if after.alive < after.quorum {
                Reason::UnhealthyMajority {
                    healthy: after.alive,
                    needed: after.quorum,
                }
            } else {
                action.get_or_insert(Action::Promote {
                    id: ready.id.clone(),
                    stable_for: ready.stable_for,
                    needed: self.settings.configuration.server_stabilization_time,
                    after,
                });
                continue;
            };
            self.refuse(ready.id, reason);
        }
        action
    }

    fn removal(&mut self, dead: &[Dead<'_>]) -> Option<Action> {
        let mut action = None;
        for dead in dead {
            let id = &dead.member.id;
            let after = self.count(Some(id), None);
            if let Some(reason) = self.against_removal(dead.member, after) {
                self.refuse(id, reason);
            } else {
                action.get_or_insert(Action::Remove {
                    id: id.clone(),
                    failure: dead.failure,
                    after,
                    proof: self.proof(),
                });
            }
        }
        action
    }

    fn against_removal(&self, member: &RaftMember, after: VoterCount) -> Option<Reason> {
        if let Some(full) = self.window_full(member.is_voter()) {
            return Some(full);
        }
        let takes_spare = self.snapshot.can_replace || self.snapshot.can_promote;
        if member.is_voter()
            && self.needs_successor()
            && takes_spare
            && let Some(with) = self.coming_spare()
        {
            return Some(Reason::SpareComing { with });
        }
        let minimum = self.settings.min_quorum();
        if member.is_voter() && after.voters < minimum {
            return Some(Reason::MinQuorum {
                remaining: after.voters,
                minimum,
                takes_spare,
            });
        }
        if after.alive < after.quorum {
            return Some(Reason::UnhealthyMajority {
                healthy: after.alive,
                needed: after.quorum,
            });
        }
        if !member.is_voter() {
            return None;
        }
        self.window_full_of(true, self.missing())
    }

    /// Returns a spare that is healthy, but was not for long enough to be
    /// [ready](Judge::ready).
    fn coming_spare(&self) -> Option<ServerId> {
        let mut refusals = self.refusals.iter();
        let unstable = refusals.find(|it| matches!(it.reason, Reason::Unstable { .. }))?;
        unstable.server.clone()
    }
}
