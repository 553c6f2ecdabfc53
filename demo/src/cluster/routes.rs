//! The routes that answer Raft's calls.

use std::collections::BTreeSet;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use cluster_operator::peer_http::SharedSecret;
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::network::TARGET;
use super::transfer::{self, Gate};
use super::types::{Node, NodeId, Raft, TypeConfig};

// Larger than any call with `max_payload_entries` or `snapshot_max_chunk_size`.
const LONGEST_CALL: usize = 64 << 20;

/// A server that asks to join as a voter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Newcomer {
    /// Its number.
    pub id: NodeId,
    /// Its name and addresses.
    pub node: Node,
}

/// The reason why a server did not join. A follower's error names the leader.
pub type JoinError = RaftError<NodeId, ClientWriteError<NodeId, Node>>;

/// Returns the routes of a server's Raft address. They answer only calls that present
/// the secret, and do not read the others' bodies.
pub fn router(
    raft: Raft,
    gate: Gate,
    datacenter: &str,
    id: NodeId,
    secret: SharedSecret,
) -> Router {
    let target = format!("{datacenter}/{id}");
    Router::new()
        .route("/raft/append", post(append))
        .route("/raft/vote", post(vote))
        .route("/raft/snapshot", post(snapshot))
        .merge(transfer::routes(gate))
        .route_layer(middleware::from_fn_with_state(target, for_this_server))
        // Without a target, because a new server knows only an address.
        .route("/raft/join", post(join))
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
    State(raft): State<Raft>,
    Json(newcomer): Json<Newcomer>,
) -> Json<Result<(), JoinError>> {
    Json(add_voter(&raft, newcomer).await)
}

/// Adds a server as a voter. It receives the log as a learner first, so that the
/// cluster never waits for the vote of a server without a log.
async fn add_voter(raft: &Raft, Newcomer { id, node }: Newcomer) -> Result<(), JoinError> {
    raft.add_learner(id, node, true).await?;
    let voter = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
    raft.change_membership(voter, false).await?;
    Ok(())
}
