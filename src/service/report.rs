//! What the driver of autopilot has seen and done, and the report of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Inner;
use crate::autopilot::{
    Action, ActionKind, ActionResult, AutopilotConfiguration, AutopilotReport, Blocked, Decision,
    Reason, ReportedAction, ReportedServer, Settings, limited,
};
use crate::error::OperatorError;
use crate::raft::{Leadership, RaftView};
use crate::types::ServerId;

/// The number of actions that a report has.
const ACTIONS: usize = 20;

/// The driver of a service, with its settings and what it has seen: the last one that was
/// created, until it is dropped.
#[derive(Default)]
pub(super) struct DriverSlot(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    /// The number of drivers that were created.
    count: u64,
    driver: Option<Driver>,
}

struct Driver {
    number: u64,
    /// The embedder's settings.
    settings: Settings,
    look: Option<Look>,
    /// The term of the last decision, and the rule for each server since then, and since when.
    term: Option<u64>,
    rules: BTreeMap<ServerId, (&'static str, Instant)>,
    /// The newest first.
    actions: VecDeque<ListedAction>,
    /// True if the newest action is one that a dry run still decides on.
    repeats: bool,
}

/// What one tick has seen and decided.
pub(super) struct Look {
    pub(super) began: Instant,
    /// The time at which the next one begins.
    pub(super) due: Instant,
    /// The term of the view, or of the last one if none could be read.
    pub(super) term: Option<u64>,
    /// True if there was a decision.
    decided: bool,
    /// The configuration with all settings in force, if it could be read.
    pub(super) configuration: Option<AutopilotConfiguration>,
    action: Option<Action>,
    pub(super) blocked: Option<Blocked>,
    /// The reasons for the servers, each with the time of its end if that is known.
    servers: BTreeMap<ServerId, (Reason, Option<Instant>)>,
}

/// An action that was decided on.
struct ListedAction {
    at: Instant,
    action: Action,
    result: ActionResult,
    error: Option<String>,
}

impl Look {
    pub(super) fn new(began: Instant) -> Self {
        Look {
            began,
            due: began,
            term: None,
            decided: false,
            configuration: None,
            action: None,
            blocked: None,
            servers: BTreeMap::new(),
        }
    }

    /// Adds what was decided in a term.
    pub(super) fn decided(&mut self, decision: &Decision, term: u64) {
        self.term = Some(term);
        self.decided = true;
        self.action.clone_from(&decision.action);
        // That of the whole cluster is the only one. Otherwise, the last one is about the
        // change that was nearest. A spare waits for work, and keeps nothing from happening.
        let mut refusals = decision.refusals.iter();
        let blocks = refusals.rfind(|it| !matches!(it.reason, Reason::Spare { .. }));
        self.blocked = blocks
            .filter(|_| decision.action.is_none())
            .map(|it| Blocked {
                rule: it.reason.rule().into(),
                reason: it.reason.to_string(),
                server: it.server.clone(),
            });
        let refusals = decision.refusals.iter();
        // An unsettled voter has a reason of its own, which tells more.
        let refused = refusals.filter(|it| it.reason != Reason::Unsettled);
        let refused = refused.filter_map(|it| Some((it.server.as_ref()?, &it.reason)));
        let reasons = decision.reasons.iter().chain(refused);
        let reasons = reasons.map(|(id, reason)| {
            let end = reason.ends_after();
            let end = end.and_then(|after| self.began.checked_add(after));
            (id.clone(), (reason.clone(), end))
        });
        self.servers = reasons.collect();
        // The action says it.
        if let Some(action) = &self.action {
            self.servers.remove(action.id());
        }
    }

