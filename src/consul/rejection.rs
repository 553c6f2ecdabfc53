//! Requests that are rejected before the service is asked.

use std::fmt;

use super::body_error::{self, BodyError};
use super::dialect::{Dialect, ErrorRules, Rules};
use super::endpoint::{Endpoint, Form, Offer, PREFIX, View};
use super::error;
use super::go::{atoi, parse_bool, parse_uint, told};
use super::message::{Request, Response};
use super::path::Redirect;
use crate::acl::{Access, DefaultPolicy, Resource};
use crate::error::ErrorKind;
use crate::keyring::InvalidKey;
use crate::service::Caller;

/// A request that the service is not asked, and why.
///
/// [`Wire::reject`](super::Wire::reject) writes the response.
#[derive(Debug)]
pub struct Rejection {
    pub(super) reason: Reason,
    pub(super) form: Form,
    pub(super) only_for: Option<Box<Permission>>,
}

/// A permission that a caller needs.
#[derive(Debug)]
pub struct Permission {
    /// The caller.
    pub caller: Caller,
    /// The resource.
    pub resource: Resource,
    /// The access to it.
    pub access: Access,
    /// The form of a denial, for [`Wire::encode`](super::Wire::encode).
    pub view: View,
}

/// Why a request is rejected.
#[derive(Debug)]
pub(super) enum Reason {
    /// The path or the query is not one that HTTP allows.
    MalformedTarget,
    UnprintablePath,
    Moved(Redirect),
    UnknownPath {
        /// The endpoint that may have been meant.
        nearest: Option<&'static str>,
        /// It has `/v1/` in it.
        is_api: bool,
    },
    MalformedQuery,
    /// OPTIONS, which is no mistake.
    Options(Endpoint, Offer),
    /// The list of endpoints or their OpenAPI document, which only a service has.
    Index,
    Method {
        endpoint: Endpoint,
        offer: Offer,
        method: String,
    },
    TooManyHeaders,
    TooManyRequests,
    Mistake(Mistake),
    BodyTooLarge {
        limit: usize,
    },
    BodyUnreadable,
    BodyTooLate,
}

/// What is wrong with the parameters or the body of a request.
pub(super) enum Mistake {
    /// This flag together with `?consistent`.
    Consistency(&'static str),
    CacheControl,
    MaxStale(String),
    Wait,
    Index,
    NoPeer,
    TwoPeers,
    /// A partition, in this part of the request.
    Partition(&'static str),
    Cas(String),
    RelayFactor(String),
    RelayFactorRange,
    LocalOnly(String),
    /// `local-only` for a change.
    LocalChange,
    Key(InvalidKey),
    NoKey,
    ContentEncoding(String),
    Body {
        errors: Vec<BodyError>,
        /// What stands before the error.
        prefix: &'static str,
        /// What the body should look like.
        example: &'static str,
    },
    UnknownParameter {
        name: String,
        /// Those of the endpoint.
        known: &'static [&'static str],
        /// Those of all endpoints that have an effect here.
        common: &'static [&'static str],
    },
    /// The list of endpoints or their OpenAPI document in another datacenter.
    IndexElsewhere,
    /// `?dc` and `?datacenter` differ.
    TwoDatacenters,
    /// A body where none is read.
    UnexpectedBody,
    RepeatedParameter(String),
    RepeatedHeader(&'static str),
    /// A name that is given without a value.
    EmptyName(&'static str),
    /// A name that has to be given and is not.
    MissingName(&'static str),
    /// `?version` is not a version.
    Version(String),
    /// A bound of [`Request`](super::Request).
    TooLong {
        what: String,
        limit: usize,
    },
    TooMany {
        what: &'static str,
        limit: usize,
    },
    /// A duration of autopilot's rules that is below zero.
    NegativeDuration(&'static str),
}

/// Shows the text of the error. The parts of the request may be secrets.
impl fmt::Debug for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason(Dialect::Precise.rules()))
    }
}

/// A body that changes the keyring.
pub(super) const KEY_EXAMPLE: &str = r#"{"Key": "<16, 24 or 32 bytes in base64>"}"#;

/// Consul's text for a relay factor that is too large.
pub(super) const RELAY_FACTOR_RANGE: &str =
    "Invalid relay-factor: Relay factor must be in range: [0, 5]";

impl Rejection {
    /// Returns the permission that the caller needs to see the response; `None` if none.
    /// [`Wire::serve`](super::Wire::serve) asks the service.
    pub fn only_for(&self) -> Option<&Permission> {
        self.only_for.as_deref()
    }

