//! Transfers leadership, for which openraft 0.9 has no call.
//!
//! The leader resigns in favour of the target by voting for it, as soon as the target
//! has its whole log, and then lets the target stand for election:
//!
//! 1. Wait until the leader's own lease is over (it begins with its election), and the
//!    target has the log up to now.
//! 2. Close the gate for client writes, and wait until the target has the whole log.
//! 3. Ask the target whether it follows this leader.
//! 4. Vote for the target in the next term. openraft grants the vote only if the target
//!    has the whole log, and resigns.
//! 5. End the lease of the other voters, so that they vote for it too. Not before 4, or
//!    they would depose a leader that has not resigned.
//! 6. Ask the target to stand for election.
//! 7. Wait until there is a leader in a later term.
//!
//! Until 4, a failure changes nothing. After it, 5 and 6 are repeated, in case a
//! message was lost, and the outcome is that of 7.
//!
//! Source: experiments with openraft 0.9.25, in which other ways (an election of the
//! target at once, paused heartbeats) lost the lead to other servers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::openraft::raft::VoteRequest;
use ::openraft::raft::responder::OneshotResponder;
use ::openraft::{AsyncRuntime, Instant as _, RaftTypeConfig, Vote};
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::change::{Latest, is_committed};
use super::channel::{TransferChannel, TransferReply, TransferRequest, WriteGate};
use super::view::{EntryId, Metrics, matched};
use super::{Answer, OpenraftBackend};
use cluster_operator::ServerId;
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};

/// What the embedder provides for transfers.
pub(super) struct Transport<C: RaftTypeConfig> {
    pub(super) channel: Box<dyn TransferChannel<C>>,
    pub(super) gate: Box<dyn WriteGate>,
}

/// The voters of a transfer from this server.
struct Servers<C: RaftTypeConfig> {
    own: C::NodeId,
    target: (C::NodeId, C::Node),
    /// The voters that are neither of them.
    others: BTreeMap<C::NodeId, C::Node>,
}

/// The part of the log that the target has to have.
#[derive(Clone, Copy)]
enum Log {
    UpTo(Option<u64>),
    Whole,
}

/// The state of this server in openraft's core.
struct State<C: RaftTypeConfig> {
    term: u64,
    is_leader: bool,
    latest: Arc<Latest<C>>,
    /// Whether no change of the membership is in progress.
    is_settled: bool,
    /// The time since the election of this server, if it leads.
    elected: Option<Duration>,
}

struct Task<C: RaftTypeConfig> {
    backend: OpenraftBackend<C>,
    transport: Arc<Transport<C>>,
    to: ServerId,
    timeout: Duration,
    arrived: Instant,
    /// Whether this server may have resigned.
    resigned: AtomicBool,
}

impl<C: RaftTypeConfig<Responder = OneshotResponder<C>>> OpenraftBackend<C> {
    pub(super) async fn transfer(
        &self,
        to: &ServerId,
        timeout: Duration,
    ) -> Result<(), OperatorError> {
        let Some(transport) = &self.transport else {
            return Err(OperatorError::unsupported(
                "leadership transfer without a channel (see `OpenraftBackend::with_transfer`)",
            ));
        };
        let task = Task {
            backend: self.clone(),
            transport: Arc::clone(transport),
            to: to.clone(),
            timeout,
            arrived: Instant::now(),
            resigned: AtomicBool::new(false),
        };
        // It does not end with its caller, or the cluster could be left without a leader.
        self.in_runtime(|answer| task.run(answer)).await
    }
}

impl<C: RaftTypeConfig<Responder = OneshotResponder<C>>> Task<C> {
    async fn run(self, answer: Answer<C, ()>) {
        let late = |after| {
            let late = self.late(after);
            if self.resigned.load(Ordering::Relaxed) {
                late
            } else {
                late.with_outcome(Outcome::NotApplied)
            }
        };
        let work = pin!(self.work());
        let timeout = (self.arrived, self.timeout);
        if let Some(work) = self.backend.in_time(answer, timeout, work, late).await {
            // Nobody else would continue it.
            let _ = work.await;
        }
    }

