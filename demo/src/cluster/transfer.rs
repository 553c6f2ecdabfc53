//! Leadership transfer: the calls between the servers, and the gate that holds writes
//! back meanwhile.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Json, Router};
use cluster_operator_openraft::{
    GateGuard, TransferChannel, TransferReply, TransferRequest, WriteGate,
};
use openraft::RaftMetrics;
use openraft::error::{ClientWriteError, Fatal, ForwardToLeader, RaftError};
use tokio::sync::RwLock;

use super::network::Network;
use super::types::{Node, NodeId, Raft, Reply, Request, TypeConfig};

const TRANSFER: &str = "/raft/transfer";
/// The path of a write. Only the leader accepts it; a follower's error names the leader.
pub const WRITE: &str = "/raft/write";

/// The reason why a write failed.
pub type WriteError = RaftError<NodeId, ClientWriteError<NodeId, Node>>;

/// The gate for writes. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<RwLock<()>>);

impl Gate {
    /// Writes to the replicated table, unless leadership is being transferred: then the
    /// write waits.
    ///
    /// # Errors
    /// Another server leads, or Raft has stopped. If this server led when the write began,
    /// it may be applied.
    ///
    /// # Cancel safety
    /// A write whose future is dropped may be applied.
    pub async fn write(&self, raft: &Raft, request: Request) -> Result<Reply, WriteError> {
        let _open = self.0.read().await;
        let mut metrics = raft.metrics();
        let elected = {
            let metrics = metrics.borrow();
            if !metrics.state.is_leader() {
                return Err(elsewhere(&metrics));
            }
            metrics.vote.leader_id
        };
        // openraft may never answer a leader that was replaced, and the gate could then not
        // be closed again.
        tokio::select! {
            written = raft.client_write(request) => Ok(written?.data),
            Ok(metrics) = metrics.wait_for(|metrics| metrics.vote.leader_id != elected) => {
                Err(elsewhere(&metrics))
            }
        }
    }
}

/// The error of a server that does not lead.
fn elsewhere(metrics: &RaftMetrics<NodeId, Node>) -> WriteError {
    let leader_id = metrics
        .current_leader
        .filter(|leader| *leader != metrics.id);
    let sets = metrics.membership_config.membership();
    let leader_node = leader_id.and_then(|leader| sets.get_node(&leader).cloned());
    RaftError::APIError(ClientWriteError::ForwardToLeader(ForwardToLeader {
        leader_id,
        leader_node,
    }))
}

#[async_trait]
impl WriteGate for Gate {
    async fn close(&self) -> GateGuard {
        Box::new(Arc::clone(&self.0).write_owned().await)
    }
}

#[async_trait]
impl TransferChannel<TypeConfig> for Network {
    async fn send(
        &self,
        to: &NodeId,
        node: &Node,
        request: TransferRequest<NodeId>,
    ) -> Result<TransferReply<NodeId>, Box<dyn Error + Send + Sync>> {
        let call = self.post(node.raft, Some(*to), TRANSFER, &request);
        let answer: Result<_, Fatal<NodeId>> = call.await?;
        Ok(answer?)
    }
}

/// Returns the routes that answer the calls.
pub(super) fn routes(gate: Gate) -> Router<Raft> {
    Router::new()
        .route(TRANSFER, post(transfer))
        .route(WRITE, post(write))
        .layer(Extension(gate))
}

async fn transfer(
    State(raft): State<Raft>,
    Json(request): Json<TransferRequest<NodeId>>,
) -> Json<Result<TransferReply<NodeId>, Fatal<NodeId>>> {
    Json(request.serve(&raft).await)
}

async fn write(
    State(raft): State<Raft>,
    Extension(gate): Extension<Gate>,
    Json(request): Json<Request>,
) -> Json<Result<Reply, WriteError>> {
    Json(gate.write(&raft, request).await)
}
