//! The JSON bodies of Consul's operator API, for server and client alike.
//!
//! Field names and their order are Consul's. A field that only some versions know is
//! an `Option`: a server leaves it out, and a client does without it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::go::GoDuration;
use crate::autopilot::{self, ActionKind, ActionResult, AutopilotConfiguration};
use crate::keyring::KeyCounts;
use crate::raft::{RaftConfiguration, RaftServer};
use crate::types::{NodeName, ServerId};

/// The header with the last log entry of the server that answered a stale read, as
/// TERM-INDEX.
pub(crate) const LAST_LOG: &str = "X-Operator-Last-Log";

/// The Raft configuration.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Configuration<'a> {
    /// Go writes `null` for none.
    pub(super) servers: Option<Vec<Server<'a>>>,
    pub(super) index: u64,
}

/// A server of the Raft configuration.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Server<'a> {
    #[serde(rename = "ID")]
    pub(super) id: Cow<'a, str>,
    pub(super) node: Cow<'a, str>,
    pub(super) address: Cow<'a, str>,
    pub(super) leader: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) protocol_version: Option<Cow<'a, str>>,
    pub(super) voter: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_index: Option<u64>,
}

/// The name of a server that gossip does not know.
pub(super) const UNKNOWN_NODE: &str = "(unknown)";
/// Its protocol version.
pub(super) const UNKNOWN_VERSION: &str = "unknown";

impl From<Configuration<'_>> for RaftConfiguration {
    fn from(body: Configuration<'_>) -> Self {
        let servers = body.servers.into_iter().flatten();
        RaftConfiguration::new(servers.map(RaftServer::from), body.index)
    }
}

impl From<Server<'_>> for RaftServer {
    fn from(body: Server<'_>) -> Self {
        let (id, address) = (body.id.into_owned(), body.address.into_owned());
        let server = if body.voter {
            RaftServer::voter(id, address)
        } else {
            RaftServer::nonvoter(id, address)
        };
        RaftServer {
            name: Some(body.node.into_owned())
                .filter(|name| name != UNKNOWN_NODE)
                .map(NodeName::from),
            protocol_version: body
                .protocol_version
                .filter(|version| version != UNKNOWN_VERSION && !version.is_empty())
                .map(|version| version.into_owned().into()),
            last_index: body.last_index,
            ..server.with_leader(body.leader)
        }
    }
}

/// A gossip ring.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Ring<'a> {
    #[serde(rename = "WAN")]
    pub(crate) wan: bool,
    pub(crate) datacenter: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) segment: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) messages: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) keys: Cow<'a, KeyCounts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) primary_keys: Option<Cow<'a, KeyCounts>>,
    pub(crate) num_nodes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) silent: Option<Cow<'a, [NodeName]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) absent: Option<Cow<'a, [NodeName]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Cow<'a, str>>,
}

/// Autopilot's rules. Consul before 1.0 lacks some.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AutopilotRules {
    pub(crate) cleanup_dead_servers: Option<bool>,
    pub(crate) last_contact_threshold: Option<GoDuration>,
    pub(crate) max_trailing_logs: Option<u64>,
    pub(crate) min_quorum: Option<u64>,
    pub(crate) server_stabilization_time: Option<GoDuration>,
    pub(crate) redundancy_zone_tag: Option<String>,
    pub(crate) disable_upgrade_migration: Option<bool>,
    pub(crate) upgrade_version_tag: Option<String>,
    pub(crate) create_index: Option<u64>,
    pub(crate) modify_index: Option<u64>,
    // Of `Precise`; `Some(None)` is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed_hold: Option<Option<GoDuration>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) intended_size: Option<Option<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dry_run: Option<Option<bool>>,
}

impl AutopilotRules {
    /// Leaves out the settings that Consul lacks.
    pub(super) fn of_consul(self) -> Self {
        AutopilotRules {
            failed_hold: None,
            intended_size: None,
            dry_run: None,
            ..self
        }
    }
}

