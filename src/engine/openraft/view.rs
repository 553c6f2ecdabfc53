//! What openraft knows, as an operator sees it.

use std::sync::Arc;
use std::time::Duration;

use ::openraft::error::{CheckIsLeaderError, Fatal, RaftError};
use ::openraft::{
    AsyncRuntime, EffectiveMembership, LogId, Membership, RaftMetrics, RaftTypeConfig,
};

use super::OpenraftBackend;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::raft::{LeaderHint, Leadership, RaftConfiguration, RaftServer, Suffrage};

type Metrics<C> = RaftMetrics<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;

/// The membership that is in effect in the leader's log.
pub(super) type Latest<C> =
    EffectiveMembership<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;

/// Whether this leader is too long without word from a majority to be one.
pub(super) fn is_deserted<C: RaftTypeConfig>(metrics: &Metrics<C>, lease: Duration) -> bool {
    let silence = metrics.millis_since_quorum_ack.map(Duration::from_millis);
    metrics.state.is_leader() && silence.is_none_or(|silence| silence > lease)
}

/// Who leads, in the view of a server with these metrics.
fn leader<C: RaftTypeConfig>(metrics: &Metrics<C>, lease: Duration) -> Option<&C::NodeId> {
    let leader = metrics.current_leader.as_ref()?;
    let is_up = metrics.running_state.is_ok();
    // A leader that was removed holds the vote that it was elected with for ever.
    let is_self = *leader == metrics.id;
    let leads = !is_self || (metrics.state.is_leader() && !is_deserted::<C>(metrics, lease));
    (is_up && leads).then_some(leader)
}

/// The index of the log entry that a membership was read from.
pub(super) fn index<C: RaftTypeConfig>(log_id: &Option<LogId<C::NodeId>>) -> u64 {
    log_id.as_ref().map_or(0, |log_id| log_id.index)
}

pub(super) fn is_voter<C: RaftTypeConfig>(
    membership: &Membership<C::NodeId, C::Node>,
    id: &C::NodeId,
) -> bool {
    let mut configs = membership.get_joint_config().iter();
    configs.any(|voters| voters.contains(id))
}

/// The last log entry that a server is known to hold.
fn last_index<C: RaftTypeConfig>(metrics: &Metrics<C>, id: &C::NodeId) -> Option<u64> {
    if *id == metrics.id {
        return metrics.last_log_index;
    }
    let confirmed = metrics.replication.as_ref()?.get(id)?.as_ref()?;
    Some(confirmed.index)
}

/// Raft runs no more. What was being read is of no use, and nothing was changed.
pub(super) fn stopped<C: RaftTypeConfig>(fatal: Fatal<C::NodeId>) -> OperatorError {
    OperatorError::backend(format!("this server's Raft has stopped: {fatal}"))
        .with_source(fatal)
        .with_outcome(Outcome::NotApplied)
}

impl<C, F> OpenraftBackend<C, F>
where
    C: RaftTypeConfig,
    F: Fn(&C::NodeId, &C::Node) -> RaftServer + Send + Sync,
{
    pub(super) fn view_of_leadership(&self) -> Leadership {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        match leader::<C>(&metrics, self.lease) {
            Some(leader) if *leader == metrics.id => Leadership::Local,
            Some(leader) => {
                let node = metrics.membership_config.membership().get_node(leader);
                node.map_or(Leadership::None, |node| {
                    Leadership::Elsewhere(self.hint(leader, node))
                })
            }
            None => Leadership::None,
        }
    }

    pub(super) fn hint(&self, id: &C::NodeId, node: &C::Node) -> LeaderHint {
        let RaftServer { id, address, .. } = (self.describe)(id, node);
        LeaderHint { id, address }
    }

    /// Where to ask instead of here.
    fn not_leader(&self) -> OperatorError {
        let kind = match self.view_of_leadership() {
            Leadership::Elsewhere(leader) => ErrorKind::NotLeader {
                leader: Some(leader),
            },
            Leadership::Local | Leadership::None => ErrorKind::NoLeader,
        };
        kind.into()
    }

    /// The latest membership, from the core itself: the metrics may be behind.
    pub(super) async fn membership(&self) -> Result<Arc<Latest<C>>, OperatorError> {
        let running = self.raft.metrics().borrow().running_state.clone();
        running.map_err(stopped::<C>)?;
        if self.view_of_leadership() != Leadership::Local {
            return Err(self.not_leader());
        }
        let state = self.raft.with_raft_state(|state| {
            let latest = Arc::clone(state.membership_state.effective());
            (state.server_state, latest)
        });
        match state.await.map_err(stopped::<C>)? {
            (state, membership) if state.is_leader() => Ok(membership),
            _ => Err(self.not_leader()),
        }
    }

    /// Makes sure that a majority still follows this leader.
    ///
    /// openraft asks it once, with a heartbeat interval's patience. A busy
    /// majority is asked again until the lease is over.
    pub(super) async fn confirm_lead(&self) -> Result<(), OperatorError> {
        loop {
            // The membership counts from the log on, so the state machine need
            // not have caught up.
            match self.raft.get_read_log_id().await {
                Ok(_) => return Ok(()),
                Err(RaftError::Fatal(fatal)) => return Err(stopped::<C>(fatal)),
                Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => {
                    let leader = to.leader_id.zip(to.leader_node);
                    let leader = leader.map(|(id, node)| self.hint(&id, &node));
                    return Err(ErrorKind::NotLeader { leader }.into());
                }
                Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {}
            }
            let pause = Duration::from_millis(self.raft.config().heartbeat_interval);
            C::AsyncRuntime::sleep(pause).await;
            if self.view_of_leadership() != Leadership::Local {
                return Err(self.not_leader());
            }
        }
    }

    /// What the leader's log has.
    pub(super) fn latest(&self, membership: &Latest<C>) -> RaftConfiguration {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let servers = self.servers(membership.membership(), &metrics, Some(&metrics.id));
        RaftConfiguration {
            servers,
            index: index::<C>(membership.log_id()),
        }
    }

    /// What this server has seen.
    pub(super) fn stale(&self) -> RaftConfiguration {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let seen = &metrics.membership_config;
        let leader = leader::<C>(&metrics, self.lease);
        RaftConfiguration {
            servers: self.servers(seen.membership(), &metrics, leader),
            index: index::<C>(seen.log_id()),
        }
    }

    fn servers(
        &self,
        membership: &Membership<C::NodeId, C::Node>,
        metrics: &Metrics<C>,
        leader: Option<&C::NodeId>,
    ) -> Vec<RaftServer> {
        let server = |(id, node): (&C::NodeId, &C::Node)| {
            let mut server = (self.describe)(id, node).with_leader(leader == Some(id));
            server.suffrage = match is_voter::<C>(membership, id) {
                true => Suffrage::Voter,
                false => Suffrage::Nonvoter,
            };
            server.last_index = last_index::<C>(metrics, id);
            server
        };
        membership.nodes().map(server).collect()
    }
}
