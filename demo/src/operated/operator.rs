//! Consul's operator endpoints over a server of the cluster: all that embedding
//! the library comes to.

use std::fmt;
use std::time::Duration;

use axum::Router;
use cluster_operator::consul::Dialect;
use cluster_operator::peer_http::{HttpPeers, PEER_PATHS, PeerHttp, SharedSecret};
use cluster_operator::server::OperatorHttp;
use cluster_operator::{AclAuthorizer, BuildError, OperatorService, Pool, RaftMember};
use cluster_operator_openraft::OpenraftBackend;
use cluster_operator_serf::SerfKeyring;
use tokio::task::AbortHandle;

use super::view::View;
use crate::cluster::{self, ELECTION_TIMEOUT, Node, NodeId, Request, Server};

/// How long a call may take. It should be at least eight election timeouts: a
/// removal waits for one, at most, until the voters that stay have proven that they
/// are alive, and only for a quarter of the deadline.
const DEADLINE: Duration = ELECTION_TIMEOUT.saturating_mul(8);

/// A server's operator service, and what brings other servers' requests to it.
pub struct Operator {
    service: OperatorService,
    secret: Option<SharedSecret>,
    following: AbortHandle,
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").finish_non_exhaustive()
    }
}

impl Operator {
    /// Makes one server operable. `secret` is what the servers show each other.
    ///
    /// # Errors
    /// [`BuildError`], which for these parts cannot happen.
    pub fn new(
        server: &Server,
        datacenter: &str,
        authorizer: impl AclAuthorizer + 'static,
        secret: Option<SharedSecret>,
    ) -> Result<Self, BuildError> {
        let (view, following) = View::follow(server);
        let mut peers = HttpPeers::new(view.clone());
        if let Some(secret) = &secret {
            peers = peers.with_shared_secret(secret.clone());
        }
        let describe =
            |id: &NodeId, node: &Node| RaftMember::voter(id.to_string(), node.raft.to_string());
        let raft = OpenraftBackend::new(server.raft().clone(), describe)
            .with_status(move |_, node| view.status(node))
            .with_noop(|| Request::Noop);
        let service = OperatorService::builder(datacenter)
            .raft(raft)
            .deadline(DEADLINE)
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
            .build()?;
        Ok(Self {
            service,
            secret,
            following,
        })
    }

    /// The routes of the server's HTTP address: the other servers' calls, and behind
    /// them Consul's endpoints.
    pub fn routes(&self, dialect: Dialect) -> Router {
        let mut peers = PeerHttp::new(self.service.clone());
        if let Some(secret) = &self.secret {
            peers = peers.with_shared_secret(secret);
        }
        let mut routes = Router::new();
        for path in PEER_PATHS {
            routes = routes.route_service(path, peers.clone());
        }
        routes.fallback_service(OperatorHttp::new(self.service.clone()).with_dialect(dialect))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.following.abort();
    }
}