    pub(super) fn response(&self, rules: &Rules, policy: DefaultPolicy) -> Response {
        let mut response = self.reason.response(self.form.problem, rules, policy);
        if rules.errors == ErrorRules::Precise && response.status >= 400 {
            response = response.with("X-Operator-Error", self.reason.kind());
        }
        match self.form.head {
            true if rules.head => response.leave_out_body(),
            true => response.body.clear(),
            false => {}
        }
        response
    }
}

impl Reason {
    /// The name of the kind of error.
    pub(super) fn kind(&self) -> &'static str {
        let reason = String::new();
        let kind = match self {
            Reason::Mistake(Mistake::Key(error)) => ErrorKind::InvalidKey(*error),
            Reason::Index => ErrorKind::Unsupported { what: reason },
            Reason::TooManyRequests => ErrorKind::Unavailable { reason },
            _ => ErrorKind::InvalidRequest { reason },
        };
        kind.name()
    }

    fn response(&self, problem: bool, rules: &Rules, policy: DefaultPolicy) -> Response {
        let is_consul = rules.errors == ErrorRules::Consul;
        let text = |status, text: &str| error::error_response(status, text, problem);
        let response = match self {
            // net/http and its mux answer these before Consul sees the request.
            Reason::MalformedTarget if is_consul => return Response::text(400, "400 Bad Request"),
            Reason::UnknownPath { is_api, .. } if is_consul => {
                return match rules.not_found(*is_api) {
                    "" => Response::empty(404),
                    text => Response::text(404, text),
                };
            }
            Reason::Moved(redirect) => return redirect.response(),
            Reason::UnprintablePath if is_consul => Response::empty(400),
            // Consul does not say what is wrong, and takes it for its own failure.
            Reason::MalformedQuery if is_consul => Response::empty(500),
            Reason::MalformedTarget | Reason::UnprintablePath => {
                text(400, "Invalid URL path: check its % escapes")
            }
            Reason::UnknownPath { nearest, is_api } => {
                let mut what = rules.not_found(*is_api).to_owned();
                if let Some(nearest) = nearest {
                    what += &format!(": did you mean {PREFIX}{nearest}?");
                }
                text(404, &what)
            }
            Reason::MalformedQuery => text(
                400,
                "Invalid query string: check its % escapes and semicolons",
            ),
            Reason::Index => text(501, "the endpoints of a server need the service"),
            Reason::Options(endpoint, offer) => {
                Response::empty(200).with("Allow", allow(*endpoint, *offer))
            }
            Reason::Method { .. } if !rules.allow => Response::empty(405),
            Reason::Method {
                endpoint,
                offer,
                method,
            } => {
                let only_reads = endpoint.methods().contains(&method.as_str());
                let why = if only_reads {
                    ": this address only serves reads"
                } else {
                    ""
                };
                let text = text(405, &format!("method {method} not allowed{why}"));
                text.with("Allow", allow(*endpoint, *offer))
            }
            Reason::TooManyRequests => {
                let text = text(503, "this server is executing too many requests: try again");
                text.with("Retry-After", "1")
            }
            Reason::TooManyHeaders => text(
                431,
                &format!("there are more than {} header fields", Request::MAX_HEADERS),
            ),
            Reason::Mistake(mistake) => text(400, &mistake.text(rules)),
            Reason::BodyTooLarge { limit } => {
                text(413, &format!("Request body is larger than {limit} bytes"))
            }
            Reason::BodyUnreadable => text(400, "Request body could not be read"),
            Reason::BodyTooLate => text(408, "Request body did not come in time"),
        };
        response.finish(rules, policy)
    }
}

fn allow(endpoint: Endpoint, offer: Offer) -> String {
    let methods = std::iter::once("OPTIONS").chain(offer.methods(endpoint));
    methods.collect::<Vec<_>>().join(",")
}

impl Mistake {
    fn text(&self, rules: &Rules) -> String {
        match self {
            // Consul writes these without the words before the others.
            Mistake::Consistency(_)
            | Mistake::CacheControl
            | Mistake::MaxStale(_)
            | Mistake::Wait
            | Mistake::Index => self.reason(rules),
            _ => format!("{}{}", rules.bad_request, self.reason(rules)),
        }
    }

