//! The driver of autopilot: it decides again and again, and executes what is decided.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use super::raft::{Expected, Progress, removal, replacement};
use super::report::{Look, kind};
use super::{Inner, OperatorService, deadline_exceeded};
use crate::acl::{Access, Resource};
use crate::autopilot::{
    Action, AutopilotConfiguration, Blocked, Decision, FailureDetector, Memory, Settings, Snapshot,
    decide,
};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::observer::{Source, Started, watch};
use crate::operation::RequestId;
use crate::raft::{ChangeKind, PeerSelector, Proof, QuorumGuard, RaftView};
use crate::timer::{Budget, Deadline};

/// The name of the Raft in the error of a deadline.
const RAFT: &str = "the Raft of this server";

/// The shortest time between two ticks.
const SHORTEST_SLEEP: Duration = Duration::from_secs(1);

/// An autopilot: it promotes, removes and replaces servers while this server leads.
///
/// Run one on every server. It takes the view of the service's Raft and what the failure
/// detector says, [decides](decide), and makes one change through the checks that an
/// operator's removal passes, from exactly the version and the term that it was decided
/// on. Before that, a majority confirms that this server leads, and it decides once more on
/// the confirmed view with what the detector says then.
///
/// If the service has an [`AutopilotBackend`](crate::AutopilotBackend), its configuration
/// is read for each decision, so `CleanupDeadServers` switches removals off, and its hold,
/// intended size and dry run, where set, override the embedder's settings. If the two
/// contradict each other, as they may after a restart with other code, autopilot acts on
/// nothing. It stops when its future is dropped.
///
/// On the leader, the service shows what the last tick has seen and decided, in
/// [`AutopilotState::autopilot`](crate::autopilot::AutopilotState::autopilot) and as findings
/// of a [diagnosis](OperatorService::diagnose).
///
/// Each change is reported to the service's observers with the source
/// [`Autopilot`](Source::Autopilot) and its [reason](Started::reason).
///
/// ```
/// # #[cfg(feature = "tokio")]
/// # {
/// use cluster_operator::OperatorService;
/// use cluster_operator::autopilot::{AutopilotConfiguration, FailureDetector, Settings};
/// use cluster_operator::service::Autopilot;
///
/// # type Error = Box<dyn std::error::Error>;
/// fn start(service: &OperatorService, gossip: impl FailureDetector + 'static) -> Result<(), Error> {
///     // A cluster of five servers. A dry run: add `.acting()` to let it act.
///     let settings = Settings::new(5, AutopilotConfiguration::default())?;
///     let autopilot = Autopilot::new(service, gossip, settings);
///     tokio::spawn(autopilot.run(|tick| {
///         if let Ok(tick) = tick && let Some(action) = &tick.decision.action {
///             println!("autopilot would {action}");
///         }
///     }));
///     Ok(())
/// }
/// # }
/// ```
pub struct Autopilot {
    service: OperatorService,
    /// The number of this driver among those of the service.
    number: u64,
    detector: Box<dyn FailureDetector>,
    settings: Settings,
    memory: Memory,
    can_replace: bool,
    can_promote: bool,
    /// The beginning of the time in snapshots.
    began: Instant,
}

/// One step of an [`Autopilot`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Tick {
    /// What was decided.
    pub decision: Decision,
    /// The result of the action; `None` if there was none, or in a dry run.
    pub result: Option<Result<(), OperatorError>>,
}

impl Autopilot {
    /// Creates the autopilot of the server that the service runs in. It does nothing by
    /// itself: [run](Autopilot::run) it, or call [`tick`](Autopilot::tick).
    ///
    /// A service has one autopilot, the last one that was created: an earlier one refuses to
    /// tick. Until it is dropped, the service shows its settings, and checks a change of the
    /// configuration against them.
    pub fn new(
        service: &OperatorService,
        detector: impl FailureDetector + 'static,
        settings: Settings,
    ) -> Self {
        Autopilot {
            began: service.timer().now(),
            number: service.inner.driver.insert(settings.clone()),
            service: service.clone(),
            detector: Box::new(detector),
            settings,
            memory: Memory::default(),
            can_replace: true,
            can_promote: true,
        }
    }

    /// Ticks forever, on the service's timer: whenever the last decision says so, or when the
    /// pause after an action or an error is over. Calls `report` after each tick.
    ///
    /// # Cancel safety
    /// Dropping the future stops the autopilot. A change that is being made then is made
    /// or not.
    pub async fn run(mut self, mut report: impl FnMut(&Result<Tick, OperatorError>) + Send) {
        loop {
            let tick = self.tick().await;
            let wait = self.wait(&tick);
            report(&tick);
            drop(tick);
            self.service.timer().sleep(wait).await;
        }
    }

