//! The routes that answer Raft's calls.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use cluster_operator::autopilot;
use cluster_operator::peer_http::SharedSecret;
use cluster_operator_openraft::AutopilotStore;
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::machine::Autopilot;
use super::network::TARGET;
use super::transfer::{self, Gate};
use super::types::{Node, NodeId, Raft, TypeConfig};

// Larger than any call with `max_payload_entries` or `snapshot_max_chunk_size`.
const LONGEST_CALL: usize = 64 << 20;

/// A server that asks to join.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Newcomer {
    /// Its number.
    pub id: NodeId,
    /// Its name and addresses.
    pub node: Node,
}

/// The leader's answer to a server that has joined. It has no version, as the other calls
/// between the demo's servers: run the same build on all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Joined {
    /// The number of voters that the leader's program says the cluster is meant to have, if
    /// autopilot runs there. What operators have set is replicated.
    pub intended_size: Option<usize>,
}

/// The reason why a server did not join. A follower's error names the leader.
pub type JoinError = RaftError<NodeId, ClientWriteError<NodeId, Node>>;

/// Lets other servers join: as voters, or where autopilot acts without a vote, so that
/// autopilot decides when they vote. Clones share the settings.
#[derive(Clone)]
pub(super) struct Admission {
    raft: Raft,
    replicated: Autopilot,
    settings: Arc<OnceLock<autopilot::Settings>>,
}

impl Admission {
    pub(super) fn new(raft: Raft, replicated: Autopilot) -> Self {
        Admission {
            raft,
            replicated,
            settings: Arc::default(),
        }
    }

    /// Sets the settings of the autopilot of this server, once.
    pub(super) fn set_autopilot(&self, settings: autopilot::Settings) {
        // There is no second autopilot.
        let _ = self.settings.set(settings);
    }

    /// Returns the settings of the autopilot of this server, if one runs.
    pub(super) fn autopilot(&self) -> Option<&autopilot::Settings> {
        self.settings.get()
    }

    /// Returns true if autopilot acts: the replicated configuration comes first. Where that
    /// contradicts the settings of the program, autopilot has stopped.
    fn autopilot_acts(&self) -> bool {
        let Some(settings) = self.autopilot().cloned() else {
            return false;
        };
        let settings = match self.replicated.configuration() {
            Some(replicated) => settings.with_configuration(replicated),
            None => Ok(settings),
        };
        settings.is_ok_and(|settings| !settings.is_dry_run())
    }

    /// Adds a server. It receives the log without a vote first, so that the cluster never
    /// waits for the vote of a server without a log.
    async fn admit(&self, Newcomer { id, node }: Newcomer) -> Result<Joined, JoinError> {
        self.raft.add_learner(id, node, true).await?;
        // Only now: operators may have changed it while the server received the log.
        if !self.autopilot_acts() {
            let voter = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
            self.raft.change_membership(voter, false).await?;
        }
        Ok(Joined {
            intended_size: self.autopilot().map(|settings| settings.intended()),
        })
    }
}

/// Returns the routes of a server's Raft address. They answer only calls that present
/// the secret, and do not read the others' bodies.
pub(super) fn router(
    admission: Admission,
    gate: Gate,
    datacenter: &str,
    id: NodeId,
    secret: SharedSecret,
) -> Router {
    let target = format!("{datacenter}/{id}");
    let raft = admission.raft.clone();
    Router::new()
        .route("/raft/append", post(append))
        .route("/raft/vote", post(vote))
        .route("/raft/snapshot", post(snapshot))
        .merge(transfer::routes(gate))
        .route_layer(middleware::from_fn_with_state(target, for_this_server))
        // Without a target, because a new server knows only an address.
        .route("/raft/join", post(join).with_state(admission))
        .layer(DefaultBodyLimit::max(LONGEST_CALL))
        // Last, so that it comes before all of the above and covers unknown paths, too.
        .layer(middleware::from_fn_with_state(secret, from_a_server))
        .with_state(raft)
}

async fn from_a_server(
    State(secret): State<SharedSecret>,
    request: Request,
    next: Next,
) -> Response {
    if secret.is_presented_in(request.headers()) {
        next.run(request).await
    } else {
        tracing::warn!("refused a call without the shared secret");
        let challenge = [(WWW_AUTHENTICATE, "Bearer")];
        let text = "the shared secret does not match: give all servers the same one\n";
        (StatusCode::UNAUTHORIZED, challenge, text).into_response()
    }
}

async fn for_this_server(State(target): State<String>, request: Request, next: Next) -> Response {
    let named = request.headers().get(TARGET);
    if named.is_some_and(|named| named.as_bytes() == target.as_bytes()) {
        next.run(request).await
    } else {
        StatusCode::MISDIRECTED_REQUEST.into_response()
    }
}

async fn append(
    State(raft): State<Raft>,
    Json(rpc): Json<AppendEntriesRequest<TypeConfig>>,
) -> Json<Result<AppendEntriesResponse<NodeId>, RaftError<NodeId>>> {
    Json(raft.append_entries(rpc).await)
}

async fn vote(
    State(raft): State<Raft>,
    Json(rpc): Json<VoteRequest<NodeId>>,
) -> Json<Result<VoteResponse<NodeId>, RaftError<NodeId>>> {
    Json(raft.vote(rpc).await)
}

async fn snapshot(
    State(raft): State<Raft>,
    Json(rpc): Json<InstallSnapshotRequest<TypeConfig>>,
) -> Json<Result<InstallSnapshotResponse<NodeId>, RaftError<NodeId, InstallSnapshotError>>> {
    Json(raft.install_snapshot(rpc).await)
}

async fn join(
    State(admission): State<Admission>,
    Json(newcomer): Json<Newcomer>,
) -> Json<Result<Joined, JoinError>> {
    Json(admission.admit(newcomer).await)
}
