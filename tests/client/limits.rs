//! Who is answered, and how much is read.

use axum::body::Body;
use cluster_operator::client::OperatorClient;
use cluster_operator::mock::{MockFederation, MockPeers, MockRaft};
use cluster_operator::peer_http::{AddressBook, HttpPeers, PEER_PATH, PeerHttp, SharedSecret};
use cluster_operator::peers::SendError;
use cluster_operator::raft::Consistency;
use cluster_operator::{AllowAll, ErrorKind, OperatorReply, OperatorService, Outcome, Token};
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Request, Response};
use tokio::net::TcpListener;
use tower::ServiceExt;

use super::seal::sealed;
use super::socket::{Scripted, Turn, answer, http};
use super::{LONG, SECRET, ask, dc2, install, key, peers_of, read, send, write};

fn secret(text: &str) -> SharedSecret {
    SharedSecret::new(text).unwrap()
}

/// A service that forwards to these peers.
fn service(peers: &MockPeers) -> OperatorService {
    OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice"]))
        .authorizer(AllowAll)
        .peers(peers.clone())
        .build()
        .unwrap()
}

fn call(
    authorization: Option<&str>,
    content_type: Option<&str>,
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::post(PEER_PATH);
    for (name, value) in [(AUTHORIZATION, authorization), (CONTENT_TYPE, content_type)] {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    request.body(body.into()).unwrap()
}

async fn exchange(peer: &PeerHttp, request: Request<Body>) -> Response<String> {
    let (head, body) = peer.clone().oneshot(request).await.unwrap().into_parts();
    assert_eq!(head.headers[CACHE_CONTROL], "no-store");
    let body = axum::body::to_bytes(Body::new(body), usize::MAX).await;
    let body = String::from_utf8(body.unwrap().to_vec()).unwrap();
    Response::from_parts(head, body)
}

#[tokio::test]
async fn only_a_server_with_a_secret_is_answered() {
    let peer = PeerHttp::new(service(&MockPeers::new()))
        .with_shared_secret(&secret(SECRET))
        .with_shared_secret(&secret("the-next-one-0000000"));
    let json = Some("application/json");
    let body = sealed(read()).await.as_bytes().clone();
    for (authorization, status) in [
        (Some(format!("Bearer {SECRET}")), 200),
        (Some("Bearer the-next-one-0000000".into()), 200),
        (Some(format!("Bearer {SECRET}x")), 401),
        (Some(format!("Basic {SECRET}")), 401),
        (Some(SECRET.into()), 401),
        (None, 401),
    ] {
        let response = exchange(&peer, call(authorization.as_deref(), json, body.clone())).await;
        assert_eq!(response.status(), status, "{authorization:?}");
        if status == 401 {
            assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
            assert!(!response.body().contains("alice"));
        }
    }
    // A caller without the secret does not learn what is wrong with its body.
    let response = exchange(&peer, call(None, json, "{")).await;
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn wrong_secret_is_reported_and_nothing_changes() {
    let federation = MockFederation::builder()
        .datacenter("dc2", ["dave", "carol"])
        .build();
    let peer = PeerHttp::new(federation.service("dave")).with_shared_secret(&secret(SECRET));
    let app = axum::Router::new().route_service(PEER_PATH, peer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    for wrong in [None, Some("another-secret-0000000")] {
        let book = AddressBook::new().with_datacenter("dc2", [uri.as_str()]);
        let mut peers = HttpPeers::new(book.unwrap());
        if let Some(wrong) = wrong {
            peers = peers.with_shared_secret(secret(wrong));
        }
        let error = ask(&peers, write()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert!(error.to_string().contains("the same shared secret"));
    }
    assert_eq!(federation.configuration("dc2").servers.len(), 2);
}

#[tokio::test]
async fn malformed_call_is_rejected_before_the_service() {
    let peers = MockPeers::new().with_answer(dc2(), |_| async { Ok(OperatorReply::PeerRemoved) });
    let peer = PeerHttp::new(service(&peers)).with_body_limit(400);
    let json = Some("application/json");
    let away = sealed(write()).await.as_bytes().clone();
    let mut path = call(None, json, away.clone());
    *path.uri_mut() = "/v1/operator/keyring".parse().unwrap();
    let mut method = call(None, json, away.clone());
    *method.method_mut() = http::Method::PUT;
    let form = Some("application/x-www-form-urlencoded");
    for (request, status) in [
        (path, 404),
        (method, 405),
        (call(None, None, away.clone()), 415),
        (call(None, Some("text/plain"), away.clone()), 415),
        (call(None, form, away.clone()), 415),
        (call(None, json, " ".repeat(401)), 413),
    ] {
        let response = exchange(&peer, request).await;
        assert_eq!(response.status(), status, "{response:?}");
        if status == 405 {
            assert_eq!(response.headers()[ALLOW], "POST");
        }
    }
    // The service says what is wrong with an envelope.
    for body in ["", "{}", "{\"version\":2}x"] {
        let response = exchange(&peer, call(None, json, body)).await;
        assert_eq!(response.status(), 200);
        assert!(response.body().contains("incompatible-server"));
    }
    assert_eq!(peers.sent().len(), 0);
    let charset = Some("Application/JSON; charset=utf-8");
    let response = exchange(&peer, call(None, charset, away)).await;
    assert!(response.body().contains("PeerRemoved"));
    assert_eq!(peers.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn late_body_is_given_up() {
    let peer = PeerHttp::new(service(&MockPeers::new()));
    let never = Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
    let mut request = call(None, Some("application/json"), "");
    *request.body_mut() = never;
    assert_eq!(exchange(&peer, request).await.status(), 408);
}

#[tokio::test]
async fn too_large_answer_is_an_error() {
    let large = "x".repeat(4096);
    let sized = http(200, "application/json", &large);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         1000\r\n{large}\r\n0\r\n\r\n"
    );
    // Its body never arrives.
    let announced = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
    for bytes in [sized, chunked.into_bytes(), announced] {
        let server = Scripted::always(move || Turn::Answer(bytes.clone())).await;
        let peers = peers_of(&[&server.uri]).with_reply_limit(1024);
        let error = ask(&peers, write()).await.unwrap_err();
        assert!(
            error.to_string().contains("larger than 1024 bytes"),
            "{error}"
        );
        assert_eq!(error.outcome(), Outcome::Unknown);
        let error = ask(&peers, read()).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied);

        let client = OperatorClient::new(server.uri.parse().unwrap()).with_answer_limit(1024);
        let error = client.use_key(&key(1)).await.unwrap_err();
        assert!(
            error.to_string().contains("larger than 1024 bytes"),
            "{error}"
        );
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
}

#[tokio::test]
async fn request_too_large_for_the_server_is_not_sent() {
    let federation = MockFederation::builder()
        .datacenter("dc2", ["dave"])
        .build();
    let peer = PeerHttp::new(federation.service("dave")).with_body_limit(300);
    let app = axum::Router::new().route_service(PEER_PATH, peer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let long = install(key(2)).with_token(Token::new("x".repeat(1000)));
    let error = send(&peers_of(&[&uri]), long, LONG).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent(_)));
    assert!(error.to_string().contains("with_body_limit"), "{error}");
}

#[tokio::test]
async fn secret_and_token_are_sent_in_headers() {
    let removed = answer(Ok(OperatorReply::PeerRemoved)).await;
    let server = Scripted::start(move |_, request| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        assert_eq!(
            lines.next(),
            Some("POST /dc2/cluster-operator/v2/call HTTP/1.1")
        );
        let authorization = lines.find(|line| line.starts_with("authorization: "));
        assert_eq!(
            authorization,
            Some(&*format!("authorization: Bearer {SECRET}"))
        );
        assert!(!head.contains("b852fbe7") && body.contains("b852fbe7"));
        Turn::Answer(removed.clone())
    })
    .await;
    let under = format!("{}/dc2/", server.uri);
    let peers = peers_of(&[&under]).with_shared_secret(secret(SECRET));
    let request = write().with_token(Token::new("b852fbe7"));
    assert_eq!(ask(&peers, request).await, Ok(OperatorReply::PeerRemoved));

    let server = Scripted::start(|_, request| {
        let (line, head) = request.split_once("\r\n").unwrap();
        assert_eq!(
            line,
            "GET /v1/operator/raft/configuration?stale&dc=d%26c HTTP/1.1"
        );
        assert!(head.contains("x-consul-token: b852fbe7\r\n"));
        Turn::Answer(http(200, "application/json", r#"{"Servers":[],"Index":7}"#))
    })
    .await;
    let client = OperatorClient::new(server.uri.parse().unwrap())
        .with_token(&Token::new("b852fbe7"))
        .unwrap()
        .in_datacenter("d&c");
    let configuration = client.raft_configuration(Consistency::Stale).await.unwrap();
    assert_eq!(configuration.index, 7);
}

#[tokio::test]
async fn token_that_a_header_cannot_carry_is_rejected() {
    let client = OperatorClient::new("http://127.0.0.1:1".parse().unwrap());
    for bad in ["", " a", "a\t", "a\nb", "a\r\nX-Evil: 1", "a\0"] {
        assert!(
            client.clone().with_token(&Token::new(bad)).is_err(),
            "{bad:?}"
        );
    }
    for good in ["a", "a b", "é"] {
        assert!(
            client.clone().with_token(&Token::new(good)).is_ok(),
            "{good:?}"
        );
    }
}

#[tokio::test]
async fn answer_of_another_type_is_not_a_reply() {
    let body = answer(Ok(OperatorReply::PeerRemoved)).await;
    let body = String::from_utf8(body).unwrap();
    let (_, json) = body.split_once("\r\n\r\n").unwrap();
    let answer = http(200, "text/plain", json);
    let server = Scripted::always(move || Turn::Answer(answer.clone())).await;
    let peers = peers_of(&[&server.uri]);
    let error = send(&peers, write(), LONG).await.unwrap_err();
    assert!(matches!(error, SendError::Lost(_)));
    assert!(error.to_string().contains("from a PeerHttp"), "{error}");
}
