//! Consul's HTTP API as plain values: parts of a request in, parts of a response out.
//!
//! A request is decoded into an operation or a [`Rejection`], and a reply or an error is
//! encoded into a response. No HTTP crate is needed, so that any server can use it; the
//! feature `http` adds a tower service.
//!
//! ```
//! use cluster_operator::consul::{Dialect, Request, Wire};
//! # use std::time::Duration;
//! # use cluster_operator::raft::{Membership, RaftMember, ServerStatus};
//! # use cluster_operator::{AllowAll, OperatorService};
//! # use cluster_operator::raft::{Change, Leadership, RaftView};
//! # use cluster_operator::{OperatorError, RaftBackend};
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
//! #     async fn change_membership(&self, _: &Change) -> Result<(), OperatorError> {
//! #         Ok(())
//! #     }
//! # }
//! # struct Never;
//! # impl cluster_operator::Timer for Never {
//! #     fn sleep(&self, _: std::time::Duration) -> cluster_operator::timer::Sleep {
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

pub(crate) mod body;
mod decode;
mod dialect;
mod encode;
mod endpoint;
mod error;
pub(crate) mod go;
mod json;
mod malformed_key;
mod message;
mod path;
mod query;
mod rejection;
mod request_body;
mod rings;

use crate::acl::{DefaultPolicy, Resource};
use crate::autopilot::AutopilotConfiguration;
use crate::error::{ErrorKind, OperatorError};
use crate::operation::{OperatorReply, RequestId, outcome};
use crate::service::{Caller, OperatorService};

pub use decode::Call;
pub use dialect::Dialect;
#[cfg(feature = "client")]
pub(crate) use dialect::PRECISE_NAME;
pub use endpoint::{Endpoint, View};
pub use message::{Headers, Request, RequestSummary, Response};
pub use rejection::{Permission, Rejection};

use decode::Decoded;
use endpoint::Offer;
use rejection::{Mistake, Reason};

/// Translates between Consul's HTTP API and the service.
///
/// Cheap to copy; it holds settings only.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    dialect: Dialect,
    body_limit: usize,
    default_policy: DefaultPolicy,
    offer: Offer,
    /// Answers `openapi.json` where it is switched on. Elsewhere nothing refers to the
    /// document, so that a program does not link its 70 KB.
    openapi: encode::Describe,
    request_ids: bool,
}

impl Wire {
    /// Creates a wire in this dialect, with a body limit of 64 KiB.
    pub fn new(dialect: Dialect) -> Self {
        Wire {
            dialect,
            body_limit: 64 * 1024,
            default_policy: DefaultPolicy::Deny,
            offer: Offer::default(),
            openapi: encode::index,
            request_ids: dialect == Dialect::Precise,
        }
    }

    /// Sets the dialect, and request ids as is its default. Other settings are kept.
    #[must_use]
    pub fn with_dialect(self, dialect: Dialect) -> Self {
        Wire {
            dialect,
            request_ids: dialect == Dialect::Precise,
            ..self
        }
    }

