//! Decoding of requests into an [`OperatorRequest`].
//!
//! The order of the checks is Consul's, because it decides which of several mistakes is
//! reported.

use std::borrow::Cow;
use std::time::Duration;

use zeroize::Zeroizing;

use super::dialect::{BodyRules, ErrorRules, Rules};
use super::endpoint::{Endpoint, Form, Offer, PREFIX, View};
use super::error;
use super::go::{GoDuration, atoi, parse_bool, parse_uint, told};
use super::malformed_key::{Change, MalformedKey};
use super::message::{self, Headers, JSON, PROBLEM, Request};
use super::path;
use super::query::{self, Query, consistency, datacenter, token};
use super::rejection::{Mistake, Permission, RELAY_FACTOR_RANGE, Reason, Rejection, nearest};
use super::request_body::{self, Fields, KEY_EXAMPLE, Schema};
use crate::autopilot::{AutopilotConfiguration, DriverChange, ValueChange};
use crate::keyring::{GossipKey, RelayFactor};
use crate::operation::{KeyringAction, KeyringScope, Operation, OperatorRequest};
use crate::raft::{ConfigVersion, PeerSelector};
use crate::service::Caller;
use crate::types::ServerId;

/// A request that the service can be asked.
#[derive(Debug)]
pub struct Call {
    /// The request to the service.
    pub request: OperatorRequest,
    /// The form of the answer, for [`Wire::encode`](super::Wire::encode).
    pub view: View,
}

/// What a request asks for.
pub(super) enum Decoded {
    Call(Call),
    /// The list of endpoints or their OpenAPI document, which need no operation.
    Index {
        /// The caller, and the datacenter that the request names.
        caller: Caller,
        view: View,
    },
}

/// The parts of a request to an endpoint.
struct Parts<'a> {
    method: &'a str,
    query: Query<'a>,
    headers: &'a dyn Headers,
    body: &'a [u8],
    rules: &'static Rules,
    /// The defaults of autopilot.
    autopilot: &'a AutopilotConfiguration,
}

/// What a request asks of its endpoint.
enum Asked {
    Index,
    Operation(Operation),
    /// A listing that stands for a change with this key.
    MalformedKey(Operation, MalformedKey),
}

pub(super) fn decode(
    request: &Request<'_>,
    rules: &'static Rules,
    offer: Offer,
    body_limit: usize,
    autopilot: &AutopilotConfiguration,
) -> Result<Decoded, Rejection> {
    let form = form(request.method, request.headers, rules);
    let reject = |reason| Rejection {
        reason,
        form,
        only_for: None,
    };
    if request.headers.count() > Request::MAX_HEADERS {
        let text = format!("there are more than {} header fields", Request::MAX_HEADERS);
        return Err(reject(Reason::Refused(431, text.into())));
    }
    let endpoint = endpoint(request, rules, offer).map_err(reject)?;
    let query = Query::parse(request.query.unwrap_or(""));
    let query = query.ok_or_else(|| reject(Reason::MalformedQuery))?;
    let method = method(request, endpoint, rules, offer).map_err(reject)?;
    let bounded = query.check_bounds();
    let checked = bounded.and_then(|()| {
        if rules.check_parameters {
            query::check_names(query, endpoint, method)
        } else {
            Ok(())
        }
    });
    let token = checked.and_then(|()| token(query, request.headers, rules));
    let token = token.map_err(|mistake| reject(Reason::Mistake(mistake)))?;
    if endpoint.wants_body(method) && request.body.len() > body_limit {
        return Err(reject(Reason::body_too_large(body_limit)));
    }

    let parts = Parts {
        method,
        query,
        headers: request.headers,
        body: &request.body,
        rules,
        autopilot,
    };
    let (resource, access) = endpoint.permission(method);
    let mut view = View {
        endpoint,
        access,
        malformed_key: None,
        broken_name: broken_name(endpoint, query, rules),
        pretty: query.has("pretty"),
        addresses: false,
        form,
    };
    let datacenter = match endpoint {
        Endpoint::TransferLeader if !rules.transfer_elsewhere => None,
        _ => datacenter(query, rules),
    };
    let has_unread_body =
        rules.check_parameters && endpoint.rejects_body(method) && has_body(&parts);
    let asked = if has_unread_body {
        Err(Mistake::new("this endpoint takes no body: use the query"))
    } else {
        asked(endpoint, &parts)
    };
    let operation = match asked {
        Ok(Asked::Index) => {
            let caller = Caller { token, datacenter };
            return Ok(Decoded::Index { caller, view });
        }
        Ok(Asked::Operation(operation)) => operation,
        Ok(Asked::MalformedKey(listing, key)) => {
            view.malformed_key = Some(key);
            listing
        }
        Err(mistake) => {
            let mut rejection = reject(Reason::Mistake(mistake));
            // Only a caller who may write learns what is wrong with a body.
            if rules.private_mistakes && (endpoint.wants_body(method) || has_unread_body) {
                rejection.only_for = Some(Box::new(Permission {
                    caller: Caller::of(token),
                    resource,
                    access,
                    view,
                }));
            }
            return Err(rejection);
        }
    };
    let mut request = OperatorRequest::new(operation);
    request.token = token;
    request.datacenter = datacenter;
    Ok(Decoded::Call(Call { request, view }))
}

