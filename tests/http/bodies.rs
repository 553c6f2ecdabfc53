//! Bodies that are large, slow, broken or in pieces.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use cluster_operator::consul::{Dialect, Wire};
use cluster_operator::server::OperatorHttp;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::{header, send, service, text};

const INSTALL: &str = r#"{"Key":"G/3/L4yOw3e5T7NTvuRi9g=="}"#;

/// What a body does after its last piece.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    End,
    /// Begin again.
    Repeat,
    Stall,
    Break,
}

/// A body that counts what is read of it.
struct Script {
    pieces: VecDeque<Bytes>,
    then: Then,
    /// The announced length.
    length: Option<u64>,
    pulled: Arc<AtomicUsize>,
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(piece) = self.pieces.pop_front() else {
            return match self.then {
                Then::End => Poll::Ready(None),
                Then::Break => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
                Then::Stall | Then::Repeat => Poll::Pending,
            };
        };
        if self.then == Then::Repeat {
            self.pieces.push_back(piece.clone());
        }
        self.pulled.fetch_add(piece.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn pieces(body: &'static [u8], size: usize, then: Then) -> Script {
    Script {
        pieces: body.chunks(size).map(Bytes::from_static).collect(),
        then,
        length: None,
        pulled: Arc::default(),
    }
}

fn app(limit: usize) -> Router {
    let wire = Wire::new(Dialect::Precise).with_body_limit(limit);
    Router::new().fallback_service(OperatorHttp::new(service()).with_wire(wire))
}

/// The answer to a body, and how many bytes of it were read.
async fn with_body(app: &Router, method: &str, script: Script) -> (Response<Body>, usize) {
    let pulled = Arc::clone(&script.pulled);
    let request = Request::builder()
        .method(method)
        .uri("/v1/operator/keyring")
        .body(Body::new(script))
        .unwrap();
    let response = send(app, request).await;
    (response, pulled.load(Ordering::Relaxed))
}

#[tokio::test]
async fn body_may_come_in_pieces() {
    for size in [1, 2, 7, 1000] {
        let (response, pulled) = with_body(
            &app(64),
            "POST",
            pieces(INSTALL.as_bytes(), size, Then::End),
        )
        .await;
        assert_eq!(response.status(), 200);
        assert_eq!(pulled, INSTALL.len());
    }
}

#[tokio::test]
async fn endless_body_is_a_413_at_the_limit() {
    for (limit, size) in [(1000, 10), (1000, 7), (1000, 999), (64 * 1024, 1024)] {
        let script = pieces(&[b' '; 1024][..size], size, Then::Repeat);
        let (response, pulled) = with_body(&app(limit), "POST", script).await;
        assert_eq!(response.status(), 413);
        let want = format!("Request body is larger than {limit} bytes");
        assert_eq!(text(response).await, want);
        // The piece that went over it, and no more.
        assert!(pulled <= limit + size, "{pulled} of {limit}");
    }
}

#[tokio::test]
async fn body_at_the_limit_is_read_and_one_byte_more_is_not() {
    let body = INSTALL.as_bytes();
    for (limit, status) in [(body.len(), 200), (body.len() - 1, 413)] {
        let (response, _) = with_body(&app(limit), "PUT", pieces(body, 5, Then::End)).await;
        assert_eq!(response.status() == 413, status == 413, "{limit}");
    }
}

#[tokio::test]
async fn body_with_a_too_large_length_is_rejected_unread() {
    let mut script = pieces(&[b' '; 1024], 1024, Then::Repeat);
    script.length = Some(65);
    let (response, pulled) = with_body(&app(64), "POST", script).await;
    assert_eq!(response.status(), 413);
    assert_eq!(pulled, 0);
}

#[tokio::test(start_paused = true)]
async fn stalled_body_is_a_408_after_the_timeout() {
    let endpoints = OperatorHttp::new(service());
    for (endpoints, seconds) in [
        (endpoints.clone(), 10),
        (endpoints.with_body_deadline(Duration::from_secs(3)), 3),
    ] {
        let app = Router::new().fallback_service(endpoints);
        let start = Instant::now();
        let script = pieces(b"{\"Key\":", 7, Then::Stall);
        let (response, _) = with_body(&app, "POST", script).await;
        assert_eq!(response.status(), 408);
        assert_eq!(text(response).await, "Request body did not come in time");
        let waited = start.elapsed();
        let deadline = Duration::from_secs(seconds);
        assert!(waited >= deadline && waited < deadline + Duration::from_millis(10));
    }
}

#[tokio::test]
async fn body_that_breaks_off_is_a_400() {
    let script = pieces(INSTALL.as_bytes(), 4, Then::Break);
    let (response, _) = with_body(&app(64), "DELETE", script).await;
    assert_eq!(response.status(), 400);
    assert_eq!(text(response).await, "Request body could not be read");
}

#[tokio::test]
async fn refused_body_has_the_form_that_accept_names() {
    let problem = "application/problem+json";
    for (body, status) in [
        (pieces(&[b' '; 65], 65, Then::End), 413),
        (pieces(b"{", 1, Then::Break), 400),
    ] {
        let request = Request::builder()
            .method("POST")
            .uri("/v1/operator/keyring")
            .header("Accept", problem)
            .body(Body::new(body))
            .unwrap();
        let response = send(&app(64), request).await;
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "content-type"), Some(problem));
        assert_eq!(
            header(&response, "x-operator-error"),
            Some("invalid-request")
        );
    }
}