    /// Serves only methods that read. Others are answered with 405, whatever the token.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.offer.read_only = true;
        self
    }

    /// Switches an endpoint off. It is answered like an unknown path, and is not in the
    /// list of endpoints.
    #[must_use]
    pub fn without(mut self, endpoint: Endpoint) -> Self {
        self.offer = self.offer.without(endpoint);
        self
    }

    /// Switches `GET /v1/operator/openapi.json` on: the OpenAPI document of what this
    /// server answers, for a caller with operator:read or keyring:read. Only in
    /// [`Precise`](Dialect::Precise). The repository has the whole document, in
    /// docs/openapi.yaml.
    #[must_use]
    pub fn with_openapi(mut self) -> Self {
        self.offer = self.offer.with(Endpoint::OpenApi);
        self.openapi = encode::openapi;
        self
    }

    /// Sets whether requests have ids: the header `X-Request-Id` of a request, or a new id
    /// if there is none and an [observer](crate::observer) would see it. The response has
    /// it in the same header. Default: only in [`Precise`](Dialect::Precise), because
    /// Consul sends no such header.
    ///
    /// An id that is not a [`RequestId`] counts as none, because proxies may have their
    /// own rules for ids; the response shows the one that was used.
    #[must_use]
    pub fn with_request_ids(mut self, request_ids: bool) -> Self {
        self.request_ids = request_ids;
        self
    }

    /// Sets the largest body that is read, in bytes. Consul has no limit.
    #[must_use]
    pub fn with_body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Sets the default policy, which Consul shows in a header from 1.10 on.
    /// [`serve`](Wire::serve) takes it from the service.
    #[must_use]
    pub fn with_default_policy(mut self, policy: DefaultPolicy) -> Self {
        self.default_policy = policy;
        self
    }

    /// Returns the dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Returns the largest body that is read, in bytes.
    pub fn body_limit(&self) -> usize {
        self.body_limit
    }

    /// Tells whether this dialect serves a path, which is given with its escapes.
    pub fn serves(&self, path: &str) -> bool {
        self.endpoint(path).is_some()
    }

    /// Returns true if the body of such a request is read. If not, a transport may discard
    /// it, unless such a request [may have none](Wire::rejects_body).
    pub fn wants_body(&self, method: &str, path: &str) -> bool {
        self.offered(method, path)
            .is_some_and(|endpoint| endpoint.wants_body(method))
    }

    /// Returns true if such a request is rejected if it has a body: a change that reads
    /// none, because what the body says would be ignored. `Content-Length` and
    /// `Transfer-Encoding` tell of one over HTTP/1; HTTP/2 needs neither, so a transport
    /// has to look whether there is one, and pass it.
    pub fn rejects_body(&self, method: &str, path: &str) -> bool {
        self.dialect.rules().check_parameters
            && self
                .offered(method, path)
                .is_some_and(|endpoint| endpoint.rejects_body(method))
    }

    /// Returns the endpoint at a path, if it has this method.
    fn offered(&self, method: &str, path: &str) -> Option<Endpoint> {
        let endpoint = self.endpoint(path)?;
        let mut methods = self.offer.methods(endpoint);
        methods.any(|offered| offered == method).then_some(endpoint)
    }

    pub(crate) fn endpoint(&self, path: &str) -> Option<Endpoint> {
        let rules = self.dialect.rules();
        Endpoint::at(path, rules, self.offer).or_else(|| {
            if rules.literal_paths {
                None
            } else {
                Endpoint::at(&path::unescape(path)?, rules, self.offer)
            }
        })
    }

    /// Returns the valid id that a request has.
    pub(crate) fn given_id(&self, headers: &dyn Headers) -> Option<RequestId> {
        let given = headers
            .value("x-request-id", 0)
            .filter(|_| self.request_ids);
        std::str::from_utf8(given?).ok()?.parse().ok()
    }

    /// Answers a request: decodes it, asks the service, encodes the answer.
    ///
    /// # Cancel safety
    /// As [`OperatorService::call`].
    pub async fn serve(&self, service: &OperatorService, request: Request<'_>) -> Response {
        self.answer(service, request).await.0
    }

    /// Answers a request as [`serve`](Wire::serve) does, and sums up what became of it.
    ///
    /// # Cancel safety
    /// As [`OperatorService::call`].
    pub async fn answer(
        &self,
        service: &OperatorService,
        request: Request<'_>,
    ) -> (Response, RequestSummary) {
        let wire = if self.dialect.rules().consul_headers {
            self.with_default_policy(service.default_policy())
        } else {
            *self
        };
        let mut id = wire.given_id(request.headers);
        if id.is_none() && wire.request_ids && service.is_observed() {
            id = Some(RequestId::generate());
        }
        let (response, mut summary) = wire.executed(service, request, &id).await;
        summary.request_id = id;
        (named(response, summary.request_id.as_ref()), summary)
    }

    async fn executed(
        &self,
        service: &OperatorService,
        request: Request<'_>,
        id: &Option<RequestId>,
    ) -> (Response, RequestSummary) {
        let (mut call, view) = match self.decoded(&request, service.autopilot_defaults()) {
            Ok(Decoded::Call(Call { request, view })) => (request, view),
            Ok(Decoded::Index { caller, view }) => {
                let (response, error) = self.index(service, &caller, &view).await;
                return (
                    response,
                    RequestSummary::rejected(Some(view.endpoint), error),
                );
            }
            Err(rejection) => {
                let (response, error) = self.rejected(service, &rejection).await;
                let endpoint = self.endpoint(request.path);
                return (response, RequestSummary::rejected(endpoint, error));
            }
        };
        let (resource, _) = call.operation.permission();
        // The token is read again, since a copy would cost each request an allocation.
        let authorize = async || {
            let caller = decode::caller(&request, self.dialect.rules());
            service.authorize(&caller, resource, view.access).await
        };
        let mut summary = RequestSummary::rejected(Some(view.endpoint), None);
        if let Some(malformed) = &view.malformed_key {
            summary.error = Some(ErrorKind::InvalidKey(malformed.error).name());
            // The rings are listed for a change, so the caller has to be allowed to write.
            if let Err(error) = authorize().await {
                summary.error = Some(error.kind().name());
                return (self.encode(&view, Err(error)), summary);
            }
        } else {
            summary.operation = Some(call.operation.name());
        }
        call.request_id.clone_from(id);
        let result = service.call(call).await;
        if let Err(error) = &result {
            summary.error = Some(error.kind().name());
        }
        if view.malformed_key.is_none() {
            summary.outcome = outcome(view.access, &result);
        }
        if result.as_ref().is_err_and(error::names_server) && authorize().await.is_ok() {
            return (self.encode(&view.with_addresses(), result), summary);
        }
        (self.encode(&view, result), summary)
    }

    /// Lists or describes the endpoints. Returns the name of the error, too.
    async fn index(
        &self,
        service: &OperatorService,
        caller: &Caller,
        view: &View,
    ) -> (Response, Option<&'static str>) {
        let authorize = |resource| service.authorize(caller, resource, view.access);
        let mut allowed = authorize(Resource::Operator).await;
        if allowed.is_err() {
            // One of the two permissions is enough.
            allowed = authorize(Resource::Keyring).await.or(allowed);
        }
        if let Err(error) = allowed {
            let name = error.kind().name();
            return (self.encode(view, Err(error)), Some(name));
        }
        match &caller.datacenter {
            Some(name) if name != service.datacenter() => self.refused(&Rejection {
                reason: Reason::Mistake(Mistake::new(
                    "this endpoint answers for its own server only: leave out the datacenter, or \
                     ask a server there",
                )),
                form: view.form,
                only_for: None,
            }),
            _ => {
                let describe = match view.endpoint {
                    Endpoint::OpenApi => self.openapi,
                    _ => encode::index,
                };
                let rules = self.dialect.rules();
                let response = describe(view, service, rules, self.offer, self.default_policy);
                (response, None)
            }
        }
    }

    fn refused(&self, rejection: &Rejection) -> (Response, Option<&'static str>) {
        let response = self.reject(rejection);
        let error = (response.status >= 400).then(|| rejection.reason.kind());
        (response, error)
    }

    /// Answers a rejected request, with a denial if the caller may not know the reason.
    /// Returns the name of the error, too.
    async fn rejected(
        &self,
        service: &OperatorService,
        rejection: &Rejection,
    ) -> (Response, Option<&'static str>) {
        if let Some(asked) = rejection.only_for() {
            let allowed = service.authorize(&asked.caller, asked.resource, asked.access);
            if let Err(error) = allowed.await {
                let name = error.kind().name();
                return (self.encode(&asked.view, Err(error)), Some(name));
            }
        }
        self.refused(rejection)
    }

    /// Reads a request. A change of autopilot's configuration takes from `autopilot` the
    /// fields that it omits: give it
    /// [the service's](OperatorService::autopilot_defaults). `GET /v1/operator/` and the
    /// OpenAPI document, which tell the endpoints of a service, are rejected here;
    /// [`serve`](Wire::serve) answers them.
    ///
    /// # Errors
    /// [`Rejection`], if the service cannot be asked.
    pub fn decode(
        &self,
        request: &Request<'_>,
        autopilot: &AutopilotConfiguration,
    ) -> Result<Call, Rejection> {
        match self.decoded(request, autopilot)? {
            Decoded::Call(call) => Ok(call),
            Decoded::Index { view, .. } => Err(Rejection {
                reason: Reason::Index,
                form: view.form,
                only_for: None,
            }),
        }
    }

    fn decoded(
        &self,
        request: &Request<'_>,
        autopilot: &AutopilotConfiguration,
    ) -> Result<Decoded, Rejection> {
        decode::decode(
            request,
            self.dialect.rules(),
            self.offer,
            self.body_limit,
            autopilot,
        )
    }

    /// Writes the service's answer.
    pub fn encode(&self, view: &View, result: Result<OperatorReply, OperatorError>) -> Response {
        encode::encode(view, result, self.dialect.rules(), self.default_policy)
    }

    /// Writes the answer to a rejected request. Look at
    /// [`only_for`](Rejection::only_for) first.
    pub fn reject(&self, rejection: &Rejection) -> Response {
        rejection.response(self.dialect.rules(), self.default_policy)
    }

    /// Returns the answer to a body that is larger than the limit, for a transport that
    /// stopped reading it. The headers of the request choose the form of the answer.
    pub fn body_too_large(&self, headers: &dyn Headers) -> Response {
        self.unread(headers, Reason::body_too_large(self.body_limit))
    }

    /// Returns the answer to a body that broke off.
    pub fn body_unreadable(&self, headers: &dyn Headers) -> Response {
        let text = "Request body could not be read";
        self.unread(headers, Reason::Refused(400, text.into()))
    }

    /// Returns the answer to a body that did not come in time, for a transport that stopped
    /// waiting for it.
    pub fn body_too_late(&self, headers: &dyn Headers) -> Response {
        let text = "Request body did not come in time";
        self.unread(headers, Reason::Refused(408, text.into()))
    }

    /// Returns the answer of a transport that executes as many requests as it may.
    pub fn too_many_requests(&self, headers: &dyn Headers) -> Response {
        self.unread(headers, Reason::TooManyRequests)
    }

    /// Rejects a request that was not read as a whole.
    fn unread(&self, headers: &dyn Headers, reason: Reason) -> Response {
        let response = self.reject(&Rejection {
            reason,
            form: decode::form("", headers, self.dialect.rules()),
            only_for: None,
        });
        named(response, self.given_id(headers).as_ref())
    }
}

/// Adds the id of the request.
fn named(response: Response, id: Option<&RequestId>) -> Response {
    match id {
        Some(id) => response.with("X-Request-Id", id.as_str().to_owned()),
        None => response,
    }
}