/// Returns the caller of a request that has been decoded.
pub(super) fn caller(request: &Request<'_>, rules: &Rules) -> Caller {
    let query = Query::parse(request.query.unwrap_or(""));
    let token = query.and_then(|query| token(query, request.headers, rules).ok());
    Caller::of(token.flatten())
}

/// Reads what the request says about the form of an error.
pub(super) fn form(method: &str, headers: &dyn Headers, rules: &Rules) -> Form {
    let accept = message::text(headers, "accept").unwrap_or_default();
    let names = |media| rules.errors == ErrorRules::Precise && error::names(&accept, media);
    let problem = names(PROBLEM);
    Form {
        problem,
        json: problem || names(JSON),
        head: method == "HEAD",
    }
}

/// Finds the endpoint of a path. Go's mux decodes the path and redirects to its clean
/// form.
fn endpoint(request: &Request<'_>, rules: &Rules, offer: Offer) -> Result<Endpoint, Reason> {
    let is_control = |text: &str| text.bytes().any(|byte| byte.is_ascii_control());
    if request.query.is_some_and(is_control) {
        return Err(Reason::MalformedTarget);
    }
    // A known path needs no decoding and no cleaning.
    if let Some(endpoint) = Endpoint::at(request.path, rules, offer) {
        return Ok(endpoint);
    }
    if is_control(request.path) {
        return Err(Reason::MalformedTarget);
    }
    let decoded = path::unescape(request.path).ok_or(Reason::MalformedTarget)?;
    if rules.printable_path && path::has_unprintable(&decoded) {
        return Err(Reason::UnprintablePath);
    }
    let unknown = |nearest| Reason::UnknownPath {
        nearest,
        is_api: decoded.contains("/v1/"),
    };
    let clean = path::clean(&decoded);
    if rules.literal_paths {
        let known: Vec<_> = Endpoint::served(rules, offer).map(Endpoint::name).collect();
        let nearest = match clean.strip_prefix(PREFIX) {
            Some(name) => nearest(name.trim_end_matches('/'), &known),
            None => (clean == PREFIX.trim_end_matches('/')).then_some(""),
        };
        return Err(unknown(nearest));
    }
    if clean != decoded {
        let redirect = path::redirect(request.method, &clean, request.query);
        return Err(Reason::Moved(redirect));
    }
    Endpoint::at(&decoded, rules, offer).ok_or(unknown(None))
}

/// Returns the method, if the endpoint has it. HEAD may be GET.
fn method<'a>(
    request: &Request<'a>,
    endpoint: Endpoint,
    rules: &Rules,
    offer: Offer,
) -> Result<&'a str, Reason> {
    let method = match request.method {
        "HEAD" if rules.head => "GET",
        method => method,
    };
    match method {
        _ if offer.methods(endpoint).any(|offered| offered == method) => Ok(method),
        "OPTIONS" if rules.allow => Err(Reason::Options(endpoint, offer)),
        _ => Err(Reason::Method {
            endpoint,
            offer,
            method: method.to_owned(),
        }),
    }
}

/// Tells whether there is a body. Over HTTP/1 a header tells of one that the transport has
/// not read.
fn has_body(parts: &Parts<'_>) -> bool {
    let length = parts.headers.value("content-length", 0);
    let is_long = |length: &[u8]| length.iter().any(|digit| matches!(digit, b'1'..=b'9'));
    !parts.body.is_empty()
        || length.is_some_and(is_long)
        || parts.headers.value("transfer-encoding", 0).is_some()
}

