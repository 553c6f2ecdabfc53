//! Request ids, summaries, switches and the limit of concurrent requests.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use cluster_operator::acl::{Access, AclError, Identity, Resource};
use cluster_operator::consul::{Dialect, Endpoint, RequestSummary, Wire};
use cluster_operator::mock::{MockFederation, MockRaft};
use cluster_operator::observer::{Ended, Observer, Started};
use cluster_operator::operation::RequestId;
use cluster_operator::server::OperatorHttp;
use cluster_operator::{AclAuthorizer, OperatorService, Outcome, Token};
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::StreamBody;

use super::{header, request, send, service, text};

const CONFIGURATION: &str = "/v1/operator/raft/configuration";
const PEER: &str = "/v1/operator/raft/peer?id=x";
const KEYRING: &str = "/v1/operator/keyring";

/// Keeps the request ids of the operations.
#[derive(Clone, Default)]
struct Ids(Arc<Mutex<Vec<String>>>);

impl Observer for Ids {
    fn ended(&self, operation: &Started<'_>, _: &Ended<'_>) {
        let id = operation.request_id.to_string();
        self.0.lock().unwrap().push(id);
    }
}

/// The endpoints of a server that is observed.
fn observed() -> (OperatorHttp, Ids) {
    let ids = Ids::default();
    let observer = ids.clone();
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .service_options(move |service| service.observer(observer.clone()))
        .build();
    (OperatorHttp::new(federation.service("alice")), ids)
}

fn app(endpoints: OperatorHttp) -> Router {
    Router::new().fallback_service(endpoints)
}

/// Sends a request with this id, and returns the id of its response.
async fn id_after(app: &Router, method: &str, uri: &str, id: Option<&str>) -> Option<String> {
    let mut request = request(method, uri);
    if let Some(id) = id {
        let id = id.parse().unwrap();
        request.headers_mut().insert("x-request-id", id);
    }
    let response = send(app, request).await;
    header(&response, "x-request-id").map(str::to_owned)
}

#[tokio::test]
async fn given_request_id_is_observed_and_returned() {
    let (endpoints, ids) = observed();
    let app = app(endpoints);
    for uri in [CONFIGURATION, "/v1/operator/nowhere", "/v1/operator/%zz"] {
        let id = id_after(&app, "GET", uri, Some("7f3a-01")).await;
        assert_eq!(id.as_deref(), Some("7f3a-01"), "{uri}");
    }
    let id = id_after(&app, "DELETE", PEER, Some("7f3a-02")).await;
    assert_eq!(id.as_deref(), Some("7f3a-02"));
    assert_eq!(*ids.0.lock().unwrap(), ["7f3a-01", "7f3a-02"]);
}

#[tokio::test]
async fn missing_or_invalid_request_id_is_replaced_if_observed() {
    let (endpoints, ids) = observed();
    let (observed, unobserved) = (app(endpoints), app(OperatorHttp::new(service())));
    for given in [None, Some("two words"), Some(""), Some(&*"x".repeat(129))] {
        let made = id_after(&observed, "GET", CONFIGURATION, given).await;
        assert_eq!(made.as_ref().unwrap().len(), 32, "{made:?}");
        assert_eq!(ids.0.lock().unwrap().pop(), made);
        let none = id_after(&unobserved, "GET", CONFIGURATION, given).await;
        assert_eq!(none, None);
    }
    let kept = id_after(&unobserved, "GET", CONFIGURATION, Some("a")).await;
    assert_eq!(kept.as_deref(), Some("a"));
}

#[tokio::test]
async fn consul_dialects_have_request_ids_only_if_switched_on() {
    for dialect in [Dialect::Consul1_17, Dialect::Consul1_10, Dialect::Consul0_7] {
        let (endpoints, ids) = observed();
        let app = app(endpoints.with_dialect(dialect));
        let id = id_after(&app, "GET", CONFIGURATION, Some("a")).await;
        assert_eq!(id, None, "{dialect:?}");
        assert_ne!(ids.0.lock().unwrap().remove(0), "a");

        let (endpoints, ids) = observed();
        let wire = Wire::new(dialect).with_request_ids(true);
        let app = self::app(endpoints.with_wire(wire));
        let id = id_after(&app, "GET", CONFIGURATION, Some("a")).await;
        assert_eq!(id.as_deref(), Some("a"), "{dialect:?}");
        assert_eq!(*ids.0.lock().unwrap(), ["a"]);
    }
}