    async fn work(&self) -> Result<(), OperatorError> {
        let bound = self.backend.bound(self.timeout);
        let soon = Instant::now() + 2 * bound;
        let turn = Arc::clone(&self.backend.turn).lock_owned();
        let Ok(_turn) = C::AsyncRuntime::timeout(bound, turn).await else {
            return Err(unavailable(
                "another removal or transfer is running: repeat it once that has ended",
            ));
        };
        let term = self.state().await?.term;
        // Before the gate is closed, so that a target that is far behind holds no write back.
        let known = self.backend.raft.metrics().borrow().last_log_index;
        self.ready(term, Log::UpTo(known), soon).await?;

        let closing = Instant::now();
        let gate = self.transport.gate.close();
        let Ok(_gate) = C::AsyncRuntime::timeout(bound, gate).await else {
            return Err(unavailable(format!(
                "the writes in flight did not end within {} ms: repeat it when the cluster is \
                 less busy",
                bound.as_millis()
            )));
        };
        let gated = closing + bound;
        let (servers, _) = self.ready(term, Log::Whole, gated).await?;
        self.check_target(term, &servers).await?;
        let servers = self.resign(term, gated).await?;

        let began = Instant::now();
        let limit = 3 * self.backend.election_timeout();
        let leader = pin!(self.new_leader(term, &servers));
        let elections = pin!(self.elections(term, &servers));
        match C::AsyncRuntime::timeout(limit, select(leader, elections)).await {
            Ok(Either::Left((result, _))) => result,
            Ok(Either::Right((never, _))) => match never {},
            Err(_) => Err(self.late(began.elapsed())),
        }
    }

    fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.backend.raft.config().heartbeat_interval)
    }

    fn late(&self, after: Duration) -> OperatorError {
        let target = format!("server {}", self.to);
        OperatorError::new(ErrorKind::DeadlineExceeded { target, after })
    }
}

/// Reads and checks.
impl<C: RaftTypeConfig<Responder = OneshotResponder<C>>> Task<C> {
    async fn state(&self) -> Result<State<C>, OperatorError> {
        let state = self.backend.in_core(|state| {
            let latest = Arc::clone(state.membership_state.effective());
            let is_joint = latest.membership().get_joint_config().len() > 1;
            State {
                term: state.vote_ref().leader_id().get_term(),
                is_leader: state.server_state.is_leader(),
                is_settled: !is_joint && is_committed::<C>(state),
                latest,
                elected: state.vote_last_modified().map(|at| at.elapsed()),
            }
        });
        state.await
    }

    /// The voters of a transfer in this membership.
    fn servers(&self, latest: &Latest<C>) -> Result<Servers<C>, OperatorError> {
        let own = self.backend.raft.metrics().borrow().id.clone();
        let target = self.backend.find(latest, &self.to)?;
        let id = self.to.clone();
        if target == own {
            return Err(ErrorKind::AlreadyLeader { id }.into());
        }
        let sets = latest.membership();
        let node = |id: C::NodeId| {
            let node = sets.get_node(&id).cloned();
            node.map(|node| (id, node))
        };
        let mut others: BTreeMap<_, _> = sets.voter_ids().filter_map(node).collect();
        others.remove(&own);
        let Some(target) = others.remove_entry(&target) else {
            return Err(ErrorKind::NotVoter { id }.into());
        };
        Ok(Servers {
            own,
            target,
            others,
        })
    }

    /// Waits until no change of the membership is in progress, the lease of this server is
    /// over, and the target has this part of the log. Returns the voters, and the last entry
    /// of the target.
    ///
    /// # Errors
    /// - what is still missing at the deadline
    /// - this server does not lead in this term
    /// - the server that is to lead is no other voter
    async fn ready(
        &self,
        term: u64,
        log: Log,
        deadline: Instant,
    ) -> Result<(Servers<C>, EntryId<C>), OperatorError> {
        let began = Instant::now();
        let lease = self.backend.election_timeout();
        let mut metrics = self.backend.raft.metrics();
        loop {
            let seen = metrics.borrow_and_update().clone();
            let state = self.state().await?;
            if !state.is_leader || state.term != term || !self.backend.leads(&seen) {
                return Err(self.backend.not_leader());
            }
            let servers = self.servers(&state.latest)?;
            let matched = matched::<C>(&seen, &servers.target.0);
            let index = matched.as_ref().map(|entry| entry.index);
            let has_log = match log {
                Log::UpTo(known) => index >= known,
                Log::Whole => index == seen.last_log_index,
            };
            let leading = state.elected.unwrap_or_default();
            let missing = if !state.is_settled {
                ErrorKind::ChangeInProgress.into()
            } else if leading <= lease {
                unavailable("this server has led for less than an election timeout: repeat it")
            } else if !has_log {
                unavailable(format!(
                    "server {} did not catch up with the log within {} ms: check that it is up, \
                     or repeat it when the cluster is less busy",
                    self.to,
                    began.elapsed().as_millis()
                ))
            } else {
                return Ok((servers, matched));
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(missing);
            }
            // Nothing reports the end of the lease.
            let pause = left.min(self.heartbeat_interval());
            let _changed = C::AsyncRuntime::timeout(pause, metrics.changed()).await;
        }
    }

    /// Checks that the target answers and follows this leader.
    async fn check_target(&self, term: u64, servers: &Servers<C>) -> Result<(), OperatorError> {
        let vote = self.ask(&servers.target, TransferRequest::Vote).await;
        let vote = vote.map_err(|error| error.with_outcome(Outcome::NotApplied))?;
        let (leader, elected) = (Some(servers.own.clone()), true);
        let own = TransferReply {
            term,
            leader,
            elected,
        };
        if vote == own {
            return Ok(());
        }
        Err(unavailable(format!(
            "server {} does not follow this leader: repeat it",
            self.to
        )))
    }