/// As a server shows them, all of them.
impl From<&AutopilotConfiguration> for AutopilotRules {
    fn from(rules: &AutopilotConfiguration) -> Self {
        AutopilotRules {
            failed_hold: rules.failed_hold.map(|hold| Some(hold.into())),
            intended_size: rules.intended_size.map(Some),
            dry_run: rules.dry_run.map(Some),
            cleanup_dead_servers: Some(rules.cleanup_dead_servers),
            last_contact_threshold: Some(rules.last_contact_threshold.into()),
            max_trailing_logs: Some(rules.max_trailing_logs),
            min_quorum: Some(rules.min_quorum),
            server_stabilization_time: Some(rules.server_stabilization_time.into()),
            redundancy_zone_tag: Some(rules.redundancy_zone_tag.clone()),
            disable_upgrade_migration: Some(rules.disable_upgrade_migration),
            upgrade_version_tag: Some(rules.upgrade_version_tag.clone()),
            create_index: Some(rules.create_index),
            modify_index: Some(rules.modify_index),
        }
    }
}

/// Autopilot's view of the servers, for a health check.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health<'a> {
    pub(crate) healthy: bool,
    pub(crate) failure_tolerance: u64,
    /// Go writes `null` for none.
    #[serde(default, deserialize_with = "servers_of_health")]
    pub(crate) servers: Option<Vec<ServerState<'a>>>,
}

/// Autopilot's view of the servers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State<'a> {
    pub(crate) healthy: bool,
    pub(crate) failure_tolerance: u64,
    pub(crate) optimistic_failure_tolerance: u64,
    /// Go writes `null` for none.
    #[serde(default, deserialize_with = "servers_of_state")]
    pub(crate) servers: BTreeMap<Cow<'a, str>, ServerState<'a>>,
    pub(crate) leader: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) voters: Cow<'a, [ServerId]>,
    /// Of `Precise`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) autopilot: Option<Report<'a>>,
}

/// Autopilot's view of a server. A health check and the state show it with different fields.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServerState<'a> {
    #[serde(rename = "ID")]
    pub(crate) id: Cow<'a, str>,
    pub(crate) name: Cow<'a, str>,
    pub(crate) address: Cow<'a, str>,
    /// The status in gossip, in a health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) serf_status: Option<Cow<'a, str>>,
    /// The same, in the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_status: Option<Cow<'a, str>>,
    pub(crate) version: Cow<'a, str>,
    /// Of a health check, as is `voter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader: Option<bool>,
    pub(crate) last_contact: GoDuration,
    pub(crate) last_term: u64,
    pub(crate) last_index: u64,
    pub(crate) healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) voter: Option<bool>,
    pub(crate) stable_since: String,
    /// Of the state, as are the next three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_replica: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) meta: Option<Cow<'a, BTreeMap<String, String>>>,
    /// What the server is to become: one that does not vote yet will.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_type: Option<Cow<'a, str>>,
    /// Of `Precise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<autopilot::ServerHealth>,
}

/// Reads the servers of a health check, with the fields that only it has.
fn servers_of_health<'de, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<ServerState<'a>>>, D::Error> {
    let servers = Option::<Vec<ServerState<'_>>>::deserialize(deserializer)?;
    let is_whole = |server: &ServerState<'_>| {
        server.serf_status.is_some() && server.leader.is_some() && server.voter.is_some()
    };
    if !servers.iter().flatten().all(is_whole) {
        return Err(D::Error::custom("a server lacks a field"));
    }
    Ok(servers)
}

/// Reads the servers of the state, with the fields that only it has.
fn servers_of_state<'de, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Cow<'a, str>, ServerState<'a>>, D::Error> {
    let servers: BTreeMap<Cow<'_, str>, ServerState<'_>> = or_null(deserializer)?;
    let is_whole =
        |server: &ServerState<'_>| server.node_status.is_some() && server.status.is_some();
    if !servers.values().all(is_whole) {
        return Err(D::Error::custom("a server lacks a field"));
    }
    Ok(servers)
}

/// What the leader's autopilot reports.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Report<'a> {
    pub(crate) dry_run: bool,
    pub(crate) intended_size: u64,
    pub(crate) voters: u64,
    pub(crate) failed_hold: GoDuration,
    pub(crate) last_check: Option<String>,
    pub(crate) next_check: Option<String>,
    pub(crate) decided: Option<Cow<'a, str>>,
    pub(crate) blocked: Option<Block<'a>>,
    pub(crate) servers: BTreeMap<Cow<'a, str>, ServerReport<'a>>,
    pub(crate) actions: Vec<ActionReport<'a>>,
}

