//! Changes of the membership, in the four steps of the trait's contract.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use ::openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use ::openraft::raft::ClientWriteResponse;
use ::openraft::raft::responder::OneshotResponder;
use ::openraft::{
    AsyncRuntime, ChangeMembers, EffectiveMembership, LeaderId, Membership, RaftState,
    RaftTypeConfig,
};
use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable, Either, maybe_done, select};
use futures_util::lock::OwnedMutexGuard;

use super::view::{Metrics, matched, version};
use super::{Answer, OpenraftBackend};
use cluster_operator::ServerId;
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::raft::{Change, ChangeKind, ConfigVersion, PeerSelector};

type Ids<C> = BTreeSet<<C as RaftTypeConfig>::NodeId>;
pub(super) type Latest<C> =
    EffectiveMembership<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;
pub(super) type State<C> = RaftState<
    <C as RaftTypeConfig>::NodeId,
    <C as RaftTypeConfig>::Node,
    <<C as RaftTypeConfig>::AsyncRuntime as AsyncRuntime>::Instant,
>;
type Changed<C> = Result<
    ClientWriteResponse<C>,
    RaftError<
        <C as RaftTypeConfig>::NodeId,
        ClientWriteError<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>,
    >,
>;

/// Decides, once, whether a change is appended or given up.
#[derive(Clone, Default)]
struct Decision(Arc<AtomicBool>);

impl Decision {
    /// Whether this call is the one that decides.
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

/// Aborts the change if the caller drops its future before the change is appended.
struct Caller {
    decision: Decision,
    task: AbortHandle,
}

impl Drop for Caller {
    fn drop(&mut self) {
        if self.decision.take() {
            self.task.abort();
        }
    }
}

impl<C: RaftTypeConfig<Responder = OneshotResponder<C>>> OpenraftBackend<C> {
    pub(super) async fn change(&self, change: Change) -> Result<(), OperatorError> {
        let (handle, registration) = AbortHandle::new_pair();
        let caller = Caller {
            decision: Decision::default(),
            task: handle,
        };
        let task = Task {
            backend: self.clone(),
            bound: self.bound(change.timeout),
            asked: change,
            arrived: Instant::now(),
            elected: self.raft.metrics().borrow().vote.leader_id.clone(),
            decision: caller.decision.clone(),
        };
        self.in_runtime(|answer| async {
            let _given_up = Abortable::new(task.run(answer), registration).await;
        })
        .await
    }
}

impl<C: RaftTypeConfig> OpenraftBackend<C> {
    /// The node that operators know by this id.
    pub(super) fn find(
        &self,
        latest: &Latest<C>,
        wanted: &ServerId,
    ) -> Result<C::NodeId, OperatorError> {
        let sets = latest.membership();
        let described = self.described(latest.log_id(), sets);
        let members = sets.nodes().zip(&described.servers);
        let mut named = members.filter(|(_, member)| member.id == *wanted);
        match (named.next(), named.next()) {
            (Some(((id, _), _)), None) => Ok(id.clone()),
            (None, _) => {
                let selector = PeerSelector::Id(wanted.clone());
                Err(ErrorKind::UnknownServer(selector).into())
            }
            (Some(((one, _), _)), Some(((other, _), _))) => {
                Err(OperatorError::invalid_request(format!(
                    "the nodes {one} and {other} both have the id {wanted:?}: give each node an \
                     id of its own"
                )))
            }
        }
    }
}

struct Task<C: RaftTypeConfig> {
    backend: OpenraftBackend<C>,
    /// The time for its turn, and for the proof.
    bound: Duration,
    /// The change that the caller asked for.
    asked: Change,
    arrived: Instant,
    /// The leader when it began.
    elected: LeaderId<C::NodeId>,
    decision: Decision,
}

/// The change of the membership, and the voters that have to be alive for it.
struct Plan<C: RaftTypeConfig> {
    /// The server that is removed, if one is.
    removed: Ids<C>,
    /// The server that becomes a voter, if one does.
    added: Ids<C>,
    change: ChangeMembers<C::NodeId, C::Node>,
    /// Whether it only ends the joint configuration of another change. The voters that
    /// this drops stay as learners.
    ends_another: bool,
    /// The voters after the change, where the voters change.
    voters: Option<Ids<C>>,
    /// Those of them that have to hold the whole log.
    caught_up: Ids<C>,
}

impl<C: RaftTypeConfig> Plan<C> {
    /// Whether this membership has what was asked for. No joint configuration is in force
    /// then: it would still have the server that is removed.
    fn is_done(&self, sets: &Membership<C::NodeId, C::Node>) -> bool {
        let is_gone = self.removed.iter().all(|id| sets.get_node(id).is_none());
        let is_final = !self.removed.is_empty() || sets.get_joint_config().len() == 1;
        is_gone && is_final && self.has_added(sets)
    }

