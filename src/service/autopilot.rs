//! Autopilot's operations on the server that serves them, and what its driver reports.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Inner;
use super::raft::{Progress, unchanged};
use crate::autopilot::{
    Action, ActionKind, ActionResult, AutopilotBackend, AutopilotConfiguration, AutopilotReport,
    Blocked, Decision, DriverChange, Reason, ReportedAction, ReportedServer, Settings, limited,
};
use crate::error::{ErrorKind, OperatorError};
use crate::operation::OperatorReply;
use crate::raft::{Leadership, RaftView};
use crate::types::ServerId;

/// The number of actions that a report has.
const ACTIONS: usize = 20;

/// The largest number of attempts of a change that keeps a setting, while others change the
/// configuration.
const SET_ATTEMPTS: usize = 4;

/// The place where the driver of a service keeps its settings and what it has seen. It is
/// empty while no driver exists; of several, the last one that was created has it.
#[derive(Default)]
pub(super) struct DriverSlot(Mutex<Place>);

#[derive(Default)]
struct Place {
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
    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the place to a new driver, and returns its number.
    pub(super) fn enter(&self, settings: Settings) -> u64 {
        let mut place = self.place();
        place.count += 1;
        let number = place.count;
        place.driver = Some(Driver {
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

    /// Empties the place, if the driver with this number has it.
    pub(super) fn leave(&self, number: u64) {
        let mut place = self.place();
        place.driver.take_if(|driver| driver.number == number);
    }

    /// Visits the driver with this number, if it has the place.
    fn visit<T>(&self, number: u64, visit: impl FnOnce(&mut Driver) -> T) -> Option<T> {
        let mut place = self.place();
        let driver = place.driver.as_mut();
        driver.filter(|driver| driver.number == number).map(visit)
    }

    /// Returns true if the driver with this number has the place.
    pub(super) fn is_held_by(&self, number: u64) -> bool {
        self.visit(number, |_| ()).is_some()
    }

    /// Returns the embedder's settings, if there is a driver.
    fn settings(&self) -> Option<Settings> {
        let place = self.place();
        place.driver.as_ref().map(|driver| driver.settings.clone())
    }

    pub(super) fn keep(&self, number: u64, look: Look) {
        self.visit(number, |driver| driver.keep(look));
    }

    /// Lists an action that is about to be executed.
    pub(super) fn begin(&self, number: u64, action: &Action, at: Instant) -> Running<'_> {
        self.visit(number, |driver| {
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
        self.slot.visit(self.number, |driver| {
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
        self.slot.visit(self.number, |driver| {
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
    pub(super) fn autopilot(&self) -> Result<&dyn AutopilotBackend, OperatorError> {
        self.autopilot
            .as_deref()
            .ok_or_else(|| OperatorError::unsupported("autopilot"))
    }

    /// Returns the configuration, with the settings of this server's driver in force.
    pub(super) async fn autopilot_configuration(&self) -> Result<OperatorReply, OperatorError> {
        let configuration = self.autopilot()?.configuration().await?;
        let configuration = match self.driver.settings() {
            Some(settings) => settings.fill(configuration),
            // They have no effect here.
            None => AutopilotConfiguration {
                failed_hold: None,
                intended_size: None,
                dry_run: None,
                ..configuration
            },
        };
        Ok(OperatorReply::AutopilotConfiguration(configuration))
    }

    /// Replaces Consul's settings, and changes the others.
    pub(super) async fn set_autopilot_configuration(
        &self,
        configuration: &AutopilotConfiguration,
        change: &DriverChange,
        expected_index: Option<u64>,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        let autopilot = self.autopilot()?;
        let ignored = configuration.ignored(&self.autopilot_defaults, |setting| {
            autopilot.acts_on(setting)
        });
        if !ignored.is_empty() {
            let settings = ignored.iter();
            let settings: Vec<_> = settings
                .map(|(setting, only)| format!("{setting} other than {only}"))
                .collect();
            return Err(OperatorError::unsupported(format!(
                "an autopilot with {}",
                settings.join(" or ")
            )));
        }
        let settings = self.driver.settings();
        if settings.is_none() && !change.keeps_all() {
            return Err(OperatorError::invalid_request(
                "no autopilot runs on the leader, so FailedHold, IntendedSize and DryRun would \
                 have no effect: leave them out, or run one",
            ));
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let current = autopilot.configuration().await.map_err(unchanged)?;
            let changed = change.clone().applied(configuration.clone(), &current);
            let of_driver = settings.is_some() || !DriverChange::from(&changed).keeps_all();
            let mut expected = expected_index;
            if of_driver {
                if expected.is_some_and(|expected| expected != current.modify_index) {
                    return Ok(OperatorReply::AutopilotConfigurationSet(false));
                }
                // Nobody may change what is kept in the meantime.
                expected = Some(current.modify_index);
            }
            if let Some(settings) = &settings {
                let settings = settings.clone().with_configuration(changed.clone());
                settings.map_err(|error| OperatorError::invalid_request(error.to_string()))?;
            }
            progress.begin();
            let result = autopilot.set_configuration(changed, expected).await;
            progress.note(&result);
            let replaced = result?;
            if !replaced {
                progress.undo();
            }
            if replaced || expected_index.is_some() {
                return Ok(OperatorReply::AutopilotConfigurationSet(replaced));
            }
            // Clients that sent no index take any answer for success.
            if attempts == SET_ATTEMPTS {
                let reason = format!(
                    "others changed autopilot's configuration at the same time, {attempts} \
                     times: repeat it"
                );
                let error = OperatorError::new(ErrorKind::Unavailable { reason });
                return Err(unchanged(error));
            }
        }
    }

    /// `view` is the leader's view, and `None` for a stale read, whose answer does not need
    /// one: without it, there is no report.
    pub(super) async fn autopilot_state(
        &self,
        view: Option<RaftView>,
    ) -> Result<OperatorReply, OperatorError> {
        let mut state = self.autopilot()?.state().await?;
        state.limit_times();
        let view = match (view, self.raft()) {
            (None, Ok(raft)) if self.driver.settings().is_some() => raft.view().await.ok(),
            (view, _) => view,
        };
        state.autopilot = view.and_then(|view| self.report(&view));
        Ok(OperatorReply::AutopilotState(state))
    }

    /// Returns what the driver of this server reports, while the server leads.
    pub(super) fn report(&self, view: &RaftView) -> Option<AutopilotReport> {
        if view.leadership != Leadership::Local {
            return None;
        }
        let place = self.driver.place();
        let driver = place.driver.as_ref()?;
        // A tick takes the deadline at most.
        let grace = driver.settings.pause().saturating_add(self.deadline);
        Some(driver.report(view, self.timer.now(), grace))
    }
}
