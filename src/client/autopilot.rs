//! The client's operations on autopilot.

use std::borrow::Cow;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::error::ClientError;
use super::operator::{Call, OperatorClient};
use crate::autopilot::{
    AutopilotConfiguration, AutopilotReport, AutopilotServer, AutopilotState, Blocked,
    DriverChange, RaftRole, ReportedAction, ReportedServer, ValueChange,
};
use crate::consul::body::{AutopilotRules, Health, Report, ServerState, State};
use crate::consul::go::{GoDuration, read_rfc3339};
use crate::operation::Operation;
use crate::raft::Consistency;
use crate::types::ServerId;

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
    /// `configuration` are ignored, and of the settings that Consul lacks, those that are
    /// `None` stay as they are. If `expected_index` is given and the configuration was last
    /// changed at another index, changes nothing and returns false.
    ///
    /// To change some settings of what [was read](OperatorClient::autopilot_configuration),
    /// set those that Consul lacks to `None` first: a server shows all that are in force, and
    /// would store them.
    ///
    /// # Errors
    /// As [`change_autopilot`](OperatorClient::change_autopilot).
    pub async fn set_autopilot_configuration(
        &self,
        configuration: &AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, ClientError> {
        let change = DriverChange::from(configuration);
        self.change_autopilot(configuration, change, expected_index)
            .await
    }

    /// Replaces Consul's settings of autopilot's configuration, changes the others, and
    /// returns true. If `expected_index` is given and the configuration was last changed at
    /// another index, changes nothing and returns false.
    ///
    /// # Errors
    /// [`ClientError`]. A server of Consul refuses the settings that it lacks, and so does
    /// one with this library on whose leader no [`Autopilot`](crate::service::Autopilot)
    /// runs.
    pub async fn change_autopilot(
        &self,
        configuration: &AutopilotConfiguration,
        change: DriverChange,
        expected_index: Option<u64>,
    ) -> Result<bool, ClientError> {
        fn written<T>(change: ValueChange<T>) -> Option<Option<T>> {
            match change {
                ValueChange::Keep => None,
                ValueChange::Reset => Some(None),
                ValueChange::Set(value) => Some(Some(value)),
            }
        }
        let operation =
            Operation::set_autopilot(configuration.clone(), change.clone(), expected_index);
        let mut call = Call::new(Method::PUT, "autopilot/configuration", operation);
        if let Some(index) = expected_index {
            call = call.with("cas", &index.to_string());
        }
        let rules = AutopilotRules {
            create_index: None,
            modify_index: None,
            failed_hold: written(change.failed_hold).map(|hold| hold.map(Into::into)),
            intended_size: written(change.intended_size),
            dry_run: written(change.dry_run),
            ..configuration.into()
        };
        self.read(&call.with_body(&rules)?, Instant::now()).await
    }

    /// Reads autopilot's state of the servers, with what the leader's autopilot reports.
    /// Consul shows it from version 1.9 on, without a report.
    ///
    /// # Errors
    /// [`ClientError`]. Servers that are not healthy are no error.
    pub async fn autopilot_state(&self) -> Result<AutopilotState, ClientError> {
        let operation = Operation::AutopilotState(Consistency::Default);
        let call = Call::new(Method::GET, "autopilot/state", operation);
        let state: State<'_> = self.read(&call, Instant::now()).await?;
        Ok(state.into())
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
            min_quorum: rules.min_quorum.unwrap_or(default.min_quorum),
            server_stabilization_time: rules
                .server_stabilization_time
                .map_or(default.server_stabilization_time, |time| time.get()),
            redundancy_zone_tag: rules.redundancy_zone_tag.unwrap_or_default(),
            disable_upgrade_migration: rules.disable_upgrade_migration.unwrap_or_default(),
            upgrade_version_tag: rules.upgrade_version_tag.unwrap_or_default(),
            create_index: rules.create_index.unwrap_or_default(),
            modify_index: rules.modify_index.unwrap_or_default(),
            failed_hold: rules.failed_hold.flatten().map(GoDuration::get),
            intended_size: rules.intended_size.flatten(),
            dry_run: rules.dry_run.flatten(),
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

impl From<State<'_>> for AutopilotState {
    fn from(state: State<'_>) -> Self {
        let servers = state.servers.into_values().map(AutopilotServer::from);
        let leader = state.leader.into_owned();
        AutopilotState {
            healthy: state.healthy,
            failure_tolerance: state.failure_tolerance,
            optimistic_failure_tolerance: state.optimistic_failure_tolerance,
            servers: servers.collect(),
            leader: Some(leader).filter(|id| !id.is_empty()).map(ServerId::from),
            voters: state.voters.into_owned(),
            autopilot: state.autopilot.map(AutopilotReport::from),
        }
    }
}

impl From<ServerState<'_>> for AutopilotServer {
    fn from(server: ServerState<'_>) -> Self {
        AutopilotServer {
            id: server.id.into_owned().into(),
            name: server.name.into_owned().into(),
            address: server.address.into_owned().into(),
            node_status: server
                .node_status
                .or(server.serf_status)
                .map(Cow::into_owned)
                .unwrap_or_default(),
            version: server.version.into_owned(),
            last_contact: server.last_contact.get(),
            last_term: server.last_term,
            last_index: server.last_index,
            healthy: server.healthy,
            stable_since: read_rfc3339(&server.stable_since),
            role: match (server.status.as_deref(), server.leader, server.voter) {
                (Some("leader"), ..) | (None, Some(true), _) => RaftRole::Leader,
                (Some("voter"), ..) | (None, _, Some(true)) => RaftRole::Voter,
                _ => RaftRole::Nonvoter,
            },
            meta: server.meta.unwrap_or_default().into_owned(),
            health: server.health,
        }
    }
}

impl From<Report<'_>> for AutopilotReport {
    fn from(report: Report<'_>) -> Self {
        let servers = report.servers.into_iter().map(|(id, server)| {
            let server = ReportedServer {
                rule: server.rule.into_owned(),
                reason: server.reason.into_owned(),
                lasted: server.lasted.get(),
                next_check: read_rfc3339(&server.next_check),
            };
            (id.into_owned().into(), server)
        });
        let actions = report.actions.into_iter().map(|action| ReportedAction {
            time: read_rfc3339(&action.time),
            kind: action.kind,
            server: action.server.into_owned().into(),
            replaced_by: action.replaced_by.map(|with| with.into_owned().into()),
            reason: action.reason.into_owned(),
            result: action.result,
            error: action.error.map(Cow::into_owned),
        });
        AutopilotReport {
            dry_run: report.dry_run,
            intended_size: report.intended_size,
            voters: report.voters,
            failed_hold: report.failed_hold.get(),
            last_check: report.last_check.as_deref().map(read_rfc3339),
            next_check: report.next_check.as_deref().map(read_rfc3339),
            decided: report.decided.map(Cow::into_owned),
            blocked: report.blocked.map(|blocked| Blocked {
                rule: blocked.rule.into_owned(),
                reason: blocked.reason.into_owned(),
                server: blocked.server.map(|id| id.into_owned().into()),
            }),
            servers: servers.collect(),
            actions: actions.collect(),
        }
    }
}
