//! The client's operations on autopilot.

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::error::ClientError;
use super::operator::{Call, OperatorClient, not_written};
use crate::autopilot::{AutopilotConfiguration, AutopilotServer, AutopilotState, RaftRole};
use crate::consul::body::{AutopilotRules, Health, ServerHealth};
use crate::consul::go::read_rfc3339;
use crate::operation::Operation;
use crate::peers::write_wiped;
use crate::raft::Consistency;

impl OperatorClient {
    /// Reads autopilot's configuration. Consul 0.7 has none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn autopilot_configuration(&self) -> Result<AutopilotConfiguration, ClientError> {
        let operation = Operation::AutopilotConfiguration(Consistency::Default);
        let call = Call::new(Method::GET, "autopilot/configuration", operation);
        let rules: AutopilotRules = self.read(&call, Instant::now()).await?;
        Ok(rules.into())
    }

    /// Replaces autopilot's configuration and returns true. The indexes of
    /// `configuration` are ignored. If `expected_index` is given and the configuration
    /// was last changed at another index, changes nothing and returns false.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_autopilot_configuration(
        &self,
        configuration: &AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, ClientError> {
        let operation = Operation::SetAutopilotConfiguration {
            configuration: configuration.clone(),
            expected_index,
        };
        let mut call = Call::new(Method::PUT, "autopilot/configuration", operation);
        if let Some(index) = expected_index {
            call = call.with("cas", &index.to_string());
        }
        let rules = AutopilotRules {
            create_index: None,
            modify_index: None,
            ..configuration.into()
        };
        call.body = write_wiped(&rules).map_err(|error| not_written(error, &call.operation))?;
        self.read(&call, Instant::now()).await
    }

    /// Reads the health of the servers. Consul 0.7 does not show it.
    ///
    /// The endpoint does not show each server's metadata, nor the optimistic failure
    /// tolerance, which is computed here. A server that is not in gossip has no name.
    ///
    /// # Errors
    /// [`ClientError`]. Servers that are not healthy are no error.
    pub async fn autopilot_health(&self) -> Result<AutopilotState, ClientError> {
        let operation = Operation::AutopilotState(Consistency::Default);
        let mut call = Call::new(Method::GET, "autopilot/health", operation);
        // So it answers if not all servers are healthy. A rate limit has text.
        call.accepts = Some(StatusCode::TOO_MANY_REQUESTS);
        let health: Health<'_> = self.read(&call, Instant::now()).await?;
        Ok(health.into())
    }
}

/// A server shows all fields; Consul before 1.0 lacks some.
impl From<AutopilotRules> for AutopilotConfiguration {
    fn from(rules: AutopilotRules) -> Self {
        let default = AutopilotConfiguration::default();
        AutopilotConfiguration {
            cleanup_dead_servers: rules
                .cleanup_dead_servers
                .unwrap_or(default.cleanup_dead_servers),
            last_contact_threshold: rules
                .last_contact_threshold
                .map_or(default.last_contact_threshold, |threshold| threshold.get()),
            max_trailing_logs: rules.max_trailing_logs.unwrap_or(default.max_trailing_logs),
            min_quorum: rules
                .min_quorum
                .map_or(default.min_quorum, |quorum| quorum.0),
            server_stabilization_time: rules
                .server_stabilization_time
                .map_or(default.server_stabilization_time, |time| time.get()),
            redundancy_zone_tag: rules.redundancy_zone_tag.unwrap_or_default(),
            disable_upgrade_migration: rules.disable_upgrade_migration.unwrap_or_default(),
            upgrade_version_tag: rules.upgrade_version_tag.unwrap_or_default(),
            create_index: rules.create_index.unwrap_or_default(),
            modify_index: rules.modify_index.unwrap_or_default(),
            ..default
        }
    }
}

impl From<Health<'_>> for AutopilotState {
    fn from(health: Health<'_>) -> Self {
        let servers = health.servers.into_iter().flatten();
        AutopilotState {
            healthy: health.healthy,
            failure_tolerance: health.failure_tolerance,
            ..AutopilotState::new(servers.map(AutopilotServer::from).collect())
        }
    }
}

impl From<ServerHealth<'_>> for AutopilotServer {
    fn from(server: ServerHealth<'_>) -> Self {
        AutopilotServer {
            id: server.id.into_owned().into(),
            name: server.name.into_owned().into(),
            address: server.address.into_owned().into(),
            node_status: server.serf_status.into_owned(),
            version: server.version.into_owned(),
            last_contact: server.last_contact.get(),
            last_term: server.last_term,
            last_index: server.last_index,
            healthy: server.healthy,
            stable_since: read_rfc3339(&server.stable_since),
            role: match (server.leader, server.voter) {
                (true, _) => RaftRole::Leader,
                (false, true) => RaftRole::Voter,
                (false, false) => RaftRole::Nonvoter,
            },
            meta: Default::default(),
            health: None,
        }
    }
}