/// The rule that blocks an autopilot.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Block<'a> {
    pub(crate) rule: Cow<'a, str>,
    pub(crate) reason: Cow<'a, str>,
    pub(crate) server: Option<Cow<'a, str>>,
}

/// What keeps a server from a change.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServerReport<'a> {
    pub(crate) rule: Cow<'a, str>,
    pub(crate) reason: Cow<'a, str>,
    pub(crate) lasted: GoDuration,
    pub(crate) next_check: String,
}

/// An action of an autopilot.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ActionReport<'a> {
    pub(crate) time: String,
    pub(crate) kind: ActionKind,
    pub(crate) server: Cow<'a, str>,
    pub(crate) replaced_by: Option<Cow<'a, str>>,
    pub(crate) reason: Cow<'a, str>,
    pub(crate) result: ActionResult,
    pub(crate) error: Option<Cow<'a, str>>,
}

/// The endpoints of a server, and what it can do.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Index<'a> {
    pub(super) version: &'static str,
    pub(super) dialect: &'static str,
    pub(super) datacenter: &'a str,
    pub(super) raft: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quorum_guard: Option<&'static str>,
    pub(super) autopilot: bool,
    pub(super) rings: Vec<String>,
    pub(super) endpoints: Vec<IndexedEndpoint>,
    /// What each endpoint takes beside its own parameters.
    pub(super) common_parameters: &'static [&'static str],
}

/// A method of an endpoint.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IndexedEndpoint {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) parameters: &'static [&'static str],
    /// What a token has to allow.
    pub(super) permission: String,
}

/// The answer to a transfer of the leadership.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Transferred {
    pub(super) success: bool,
}

/// Go writes `null` for an empty list or map.
fn or_null<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> RaftConfiguration {
        serde_json::from_str::<Configuration<'_>>(json)
            .unwrap()
            .into()
    }

    #[test]
    fn fields_unknown_to_the_server_are_none() {
        let json = r#"{"Servers":[
            {"ID":"a","Node":"(unknown)","Address":"1:1","Leader":false,"ProtocolVersion":"unknown","Voter":true},
            {"ID":"b","Node":"bob","Address":"2:2","Leader":true,"ProtocolVersion":"3","Voter":false,"LastIndex":7}
        ],"Index":9}"#;
        let bob = RaftServer::nonvoter("b", "2:2")
            .with_name("bob")
            .with_leader(true)
            .with_protocol_version("3")
            .with_last_index(7);
        let servers = [RaftServer::voter("a", "1:1"), bob];
        assert_eq!(read(json), RaftConfiguration::new(servers, 9));
    }

    #[test]
    fn autopilots_server_without_a_role_or_status_is_refused() {
        let server = r#""ID":"a","Name":"a","Address":"1:1","Version":"","LastContact":"0s","LastTerm":1,"LastIndex":1,"Healthy":true,"StableSince":"2026-01-01T00:00:00Z""#;
        let health = |more: &str| {
            let json = format!(
                r#"{{"Healthy":true,"FailureTolerance":0,"Servers":[{{{server}{more}}}]}}"#
            );
            serde_json::from_str::<Health<'_>>(&json).is_ok()
        };
        assert!(health(
            r#","SerfStatus":"alive","Leader":true,"Voter":true"#
        ));
        assert!(!health(r#","SerfStatus":"alive","Leader":true"#));
        assert!(!health(r#","SerfStatus":"alive","Voter":true"#));
        assert!(!health(r#","Leader":true,"Voter":true"#));
        let state = |more: &str| {
            let json = format!(
                r#"{{"Healthy":true,"FailureTolerance":0,"OptimisticFailureTolerance":0,"Servers":{{"a":{{{server}{more}}}}},"Leader":"a","Voters":["a"]}}"#
            );
            serde_json::from_str::<State<'_>>(&json).is_ok()
        };
        assert!(state(r#","NodeStatus":"alive","Status":"leader""#));
        assert!(!state(r#","NodeStatus":"alive""#));
        assert!(!state(r#","Status":"leader""#));
    }

    #[test]
    fn null_stands_for_no_servers() {
        assert_eq!(
            read(r#"{"Servers":null,"Index":0}"#),
            RaftConfiguration::default()
        );
    }
}
