//! The routing of operations to the server that serves them.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::raft::{Expected, Progress, not_leading, unchanged};
use super::{Inner, deadline_exceeded, mismatched};
use crate::acl::{Access, Identity, Resource, Token};
use crate::autopilot::DriverChange;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::observer::{Source, Started, watch};
use crate::operation::{Operation, OperatorReply, RequestId, outcome};
use crate::peers::{Envelope, Forwarded, SendError, SendFailure, Target};
use crate::raft::{Consistency, LeaderHint, Leadership, PeerSelector, QuorumGuard, RaftView};
use crate::timer::{Budget, Deadline};
use crate::types::cut_name;

/// The interval at which the service looks for a leader while there is none.
const LEADER_POLL: Duration = Duration::from_millis(50);

/// The future of a plain read is moved several times, so futures that it does not need
/// are boxed to keep it small.
impl Inner {
    /// Executes a call, and reports it to the observers if there are any.
    pub(super) async fn route(
        &self,
        call: Forwarded,
        source: Source,
    ) -> Result<OperatorReply, OperatorError> {
        if self.observers.is_empty() {
            self.execute(&call, &Progress::default()).await
        } else {
            Box::pin(self.observe(call, source)).await
        }
    }

    async fn observe(
        &self,
        mut call: Forwarded,
        source: Source,
    ) -> Result<OperatorReply, OperatorError> {
        let id = &mut call.request.request_id;
        let request_id = id.get_or_insert_with(RequestId::generate).clone();
        let request = &call.request;
        let (resource, access) = request.operation.permission();
        // Another server's names may be long.
        let subject = request.operation.subject().map(|subject| match subject {
            PeerSelector::Id(id) => PeerSelector::Id(cut_name(id)),
            PeerSelector::Address(address) => PeerSelector::Address(cut_name(address)),
        });
        let with = request.operation.with().cloned().map(cut_name);
        let datacenter = match (&request.operation, &request.datacenter) {
            (Operation::Keyring { .. }, _) | (_, None) => self.datacenter.clone(),
            (_, Some(datacenter)) => cut_name(datacenter.clone()),
        };
        let started = Started {
            operation: request.operation.name(),
            resource,
            access,
            subject: subject.as_ref(),
            with: with.as_ref(),
            datacenter: &datacenter,
            source,
            request_id: &request_id,
            hops: call.hops,
            reason: None,
        };
        let progress = Progress::default();
        let ended = || {
            let forwarded = progress.forwarded.load(Ordering::Relaxed);
            (forwarded, progress.outcome(request.operation.unanswered()))
        };
        let (observers, timer, identity) = (&self.observers, &*self.timer, &progress.identity);
        let outcome = |answer: &_| outcome(access, answer);
        let operation = self.execute(&call, &progress);
        watch(
            observers, timer, started, identity, ended, outcome, operation,
        )
        .await
    }

    async fn execute(
        &self,
        call: &Forwarded,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        if let Operation::Keyring {
            action,
            scope,
            relay_factor,
        } = &call.request.operation
        {
            let answer = self.keyring(call, action, *scope, *relay_factor, progress);
            return Box::pin(answer).await;
        }
        let budget = self.budget(self.deadline, call);
        let answer = async {
            match &call.request.datacenter {
                Some(datacenter) if *datacenter != self.datacenter => {
                    if !self.peers.datacenters().contains(datacenter) {
                        return Err(self.no_path(&Target::Datacenter(datacenter.clone())));
                    }
                    let target = Target::Datacenter(datacenter.clone());
                    Box::pin(self.forward(&target, call, budget, progress)).await
                }
                _ if is_served_anywhere(&call.request.operation) => {
                    self.serve(call, None, budget, progress).await
                }
                _ => self.at_leader(call, budget, progress).await,
            }
        };
        // Pinned here, because `bound` would reserve space for a second copy.
        match budget.deadline().bound(pin!(answer)).await {
            Some(result) => result,
            None => Err(self.timed_out(call, budget, progress)),
        }
    }

    async fn at_leader(
        &self,
        call: &Forwarded,
        budget: Budget<'_>,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        let raft = self.raft()?;
        // Only the first server of a datacenter waits. If each one on the path waited,
        // the total could exceed the deadline.
        let leader_wait = if call.to_leader || self.leader_wait.is_zero() {
            Duration::ZERO
        } else {
            self.leader_wait.min(budget.share())
        };
        let mut waited = Duration::ZERO;
        loop {
            let view = raft.view().await.map_err(unchanged)?;
            let result = match &view.leadership {
                Leadership::Local => match self.serve(call, Some(view), budget, progress).await {
                    Err(error) => match new_leader(error)? {
                        Some(leader) => self.to_leader(leader, call, budget, progress).await,
                        None => Err(ErrorKind::NoLeader.into()),
                    },
                    Ok(reply) => return Ok(reply),
                },
                Leadership::Remote(leader) => {
                    self.to_leader(leader.clone(), call, budget, progress).await
                }
                Leadership::Unknown => Err(not_leading(&view)),
            };
            match result {
                Err(error) if waited < leader_wait && is_retryable(&error) => {}
                result => return result,
            }
            let pause = LEADER_POLL.min(leader_wait - waited);
            self.timer.sleep(pause).await;
            waited += pause;
        }
    }

