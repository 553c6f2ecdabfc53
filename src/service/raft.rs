//! Raft operations on the server that serves them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Inner;
use crate::acl::Identity;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::operation::OperatorReply;
use crate::raft::{
    Change, ChangeKind, ConfigVersion, Consistency, Leadership, PeerSelector, Proof, QuorumGuard,
    RaftBackend, RaftConfiguration, RaftView, RemovalPlan, check_replacement, transfer_target,
};
use crate::timer::Budget;
use crate::types::ServerId;

/// The largest number of attempts of a change. It is retried if the cluster changed
/// after the view that it was based on.
const CHANGE_ATTEMPTS: usize = 4;

/// What to change in a cluster, and the proof that the backend has to make for it.
pub(super) type Planned = Result<(ChangeKind, Proof), OperatorError>;

/// Plans the removal of a server, if the quorum guard allows it.
pub(super) fn removal(view: &RaftView, server: &PeerSelector, guard: QuorumGuard) -> Planned {
    let plan = RemovalPlan::new(view, server, guard)?;
    let id = plan.id().clone();
    Ok((ChangeKind::Remove { id }, plan.proof()?))
}

/// Plans the replacement of a voter.
pub(super) fn replacement(
    view: &RaftView,
    id: &ServerId,
    with: &ServerId,
    proof: Proof,
) -> Planned {
    check_replacement(view, id, with)?;
    let (id, with) = (id.clone(), with.clone());
    Ok((ChangeKind::Replace { id, with }, proof))
}

/// The version that a request expects the configuration to have.
pub(super) enum Expected {
    Any,
    /// An index of any term.
    Index(u64),
    Version(ConfigVersion),
}

impl Expected {
    fn check(&self, actual: ConfigVersion) -> Result<(), OperatorError> {
        let expected = match *self {
            Expected::Any => actual,
            Expected::Index(index) => ConfigVersion { index, ..actual },
            Expected::Version(version) => version,
        };
        if expected == actual {
            Ok(())
        } else {
            Err(ErrorKind::Conflict { expected, actual }.into())
        }
    }
}

/// The progress of a call, as far as its timeout and the observers have to know it.
#[derive(Default)]
pub(super) struct Progress {
    /// True while a write may have taken effect: it was passed to a backend or to another
    /// server, which has not answered that nothing changed. A call that times out
    /// otherwise has changed nothing.
    begun: AtomicBool,
    /// True if it was forwarded.
    pub(super) forwarded: AtomicBool,
    /// The caller, once this server has authorized it.
    pub(super) identity: OnceLock<Identity>,
}

impl Progress {
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Resets the progress if the result says that nothing changed.
    pub(super) fn note<T>(&self, result: &Result<T, OperatorError>) {
        let undone = |error: &OperatorError| error.outcome() == Outcome::NotApplied;
        if result.as_ref().is_err_and(undone) {
            self.undo();
        }
    }

    /// Resets the progress: nothing changed.
    pub(super) fn undo(&self) {
        self.begun.store(false, Ordering::Relaxed);
    }

    /// Returns the outcome of an operation that times out now, if it has `unanswered` once
    /// it was begun.
    pub(super) fn outcome(&self, unanswered: Outcome) -> Outcome {
        if self.begun.load(Ordering::Relaxed) {
            unanswered
        } else {
            Outcome::NotApplied
        }
    }
}

/// The error of a server that is not the leader.
pub(super) fn not_leading(view: &RaftView) -> OperatorError {
    let kind = match &view.leadership {
        Leadership::Remote(leader) => ErrorKind::NotLeader {
            leader: Some(leader.clone()),
        },
        // A server with an empty configuration has not started yet.
        Leadership::Unknown
            if !view.membership.servers.is_empty() && view.membership.get(&view.id).is_none() =>
        {
            ErrorKind::NotMember {
                id: view.id.clone(),
            }
        }
        Leadership::Local | Leadership::Unknown => ErrorKind::NoLeader,
    };
    kind.into()
}

impl Inner {
    pub(super) fn raft(&self) -> Result<&dyn RaftBackend, OperatorError> {
        self.raft
            .as_deref()
            .ok_or_else(|| OperatorError::unsupported("Raft"))
    }