#[tokio::test]
async fn body_of_a_write_that_takes_none_is_a_400() {
    let transfer = "/v1/operator/raft/transfer-leader";
    let sent = |body, field: Option<(&str, &str)>| {
        let mut request = Request::builder().method("POST").uri(transfer);
        if let Some((name, value)) = field {
            request = request.header(name, value);
        }
        request.body(Body::new(body)).unwrap()
    };
    let id = br#"{"ID":"bob"}"#;
    // HTTP/2 needs no header for a body.
    for field in [None, Some(("transfer-encoding", "chunked"))] {
        let response = send(&app(64), sent(pieces(id, 4, Then::End), field)).await;
        assert_eq!(response.status(), 400, "{field:?}");
        let error = header(&response, "x-operator-error");
        assert_eq!(error, Some("invalid-request"), "{field:?}");
        let want = "this endpoint takes no body: use the query";
        assert_eq!(text(response).await, want);
    }
    // One that turns out to be empty is none.
    let response = send(&app(64), sent(pieces(b"", 4, Then::End), None)).await;
    assert_ne!(response.status(), 400);
    // Consul ignores it.
    let wire = Wire::new(Dialect::Consul1_17);
    let consul = Router::new().fallback_service(OperatorHttp::new(service()).with_wire(wire));
    let response = send(&consul, sent(pieces(id, 4, Then::End), None)).await;
    assert_ne!(response.status(), 400);
}

#[tokio::test]
async fn large_unwanted_body_is_not_read() {
    for method in ["GET", "HEAD", "OPTIONS", "PATCH"] {
        let mut script = pieces(&[b' '; 1024], 1024, Then::Repeat);
        script.length = Some(1 << 40);
        let (response, pulled) = with_body(&app(64), method, script).await;
        assert!(response.status() != 413, "{method}");
        assert_eq!(pulled, 0, "{method}");
    }
}

#[tokio::test]
async fn unwanted_body_is_discarded() {
    for (method, status) in [("GET", 200), ("HEAD", 200), ("PATCH", 405)] {
        let script = pieces(INSTALL.as_bytes(), 5, Then::End);
        let (response, pulled) = with_body(&app(64), method, script).await;
        assert_eq!(response.status(), status, "{method}");
        assert_eq!(pulled, INSTALL.len(), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn stalled_or_broken_unwanted_body_changes_no_answer() {
    for then in [Then::Stall, Then::Break] {
        let start = Instant::now();
        let (response, _) = with_body(&app(64), "GET", pieces(b"{", 1, then)).await;
        assert_eq!(response.status(), 200);
        assert!(start.elapsed() < Duration::from_secs(11));
    }
}
