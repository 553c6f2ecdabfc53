//! What openraft knows, as an operator sees it.

use std::sync::Arc;
use std::time::Duration;

use ::openraft::error::{CheckIsLeaderError, Fatal, ForwardToLeader, RaftError};
use ::openraft::{EffectiveMembership, LogId, Membership, RaftMetrics, RaftTypeConfig};

use super::OpenraftBackend;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::raft::{LeaderHint, Leadership, RaftConfiguration, RaftServer, Suffrage};

pub(super) type Metrics<C> =
    RaftMetrics<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;

/// The membership that is in effect in the leader's log.
pub(super) type Latest<C> =
    EffectiveMembership<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;

/// Whether this server leads: openraft says so, and a majority has acknowledged it
/// not too long ago.
fn leads_itself<C: RaftTypeConfig>(metrics: &Metrics<C>, lease: Duration) -> bool {
    let silence = metrics.millis_since_quorum_ack.map(Duration::from_millis);
    metrics.state.is_leader() && silence.is_some_and(|silence| silence <= lease)
}

/// Who leads, in the view of a server with these metrics.
fn leader<C: RaftTypeConfig>(metrics: &Metrics<C>, lease: Duration) -> Option<&C::NodeId> {
    let leader = metrics.current_leader.as_ref()?;
    let is_up = metrics.running_state.is_ok();
    // A leader that was removed keeps the vote that it was elected with.
    let leads = *leader != metrics.id || leads_itself::<C>(metrics, lease);
    (is_up && leads).then_some(leader)
}

/// The index of the log entry that a membership was read from.
pub(super) fn index<C: RaftTypeConfig>(log_id: &Option<LogId<C::NodeId>>) -> u64 {
    log_id.as_ref().map_or(0, |log_id| log_id.index)
}

fn is_voter<C: RaftTypeConfig>(
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
    pub(super) fn not_leader(&self) -> OperatorError {
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
        let (state, latest) = state.await.map_err(stopped::<C>)?;
        let id = self.raft.metrics().borrow().id.clone();
        // A leader that has removed itself stays one for a moment. It must not
        // change anything any more.
        match state.is_leader() && latest.get_node(&id).is_some() {
            true => Ok(latest),
            false => Err(self.not_leader()),
        }
    }

    /// Whether Raft has committed this membership.
    pub(super) async fn is_committed(&self, latest: &Latest<C>) -> Result<bool, OperatorError> {
        let committed = self
            .raft
            .with_raft_state(|state| state.membership_state.committed().log_id().clone());
        Ok(committed.await.map_err(stopped::<C>)? >= *latest.log_id())
    }

    pub(super) fn leads(&self, metrics: &Metrics<C>) -> bool {
        leader::<C>(metrics, self.lease) == Some(&metrics.id)
    }

    /// Waits until the metrics are so, or Raft has stopped.
    pub(super) async fn until(&self, mut are_so: impl FnMut(&Metrics<C>) -> bool) {
        let mut metrics = self.raft.metrics();
        let stopped = |metrics: &Metrics<C>| metrics.running_state.is_err();
        let until = metrics.wait_for(|metrics| stopped(metrics) || are_so(metrics));
        let _closed = until.await.is_err();
    }

    /// What openraft says where it does not lead.
    pub(super) fn elsewhere(&self, to: ForwardToLeader<C::NodeId, C::Node>) -> OperatorError {
        let kind = match (&to.leader_id, &to.leader_node) {
            (Some(id), Some(node)) => ErrorKind::NotLeader {
                leader: Some(self.hint(id, node)),
            },
            _ => ErrorKind::NoLeader,
        };
        OperatorError::new(kind).with_source(to)
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
                    return Err(self.elsewhere(to));
                }
                Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(alone))) => {
                    if self.view_of_leadership() != Leadership::Local {
                        return Err(self.not_leader().with_source(alone));
                    }
                }
            }
            self.pause().await;
        }
    }

    /// Waits for a heartbeat interval, or until a majority has been heard of. By
    /// the metrics: a sleep would have to be within openraft's runtime.
    async fn pause(&self) {
        let silence = |metrics: &Metrics<C>| metrics.millis_since_quorum_ack.unwrap_or(0);
        let before = silence(&self.raft.metrics().borrow());
        let over = before.saturating_add(self.raft.config().heartbeat_interval);
        let goes_on = |metrics: &Metrics<C>| {
            !(before..over).contains(&silence(metrics)) || !self.leads(metrics)
        };
        self.until(goes_on).await;
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