fn asked(endpoint: Endpoint, parts: &Parts<'_>) -> Result<Asked, Mistake> {
    let freshness = || consistency(parts.query, parts.headers, parts.rules);
    let operation = match endpoint {
        Endpoint::Index | Endpoint::OpenApi => return Ok(Asked::Index),
        Endpoint::Keyring => return keyring(parts),
        Endpoint::RaftConfiguration => Operation::RaftConfiguration(freshness()?),
        Endpoint::RaftPeer => remove_peer(parts)?,
        Endpoint::Diagnosis => Operation::Diagnose,
        Endpoint::TransferLeader => transfer_leadership(parts)?,
        Endpoint::RemovalPlan => Operation::PlanRemoval {
            server: peer(parts)?,
        },
        Endpoint::PlannedRemoval => Operation::RemovePlanned {
            id: required(parts, "id")?,
            version: version(parts)?,
        },
        Endpoint::ForcedRemoval => Operation::ForceRemoval {
            id: required(parts, "id")?,
        },
        Endpoint::Replacement => Operation::ReplacePeer {
            id: required(parts, "id")?,
            with: required(parts, "with")?,
        },
        Endpoint::AutopilotConfiguration if parts.method == "PUT" => {
            let (configuration, change) = autopilot_rules(parts)?;
            Operation::set_autopilot(configuration, change, cas(parts)?)
        }
        Endpoint::AutopilotConfiguration => Operation::AutopilotConfiguration(freshness()?),
        Endpoint::AutopilotHealth | Endpoint::AutopilotState => {
            Operation::AutopilotState(freshness()?)
        }
    };
    Ok(Asked::Operation(operation))
}

/// Reads a parameter that names a server.
fn named<'a>(parts: &Parts<'a>, name: &'static str) -> Result<Option<Cow<'a, str>>, Mistake> {
    match parts.query.get(name) {
        Some(server) if server.is_empty() && parts.rules.check_parameters => {
            let text = format!("the query parameter {name:?} is empty: name a server");
            Err(Mistake::new(text))
        }
        server => Ok(server),
    }
}

/// The name of the server that a change is about, if it is not UTF-8.
fn broken_name(endpoint: Endpoint, query: Query<'_>, rules: &Rules) -> Option<Box<[u8]>> {
    match endpoint {
        Endpoint::TransferLeader => query.broken("id"),
        Endpoint::RaftPeer if rules.peer_by_id && query.has("id") => query.broken("id"),
        Endpoint::RaftPeer => query.broken("address"),
        _ => None,
    }
}

fn transfer_leadership(parts: &Parts<'_>) -> Result<Operation, Mistake> {
    if parts.rules.refuse_partition {
        const WHY: &str = "Partitions are a Consul Enterprise feature";
        // Consul reads it nowhere else.
        let header = message::text(parts.headers, "x-consul-partition");
        if header.is_some_and(|name| !name.is_empty()) {
            let text = format!("Invalid header: \"X-Consul-Partition\" - {WHY}");
            return Err(Mistake::new(text));
        }
        if parts.query.given("partition").is_some() {
            let text = format!("Invalid query parameter: \"partition\" - {WHY}");
            return Err(Mistake::new(text));
        }
    }
    let id = named(parts, "id")?.filter(|id| !id.is_empty());
    Ok(Operation::TransferLeadership {
        to: id.map(|id| id.into_owned().into()),
    })
}

/// Reads a parameter that has to name a server.
fn required(parts: &Parts<'_>, name: &'static str) -> Result<ServerId, Mistake> {
    match named(parts, name)? {
        Some(id) => Ok(id.into_owned().into()),
        None => Err(Mistake::new(format!(
            "the query parameter {name:?} is missing: name a server"
        ))),
    }
}

/// Reads `?version`, which has to be a version.
fn version(parts: &Parts<'_>) -> Result<ConfigVersion, Mistake> {
    let version = parts.query.get("version").unwrap_or_default();
    version.parse().map_err(|_| {
        Mistake::new(format!(
            "the query parameter \"version\" must be a version such as 3-17{}: take it from the \
             removal's plan",
            told(", not ", &version)
        ))
    })
}

/// Words a parameter whose value cannot be read, of which Consul says `consul`.
fn unreadable(parts: &Parts<'_>, name: &str, value: &str, wanted: &str, consul: String) -> Mistake {
    Mistake::new(match parts.rules.errors {
        ErrorRules::Precise => format!(
            "the query parameter {name:?} must be {wanted}{}",
            told(", not ", value)
        ),
        ErrorRules::Consul => consul,
    })
}

