//! An autopilot that watches the health of the servers.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ::openraft::async_runtime::AsyncOneshotSendExt;
use ::openraft::raft::responder::OneshotResponder;
use ::openraft::{AsyncRuntime, RaftTypeConfig};
use async_trait::async_trait;
use futures_util::future::{Either, select};

use super::{Answer, Contacts, OpenraftBackend};
use cluster_operator::AutopilotBackend;
use cluster_operator::autopilot::{
    AutopilotChange, AutopilotConfiguration, AutopilotSetting, AutopilotState, HealthTracker,
};
use cluster_operator::error::{OperatorError, Outcome};

/// The part of a server's replicated state that holds autopilot's configuration.
///
/// The state machine applies the [command](AutopilotStore::command) of a change with
/// [`AutopilotChange::apply`] at the index of its [`log_position`](crate::log_position),
/// and replies what that returns. A snapshot contains the configuration.
pub trait AutopilotStore<C: RaftTypeConfig>: Send + Sync + 'static {
    /// Returns the configuration as this server has applied it; `None` before the first
    /// change. It must not wait.
    fn configuration(&self) -> Option<AutopilotConfiguration>;

    /// Returns the command that makes a change.
    fn command(&self, change: AutopilotChange) -> C::D;

    /// Returns true if the reply to this command says that the change was made.
    fn is_made(&self, reply: &C::R) -> bool;
}

/// The autopilot of a server that runs openraft: it judges the health of the servers, as
/// [`HealthTracker`] says, and does nothing else.
///
/// The leader judges by its own record of when each server last answered
/// ([`Contacts`]), by openraft's replication metrics, and by the failure detector of
/// [`with_status`](OpenraftBackend::with_status). Another server returns
/// [`NotLeader`](cluster_operator::ErrorKind::NotLeader) or
/// [`NoLeader`](cluster_operator::ErrorKind::NoLeader) for the state, also to a stale read.
///
/// It acts on the two thresholds of the configuration. By default, the last contact may be
/// four heartbeats ago, and at least Consul's 200 ms. All other settings are off, and
/// cannot be changed, unless it is [driven](OpenraftAutopilot::driven). What Consul lacks is
/// for the [`Autopilot`](cluster_operator::service::Autopilot) of a service, and is kept as
/// it is set.
///
/// Clones share what they have seen.
pub struct OpenraftAutopilot<C: RaftTypeConfig> {
    backend: OpenraftBackend<C>,
    store: Arc<dyn AutopilotStore<C>>,
    tracker: Arc<Mutex<HealthTracker>>,
    driven: bool,
}

impl<C: RaftTypeConfig> OpenraftAutopilot<C> {
    /// Creates the autopilot of the server of a backend. `contacts` wraps the network of its
    /// Raft, and `store` holds the configuration.
    pub fn new(
        backend: OpenraftBackend<C>,
        contacts: Contacts<C>,
        store: impl AutopilotStore<C>,
    ) -> Self {
        OpenraftAutopilot {
            backend: backend.with_contacts(contacts),
            store: Arc::new(store),
            tracker: Arc::default(),
            driven: false,
        }
    }

    /// Tells that an [`Autopilot`](cluster_operator::service::Autopilot) runs on every
    /// server. The settings `CleanupDeadServers`, `MinQuorum` and
    /// `ServerStabilizationTime` then have Consul's defaults, and can be changed.
    #[must_use]
    pub fn driven(mut self) -> Self {
        self.driven = true;
        self
    }

    /// Judges the servers at every heartbeat until Raft stops, so that
    /// [`stable_since`](cluster_operator::autopilot::AutopilotServer::stable_since) is exact.
    /// Without it, a change of a server's health is noticed when the state is read. Run it in
    /// openraft's runtime.
    ///
    /// # Cancel safety
    /// The future can be dropped at any time.
    pub async fn watch(self) {
        let raft = &self.backend.raft;
        let interval = Duration::from_millis(raft.config().heartbeat_interval);
        while raft.metrics().borrow().running_state.is_ok() {
            self.observe();
            C::AsyncRuntime::sleep(interval).await;
        }
    }

    /// Judges the servers, if this server leads.
    fn observe(&self) -> Option<AutopilotState> {
        let view = self.backend.current_view();
        let configuration = self.current();
        let mut tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        tracker.observe(&view, &configuration, SystemTime::now())
    }

    fn current(&self) -> AutopilotConfiguration {
        let configuration = self.store.configuration();
        configuration.unwrap_or_else(|| self.default_configuration())
    }

