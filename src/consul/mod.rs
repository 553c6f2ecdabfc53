//! Consul's HTTP API as plain values: a request's parts in, a response's parts
//! out.
//!
//! This is the only place that knows paths, parameters, status codes and texts.
//! It needs no HTTP crate, so it can stand behind any server; with the feature
//! `http` there is a ready adapter.
//!
//! ```
//! use cluster_operator::consul::{Dialect, Request, Wire};
//! # use std::time::Duration;
//! # use cluster_operator::{AllowAll, Membership, OperatorService, RaftMember, ServerStatus};
//! # use cluster_operator::{Leadership, OperatorError, RaftBackend, RaftView, Removal};
//! # struct Raft;
//! # #[async_trait::async_trait]
//! # impl RaftBackend for Raft {
//! #     async fn view(&self) -> Result<RaftView, OperatorError> {
//! #         let alice = RaftMember::voter("127.0.0.1:8300", "127.0.0.1:8300");
//! #         let mut view = RaftView::new("127.0.0.1:8300", Membership::new([alice]).into());
//! #         view.leadership = Leadership::Local;
//! #         view.status = vec![ServerStatus::unknown().with_name("alice")];
//! #         Ok(view)
//! #     }
//! #     async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
//! #         self.view().await
//! #     }
//! #     async fn remove_server(&self, _: &Removal) -> Result<(), OperatorError> {
//! #         Ok(())
//! #     }
//! # }
//! # struct Never;
//! # impl cluster_operator::Timer for Never {
//! #     fn sleep(&self, _: std::time::Duration) -> cluster_operator::Sleep {
//! #         Box::pin(std::future::pending())
//! #     }
//! # }
//! # let service = OperatorService::builder("dc1")
//! #     .timer(Never).raft(Raft).authorizer(AllowAll).build().unwrap();
//! # futures_executor::block_on(async {
//! let wire = Wire::new(Dialect::Precise);
//! let response = wire
//!     .serve(&service, Request {
//!         method: "GET",
//!         path: "/v1/operator/raft/configuration",
//!         query: None,
//!         headers: &[("X-Consul-Token", "b852fbe7")],
//!         body: Default::default(),
//!     })
//!     .await;
//! assert_eq!(response.status, 200);
//! assert!(response.body.starts_with(br#"{"Servers":[{"ID":"127.0.0.1:8300","Node":"alice","#));
//! # });
//! ```

mod autopilot;
mod consistency;
mod credentials;
mod decode;
mod dialect;
mod encode;
mod endpoint;
mod fault;
mod go;
mod json;
mod keyring;
mod malformed_key;
mod message;
mod rings;
mod status;

use crate::acl::{Access, DefaultPolicy, Resource};
use crate::error::OperatorError;
use crate::operation::OperatorReply;
use crate::operation::OperatorRequest;
use crate::service::{Caller, OperatorService};

pub use dialect::Dialect;
pub use message::{Headers, Request, Response};

use endpoint::Endpoint;
use malformed_key::MalformedKey;

/// Translates between Consul's HTTP API and the service.
///
/// Cheap to copy; it holds settings only.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    dialect: Dialect,
    body_limit: usize,
    default_policy: DefaultPolicy,
}

/// A request that the service can be asked.
#[derive(Debug)]
pub struct Call {
    /// What to ask.
    pub request: OperatorRequest,
    /// How to write the answer, for [`Wire::encode`].
    pub view: View,
}

/// What the form of an answer depends on.
#[derive(Debug, Clone, Copy)]
pub struct View {
    endpoint: Endpoint,
    access: Access,
    /// The key of the change for which the rings are listed.
    malformed_key: Option<MalformedKey>,
    pretty: bool,
    /// Errors are to be `application/problem+json`.
    problem: bool,
    /// The body is not to be sent.
    head: bool,
}

/// A request that the service is not asked.
#[derive(Debug)]
pub struct Refusal {
    /// What to answer.
    pub response: Response,
    /// What the caller has to be allowed to see the response; `None` if everyone
    /// may. [`Wire::serve`] asks the service.
    pub only_for: Option<Box<Permission>>,
}

/// What a caller has to be allowed.
#[derive(Debug)]
pub struct Permission {
    /// Who asks.
    pub caller: Caller,
    /// For what.
    pub resource: Resource,
    /// In which way.
    pub access: Access,
    /// How to write the denial.
    pub view: View,
}

impl Wire {
    /// A wire in this dialect, with a body limit of 64 KiB.
    pub fn new(dialect: Dialect) -> Self {
        Wire {
            dialect,
            body_limit: 64 * 1024,
            default_policy: DefaultPolicy::Deny,
        }
    }