/// Reads the server that `?id` or `?address` names.
fn peer(parts: &Parts<'_>) -> Result<PeerSelector, Mistake> {
    let id = named(parts, "id")?.filter(|_| parts.rules.peer_by_id);
    match (id, named(parts, "address")?) {
        (None, None) => Err(Mistake::new(parts.rules.missing_peer)),
        (Some(_), Some(_)) => Err(Mistake::new("Must specify only one of ?id or ?address")),
        (Some(id), None) => Ok(PeerSelector::Id(id.into_owned().into())),
        (None, Some(address)) => Ok(PeerSelector::Address(address.into_owned().into())),
    }
}

fn remove_peer(parts: &Parts<'_>) -> Result<Operation, Mistake> {
    let server = peer(parts)?;
    let expected_index = if parts.rules.peer_cas {
        cas(parts)?
    } else {
        None
    };
    Ok(Operation::RemovePeer {
        server,
        expected_index,
    })
}

/// Reads `?cas`, which has to be an index where it is given.
fn cas(parts: &Parts<'_>) -> Result<Option<u64>, Mistake> {
    let Some(index) = parts.query.get("cas") else {
        return Ok(None);
    };
    parse_uint(&index).map(Some).map_err(|go| {
        let consul = format!("Error parsing cas value: {go}");
        unreadable(parts, "cas", &index, "an index such as 42", consul)
    })
}

/// What is asked of the keyring, in the body or in parameters.
#[derive(Default)]
struct KeyringArgs {
    key: Zeroizing<String>,
    relay_factor: u8,
    local_only: bool,
}

fn keyring(parts: &Parts<'_>) -> Result<Asked, Mistake> {
    let change = match parts.method {
        "POST" => Some(Change::Install),
        "PUT" => Some(Change::Use),
        "DELETE" => Some(Change::Remove),
        _ => None,
    };
    let mut args = match change {
        Some(_) => keyring_args(parts)?,
        None => KeyringArgs::default(),
    };
    if parts.rules.keyring_parameters {
        keyring_parameters(parts, &mut args)?;
    }
    let relay_factor = match RelayFactor::try_from(args.relay_factor) {
        Ok(factor) => factor,
        Err(_) if parts.rules.refuse_keys => return Err(Mistake::new(RELAY_FACTOR_RANGE)),
        // Consul does not check the factor of a body, and memberlist relays through no
        // more nodes than there are.
        Err(_) => RelayFactor::MAX,
    };
    let mut malformed_key = None;
    let action = match change {
        None => KeyringAction::List,
        Some(change) => match (GossipKey::from_base64(&args.key), change) {
            (Ok(key), Change::Install) => KeyringAction::Install(key),
            (Ok(key), Change::Use) => KeyringAction::Use(key),
            (Ok(key), Change::Remove) => KeyringAction::Remove(key),
            (Err(_), _) if parts.rules.refuse_keys && args.key.is_empty() => {
                return Err(Mistake::new(format!(
                    "\"Key\" is missing or empty: send JSON such as {KEY_EXAMPLE}"
                )));
            }
            (Err(error), _) if parts.rules.refuse_keys => return Err(Mistake::key(error)),
            (Err(error), change) => {
                malformed_key = Some(MalformedKey { change, error });
                KeyringAction::List
            }
        },
    };
    let operation = Operation::Keyring {
        action,
        scope: match change {
            None if args.local_only => KeyringScope::LocalOnly,
            _ => KeyringScope::Federation,
        },
        relay_factor,
    };
    Ok(match malformed_key {
        Some(key) => Asked::MalformedKey(operation, key),
        None => Asked::Operation(operation),
    })
}

/// Reads the JSON body.
fn body(parts: &Parts<'_>, schema: fn(BodyRules) -> Schema) -> Result<Fields, Mistake> {
    let mut encodings = (0..).map_while(|at| parts.headers.value("content-encoding", at));
    let encoding = encodings.find(|it| !it.eq_ignore_ascii_case(b"identity"));
    if let Some(encoding) = encoding.filter(|_| parts.rules.check_parameters) {
        let encoding = told(" ", &String::from_utf8_lossy(encoding));
        return Err(Mistake::new(format!(
            "the body has the content encoding{encoding}: send it without one"
        )));
    }
    let rules = parts.rules.body;
    request_body::read(parts.body, &schema(rules), rules).map_err(Mistake::new)
}

const LOCAL_CHANGE: &str =
    "Invalid use of local-only: local-only can only be set for list requests";

/// Reads the body of a change of the keyring.
fn keyring_args(parts: &Parts<'_>) -> Result<KeyringArgs, Mistake> {
    let mut fields = body(parts, request_body::keyring)?;
    let args = KeyringArgs {
        key: fields.value("Key").unwrap_or_default(),
        // Larger ones have been refused.
        relay_factor: fields.value("RelayFactor").unwrap_or(0_u64) as u8,
        local_only: fields.value("LocalOnly").unwrap_or_default(),
    };
    if parts.rules.refuse_keys && args.local_only {
        Err(Mistake::new(LOCAL_CHANGE))
    } else {
        Ok(args)
    }
}

