//! The library embedded in a server of the cluster.

use std::fmt;
use std::time::Duration;

use axum::Router;
use cluster_operator::consul::Dialect;
use cluster_operator::observer::{MetricsObserver, TracingObserver};
use cluster_operator::peer_http::{HttpPeers, PEER_PATHS, PeerHttp, SharedSecret};
use cluster_operator::raft::RaftMember;
use cluster_operator::server::OperatorHttp;
use cluster_operator::service::BuildError;
use cluster_operator::{AclAuthorizer, AutopilotBackend, OperatorService, Pool};
use cluster_operator_openraft::{OpenraftAutopilot, OpenraftBackend};
use cluster_operator_serf::SerfKeyring;
use tokio::task::AbortHandle;

use super::autopilot;
use super::view::View;
use crate::cluster::{self, ELECTION_TIMEOUT, Node, NodeId, Request, Server, TypeConfig};

/// The timeout of a call. It should be at least eight election timeouts: a removal
/// waits up to one election timeout, but at most a quarter of the deadline, for the
/// proof that the voters that stay are alive.
pub const DEADLINE: Duration = ELECTION_TIMEOUT.saturating_mul(8);

/// How long a call waits for a leader, as in Consul. A leader that was just elected, or to
/// which leadership was just transferred, answers only after a majority has confirmed it.
const LEADER_WAIT: Duration = Duration::from_secs(7);

/// The operator service of a server.
pub struct Operator {
    service: OperatorService,
    secret: SharedSecret,
    /// The tasks that follow the pools and the health of the servers, and autopilot.
    tasks: Vec<AbortHandle>,
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").finish_non_exhaustive()
    }
}

impl Operator {
    /// Builds the operator service of a server, and runs its autopilot if the server has
    /// the settings of one.
    ///
    /// # Errors
    /// [`BuildError`], which cannot occur with these parts.
    pub fn new(
        server: &Server,
        datacenter: &str,
        authorizer: impl AclAuthorizer + 'static,
    ) -> Result<Self, BuildError> {
        Self::with_autopilot(server, datacenter, authorizer, |autopilot| autopilot)
    }

    /// Builds the operator service with an autopilot that is made from the server's.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_autopilot<A: AutopilotBackend + 'static>(
        server: &Server,
        datacenter: &str,
        authorizer: impl AclAuthorizer + 'static,
        make: impl FnOnce(OpenraftAutopilot<TypeConfig>) -> A,
    ) -> Result<Self, BuildError> {
        let (view, following) = View::follow(server);
        let secret = server.secret().clone();
        let peers = HttpPeers::new(view.clone()).with_shared_secret(secret.clone());
        let describe = |id: &NodeId, node: &Node| {
            RaftMember::voter(node.operator_id(*id), node.raft.to_string())
        };
        let raft = OpenraftBackend::new(server.raft().clone(), describe)
            .with_status(move |_, node| view.status(node))
            .with_contacts(server.contacts().clone())
            .with_noop(|| Request::Noop)
            .with_transfer(server.network().clone(), server.gate().clone());
        let mut autopilot = OpenraftAutopilot::new(
            raft.clone(),
            server.contacts().clone(),
            server.machine().autopilot(),
        );
        if server.autopilot().is_some() {
            autopilot = autopilot.driven();
        }
        let watching = tokio::spawn(autopilot.clone().watch()).abort_handle();
        let service = OperatorService::builder(datacenter)
            .raft(raft)
            .autopilot(make(autopilot))
            .deadline(DEADLINE)
            .leader_wait(LEADER_WAIT)
            .keyring(SerfKeyring::new(
                Pool::Wan,
                server.wan().clone(),
                server.keyring_file(cluster::Pool::Wan),
            ))
            .keyring(SerfKeyring::new(
                Pool::Lan,
                server.lan().clone(),
                server.keyring_file(cluster::Pool::Lan),
            ))
            .authorizer(authorizer)
            .peers(peers)
            .observer(TracingObserver)
            .observer(MetricsObserver)
            .build()?;
        let mut tasks = vec![following, watching];
        tasks.extend(autopilot::start(&service, server));
        Ok(Self {
            service,
            secret,
            tasks,
        })
    }

    /// Returns the routes of the server's HTTP address: the calls of other servers, and
    /// Consul's endpoints and the status page as the fallback.
    pub fn routes(&self, dialect: Dialect) -> Router {
        let peers = PeerHttp::new(self.service.clone()).with_shared_secret(&self.secret);
        let mut routes = Router::new();
        for path in PEER_PATHS {
            routes = routes.route_service(path, peers.clone());
        }
        routes.fallback_service(endpoints(self.service.clone(), dialect))
    }
}

/// Returns Consul's endpoints with all that they can have: the description in OpenAPI, the
/// status page and the metrics.
pub fn endpoints(service: OperatorService, dialect: Dialect) -> OperatorHttp {
    OperatorHttp::new(service)
        .with_dialect(dialect)
        .with_openapi()
        .with_ui(cluster_operator_ui::PAGE)
        .with_metrics()
}

impl Drop for Operator {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