fn summary(response: &Response<Body>) -> &RequestSummary {
    response.extensions().get().unwrap()
}

#[tokio::test]
async fn summary_tells_operation_and_outcome() {
    let app = app(OperatorHttp::new(service()).with_summaries());
    let remove = "/v1/operator/raft/peer?address=127.0.0.3:8300";
    let peer = Some(Endpoint::RaftPeer);
    let keyring = Some(Endpoint::Keyring);
    let read = Some(Endpoint::RaftConfiguration);
    for (method, uri, endpoint, operation, outcome, error) in [
        (
            "GET",
            CONFIGURATION,
            read,
            Some("raft-configuration"),
            Outcome::NotApplied,
            None,
        ),
        (
            "DELETE",
            PEER,
            peer,
            Some("remove-peer"),
            Outcome::NotApplied,
            Some("unknown-server"),
        ),
        (
            "DELETE",
            remove,
            peer,
            Some("remove-peer"),
            Outcome::Applied,
            None,
        ),
        (
            "POST",
            KEYRING,
            keyring,
            None,
            Outcome::NotApplied,
            Some("invalid-request"),
        ),
        (
            "PATCH",
            KEYRING,
            keyring,
            None,
            Outcome::NotApplied,
            Some("invalid-request"),
        ),
        ("OPTIONS", KEYRING, keyring, None, Outcome::NotApplied, None),
        (
            "GET",
            "/other",
            None,
            None,
            Outcome::NotApplied,
            Some("invalid-request"),
        ),
    ] {
        let response = send(&app, request(method, uri)).await;
        let summary = summary(&response);
        assert_eq!(summary.endpoint, endpoint, "{method} {uri}");
        assert_eq!(summary.operation, operation, "{method} {uri}");
        assert_eq!(summary.outcome, outcome, "{method} {uri}");
        assert_eq!(summary.error, error, "{method} {uri}");
    }
    let response = send(
        &self::app(OperatorHttp::new(service())),
        request("GET", "/"),
    )
    .await;
    assert!(response.extensions().get::<RequestSummary>().is_none());
}

#[tokio::test]
async fn read_only_refuses_writes_without_asking_the_service() {
    let (endpoints, ids) = observed();
    let app = app(endpoints.read_only());
    for (method, uri, allow) in [
        ("DELETE", PEER, "OPTIONS"),
        ("POST", KEYRING, "OPTIONS,GET"),
        ("PUT", KEYRING, "OPTIONS,GET"),
        ("DELETE", KEYRING, "OPTIONS,GET"),
        ("PUT", "/v1/operator/autopilot/configuration", "OPTIONS,GET"),
        ("POST", "/v1/operator/raft/transfer-leader", "OPTIONS"),
        ("POST", "/v1/operator/raft/planned-removal", "OPTIONS"),
        ("POST", "/v1/operator/raft/forced-removal", "OPTIONS"),
        ("POST", "/v1/operator/raft/replacement", "OPTIONS"),
    ] {
        let response = send(&app, request(method, uri)).await;
        assert_eq!(response.status(), 405, "{method} {uri}");
        assert_eq!(header(&response, "allow"), Some(allow), "{method} {uri}");
        let want = format!("method {method} not allowed: this address only serves reads");
        assert_eq!(text(response).await, want);
    }
    assert!(ids.0.lock().unwrap().is_empty());
    for uri in [CONFIGURATION, KEYRING] {
        assert_eq!(send(&app, request("GET", uri)).await.status(), 200);
    }
    let index = text(send(&app, request("GET", "/v1/operator/")).await).await;
    assert!(index.contains("\"GET\""), "{index}");
    for method in ["POST", "PUT", "DELETE"] {
        assert!(!index.contains(&format!("{method:?}")), "{index}");
    }
}