    /// Whether another change has undone this one.
    fn is_undone(&self, sets: &Membership<C::NodeId, C::Node>) -> bool {
        let last = sets.get_joint_config().last();
        last.is_some_and(|last| !self.removed.is_disjoint(last)) || !self.has_added(sets)
    }

    fn has_added(&self, sets: &Membership<C::NodeId, C::Node>) -> bool {
        let last = sets.get_joint_config().last();
        last.is_some_and(|last| self.added.is_subset(last))
    }
}

impl<C: RaftTypeConfig<Responder = OneshotResponder<C>>> Task<C> {
    async fn run(self, answer: Answer<C, ()>) {
        let backend = &self.backend;
        let late = |after| {
            let target = "a majority of the voters".into();
            let late = OperatorError::new(ErrorKind::DeadlineExceeded { target, after });
            if self.decision.take() {
                late.with_outcome(Outcome::NotApplied)
            } else {
                late
            }
        };
        let work = pin!(self.work());
        let timeout = (self.arrived, self.asked.timeout);
        if let Some(work) = backend.in_time(answer, timeout, work, late).await {
            // It keeps its turn until it is over. openraft may never answer a leader that
            // was replaced.
            let replaced = backend.until(|metrics| metrics.vote.leader_id != self.elected);
            select(work, pin!(replaced)).await;
        }
    }

    async fn work(&self) -> Result<(), OperatorError> {
        let (_turn, latest) = self.settled().await?;
        let plan = self.plan(&latest)?;
        if let Some(voters) = &plan.voters {
            self.prove(voters, &plan.caught_up).await?;
        }
        let changed = self.append(&plan).await?;
        self.finish(changed, &plan).await
    }

    /// The latest membership and whether it is committed, as long as this server
    /// leads in the term, and has the configuration, that were asked for.
    async fn check(&self) -> Result<(Arc<Latest<C>>, bool), OperatorError> {
        let backend = &self.backend;
        let state = backend.in_core(|state| {
            let term = state.vote_ref().leader_id.get_term();
            let latest = Arc::clone(state.membership_state.effective());
            (state.server_state, term, latest, is_committed::<C>(state))
        });
        let (server_state, term, latest, is_committed) = state.await?;
        // The view after the answer must not be older than the answer.
        let seen = |metrics: &Metrics<C>| {
            metrics.membership_config.log_id() >= latest.log_id() || !backend.leads(metrics)
        };
        backend.until(seen).await;
        let leads = backend.leads(&backend.raft.metrics().borrow());
        if !leads || !server_state.is_leader() {
            return Err(backend.not_leader());
        }
        if term != self.asked.term {
            let (expected, actual) = (self.asked.term, term);
            return Err(ErrorKind::TermChanged { expected, actual }.into());
        }
        let actual = version::<C>(latest.log_id());
        if actual != self.asked.version {
            return Err(self.conflict(actual));
        }
        Ok((latest, is_committed))
    }

