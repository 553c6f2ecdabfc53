//! What a leadership transfer needs from the embedder: a channel between the servers,
//! the function that answers it, and a gate for client writes.

use std::error::Error;

use ::openraft::error::{Fatal, RaftError};
use ::openraft::raft::AppendEntriesRequest;
use ::openraft::{CommittedLeaderId, LogId, NodeId, Raft, RaftTypeConfig, Vote};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A request to another server during a leadership transfer. The embedder carries it
/// there, and calls [`serve`](TransferRequest::serve) to answer it.
///
/// `I` is the node id. All requests can be repeated, and a late one does not disturb a
/// later leader.
///
/// Like openraft's own calls, these decide who leads: accept them only from the servers
/// of the cluster, and only if they are meant for this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TransferRequest<I> {
    /// Asks for the vote.
    Vote,
    /// Asks the server to stop protecting the leader of `term`, which has resigned, and
    /// to vote for `target` in the next term.
    EndLease {
        /// The term of the leader that has resigned.
        term: u64,
        /// The server that is to lead.
        target: I,
    },
    /// Asks the server to start an election, unless there was one after `term`.
    Elect {
        /// The term of the leader that has resigned.
        term: u64,
    },
}

/// The vote of a server after a [`TransferRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferReply<I> {
    /// The server's term.
    pub term: u64,
    /// The leader or candidate that it votes for in this term.
    pub leader: Option<I>,
    /// Whether a majority has elected it.
    pub elected: bool,
}

impl<I: NodeId> From<&Vote<I>> for TransferReply<I> {
    fn from(vote: &Vote<I>) -> Self {
        TransferReply {
            term: vote.leader_id().get_term(),
            leader: vote.leader_id().voted_for(),
            elected: vote.is_committed(),
        }
    }
}

impl<I: NodeId> TransferRequest<I> {
    /// Answers a request that has arrived at the server that `raft` runs.
    ///
    /// # Errors
    /// openraft has stopped.
    ///
    /// # Cancel safety
    /// The future can be dropped; the request may have been executed.
    pub async fn serve<C: RaftTypeConfig<NodeId = I>>(
        self,
        raft: &Raft<C>,
    ) -> Result<TransferReply<I>, Fatal<I>> {
        let own = raft.metrics().borrow().id.clone();
        let vote = || raft.with_raft_state(|state| TransferReply::from(state.vote_ref()));
        let before = vote().await?;
        match self {
            TransferRequest::EndLease { term, target } if before.term == term && target != own => {
                end_lease(raft, term, target).await?;
            }
            TransferRequest::Elect { term } => {
                // Its own election may have failed because of a lease that has ended since.
                let failed = before.term > term && !before.elected && before.leader == Some(own);
                if before.term == term || failed {
                    // openraft ignores it at a leader or a learner.
                    raft.trigger().elect().await?;
                }
            }
            TransferRequest::Vote | TransferRequest::EndLease { .. } => return Ok(before),
        }
        vote().await
    }
}

/// Votes for `target` in the next term, although the lease of the leader has not ended.
///
/// openraft takes the vote of an append request before it looks at the log, and does not
/// ask for the lease, as it does for a vote request. No log has an entry at this index,
/// so the request changes nothing else. Without a `prev_log_id`, debug builds of openraft
/// panic.
async fn end_lease<C: RaftTypeConfig>(
    raft: &Raft<C>,
    term: u64,
    target: C::NodeId,
) -> Result<(), Fatal<C::NodeId>> {
    let Some(next) = term.checked_add(1) else {
        return Ok(());
    };
    let nowhere = LogId::new(CommittedLeaderId::new(next, target.clone()), u64::MAX - 1);
    let request = AppendEntriesRequest {
        vote: Vote::new(next, target),
        prev_log_id: Some(nowhere),
        entries: Vec::new(),
        leader_commit: None,
    };
    match raft.append_entries(request).await {
        Err(RaftError::Fatal(fatal)) => Err(fatal),
        _ => Ok(()),
    }
}