    /// Returns the time from the end of a tick to the next one.
    fn wait(&self, tick: &Result<Tick, OperatorError>) -> Duration {
        let wait = match tick {
            Ok(Tick {
                decision,
                result: None,
            }) => decision.next_check.saturating_sub(self.elapsed()),
            // The pause begins at the end of an action.
            Ok(_) | Err(_) => self.settings.pause(),
        };
        wait.max(SHORTEST_SLEEP)
    }

    /// Decides once, and executes the action unless this is a dry run.
    ///
    /// # Errors
    /// The view, the configuration or the failure detector cannot be read within the deadline
    /// of the service, or no majority confirms that this server leads. Nothing was changed then.
    /// The error of an action is in [`Tick::result`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves either the old or the new Raft configuration.
    pub async fn tick(&mut self) -> Result<Tick, OperatorError> {
        let service = self.service.clone();
        let inner = &*service.inner;
        if !inner.driver.contains(self.number) {
            return Err(OperatorError::invalid_request(
                "the service has another autopilot, which was created later: run that one only",
            ));
        }
        let mut look = Look::new(inner.timer.now());
        let tick = self.look(inner, &mut look).await;
        if let Err(error) = &tick {
            look.blocked.get_or_insert_with(|| Blocked {
                rule: "input".into(),
                reason: error.to_string(),
                server: None,
            });
        }
        let now = inner.timer.now();
        look.due = now.checked_add(self.wait(&tick)).unwrap_or(now);
        inner.driver.keep(self.number, look);
        tick
    }

    /// Makes a tick, and notes what becomes known.
    async fn look(&mut self, inner: &Inner, look: &mut Look) -> Result<Tick, OperatorError> {
        let budget = Budget::new(&*inner.timer, inner.deadline);
        let mut inputs = Inputs(budget.deadline(), budget.whole());
        let settings = self.current_settings(inner, look, &mut inputs).await?;
        let raft = inner.raft()?;
        let view = inputs.read(RAFT, raft.view()).await?;
        look.term = Some(view.term);
        let snapshot = self.snapshot(view, &mut inputs).await?;
        let mut decision = decide(&snapshot, &settings, self.memory.clone());
        self.memory = decision.memory.clone();
        if decision.action.is_none() || settings.is_dry_run() {
            look.decided(&decision, snapshot.view.term);
            let result = None;
            return Ok(Tick { decision, result });
        }

        // What was seen counts, even if nobody confirms it.
        self.memory.not_begun();
        let view = raft.confirmed_view(budget.share());
        let view = inputs.read(RAFT, view).await?;
        let snapshot = self.snapshot(view, &mut inputs).await?;
        decision = decide(&snapshot, &settings, self.memory.clone());
        self.memory = decision.memory.clone();
        look.decided(&decision, snapshot.view.term);
        let Some(action) = &decision.action else {
            let result = None;
            return Ok(Tick { decision, result });
        };
        let running = inner.driver.begin(self.number, action, look.began);
        let result = inner.act(action, snapshot.view, budget).await;
        running.conclude(&result);
        self.memory.ended(self.elapsed());
        if let Err(error) = &result
            && error.outcome() == Outcome::NotApplied
        {
            self.memory.not_applied();
            match (error.kind(), action) {
                (ErrorKind::Unsupported { .. }, Action::Replace { .. }) => self.can_replace = false,
                (ErrorKind::Unsupported { .. }, Action::Promote { .. }) => self.can_promote = false,
                _ => {}
            }
        }
        let result = Some(result);
        Ok(Tick { decision, result })
    }

    async fn current_settings(
        &self,
        inner: &Inner,
        look: &mut Look,
        inputs: &mut Inputs<'_>,
    ) -> Result<Settings, OperatorError> {
        let Some(autopilot) = &inner.autopilot else {
            look.configuration = Some(self.settings.fill(AutopilotConfiguration::default()));
            return Ok(self.settings.clone());
        };
        let configuration = autopilot.configuration();
        let configuration = inputs.read("the autopilot of this server", configuration);
        let configuration = configuration.await?;
        look.configuration = Some(self.settings.fill(configuration.clone()));
        let settings = self.settings.clone().with_configuration(configuration);
        settings.map_err(|invalid| {
            look.blocked = Some(Blocked {
                rule: "settings".into(),
                reason: invalid.to_string(),
                server: None,
            });
            OperatorError::invalid_request(invalid.to_string())
        })
    }

