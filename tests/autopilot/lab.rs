//! A server of a simulated cluster, on a virtual clock: its calls fail, and the others die and
//! come back, as the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::autopilot::{
    AutopilotBackend, AutopilotConfiguration, AutopilotState, Detected, Detection, FailureDetector,
    Settings,
};
use cluster_operator::consul::{Dialect, Request, Response, Wire};
use cluster_operator::error::OperatorError;
use cluster_operator::mock::{MockAutopilot, MockClock, MockRaft};
use cluster_operator::observer::{Ended, Ending, Observer, Source, Started};
use cluster_operator::raft::{Change, ChangeKind, RaftBackend, RaftView, ServerStatus};
use cluster_operator::service::{Autopilot, Tick};
use cluster_operator::{
    AllowAll, NodeName, OperatorService, OperatorServiceBuilder, ServerId, Timer,
};
use serde_json::Value;

use crate::support::raft;

pub(crate) const CONSUL: [Dialect; 2] = [Dialect::Consul1_17, Dialect::Consul1_10];

pub(crate) type Hook = Box<dyn FnOnce(&Lab) + Send>;

#[derive(Clone)]
pub(crate) struct Lab {
    pub(crate) raft: MockRaft,
    pub(crate) clock: MockClock,
    state: Arc<Mutex<State>>,
}

/// What all servers of the cluster share.
#[derive(Default)]
pub(crate) struct State {
    /// The dead servers, and since when.
    dead: BTreeMap<String, Duration>,
    /// What the failure detector says, true or not; `None` if it does not know the server.
    lies: BTreeMap<String, Option<Detection>>,
    pub(crate) cannot_replace: bool,
    pub(crate) before_confirmation: Option<Hook>,
    pub(crate) before_removal: Option<Hook>,
    /// One of these runs before each change of autopilot's configuration.
    pub(crate) before_setting: Vec<Hook>,
    /// The calls that fail, each with its error.
    failing: BTreeMap<&'static str, OperatorError>,
    /// The call that never ends.
    pub(crate) stuck: Option<&'static str>,
    /// True while each change takes five seconds.
    pub(crate) slow: bool,
    /// The state of the servers, if it is not the simulated one.
    pub(crate) health: Option<AutopilotState>,
    audit: Vec<String>,
}

/// The embedder's settings of a dry run.
pub(crate) fn dry(intended: usize) -> Settings {
    Settings::new(intended, AutopilotConfiguration::default()).unwrap()
}

impl Lab {
    /// The leader `a` of these voters, with spares.
    pub(crate) fn new(voters: &str, spares: &str) -> Self {
        Lab::of(raft(voters, spares))
    }

    pub(crate) fn of(raft: MockRaft) -> Self {
        Lab {
            raft,
            clock: MockClock::new(),
            state: Arc::default(),
        }
    }

    /// Another server of the same cluster.
    pub(crate) fn at(&self, id: &str) -> Self {
        Lab {
            raft: self.raft.at(id),
            ..self.clone()
        }
    }

    pub(crate) fn state<T>(&self, visit: impl FnOnce(&mut State) -> T) -> T {
        visit(&mut self.state.lock().unwrap())
    }

    pub(crate) fn kill(&self, id: &str) {
        self.raft.stop(id);
        let now = self.clock.now();
        self.state(|state| state.dead.insert(id.into(), now));
    }

    pub(crate) fn revive(&self, id: &str) {
        self.raft.restart(id);
        self.state(|state| state.dead.remove(id));
    }

    pub(crate) fn lie(&self, id: &str, status: Option<Detected>) {
        let lasted = Duration::from_secs(86_400);
        let lie = status.map(|status| Detection { status, lasted });
        self.state(|state| state.lies.insert(id.into(), lie));
    }

    /// Lets a call fail until it is mended.
    pub(crate) fn fail(&self, call: &'static str, error: impl Into<OperatorError>) {
        self.state(|state| state.failing.insert(call, error.into()));
    }

    pub(crate) fn mend(&self, call: &str) {
        self.state(|state| state.failing.remove(call));
    }

    pub(crate) fn builder(&self) -> OperatorServiceBuilder {
        OperatorService::builder("dc1")
            .raft(self.clone())
            .autopilot(self.clone())
            .authorizer(AllowAll)
            .timer(self.clock.clone())
            .observer(self.clone())
    }

    pub(crate) fn service(&self) -> OperatorService {
        self.builder().build().unwrap()
    }

    pub(crate) fn autopilot(&self, service: &OperatorService, settings: Settings) -> Autopilot {
        Autopilot::new(service, self.clone(), settings)
    }

    fn run_hook(&self, take: impl FnOnce(&mut State) -> Option<Hook>) {
        if let Some(hook) = self.state(take) {
            hook(self);
        }
    }

    pub(crate) fn voters(&self) -> String {
        let servers = self.raft.latest().servers;
        let voters = servers.iter().filter(|server| server.is_voter());
        voters.map(|voter| voter.id.as_str()).collect()
    }

