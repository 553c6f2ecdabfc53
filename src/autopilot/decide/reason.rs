//! What is decided, and the reasons with their numbers.

use std::fmt;
use std::time::Duration;

use crate::autopilot::Detected;
use crate::raft::{Proof, VoterCount};
use crate::types::ServerId;

/// A change that autopilot makes. [`Display`](fmt::Display) writes it with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Makes a server without a vote a voter.
    Promote {
        /// The server.
        id: ServerId,
        /// The time for which it has been healthy.
        stable_for: Duration,
        /// The time for which it had to be healthy.
        needed: Duration,
        /// The voters after the change.
        after: VoterCount,
    },
    /// Removes a server.
    Remove {
        /// The server.
        id: ServerId,
        /// Its failure.
        failure: Failure,
        /// The voters after the change; the healthy ones count as alive.
        after: VoterCount,
        /// The proof to make first.
        proof: Proof,
    },
    /// Replaces a voter with a server without a vote, in one change.
    Replace {
        /// The voter.
        id: ServerId,
        /// The server that takes its place.
        with: ServerId,
        /// The voter's failure.
        failure: Failure,
        /// The voters after the change; the healthy ones count as alive.
        after: VoterCount,
        /// The proof to make first.
        proof: Proof,
    },
}

impl Action {
    /// Returns the server that is promoted, removed or replaced.
    pub fn id(&self) -> &ServerId {
        match self {
            Action::Promote { id, .. } | Action::Remove { id, .. } | Action::Replace { id, .. } => {
                id
            }
        }
    }

    /// Returns the voters after the change.
    pub fn after(&self) -> VoterCount {
        match self {
            Action::Promote { after, .. }
            | Action::Remove { after, .. }
            | Action::Replace { after, .. } => *after,
        }
    }

    /// Returns true if a server leaves the configuration.
    pub fn removes(&self) -> bool {
        !matches!(self, Action::Promote { .. })
    }

    /// Returns the reason with its numbers, without the servers: what
    /// [`Display`](fmt::Display) writes after them.
    pub fn reason(&self) -> String {
        let VoterCount { voters, alive, .. } = self.after();
        match self {
            Action::Promote {
                stable_for, needed, ..
            } => format!(
                "healthy for {} s of {}, {alive} healthy voters of {voters} follow",
                stable_for.as_secs(),
                needed.as_secs(),
            ),
            Action::Remove { failure, .. } => {
                format!("{failure}, {alive} healthy voters of {voters} remain")
            }
            Action::Replace { failure, .. } => {
                format!("{failure}, {alive} healthy voters of {voters} follow")
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason();
        match self {
            Action::Promote { id, .. } => write!(f, "promote {id}: {reason}"),
            Action::Remove { id, .. } => write!(f, "remove {id}: {reason}"),
            Action::Replace { id, with, .. } => write!(f, "replace {id} with {with}: {reason}"),
        }
    }
}

/// The failure of a server. Writes as `failed for 182 s of 180`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// [`Failed`](Detected::Failed) or [`Left`](Detected::Left).
    pub status: Detected,
    /// The time for which it has failed: the shortest of what the detector says, what
    /// this leader has observed, and the time since its last answer.
    pub lasted: Duration,
    /// The time for which it has to have failed. It doubles with each failure in the
    /// window, up to eight times the hold.
    pub hold: Duration,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lasted, hold) = (self.lasted.as_secs(), self.hold.as_secs());
        write!(f, "{} for {lasted} s of {hold}", self.status)
    }
}

/// A change that autopilot does not make, or a server that it does not count on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The server that it concerns; `None` if nothing at all is changed.
    pub server: Option<ServerId>,
    /// The rule that blocks, with its numbers.
    pub reason: Reason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => write!(f, "{server}: {}", self.reason),
            None => self.reason.fmt(f),
        }
    }
}