    /// Sends a request of the transfer, and waits one heartbeat interval for the answer.
    async fn ask(
        &self,
        (id, node): &(C::NodeId, C::Node),
        request: TransferRequest<C::NodeId>,
    ) -> Result<TransferReply<C::NodeId>, OperatorError> {
        let limit = self.heartbeat_interval();
        let answer = self.transport.channel.send(id, node, request);
        let target = format!("server {id}");
        match C::AsyncRuntime::timeout(limit, answer).await {
            Ok(Ok(vote)) => Ok(vote),
            Ok(Err(error)) => {
                let reason = error.to_string();
                Err(ErrorKind::Unreachable { target, reason }.into())
            }
            Err(_) => {
                let after = limit;
                Err(ErrorKind::DeadlineExceeded { target, after }.into())
            }
        }
    }
}

/// The change of the leader.
impl<C: RaftTypeConfig<Responder = OneshotResponder<C>>> Task<C> {
    /// Resigns, as soon as the target has the whole log. Returns the voters at that moment.
    async fn resign(&self, term: u64, deadline: Instant) -> Result<Servers<C>, OperatorError> {
        loop {
            let (servers, last_log) = self.ready(term, Log::Whole, deadline).await?;
            let vote = Vote::new(term.saturating_add(1), servers.target.0.clone());
            self.resigned.store(true, Ordering::Relaxed);
            // openraft refuses the vote if an entry was appended since, or another server
            // stands for election.
            let request = VoteRequest::new(vote, last_log);
            match self.backend.raft.vote(request).await {
                Ok(answer) if answer.vote_granted => return Ok(servers),
                Ok(_) => self.resigned.store(false, Ordering::Relaxed),
                Err(fatal) => {
                    let stopped = OperatorError::backend("the server's Raft stopped");
                    return Err(stopped.with_source(fatal));
                }
            }
        }
    }

    /// Lets the target stand for election, again and again.
    async fn elections(&self, term: u64, servers: &Servers<C>) -> Infallible {
        let target = &servers.target.0;
        let mut protecting = servers.others.clone();
        // The target and so many others elect it, even if this server dies now.
        let voters = servers.others.len() + 2;
        let mut needed = voters / 2;
        let mut pause = self.heartbeat_interval();
        loop {
            for id in self.end_leases(term, target, &protecting, needed).await {
                protecting.remove(&id);
            }
            needed = protecting.len();
            // The result shows whether it has arrived.
            let _ = self
                .ask(&servers.target, TransferRequest::Elect { term })
                .await;
            C::AsyncRuntime::sleep(pause).await;
            // An election needs time.
            pause *= 2;
        }
    }

    /// Ends the lease of these voters. Returns those that have confirmed it, as soon as so
    /// many are needed have.
    async fn end_leases(
        &self,
        term: u64,
        target: &C::NodeId,
        voters: &BTreeMap<C::NodeId, C::Node>,
        needed: usize,
    ) -> Vec<C::NodeId> {
        let end = |(id, node): (&C::NodeId, &C::Node)| {
            let voter = (id.clone(), node.clone());
            let target = target.clone();
            async move {
                let request = TransferRequest::EndLease { term, target };
                let answer = self.ask(&voter, request).await;
                answer.is_ok().then_some(voter.0)
            }
        };
        let mut ends: FuturesUnordered<_> = voters.iter().map(end).collect();
        let mut ended = Vec::new();
        while ended.len() < needed
            && let Some(end) = ends.next().await
        {
            ended.extend(end);
        }
        ended
    }

    /// Waits for a leader in a later term. It has to be the target.
    async fn new_leader(&self, term: u64, servers: &Servers<C>) -> Result<(), OperatorError> {
        let backend = &self.backend;
        let mut leader = None;
        let elected = |metrics: &Metrics<C>| {
            if metrics.current_term > term {
                leader.clone_from(&metrics.current_leader);
            }
            leader.is_some()
        };
        backend.until(elected).await;
        let Some(leader) = leader else {
            return Err(OperatorError::backend("the server's Raft stopped"));
        };
        if leader == servers.target.0 {
            return Ok(());
        }
        let metrics = backend.raft.metrics().borrow().clone();
        let node = metrics.membership_config.membership().get_node(&leader);
        let described = node.map(|node| (backend.describe)(&leader, node).id);
        let leader = described.unwrap_or_else(|| leader.to_string().into());
        Err(ErrorKind::TransferredElsewhere { leader }.into())
    }
}

fn unavailable(reason: impl Into<String>) -> OperatorError {
    let reason = reason.into();
    ErrorKind::Unavailable { reason }.into()
}
