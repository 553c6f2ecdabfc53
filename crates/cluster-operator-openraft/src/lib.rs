#![doc = include_str!("../README.md")]
//!
//! # Views
//! A view comes from openraft's metrics. It shows the *effective* membership, which
//! is the latest in the log, committed or not, in the order of the node ids. While
//! a joint configuration is in effect, a server that votes in either set is a
//! voter.
//!
//! openraft counts log entries from 0, and Consul from 1, so every index that operators see
//! is one more than openraft's ([`log_position`]). `Raft::initialize` writes the first
//! configuration at term 0, which is shown at index 1; index 0 is the version of a server
//! that is in no cluster.
//!
//! A version is a term and an index. Without openraft's feature `single-term-leader`
//! a term can have several leaders, so in theory a configuration that was never
//! committed can have the same version as the one that replaced it.
//!
//! The leader knows the last log entry of each server that has acknowledged one
//! since it was elected. A follower knows only its own. openraft does not publish when a
//! server last answered; [`Contacts`] records it.
//!
//! # Leadership
//! An openraft leader that is cut off stays leader forever. Here it leads as long as a
//! majority has acknowledged it within `election_timeout_max + election_timeout_min`,
//! before which no other server can be elected. After that its leader is
//! [`Unknown`](cluster_operator::raft::Leadership::Unknown), and so is that of a new leader
//! until a majority has acknowledged it once. This needs openraft's ticks and
//! heartbeats, which are on by default.
//!
//! A learner that is cut off does not notice it, and names the last leader forever.
//!
//! # Changes
//! A voter is removed by the [contract](RaftBackend#removal): the command of
//! [`with_noop`](OpenraftBackend::with_noop) is written, and has to reach a majority
//! of the voters that stay before the membership is changed. A learner is removed
//! without that proof, since no quorum depends on it.
//!
//! The change takes two log entries, the joint configuration and the final one.
//! openraft commits the final one with the voters that stay, so its answer is the
//! success that the contract asks for. A leader that dies between the two leaves the
//! joint configuration behind. The next removal finishes it, if no other server does
//! within an election timeout. Voters that this drops stay as learners, since it is
//! not known whether they should, unless the only one is the server to be removed.
//!
//! A [replacement](RaftBackend#replacement) or a [promotion](RaftBackend#promotion) is one
//! change of the same kind: the joint configuration has the old voters and the new ones,
//! and the learner that becomes a voter has to hold the proof's entry too. Add it with
//! `Raft::add_learner` first.
//!
//! A backend and its clones make one change at a time. Once the change is in the
//! log it is completed, even if the caller drops the future, or if the program ends the
//! joint configuration itself and keeps the server as a learner. If the program gives the
//! server back its vote, or takes that of the new server of a replacement, the change is a
//! [`Conflict`](ErrorKind::Conflict) with an unknown outcome. A removal whose caller drops
//! the future before its change is in the log ends at once.
//!
//! openraft cannot compare the version as it appends. The comparison runs inside its
//! core, so only a change that the core has already queued can come first.
//!
//! # Autopilot
//! [`OpenraftAutopilot`] judges the health of the servers, and keeps the thresholds for it
//! in the replicated state. It removes no servers and promotes none.
//!
//! # Leadership transfer
//! openraft 0.9 has no call for it. With the channel and the gate of
//! [`with_transfer`](OpenraftBackend::with_transfer) the leader holds client writes back
//! until the target has its whole log, resigns by voting for the target, ends the lease
//! that the other voters give to a leader, and lets the target stand for election. An
//! embedder carries [`TransferRequest`]s between its servers, as it does openraft's own
//! calls, and answers them with [`TransferRequest::serve`]:
//!
//! ```
//! use std::error::Error;
//!
//! use async_trait::async_trait;
//! use cluster_operator_openraft::{
//!     OpenraftBackend, TransferChannel, TransferReply, TransferRequest, Ungated, basic_node,
//! };
//! use openraft::{BasicNode, Raft};
//! # use std::io::Cursor;
//! # openraft::declare_raft_types!(pub MyTypes: D = String, R = String, Node = BasicNode);
//!
//! /// The connections to the other servers.
//! struct Network;
//! # impl Network {
//! #     async fn post(&self, _: &str, _: TransferRequest<u64>)
//! #     -> Result<TransferReply<u64>, Box<dyn Error + Send + Sync>> { todo!() }
//! # }
//!
//! #[async_trait]
//! impl TransferChannel<MyTypes> for Network {
//!     async fn send(
//!         &self,
//!         _: &u64,
//!         node: &BasicNode,
//!         request: TransferRequest<u64>,
//!     ) -> Result<TransferReply<u64>, Box<dyn Error + Send + Sync>> {
//!         self.post(&format!("http://{}/raft/transfer", node.addr), request)
//!             .await
//!     }
//! }
//!
//! /// The route `/raft/transfer` of every server.
//! async fn transfer(
//!     raft: &Raft<MyTypes>,
//!     request: TransferRequest<u64>,
//! ) -> Result<TransferReply<u64>, Box<dyn Error + Send + Sync>> {
//!     Ok(request.serve(raft).await?)
//! }
//!
//! fn backend(raft: Raft<MyTypes>) -> OpenraftBackend<MyTypes> {
//!     // See `WriteGate` for a gate.
//!     OpenraftBackend::new(raft, basic_node).with_transfer(Network, Ungated)
//! }
//! ```
//!
//! The waiting times, with the election timeout `election_timeout_max`:
//!
//! | wait | at most |
//! |---|---|
//! | for another removal or transfer | one election timeout |
//! | until this leader has led for an election timeout, no change of the membership is in progress, and the target has caught up | together with the first one, two election timeouts |
//! | with the gate closed, until the target has the whole log and the leader resigns | one election timeout |
//! | for an answer of another server | one heartbeat interval |
//! | until there is a new leader, with the gate closed | three election timeouts |
//!
//! A quarter of the call's timeout replaces the election timeout in the first three, if it
//! is shorter. Before the leader resigns, every failure leaves it in place. Afterwards the
//! transfer continues without its caller. It shares the lock of the removals.
//!
//! A candidate with the whole log could also win before the target, so another leader is
//! possible, if rare.
//!
//! # Limits
//! - Whether a server is up is not known, except from
//!   [`with_status`](OpenraftBackend::with_status).
//! - Calls other than `view` go through openraft's core. A timeout is not kept while
//!   the core itself hangs, for example on a disk that does not answer.
//! - A removed server does not learn of its removal. It stands for election in vain
//!   until it is shut down, and its stale reads show the old configuration.
//! - openraft's feature `singlethreaded`, and responders other than
//!   `OneshotResponder` (the default), are not supported.

