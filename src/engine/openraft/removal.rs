//! Taking a server out of the membership.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Weak};

use ::openraft::async_runtime::AsyncOneshotSendExt;
use ::openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use ::openraft::raft::responder::OneshotResponder;
use ::openraft::{AsyncRuntime, ChangeMembers, LeaderId, Membership, RaftTypeConfig};
use futures_util::future::{Either, select};
use futures_util::lock::OwnedMutexGuard;

use super::OpenraftBackend;
use super::view::{Latest, Metrics, index, stopped};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::raft::{PeerSelector, RaftServer};

type Change<C> = ChangeMembers<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;
/// A change, and whether voters that it removes stay as learners.
type Step<C> = (Change<C>, bool);
type ChangeError<C> = RaftError<
    <C as RaftTypeConfig>::NodeId,
    ClientWriteError<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>,
>;

impl<C, F> OpenraftBackend<C, F>
where
    C: RaftTypeConfig<Responder = OneshotResponder<C>>,
    F: Fn(&C::NodeId, &C::Node) -> RaftServer + Send + Sync + 'static,
{
    /// Removes a server, in a task that ends what it has begun also if nobody
    /// waits for it.
    pub(super) async fn remove(
        &self,
        server: &PeerSelector,
        expected_index: Option<u64>,
    ) -> Result<(), OperatorError> {
        self.membership().await?;
        let caller = Arc::new(());
        let removal = Removal {
            backend: self.clone(),
            server: server.clone(),
            expected_index,
            elected: self.raft.metrics().borrow().vote.leader_id.clone(),
            caller: Arc::downgrade(&caller),
        };
        let (sender, answer) = C::AsyncRuntime::oneshot();
        let task = removal.run(move |result| {
            // Whoever asked may be gone.
            let _ = sender.send(result);
        });
        // From within Raft's core: who polls this may be outside of its runtime.
        let spawned = self.raft.with_raft_state(move |_| {
            let _detached = C::AsyncRuntime::spawn(task);
        });
        spawned.await.map_err(stopped::<C>)?;
        let broken_off = |_| OperatorError::backend("the removal has broken off");
        let answer = answer.await.map_err(broken_off);
        drop(caller);
        answer?
    }
}

struct Removal<C: RaftTypeConfig, F> {
    backend: OpenraftBackend<C, F>,
    server: PeerSelector,
    expected_index: Option<u64>,
    /// The lead under which it is done.
    elected: LeaderId<C::NodeId>,
    /// Dead once nobody waits for the answer.
    caller: Weak<()>,
}

