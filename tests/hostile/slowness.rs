//! Slow and idle clients, and more of them than the server takes.

use std::time::Duration;

use cluster_operator::consul::Dialect;
use futures_util::future::{join, join_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::case::{get, raw};
use crate::site::{Limits, PEER_SECRET, ROOT, Site, TIMEOUT};

/// Times that a slow client exceeds soon.
fn short() -> Limits {
    Limits {
        header: Duration::from_millis(500),
        body: Duration::from_millis(500),
        ..Limits::default()
    }
}

/// Sends a byte whenever the server can have taken the last one, until it hangs up. Returns
/// what it has answered.
async fn drip(mut stream: TcpStream, beginning: String) -> String {
    stream.write_all(beginning.as_bytes()).await.unwrap();
    let (mut from, mut to) = stream.split();
    let mut answer = Vec::new();
    let dripping = async {
        while to.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reading = from.read_to_end(&mut answer);
    let both = async { tokio::join!(dripping, reading) };
    let _ = timeout(TIMEOUT, both).await.expect("a closed connection");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn bytes_now_and_then_do_not_extend_the_time() {
    let site = Site::with_limits(Dialect::Precise, short()).await;
    let post = |path: &str, headers: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nX-Consul-Token: {ROOT}\r\n{headers}\r\n")
    };
    let chunks = "Transfer-Encoding: chunked\r\n";
    let call = format!(
        "Content-Type: application/json\r\nAuthorization: Bearer {PEER_SECRET}\r\nContent-Length: 60000\r\n"
    );
    let keyring = "/v1/operator/keyring";
    let slow = [
        ("request line", "GET /".into(), ""),
        ("header name", "GET / HTTP/1.1\r\nX".into(), ""),
        ("header value", "GET / HTTP/1.1\r\nX: ".into(), ""),
        (
            "body",
            post(keyring, "Content-Length: 60000\r\n"),
            "HTTP/1.1 408 ",
        ),
        ("chunk", post(keyring, chunks) + "ea60\r\n", "HTTP/1.1 408 "),
        ("chunk size", post(keyring, chunks), "HTTP/1.1 4"),
        ("extension", post(keyring, chunks) + "1;", "HTTP/1.1 4"),
        (
            "server call",
            post("/cluster-operator/v2/call", &call),
            "HTTP/1.1 408 ",
        ),
    ];
    let clients = slow.map(|(name, beginning, want)| {
        let site = &site;
        async move {
            let answer = drip(site.connect().await, beginning).await;
            let status = answer.get(..want.len());
            assert_eq!(status, Some(want), "{name}: {answer:?}");
            assert!(!answer.contains(ROOT), "{name}");
        }
    });
    join_all(clients).await;
    site.check_unharmed().await;
}

#[tokio::test]
async fn idle_connections_are_closed_and_others_are_served() {
    let site = Site::with_limits(Dialect::Precise, short()).await;
    // In turns, so that the process needs few open files.
    for _ in 0..4 {
        let mut idle = Vec::new();
        // In groups that fit the listener's queue. The kernel forgets clients beyond it.
        for _ in 0..3 {
            idle.extend(join_all((0..100).map(|_| site.connect())).await);
            // The server takes clients in order, so it has taken the group as well.
            let answers = site.exchange(&get("/v1/operator/keyring")).await;
            assert_eq!(answers[0].status, 200);
        }
        let ends = idle.into_iter().map(|mut stream| async move {
            let mut answer = Vec::new();
            let end = timeout(TIMEOUT, stream.read_to_end(&mut answer)).await;
            end.expect("a closed connection").unwrap();
            assert_eq!(answer, b"");
        });
        join_all(ends).await;
    }
    site.check_unharmed().await;
}

#[tokio::test]
async fn clients_beyond_the_limit_wait_for_a_place() {
    let limits = Limits {
        connections: 10,
        ..short()
    };
    let site = Site::with_limits(Dialect::Precise, limits).await;
    let slow = (0..50).map(|_| async {
        let stream = site.connect().await;
        let answer = drip(stream, "GET / HTTP/1.1\r\nX: ".into()).await;
        assert_eq!(answer, "");
    });
    let served = async {
        let answers = site.exchange(&get("/v1/operator/keyring")).await;
        assert_eq!(answers[0].status, 200);
    };
    tokio::join!(join_all(slow), served);
    site.check_unharmed().await;
}

#[tokio::test]
async fn requests_that_wait_for_bodies_take_no_place() {
    let limits = Limits {
        requests: 1,
        body: Duration::from_secs(3),
        ..Limits::default()
    };
    let site = Site::with_limits(Dialect::Precise, limits).await;
    let post = format!(
        "POST /v1/operator/keyring HTTP/1.1\r\nHost: a\r\nX-Consul-Token: {ROOT}\r\nContent-Length: 9\r\n\r\n"
    );
    let post = raw(post);
    let listing = get("/v1/operator/keyring");
    let waiting = join_all((0..4).map(|_| site.exchange(&post)));
    let (waiting, served) = join(waiting, site.exchange(&listing)).await;
    let statuses: Vec<_> = waiting.iter().map(|answers| answers[0].status).collect();
    assert_eq!(statuses, [408; 4]);
    assert_eq!(served[0].status, 200);
    site.check_unharmed().await;
}

#[tokio::test]
async fn clients_that_vanish_leave_nothing_behind() {
    let limits = Limits {
        connections: 20,
        requests: 20,
        ..Limits::default()
    };
    let site = Site::with_limits(Dialect::Precise, limits).await;
    let listing = get("/v1/operator/keyring");
    // Ten times as many as there are places.
    for _ in 0..200 {
        let mut stream = site.connect().await;
        stream.write_all(&listing.bytes).await.unwrap();
        // The answer is never read, and the connection is reset.
        stream.set_zero_linger().unwrap();
    }
    site.check_unharmed().await;
}