#[tokio::test]
async fn endpoint_that_is_switched_off_is_an_unknown_path() {
    for dialect in [
        Dialect::Precise,
        Dialect::Consul1_17,
        Dialect::Consul1_10,
        Dialect::Consul0_7,
    ] {
        let endpoints = OperatorHttp::new(service()).without(Endpoint::Keyring);
        let app = app(endpoints.with_dialect(dialect));
        for method in ["GET", "POST"] {
            let response = send(&app, request(method, KEYRING)).await;
            assert_eq!(response.status(), 404, "{dialect:?} {method}");
        }
        assert_eq!(
            send(&app, request("GET", CONFIGURATION)).await.status(),
            200
        );
    }
    let app = app(OperatorHttp::new(service()).without(Endpoint::Keyring));
    let index = text(send(&app, request("GET", "/v1/operator/")).await).await;
    assert!(!index.contains("/v1/operator/keyring"), "{index}");
    assert!(index.contains("/v1/operator/raft/peer"), "{index}");
}

#[test]
fn endpoint_of_a_request_is_a_bounded_label() {
    for (method, path, label) in [
        ("GET", CONFIGURATION, Some("raft/configuration")),
        ("HEAD", CONFIGURATION, Some("raft/configuration")),
        ("DELETE", "/v1/operator/raft/peer", Some("raft/peer")),
        ("GET", "/v1/operator/", Some("index")),
        ("PUT", KEYRING, Some("keyring")),
        ("HEAD", "/v1/operator/raft/peer", None),
        ("PUT", CONFIGURATION, None),
        ("get", CONFIGURATION, None),
        ("GET", "/v1/operator", None),
        ("GET", "/v1/operator/keyring/", None),
        ("GET", "/", None),
    ] {
        let endpoint = Endpoint::of(method, path);
        assert_eq!(endpoint.map(Endpoint::label), label, "{method} {path}");
    }
}

/// A write whose body never ends.
fn stalled() -> Request<Body> {
    let body = StreamBody::new(futures_util::stream::pending::<
        Result<http_body::Frame<Bytes>, std::io::Error>,
    >());
    let request = Request::builder().method("POST").uri(KEYRING);
    request.body(Body::new(body)).unwrap()
}

/// An authorizer that never decides on writes.
struct Undecided;

#[async_trait]
impl AclAuthorizer for Undecided {
    async fn authorize(
        &self,
        _: Option<&Token>,
        _: Resource,
        access: Access,
    ) -> Result<Identity, AclError> {
        match access {
            Access::Read => Ok(Identity::Anonymous),
            Access::Write => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn request_beyond_the_limit_is_a_503_until_another_ends() {
    let service = OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice"]))
        .authorizer(Undecided)
        .build()
        .unwrap();
    let app = app(OperatorHttp::new(service).with_concurrency_limit(2));
    let write = || request("DELETE", PEER);
    let mut first = Box::pin(send(&app, write()));
    let mut second = Box::pin(send(&app, write()));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());

    let response = send(&app, request("GET", CONFIGURATION)).await;
    assert_eq!(response.status(), 503);
    assert_eq!(header(&response, "retry-after"), Some("1"));
    assert_eq!(header(&response, "x-operator-error"), Some("unavailable"));
    let want = "this server is executing too many requests: try again";
    assert_eq!(text(response).await, want);

    drop(first);
    let response = send(&app, request("GET", CONFIGURATION)).await;
    assert_eq!(response.status(), 200);
    // The rejected one did not take the place.
    let response = send(&app, request("GET", CONFIGURATION)).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn request_whose_body_stalls_takes_no_place() {
    let app = app(OperatorHttp::new(service()).with_concurrency_limit(1));
    let mut slow = Box::pin(send(&app, stalled()));
    assert!(slow.as_mut().now_or_never().is_none());
    let response = send(&app, request("GET", CONFIGURATION)).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn summary_of_an_unread_request_has_its_id() {
    let endpoints = OperatorHttp::new(service()).with_summaries();
    for (endpoints, status) in [
        (
            endpoints
                .clone()
                .with_wire(Wire::new(Dialect::Precise).with_body_limit(8)),
            413,
        ),
        (endpoints.with_concurrency_limit(0), 503),
    ] {
        let mut request = Request::new(Body::from(r#"{"Key":"AAAA"}"#));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = KEYRING.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("x-request-id", "story-1".parse().unwrap());
        let response = send(&app(endpoints), request).await;
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "x-request-id"), Some("story-1"));
        let id = summary(&response).request_id.as_ref();
        assert_eq!(id.map(RequestId::as_str), Some("story-1"));
    }
}
