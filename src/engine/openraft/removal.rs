//! Taking a server out of the membership.

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;

use ::openraft::error::{ChangeMembershipError, ClientWriteError, InProgress, RaftError};
use ::openraft::raft::ClientWriteResponse;
use ::openraft::raft::responder::OneshotResponder;
use ::openraft::{AsyncRuntime, ChangeMembers, RaftTypeConfig};
use futures_util::future::{Either, select};
use futures_util::lock::OwnedMutexGuard;

use super::OpenraftBackend;
use super::view::{Latest, index, is_deserted, is_voter, stopped};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::raft::{PeerSelector, RaftServer};

type Change<C> = ChangeMembers<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;
type ChangeError<C> = RaftError<
    <C as RaftTypeConfig>::NodeId,
    ClientWriteError<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>,
>;

impl<C, F> OpenraftBackend<C, F>
where
    C: RaftTypeConfig<Responder = OneshotResponder<C>>,
    F: Fn(&C::NodeId, &C::Node) -> RaftServer + Send + Sync,
{
    pub(super) async fn remove(
        &self,
        server: &PeerSelector,
        expected_index: Option<u64>,
    ) -> Result<(), OperatorError> {
        // Not behind a removal that cannot end, on a server that does not lead.
        self.membership().await?;
        let mut turn = self
            .while_heard(Arc::clone(&self.turn).lock_owned())
            .await?;
        loop {
            let latest = self.membership().await?;
            let id = self.find(&latest, server)?;
            let planned = index::<C>(latest.log_id());
            if let Some(expected) = expected_index.filter(|expected| *expected != planned) {
                let actual = planned;
                return Err(ErrorKind::Conflict { expected, actual }.into());
            }
            let change = without::<C>(&latest, &id)?;
            let sent = self.while_heard(self.begin(change, turn)).await;
            let (answer, given_back) = sent
                .and_then(|sent| sent)
                .map_err(|error| error.with_outcome(Outcome::Unknown))?;
            turn = given_back;
            match answer {
                Ok(done) => {
                    self.seen(&done).await;
                    let is_gone = |membership: &::openraft::Membership<_, _>| {
                        membership.get_node(&id).is_none()
                    };
                    // Else somebody made it a learner just before.
                    if done.membership.as_ref().is_some_and(is_gone) {
                        return Ok(());
                    }
                }
                Err(error) => {
                    let before = self.not_begun(error, planned)?;
                    self.committed(before).await?;
                }
            }
        }
    }

    fn find(&self, latest: &Latest<C>, server: &PeerSelector) -> Result<C::NodeId, OperatorError> {
        let mut nodes = latest.membership().nodes();
        nodes
            .find(|(id, node)| server.matches(&(self.describe)(id, node)))
            .map(|(id, _)| id.clone())
            .ok_or_else(|| ErrorKind::UnknownServer(server.clone()).into())
    }

    /// Makes a change, which goes on by itself if it is not waited for, and so
    /// keeps its turn until it is over.
    async fn begin(
        &self,
        change: Change<C>,
        turn: OwnedMutexGuard<()>,
    ) -> Result<
        (
            Result<ClientWriteResponse<C>, ChangeError<C>>,
            OwnedMutexGuard<()>,
        ),
        OperatorError,
    > {
        let raft = self.raft.clone();
        let task = C::AsyncRuntime::spawn(async move {
            // Those that are removed do not stay as learners.
            (raft.change_membership(change, false).await, turn)
        });
        task.await
            .map_err(|error| OperatorError::backend(format!("the removal has broken off: {error}")))
    }

    /// Waits for the work, unless this leader is deserted meanwhile: openraft
    /// would wait for a majority for ever.
    async fn while_heard<T>(&self, work: impl Future<Output = T>) -> Result<T, OperatorError> {
        let mut metrics = self.raft.metrics();
        let deserted = async {
            let deserted = metrics.wait_for(|metrics| is_deserted::<C>(metrics, self.lease));
            // Raft has stopped, which the work finds out as well.
            if deserted.await.is_err() {
                pending::<()>().await;
            }
        };
        match select(pin!(work), pin!(deserted)).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(_) => Err(ErrorKind::NoLeader.into()),
        }
    }

    /// Waits until the metrics, and with them a stale read, have the change too.
    async fn seen(&self, done: &ClientWriteResponse<C>) {
        let log_id = Some(done.log_id.clone());
        let mut metrics = self.raft.metrics();
        let seen = metrics.wait_for(|metrics| *metrics.membership_config.log_id() >= log_id);
        // Raft has stopped since. It is done all the same.
        let _ = seen.await.is_ok();
    }

    /// Waits until an earlier change is committed, or until that is for another
    /// leader to see to.
    async fn committed(&self, earlier: InProgress<C::NodeId>) -> Result<(), OperatorError> {
        let log_id = earlier.membership_log_id;
        let mut metrics = self.raft.metrics();
        let committed = metrics
            .wait_for(|metrics| metrics.last_applied >= log_id || !metrics.state.is_leader());
        let _ = self.while_heard(async { committed.await.is_ok() }).await?;
        Ok(())
    }

    /// The change that has to be committed before this one can begin, if that is
    /// why it failed.
    fn not_begun(
        &self,
        error: ChangeError<C>,
        planned: u64,
    ) -> Result<InProgress<C::NodeId>, OperatorError> {
        let error = match error {
            RaftError::Fatal(fatal) => {
                return Err(stopped::<C>(fatal).with_outcome(Outcome::Unknown));
            }
            RaftError::APIError(error) => error,
        };
        match error {
            // Also what openraft answers for an entry that another leader has
            // replaced, or may not have.
            ClientWriteError::ForwardToLeader(to) => {
                let leader = to.leader_id.zip(to.leader_node);
                let leader = leader.map(|(id, node)| self.hint(&id, &node));
                let error = OperatorError::new(ErrorKind::NotLeader { leader });
                Err(error.with_outcome(Outcome::Unknown))
            }
            // Before the second entry, a change was committed that is newer than
            // the plan: the first entry.
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(earlier))
                if index::<C>(&earlier.committed) <= planned =>
            {
                Ok(earlier)
            }
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::EmptyMembership(_)) => {
                Err(ErrorKind::LastVoter.into())
            }
            ClientWriteError::ChangeMembershipError(error) => Err(OperatorError::backend(format!(
                "somebody else has changed the membership at the same time, look at it and try \
                 again: {error}"
            ))
            .with_source(error)),
        }
    }
}

/// The change after which this server is no member, voter or not.
fn without<C: RaftTypeConfig>(
    latest: &Latest<C>,
    id: &C::NodeId,
) -> Result<Change<C>, OperatorError> {
    let membership = latest.membership();
    let server = BTreeSet::from([id.clone()]);
    if !is_voter::<C>(membership, id) {
        return Ok(ChangeMembers::RemoveNodes(server));
    }
    // Of two configurations that are in force, the last is the one to come. It
    // may lack the server already; the change then leads to it.
    let to_come = membership.get_joint_config().last();
    let is_last = to_come.is_some_and(|voters| voters.is_subset(&server));
    if is_last {
        return Err(ErrorKind::LastVoter.into());
    }
    Ok(ChangeMembers::RemoveVoters(server))
}
