//! Decoding of requests into an [`OperatorRequest`].
//!
//! The order of the checks is Consul's, because it decides which of several mistakes is
//! reported.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::body::{AutopilotRules, KeyringArgs, OldKeyringArgs};
use super::dialect::{BodyRules, ErrorRules, Rules};
use super::endpoint::{Endpoint, Form, Offer, PREFIX, View};
use super::go::{GoDuration, atoi, parse_bool, parse_uint};
use super::malformed_key::{Change, MalformedKey};
use super::message::{self, Headers, JSON, PROBLEM, Request};
use super::path::{self, Redirect};
use super::query::{self, Query, consistency, datacenter, token};
use super::rejection::{KEY_EXAMPLE, Mistake, Permission, Reason, Rejection, nearest};
use super::{error, unmarshal};
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
        return Err(reject(Reason::TooManyHeaders));
    }
    let endpoint = endpoint(request, rules, offer).map_err(reject)?;
    let query =
        Query::parse(request.query.unwrap_or("")).map_err(|_| reject(Reason::MalformedQuery))?;
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
        return Err(reject(Reason::BodyTooLarge { limit: body_limit }));
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
    let operation = match no_body(endpoint, &parts).and_then(|()| asked(endpoint, &parts)) {
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
            let is_about_body = matches!(mistake, Mistake::UnexpectedBody);
            let mut rejection = reject(Reason::Mistake(mistake));
            // Only a caller who may write learns what is wrong with a body.
            if rules.private_mistakes && (endpoint.wants_body(method) || is_about_body) {
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
    let query = Query::parse(request.query.unwrap_or("")).ok();
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
    let decoded = path::unescape(request.path).map_err(|_| Reason::MalformedTarget)?;
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
            None => (*clean == *PREFIX.trim_end_matches('/')).then_some(""),
        };
        return Err(unknown(nearest));
    }
    if clean != decoded {
        let redirect = Redirect::new(request.method, &clean, request.query);
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

/// Checks that a change without a body has none: what it says would be ignored. Over
/// HTTP/1 a header tells of a body that the transport has not read.
fn no_body(endpoint: Endpoint, parts: &Parts<'_>) -> Result<(), Mistake> {
    let length = parts.headers.value("content-length", 0);
    let is_long = |length: &[u8]| length.iter().any(|digit| matches!(digit, b'1'..=b'9'));
    let has_body = !parts.body.is_empty()
        || length.is_some_and(is_long)
        || parts.headers.value("transfer-encoding", 0).is_some();
    if parts.rules.check_parameters && has_body && endpoint.rejects_body(parts.method) {
        Err(Mistake::UnexpectedBody)
    } else {
        Ok(())
    }
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
            Err(Mistake::EmptyName(name))
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
        // Consul reads it nowhere else.
        let header = message::text(parts.headers, "x-consul-partition");
        if header.is_some_and(|name| !name.is_empty()) {
            return Err(Mistake::Partition("header: \"X-Consul-Partition\""));
        }
        if parts.query.given("partition").is_some() {
            return Err(Mistake::Partition("query parameter: \"partition\""));
        }
    }
    let id = named(parts, "id")?.filter(|id| !id.is_empty());
    Ok(Operation::TransferLeadership {
        to: id.map(|id| id.into_owned().into()),
    })
}

/// Reads a parameter that has to name a server.
fn required(parts: &Parts<'_>, name: &'static str) -> Result<ServerId, Mistake> {
    let id = named(parts, name)?.ok_or(Mistake::MissingName(name))?;
    Ok(id.into_owned().into())
}

/// Reads `?version`, which has to be a version.
fn version(parts: &Parts<'_>) -> Result<ConfigVersion, Mistake> {
    let version = parts.query.get("version").unwrap_or_default();
    version
        .parse()
        .map_err(|_| Mistake::Version(version.into_owned()))
}

