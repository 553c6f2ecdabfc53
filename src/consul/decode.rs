//! From a request's parts to an [`OperatorRequest`].
//!
//! The checks stand in Consul's order, because that decides which of several
//! mistakes is told.

use super::consistency::consistency;
use super::credentials::token;
use super::dialect::{ErrorRules, Rules};
use super::endpoint::{Endpoint, PREFIX};
use super::go::number::parse_uint;
use super::go::path;
use super::go::query::Query;
use super::malformed_key::MalformedKey;
use super::message::{Headers, Request, Response};
use super::{Call, Permission, Refusal, View, Wire, autopilot, keyring, status};
use crate::acl::{Access, Resource};
use crate::operation::{Operation, OperatorRequest};
use crate::raft::PeerSelector;
use crate::service::Caller;
use crate::types::DatacenterName;

/// What the readers of single endpoints get.
pub(super) struct Parts<'a> {
    pub(super) method: &'a str,
    pub(super) query: Query<'a>,
    pub(super) headers: &'a dyn Headers,
    pub(super) body: &'a [u8],
    pub(super) rules: &'static Rules,
}

/// Why an endpoint's reader refuses.
pub(super) enum Fault {
    /// A 400, with Consul's `Bad request: ` where it has it.
    Bad(String),
    /// A 400 with this text and nothing before it.
    Bare(String),
    /// A 400 that only those may see who may write this.
    Private(String, Resource),
    /// The body is over the limit.
    TooLarge,
}

pub(super) fn decode(wire: &Wire, request: &Request<'_>) -> Result<Call, Refusal> {
    let rules = wire.dialect.rules();
    let problem = rules.errors == ErrorRules::Precise
        && request
            .headers
            .field("accept")
            .is_some_and(status::wants_problem);
    let refuse = |status: u16, text: &str| {
        refusal(wire.finish(status::error_response(status, text, problem)))
    };
    let endpoint = endpoint(wire, request, problem)?;
    let query = match Query::parse(request.query.unwrap_or("")) {
        Ok(query) => query,
        // Consul does not say what is wrong, and takes it for its own fault.
        Err(_) if rules.errors == ErrorRules::Consul => {
            return Err(refusal(wire.finish(Response::empty(500))));
        }
        Err(_) => {
            return Err(refuse(
                400,
                "Invalid query string: check its % escapes and semicolons",
            ));
        }
    };
    let head = request.method == "HEAD";
    let method = if head && rules.head {
        "GET"
    } else {
        request.method
    };
    check_method(wire, endpoint, method, problem)?;

    let parts = Parts {
        method,
        query,
        headers: request.headers,
        body: &request.body,
        rules,
    };
    let token = token(query, request.headers, rules);
    let read = if endpoint.wants_body(method) && request.body.len() > wire.body_limit {
        Err(Fault::TooLarge)
    } else {
        operation(endpoint, &parts)
    };
    let view = |access, malformed_key| View {
        endpoint,
        access,
        malformed_key,
        pretty: query.has("pretty"),
        problem,
        head,
    };
    match read {
        Ok((operation, malformed_key)) => {
            let access = match malformed_key {
                Some(_) => Access::Write,
                None => operation.permission().1,
            };
            let view = view(access, malformed_key);
            let mut request = OperatorRequest::new(operation);
            request.token = token;
            request.datacenter = datacenter(query, rules);
            Ok(Call { request, view })
        }
        Err(Fault::Bad(text)) => Err(refuse(400, &format!("{}{text}", rules.bad_request))),
        Err(Fault::Bare(text)) => Err(refuse(400, &text)),
        Err(Fault::TooLarge) => Err(refuse(413, &wire.too_large())),
        Err(Fault::Private(text, resource)) => {
            let mut refusal = refuse(400, &text);
            refusal.only_for = Some(Box::new(Permission {
                caller: token.map_or_else(Caller::anonymous, Caller::with_token),
                resource,
                access: Access::Write,
                view: view(Access::Write, None),
            }));
            Err(refusal)
        }
    }
}

fn refusal(response: Response) -> Refusal {
    Refusal {
        response,
        only_for: None,
    }
}

