//! Requests in one line, and a federation that answers them.

use std::future::{pending, ready};
use std::time::Duration;

use cluster_operator::autopilot::AutopilotConfiguration;
use cluster_operator::consul::{Call, Dialect, Rejection, Request, Response, Wire};
use cluster_operator::mock::{MockFederation, MockFederationBuilder};
use cluster_operator::timer::Sleep;
use cluster_operator::{OperatorService, Timer};
use futures_util::FutureExt;

/// The key that every ring has at first, and two more.
pub(crate) const FIRST: &str = "0eK8RjnsGC/+I1fJErQsBA==";
pub(crate) const SECOND: &str = "G/3/L4yOw3e5T7NTvuRi9g==";
pub(crate) const THIRD: &str = "z90lFx3sZZLtTOkutXcwYg==";

/// A timer that never fires.
pub(crate) struct Never;

impl Timer for Never {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(pending())
    }
}

/// A timer that fires at once.
pub(crate) struct AtOnce;

impl Timer for AtOnce {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(ready(()))
    }
}

/// The leader alice with bob and carol in dc1, and dave in dc2.
pub(crate) fn two_datacenters() -> MockFederationBuilder {
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .datacenter("dc2", ["dave"])
        .raft_index(22)
        .gossip_key(FIRST.parse().unwrap())
        .service_options(|service| service.timer(Never))
}

/// A request that is built and sent.
pub(crate) struct Ask {
    wire: Wire,
    method: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Begins a request in `Precise`, to a path after `/v1/operator/` or to a whole path.
pub(crate) fn ask(method: &str, target: &str) -> Ask {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let path = match path.strip_prefix('/') {
        Some(_) => path.to_owned(),
        None => format!("/v1/operator/{path}"),
    };
    Ask {
        wire: Wire::new(Dialect::Precise),
        method: method.to_owned(),
        path,
        query,
        headers: Vec::new(),
        body: Vec::new(),
    }
}

/// A body that names a key.
pub(crate) fn key(key: &str) -> String {
    format!(r#"{{"Key":"{key}"}}"#)
}

impl Ask {
    pub(crate) fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    pub(crate) fn dialect(self, dialect: Dialect) -> Self {
        self.wire(Wire::new(dialect))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("X-Consul-Token", token)
    }

    /// Asks for failures of rings as JSON.
    pub(crate) fn json(self) -> Self {
        self.header("Accept", "application/json")
    }

    /// Asks for errors in the form of RFC 9457.
    pub(crate) fn problem(self) -> Self {
        self.header("Accept", "application/problem+json")
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn send(&self, service: &OperatorService) -> Answer {
        self.with(|wire, request| {
            // Nothing here waits.
            let response = wire.serve(service, request).now_or_never();
            Answer(response.expect("the answer is there at once"))
        })
    }

    pub(crate) fn decode(&self) -> Result<Call, Rejection> {
        self.with(|wire, request| wire.decode(&request, &AutopilotConfiguration::default()))
    }

    fn with<T>(&self, then: impl FnOnce(Wire, Request<'_>) -> T) -> T {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        then(
            self.wire,
            Request {
                method: &self.method,
                path: &self.path,
                query: self.query.as_deref(),
                headers: &headers.as_slice(),
                body: self.body.clone().into(),
            },
        )
    }
}

/// A response.
pub(crate) struct Answer(pub(crate) Response);

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.0.body).unwrap()
    }

    /// The status and the text of an error in plain text.
    pub(crate) fn error(&self) -> (u16, &str) {
        assert_eq!(
            self.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{}: {}",
            self.status(),
            self.text()
        );
        (self.status(), self.text())
    }

    /// The body, which has to be JSON by its media type, too.
    pub(crate) fn json(&self) -> serde_json::Value {
        let media = self.header("content-type");
        assert!(
            matches!(media, Some("application/json" | "application/problem+json")),
            "{media:?}: {}",
            self.text()
        );
        serde_json::from_slice(&self.0.body).unwrap()
    }

    /// Asserts the empty answer to a successful write.
    pub(crate) fn done(&self) {
        assert_eq!((self.status(), self.text()), (200, ""));
        assert_eq!(self.header("content-type"), None);
    }
}