mod autopilot;
mod change;
mod channel;
mod contacts;
mod transfer;
mod view;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::openraft::async_runtime::AsyncOneshotSendExt;
use ::openraft::raft::responder::OneshotResponder;
use ::openraft::{AsyncRuntime, BasicNode, Raft, RaftTypeConfig};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::future::{Either, select};
use futures_util::lock::Mutex;

pub use self::autopilot::{AutopilotStore, OpenraftAutopilot};
use self::change::State;
pub use self::channel::{
    GateGuard, TransferChannel, TransferReply, TransferRequest, Ungated, WriteGate,
};
pub use self::contacts::{ContactLink, ContactNetwork, Contacts};
use self::transfer::Transport;
use self::view::Described;
pub use self::view::log_position;
use cluster_operator::ServerId;
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::raft::{Change, RaftBackend, RaftMember, RaftView, ServerStatus};

type Describe<C, T> =
    Arc<dyn Fn(&<C as RaftTypeConfig>::NodeId, &<C as RaftTypeConfig>::Node) -> T + Send + Sync>;

/// Sends the answer of a task in openraft's runtime.
type Answer<C, T> =
    <<C as RaftTypeConfig>::AsyncRuntime as AsyncRuntime>::OneshotSender<Result<T, OperatorError>>;

/// Describes a server by its node id, as `Display` writes it, and the address of
/// its [`BasicNode`].
///
/// ```
/// use cluster_operator::raft::RaftMember;
/// use cluster_operator_openraft::basic_node;
/// use openraft::BasicNode;
///
/// let server = basic_node(&7, &BasicNode::new("10.0.0.7:8300"));
/// assert_eq!(server, RaftMember::voter("7", "10.0.0.7:8300"));
/// ```
pub fn basic_node<I: fmt::Display>(id: &I, node: &BasicNode) -> RaftMember {
    RaftMember::voter(id.to_string(), node.addr.as_str())
}

