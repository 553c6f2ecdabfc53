//! Requests that are rejected before the service is asked.

use super::dialect::{ErrorRules, Rules};
use super::endpoint::{Endpoint, Form, View};
use super::go::quote;
use super::message::Response;
use super::path::Redirect;
use super::status;
use super::unmarshal::{self, BodyError};
use crate::acl::{Access, DefaultPolicy, Resource};
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

/// What a caller has to be allowed.
#[derive(Debug)]
pub struct Permission {
    /// Who asks.
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
    UnknownPath,
    MalformedQuery,
    /// OPTIONS, which is no mistake.
    Options(Endpoint),
    Method {
        endpoint: Endpoint,
        method: String,
    },
    Mistake(Mistake),
    BodyTooLarge {
        limit: usize,
    },
    BodyUnreadable,
    BodyTooLate,
}

/// What is wrong with the parameters or the body of a request.
#[derive(Debug)]
pub(super) enum Mistake {
    /// This flag together with `?consistent`.
    Consistency(&'static str),
    CacheControl,
    MaxStale(String),
    Wait,
    Index,
    NoPeer,
    TwoPeers,
    Cas {
        go: String,
    },
    RelayFactor {
        go: String,
    },
    RelayFactorRange,
    LocalOnly {
        go: String,
    },
    /// `local-only` for a change.
    LocalChange,
    Key(InvalidKey),
    Body {
        errors: Vec<BodyError>,
        /// What stands before the error.
        prefix: &'static str,
        /// What the body should look like.
        example: &'static str,
    },
    /// A duration of autopilot's rules that is below zero.
    NegativeDuration,
}

impl Rejection {
    /// What the caller has to be allowed to see the response; `None` if everyone may.
    /// [`Wire::serve`](super::Wire::serve) asks the service.
    pub fn only_for(&self) -> Option<&Permission> {
        self.only_for.as_deref()
    }

    pub(super) fn response(&self, rules: &Rules, policy: DefaultPolicy) -> Response {
        let mut response = self.reason.response(self.form.problem, rules, policy);
        match self.form.head {
            true if rules.head => response.leave_out_body(),
            true => response.body.clear(),
            false => {}
        }
        response
    }
}

impl Reason {
    fn response(&self, problem: bool, rules: &Rules, policy: DefaultPolicy) -> Response {
        let is_consul = rules.errors == ErrorRules::Consul;
        let text = |status, text: &str| status::error_response(status, text, problem);
        let response = match self {
            // net/http and its mux answer these before Consul sees the request.
            Reason::MalformedTarget if is_consul => return Response::text(400, "400 Bad Request"),
            Reason::UnknownPath if is_consul => return Response::empty(404),
            Reason::Moved(redirect) => return redirect.response(),
            Reason::UnprintablePath if is_consul => Response::empty(400),
            // Consul does not say what is wrong, and takes it for its own failure.
            Reason::MalformedQuery if is_consul => Response::empty(500),
            Reason::MalformedTarget | Reason::UnprintablePath => {
                text(400, "Invalid URL path: check its % escapes")
            }
            Reason::UnknownPath => {
                text(404, "Invalid URL path: not a recognized HTTP API endpoint")
            }
            Reason::MalformedQuery => text(
                400,
                "Invalid query string: check its % escapes and semicolons",
            ),
            Reason::Options(endpoint) => Response::empty(200).with("Allow", allow(*endpoint)),
            Reason::Method { .. } if !rules.allow => Response::empty(405),
            Reason::Method { endpoint, method } => {
                let text = text(405, &format!("method {method} not allowed"));
                text.with("Allow", allow(*endpoint))
            }
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

fn allow(endpoint: Endpoint) -> String {
    format!("OPTIONS,{}", endpoint.methods().join(","))
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
        match self {
            Mistake::Consistency(flag) => {
                format!("Cannot specify ?{flag} with ?consistent, conflicting semantics.")
            }
            Mistake::CacheControl => "Invalid Cache-Control header.".into(),
            Mistake::MaxStale(age) => format!("Invalid max_stale value {}", quote(age)),
            Mistake::Wait => "Invalid wait time".into(),
            Mistake::Index => "Invalid index".into(),
            Mistake::NoPeer => rules.missing_peer.into(),
            Mistake::TwoPeers => "Must specify only one of ?id or ?address".into(),
            Mistake::Cas { go } => format!("Error parsing cas value: {go}"),
            Mistake::RelayFactor { go } => format!("Error parsing relay factor: {go}"),
            Mistake::RelayFactorRange => {
                "Invalid relay-factor: Relay factor must be in range: [0, 5]".into()
            }
            Mistake::LocalOnly { go } => format!("Error parsing local-only: {go}"),
            Mistake::LocalChange => {
                "Invalid use of local-only: local-only can only be set for list requests".into()
            }
            Mistake::Key(error) => format!("Invalid gossip key: {error}"),
            Mistake::Body {
                errors,
                prefix,
                example,
            } => format!("{prefix}{}", unmarshal::text(errors, example, rules.body)),
            Mistake::NegativeDuration => {
                "Error parsing autopilot config: a duration must not be negative".into()
            }
        }
    }
}
