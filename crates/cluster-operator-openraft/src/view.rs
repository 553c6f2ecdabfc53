//! Builds a [`RaftView`] from what openraft knows.

use std::sync::Arc;
use std::time::Duration;

use ::openraft::error::{CheckIsLeaderError, RaftError};
use ::openraft::{AsyncRuntime, LogId, Membership as Sets, NodeId, RaftMetrics, RaftTypeConfig};

use super::OpenraftBackend;
use cluster_operator::error::{ErrorKind, OperatorError};
use cluster_operator::raft::{
    ConfigVersion, LeaderHint, Leadership, LogPosition, Membership, PendingChange, RaftView,
    ServerStatus, Suffrage,
};

pub(super) type Metrics<C> =
    RaftMetrics<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;
pub(super) type EntryId<C> = Option<LogId<<C as RaftTypeConfig>::NodeId>>;

/// The membership of one log entry, described.
pub(super) struct Described<C: RaftTypeConfig> {
    entry: EntryId<C>,
    membership: Arc<Membership>,
}

impl<C: RaftTypeConfig> Default for Described<C> {
    fn default() -> Self {
        Described {
            entry: None,
            membership: Arc::default(),
        }
    }
}

/// Returns the position of a log entry as operators see it.
///
/// openraft counts entries from 0, and Consul from 1. The index is therefore one more than
/// openraft's, and 0 stands for no entry.
///
/// ```
/// use cluster_operator::raft::LogPosition;
/// use cluster_operator_openraft::log_position;
/// use openraft::{CommittedLeaderId, LogId};
///
/// let first = LogId::new(CommittedLeaderId::new(0, 1), 0);
/// assert_eq!(log_position(&first), LogPosition { term: 0, index: 1 });
/// ```
pub fn log_position<I: NodeId>(entry: &LogId<I>) -> LogPosition {
    LogPosition {
        term: entry.leader_id.term,
        index: entry.index.saturating_add(1),
    }
}

/// The version of the configuration that this log entry holds.
pub(super) fn version<C: RaftTypeConfig>(entry: &EntryId<C>) -> ConfigVersion {
    let LogPosition { term, index } = entry.as_ref().map(log_position).unwrap_or_default();
    ConfigVersion { term, index }
}

/// The last entry of a server that this leader knows.
pub(super) fn matched<C: RaftTypeConfig>(metrics: &Metrics<C>, id: &C::NodeId) -> EntryId<C> {
    let replication = metrics.replication.as_ref()?;
    replication.get(id)?.clone()
}

impl<C: RaftTypeConfig> OpenraftBackend<C> {
    pub(super) fn current_view(&self) -> RaftView {
        let metrics = self.raft.metrics().borrow().clone();
        let stored = &metrics.membership_config;
        let (entry, sets) = (stored.log_id(), stored.membership());
        let membership = self.described(entry, sets);
        let id_of = |wanted| {
            let mut nodes = sets.nodes().zip(&membership.servers);
            let found = nodes.find(|((id, _), _)| *id == wanted);
            found.map(|(_, member)| member)
        };
        let own = id_of(&metrics.id).map(|member| member.id.clone());
        let own = own.unwrap_or_else(|| metrics.id.to_string().into());
        let mut view = RaftView::new(own, Arc::clone(&membership));
        view.leadership = match self.leader(&metrics) {
            Some(leader) if *leader == metrics.id => Leadership::Local,
            Some(leader) => id_of(leader).map_or(Leadership::Unknown, |member| {
                Leadership::Remote(LeaderHint {
                    id: member.id.clone(),
                    address: member.address.clone(),
                })
            }),
            None => Leadership::Unknown,
        };
        view.term = metrics.current_term;
        view.version = version::<C>(entry);
        // What is applied is committed.
        view.change = if metrics.last_applied < *entry {
            Some(PendingChange::Uncommitted)
        } else if sets.get_joint_config().len() > 1 {
            Some(PendingChange::Joint)
        } else {
            None
        };
        // A follower knows its own last entry only, and nobody answers it.
        let leads = view.leadership == Leadership::Local;
        let contacts = self.contacts.as_ref().filter(|_| leads);
        let own_last_log = self.raft.data_metrics().borrow().last_log.clone();
        let status = |(id, node)| {
            let known = self.status.as_ref().map(|status| status(id, node));
            let mut status = known.unwrap_or_default();
            if *id == metrics.id {
                status.last_log = own_last_log.as_ref().map(log_position);
                status.last_contact = Some(Duration::ZERO);
            } else {
                let last_log = leads.then(|| matched::<C>(&metrics, id)).flatten();
                status.last_log = last_log.as_ref().map(log_position);
                status.last_contact = contacts.and_then(|contacts| contacts.elapsed(id));
            }
            status
        };
        view.status = sets.nodes().map(status).collect::<Vec<ServerStatus>>();
        view
    }