/// Reads the server that `?id` or `?address` names.
fn peer(parts: &Parts<'_>) -> Result<PeerSelector, Mistake> {
    let id = named(parts, "id")?.filter(|_| parts.rules.peer_by_id);
    match (id, named(parts, "address")?) {
        (None, None) => Err(Mistake::NoPeer),
        (Some(_), Some(_)) => Err(Mistake::TwoPeers),
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
    let index = parts.query.get("cas");
    let index = index.map(|index| parse_uint(&index).map_err(|_| Mistake::Cas(index.into())));
    index.transpose()
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
        Err(_) if parts.rules.refuse_keys => return Err(Mistake::RelayFactorRange),
        // Consul does not check the factor of a body, and memberlist relays through no
        // more nodes than there are.
        Err(_) => RelayFactor::MAX,
    };
    let mut malformed_key = None;
    let action = match change {
        None => KeyringAction::List,
        Some(change) => match (GossipKey::from_base64(&args.key.0), change) {
            (Ok(key), Change::Install) => KeyringAction::Install(key),
            (Ok(key), Change::Use) => KeyringAction::Use(key),
            (Ok(key), Change::Remove) => KeyringAction::Remove(key),
            (Err(_), _) if parts.rules.refuse_keys && args.key.0.is_empty() => {
                return Err(Mistake::NoKey);
            }
            (Err(error), _) if parts.rules.refuse_keys => return Err(Mistake::Key(error)),
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

/// Reads the JSON body. `prefix` stands before an error in Consul's dialects.
fn body<T: DeserializeOwned>(
    parts: &Parts<'_>,
    prefix: &'static str,
    example: &'static str,
) -> Result<T, Mistake> {
    let mut encodings = (0..).map_while(|at| parts.headers.value("content-encoding", at));
    let encoding = encodings.find(|it| !it.eq_ignore_ascii_case(b"identity"));
    if let Some(encoding) = encoding.filter(|_| parts.rules.check_parameters) {
        let encoding = String::from_utf8_lossy(encoding).into_owned();
        return Err(Mistake::ContentEncoding(encoding));
    }
    unmarshal::read(parts.body, parts.rules.body).map_err(|errors| Mistake::Body {
        errors,
        prefix,
        example,
    })
}

/// Reads the body of a change of the keyring.
fn keyring_args(parts: &Parts<'_>) -> Result<KeyringArgs, Mistake> {
    const PREFIX: &str = "Request decode failed: ";
    if parts.rules.body == BodyRules::Loose {
        let OldKeyringArgs { key, .. } = body(parts, PREFIX, KEY_EXAMPLE)?;
        return Ok(KeyringArgs {
            key,
            ..KeyringArgs::default()
        });
    }
    let args: KeyringArgs = body(parts, PREFIX, KEY_EXAMPLE)?;
    if parts.rules.refuse_keys && args.local_only {
        Err(Mistake::LocalChange)
    } else {
        Ok(args)
    }
}

/// Reads the parameters of the keyring, which beat what the body says.
fn keyring_parameters(parts: &Parts<'_>, args: &mut KeyringArgs) -> Result<(), Mistake> {
    if let Some(factor) = parts.query.given("relay-factor") {
        let factor = atoi(&factor).map_err(|_| Mistake::RelayFactor(factor.into()))?;
        args.relay_factor = u8::try_from(factor)
            .ok()
            .filter(|factor| *factor <= RelayFactor::MAX.get())
            .ok_or(Mistake::RelayFactorRange)?;
    }
    let local = if parts.rules.check_parameters {
        parts.query.get("local-only")
    } else {
        parts.query.given("local-only")
    };
    if let Some(local) = local {
        // A flag without a value is set, like `?stale`.
        let local = if local.is_empty() { "true" } else { &local };
        args.local_only = parse_bool(local).map_err(|_| Mistake::LocalOnly(local.into()))?;
        if args.local_only && parts.method != "GET" {
            return Err(Mistake::LocalChange);
        }
    }
    Ok(())
}

/// Reads autopilot's new rules, and the change of those that Consul lacks.
fn autopilot_rules(parts: &Parts<'_>) -> Result<(AutopilotConfiguration, DriverChange), Mistake> {
    let rules: AutopilotRules = body(
        parts,
        "Error parsing autopilot config: ",
        r#"{"CleanupDeadServers": true, "LastContactThreshold": "200ms"}"#,
    )?;
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
    let duration = |field, given: Option<GoDuration>, left_out| match given {
        Some(GoDuration(..0)) if parts.rules.refuse_negative => {
            Err(Mistake::NegativeDuration(field))
        }
        Some(GoDuration(nanoseconds)) => {
            let nanoseconds = u64::try_from(nanoseconds).unwrap_or_default();
            Ok(Duration::from_nanos(nanoseconds))
        }
        None => Ok(left_out),
    };
    fn change<T>(given: Option<Option<T>>) -> ValueChange<T> {
        given.map_or(ValueChange::Keep, |value| {
            value.map_or(ValueChange::Reset, ValueChange::Set)
        })
    }
    let hold = match rules.failed_hold {
        Some(Some(hold)) => Some(Some(duration("FailedHold", Some(hold), Duration::ZERO)?)),
        Some(None) => Some(None),
        None => None,
    };
    let own = DriverChange {
        failed_hold: change(hold),
        intended_size: change(rules.intended_size),
        dry_run: change(rules.dry_run),
    };
    let contact = duration(
        "LastContactThreshold",
        rules.last_contact_threshold,
        left_out.last_contact_threshold,
    )?;
    let stabilization = duration(
        "ServerStabilizationTime",
        rules.server_stabilization_time,
        left_out.server_stabilization_time,
    )?;
    let tag = |tag: Option<String>, left_out| match tag {
        Some(tag) if tag.len() > Request::MAX_VALUE => Err(Mistake::TooLong {
            what: "a tag".into(),
            limit: Request::MAX_VALUE,
        }),
        tag => Ok(tag.unwrap_or(left_out)),
    };
    let configuration = AutopilotConfiguration {
        cleanup_dead_servers: rules
            .cleanup_dead_servers
            .unwrap_or(left_out.cleanup_dead_servers),
        last_contact_threshold: contact,
        max_trailing_logs: rules
            .max_trailing_logs
            .unwrap_or(left_out.max_trailing_logs),
        min_quorum: rules
            .min_quorum
            .map_or(left_out.min_quorum, |quorum| quorum.0),
        server_stabilization_time: stabilization,
        redundancy_zone_tag: tag(rules.redundancy_zone_tag, left_out.redundancy_zone_tag)?,
        disable_upgrade_migration: rules
            .disable_upgrade_migration
            .unwrap_or(left_out.disable_upgrade_migration),
        upgrade_version_tag: tag(rules.upgrade_version_tag, left_out.upgrade_version_tag)?,
        ..AutopilotConfiguration::default()
    };
    Ok((configuration, own))
}
