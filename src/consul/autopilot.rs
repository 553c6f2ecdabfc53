//! Autopilot's requests and replies.

use std::time::Duration;

use super::decode::{Fault, Parts, cas};
use super::dialect::BodyRules;
use super::go::duration::format_duration;
use super::go::json::Document;
use super::go::time::{rfc3339_nano, round_to_seconds};
use super::go::unmarshal::{Field, GoType, Struct, unmarshal};
use super::json::JsonWriter;
use crate::acl::Resource;
use crate::autopilot::{AutopilotConfiguration, AutopilotServer, AutopilotState, RaftRole};
use crate::operation::Operation;

static CONFIGURATION: Struct<10> = Struct {
    package: "api",
    name: "AutopilotConfiguration",
    fields: [
        ("CleanupDeadServers", GoType::Bool),
        ("LastContactThreshold", GoType::Duration),
        ("MaxTrailingLogs", GoType::Uint64),
        ("MinQuorum", GoType::Uint),
        ("ServerStabilizationTime", GoType::Duration),
        ("RedundancyZoneTag", GoType::String),
        ("DisableUpgradeMigration", GoType::Bool),
        ("UpgradeVersionTag", GoType::String),
        ("CreateIndex", GoType::Uint64),
        ("ModifyIndex", GoType::Uint64),
    ],
};

pub(super) fn set_configuration(parts: &Parts<'_>) -> Result<Operation, Fault> {
    let configuration = body(parts).map_err(|error| {
        let text = format!("Error parsing autopilot config: {error}");
        if parts.rules.body == BodyRules::Whole {
            Fault::Private(text, Resource::Operator)
        } else {
            Fault::Bad(text)
        }
    })?;
    let expected_index = match parts.query.get("cas") {
        None => None,
        Some(index) => Some(cas(&index)?),
    };
    Ok(Operation::SetAutopilotConfiguration {
        configuration,
        expected_index,
    })
}

fn body(parts: &Parts<'_>) -> Result<AutopilotConfiguration, String> {
    let document = Document::decode(parts.body)?;
    if parts.rules.body == BodyRules::Whole && document.trailing() {
        return Err("something follows the JSON value".into());
    }
    let [
        cleanup,
        contact,
        logs,
        quorum,
        stabilization,
        zone,
        migration,
        version,
        _,
        _,
    ] = unmarshal(&document, &CONFIGURATION)?;
    let left_out = if parts.rules.autopilot_defaults {
        AutopilotConfiguration::default()
    } else {
        AutopilotConfiguration {
            cleanup_dead_servers: false,
            last_contact_threshold: Duration::ZERO,
            max_trailing_logs: 0,
            server_stabilization_time: Duration::ZERO,
            ..AutopilotConfiguration::default()
        }
    };
    let duration = |field, left_out| match field {
        Some(Field::Duration(nanoseconds)) => u64::try_from(nanoseconds)
            .map(Duration::from_nanos)
            .map_err(|_| "a duration must not be negative".to_owned()),
        _ => Ok(left_out),
    };
    let flag = |field, left_out| match field {
        Some(Field::Bool(value)) => value,
        _ => left_out,
    };
    let number = |field, left_out| match field {
        Some(Field::Uint(value)) => value,
        _ => left_out,
    };
    let text = |field| match field {
        Some(Field::String(value)) => value,
        _ => String::new(),
    };
    Ok(AutopilotConfiguration {
        cleanup_dead_servers: flag(cleanup, left_out.cleanup_dead_servers),
        last_contact_threshold: duration(contact, left_out.last_contact_threshold)?,
        max_trailing_logs: number(logs, left_out.max_trailing_logs),
        min_quorum: number(quorum, left_out.min_quorum),
        server_stabilization_time: duration(stabilization, left_out.server_stabilization_time)?,
        redundancy_zone_tag: text(zone),
        disable_upgrade_migration: flag(migration, left_out.disable_upgrade_migration),
        upgrade_version_tag: text(version),
        create_index: 0,
        modify_index: 0,
    })
}

