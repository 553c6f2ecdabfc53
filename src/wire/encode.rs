//! From the service's answer to a response's parts.

use super::dialect::{ErrorRules, Presence, Rules};
use super::endpoint::Endpoint;
use super::json::JsonWriter;
use super::message::{JSON, Response};
use super::{View, Wire, autopilot, fault, rings, status};
use crate::acl::Access;
use crate::error::OperatorError;
use crate::raft::{RaftConfiguration, RaftServer};
use crate::reply::OperatorReply;

pub(super) fn encode(
    wire: &Wire,
    view: &View,
    result: Result<OperatorReply, OperatorError>,
) -> Response {
    let rules = wire.dialect.rules();
    let response = match result {
        Err(error) if rules.errors == ErrorRules::Precise => {
            status::precise(&error, view.access == Access::Write, view.problem)
        }
        Err(error) => consul_text(fault::consul(&error, view, rules)),
        Ok(OperatorReply::RaftConfiguration(configuration)) => json(view, |json| {
            write_configuration(json, &configuration, rules);
        }),
        Ok(OperatorReply::PeerRemoved) => Response::empty(200),
        Ok(OperatorReply::LeadershipTransferred) => json(view, |json| {
            json.begin_object();
            json.field("Success");
            json.bool(true);
            json.end_object();
        }),
        Ok(OperatorReply::Keyring(reply)) => rings::response(&reply, view, rules),
        Ok(OperatorReply::AutopilotConfiguration(configuration)) => json(view, |json| {
            autopilot::write_configuration(json, &configuration)
        }),
        Ok(OperatorReply::AutopilotConfigurationSet(replaced)) => {
            json(view, |json| json.bool(replaced))
        }
        Ok(OperatorReply::AutopilotState(state)) if view.endpoint == Endpoint::AutopilotHealth => {
            let mut response = json(view, |json| autopilot::write_health(json, &state));
            if !state.healthy {
                // Consul's way to tell a health check by the status alone.
                response.status = 429;
            }
            response
        }
        Ok(OperatorReply::AutopilotState(state)) => {
            json(view, |json| autopilot::write_state(json, &state))
        }
    };
    wire.finish(response)
}

/// Consul finds the status by looking for words in the text.
pub(super) fn consul_text(text: String) -> Response {
    let forbidden = text.contains("Permission denied") || text.contains("ACL not found");
    Response::text(if forbidden { 403 } else { 500 }, text)
}

fn json(view: &View, write: impl FnOnce(&mut JsonWriter<'_>)) -> Response {
    let mut body = Vec::with_capacity(256);
    write(&mut JsonWriter::new(&mut body, view.pretty));
    if view.pretty {
        body.push(b'\n');
    }
    Response::new(200, JSON, body)
}

/// About the size of a server with a UUID for its id, in bytes.
const SERVER_SIZE: usize = 220;

fn write_configuration(
    json: &mut JsonWriter<'_>,
    configuration: &RaftConfiguration,
    rules: &Rules,
) {
    json.reserve(configuration.servers.len() * SERVER_SIZE);
    json.begin_object();
    json.field("Servers");
    if configuration.servers.is_empty() && rules.server.null_for_none {
        json.null();
    } else {
        json.begin_array();
        for server in &configuration.servers {
            write_server(json, server, rules);
        }
        json.end_array();
    }
    json.field("Index");
    json.u64(if rules.server.index_is_zero {
        0
    } else {
        configuration.index
    });
    json.end_object();
}

fn write_server(json: &mut JsonWriter<'_>, server: &RaftServer, rules: &Rules) {
    let rules = &rules.server;
    json.begin_object();
    json.field("ID");
    json.string(if rules.id_is_address {
        server.address.as_str()
    } else {
        server.id.as_str()
    });
    json.field("Node");
    json.string(
        server
            .name
            .as_ref()
            .map_or("(unknown)", |name| name.as_str()),
    );
    json.field("Address");
    json.string(server.address.as_str());
    json.field("Leader");
    json.bool(server.leader);
    match (rules.protocol_version, &server.protocol_version) {
        (Presence::Never, _) | (Presence::IfKnown, None) => {}
        (_, Some(version)) => {
            json.field("ProtocolVersion");
            json.string(version.as_str());
        }
        (Presence::Always, None) => {
            json.field("ProtocolVersion");
            // Consul reads it from the node's tags, so a node that is not known
            // to gossip differs from one that does not say.
            json.string(if server.name.is_none() { "unknown" } else { "" });
        }
    }
    json.field("Voter");
    json.bool(server.is_voter());
    if let (Presence::Always | Presence::IfKnown, Some(index)) =
        (rules.last_index, server.last_index)
    {
        json.field("LastIndex");
        json.u64(index);
    }
    json.end_object();
}
