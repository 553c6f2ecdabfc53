//! Requests that are rejected before the service is asked.

use std::borrow::Cow;
use std::fmt;

use super::dialect::{ErrorRules, Rules};
use super::endpoint::{Endpoint, Form, Offer, PREFIX, View};
use super::error;
use super::message::Response;
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
    /// The redirect to the clean path.
    Moved(Response),
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
    TooManyRequests,
    Mistake(Mistake),
    /// What Consul does not reject, with this status.
    Refused(u16, Cow<'static, str>),
}

/// What is wrong with the parameters or the body of a request.
#[derive(Debug)]
pub(super) struct Mistake {
    /// It repeats no secret of the request.
    text: Cow<'static, str>,
    /// Consul writes no prefix before it.
    is_bare: bool,
    key: Option<InvalidKey>,
}

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
    pub(super) fn body_too_large(limit: usize) -> Self {
        let text = format!("Request body is larger than {limit} bytes");
        Reason::Refused(413, text.into())
    }

    /// The name of the kind of error.
    pub(super) fn kind(&self) -> &'static str {
        let reason = String::new();
        let kind = match self {
            Reason::Mistake(Mistake {
                key: Some(error), ..
            }) => ErrorKind::InvalidKey(*error),
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
            Reason::Moved(redirect) => return redirect.clone(),
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
            Reason::Mistake(mistake) => {
                let prefix = if mistake.is_bare {
                    ""
                } else {
                    rules.bad_request
                };
                text(400, &format!("{prefix}{}", mistake.text))
            }
            Reason::Refused(status, why) => text(*status, why),
        };
        response.finish(rules, policy)
    }
}

fn allow(endpoint: Endpoint, offer: Offer) -> String {
    let methods = std::iter::once("OPTIONS").chain(offer.methods(endpoint));
    methods.collect::<Vec<_>>().join(",")
}

impl Mistake {
    pub(super) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Mistake {
            text: text.into(),
            is_bare: false,
            key: None,
        }
    }

    /// A mistake in the options of a read. Consul writes these without the words before the
    /// others.
    pub(super) fn bare(text: impl Into<Cow<'static, str>>) -> Self {
        Mistake {
            is_bare: true,
            ..Mistake::new(text)
        }
    }

    pub(super) fn key(error: InvalidKey) -> Self {
        Mistake {
            key: Some(error),
            ..Mistake::new(format!("Invalid gossip key: {error}"))
        }
    }

    /// A value beyond a bound of [`Request`](super::Request).
    pub(super) fn too_long(what: impl fmt::Display, limit: usize) -> Self {
        Mistake::new(format!("{what} is longer than {limit} bytes"))
    }
}

/// The name that is nearest to a misspelt one: one that differs in a third of its
/// characters at most, a word of it, or the only one that begins so.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // Longer than any, and a body may have one of many thousand letters.
    if name.len() > 40 {
        return None;
    }
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