    fn is_dry_run(&self) -> bool {
        let configuration = self.configuration.as_ref();
        configuration.and_then(|it| it.dry_run) == Some(true)
    }
}

impl DriverSlot {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Inserts a new driver, and returns its number.
    pub(super) fn insert(&self, settings: Settings) -> u64 {
        let mut slot = self.lock();
        slot.count += 1;
        let number = slot.count;
        slot.driver = Some(Driver {
            number,
            settings,
            look: None,
            term: None,
            rules: BTreeMap::new(),
            actions: VecDeque::new(),
            repeats: false,
        });
        number
    }

    /// Removes the driver with this number, if it is in the slot.
    pub(super) fn remove(&self, number: u64) {
        let mut slot = self.lock();
        slot.driver.take_if(|driver| driver.number == number);
    }

    /// Calls a function with the driver with this number, if it is in the slot.
    fn with<T>(&self, number: u64, visit: impl FnOnce(&mut Driver) -> T) -> Option<T> {
        let mut slot = self.lock();
        let driver = slot.driver.as_mut();
        driver.filter(|driver| driver.number == number).map(visit)
    }

    /// Returns true if the driver with this number is in the slot.
    pub(super) fn contains(&self, number: u64) -> bool {
        self.with(number, |_| ()).is_some()
    }

    /// Returns the embedder's settings, if there is a driver.
    pub(super) fn settings(&self) -> Option<Settings> {
        let slot = self.lock();
        slot.driver.as_ref().map(|driver| driver.settings.clone())
    }

    pub(super) fn keep(&self, number: u64, look: Look) {
        self.with(number, |driver| driver.keep(look));
    }

    /// Lists an action that is about to be executed.
    pub(super) fn begin(&self, number: u64, action: &Action, at: Instant) -> Running<'_> {
        self.with(number, |driver| {
            driver.list(action, at, ActionResult::Running);
        });
        Running { slot: self, number }
    }
}

/// An action that is being executed. Its result is unknown if this is dropped before
/// [`conclude`](Running::conclude).
pub(super) struct Running<'a> {
    slot: &'a DriverSlot,
    number: u64,
}

impl Running<'_> {
    /// Sets the result. An action that fails like the last attempt of it takes its place in
    /// the list.
    pub(super) fn conclude(self, result: &Result<(), OperatorError>) {
        self.slot.with(self.number, |driver| {
            let Some(newest) = driver.actions.front_mut() else {
                return;
            };
            newest.result = match result {
                Ok(()) => ActionResult::Applied,
                Err(error) => error.outcome().into(),
            };
            newest.error = result.as_ref().err().map(ToString::to_string);
            let failed = newest.error.is_some();
            if let (true, [newest, before, ..]) = (failed, driver.actions.make_contiguous())
                && before.result == newest.result
                && kind(&before.action) == kind(&newest.action)
            {
                driver.actions.remove(1);
            }
        });
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.slot.with(self.number, |driver| {
            let newest = driver.actions.front_mut();
            if let Some(newest) = newest.filter(|it| it.result == ActionResult::Running) {
                newest.result = ActionResult::Unknown;
            }
        });
    }
}

impl Driver {
    fn list(&mut self, action: &Action, at: Instant, result: ActionResult) {
        self.actions.push_front(ListedAction {
            at,
            action: action.clone(),
            result,
            error: None,
        });
        self.actions.truncate(ACTIONS);
    }

    fn keep(&mut self, mut look: Look) {
        let last = self.look.take();
        if let Some(last) = last {
            look.configuration = look.configuration.or(last.configuration);
            look.term = look.term.or(last.term);
        }
        if look.decided {
            if self.term != look.term {
                self.rules.clear();
            }
            self.term = look.term;
            let rules = look.servers.iter().map(|(id, (reason, _))| {
                let known = self.rules.get(id);
                let known = known.filter(|(rule, _)| *rule == reason.rule());
                (id.clone(), *known.unwrap_or(&(reason.rule(), look.began)))
            });
            self.rules = rules.collect();
            let dry = look.action.as_ref().filter(|_| look.is_dry_run());
            if let Some(action) = dry {
                let newest = self.actions.front().map(|taken| kind(&taken.action));
                if !self.repeats || newest != Some(kind(action)) {
                    self.list(action, look.began, ActionResult::DryRun);
                }
            }
            self.repeats = dry.is_some();
        }
        self.look = Some(look);
    }