pub(super) fn write_configuration(
    json: &mut JsonWriter<'_>,
    configuration: &AutopilotConfiguration,
) {
    json.begin_object();
    json.field("CleanupDeadServers");
    json.bool(configuration.cleanup_dead_servers);
    json.field("LastContactThreshold");
    duration(json, configuration.last_contact_threshold);
    json.field("MaxTrailingLogs");
    json.u64(configuration.max_trailing_logs);
    json.field("MinQuorum");
    json.u64(configuration.min_quorum);
    json.field("ServerStabilizationTime");
    duration(json, configuration.server_stabilization_time);
    json.field("RedundancyZoneTag");
    json.string(&configuration.redundancy_zone_tag);
    json.field("DisableUpgradeMigration");
    json.bool(configuration.disable_upgrade_migration);
    json.field("UpgradeVersionTag");
    json.string(&configuration.upgrade_version_tag);
    json.field("CreateIndex");
    json.u64(configuration.create_index);
    json.field("ModifyIndex");
    json.u64(configuration.modify_index);
    json.end_object();
}

pub(super) fn write_health(json: &mut JsonWriter<'_>, state: &AutopilotState) {
    json.begin_object();
    json.field("Healthy");
    json.bool(state.healthy);
    json.field("FailureTolerance");
    json.u64(state.failure_tolerance);
    json.field("Servers");
    if state.servers.is_empty() {
        json.null();
    } else {
        json.begin_array();
        for server in &state.servers {
            json.begin_object();
            write_identity(json, server);
            json.field("SerfStatus");
            json.string(&server.node_status);
            json.field("Version");
            json.string(&server.version);
            json.field("Leader");
            json.bool(server.role == RaftRole::Leader);
            write_progress(json, server);
            json.field("Healthy");
            json.bool(server.healthy);
            json.field("Voter");
            json.bool(server.role != RaftRole::Nonvoter);
            json.field("StableSince");
            json.string(&rfc3339_nano(round_to_seconds(server.stable_since)));
            json.end_object();
        }
        json.end_array();
    }
    json.end_object();
}

pub(super) fn write_state(json: &mut JsonWriter<'_>, state: &AutopilotState) {
    json.begin_object();
    json.field("Healthy");
    json.bool(state.healthy);
    json.field("FailureTolerance");
    json.u64(state.failure_tolerance);
    json.field("OptimisticFailureTolerance");
    json.u64(state.optimistic_failure_tolerance);
    json.field("Servers");
    json.begin_object();
    for server in &state.servers {
        json.key(server.id.as_str());
        json.begin_object();
        write_identity(json, server);
        json.field("NodeStatus");
        json.string(&server.node_status);
        json.field("Version");
        json.string(&server.version);
        write_progress(json, server);
        json.field("Healthy");
        json.bool(server.healthy);
        json.field("StableSince");
        json.string(&rfc3339_nano(server.stable_since));
        json.field("ReadReplica");
        json.bool(false);
        json.field("Status");
        json.string(match server.role {
            RaftRole::Leader => "leader",
            RaftRole::Voter => "voter",
            RaftRole::Nonvoter => "non-voter",
        });
        json.field("Meta");
        json.begin_object();
        for (name, value) in &server.meta {
            json.key(name);
            json.string(value);
        }
        json.end_object();
        // What it is to become: a server that does not vote yet will.
        json.field("NodeType");
        json.string("voter");
        json.end_object();
    }
    json.end_object();
    json.field("Leader");
    json.string(state.leader.as_ref().map_or("", |leader| leader.as_str()));
    json.field("Voters");
    json.begin_array();
    for voter in &state.voters {
        json.string(voter.as_str());
    }
    json.end_array();
    json.end_object();
}

fn write_identity(json: &mut JsonWriter<'_>, server: &AutopilotServer) {
    json.field("ID");
    json.string(server.id.as_str());
    json.field("Name");
    json.string(server.name.as_str());
    json.field("Address");
    json.string(server.address.as_str());
}

fn write_progress(json: &mut JsonWriter<'_>, server: &AutopilotServer) {
    json.field("LastContact");
    duration(json, server.last_contact);
    json.field("LastTerm");
    json.u64(server.last_term);
    json.field("LastIndex");
    json.u64(server.last_index);
}

fn duration(json: &mut JsonWriter<'_>, duration: Duration) {
    let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    json.string(&format_duration(nanoseconds));
}