/// The Raft of a server that runs openraft. See the [crate documentation](crate).
///
/// Clones share the Raft, and make one change of its membership at a time.
pub struct OpenraftBackend<C: RaftTypeConfig> {
    raft: Raft<C>,
    describe: Describe<C, RaftMember>,
    status: Option<Describe<C, ServerStatus>>,
    noop: Option<Arc<dyn Fn() -> C::D + Send + Sync>>,
    contacts: Option<Contacts<C>>,
    transport: Option<Arc<Transport<C>>>,
    described: Arc<ArcSwap<Described<C>>>,
    /// Held by the change or transfer that is running.
    turn: Arc<Mutex<()>>,
    /// The time for which a leader leads without an answer of a majority.
    lease: Duration,
}

impl<C: RaftTypeConfig> OpenraftBackend<C> {
    /// Creates the backend of the server that `raft` runs.
    ///
    /// `describe` returns a server's id and address, as [`basic_node`] does for a
    /// [`BasicNode`]. It is called once for each server of each configuration, and the
    /// suffrage is set afterwards. A server that shares its id with another one cannot
    /// be removed.
    pub fn new(
        raft: Raft<C>,
        describe: impl Fn(&C::NodeId, &C::Node) -> RaftMember + Send + Sync + 'static,
    ) -> Self {
        let config = raft.config();
        let (min, max) = (config.election_timeout_min, config.election_timeout_max);
        let lease = max.saturating_add(min);
        OpenraftBackend {
            lease: Duration::from_millis(lease),
            raft,
            describe: Arc::new(describe),
            status: None,
            noop: None,
            contacts: None,
            transport: None,
            described: Arc::default(),
            turn: Arc::default(),
        }
    }

    /// Sets the function that returns a server's name, protocol version and liveness.
    /// It is called for each server in each view, so it must not wait.
    #[must_use]
    pub fn with_status(
        mut self,
        status: impl Fn(&C::NodeId, &C::Node) -> ServerStatus + Send + Sync + 'static,
    ) -> Self {
        self.status = Some(Arc::new(status));
        self
    }

    /// Sets the command that proves that voters are alive. The state machine must
    /// accept it and change nothing. Without it, changing the voters is
    /// [`Unsupported`](ErrorKind::Unsupported).
    #[must_use]
    pub fn with_noop(mut self, noop: impl Fn() -> C::D + Send + Sync + 'static) -> Self {
        self.noop = Some(Arc::new(noop));
        self
    }

    /// Sets the record of when each server last answered, which a leader's view then shows.
    #[must_use]
    pub fn with_contacts(mut self, contacts: Contacts<C>) -> Self {
        self.contacts = Some(contacts);
        self
    }

    /// Sets the channel to the other servers, and the gate for client writes, with which
    /// leadership is [transferred](crate#leadership-transfer). Without them, a transfer is
    /// [`Unsupported`](ErrorKind::Unsupported). [`Ungated`] is for an application that
    /// cannot hold its writes back.
    #[must_use]
    pub fn with_transfer(
        mut self,
        channel: impl TransferChannel<C> + 'static,
        gate: impl WriteGate + 'static,
    ) -> Self {
        self.transport = Some(Arc::new(Transport {
            channel: Box::new(channel),
            gate: Box::new(gate),
        }));
        self
    }

    /// Runs a closure in openraft's core. A stopped Raft does not lead.
    async fn in_core<T: Send + 'static>(
        &self,
        read: impl FnOnce(&State<C>) -> T + Send + 'static,
    ) -> Result<T, OperatorError> {
        let read = self.raft.with_raft_state(read).await;
        read.map_err(|fatal| self.not_leader().with_source(fatal))
    }

    fn election_timeout(&self) -> Duration {
        Duration::from_millis(self.raft.config().election_timeout_max)
    }

    /// The time for a proof, for another change to end, and for closed gates, in a call with
    /// this timeout.
    fn bound(&self, timeout: Duration) -> Duration {
        self.election_timeout().min(timeout / 4)
    }

    /// Runs a task in openraft's runtime, and returns its answer.
    async fn in_runtime<T, F>(
        &self,
        task: impl FnOnce(Answer<C, T>) -> F,
    ) -> Result<T, OperatorError>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, answer) = C::AsyncRuntime::oneshot();
        let task = task(sender);
        // The core is in the runtime; the caller may not be.
        self.in_core(move |_| {
            let _detached = C::AsyncRuntime::spawn(task);
        })
        .await?;
        let aborted = |_| {
            Err(OperatorError::backend(
                "the server's Raft stopped during the call",
            ))
        };
        answer.await.unwrap_or_else(aborted)
    }

    /// Answers with the result of a task's work or, shortly before the timeout, with the
    /// error of `late`. Returns the work if that leaves its outcome unknown: it goes on.
    async fn in_time<W>(
        &self,
        answer: Answer<C, ()>,
        (arrived, timeout): (Instant, Duration),
        work: W,
        late: impl FnOnce(Duration) -> OperatorError,
    ) -> Option<W>
    where
        W: Future<Output = Result<(), OperatorError>> + Unpin,
    {
        // The rest is for the answer to arrive.
        let allowed = timeout - timeout / 8;
        let left = C::AsyncRuntime::sleep(allowed.saturating_sub(arrived.elapsed()));
        let (result, work) = match select(work, pin!(left)).await {
            Either::Left((result, _)) => (result, None),
            Either::Right(((), work)) => {
                let late = late(allowed);
                let goes_on = late.outcome() == Outcome::Unknown;
                (Err(late), goes_on.then_some(work))
            }
        };
        // The caller may have dropped the call.
        let _ = answer.send(result);
        work
    }
}

