//! Encoding of replies and errors into responses.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::body::{
    ActionReport, AutopilotRules, Block, Configuration, Health, Index, IndexedEndpoint, LAST_LOG,
    Report, Server, ServerReport, ServerState, State, Transferred, UNKNOWN_NODE, UNKNOWN_VERSION,
};
use super::dialect::{ErrorRules, Presence, Rules, ServerRules};
use super::endpoint::{COMMON_PARAMETERS, Endpoint, Group, Offer, PREFIX, View};
use super::go::{rfc3339_nano, rfc3339_rounded};
use super::message::{JSON, Response};
use super::{error, json, rings};
use crate::acl::DefaultPolicy;
use crate::autopilot::{AutopilotReport, AutopilotServer, AutopilotState, RaftRole};
use crate::error::{ErrorKind, OperatorError};
use crate::operation::OperatorReply;
use crate::raft::{RaftConfiguration, RaftServer};
use crate::service::OperatorService;

/// Estimated sizes in bytes: of a small body, and of a server in the Raft configuration
/// and in autopilot's view.
const SMALL: usize = 320;
const RAFT_SERVER: usize = 220;
const AUTOPILOT_SERVER: usize = 420;

pub(super) fn encode(
    view: &View,
    result: Result<OperatorReply, OperatorError>,
    rules: &Rules,
    policy: DefaultPolicy,
) -> Response {
    let result = match view.malformed_key {
        Some(key) => key.answer(result),
        None => result,
    };
    let response = match result {
        Ok(reply) => success(view, &reply, rules),
        Err(error) => match error.reply() {
            Some(reply) => rings::response(reply, Some(&error), view, rules),
            None if rules.errors == ErrorRules::Precise => error::respond(&error, view),
            None if is_contradiction(&error, view) => error::contradiction(&error, rules),
            None => error::respond_consul(error::consul_text(&error, view, rules)),
        },
    };
    finish(response, view, rules, policy)
}

/// Returns true if the values of a change of autopilot's configuration contradict each other.
fn is_contradiction(error: &OperatorError, view: &View) -> bool {
    view.endpoint == Endpoint::AutopilotConfiguration
        && matches!(error.kind(), ErrorKind::InvalidRequest { .. })
}

fn success(view: &View, reply: &OperatorReply, rules: &Rules) -> Response {
    match reply {
        OperatorReply::RaftConfiguration(configuration) => {
            let size = SMALL + configuration.servers.len() * RAFT_SERVER;
            let response = respond(view, size, &raft(configuration, &rules.server));
            match configuration.last_log {
                Some(last) if rules.errors == ErrorRules::Precise => {
                    response.with(LAST_LOG, last.to_string())
                }
                _ => response,
            }
        }
        OperatorReply::PeerRemoved | OperatorReply::PeerReplaced => Response::empty(200),
        OperatorReply::RemovalPlan(plan) => respond(view, 2 * SMALL, plan),
        OperatorReply::LeadershipTransferred => {
            respond(view, SMALL, &Transferred { success: true })
        }
        OperatorReply::Keyring(reply) => rings::response(reply, None, view, rules),
        OperatorReply::AutopilotConfiguration(configuration) => {
            let shown = AutopilotRules::from(configuration);
            if rules.additions {
                respond(view, SMALL, &shown)
            } else {
                respond(view, SMALL, &shown.of_consul())
            }
        }
        OperatorReply::AutopilotConfigurationSet(replaced) => respond(view, SMALL, replaced),
        OperatorReply::Diagnosis(diagnosis) => respond(view, 16 * SMALL, diagnosis),
        // Servers ask each other only.
        OperatorReply::OwnView(_) | OperatorReply::ServerViews(_) => Response::empty(200),
        OperatorReply::AutopilotState(state) => {
            let size = SMALL + state.servers.len() * AUTOPILOT_SERVER;
            if view.endpoint != Endpoint::AutopilotHealth {
                return respond(view, size, &autopilot_state(state, rules));
            }
            let mut response = respond(view, size, &autopilot_health(state, rules));
            if !state.healthy {
                // A health check looks at the status only.
                response.status = 429;
            }
            response
        }
    }
}