/// What Go's mux does: it redirects to the clean path, and does not know others.
fn endpoint(wire: &Wire, request: &Request<'_>, problem: bool) -> Result<Endpoint, Refusal> {
    let rules = wire.dialect.rules();
    let malformed = || {
        refusal(match rules.errors {
            // net/http answers this before Consul sees the request.
            ErrorRules::Consul => Response::text(400, "400 Bad Request"),
            ErrorRules::Precise => wire.finish(status::error_response(
                400,
                "Invalid URL path: check its % escapes",
                problem,
            )),
        })
    };
    let is_control = |text: &str| text.bytes().any(|byte| byte.is_ascii_control());
    if request.query.is_some_and(is_control) {
        return Err(malformed());
    }
    // A path that is known as it stands has nothing in it to decode or to clean.
    if let Some(endpoint) = Endpoint::at(request.path, rules) {
        return Ok(endpoint);
    }
    if is_control(request.path) {
        return Err(malformed());
    }
    let decoded = path::unescape(request.path).map_err(|_| malformed())?;
    if rules.printable_path && path::has_unprintable(&decoded) {
        return Err(match rules.errors {
            ErrorRules::Consul => refusal(wire.finish(Response::empty(400))),
            ErrorRules::Precise => malformed(),
        });
    }
    let clean = path::clean(&decoded);
    if clean != decoded && clean.starts_with(PREFIX) {
        let redirect = path::moved_permanently(&clean, request.query);
        let mut response = Response::empty(301)
            .with("Content-Type", "text/html; charset=utf-8")
            .with("Location", redirect.location);
        if request.method == "GET" {
            response.body = redirect.body.into();
        }
        return Err(refusal(response));
    }
    Endpoint::at(&decoded, rules).ok_or_else(|| {
        refusal(match rules.errors {
            ErrorRules::Consul => Response::empty(404),
            ErrorRules::Precise => wire.finish(status::error_response(
                404,
                "Invalid URL path: not a recognized HTTP API endpoint",
                problem,
            )),
        })
    })
}

fn check_method(
    wire: &Wire,
    endpoint: Endpoint,
    method: &str,
    problem: bool,
) -> Result<(), Refusal> {
    let rules = wire.dialect.rules();
    if endpoint.methods().contains(&method) {
        return Ok(());
    }
    if !rules.allow {
        return Err(refusal(wire.finish(Response::empty(405))));
    }
    let allow = format!("OPTIONS,{}", endpoint.methods().join(","));
    let response = if method == "OPTIONS" {
        Response::empty(200)
    } else {
        status::error_response(405, &format!("method {method} not allowed"), problem)
    };
    Err(refusal(wire.finish(response.with("Allow", allow))))
}

fn datacenter(query: Query<'_>, rules: &Rules) -> Option<DatacenterName> {
    let given = |name| query.get(name).filter(|value| !value.is_empty());
    let name = if rules.datacenter_parameter {
        given("datacenter").or_else(|| given("dc"))
    } else {
        given("dc")
    };
    name.map(|name| DatacenterName::new(&*name))
}

fn operation(
    endpoint: Endpoint,
    parts: &Parts<'_>,
) -> Result<(Operation, Option<MalformedKey>), Fault> {
    let freshness = || consistency(parts.query, parts.headers, parts.rules).map_err(Fault::Bare);
    let operation = match endpoint {
        Endpoint::Keyring => return keyring::operation(parts),
        Endpoint::RaftConfiguration => freshness().map(Operation::RaftConfiguration),
        Endpoint::RaftPeer => remove_peer(parts),
        Endpoint::TransferLeader => Ok(Operation::TransferLeadership {
            to: parts
                .query
                .get("id")
                .filter(|id| !id.is_empty())
                .map(|id| id.into_owned().into()),
        }),
        Endpoint::AutopilotConfiguration if parts.method == "PUT" => {
            autopilot::set_configuration(parts)
        }
        Endpoint::AutopilotConfiguration => freshness().map(Operation::AutopilotConfiguration),
        Endpoint::AutopilotHealth | Endpoint::AutopilotState => {
            freshness().map(Operation::AutopilotState)
        }
    };
    operation.map(|operation| (operation, None))
}

fn remove_peer(parts: &Parts<'_>) -> Result<Operation, Fault> {
    let id = parts.query.get("id").filter(|_| parts.rules.peer_by_id);
    let server = match (id, parts.query.get("address")) {
        (None, None) => return Err(Fault::Bad(parts.rules.missing_peer.into())),
        (Some(_), Some(_)) => {
            return Err(Fault::Bad(
                "Must specify only one of ?id or ?address".into(),
            ));
        }
        (Some(id), None) => PeerSelector::Id(id.into_owned().into()),
        (None, Some(address)) => PeerSelector::Address(address.into_owned().into()),
    };
    let expected_index = match parts.query.get("cas").filter(|_| parts.rules.peer_cas) {
        None => None,
        Some(index) => Some(cas(&index)?),
    };
    Ok(Operation::RemovePeer {
        server,
        expected_index,
    })
}

/// Reads `?cas`, which has to be an index where it is given.
pub(super) fn cas(index: &str) -> Result<u64, Fault> {
    parse_uint(index).map_err(|error| Fault::Bad(format!("Error parsing cas value: {error}")))
}
