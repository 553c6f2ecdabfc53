//! The page as a browser receives it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cluster_operator::consul::Dialect;
use cluster_operator::mock::MockFederation;
use cluster_operator::server::{OperatorHttp, UI_PATH};
use cluster_operator_ui::PAGE;
use sha2::{Digest, Sha256};
use tower::ServiceExt;

fn endpoints() -> OperatorHttp {
    let federation = MockFederation::builder().datacenter("dc1", ["alice"]);
    OperatorHttp::new(federation.build().service("alice")).with_ui(PAGE)
}

async fn send(endpoints: OperatorHttp, method: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(UI_PATH);
    let request = request.body(Body::empty()).unwrap();
    endpoints.oneshot(request).await.unwrap().map(Body::new)
}

/// Returns the content of the only element of this name.
fn element(name: &str) -> &'static str {
    let html = PAGE.html();
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    assert_eq!(html.matches(&open).count(), 1);
    let (_, rest) = html.split_once(&open).unwrap();
    rest.split_once(&close).unwrap().0
}

#[tokio::test]
async fn page_is_served_with_strict_headers() {
    let response = send(endpoints(), "GET").await;
    assert_eq!(response.status(), 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", PAGE.content_security_policy()),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!(body, PAGE.html());
}

#[tokio::test]
async fn only_precise_has_the_page() {
    for dialect in [Dialect::Consul1_17, Dialect::Consul1_10, Dialect::Consul0_7] {
        let response = send(endpoints().with_dialect(dialect), "GET").await;
        assert_eq!(response.status(), 404, "{dialect:?}");
    }
}

#[test]
fn policy_allows_the_content_of_the_page() {
    for (directive, name) in [("script-src", "script"), ("style-src", "style")] {
        let hash = BASE64_STANDARD.encode(Sha256::digest(element(name)));
        let allowed = format!("{directive} 'sha256-{hash}';");
        let policy = PAGE.content_security_policy();
        assert!(policy.contains(&allowed), "write into POLICY: {allowed}");
    }
}

#[test]
fn policy_allows_nothing_else() {
    let allowed = PAGE.content_security_policy().split("; ").filter(|it| {
        let directive = it.split(' ').next();
        !matches!(directive, Some("script-src" | "style-src"))
    });
    let allowed: Vec<_> = allowed.collect();
    assert_eq!(
        allowed,
        [
            "default-src 'none'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    );
}

#[test]
fn page_weighs_less_than_60_kb() {
    let weight = PAGE.html().len();
    assert!(weight < 60_000, "{weight}");
}

#[test]
fn script_makes_no_markup_or_code_of_texts() {
    let script = element("script");
    for forbidden in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "setHTML",
        "createContextualFragment",
        "DOMParser",
        "srcdoc",
        "document.write",
        "eval(",
        "Function(",
        "import(",
        "javascript:",
    ] {
        assert!(!script.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn script_stores_nothing_in_the_browser() {
    let script = element("script");
    for forbidden in [
        "localStorage",
        "sessionStorage",
        "indexedDB",
        "cookie",
        "caches",
        "history",
        "location",
        "window.name",
        "serviceWorker",
        "console.",
    ] {
        assert!(!script.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn page_uses_no_outside_resource() {
    // Names of XML, which nobody loads.
    let html = PAGE.html().replace("http://www.w3.org/2000/svg", "");
    for forbidden in [
        "http:", "https:", "//", "@import", "url(", " src=", "<iframe", "<object",
    ] {
        let found = html.lines().find(|line| {
            let comment = line.trim_start().starts_with("//");
            !comment && line.contains(forbidden)
        });
        assert_eq!(found, None, "{forbidden}");
    }
}

#[test]
fn markup_has_no_inline_handler_or_style() {
    let html = PAGE.html();
    for start in ["<style>", "<script>"] {
        assert_eq!(html.matches(start).count(), 1);
    }
    let markup = html
        .replace(element("script"), "")
        .replace(element("style"), "");
    assert!(!markup.contains(" style="));
    assert!(!markup.contains(" on"), "an event handler");
}