    /// The servers of this membership, described once for each log entry.
    pub(super) fn described(
        &self,
        entry: &EntryId<C>,
        sets: &Sets<C::NodeId, C::Node>,
    ) -> Arc<Membership> {
        let described = self.described.load();
        if described.entry == *entry {
            return Arc::clone(&described.membership);
        }
        let voters: Vec<_> = sets.voter_ids().collect();
        let membership = Membership::new(sets.nodes().map(|(id, node)| {
            let mut member = (self.describe)(id, node);
            member.suffrage = if voters.contains(id) {
                Suffrage::Voter
            } else {
                Suffrage::Nonvoter
            };
            member
        }));
        let membership = Arc::new(membership);
        self.described.store(Arc::new(Described {
            entry: entry.clone(),
            membership: Arc::clone(&membership),
        }));
        membership
    }

    /// The leader in the view of a server with these metrics.
    fn leader<'a>(&self, metrics: &'a Metrics<C>) -> Option<&'a C::NodeId> {
        let leader = metrics.current_leader.as_ref()?;
        let leads = *leader != metrics.id || self.leads(metrics);
        (metrics.running_state.is_ok() && leads).then_some(leader)
    }

    /// Whether this server leads: openraft says so, and a majority has acknowledged it
    /// within the lease. One that has removed itself leads for a moment longer, but must
    /// not change anything.
    pub(super) fn leads(&self, metrics: &Metrics<C>) -> bool {
        let sets = metrics.membership_config.membership();
        let silence = metrics.millis_since_quorum_ack.map(Duration::from_millis);
        metrics.state.is_leader()
            && silence.is_some_and(|silence| silence <= self.lease)
            && sets.get_node(&metrics.id).is_some()
    }

    /// The error of a server that does not lead.
    pub(super) fn not_leader(&self) -> OperatorError {
        let kind = match self.current_view().leadership {
            Leadership::Remote(leader) => ErrorKind::NotLeader {
                leader: Some(leader),
            },
            Leadership::Local | Leadership::Unknown => ErrorKind::NoLeader,
        };
        kind.into()
    }

    /// Waits until the condition holds for the metrics, or Raft has stopped.
    pub(super) async fn until(&self, mut holds: impl FnMut(&Metrics<C>) -> bool) {
        let mut metrics = self.raft.metrics();
        let stopped = |metrics: &Metrics<C>| metrics.running_state.is_err();
        let until = metrics.wait_for(|metrics| stopped(metrics) || holds(metrics));
        let _closed = until.await.is_err();
    }

    /// The view of a leader, after a majority has confirmed that it still leads.
    pub(super) async fn confirm(&self) -> Result<RaftView, OperatorError> {
        let before = self.leading_view()?;
        // openraft waits one heartbeat interval for a majority. A busy one is asked
        // again, as long as this server leads.
        while let Err(error) = self.raft.get_read_log_id().await {
            let RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)) = error else {
                return Err(self.not_leader().with_source(error));
            };
            self.leading_view()?;
            let interval = self.raft.config().heartbeat_interval;
            C::AsyncRuntime::sleep(Duration::from_millis(interval)).await;
        }
        // The metrics may be behind what was in the log when the majority answered.
        let latest = self.in_core(|state| state.membership_state.effective().log_id().clone());
        let latest = latest.await?;
        self.until(|metrics| *metrics.membership_config.log_id() >= latest || !self.leads(metrics))
            .await;
        let view = self.leading_view()?;
        if view.term != before.term {
            // It has lost the lead in between, and won it again.
            return Err(ErrorKind::NoLeader.into());
        }
        Ok(view)
    }

    fn leading_view(&self) -> Result<RaftView, OperatorError> {
        let view = self.current_view();
        match view.leadership {
            Leadership::Local => Ok(view),
            _ => Err(self.not_leader()),
        }
    }
}