/// Lists the endpoints that a server can answer.
pub(super) fn index(
    view: &View,
    service: &OperatorService,
    rules: &Rules,
    offer: Offer,
    policy: DefaultPolicy,
) -> Response {
    let methods = |endpoint: Endpoint| {
        offer.methods(endpoint).map(move |method| {
            let (resource, access) = endpoint.permission(method);
            IndexedEndpoint {
                method,
                path: path(endpoint),
                parameters: endpoint.parameters(method),
                permission: match endpoint {
                    Endpoint::Index | Endpoint::OpenApi => "operator:read or keyring:read".into(),
                    Endpoint::Diagnosis => "operator:read and keyring:read".into(),
                    _ => format!("{resource}:{access}"),
                },
            }
        })
    };
    let raft = service.has_raft();
    let index = Index {
        version: env!("CARGO_PKG_VERSION"),
        dialect: rules.name,
        datacenter: service.datacenter().as_str(),
        raft,
        quorum_guard: raft.then(|| service.quorum_guard().name()),
        autopilot: service.has_autopilot(),
        rings: service.pools().map(ToString::to_string).collect(),
        endpoints: answered(service, rules, offer).flat_map(methods).collect(),
        common_parameters: &COMMON_PARAMETERS,
    };
    finish(respond(view, 8 * SMALL, &index), view, rules, policy)
}

/// Describes what a server answers.
pub(super) type Describe = fn(&View, &OperatorService, &Rules, Offer, DefaultPolicy) -> Response;

/// The OpenAPI document of all endpoints, as tests/openapi makes it from docs/openapi.yaml.
static OPENAPI: &str = include_str!("../../docs/openapi.json");

/// Describes the endpoints that a server can answer.
pub(super) fn openapi(
    view: &View,
    service: &OperatorService,
    rules: &Rules,
    offer: Offer,
    policy: DefaultPolicy,
) -> Response {
    let endpoints: Vec<_> = answered(service, rules, offer).collect();
    // The text is a constant, which tests read.
    let mut document: Value = serde_json::from_str(OPENAPI).unwrap_or_default();
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        paths.retain(|described, operations| {
            let mut endpoints = endpoints.iter();
            let endpoint = endpoints.find(|endpoint| path(**endpoint) == *described);
            let (Some(endpoint), Some(operations)) = (endpoint, operations.as_object_mut()) else {
                return false;
            };
            let is_offered = |name: &str| {
                let mut methods = offer.methods(*endpoint);
                methods.any(|method| method.eq_ignore_ascii_case(name))
            };
            operations.retain(|name, _| name == "parameters" || is_offered(name));
            operations.keys().any(|name| name != "parameters")
        });
    }
    finish(respond(view, OPENAPI.len(), &document), view, rules, policy)
}

/// The endpoints that a server can answer, of those that are offered.
fn answered(
    service: &OperatorService,
    rules: &Rules,
    offer: Offer,
) -> impl Iterator<Item = Endpoint> {
    let (raft, autopilot) = (service.has_raft(), service.has_autopilot());
    let gossip = service.pools().next().is_some();
    Endpoint::served(rules, offer).filter(move |endpoint| match endpoint.group() {
        Group::Description => true,
        // A backend does not say whether it transfers the leadership or replaces a voter, and
        // one that does not answers 501.
        Group::Raft | Group::Transfer | Group::RaftAddition => raft,
        Group::Keyring => gossip,
        Group::Autopilot => autopilot,
    })
}

fn path(endpoint: Endpoint) -> String {
    format!("{PREFIX}{}", endpoint.name())
}

/// Adds the header fields of the dialect, and leaves out the body for HEAD.
fn finish(response: Response, view: &View, rules: &Rules, policy: DefaultPolicy) -> Response {
    let mut response = response.finish(rules, policy);
    if view.form.head {
        response.leave_out_body();
    }
    response
}

/// Makes a response with a body of about `size` bytes.
fn respond(view: &View, size: usize, body: &impl Serialize) -> Response {
    Response::new(200, JSON, json::to_vec(body, size, view.pretty))
}

fn raft<'a>(configuration: &'a RaftConfiguration, rules: &ServerRules) -> Configuration<'a> {
    let servers: Vec<_> = configuration
        .servers
        .iter()
        .map(|it| server(it, rules))
        .collect();
    Configuration {
        servers: Some(servers).filter(|servers| !servers.is_empty() || !rules.null_for_none),
        index: if rules.index_is_zero {
            0
        } else {
            configuration.index
        },
    }
}