/// The rule that blocks a change, with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// This server does not lead.
    NotLeader,
    /// A change of the configuration is not finished.
    ChangeInProgress,
    /// Fewer voters than a majority have answered lately.
    NoMajority {
        /// The voters that have answered within the threshold of the last contact.
        fresh: usize,
        /// The majority.
        needed: usize,
    },
    /// The leader was elected, or autopilot started, a short time ago.
    NewLeader {
        /// The time since then.
        lasted: Duration,
        /// The time to wait.
        needed: Duration,
    },
    /// The last action was a short time ago.
    Paused {
        /// The time since then.
        lasted: Duration,
        /// The time to wait.
        needed: Duration,
    },
    /// This voter is neither healthy nor known to have failed since the last action.
    Unsettled,
    /// The failure detector does not know the server. It may be alive.
    Unknown,
    /// The failure detector calls the server failed, or gone, and it answers the leader.
    StillAnswers {
        /// The status in the detector.
        status: Detected,
        /// The time since its last answer.
        contact: Duration,
    },
    /// The failure detector calls the server alive, and it does not answer the leader.
    Silent {
        /// The time since its last answer, if it ever answered.
        contact: Option<Duration>,
        /// The longest time for a healthy server.
        threshold: Duration,
    },
    /// The last log entry of the server, or of the leader, is unknown.
    NoLog,
    /// The server's log is too far behind, or ends in another term than the leader's.
    Behind {
        /// The number of entries that it lacks at least.
        entries: u64,
        /// The largest number for a healthy server.
        limit: u64,
    },
    /// The server has not failed for long enough.
    Failing(Failure),
    /// The configuration forbids the removal of dead servers.
    CleanupOff,
    /// Too many servers were removed in the window.
    WindowFull {
        /// The servers that were removed in it. For a leader that has led for less than
        /// the window, at least the voters that are missing from the intended size.
        removed: usize,
        /// The largest number. It is 0 for the voters of an intended size of 1 or 2.
        limit: usize,
        /// The length of the window.
        window: Duration,
    },
    /// Fewer voters than MinQuorum would remain.
    MinQuorum {
        /// The voters that would remain.
        remaining: usize,
        /// The least number.
        minimum: usize,
        /// True if a spare would take the server's place: the Raft can replace a voter or
        /// promote a server.
        takes_spare: bool,
    },
    /// The healthy voters would be less than a majority.
    UnhealthyMajority {
        /// The healthy voters after the change.
        healthy: usize,
        /// The majority after the change.
        needed: usize,
    },
    /// A spare will soon be able to take the server's place.
    SpareComing {
        /// The spare.
        with: ServerId,
    },
    /// The server has not been healthy for long enough to vote.
    Unstable {
        /// The time for which it has been healthy.
        stable_for: Duration,
        /// The time for which it has to be.
        needed: Duration,
    },
    /// The cluster has as many voters as it is meant to have. The server is a spare.
    Spare {
        /// The voters.
        voters: usize,
        /// The intended number.
        intended: usize,
    },
    /// The Raft cannot promote a server.
    PromotionUnsupported,
    /// Another change comes first.
    OneChange {
        /// The server that it concerns.
        first: ServerId,
    },
}

