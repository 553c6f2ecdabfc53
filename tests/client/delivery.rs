//! A write that may have arrived is never sent a second time.

use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use cluster_operator::mock::MockRaft;
use cluster_operator::peer_http::{PEER_PATH, PeerHttp, Transport};
use cluster_operator::peers::SendError;
use cluster_operator::{AllowAll, ErrorKind, OperatorReply, OperatorService, Outcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

use super::socket::{Scripted, Turn, answer, http, nobody, serving};
use super::{LONG, ask, ask_within, install, key, peers_of, read, send, write};

#[tokio::test]
async fn hundred_requests_share_one_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let listener = listener.tap_io(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let service = OperatorService::builder("dc2")
        .raft(MockRaft::voters(["dave"]))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let app = Router::new().route_service(PEER_PATH, PeerHttp::new(service));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let peers = peers_of(&[&uri]);
    for _ in 0..100 {
        ask(&peers, read()).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn lost_reply_leaves_the_outcome_of_a_write_unknown() {
    let lossy = Scripted::always(|| Turn::Close).await;
    let spare = serving().await;
    for request in [write(), install(key(2))] {
        let peers = peers_of(&[&lossy.uri, &spare.uri]);
        let before = lossy.requests();
        let error = send(&peers, request, LONG).await.unwrap_err();
        assert!(matches!(error, SendError::Lost(_)), "{error:?}");
        assert!(error.to_string().contains(&lossy.uri));
        assert_eq!(lossy.requests(), before + 1);
    }
    assert_eq!(spare.connections(), 0);
    let error = ask(&peers_of(&[&lossy.uri]), write()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn read_continues_with_the_next_server() {
    let lossy = Scripted::always(|| Turn::Close).await;
    let proxy = Scripted::always(|| Turn::Answer(http(502, "text/html", "bad gateway"))).await;
    let good = serving().await;
    let peers = peers_of(&[&lossy.uri, &proxy.uri, &good.uri]);
    ask(&peers, read()).await.unwrap();
    let counts = [&lossy, &proxy, &good].map(Scripted::requests);
    assert_eq!(counts, [1, 1, 1]);

    let none_good = peers_of(&[&lossy.uri, &proxy.uri]);
    let error = ask(&none_good, read()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    for server in [&lossy, &proxy] {
        assert!(error.to_string().contains(&server.uri), "{error}");
    }
}

#[tokio::test]
async fn closing_connection_never_repeats_a_write() {
    // It answers as if it kept the connection, and closes it while the next request
    // may be on its way.
    let removed = answer(Ok(OperatorReply::PeerRemoved)).await;
    let server = Scripted::always(move || Turn::AnswerAndClose(removed.clone())).await;
    let peers = peers_of(&[&server.uri]);
    let (mut done, mut lost) = (0, 0);
    for _ in 0..200 {
        match ask(&peers, write()).await {
            Ok(_) => done += 1,
            Err(error) => {
                assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
                lost += 1;
            }
        }
        // Each is sent at most once, whatever its outcome.
        assert!(server.requests() <= done + lost);
        assert!(server.requests() >= done);
    }
}

#[tokio::test]
async fn write_that_was_read_is_not_sent_again() {
    let removed = answer(Ok(OperatorReply::PeerRemoved)).await;
    let server = Scripted::start(move |number, _| match number {
        0 => Turn::Answer(removed.clone()),
        _ => Turn::Close,
    })
    .await;
    let peers = peers_of(&[&server.uri]);
    ask(&peers, write()).await.unwrap();
    let error = ask(&peers, write()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!((server.requests(), server.connections()), (2, 1));
}

#[tokio::test]
async fn write_continues_if_nobody_listens() {
    let dead = nobody().await;
    let good = serving().await;
    let peers = peers_of(&[&dead, &good.uri]);
    for _ in 0..3 {
        assert_eq!(ask(&peers, write()).await, Ok(OperatorReply::PeerRemoved));
    }
    assert_eq!(good.requests(), 3);

    let error = ask(&peers_of(&[&dead]), write()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn write_continues_with_the_next_server_after_a_4xx() {
    for status in [401, 404, 413, 429] {
        let refuses =
            Scripted::always(move || Turn::Answer(http(status, "text/plain", "no"))).await;
        let good = serving().await;
        let peers = peers_of(&[&refuses.uri, &good.uri]);
        assert_eq!(ask(&peers, write()).await, Ok(OperatorReply::PeerRemoved));
        let error = ask(&peers_of(&[&refuses.uri]), write()).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert!(error.to_string().contains(&format!("HTTP {status}")));
    }
}

#[tokio::test]
async fn malformed_answer_leaves_a_write_unknown() {
    let answers = [
        http(500, "text/plain", "the answer cannot be written"),
        http(503, "text/html", "try again"),
        http(302, "text/html", "elsewhere"),
        http(200, "text/html", "<h1>It works!</h1>"),
        http(200, "application/json", "{\"Ok\":\"Eaten\"}"),
        http(200, "application/json", "{}"),
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{}"
            .to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
    ];
    for answer in answers {
        let text = String::from_utf8_lossy(&answer).into_owned();
        let server = Scripted::always(move || Turn::AnswerAndClose(answer.clone())).await;
        let spare = serving().await;
        let peers = peers_of(&[&server.uri, &spare.uri]);
        let error = ask(&peers, write()).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{text}: {error}");
        assert_eq!((server.requests(), spare.requests()), (1, 0), "{text}");
    }
}

#[tokio::test]
async fn silent_server_times_out_and_is_avoided() {
    let silent = Scripted::always(|| Turn::Silence).await;
    let good = serving().await;
    let short = Duration::from_millis(500);
    let late = ErrorKind::DeadlineExceeded {
        target: "datacenter dc2".into(),
        after: short,
    };
    let peers = peers_of(&[&silent.uri, &good.uri]);
    let error = ask_within(&peers, write(), short).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (&late, Outcome::Unknown));
    ask(&peers, write()).await.unwrap();

    let peers = peers_of(&[&silent.uri, &good.uri]);
    let error = ask_within(&peers, read(), short).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (&late, Outcome::NotApplied)
    );
    assert_eq!((silent.requests(), good.requests()), (2, 1));

    // The caller may give up before that.
    let peers = peers_of(&[&silent.uri, &good.uri]);
    tokio::time::timeout(short, ask(&peers, read()))
        .await
        .unwrap_err();
    ask(&peers, read()).await.unwrap();
    assert_eq!((silent.requests(), good.requests()), (3, 2));
}

#[tokio::test]
async fn unreachable_server_costs_its_timeout_once() {
    let good = serving().await;
    let (transport, attempts) = super::transport::with_a_black_hole();
    let transport = transport.with_connect_timeout(Duration::from_millis(500));
    let peers = peers_of(&["http://black.hole", &good.uri]).with_transport(transport.clone());
    for _ in 0..5 {
        assert_eq!(ask(&peers, write()).await, Ok(OperatorReply::PeerRemoved));
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 1);

    let peers = peers_of(&["http://black.hole"]).with_transport(transport.clone());
    let error = ask(&peers, write()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(error.to_string().contains("no connection within 500 ms"));

    // The deadline comes first; still nothing was sent.
    let peers =
        peers_of(&["http://black.hole"]).with_transport(transport.with_connect_timeout(LONG));
    let short = Duration::from_millis(500);
    let error = ask_within(&peers, write(), short).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }));
    assert_eq!(error.outcome(), Outcome::NotApplied);
}

#[tokio::test]
async fn concurrent_requests_are_each_sent_once() {
    let server = serving().await;
    let peers = peers_of(&[&server.uri]);
    let asked = (0..50).map(|_| ask(&peers, write()));
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.requests(), 50);
}

#[tokio::test]
async fn https_without_tls_is_rejected_before_sending() {
    let server = serving().await;
    let https = server.uri.replace("http:", "https:");
    let peers = peers_of(&[&https]).with_transport(Transport::tcp());
    let error = ask(&peers, write()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(error.to_string().contains("scheme"), "{error}");
    assert_eq!(server.requests(), 0);
}