impl<C, F> Removal<C, F>
where
    C: RaftTypeConfig<Responder = OneshotResponder<C>>,
    F: Fn(&C::NodeId, &C::Node) -> RaftServer + Send + Sync,
{
    async fn run(self, answer: impl FnOnce(Result<(), OperatorError>)) {
        match select(pin!(self.work()), pin!(self.undecided())).await {
            Either::Left((result, _)) => answer(result),
            Either::Right((error, work)) => {
                answer(Err(error));
                // It keeps its turn until it is over, or another leader has to see to it.
                let replaced = self.backend.until(|metrics| self.is_replaced(metrics));
                select(work, pin!(replaced)).await;
            }
        }
    }

    async fn work(&self) -> Result<(), OperatorError> {
        let _turn = self.turn().await?;
        let (id, mut step) = self.planned().await?;
        let mut begun = false;
        loop {
            let takes_vote = matches!(step.0, ChangeMembers::RemoveVoters(_));
            let (change, retain) = step;
            let next = match self.backend.raft.change_membership(change, retain).await {
                Ok(done) => {
                    begun = true;
                    self.seen(done.log_id.index).await;
                    let membership = done.membership.as_ref();
                    membership.and_then(|membership| without::<C>(membership, &id))
                }
                Err(error) => {
                    self.overtaken(error, begun)?;
                    let latest = self.committed().await.map_err(undecided)?;
                    // Of the two entries that take a vote, it may be the second one
                    // that was refused.
                    begun |= takes_vote && !stays_voter::<C>(latest.membership(), &id);
                    if begun {
                        without::<C>(latest.membership(), &id)
                    } else {
                        Some(self.planned().await?.1)
                    }
                }
            };
            match next {
                Some(next) => step = next,
                None => return Ok(()),
            }
        }
    }

    async fn turn(&self) -> Result<OwnedMutexGuard<()>, OperatorError> {
        let turn = Arc::clone(&self.backend.turn).lock_owned();
        match select(turn, pin!(self.deposed())).await {
            Either::Left((turn, _)) => Ok(turn),
            Either::Right((error, _)) => Err(error),
        }
    }

    /// The node that is meant, and the first step to its removal.
    async fn planned(&self) -> Result<(C::NodeId, Step<C>), OperatorError> {
        self.plan(&*self.backend.membership().await?)?;
        let plan = self.plan(&*self.settled().await?)?;
        if self.caller.strong_count() == 0 {
            let given_up = OperatorError::backend("the removal was given up");
            return Err(given_up.with_outcome(Outcome::NotApplied));
        }
        Ok(plan)
    }

    fn plan(&self, latest: &Latest<C>) -> Result<(C::NodeId, Step<C>), OperatorError> {
        let membership = latest.membership();
        let id = self.find(membership)?;
        let actual = index::<C>(latest.log_id());
        if let Some(expected) = self.expected_index.filter(|expected| *expected != actual) {
            return Err(ErrorKind::Conflict { expected, actual }.into());
        }
        if is_last_voter::<C>(membership, &id) {
            return Err(ErrorKind::LastVoter.into());
        }
        let step = without::<C>(membership, &id);
        let step = step.ok_or_else(|| ErrorKind::UnknownServer(self.server.clone()))?;
        Ok((id, step))
    }

    fn find(
        &self,
        membership: &Membership<C::NodeId, C::Node>,
    ) -> Result<C::NodeId, OperatorError> {
        let is_meant = |(id, node): &(&C::NodeId, &C::Node)| {
            self.server.matches(&(self.backend.describe)(id, node))
        };
        let mut found = membership.nodes().filter(is_meant).map(|(id, _)| id);
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id.clone()),
            (None, _) => Err(ErrorKind::UnknownServer(self.server.clone()).into()),
            // openraft's nodes need not differ, and those of `BasicNode::default` do not.
            (Some(one), Some(other)) => Err(OperatorError::invalid_request(format!(
                "both node {one} and node {other} have the {}: name the server otherwise",
                self.server
            ))),
        }
    }

    /// The latest membership, once it is committed.
    async fn committed(&self) -> Result<Arc<Latest<C>>, OperatorError> {
        let backend = &self.backend;
        loop {
            let latest = backend.membership().await?;
            if backend.is_committed(&latest).await? {
                return Ok(latest);
            }
            let over = |metrics: &Metrics<C>| {
                metrics.last_applied >= *latest.log_id() || !backend.leads(metrics)
            };
            backend.until(over).await;
        }
    }

    /// The same, once nobody is about to go on with it.
    async fn settled(&self) -> Result<Arc<Latest<C>>, OperatorError> {
        let backend = &self.backend;
        let mut waited_at = None;
        loop {
            let latest = self.committed().await?;
            let at = latest.log_id();
            let is_joint = latest.membership().get_joint_config().len() > 1;
            if !is_joint || waited_at.as_ref() == Some(at) {
                return Ok(latest);
            }
            // Whoever made it ends it at once, or is gone.
            let over = |metrics: &Metrics<C>| {
                metrics.membership_config.log_id() > at || !backend.leads(metrics)
            };
            let patience = C::AsyncRuntime::sleep(backend.lease);
            select(pin!(backend.until(over)), pin!(patience)).await;
            waited_at = Some(at.clone());
        }
    }

    /// Waits until the metrics, and with them a stale read, have the change too.
    async fn seen(&self, change: u64) {
        let seen = |metrics: &Metrics<C>| {
            index::<C>(metrics.membership_config.log_id()) >= change || !self.backend.leads(metrics)
        };
        self.backend.until(seen).await;
    }

    /// Goes on where another change came first.
    fn overtaken(&self, error: ChangeError<C>, begun: bool) -> Result<(), OperatorError> {
        let error = match error {
            RaftError::Fatal(fatal) => return Err(undecided(stopped::<C>(fatal))),
            RaftError::APIError(error) => error,
        };
        match error {
            // Also what openraft answers for an entry that another leader has
            // replaced, or may not have.
            ClientWriteError::ForwardToLeader(to) => Err(undecided(self.backend.elsewhere(to))),
            ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_) | ChangeMembershipError::LearnerNotFound(_),
            ) => Ok(()),
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::EmptyMembership(_)) => {
                let last = OperatorError::new(ErrorKind::LastVoter);
                Err(if begun { undecided(last) } else { last })
            }
        }
    }

    fn is_replaced(&self, metrics: &Metrics<C>) -> bool {
        metrics.vote.leader_id != self.elected
    }

    /// Ends once this server does not lead as it did.
    async fn deposed(&self) -> OperatorError {
        let backend = &self.backend;
        let deposed = |metrics: &Metrics<C>| self.is_replaced(metrics) || !backend.leads(metrics);
        backend.until(deposed).await;
        backend.not_leader()
    }

    /// Ends once this server has not led as it did for so long that openraft may
    /// never say what became of the change: not without a majority, and not if it
    /// comes back in a snapshot.
    async fn undecided(&self) -> OperatorError {
        let backend = &self.backend;
        loop {
            let error = self.deposed().await;
            C::AsyncRuntime::sleep(backend.lease).await;
            let metrics = backend.raft.metrics();
            let metrics = metrics.borrow();
            if self.is_replaced(&metrics) || !backend.leads(&metrics) {
                return undecided(error);
            }
        }
    }
}