impl Reason {
    /// Returns the name of the rule, in [`decide`](super::decide)'s documentation.
    pub fn rule(&self) -> &'static str {
        match self {
            Reason::NotLeader => "leader",
            Reason::NoMajority { .. } => "contact",
            Reason::NewLeader { .. } => "calm",
            Reason::ChangeInProgress
            | Reason::Paused { .. }
            | Reason::Unsettled
            | Reason::OneChange { .. } => "one-change",
            Reason::Unknown | Reason::NoLog => "known",
            Reason::StillAnswers { .. } | Reason::Silent { .. } => "agreement",
            Reason::Failing(_) => "hold",
            Reason::CleanupOff => "cleanup",
            Reason::WindowFull { .. } => "window",
            Reason::MinQuorum { .. } => "min-quorum",
            Reason::UnhealthyMajority { .. } => "majority",
            Reason::SpareComing { .. } => "replace-first",
            Reason::Unstable { .. } | Reason::Behind { .. } => "stable",
            Reason::Spare { .. } => "size",
            Reason::PromotionUnsupported => "supported",
        }
    }

    /// Returns the time after which the reason ends, if nothing else changes.
    pub(crate) fn ends_after(&self) -> Option<Duration> {
        match self {
            Reason::NewLeader { lasted, needed } | Reason::Paused { lasted, needed } => {
                Some(needed.saturating_sub(*lasted))
            }
            Reason::Unstable { stable_for, needed } => Some(needed.saturating_sub(*stable_for)),
            Reason::Failing(failure) => Some(failure.hold.saturating_sub(failure.lasted)),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotLeader => f.write_str("this server does not lead"),
            Reason::ChangeInProgress => f.write_str("another change is in progress"),
            Reason::NoMajority { fresh, needed } => {
                write!(
                    f,
                    "only {fresh} voters have answered lately, {needed} are needed"
                )
            }
            Reason::NewLeader { lasted, needed } => write!(
                f,
                "the leader is new: it has led for {} s of {}",
                lasted.as_secs(),
                needed.as_secs()
            ),
            Reason::Paused { lasted, needed } => write!(
                f,
                "the last action was {} s of {} ago",
                lasted.as_secs(),
                needed.as_secs()
            ),
            Reason::Unsettled => {
                f.write_str("neither healthy nor known to have failed since the last action")
            }
            Reason::Unknown => f.write_str(
                "the failure detector does not know it: remove it by hand if it is dead",
            ),
            Reason::StillAnswers { status, contact } => write!(
                f,
                "{status} in the failure detector, but it answered {} ms ago",
                contact.as_millis()
            ),
            Reason::Silent {
                contact: Some(contact),
                threshold,
            } => write!(
                f,
                "its last answer was {} ms ago, above {}",
                contact.as_millis(),
                threshold.as_millis()
            ),
            Reason::Silent { contact: None, .. } => {
                f.write_str("it has never answered this leader")
            }
            Reason::NoLog => f.write_str("its last log entry, or the leader's, is unknown"),
            Reason::Behind { entries, limit } => write!(
                f,
                "its log is behind: {entries} entries at least, of {limit}, or in another term"
            ),
            Reason::Failing(failure) => failure.fmt(f),
            Reason::CleanupOff => f.write_str("dead, but CleanupDeadServers is off"),
            Reason::WindowFull { limit: 0, .. } => f.write_str(
                "dead, but no voter leaves a cluster whose intended size tolerates no failure: \
                 remove it by hand",
            ),
            Reason::WindowFull {
                removed,
                limit,
                window,
            } => write!(
                f,
                "dead, but {removed} servers of {limit} were removed, or are missing, in {} s",
                window.as_secs()
            ),
            Reason::MinQuorum {
                remaining,
                minimum,
                takes_spare,
            } => {
                let way_out = if *takes_spare {
                    "add a spare, which takes its place"
                } else {
                    "add a voter, or remove it by hand"
                };
                write!(
                    f,
                    "dead, but {remaining} voters would remain, below MinQuorum {minimum}: \
                     {way_out}"
                )
            }
            Reason::UnhealthyMajority { healthy, needed } => write!(
                f,
                "only {healthy} healthy voters would follow, {needed} are needed"
            ),
            Reason::SpareComing { with } => {
                write!(f, "dead, and {with} takes its place once it is stable")
            }
            Reason::Unstable { stable_for, needed } => write!(
                f,
                "healthy for {} s of {}",
                stable_for.as_secs(),
                needed.as_secs()
            ),
            Reason::Spare { voters, intended } => write!(
                f,
                "a spare: the cluster has {voters} voters of {intended} intended"
            ),
            Reason::PromotionUnsupported => f.write_str("the Raft cannot promote it"),
            Reason::OneChange { first } => write!(f, "the change of {first} comes first"),
        }
    }
}