    fn conflict(&self, actual: ConfigVersion) -> OperatorError {
        let expected = self.asked.version;
        ErrorKind::Conflict { expected, actual }.into()
    }

    /// Takes its turn, and waits until no other change is running. A configuration that
    /// is still joint then is one that nobody finishes.
    async fn settled(&self) -> Result<(OwnedMutexGuard<()>, Arc<Latest<C>>), OperatorError> {
        let backend = &self.backend;
        let busy = || OperatorError::new(ErrorKind::ChangeInProgress);
        let turn = Arc::clone(&backend.turn).lock_owned();
        let Ok(turn) = C::AsyncRuntime::timeout(self.bound, turn).await else {
            self.check().await?;
            return Err(busy());
        };
        let mut bound = pin!(C::AsyncRuntime::sleep(self.bound));
        loop {
            let (latest, is_committed) = self.check().await?;
            let is_joint = latest.membership().get_joint_config().len() > 1;
            if is_committed && !is_joint {
                return Ok((turn, latest));
            }
            let at = latest.log_id().clone();
            let moved = backend.until(|metrics| {
                *metrics.membership_config.log_id() > at
                    || (!is_committed && metrics.last_applied >= at)
                    || !backend.leads(metrics)
            });
            match select(pin!(moved), bound.as_mut()).await {
                Either::Left(_) => {}
                Either::Right(_) if is_committed => return Ok((turn, latest)),
                Either::Right(_) => return Err(busy()),
            }
        }
    }

    /// The server that is removed, and the one that becomes a voter.
    fn servers(&self) -> Result<(Option<&ServerId>, Option<&ServerId>), OperatorError> {
        match &self.asked.kind {
            ChangeKind::Remove { id } => Ok((Some(id), None)),
            ChangeKind::Replace { id, with } => Ok((Some(id), Some(with))),
            ChangeKind::Promote { id } => Ok((None, Some(id))),
            _ => Err(self.asked.unsupported()),
        }
    }

    fn plan(&self, latest: &Latest<C>) -> Result<Plan<C>, OperatorError> {
        let (old, new) = self.servers()?;
        let find = |id: Option<&ServerId>| -> Result<Ids<C>, OperatorError> {
            id.map(|id| self.backend.find(latest, id))
                .into_iter()
                .collect()
        };
        let (removed, added) = (find(old)?, find(new)?);
        let configs = latest.membership().get_joint_config();
        let last = configs.last().cloned().unwrap_or_default();
        let mut plan = Plan {
            change: ChangeMembers::RemoveVoters(removed.clone()),
            ends_another: false,
            voters: Some(&(&last - &removed) | &added),
            caught_up: added.clone(),
            removed,
            added,
        };
        if let [first, _, ..] = configs.as_slice() {
            // openraft fails an assertion if a leader that is being removed begins another
            // change, so this one is finished first.
            let is_own = first - &last == plan.removed
                && (plan.added.is_empty() || &last - first == plan.added);
            if !is_own {
                // Whether those that leave should stay as learners is not known.
                plan.change = ChangeMembers::RemoveVoters(Ids::<C>::new());
                plan.ends_another = true;
            }
            plan.voters = Some(last);
            plan.caught_up.clear();
            return Ok(plan);
        }
        match (old, new) {
            (Some(id), Some(_)) if plan.removed.is_disjoint(&last) => {
                Err(ErrorKind::NothingToReplace { id: id.clone() }.into())
            }
            (_, Some(id)) if !plan.added.is_disjoint(&last) => {
                Err(ErrorKind::AlreadyVoter { id: id.clone() }.into())
            }
            (_, Some(_)) => {
                let voters = plan.voters.clone().unwrap_or_default();
                plan.change = ChangeMembers::ReplaceAllVoters(voters);
                Ok(plan)
            }
            _ if plan.removed == last => Err(ErrorKind::LastVoter.into()),
            _ if plan.removed.is_disjoint(&last) => {
                plan.change = ChangeMembers::RemoveNodes(plan.removed.clone());
                plan.voters = None;
                Ok(plan)
            }
            _ => Ok(plan),
        }
    }