/// The same error of something that may yet happen.
fn undecided(error: OperatorError) -> OperatorError {
    error.with_outcome(Outcome::Unknown)
}

/// The next step towards a membership without this server, voter or not.
///
/// It says who leaves and not who stays, so it undoes nothing that others do.
fn without<C: RaftTypeConfig>(
    membership: &Membership<C::NodeId, C::Node>,
    id: &C::NodeId,
) -> Option<Step<C>> {
    membership.get_node(id)?;
    let server = BTreeSet::from([id.clone()]);
    let voters: BTreeSet<_> = membership.voter_ids().collect();
    let to_come = to_come::<C>(membership)?;
    let leaving: BTreeSet<_> = voters.difference(to_come).cloned().collect();
    let is_joint = membership.get_joint_config().len() > 1;
    Some(if is_joint && leaving != server {
        // Another change has stopped after its first entry, and comes first: openraft stops, with
        // a failed assertion, when a leader that is on its way out begins the next one. Nobody
        // knows any more whether the voters that go were to stay as learners, so they do.
        (ChangeMembers::AddVoterIds(BTreeSet::new()), true)
    } else if voters.contains(id) {
        (ChangeMembers::RemoveVoters(server), false)
    } else {
        (ChangeMembers::RemoveNodes(server), false)
    })
}

/// Of two configurations that are in force, the last is the one to come.
fn to_come<C: RaftTypeConfig>(
    membership: &Membership<C::NodeId, C::Node>,
) -> Option<&BTreeSet<C::NodeId>> {
    membership.get_joint_config().last()
}

fn stays_voter<C: RaftTypeConfig>(
    membership: &Membership<C::NodeId, C::Node>,
    id: &C::NodeId,
) -> bool {
    to_come::<C>(membership).is_some_and(|voters| voters.contains(id))
}

fn is_last_voter<C: RaftTypeConfig>(
    membership: &Membership<C::NodeId, C::Node>,
    id: &C::NodeId,
) -> bool {
    to_come::<C>(membership).is_some_and(|voters| voters.iter().eq([id]))
}