    /// Reports what was seen in the term of the view, or why nothing was.
    fn report(&self, view: &RaftView, now: Instant, grace: Duration) -> AutopilotReport {
        let wall = SystemTime::now();
        let time = |at: Instant| {
            let time = match at.checked_duration_since(now) {
                Some(later) => wall.checked_add(later),
                None => wall.checked_sub(now.saturating_duration_since(at)),
            };
            limited(time.unwrap_or(wall))
        };
        let read = self.look.as_ref().and_then(|it| it.configuration.clone());
        let settings = self.settings.fill(read.unwrap_or_default());
        let look = self.look.as_ref();
        let look = look.filter(|look| look.term.is_none_or(|term| term == view.term));
        let late = |reason: String| Blocked {
            rule: "late".into(),
            reason,
            server: None,
        };
        let actions = self.actions.iter().map(|taken| {
            let (kind, server, replaced_by) = kind(&taken.action);
            ReportedAction {
                time: time(taken.at),
                kind,
                server: server.clone(),
                replaced_by: replaced_by.cloned(),
                reason: taken.action.to_string(),
                result: taken.result,
                error: taken.error.clone(),
            }
        });
        let mut report = AutopilotReport {
            dry_run: settings.dry_run.unwrap_or_default(),
            intended_size: settings.intended_size.unwrap_or_default(),
            voters: view.membership.voters().count() as u64,
            failed_hold: settings.failed_hold.unwrap_or_default(),
            last_check: look.map(|look| time(look.began)),
            next_check: look.map(|look| time(look.due)),
            decided: None,
            blocked: None,
            servers: BTreeMap::new(),
            actions: actions.collect(),
        };
        let Some(look) = look else {
            let reason = "it has not looked at the cluster since this server became the leader";
            report.blocked = Some(late(reason.into()));
            return report;
        };
        let overdue = now.saturating_duration_since(look.due);
        if overdue > grace {
            let ago = now.saturating_duration_since(look.began).as_secs();
            let reason = format!(
                "its last look was {ago} s ago, and the next one was due {} s ago: see whether \
                 its task still runs",
                overdue.as_secs()
            );
            report.blocked = Some(late(reason));
            return report;
        }
        report.decided = look.action.as_ref().map(ToString::to_string);
        report.blocked.clone_from(&look.blocked);
        let servers = look.servers.iter().map(|(id, (reason, end))| {
            let since = self.rules.get(id).map_or(look.began, |(_, since)| *since);
            let server = ReportedServer {
                rule: reason.rule().into(),
                reason: reason.to_string(),
                lasted: now.saturating_duration_since(since),
                next_check: time(end.map_or(look.due, |end| end.max(look.due))),
            };
            (id.clone(), server)
        });
        report.servers = servers.collect();
        report
    }
}

/// The kind of an action, and the servers that it is about.
pub(super) fn kind(action: &Action) -> (ActionKind, &ServerId, Option<&ServerId>) {
    match action {
        Action::Promote { id, .. } => (ActionKind::Promote, id, None),
        Action::Remove { id, .. } => (ActionKind::Remove, id, None),
        Action::Replace { id, with, .. } => (ActionKind::Replace, id, Some(with)),
    }
}

impl Inner {
    /// Returns what the driver of this server reports, while the server leads.
    pub(super) fn report(&self, view: &RaftView) -> Option<AutopilotReport> {
        if view.leadership != Leadership::Local {
            return None;
        }
        let slot = self.driver.lock();
        let driver = slot.driver.as_ref()?;
        // A tick takes the deadline at most.
        let grace = driver.settings.pause().saturating_add(self.deadline);
        Some(driver.report(view, self.timer.now(), grace))
    }
}