    fn reason(&self, rules: &Rules) -> String {
        let own = rules.errors == ErrorRules::Precise;
        match self {
            Mistake::Consistency(flag) => {
                format!("Cannot specify ?{flag} with ?consistent, conflicting semantics.")
            }
            Mistake::CacheControl => "Invalid Cache-Control header.".into(),
            Mistake::MaxStale(age) => format!("Invalid max_stale value{}", told(" ", age)),
            Mistake::Wait => "Invalid wait time".into(),
            Mistake::Index => "Invalid index".into(),
            Mistake::NoPeer => rules.missing_peer.into(),
            Mistake::Partition(what) => {
                format!("Invalid {what} - Partitions are a Consul Enterprise feature")
            }
            Mistake::TwoPeers => "Must specify only one of ?id or ?address".into(),
            Mistake::Cas(value) if own => format!(
                "the query parameter \"cas\" must be an index such as 42{}",
                told(", not ", value)
            ),
            Mistake::Cas(value) => {
                format!("Error parsing cas value: {}", refused(parse_uint(value)))
            }
            Mistake::RelayFactor(value) if own => format!(
                "the query parameter \"relay-factor\" must be a number from 0 to 5{}",
                told(", not ", value)
            ),
            Mistake::RelayFactor(value) => {
                format!("Error parsing relay factor: {}", refused(atoi(value)))
            }
            Mistake::RelayFactorRange => RELAY_FACTOR_RANGE.into(),
            Mistake::LocalOnly(value) if own => format!(
                "the query parameter \"local-only\" must be true or false{}",
                told(", not ", value)
            ),
            Mistake::LocalOnly(value) => {
                format!("Error parsing local-only: {}", refused(parse_bool(value)))
            }
            Mistake::LocalChange => {
                "Invalid use of local-only: local-only can only be set for list requests".into()
            }
            Mistake::NoKey => {
                format!("\"Key\" is missing or empty: send JSON such as {KEY_EXAMPLE}")
            }
            Mistake::Key(error) => format!("Invalid gossip key: {error}"),
            Mistake::Body {
                errors, example, ..
            } if own => body_error::text(errors, example, rules.body),
            Mistake::ContentEncoding(encoding) => format!(
                "the body has the content encoding{}: send it without one",
                told(" ", encoding)
            ),
            Mistake::Body {
                errors,
                prefix,
                example,
            } => format!("{prefix}{}", body_error::text(errors, example, rules.body)),
            Mistake::UnknownParameter {
                name,
                known,
                common,
            } => unknown_parameter(name, known, common),
            Mistake::IndexElsewhere => "this endpoint answers for its own server only: leave out \
                                        the datacenter, or ask a server there"
                .into(),
            Mistake::TwoDatacenters => "?dc and ?datacenter differ: send one of them".into(),
            Mistake::UnexpectedBody => "this endpoint takes no body: use the query".into(),
            Mistake::RepeatedParameter(name) => {
                format!("the query parameter {name:?} is given twice")
            }
            Mistake::RepeatedHeader(name) => {
                format!("the header {name} is given twice: send one token")
            }
            Mistake::EmptyName(name) => {
                format!("the query parameter {name:?} is empty: name a server")
            }
            Mistake::MissingName(name) => {
                format!("the query parameter {name:?} is missing: name a server")
            }
            Mistake::Version(value) => format!(
                "the query parameter \"version\" must be a version such as 3-17{}: take it from \
                 the removal's plan",
                told(", not ", value)
            ),
            Mistake::TooLong { what, limit } => format!("{what} is longer than {limit} bytes"),
            Mistake::TooMany { what, limit } => format!("there are more than {limit} {what}"),
            Mistake::NegativeDuration(field) => format!("{field:?} must not be negative"),
        }
    }
}

/// Go's words for a text that it refuses.
fn refused<T>(parsed: Result<T, String>) -> String {
    parsed.err().unwrap_or_default()
}

/// Names an unknown parameter, and the one that may have been meant: of the endpoint, else
/// of all endpoints.
fn unknown_parameter(name: &str, own: &[&str], common: &[&str]) -> String {
    let what = format!("unknown query parameter{}", told(" ", name));
    if let Some(nearest) = nearest(name, own).or_else(|| nearest(name, common)) {
        return format!("{what}: did you mean {nearest:?}?");
    }
    match own {
        [] => format!("{what}: this endpoint has none of its own"),
        _ => format!("{what}: this endpoint has {}", own.join(", ")),
    }
}

/// The name that is nearest to a misspelt one: one that differs in a third of its
/// characters at most, a word of it, or the only one that begins so.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let simple = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    let wanted = simple(name);
    let distance = |known: &str| strsim::osa_distance(&wanted, &simple(known));
    let nearest = known.iter().min_by_key(|known| distance(known))?;
    if distance(nearest) <= nearest.len().max(wanted.len()) / 3 {
        return Some(nearest);
    }
    let mut words = name.split(['-', '_']).filter(|word| !word.is_empty());
    let word = |word: &str| known.iter().find(|known| known.eq_ignore_ascii_case(word));
    if let Some(known) = words.find_map(word) {
        return Some(known);
    }
    let mut begun = known
        .iter()
        .filter(|known| simple(known).starts_with(&wanted));
    match (begun.next(), begun.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}