    /// Changes autopilot's configuration past the service.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut AutopilotConfiguration)) {
        let own = MockAutopilot::new(&self.raft);
        futures_executor::block_on(async {
            let mut configuration = own.configuration().await.unwrap();
            change(&mut configuration);
            own.set_configuration(configuration, None).await.unwrap();
        });
    }

    pub(crate) fn tick(&self, autopilot: &mut Autopilot) -> Result<Tick, OperatorError> {
        self.clock.run(autopilot.tick())
    }

    /// Ticks every ten seconds until this much has passed.
    pub(crate) fn run(&self, autopilot: &mut Autopilot, seconds: u64) {
        let end = self.clock.now() + Duration::from_secs(seconds);
        while self.clock.now() < end {
            let _ = self.tick(autopilot);
            self.clock.advance(Duration::from_secs(10));
        }
    }

    /// Never ends if this is the call that is stuck.
    async fn call(&self, name: &str) -> Result<(), OperatorError> {
        if self.state(|state| state.stuck == Some(name)) {
            std::future::pending().await
        }
        match self.state(|state| state.failing.get(name).cloned()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// What autopilot did.
    pub(crate) fn audit(&self) -> Vec<String> {
        self.state(|state| state.audit.clone())
    }
}

/// Autopilot over HTTP.
impl Lab {
    pub(crate) fn ask(
        &self,
        service: &OperatorService,
        dialect: Dialect,
        method: &str,
        target: &str,
        body: &str,
    ) -> Response {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let request = Request {
            method,
            path: &format!("/v1/operator/autopilot/{path}"),
            query,
            headers: &[],
            body: body.as_bytes().to_vec().into(),
        };
        self.clock.run(Wire::new(dialect).serve(service, request))
    }

    pub(crate) fn read(&self, service: &OperatorService, dialect: Dialect, target: &str) -> Value {
        let response = self.ask(service, dialect, "GET", target, "");
        serde_json::from_slice(&response.body).unwrap()
    }

    /// The state of the servers.
    pub(crate) fn shown(&self, service: &OperatorService) -> Value {
        self.read(service, Dialect::Precise, "state")
    }

    /// Changes the configuration. Returns the status and the text.
    pub(crate) fn put(
        &self,
        service: &OperatorService,
        dialect: Dialect,
        body: &str,
    ) -> (u16, String) {
        let response = self.ask(service, dialect, "PUT", "configuration", body);
        let text = String::from_utf8(response.body.to_vec());
        (response.status, text.unwrap())
    }
}

#[async_trait]
impl RaftBackend for Lab {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        self.call("view").await?;
        let mut view = self.raft.view().await?;
        let now = self.clock.now();
        let ids = view.membership.servers.iter().map(|member| &member.id);
        let dead = |id: &ServerId| self.state(|state| state.dead.get(id.as_str()).copied());
        for (id, status) in ids.zip(&mut view.status) {
            let silence =
                dead(id).map_or(Duration::ZERO, |since| now - since + Duration::from_secs(1));
            *status = std::mem::take(status).with_last_contact(silence);
            // The failure detector is asked instead.
            status.alive = ServerStatus::unknown().alive;
        }
        Ok(view)
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
        self.run_hook(|state| state.before_confirmation.take());
        self.call("confirmed_view").await?;
        self.raft.confirmed_view(timeout).await?;
        self.view().await
    }

    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
        self.call("change_membership").await?;
        match change.kind {
            ChangeKind::Remove { .. } => self.run_hook(|state| state.before_removal.take()),
            ChangeKind::Replace { .. } if self.state(|state| state.cannot_replace) => {
                return Err(change.unsupported());
            }
            _ => {}
        }
        if self.state(|state| state.slow) {
            self.clock.sleep(Duration::from_secs(5)).await;
        }
        self.raft.change_membership(change).await
    }
}

#[async_trait]
impl FailureDetector for Lab {
    async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
        self.call("detect").await?;
        let now = self.clock.now();
        let servers = self.raft.latest().servers;
        let mut detected = BTreeMap::new();
        self.state(|state| {
            for server in servers {
                let id = server.id.as_str();
                let truth = match state.dead.get(id) {
                    Some(since) => Detection {
                        status: Detected::Failed,
                        lasted: now - *since,
                    },
                    None => Detection {
                        status: Detected::Alive,
                        lasted: now,
                    },
                };
                let said = state.lies.get(id).copied().unwrap_or(Some(truth));
                if let Some(said) = said {
                    detected.insert(NodeName::new(id), said);
                }
            }
        });
        Ok(detected)
    }
}

#[async_trait]
impl AutopilotBackend for Lab {
    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
        self.call("configuration").await?;
        MockAutopilot::new(&self.raft).configuration().await
    }

    async fn set_configuration(
        &self,
        configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError> {
        self.run_hook(|state| state.before_setting.pop());
        let own = MockAutopilot::new(&self.raft);
        own.set_configuration(configuration, expected_index).await
    }

    async fn state(&self) -> Result<AutopilotState, OperatorError> {
        match self.state(|state| state.health.clone()) {
            Some(health) => Ok(health),
            None => MockAutopilot::new(&self.raft).state().await,
        }
    }
}

impl Observer for Lab {
    fn ended(&self, started: &Started<'_>, end: &Ended<'_>) {
        if started.source != Source::Autopilot {
            return;
        }
        let reason = started.reason.unwrap();
        let line = match end.ending {
            Ending::Succeeded => format!("{}: {reason}", started.operation),
            ending => format!("{}: {reason}: {ending}", started.operation),
        };
        self.state(|state| state.audit.push(line));
    }
}