    fn elapsed(&self) -> Duration {
        let now = self.service.timer().now();
        now.saturating_duration_since(self.began)
    }

    /// Combines a view with what the failure detector says. A name that two servers have
    /// says nothing about either.
    async fn snapshot(
        &self,
        view: RaftView,
        inputs: &mut Inputs<'_>,
    ) -> Result<Snapshot, OperatorError> {
        let nodes = self.detector.detect();
        let nodes = inputs.read("the failure detector", nodes).await?;
        // The server of each name; `None` if there are two.
        let mut named = BTreeMap::new();
        for (member, status) in view.servers() {
            if let Some(name) = status.and_then(|status| status.name.as_ref()) {
                let server = named.entry(name).and_modify(|server| *server = None);
                server.or_insert(Some(&member.id));
            }
        }
        let named = named.into_iter();
        let detected =
            named.filter_map(|(name, server)| Some((server?.clone(), *nodes.get(name)?)));
        let detected = detected.collect();
        let mut snapshot = Snapshot::new(self.elapsed(), view);
        snapshot.detected = detected;
        snapshot.can_replace = self.can_replace;
        snapshot.can_promote = self.can_promote;
        Ok(snapshot)
    }
}

/// The deadline of the inputs of a tick, and its length.
struct Inputs<'a>(Deadline<'a>, Duration);

impl Inputs<'_> {
    async fn read<T>(
        &mut self,
        target: &str,
        input: impl Future<Output = Result<T, OperatorError>>,
    ) -> Result<T, OperatorError> {
        let late = || deadline_exceeded(target, self.1, Outcome::NotApplied);
        self.0.bound(input).await.unwrap_or_else(|| Err(late()))
    }
}

impl Inner {
    /// Executes an action on the leader's view that it was decided on, and reports it to
    /// the observers.
    async fn act(
        &self,
        action: &Action,
        view: RaftView,
        budget: Budget<'_>,
    ) -> Result<(), OperatorError> {
        let progress = Progress::default();
        let work = self.execute_action(action, view, budget, &progress);
        if self.observers.is_empty() {
            return work.await;
        }
        let reason = action.to_string();
        let request_id = RequestId::generate();
        let (_, id, with) = kind(action);
        let subject = PeerSelector::Id(id.clone());
        let started = Started {
            operation: match action {
                Action::Promote { .. } => "promote-peer",
                Action::Remove { .. } => "remove-peer",
                Action::Replace { .. } => "replace-peer",
            },
            resource: Resource::Operator,
            access: Access::Write,
            subject: Some(&subject),
            with,
            datacenter: &self.datacenter,
            source: Source::Autopilot,
            request_id: &request_id,
            hops: 0,
            reason: Some(&reason),
        };
        let ended = || (false, progress.outcome(Outcome::Unknown));
        let outcome = |result: &Result<(), OperatorError>| match result {
            Ok(()) => Outcome::Applied,
            Err(error) => error.outcome(),
        };
        let (observers, timer, identity) = (&self.observers, &*self.timer, &progress.identity);
        watch(observers, timer, started, identity, ended, outcome, work).await
    }

    async fn execute_action(
        &self,
        action: &Action,
        view: RaftView,
        budget: Budget<'_>,
        progress: &Progress,
    ) -> Result<(), OperatorError> {
        let guard_of = |proof| match (proof, self.quorum_guard) {
            (Proof::Margin, _) | (_, QuorumGuard::Margin) => QuorumGuard::Margin,
            _ => QuorumGuard::Quorum,
        };
        let plan = |view: &RaftView| match action {
            Action::Promote { id, .. } => {
                let id = id.clone();
                Ok((ChangeKind::Promote { id }, Proof::Majority))
            }
            Action::Remove { id, proof, .. } => {
                removal(view, &PeerSelector::Id(id.clone()), guard_of(*proof))
            }
            Action::Replace {
                id, with, proof, ..
            } => replacement(view, id, with, *proof),
        };
        let expected = Expected::Version(view.version);
        let work = self.change(&plan, expected, view, budget, progress);
        let mut deadline = Deadline::new(&*self.timer, budget.left());
        match deadline.bound(pin!(work)).await {
            Some(result) => result,
            None => Err(deadline_exceeded(
                RAFT,
                budget.whole(),
                progress.outcome(Outcome::Unknown),
            )),
        }
    }
}

impl Drop for Autopilot {
    fn drop(&mut self) {
        self.service.inner.driver.remove(self.number);
    }
}

impl fmt::Debug for Autopilot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Autopilot")
            .field("datacenter", &self.service.datacenter())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