/// Reads the parameters of the keyring, which beat what the body says.
fn keyring_parameters(parts: &Parts<'_>, args: &mut KeyringArgs) -> Result<(), Mistake> {
    if let Some(factor) = parts.query.given("relay-factor") {
        let number = atoi(&factor).map_err(|go| {
            let consul = format!("Error parsing relay factor: {go}");
            unreadable(
                parts,
                "relay-factor",
                &factor,
                "a number from 0 to 5",
                consul,
            )
        })?;
        args.relay_factor = u8::try_from(number)
            .ok()
            .filter(|factor| *factor <= RelayFactor::MAX.get())
            .ok_or(Mistake::new(RELAY_FACTOR_RANGE))?;
    }
    let local = if parts.rules.check_parameters {
        parts.query.get("local-only")
    } else {
        parts.query.given("local-only")
    };
    if let Some(local) = local {
        // A flag without a value is set, like `?stale`.
        let local = if local.is_empty() { "true" } else { &local };
        args.local_only = parse_bool(local).map_err(|go| {
            let consul = format!("Error parsing local-only: {go}");
            unreadable(parts, "local-only", local, "true or false", consul)
        })?;
        if args.local_only && parts.method != "GET" {
            return Err(Mistake::new(LOCAL_CHANGE));
        }
    }
    Ok(())
}

/// Reads autopilot's new rules, and the change of those that Consul lacks.
fn autopilot_rules(parts: &Parts<'_>) -> Result<(AutopilotConfiguration, DriverChange), Mistake> {
    let mut fields = body(parts, request_body::autopilot)?;
    let left_out = if parts.rules.autopilot_defaults {
        parts.autopilot.clone()
    } else {
        AutopilotConfiguration {
            cleanup_dead_servers: false,
            last_contact_threshold: Duration::ZERO,
            max_trailing_logs: 0,
            server_stabilization_time: Duration::ZERO,
            ..AutopilotConfiguration::default()
        }
    };
    let duration = |field: &str, given| match given {
        GoDuration(..0) if parts.rules.refuse_negative => {
            Err(Mistake::new(format!("{field:?} must not be negative")))
        }
        duration => Ok(duration.get()),
    };
    let mut consuls_duration = |field, left_out| match fields.value(field) {
        Some(given) => duration(field, given),
        None => Ok(left_out),
    };
    let contact = consuls_duration("LastContactThreshold", left_out.last_contact_threshold)?;
    let stabilization = consuls_duration(
        "ServerStabilizationTime",
        left_out.server_stabilization_time,
    )?;
    let mut tag = |field, left_out| match fields.value::<Zeroizing<String>>(field) {
        Some(tag) if tag.len() > Request::MAX_VALUE => {
            Err(Mistake::too_long("a tag", Request::MAX_VALUE))
        }
        Some(tag) => Ok(tag.to_string()),
        None => Ok(left_out),
    };
    let zone = tag("RedundancyZoneTag", left_out.redundancy_zone_tag)?;
    let version = tag("UpgradeVersionTag", left_out.upgrade_version_tag)?;
    let change = DriverChange {
        failed_hold: match fields.change("FailedHold") {
            ValueChange::Set(hold) => ValueChange::Set(duration("FailedHold", hold)?),
            ValueChange::Reset => ValueChange::Reset,
            ValueChange::Keep => ValueChange::Keep,
        },
        intended_size: fields.change("IntendedSize"),
        dry_run: fields.change("DryRun"),
    };
    let configuration = AutopilotConfiguration {
        cleanup_dead_servers: fields
            .value("CleanupDeadServers")
            .unwrap_or(left_out.cleanup_dead_servers),
        last_contact_threshold: contact,
        max_trailing_logs: fields
            .value("MaxTrailingLogs")
            .unwrap_or(left_out.max_trailing_logs),
        min_quorum: fields.value("MinQuorum").unwrap_or(left_out.min_quorum),
        server_stabilization_time: stabilization,
        redundancy_zone_tag: zone,
        disable_upgrade_migration: fields
            .value("DisableUpgradeMigration")
            .unwrap_or(left_out.disable_upgrade_migration),
        upgrade_version_tag: version,
        ..AutopilotConfiguration::default()
    };
    Ok((configuration, change))
}
