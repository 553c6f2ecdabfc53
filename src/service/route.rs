//! Where an operation is served.

use std::time::Duration;

use super::{Inner, mismatched};
use crate::acl::{Access, Resource, Token};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::peers::Target;
use crate::raft::{Consistency, LeaderHint, Leadership};
use crate::reply::OperatorReply;
use crate::request::{Operation, OperatorRequest};
use crate::time::Deadline;

/// How often a leader is looked for while there is none.
const LEADER_POLL: Duration = Duration::from_millis(50);

impl Inner {
    pub(super) async fn route(
        &self,
        request: OperatorRequest,
    ) -> Result<OperatorReply, OperatorError> {
        if let Operation::Keyring {
            action,
            scope,
            relay_factor,
        } = &request.operation
        {
            return self.keyring(&request, action, *scope, *relay_factor).await;
        }
        let budget = budget(self.deadline, &request);
        let answer = async {
            match &request.datacenter {
                Some(datacenter) if *datacenter != self.datacenter => {
                    self.to_datacenter(&request, budget).await
                }
                _ if is_stale(&request.operation) => self.serve(&request).await,
                _ => self.at_leader(&request, budget).await,
            }
        };
        match Deadline::new(&*self.timer, budget).bound(answer).await {
            Some(result) => result,
            None => Err(self.too_late(&request, budget)),
        }
    }

    async fn to_datacenter(
        &self,
        request: &OperatorRequest,
        budget: Duration,
    ) -> Result<OperatorReply, OperatorError> {
        let datacenter = request.datacenter.as_ref().unwrap_or(&self.datacenter);
        if !self.peers.datacenters().contains(datacenter) {
            return Err(ErrorKind::NoPathToDatacenter {
                datacenter: datacenter.clone(),
            }
            .into());
        }
        self.forward(&Target::Datacenter(datacenter.clone()), request, budget)
            .await
    }

    async fn at_leader(
        &self,
        request: &OperatorRequest,
        budget: Duration,
    ) -> Result<OperatorReply, OperatorError> {
        let raft = self.raft()?;
        // Only the first server of a datacenter waits: if each on the way did,
        // the waits would add up to more than the deadline.
        let patience = if request.to_leader {
            Duration::ZERO
        } else {
            self.leader_wait.min(a_little_less(budget))
        };
        let mut waited = Duration::ZERO;
        loop {
            let leader = match raft.leadership() {
                Leadership::Local => match self.serve(request).await {
                    Err(error) => deposed(error)?,
                    Ok(reply) => return Ok(reply),
                },
                Leadership::Elsewhere(leader) => Some(leader),
                Leadership::None => None,
            };
            let result = match leader {
                Some(leader) => self.forward(&Target::Server(leader), request, budget).await,
                None => Err(ErrorKind::NoLeader.into()),
            };
            match result {
                Err(error) if waited < patience && may_pass(&error) => {}
                result => return result,
            }
            let pause = LEADER_POLL.min(patience - waited);
            self.timer.sleep(pause).await;
            waited += pause;
        }
    }

    /// Hands a request on, with a little less time than there is.
    pub(super) async fn forward(
        &self,
        target: &Target,
        request: &OperatorRequest,
        budget: Duration,
    ) -> Result<OperatorReply, OperatorError> {
        if request.forwards >= self.hop_limit {
            return Err(ErrorKind::TooManyHops {
                hops: request.forwards,
            }
            .into());
        }
        let mut forwarded = request.clone();
        forwarded.forwards += 1;
        forwarded.to_leader = matches!(target, Target::Server(_));
        forwarded.patience = Some(a_little_less(budget));
        let reply = self
            .peers
            .send(target, forwarded, budget)
            .await
            .map_err(OperatorError::forwarded)?;
        // What another server sends is not to be taken for a success unread.
        match reply.answers(&request.operation) {
            true => Ok(reply),
            false => Err(mismatched().with_outcome(request.operation.unanswered())),
        }
    }

    /// Does it here.
    async fn serve(&self, request: &OperatorRequest) -> Result<OperatorReply, OperatorError> {
        self.authorize(request.token.as_ref(), request.operation.permission())
            .await?;
        match &request.operation {
            Operation::RaftConfiguration(consistency) => {
                self.raft_configuration(*consistency).await
            }
            Operation::RemovePeer {
                server,
                expected_index,
            } => self.remove_peer(server, *expected_index).await,
            Operation::TransferLeadership { to } => self.transfer_leadership(to.as_ref()).await,
            Operation::AutopilotConfiguration(_) => self.autopilot_configuration().await,
            Operation::SetAutopilotConfiguration {
                configuration,
                expected_index,
            } => {
                self.set_autopilot_configuration(configuration, *expected_index)
                    .await
            }
            Operation::AutopilotState(_) => self.autopilot_state().await,
            Operation::Keyring { .. } => {
                Err(OperatorError::unsupported("a routed keyring operation"))
            }
        }
    }

    pub(super) async fn authorize(
        &self,
        token: Option<&Token>,
        (resource, access): (Resource, Access),
    ) -> Result<(), OperatorError> {
        self.authorizer
            .authorize(token, resource, access)
            .await
            .map_err(|error| error.into_operator_error(resource, access))
    }

    fn too_late(&self, request: &OperatorRequest, budget: Duration) -> OperatorError {
        let datacenter = request.datacenter.as_ref().unwrap_or(&self.datacenter);
        OperatorError::new(ErrorKind::DeadlineExceeded {
            target: format!("datacenter {datacenter}"),
            after: budget,
        })
        .with_outcome(request.operation.unanswered())
    }
}

/// How long this server may take: as long as it is set to, or as whoever handed
/// the request on waits.
pub(super) fn budget(deadline: Duration, request: &OperatorRequest) -> Duration {
    request
        .patience
        .map_or(deadline, |patience| patience.min(deadline))
}

/// What the next server may take, so that its answer is back in time.
fn a_little_less(budget: Duration) -> Duration {
    budget - budget / 10
}

fn is_stale(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::RaftConfiguration(Consistency::Stale)
            | Operation::AutopilotConfiguration(Consistency::Stale)
            | Operation::AutopilotState(Consistency::Stale)
    )
}

/// The new leader, if the error says that the lead was lost between routing and
/// execution and that nothing has happened.
fn deposed(error: OperatorError) -> Result<Option<LeaderHint>, OperatorError> {
    match (error.kind(), error.outcome()) {
        (ErrorKind::NotLeader { leader }, Outcome::NotApplied) => Ok(leader.clone()),
        (ErrorKind::NoLeader, Outcome::NotApplied) => Ok(None),
        _ => Err(error),
    }
}

/// Whether it may go better with the next leader.
fn may_pass(error: &OperatorError) -> bool {
    error.outcome() == Outcome::NotApplied
        && matches!(
            error.kind(),
            ErrorKind::NoLeader
                | ErrorKind::NotLeader { .. }
                | ErrorKind::Unreachable { .. }
                | ErrorKind::TooManyHops { .. }
        )
}