    /// Sets the largest body that is read, in bytes. Consul has no limit.
    #[must_use]
    pub fn with_body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Sets the policy that Consul 1.10 tells in a header.
    /// [`serve`](Wire::serve) takes it from the service.
    #[must_use]
    pub fn with_default_policy(mut self, policy: DefaultPolicy) -> Self {
        self.default_policy = policy;
        self
    }

    /// The dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The largest body that is read, in bytes.
    pub fn body_limit(&self) -> usize {
        self.body_limit
    }

    /// Whether the path, with its escapes, is one that this dialect serves.
    pub fn serves(&self, path: &str) -> bool {
        self.endpoint(path).is_some()
    }

    /// Whether the body of such a request matters. Where it does not, a
    /// transport need not wait for it.
    pub fn wants_body(&self, method: &str, path: &str) -> bool {
        self.endpoint(path)
            .is_some_and(|endpoint| endpoint.wants_body(method))
    }

    fn endpoint(&self, path: &str) -> Option<Endpoint> {
        let rules = self.dialect.rules();
        Endpoint::at(path, rules).or_else(|| Endpoint::at(&go::path::unescape(path).ok()?, rules))
    }

    /// Answers a request: decodes it, asks the service, encodes the answer.
    ///
    /// # Cancel safety
    /// As [`OperatorService::call`].
    pub async fn serve(&self, service: &OperatorService, request: Request<'_>) -> Response {
        let wire = match self.dialect.rules().consul_headers {
            true => self.with_default_policy(service.default_policy()),
            false => *self,
        };
        match wire.decode(&request) {
            Ok(Call { request, view }) => {
                // The rings are listed for a change: who may not write is denied it.
                let allowed = match view.malformed_key {
                    Some(_) => {
                        let token = request.token.clone();
                        let caller = token.map_or_else(Caller::anonymous, Caller::with_token);
                        let asked = service.authorize(&caller, Resource::Keyring, Access::Write);
                        asked.await.map(drop)
                    }
                    None => Ok(()),
                };
                let result = match allowed {
                    Ok(()) => service.call(request).await,
                    Err(error) => Err(error),
                };
                wire.encode(&view, result)
            }
            Err(Refusal {
                response,
                only_for: None,
            }) => response,
            Err(Refusal {
                response,
                only_for: Some(asked),
            }) => match service
                .authorize(&asked.caller, asked.resource, asked.access)
                .await
            {
                Ok(_) => response,
                Err(error) => wire.encode(&asked.view, Err(error)),
            },
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// The response to one that makes no sense.
    pub fn decode(&self, request: &Request<'_>) -> Result<Call, Refusal> {
        decode::decode(self, request).map_err(|mut refusal| {
            if request.method == "HEAD" {
                if self.dialect.rules().head {
                    refusal.response.leave_out_body();
                } else {
                    refusal.response.body.clear();
                }
            }
            refusal
        })
    }

    /// Writes the service's answer.
    pub fn encode(&self, view: &View, result: Result<OperatorReply, OperatorError>) -> Response {
        let mut response = encode::encode(self, view, result);
        if view.head {
            response.leave_out_body();
        }
        response
    }

    /// The answer to a body that is larger than the limit, for a transport that
    /// stopped reading it.
    pub fn body_too_large(&self) -> Response {
        self.finish(Response::text(413, self.too_large()))
    }

    fn too_large(&self) -> String {
        format!("Request body is larger than {} bytes", self.body_limit)
    }

    /// The answer to a body that broke off, for a transport that noticed.
    pub fn body_unreadable(&self) -> Response {
        self.finish(Response::text(400, "Request body could not be read"))
    }

    /// The answer to a body that did not come in time, for a transport that
    /// stopped waiting for it.
    pub fn body_too_late(&self) -> Response {
        self.finish(Response::text(408, "Request body did not come in time"))
    }

    /// Adds what every response of the dialect has.
    fn finish(&self, response: Response) -> Response {
        let response = match self.dialect {
            // A listing holds keys, and nothing here is worth keeping.
            Dialect::Precise => response.with("Cache-Control", "no-store"),
            _ => response,
        };
        if !self.dialect.rules().consul_headers {
            return response;
        }
        let policy = match self.default_policy {
            DefaultPolicy::Allow => "allow",
            DefaultPolicy::Deny => "deny",
        };
        response
            .with("Vary", "Accept-Encoding")
            .with("X-Consul-Default-Acl-Policy", policy)
    }
}