    async fn to_leader(
        &self,
        leader: LeaderHint,
        call: &Forwarded,
        budget: Budget<'_>,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        let target = Target::Server(leader);
        Box::pin(self.forward(&target, call, budget, progress)).await
    }

    /// Forwards a request to another server, with a timeout that is a little shorter.
    async fn forward(
        &self,
        target: &Target,
        call: &Forwarded,
        budget: Budget<'_>,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        let to_leader = matches!(target, Target::Server(_));
        let envelope = self.envelope(call.clone(), to_leader, budget)?;
        progress.forwarded.store(true, Ordering::Relaxed);
        progress.begin();
        let result = self
            .send(target, envelope, &call.request.operation, budget.left())
            .await;
        progress.note(&result);
        result
    }

    /// Seals a request in an envelope for the next server.
    pub(super) fn envelope(
        &self,
        mut call: Forwarded,
        to_leader: bool,
        budget: Budget<'_>,
    ) -> Result<Envelope, OperatorError> {
        if call.hops >= self.hop_limit {
            return Err(ErrorKind::TooManyHops { hops: call.hops }.into());
        }
        call.hops += 1;
        call.to_leader = to_leader;
        call.timeout = Some(budget.share());
        call.request
            .request_id
            .get_or_insert_with(RequestId::generate);
        Envelope::seal(&call)
    }

    /// Sends an envelope with this operation and checks the reply.
    pub(super) async fn send(
        &self,
        target: &Target,
        envelope: Envelope,
        operation: &Operation,
        timeout: Duration,
    ) -> Result<OperatorReply, OperatorError> {
        let reply = match self.peers.send(target, envelope, timeout).await {
            Ok(reply) => reply,
            Err(error) => return Err(self.unsent(target, error, operation).forwarded()),
        };
        let reply = reply.result(operation.unanswered()).map_err(|error| {
            let error = error.forwarded();
            match operation {
                Operation::Keyring { .. } => error,
                // The caller may not be allowed to see rings.
                _ => error.without_reply(),
            }
        })?;
        let invalid = match &reply {
            reply if !reply.answers(operation) => mismatched(),
            OperatorReply::AutopilotState(state) if !state.has_valid_times() => {
                OperatorError::invalid_reply(
                    "a time in it is after the year 9999: check the clock of the leader",
                )
            }
            _ => return Ok(reply),
        };
        Err(invalid.with_outcome(operation.unanswered()))
    }

    /// Returns the error of a request without a reply.
    fn unsent(&self, target: &Target, error: SendError, operation: &Operation) -> OperatorError {
        let (failure, outcome) = match error {
            SendError::NoPath => return self.no_path(target),
            SendError::NotSent(failure) => (failure, Outcome::NotApplied),
            SendError::Lost(failure) => (failure, operation.unanswered()),
        };
        let SendFailure {
            reason,
            timed_out,
            source,
        } = failure;
        let target = name(target);
        let kind = match timed_out {
            Some(after) => ErrorKind::DeadlineExceeded { target, after },
            None => ErrorKind::Unreachable { target, reason },
        };
        let error = OperatorError::new(kind).with_outcome(outcome);
        match source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }

    fn no_path(&self, target: &Target) -> OperatorError {
        let kind = match target {
            Target::Datacenter(datacenter) => ErrorKind::NoPathToDatacenter {
                datacenter: datacenter.clone(),
            },
            Target::Server(_) => ErrorKind::Unreachable {
                target: name(target),
                reason: "this server does not know where it listens: check its peers".into(),
            },
        };
        kind.into()
    }

