//! What the autopilot of a leader reports of itself.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::Outcome;
use crate::types::{ServerId, cut_name, cut_text};

/// What a [`service::Autopilot`](crate::service::Autopilot) reports while its server leads.
///
/// It shows the last look at the cluster and its time. If there was none yet in this term, or
/// the last one failed or is too long ago, the report says so as the rule that
/// [blocks](AutopilotReport::blocked), and names no server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AutopilotReport {
    /// True if nothing is executed.
    pub dry_run: bool,
    /// The number of voters that the cluster is meant to have.
    pub intended_size: u64,
    /// The number of voters that it has.
    pub voters: u64,
    /// The time for which a server has to have failed before it is removed.
    pub failed_hold: Duration,
    /// The time of the last look, if there was one in this term.
    pub last_check: Option<SystemTime>,
    /// The time of the next one.
    pub next_check: Option<SystemTime>,
    /// The action that the last look decided on, with its reason.
    pub decided: Option<String>,
    /// The rule that blocks a change, or keeps a spare from getting ready; `None` if there is
    /// nothing to do, or an action is decided on.
    pub blocked: Option<Blocked>,
    /// The servers that are not healthy, or that a rule keeps from a change.
    pub servers: BTreeMap<ServerId, ReportedServer>,
    /// The last actions of this server's autopilot since it started, also as an earlier
    /// leader: the newest first, 20 at most. An action that a dry run decides on again and again
    /// is one, and so is one that fails again and again, with its last attempt.
    pub actions: Vec<ReportedAction>,
}

impl AutopilotReport {
    /// Limits the size of the report of another server.
    pub(crate) fn bounded(mut self, servers: usize) -> Self {
        self.decided = self.decided.map(cut_text);
        self.blocked = self.blocked.map(|blocked| Blocked {
            rule: cut_text(blocked.rule),
            reason: cut_text(blocked.reason),
            server: blocked.server.map(cut_name),
        });
        let first = std::mem::take(&mut self.servers).into_iter().take(servers);
        self.servers = first
            .map(|(id, mut server)| {
                server.rule = cut_text(server.rule);
                server.reason = cut_text(server.reason);
                (cut_name(id), server)
            })
            .collect();
        // A diagnosis uses the newest one that has ended, and at most one is running.
        self.actions.truncate(2);
        for action in &mut self.actions {
            action.server = cut_name(action.server.clone());
            action.replaced_by = action.replaced_by.take().map(cut_name);
            action.reason = cut_text(std::mem::take(&mut action.reason));
            action.error = action.error.take().map(cut_text);
        }
        self
    }

    pub(super) fn times(&self) -> impl Iterator<Item = &SystemTime> {
        let checks = self.last_check.iter().chain(&self.next_check);
        let servers = self.servers.values().map(|server| &server.next_check);
        let actions = self.actions.iter().map(|action| &action.time);
        checks.chain(servers).chain(actions)
    }
}

/// The rule that blocks an autopilot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Blocked {
    /// The name of the rule, as in [`decide`](super::decide), or one of the driver:
    /// - `settings`: the configuration contradicts the embedder's settings.
    /// - `input`: the last look failed.
    /// - `late`: there was no look in time, or none yet in this term.
    pub rule: String,
    /// The rule with its numbers.
    pub reason: String,
    /// The server that it concerns, if it is about one.
    pub server: Option<ServerId>,
}

/// What keeps a server from a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportedServer {
    /// The name of the rule, as in [`decide`](super::decide).
    pub rule: String,
    /// The rule with its numbers.
    pub reason: String,
    /// The time for which this rule has applied to the server, as this autopilot has seen
    /// it.
    pub lasted: Duration,
    /// The time at which it is looked at again.
    pub next_check: SystemTime,
}

/// An action of an autopilot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportedAction {
    /// The time at which it was decided on.
    pub time: SystemTime,
    /// What was done.
    pub kind: ActionKind,
    /// The server that was promoted, removed or replaced.
    pub server: ServerId,
    /// The server that took its place.
    pub replaced_by: Option<ServerId>,
    /// The action with its reason and its numbers.
    pub reason: String,
    /// The result.
    pub result: ActionResult,
    /// The error, if it failed.
    pub error: Option<String>,
}

/// The kind of an action. It serializes to its name in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ActionKind {
    /// A server without a vote becomes a voter.
    Promote,
    /// A server is removed.
    Remove,
    /// A server without a vote takes a voter's place.
    Replace,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

impl ActionKind {
    /// Returns the name that it serializes to.
    pub fn name(self) -> &'static str {
        match self {
            ActionKind::Promote => "promote",
            ActionKind::Remove => "remove",
            ActionKind::Replace => "replace",
            ActionKind::Other => "other",
        }
    }
}

/// The result of an action. It serializes to its name in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ActionResult {
    /// It was made.
    Applied,
    /// It failed, and nothing has changed.
    NotApplied,
    /// It was a dry run.
    DryRun,
    /// It is being executed.
    Running,
    /// It failed, and may have been made.
    #[serde(other)]
    Unknown,
}

impl ActionResult {
    /// Returns the name that it serializes to.
    pub fn name(self) -> &'static str {
        match self {
            ActionResult::Applied => "applied",
            ActionResult::NotApplied => "not-applied",
            ActionResult::DryRun => "dry-run",
            ActionResult::Running => "running",
            ActionResult::Unknown => "unknown",
        }
    }
}

impl From<Outcome> for ActionResult {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Applied => ActionResult::Applied,
            Outcome::NotApplied => ActionResult::NotApplied,
            Outcome::Unknown => ActionResult::Unknown,
        }
    }
}