    /// Proves with a new entry that enough of these voters are alive, and that some have
    /// the whole log. By what openraft knows of older entries, a voter that has been dead
    /// for seconds looks up to date.
    async fn prove(&self, voters: &Ids<C>, caught_up: &Ids<C>) -> Result<(), OperatorError> {
        let backend = &self.backend;
        let Some(noop) = &backend.noop else {
            return Err(OperatorError::unsupported(
                "changing the voters without a no-op command (see `OpenraftBackend::with_noop`)",
            ));
        };
        let needed = self.asked.proof.needed(voters.len());
        let began = Instant::now();
        let before = backend.raft.metrics().borrow().last_log_index;
        let is_held = |metrics: &Metrics<C>, index| {
            holders::<C>(metrics, caught_up, index) == caught_up.len()
        };
        let proof = async {
            let written = backend.raft.client_write(noop()).await;
            let written = written.map_err(|error| backend.not_leader().with_source(error))?;
            let index = Some(written.log_id.index);
            // There are no more than all of them.
            let enough = needed.min(voters.len());
            let confirmed = |metrics: &Metrics<C>| {
                let proven =
                    holders::<C>(metrics, voters, index) >= enough && is_held(metrics, index);
                proven || !backend.leads(metrics)
            };
            backend.until(confirmed).await;
            Ok::<_, OperatorError>(index)
        };
        let proof = C::AsyncRuntime::timeout(self.bound, proof).await;
        let committed = proof.unwrap_or(Ok(None))?;
        let index = committed.or(before.map(|before| before + 1));
        let metrics = backend.raft.metrics().borrow().clone();
        let confirmed = holders::<C>(&metrics, voters, index);
        let held = is_held(&metrics, index);
        if committed.is_some() && confirmed >= needed && held {
            return Ok(());
        }
        if !backend.leads(&metrics) {
            // Only a leader knows which servers hold the entry.
            return Err(backend.not_leader());
        }
        if let (_, Some(id)) = self.servers()?
            && confirmed >= needed
            && !held
        {
            let (id, after) = (id.clone(), began.elapsed());
            return Err(ErrorKind::NotCaughtUp { id, after }.into());
        }
        Err(ErrorKind::QuorumUnproven {
            confirmed,
            // If enough of those that stay hold it, it is uncommitted because the server
            // to be removed, which still votes, does not hold it.
            needed: needed.max(confirmed + 1),
            after: began.elapsed(),
        }
        .into())
    }

    /// Appends the change, if term and version are still those that were decided on. The
    /// outcome is unknown until openraft answers.
    async fn append(&self, plan: &Plan<C>) -> Result<Changed<C>, OperatorError> {
        let raft = self.backend.raft.clone();
        let (change, retain) = (plan.change.clone(), plan.ends_another);
        let change = async move { raft.change_membership(change, retain).await };
        let mut change = Box::pin(maybe_done(change));
        let (term, at) = (self.asked.term, self.asked.version);
        let decision = self.decision.clone();
        let begun = self.backend.in_core(move |state| {
            let latest = state.membership_state.effective();
            let is_current = state.server_state.is_leader()
                && state.vote_ref().leader_id.get_term() == term
                && version::<C>(latest.log_id()) == at
                && is_committed::<C>(state);
            (is_current && decision.take()).then(|| {
                // Sends it to the core, which runs this closure.
                let mut nobody = Context::from_waker(Waker::noop());
                let _pending = change.as_mut().poll_unpin(&mut nobody).is_pending();
                change
            })
        });
        let Some(mut begun) = begun.await? else {
            self.check().await?;
            // The call was dropped, or there is another change, which is uncommitted.
            return Err(ErrorKind::ChangeInProgress.into());
        };
        begun.as_mut().await;
        begun
            .as_mut()
            .take_output()
            .ok_or_else(|| OperatorError::backend("openraft has lost the change"))
    }