#[async_trait]
impl<C: RaftTypeConfig<Responder = OneshotResponder<C>>> RaftBackend for OpenraftBackend<C> {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        Ok(self.current_view())
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
        let backend = self.clone();
        let task = |answer: Answer<C, RaftView>| async move {
            let confirmed = C::AsyncRuntime::timeout(timeout, backend.confirm());
            let missed = ErrorKind::DeadlineExceeded {
                target: "a majority of the voters".into(),
                after: timeout,
            };
            let confirmed = confirmed.await.unwrap_or_else(|_| Err(missed.into()));
            // The caller may have dropped the call.
            let _ = answer.send(confirmed);
        };
        let confirmed = self.in_runtime(task).await;
        // A read changes nothing, whatever its error.
        confirmed.map_err(|error| error.with_outcome(Outcome::NotApplied))
    }

    /// # Errors
    /// Those of the trait, and
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest) for an id that several nodes
    ///   have
    /// - [`Unsupported`](ErrorKind::Unsupported) for a change of the voters, without
    ///   [`with_noop`](OpenraftBackend::with_noop)
    ///
    /// # Cancel safety
    /// A change whose future is dropped before it is appended changes nothing; one whose
    /// future is dropped later is completed.
    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
        self.change(change.clone()).await
    }

    /// See [Leadership transfer](crate#leadership-transfer).
    ///
    /// # Errors
    /// Not applied, and this server still leads unless the error is one of the last two:
    /// - [`Unsupported`](ErrorKind::Unsupported) without
    ///   [`with_transfer`](OpenraftBackend::with_transfer)
    /// - [`UnknownServer`](ErrorKind::UnknownServer),
    ///   [`AlreadyLeader`](ErrorKind::AlreadyLeader), [`NotVoter`](ErrorKind::NotVoter)
    /// - [`ChangeInProgress`](ErrorKind::ChangeInProgress) while the membership changes
    /// - [`Unreachable`](ErrorKind::Unreachable) or
    ///   [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if the target does not answer
    /// - [`Unavailable`](ErrorKind::Unavailable) if the target does not catch up in time,
    ///   because it or the cluster is too busy, and during another transfer or removal
    /// - [`TransferredElsewhere`](ErrorKind::TransferredElsewhere) if another server
    ///   leads in a later term, which may be this one
    /// - [`NotLeader`](ErrorKind::NotLeader) or [`NoLeader`](ErrorKind::NoLeader)
    ///
    /// Unknown: [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if no leader was seen
    /// after this one had resigned.
    ///
    /// # Cancel safety
    /// A transfer whose future is dropped is completed.
    async fn transfer_leadership(
        &self,
        to: &ServerId,
        timeout: Duration,
    ) -> Result<(), OperatorError> {
        self.transfer(to, timeout).await
    }
}

impl<C: RaftTypeConfig> Clone for OpenraftBackend<C> {
    fn clone(&self) -> Self {
        OpenraftBackend {
            raft: self.raft.clone(),
            describe: Arc::clone(&self.describe),
            status: self.status.clone(),
            noop: self.noop.clone(),
            contacts: self.contacts.clone(),
            transport: self.transport.clone(),
            described: Arc::clone(&self.described),
            turn: Arc::clone(&self.turn),
            lease: self.lease,
        }
    }
}

impl<C: RaftTypeConfig> fmt::Debug for OpenraftBackend<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenraftBackend")
            .field("node", &self.raft.metrics().borrow().id)
            .finish_non_exhaustive()
    }
}