    fn default_configuration(&self) -> AutopilotConfiguration {
        let heartbeat = Duration::from_millis(self.backend.raft.config().heartbeat_interval);
        let consul = AutopilotConfiguration::default();
        AutopilotConfiguration {
            cleanup_dead_servers: self.driven,
            last_contact_threshold: consul
                .last_contact_threshold
                .max(heartbeat.saturating_mul(4)),
            server_stabilization_time: if self.driven {
                consul.server_stabilization_time
            } else {
                Duration::ZERO
            },
            redundancy_zone_tag: String::new(),
            disable_upgrade_migration: true,
            upgrade_version_tag: String::new(),
            ..consul
        }
    }

    /// Waits until a new leader has applied the changes of its predecessors: an entry of its
    /// own term comes after them.
    async fn caught_up(&self) {
        let backend = &self.backend;
        let caught_up = |metrics: &super::view::Metrics<C>| {
            let applied = metrics.last_applied.as_ref();
            let term = applied.map(|entry| entry.leader_id.get_term());
            term == Some(metrics.current_term) || !backend.leads(metrics)
        };
        backend.until(caught_up).await;
    }
}

impl<C: RaftTypeConfig<Responder = OneshotResponder<C>>> OpenraftAutopilot<C> {
    /// Writes a change to the log, and waits until it is applied.
    async fn write(&self, change: AutopilotChange) -> Result<bool, OperatorError> {
        let backend = &self.backend;
        let elected = {
            let metrics = backend.raft.metrics();
            let metrics = metrics.borrow();
            let leads = backend.leads(&metrics);
            leads.then(|| metrics.vote.leader_id.clone())
        };
        let Some(elected) = elected else {
            return Err(backend.not_leader());
        };
        let lost = || backend.not_leader().with_outcome(Outcome::Unknown);
        let write = backend.raft.client_write(self.store.command(change));
        // openraft may never answer a leader that was replaced.
        let replaced = backend.until(|metrics| metrics.vote.leader_id != elected);
        match select(pin!(write), pin!(replaced)).await {
            Either::Left((Ok(written), _)) => Ok(self.store.is_made(&written.data)),
            Either::Left((Err(error), _)) => Err(lost().with_source(error)),
            Either::Right(_) => Err(lost()),
        }
    }
}

#[async_trait]
impl<C: RaftTypeConfig<Responder = OneshotResponder<C>>> AutopilotBackend for OpenraftAutopilot<C> {
    fn defaults(&self) -> AutopilotConfiguration {
        self.default_configuration()
    }

    fn acts_on(&self, setting: AutopilotSetting) -> bool {
        match setting {
            AutopilotSetting::LastContactThreshold | AutopilotSetting::MaxTrailingLogs => true,
            AutopilotSetting::CleanupDeadServers
            | AutopilotSetting::MinQuorum
            | AutopilotSetting::ServerStabilizationTime => self.driven,
            _ => false,
        }
    }

    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
        self.caught_up().await;
        Ok(self.current())
    }

    /// # Errors
    /// [`NotLeader`](cluster_operator::ErrorKind::NotLeader) or
    /// [`NoLeader`](cluster_operator::ErrorKind::NoLeader). If the leadership is lost during
    /// the call, the outcome is unknown.
    ///
    /// # Cancel safety
    /// If the future is dropped, the change may still be made.
    async fn set_configuration(
        &self,
        configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError> {
        let change = AutopilotChange {
            configuration,
            expected_index,
        };
        let autopilot = self.clone();
        let task = |answer: Answer<C, bool>| async move {
            let made = autopilot.write(change).await;
            // The caller may have dropped the call.
            let _ = answer.send(made);
        };
        self.backend.in_runtime(task).await
    }

    /// # Errors
    /// [`NotLeader`](cluster_operator::ErrorKind::NotLeader) or
    /// [`NoLeader`](cluster_operator::ErrorKind::NoLeader): only a leader knows the health of
    /// the servers.
    async fn state(&self) -> Result<AutopilotState, OperatorError> {
        self.caught_up().await;
        self.observe().ok_or_else(|| self.backend.not_leader())
    }
}

impl<C: RaftTypeConfig> Clone for OpenraftAutopilot<C> {
    fn clone(&self) -> Self {
        OpenraftAutopilot {
            backend: self.backend.clone(),
            store: Arc::clone(&self.store),
            tracker: Arc::clone(&self.tracker),
            driven: self.driven,
        }
    }
}

impl<C: RaftTypeConfig> fmt::Debug for OpenraftAutopilot<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenraftAutopilot")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}