    /// Completes a change, even if another one came between its two entries.
    async fn finish(&self, mut changed: Changed<C>, plan: &Plan<C>) -> Result<(), OperatorError> {
        let backend = &self.backend;
        loop {
            match changed {
                Ok(done) => {
                    self.seen(&done).await;
                    if plan.ends_another {
                        // Even if the server votes now: the other change did more.
                        return Err(self.conflict(version::<C>(&Some(done.log_id))));
                    }
                    let sets = done.membership.as_ref();
                    if sets.is_none_or(|sets| plan.is_done(sets)) {
                        // openraft commits the final entry with the voters that stay.
                        return Ok(());
                    }
                    // Another change has ended the joint configuration, and kept the server
                    // or dropped the one that takes its place.
                }
                Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(refused))) => {
                    // Its first entry was refused, or its only one.
                    if let ChangeMembershipError::InProgress(other) = &refused
                        && (plan.ends_another
                            || version::<C>(&other.committed) == self.asked.version)
                    {
                        return Err(
                            OperatorError::from(ErrorKind::ChangeInProgress).with_source(refused)
                        );
                    }
                }
                // openraft answers so whether another leader has replaced the entry or
                // not.
                Err(error) => {
                    let error = backend.not_leader().with_source(error);
                    return Err(error.with_outcome(Outcome::Unknown));
                }
            }
            let latest = self.committed().await?;
            let sets = latest.membership();
            if plan.is_done(sets) {
                return Ok(());
            }
            if plan.is_undone(sets) {
                let undone = self.conflict(version::<C>(latest.log_id()));
                return Err(undone.with_outcome(Outcome::Unknown));
            }
            let removed = plan.removed.clone();
            let mut configs = sets.get_joint_config().iter();
            let is_learner = configs.all(|voters| removed.is_disjoint(voters));
            let rest = if is_learner && !removed.is_empty() {
                ChangeMembers::RemoveNodes(removed)
            } else {
                ChangeMembers::RemoveVoters(removed)
            };
            changed = backend.raft.change_membership(rest, false).await;
        }
    }

    /// Waits until the view shows the change.
    async fn seen(&self, done: &ClientWriteResponse<C>) {
        let entry = Some(done.log_id.clone());
        let seen = |metrics: &Metrics<C>| {
            *metrics.membership_config.log_id() >= entry && metrics.last_applied >= entry
        };
        self.backend.until(seen).await;
    }

    /// The latest membership, once it is committed.
    async fn committed(&self) -> Result<Arc<Latest<C>>, OperatorError> {
        let backend = &self.backend;
        loop {
            let state = backend.in_core(|state| {
                let latest = Arc::clone(state.membership_state.effective());
                (state.server_state, latest, is_committed::<C>(state))
            });
            let unknown = |error: OperatorError| error.with_outcome(Outcome::Unknown);
            let (server_state, latest, is_committed) = state.await.map_err(unknown)?;
            if !server_state.is_leader() {
                return Err(unknown(backend.not_leader()));
            }
            if is_committed {
                return Ok(latest);
            }
            let over = |metrics: &Metrics<C>| {
                metrics.last_applied >= *latest.log_id() || !metrics.state.is_leader()
            };
            backend.until(over).await;
        }
    }
}

pub(super) fn is_committed<C: RaftTypeConfig>(state: &State<C>) -> bool {
    let sets = &state.membership_state;
    sets.effective().log_id() == sets.committed().log_id()
}

/// The number of these servers that hold the entry with this index, as far as the leader
/// knows.
fn holders<C: RaftTypeConfig>(metrics: &Metrics<C>, ids: &Ids<C>, index: Option<u64>) -> usize {
    let held = |id| matched::<C>(metrics, id).map(|entry| entry.index);
    ids.iter().filter(|id| held(id) >= index).count()
}
