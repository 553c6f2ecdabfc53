//! Two servers of different versions say which of them is too old.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::post;
use cluster_operator::mock::MockFederation;
use cluster_operator::peer_http::{PEER_PATH, PEER_PATHS, PeerHttp, SharedSecret};
use cluster_operator::{ErrorKind, Outcome};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use serde::Deserialize;
use tokio::net::TcpListener;
use tower::ServiceExt;

use super::{SECRET, ask, peers_of, read, write};

const VERSION_1: &str = PEER_PATHS[1];

/// The removal of a peer as a server of version 1 sends it.
fn removal_1() -> &'static str {
    let mut requests = include_str!("../envelopes/requests-1.txt").lines();
    requests
        .find_map(|line| line.strip_prefix("remove-peer "))
        .unwrap()
}

/// The part of an error that a server of version 1 reads.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Error1 {
    kind: Kind1,
    outcome: Outcome1,
    forwards: u8,
}

#[derive(Deserialize)]
enum Kind1 {
    Unsupported { what: String },
}

#[derive(Deserialize, Debug, PartialEq)]
enum Outcome1 {
    NotApplied,
}

#[tokio::test]
async fn write_is_not_sent_to_an_older_server() {
    // It answers at the path of version 1, and 404 everywhere else.
    let asked = post(|_: Bytes| async { r#"{"Ok":"PeerRemoved"}"# });
    let old = Router::new().route(VERSION_1, asked);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, old).await });
    for request in [read(), write()] {
        let error = ask(&peers_of(&[&uri]), request).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
        assert_eq!(error.outcome(), Outcome::NotApplied);
        for part in [&uri, "HTTP 404", PEER_PATH, "is too old", "not mounted"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
}

#[tokio::test]
async fn older_server_learns_that_it_is_too_old() {
    let federation = MockFederation::builder()
        .datacenter("dc2", ["dave", "carol"])
        .build();
    let secret = SharedSecret::new(SECRET).unwrap();
    let peers = PeerHttp::new(federation.service("dave")).with_shared_secret(&secret);
    let mut app = Router::new();
    for path in PEER_PATHS {
        app = app.route_service(path, peers.clone());
    }
    let call = |secret: &str| {
        Request::post(VERSION_1)
            .header(AUTHORIZATION, format!("Bearer {secret}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(removal_1()))
            .unwrap()
    };
    let answer = app.clone().oneshot(call(SECRET)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    let body: Result<(), Error1> = serde_json::from_slice(&body.unwrap()).unwrap();
    let error = body.unwrap_err();
    let Kind1::Unsupported { what } = error.kind;
    assert_eq!(
        what,
        "this server call (the server that sent it is too old: it speaks version 1 of the \
         server call, this one version 2: upgrade it)"
    );
    assert_eq!((error.outcome, error.forwards), (Outcome1::NotApplied, 0));
    assert_eq!(federation.configuration("dc2").servers.len(), 2);

    let denied = app.oneshot(call("another-secret-0000000")).await.unwrap();
    assert_eq!(denied.status(), StatusCode::UNAUTHORIZED);
}
