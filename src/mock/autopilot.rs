//! The autopilot of one simulated server.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::cluster::Cluster;
use super::raft::MockRaft;
use crate::autopilot::{
    AutopilotBackend, AutopilotConfiguration, AutopilotServer, AutopilotState, RaftRole,
    ServerHealth,
};
use crate::consul::Dialect;
use crate::error::OperatorError;
use crate::raft::RaftServer;
use crate::types::NodeName;

/// How much longer ago the leader's last contact with each further live follower is.
const CONTACT: Duration = Duration::from_millis(5);

/// The time since the leader's last contact with a dead server: longer than
/// autopilot allows by default.
const SILENCE: Duration = Duration::from_secs(1);

/// An [`AutopilotBackend`] in memory, over the cluster of a [`MockRaft`].
///
/// A server is healthy while it is up. The cluster replicates the configuration.
/// It removes no servers: a [`service::Autopilot`](crate::service::Autopilot) does.
///
/// ```
/// use cluster_operator::mock::{MockAutopilot, MockRaft};
/// use cluster_operator::AutopilotBackend;
///
/// # futures_executor::block_on(async {
/// let raft = MockRaft::voters(["alice", "bob", "carol"]);
/// let autopilot = MockAutopilot::new(&raft);
/// assert_eq!(autopilot.state().await?.failure_tolerance, 1);
///
/// raft.stop("carol");
/// let state = autopilot.state().await?;
/// assert!(!state.healthy);
/// assert_eq!(state.failure_tolerance, 0);
/// # Ok::<(), cluster_operator::OperatorError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MockAutopilot {
    raft: MockRaft,
    /// The software version of the servers.
    pub(super) version: String,
    /// The metadata of the servers' nodes.
    pub(super) meta: BTreeMap<String, String>,
}

impl MockAutopilot {
    /// Creates the autopilot of the server that this Raft belongs to. It reports the
    /// software version of Consul [in `Precise`](Dialect::version).
    pub fn new(raft: &MockRaft) -> Self {
        MockAutopilot {
            raft: raft.clone(),
            version: Dialect::default().version().into(),
            meta: [("consul-network-segment".into(), String::new())].into(),
        }
    }

    fn state_in(&self, cluster: &Cluster) -> Result<AutopilotState, OperatorError> {
        let known = cluster.known_to(self.raft.id())?.servers;
        let servers = known.iter().enumerate();
        let servers = servers.map(|(place, server)| self.server(cluster, place, server));
        Ok(AutopilotState::new(servers.collect()))
    }

    /// A server, with its place in the configuration.
    fn server(&self, cluster: &Cluster, place: usize, server: &RaftServer) -> AutopilotServer {
        let up = cluster.is_up(&server.id);
        let name = server.name.clone();
        AutopilotServer {
            id: server.id.clone(),
            name: name.unwrap_or_else(|| NodeName::new("")),
            address: server.address.clone(),
            node_status: if up { "alive" } else { "failed" }.into(),
            version: self.version.clone(),
            last_contact: match (server.leader, up) {
                (true, _) => Duration::ZERO,
                (false, true) => CONTACT * (1 + place as u32 % 10),
                (false, false) => SILENCE,
            },
            last_term: cluster.log.term,
            last_index: cluster.last_index(&server.id),
            healthy: up,
            stable_since: SystemTime::UNIX_EPOCH,
            role: match (server.leader, server.is_voter()) {
                (true, _) => RaftRole::Leader,
                (false, true) => RaftRole::Voter,
                (false, false) => RaftRole::Nonvoter,
            },
            meta: self.meta.clone(),
            health: Some(if up {
                ServerHealth::Healthy
            } else {
                ServerHealth::Unhealthy
            }),
        }
    }
}

#[async_trait]
impl AutopilotBackend for MockAutopilot {
    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
        let configuration = |cluster: &mut Cluster| {
            cluster.known_to(self.raft.id())?;
            Ok(cluster.autopilot.clone())
        };
        self.raft.call(configuration).await
    }

    async fn set_configuration(
        &self,
        configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError> {
        let set = |cluster: &mut Cluster| Ok(cluster.set_autopilot(configuration, expected_index));
        self.raft.call_leader(set).await
    }

    async fn state(&self) -> Result<AutopilotState, OperatorError> {
        self.raft.call(|cluster| self.state_in(cluster)).await
    }
}
