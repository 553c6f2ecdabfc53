//! The answers to Raft's calls.

use std::collections::BTreeSet;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::network::TARGET;
use super::types::{Node, NodeId, Raft, TypeConfig};

// Above what `max_payload_entries` and `snapshot_max_chunk_size` can come to here.
const LONGEST_CALL: usize = 64 << 20;

/// A server that asks to be taken in as a voter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Newcomer {
    /// Its number.
    pub id: NodeId,
    /// Its name and addresses.
    pub node: Node,
}

/// Why it was not. A follower names the leader in it.
pub type JoinError = RaftError<NodeId, ClientWriteError<NodeId, Node>>;

/// The routes of a server's Raft address.
pub fn router(raft: Raft, datacenter: &str, id: NodeId) -> Router {
    let target = format!("{datacenter}/{id}");
    Router::new()
        .route("/raft/append", post(append))
        .route("/raft/vote", post(vote))
        .route("/raft/snapshot", post(snapshot))
        .route_layer(middleware::from_fn_with_state(target, for_this_server))
        // Asked by one that knows an address and nothing else.
        .route("/raft/join", post(join))
        .layer(DefaultBodyLimit::max(LONGEST_CALL))
        .with_state(raft)
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
    Json(take_in(&raft, newcomer).await)
}

/// Takes a server in as a voter: it gets the log first, so that the cluster never
/// waits for the vote of one that has none.
async fn take_in(raft: &Raft, Newcomer { id, node }: Newcomer) -> Result<(), JoinError> {
    raft.add_learner(id, node, true).await?;
    let voter = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
    raft.change_membership(voter, false).await?;
    Ok(())
}
