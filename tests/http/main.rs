//! `OperatorHttp` in an axum server.
#![cfg(all(feature = "http", feature = "mock", feature = "tokio"))]
// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod bodies;
mod mounting;
mod page;
mod serving;
mod socket;

use axum::Router;
use axum::body::Body;
use cluster_operator::OperatorService;
use cluster_operator::mock::MockFederation;
use http::{Request, Response};
use tower::ServiceExt;

/// The leader alice with bob and carol. Its answers need no other server.
fn service() -> OperatorService {
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .raft_index(22)
        .gossip_key("0eK8RjnsGC/+I1fJErQsBA==".parse().unwrap())
        .build()
        .service("alice")
}

fn request(method: &str, uri: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    request.body(Body::empty()).unwrap()
}

/// Sends a request to a router without a socket.
async fn send(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}
