//! The page for people at `/v1/operator/ui`.

use axum::Router;
use cluster_operator::consul::Dialect;
use cluster_operator::server::{OperatorHttp, Page, UI_PATH};

use super::{header, request, send, service, text};

const PAGE: Page = Page::new(
    "<!doctype html><title>Cluster</title>",
    "default-src 'none'",
);

/// The three ways to mount it.
fn mounted(endpoints: OperatorHttp) -> [Router; 3] {
    let nested = endpoints.clone().nested_under("/v1/operator");
    [
        Router::new().fallback_service(endpoints.clone()),
        Router::new().route_service("/v1/operator/{*rest}", endpoints),
        Router::new().nest_service("/v1/operator", nested),
    ]
}

#[tokio::test]
async fn page_is_served_however_it_is_mounted() {
    for app in mounted(OperatorHttp::new(service()).with_ui(PAGE).read_only()) {
        let response = send(&app, request("GET", UI_PATH)).await;
        assert_eq!(response.status(), 200);
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", "default-src 'none'"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(header(&response, name), Some(value));
        }
        assert_eq!(text(response).await, PAGE.html());

        let other = send(&app, request("GET", "/v1/operator/ui/")).await;
        assert_eq!(other.status(), 404);
    }
}

#[tokio::test]
async fn head_of_the_page_has_its_length() {
    let app = Router::new().fallback_service(OperatorHttp::new(service()).with_ui(PAGE));
    let response = send(&app, request("HEAD", UI_PATH)).await;
    assert_eq!(response.status(), 200);
    let length = PAGE.html().len().to_string();
    assert_eq!(header(&response, "content-length"), Some(length.as_str()));
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn page_answers_only_methods_that_read() {
    let app = Router::new().fallback_service(OperatorHttp::new(service()).with_ui(PAGE));
    for (method, status) in [("POST", 405), ("DELETE", 405), ("OPTIONS", 200)] {
        let response = send(&app, request(method, UI_PATH)).await;
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "allow"), Some("OPTIONS,GET"));
    }
}

#[tokio::test]
async fn path_is_unknown_without_a_page_or_in_a_consul_dialect() {
    let without = OperatorHttp::new(service());
    let consul = without.clone().with_ui(PAGE);
    for endpoints in [without, consul.with_dialect(Dialect::Consul1_17)] {
        let app = Router::new().fallback_service(endpoints);
        let response = send(&app, request("GET", UI_PATH)).await;
        assert_eq!(response.status(), 404);
    }
}

#[test]
#[should_panic(expected = "visible ASCII")]
fn policy_with_a_line_break_is_rejected() {
    let _ = Page::new("", "default-src 'none'\r\nX-Injected: 1");
}
