//! The ways to mount it beside a server's own routes.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use cluster_operator::acl::DefaultPolicy;
use cluster_operator::consul::{Dialect, Wire};
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockToken};
use cluster_operator::server::OperatorHttp;
use http::{HeaderValue, Request};

use super::{header, request, send, service, text};

const CONFIGURATION: &str = "/v1/operator/raft/configuration";

fn own_routes() -> Router {
    Router::new().route("/", get(|| async { "my own server" }))
}

/// The three ways to mount it.
fn mounted(endpoints: OperatorHttp) -> [Router; 3] {
    [
        own_routes().fallback_service(endpoints.clone()),
        own_routes().route_service("/v1/operator/{*rest}", endpoints.clone()),
        own_routes().nest_service("/v1/operator", endpoints.nested_under("/v1/operator")),
    ]
}

#[test]
fn service_can_be_cloned_and_shared_between_threads() {
    fn is_mountable<S>()
    where
        S: Clone + Send + Sync + 'static,
        S: tower::Service<Request<Body>, Error = std::convert::Infallible>,
        S::Future: Send + 'static,
    {
    }
    is_mountable::<OperatorHttp>();
}

#[tokio::test]
async fn own_routes_are_kept_however_it_is_mounted() {
    for app in mounted(OperatorHttp::new(service())) {
        let own = send(&app, request("GET", "/")).await;
        assert_eq!(text(own).await, "my own server");

        let response = send(&app, request("GET", &format!("{CONFIGURATION}?pretty"))).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "content-type"), Some("application/json"));
        assert!(text(response).await.starts_with("{\n    \"Servers\": [\n"));

        let response = send(&app, request("DELETE", "/v1/operator/raft/peer?id=x")).await;
        assert_eq!(response.status(), 404);
        assert!(text(response).await.starts_with("id \"x\" was not found"));

        let response = send(&app, request("GET", "/v1/operator/nowhere")).await;
        assert_eq!(response.status(), 404);
        assert!(text(response).await.starts_with("Invalid URL path"));
    }
}

#[tokio::test]
async fn redirect_leads_to_the_whole_path_however_it_is_mounted() {
    for app in mounted(OperatorHttp::new(service()).with_dialect(Dialect::Consul1_10)) {
        let response = send(&app, request("GET", "/v1/operator/./keyring?pretty")).await;
        assert_eq!(response.status(), 301);
        let location = header(&response, "location");
        assert_eq!(location, Some("/v1/operator/keyring?pretty"));
    }
}

#[tokio::test]
async fn prefix_may_end_in_a_slash() {
    let endpoints = OperatorHttp::new(service()).nested_under("/v1/operator/");
    let app = Router::new().nest_service("/v1/operator", endpoints);
    let response = send(&app, request("GET", CONFIGURATION)).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn other_method_is_a_405_with_the_allowed_ones() {
    for app in mounted(OperatorHttp::new(service())) {
        let response = send(&app, request("PATCH", "/v1/operator/keyring")).await;
        assert_eq!(response.status(), 405);
        let allow = Some("OPTIONS,GET,POST,PUT,DELETE");
        assert_eq!(header(&response, "allow"), allow);
        assert_eq!(text(response).await, "method PATCH not allowed");
        let response = send(&app, request("OPTIONS", "/v1/operator/keyring")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "allow"), allow);
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    for app in mounted(OperatorHttp::new(service())) {
        for uri in [CONFIGURATION, "/v1/operator/keyring", "/v1/operator/x"] {
            let get = send(&app, request("GET", uri)).await;
            let head = send(&app, request("HEAD", uri)).await;
            assert_eq!(head.status(), get.status());
            for name in ["content-type", "cache-control"] {
                assert!(header(&get, name).is_some(), "{name}");
                assert_eq!(header(&head, name), header(&get, name), "{uri} {name}");
            }
            let length = header(&head, "content-length").map(str::to_owned);
            assert_eq!(text(head).await, "");
            assert_eq!(length, Some(text(get).await.len().to_string()), "{uri}");
        }
    }
}

#[tokio::test]
async fn headers_of_request_and_response_are_passed_on() {
    let token = MockToken::new("t").with(cluster_operator::acl::Resource::Operator, Grant::Read);
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .authorizer(MockAcl::new(DefaultPolicy::Deny).with_token(token))
        .build();
    let endpoints = OperatorHttp::new(federation.service("alice"));
    let app = Router::new().fallback_service(endpoints);
    let get = |name: &'static str, value: HeaderValue| {
        let mut request = request("GET", CONFIGURATION);
        request.headers_mut().insert(name, value);
        send(&app, request)
    };
    for (name, value, status) in [
        ("x-consul-token", "t", 200),
        ("authorization", "Bearer t", 200),
        ("x-consul-token", "u", 403),
        ("x-other", "t", 403),
    ] {
        let response = get(name, HeaderValue::from_static(value)).await;
        assert_eq!(response.status(), status, "{name}: {value}");
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
    }
    let response = get(
        "accept",
        HeaderValue::from_static("application/problem+json"),
    )
    .await;
    assert_eq!(
        header(&response, "content-type"),
        Some("application/problem+json")
    );
}