/// Carries requests of a leadership transfer to other servers, over the embedder's
/// transport.
#[async_trait]
pub trait TransferChannel<C: RaftTypeConfig>: Send + Sync {
    /// Sends a request to this server, and returns its answer: the value of
    /// [`TransferRequest::serve`] there. The backend waits one heartbeat interval for it.
    ///
    /// # Errors
    /// There is no answer. The text is shown to operators.
    ///
    /// # Cancel safety
    /// The backend drops the future when it does not wait any longer. The request may
    /// arrive all the same.
    async fn send(
        &self,
        to: &C::NodeId,
        node: &C::Node,
        request: TransferRequest<C::NodeId>,
    ) -> Result<TransferReply<C::NodeId>, Box<dyn Error + Send + Sync>>;
}

/// Keeps client writes waiting until it is dropped.
pub type GateGuard = Box<dyn Send>;

/// Holds client writes back for the moments of a leadership transfer, because a
/// successor has to have the leader's whole log.
///
/// Every write of the application has to pass it; changes of the membership and of
/// autopilot's settings need not. A lock for reading and writing is enough: a write holds
/// it for reading, until openraft has answered or `vote.leader_id` of its metrics is no
/// longer what it was when the write began. openraft may never answer a leader that was
/// replaced: a write that waits for that would keep the gate from closing, and every later
/// transfer from this server would be `Unavailable`.
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use cluster_operator_openraft::{GateGuard, WriteGate};
/// use openraft::{BasicNode, Raft};
/// use tokio::sync::RwLock;
/// # use std::io::Cursor;
/// # openraft::declare_raft_types!(pub MyTypes: D = String, R = String, Node = BasicNode);
///
/// #[derive(Clone, Default)]
/// struct Gate(Arc<RwLock<()>>);
///
/// impl Gate {
///     /// Returns the reply, or `None` if the write has failed or its outcome is unknown.
///     async fn write(&self, raft: &Raft<MyTypes>, request: String) -> Option<String> {
///         let _open = self.0.read().await;
///         let mut metrics = raft.metrics();
///         let elected = {
///             let metrics = metrics.borrow();
///             metrics.state.is_leader().then_some(metrics.vote.leader_id)?
///         };
///         tokio::select! {
///             written = raft.client_write(request) => Some(written.ok()?.data),
///             Ok(_) = metrics.wait_for(|metrics| metrics.vote.leader_id != elected) => None,
///         }
///     }
/// }
///
/// #[async_trait]
/// impl WriteGate for Gate {
///     async fn close(&self) -> GateGuard {
///         Box::new(Arc::clone(&self.0).write_owned().await)
///     }
/// }
/// ```
#[async_trait]
pub trait WriteGate: Send + Sync {
    /// Keeps new writes waiting, and returns when those in flight have ended.
    /// The writes continue when the guard is dropped. That is at most four election
    /// timeouts later, and usually after a few round trips.
    ///
    /// # Cancel safety
    /// Dropping the future opens the gate again. The backend does so when the writes in
    /// flight take too long.
    async fn close(&self) -> GateGuard;
}

/// No gate. A transfer then succeeds only if the target has the whole log at some
/// moment: a busy cluster answers [`Unavailable`](cluster_operator::ErrorKind), not
/// applied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ungated;

#[async_trait]
impl WriteGate for Ungated {
    async fn close(&self) -> GateGuard {
        Box::new(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers of different versions have to understand each other.
    #[test]
    fn messages_keep_their_format() {
        let requests = [
            (TransferRequest::Vote, r#""Vote""#),
            (
                TransferRequest::EndLease { term: 3, target: 2 },
                r#"{"EndLease":{"term":3,"target":2}}"#,
            ),
            (
                TransferRequest::Elect { term: 3 },
                r#"{"Elect":{"term":3}}"#,
            ),
        ];
        for (request, json) in requests {
            assert_eq!(serde_json::to_string(&request).unwrap(), json);
            let read: TransferRequest<u64> = serde_json::from_str(json).unwrap();
            assert_eq!(read, request);
        }
        let reply = TransferReply {
            term: 4,
            leader: Some(2),
            elected: true,
        };
        let json = r#"{"term":4,"leader":2,"elected":true}"#;
        assert_eq!(serde_json::to_string(&reply).unwrap(), json);
        let read: TransferReply<u64> = serde_json::from_str(json).unwrap();
        assert_eq!(read, reply);
    }
}