    /// `view` is the leader's view, and `None` for a stale read, which shows the last log
    /// entry of this server.
    pub(super) async fn raft_configuration(
        &self,
        consistency: Consistency,
        view: Option<RaftView>,
        budget: Budget<'_>,
    ) -> Result<OperatorReply, OperatorError> {
        let raft = self.raft()?;
        let (view, last_log) = match (consistency, view) {
            (Consistency::Consistent, _) => (raft.confirmed_view(budget.share()).await?, None),
            (_, Some(view)) => (view, None),
            (_, None) => {
                let view = raft.view().await?;
                let last_log = view.own_status().and_then(|status| status.last_log);
                (view, last_log)
            }
        };
        let mut configuration = RaftConfiguration::from(view);
        configuration.last_log = last_log;
        Ok(OperatorReply::RaftConfiguration(configuration))
    }

    /// `view` is the leader's view.
    pub(super) fn plan_removal(
        &self,
        server: &PeerSelector,
        view: &RaftView,
    ) -> Result<OperatorReply, OperatorError> {
        let plan = RemovalPlan::new(view, server, self.quorum_guard)?;
        Ok(OperatorReply::RemovalPlan(plan))
    }

    /// Removes a server, if the guard allows it. `view` is the leader's view.
    pub(super) async fn remove(
        &self,
        server: &PeerSelector,
        guard: QuorumGuard,
        expected: Expected,
        view: RaftView,
        budget: Budget<'_>,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        let plan = |view: &RaftView| removal(view, server, guard);
        let change = self.change(&plan, expected, view, budget, progress);
        change.await.map(|()| OperatorReply::PeerRemoved)
    }

    /// Replaces a voter. `view` is the leader's view.
    pub(super) async fn replace(
        &self,
        id: &ServerId,
        with: &ServerId,
        view: RaftView,
        budget: Budget<'_>,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        // Whatever the guard: there are as many voters as before, so a majority of them is
        // proof enough, and few voters could not have a margin.
        let plan = |view: &RaftView| replacement(view, id, with, Proof::Majority);
        let change = self.change(&plan, Expected::Any, view, budget, progress);
        change.await.map(|()| OperatorReply::PeerReplaced)
    }

    /// Makes the change that is planned for the leader's view: `view`, or a newer one if the
    /// request fits any version.
    pub(super) async fn change(
        &self,
        plan: &(dyn Fn(&RaftView) -> Planned + Sync),
        expected: Expected,
        mut view: RaftView,
        budget: Budget<'_>,
        progress: &Progress,
    ) -> Result<(), OperatorError> {
        let raft = self.raft()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            expected.check(view.version)?;
            let (kind, proof) = plan(&view)?;
            let change = Change::new(kind, &view, budget.share()).with_proof(proof);
            progress.begin();
            let result = raft.change_membership(&change).await;
            progress.note(&result);
            match result {
                Err(error)
                    if is_out_of_date(&error)
                        && matches!(expected, Expected::Any)
                        && attempts < CHANGE_ATTEMPTS => {}
                result => return result,
            }
            view = raft.view().await.map_err(unchanged)?;
            if view.leadership != Leadership::Local {
                return Err(not_leading(&view));
            }
        }
    }

    pub(super) async fn transfer_leadership(
        &self,
        to: Option<&ServerId>,
        view: &RaftView,
        budget: Budget<'_>,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        let target = transfer_target(view, to)?;
        progress.begin();
        let timeout = budget.share();
        let result = self.raft()?.transfer_leadership(&target, timeout).await;
        progress.note(&result);
        result.map(|()| OperatorReply::LeadershipTransferred)
    }
}

/// Returns true if nothing has changed because the view was out of date.
fn is_out_of_date(error: &OperatorError) -> bool {
    error.outcome() == Outcome::NotApplied
        && matches!(
            error.kind(),
            ErrorKind::Conflict { .. } | ErrorKind::TermChanged { .. }
        )
}

/// Sets the outcome of an error that occurred before any change.
pub(super) fn unchanged(error: OperatorError) -> OperatorError {
    error.with_outcome(Outcome::NotApplied)
}