    /// Serves the request here. `view` is this server's view as the leader, and `None`
    /// for a stale read or a diagnosis.
    async fn serve(
        &self,
        call: &Forwarded,
        view: Option<RaftView>,
        budget: Budget<'_>,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        let request = &call.request;
        let caller = self.authorize(request.token.as_ref(), request.operation.permission());
        // A call may be served twice, by the same caller.
        let _ = progress.identity.set(caller.await?);
        match (&request.operation, view) {
            (Operation::RaftConfiguration(consistency), view) => {
                self.raft_configuration(*consistency, view, budget).await
            }
            (Operation::AutopilotConfiguration(_), _) => self.autopilot_configuration().await,
            (Operation::AutopilotState(_), view) => self.autopilot_state(view).await,
            (Operation::OwnView, _) => self.own_view().await.map(OperatorReply::OwnView),
            (Operation::ServerViews, _) => {
                let views = Box::pin(self.server_views(call, budget)).await;
                views.map(OperatorReply::ServerViews)
            }
            (Operation::Diagnose, _) => {
                let diagnosis = Box::pin(self.diagnose(call, budget)).await;
                diagnosis.map(OperatorReply::Diagnosis)
            }
            (Operation::PlanRemoval { server }, Some(view)) => self.plan_removal(server, &view),
            (
                Operation::RemovePeer {
                    server,
                    expected_index,
                },
                Some(view),
            ) => {
                let guard = self.quorum_guard;
                let expected = expected_index.map_or(Expected::Any, Expected::Index);
                Box::pin(self.remove(server, guard, expected, view, budget, progress)).await
            }
            (Operation::RemovePlanned { id, version }, Some(view)) => {
                let server = PeerSelector::Id(id.clone());
                let guard = self.quorum_guard;
                let expected = Expected::Version(*version);
                Box::pin(self.remove(&server, guard, expected, view, budget, progress)).await
            }
            (Operation::ForceRemoval { id }, Some(view)) => {
                let server = PeerSelector::Id(id.clone());
                let (guard, expected) = (QuorumGuard::Off, Expected::Any);
                Box::pin(self.remove(&server, guard, expected, view, budget, progress)).await
            }
            (Operation::ReplacePeer { id, with }, Some(view)) => {
                Box::pin(self.replace(id, with, view, budget, progress)).await
            }
            (Operation::TransferLeadership { to }, Some(view)) => {
                let transfer = self.transfer_leadership(to.as_ref(), &view, budget, progress);
                Box::pin(transfer).await
            }
            (
                Operation::SetAutopilotConfiguration {
                    configuration,
                    expected_index,
                },
                Some(_),
            ) => {
                let change = DriverChange::default();
                let index = *expected_index;
                Box::pin(self.set_autopilot_configuration(configuration, &change, index, progress))
                    .await
            }
            (
                Operation::ChangeAutopilot {
                    configuration,
                    change,
                    expected_index,
                },
                Some(_),
            ) => {
                let index = *expected_index;
                Box::pin(self.set_autopilot_configuration(configuration, change, index, progress))
                    .await
            }
            // Never reached: keyring operations and stale writes are routed elsewhere.
            (Operation::Keyring { .. }, _) | (_, None) => {
                Err(OperatorError::unsupported("this operation"))
            }
        }
    }

    /// Returns the budget of this server: its own deadline, or the timeout of the server
    /// that forwarded the request, if that is shorter.
    pub(super) fn budget(&self, deadline: Duration, call: &Forwarded) -> Budget<'_> {
        let whole = call
            .timeout
            .map_or(deadline, |timeout| timeout.min(deadline));
        Budget::new(&*self.timer, whole)
    }

    pub(super) async fn authorize(
        &self,
        token: Option<&Token>,
        (resource, access): (Resource, Access),
    ) -> Result<Identity, OperatorError> {
        self.authorizer
            .authorize(token, resource, access)
            .await
            .map_err(|error| error.into_operator_error(resource, access))
    }

    /// Authorizes a caller within the budget's deadline.
    pub(super) async fn authorize_within(
        &self,
        budget: Budget<'_>,
        deadline: &mut Deadline<'_>,
        token: Option<&Token>,
        permission: (Resource, Access),
    ) -> Result<Identity, OperatorError> {
        let decision = self.authorize(token, permission);
        deadline.bound(decision).await.unwrap_or_else(|| {
            let outcome = Outcome::NotApplied;
            Err(deadline_exceeded("the authorizer", budget.whole(), outcome))
        })
    }

    fn timed_out(
        &self,
        call: &Forwarded,
        budget: Budget<'_>,
        progress: &Progress,
    ) -> OperatorError {
        let datacenter = call.request.datacenter.as_ref();
        let datacenter = datacenter.unwrap_or(&self.datacenter);
        let outcome = progress.outcome(call.request.operation.unanswered());
        deadline_exceeded(format!("datacenter {datacenter}"), budget.whole(), outcome)
    }
}

fn name(target: &Target) -> String {
    match target {
        Target::Server(leader) => format!("server {}", leader.address),
        Target::Datacenter(datacenter) => format!("datacenter {datacenter}"),
    }
}

/// Returns true for an operation that the server that receives it serves, leader or not.
fn is_served_anywhere(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::RaftConfiguration(Consistency::Stale)
            | Operation::AutopilotConfiguration(Consistency::Stale)
            | Operation::AutopilotState(Consistency::Stale)
            | Operation::OwnView
            | Operation::ServerViews
            | Operation::Diagnose
    )
}

/// Returns the new leader, if it is known, when leadership was lost between routing and
/// execution and nothing has changed.
///
/// # Errors
/// Any other error.
fn new_leader(error: OperatorError) -> Result<Option<LeaderHint>, OperatorError> {
    match (error.kind(), error.outcome()) {
        (ErrorKind::NotLeader { leader }, Outcome::NotApplied) => Ok(leader.clone()),
        (ErrorKind::NoLeader, Outcome::NotApplied) => Ok(None),
        _ => Err(error),
    }
}

/// Returns true if nothing has changed and the next leader may be able to serve the
/// request.
fn is_retryable(error: &OperatorError) -> bool {
    error.outcome() == Outcome::NotApplied
        && matches!(
            error.kind(),
            ErrorKind::NoLeader
                | ErrorKind::NotLeader { .. }
                | ErrorKind::Unreachable { .. }
                | ErrorKind::TooManyHops { .. }
        )
}