#[tokio::test]
async fn first_value_of_a_repeated_header_counts() {
    let app = Router::new().fallback_service(OperatorHttp::new(service()));
    let mut request = request("GET", CONFIGURATION);
    let headers = request.headers_mut();
    headers.append("cache-control", HeaderValue::from_static("max-age=1"));
    headers.append("cache-control", HeaderValue::from_static("max-age=x"));
    assert_eq!(send(&app, request).await.status(), 200);
}

#[tokio::test]
async fn another_dialect_keeps_the_settings_and_has_its_own_headers() {
    let wire = Wire::new(Dialect::Precise).with_body_limit(7);
    let endpoints = OperatorHttp::new(service())
        .with_wire(wire)
        .with_dialect(Dialect::Consul1_10);
    let app = Router::new().fallback_service(endpoints);
    let response = send(&app, request("HEAD", CONFIGURATION)).await;
    assert_eq!(response.status(), 405);
    let policy = header(&response, "x-consul-default-acl-policy");
    assert_eq!(policy, Some("allow"));
    let mut post = request("POST", "/v1/operator/keyring");
    *post.body_mut() = Body::from("12345678");
    let response = send(&app, post).await;
    assert_eq!(response.status(), 413);
    assert_eq!(text(response).await, "Request body is larger than 7 bytes");
}

#[tokio::test]
async fn unreadable_token_is_an_unknown_one() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .authorizer(MockAcl::new(DefaultPolicy::Allow))
        .build();
    for dialect in [
        Dialect::Precise,
        Dialect::Consul1_17,
        Dialect::Consul1_10,
        Dialect::Consul0_7,
    ] {
        let endpoints = OperatorHttp::new(federation.service("alice")).with_dialect(dialect);
        let app = Router::new().fallback_service(endpoints);
        for (name, value) in [
            ("x-consul-token", &b"wr\xffng"[..]),
            ("x-consul-token", b"caf\xe9"),
            ("authorization", b"Bearer wr\xffng"),
            ("authorization", b"Bearer\xa0token"),
            ("authorization", b"Bearer\ttoken"),
            ("authorization", b"Bearer:token"),
            ("authorization", b"bearer=token"),
            ("authorization", b"Bearer, token"),
        ] {
            if name == "authorization" && dialect == Dialect::Consul0_7 {
                continue;
            }
            let mut request = request("GET", CONFIGURATION);
            let value = HeaderValue::from_bytes(value).unwrap();
            request.headers_mut().insert(name, value);
            let response = send(&app, request).await;
            assert_eq!(response.status(), 403, "{dialect:?} {name}");
            assert_eq!(text(response).await, "ACL not found");
        }
    }
}

#[tokio::test]
async fn repeated_token_header_is_a_400_or_the_first_counts() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .authorizer(MockAcl::new(DefaultPolicy::Allow))
        .build();
    for (name, first, second) in [
        ("x-consul-token", "", "unknown"),
        ("authorization", "Basic x", "Bearer unknown"),
    ] {
        for (dialect, status) in [
            (Dialect::Precise, 400),
            (Dialect::Consul1_10, 200),
            (Dialect::Consul0_7, 200),
        ] {
            let endpoints = OperatorHttp::new(federation.service("alice")).with_dialect(dialect);
            let app = Router::new().fallback_service(endpoints);
            let mut request = request("GET", CONFIGURATION);
            for value in [first, second] {
                let value = HeaderValue::from_static(value);
                request.headers_mut().append(name, value);
            }
            let response = send(&app, request).await;
            assert_eq!(response.status(), status, "{dialect:?} {name}");
        }
    }
}
