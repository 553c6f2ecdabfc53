//! From the service's answer to a response's parts.

use super::dialect::{ErrorRules, Presence, Rules};
use super::endpoint::Endpoint;
use super::json::JsonWriter;
use super::message::{JSON, Response};
use super::{View, Wire, autopilot, fault, rings, status};
use crate::acl::Access;
use crate::error::OperatorError;
use crate::operation::OperatorReply;
use crate::raft::{RaftConfiguration, RaftServer};

/// About the size of a small body, and of a server with a UUID for its id in the
/// Raft configuration and in autopilot's view.
const SMALL: usize = 320;
const RAFT_SERVER: usize = 220;
const AUTOPILOT_SERVER: usize = 420;

pub(super) fn encode(
    wire: &Wire,
    view: &View,
    result: Result<OperatorReply, OperatorError>,
) -> Response {
    let rules = wire.dialect.rules();
    let result = match view.malformed_key {
        Some(key) => key.answer(result),
        None => result,
    };
    let response = match result {
        Err(error) => match error.reply() {
            Some(reply) => rings::response(reply, Some(&error), view, rules),
            None if rules.errors == ErrorRules::Precise => {
                status::precise(&error, view.access == Access::Write, view.problem)
            }
            None => consul_text(fault::consul(&error, view, rules)),
        },
        Ok(OperatorReply::RaftConfiguration(configuration)) => {
            let size = SMALL + configuration.servers.len() * RAFT_SERVER;
            json(view, size, |json| {
                write_configuration(json, &configuration, rules);
            })
        }
        Ok(OperatorReply::PeerRemoved) => Response::empty(200),
        Ok(OperatorReply::LeadershipTransferred) => json(view, SMALL, |json| {
            json.begin_object();
            json.field("Success");
            json.bool(true);
            json.end_object();
        }),
        Ok(OperatorReply::Keyring(reply)) => rings::response(&reply, None, view, rules),
        Ok(OperatorReply::AutopilotConfiguration(configuration)) => json(view, SMALL, |json| {
            autopilot::write_configuration(json, &configuration)
        }),
        Ok(OperatorReply::AutopilotConfigurationSet(replaced)) => {
            json(view, SMALL, |json| json.bool(replaced))
        }
        Ok(OperatorReply::AutopilotState(state)) if view.endpoint == Endpoint::AutopilotHealth => {
            let size = SMALL + state.servers.len() * AUTOPILOT_SERVER;
            let mut response = json(view, size, |json| autopilot::write_health(json, &state));
            if !state.healthy {
                // Consul's way to tell a health check by the status alone.
                response.status = 429;
            }
            response
        }
        Ok(OperatorReply::AutopilotState(state)) => {
            let size = SMALL + state.servers.len() * AUTOPILOT_SERVER;
            json(view, size, |json| autopilot::write_state(json, &state))
        }
    };
    wire.finish(response)
}

/// Consul finds the status by looking for words in the text.
pub(super) fn consul_text(text: String) -> Response {
    let forbidden = text.contains("Permission denied") || text.contains("ACL not found");
    Response::text(if forbidden { 403 } else { 500 }, text)
}

/// A body that is about so many bytes long.
fn json(view: &View, size: usize, write: impl FnOnce(&mut JsonWriter<'_>)) -> Response {
    let mut body = Vec::with_capacity(size);
    write(&mut JsonWriter::new(&mut body, view.pretty));
    if view.pretty {
        body.push(b'\n');
    }
    Response::new(200, JSON, body)
}

fn write_configuration(
    json: &mut JsonWriter<'_>,
    configuration: &RaftConfiguration,
    rules: &Rules,
) {
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