fn server<'a>(server: &'a RaftServer, rules: &ServerRules) -> Server<'a> {
    let version = server.protocol_version.as_ref().map(|it| it.as_str());
    Server {
        id: Cow::Borrowed(if rules.id_is_address {
            server.address.as_str()
        } else {
            server.id.as_str()
        }),
        node: Cow::Borrowed(
            server
                .name
                .as_ref()
                .map_or(UNKNOWN_NODE, |name| name.as_str()),
        ),
        address: Cow::Borrowed(server.address.as_str()),
        leader: server.leader,
        protocol_version: match rules.protocol_version {
            Presence::Never => None,
            Presence::IfKnown => version,
            // Consul reads it from the node's tags, so a node that gossip does not
            // know differs from one that does not say.
            Presence::Always if server.name.is_none() => Some(version.unwrap_or(UNKNOWN_VERSION)),
            Presence::Always => Some(version.unwrap_or("")),
        }
        .map(Cow::Borrowed),
        voter: server.is_voter(),
        last_index: match rules.last_index {
            Presence::Never => None,
            Presence::IfKnown => server.last_index,
            Presence::Always => Some(server.last_index.unwrap_or(0)),
        },
    }
}

fn autopilot_health<'a>(state: &'a AutopilotState, rules: &Rules) -> Health<'a> {
    let servers = state.servers.iter().map(|server| ServerState {
        serf_status: Some(server.node_status.as_str().into()),
        leader: Some(server.role == RaftRole::Leader),
        voter: Some(server.role != RaftRole::Nonvoter),
        stable_since: rfc3339_rounded(server.stable_since),
        ..autopilot_server(server, rules)
    });
    let servers: Vec<_> = servers.collect();
    Health {
        healthy: state.healthy,
        failure_tolerance: state.failure_tolerance,
        servers: Some(servers).filter(|servers| !servers.is_empty()),
    }
}

/// What a health check and the state have in common.
fn autopilot_server<'a>(server: &'a AutopilotServer, rules: &Rules) -> ServerState<'a> {
    ServerState {
        id: server.id.as_str().into(),
        name: server.name.as_str().into(),
        address: server.address.as_str().into(),
        serf_status: None,
        node_status: None,
        version: server.version.as_str().into(),
        leader: None,
        last_contact: server.last_contact.into(),
        last_term: server.last_term,
        last_index: server.last_index,
        healthy: server.healthy,
        voter: None,
        stable_since: String::new(),
        read_replica: None,
        status: None,
        meta: None,
        node_type: None,
        health: server.health.filter(|_| rules.additions),
    }
}

fn autopilot_state<'a>(state: &'a AutopilotState, rules: &Rules) -> State<'a> {
    let servers = state.servers.iter().map(|server| ServerState {
        node_status: Some(server.node_status.as_str().into()),
        stable_since: rfc3339_nano(server.stable_since),
        read_replica: Some(false),
        status: Some(
            match server.role {
                RaftRole::Leader => "leader",
                RaftRole::Voter => "voter",
                RaftRole::Nonvoter => "non-voter",
            }
            .into(),
        ),
        meta: Some(Cow::Borrowed(&server.meta)),
        node_type: Some("voter".into()),
        ..autopilot_server(server, rules)
    });
    let report = state.autopilot.as_ref();
    State {
        healthy: state.healthy,
        failure_tolerance: state.failure_tolerance,
        optimistic_failure_tolerance: state.optimistic_failure_tolerance,
        servers: servers.map(|server| (server.id.clone(), server)).collect(),
        leader: state
            .leader
            .as_ref()
            .map_or("", |leader| leader.as_str())
            .into(),
        voters: Cow::Borrowed(&state.voters),
        autopilot: report.filter(|_| rules.additions).map(report_of),
    }
}

fn report_of(report: &AutopilotReport) -> Report<'_> {
    let servers = report.servers.iter().map(|(id, server)| {
        let server = ServerReport {
            rule: server.rule.as_str().into(),
            reason: server.reason.as_str().into(),
            lasted: server.lasted.into(),
            next_check: rfc3339_nano(server.next_check),
        };
        (id.as_str().into(), server)
    });
    let actions = report.actions.iter().map(|action| ActionReport {
        time: rfc3339_nano(action.time),
        kind: action.kind,
        server: action.server.as_str().into(),
        replaced_by: action.replaced_by.as_ref().map(|with| with.as_str().into()),
        reason: action.reason.as_str().into(),
        result: action.result,
        error: action.error.as_deref().map(Cow::Borrowed),
    });
    Report {
        dry_run: report.dry_run,
        intended_size: report.intended_size,
        voters: report.voters,
        failed_hold: report.failed_hold.into(),
        last_check: report.last_check.map(rfc3339_nano),
        next_check: report.next_check.map(rfc3339_nano),
        decided: report.decided.as_deref().map(Cow::Borrowed),
        blocked: report.blocked.as_ref().map(|blocked| Block {
            rule: blocked.rule.as_str().into(),
            reason: blocked.reason.as_str().into(),
            server: blocked.server.as_ref().map(|id| id.as_str().into()),
        }),
        servers: servers.collect(),
        actions: actions.collect(),
    }
}
