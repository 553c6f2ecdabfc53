//! Over a real socket on the loopback device.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use cluster_operator::server::OperatorHttp;
use tokio::net::{TcpListener, TcpStream};

use super::service;

/// Serves on a free port until the test is over.
async fn serve() -> SocketAddr {
    let app = Router::new()
        .route("/", get(|| async { "my own server" }))
        .fallback_service(OperatorHttp::new(service()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Sends a request as it stands and reads until the server hangs up.
async fn exchange(address: SocketAddr, request: &str) -> (String, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut rest = request.as_bytes();
    while !rest.is_empty() {
        stream.writable().await.unwrap();
        match stream.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        stream.readable().await.unwrap();
        match stream.try_read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

fn length(head: &str) -> Option<&str> {
    head.lines()
        .find_map(|line| line.strip_prefix("content-length: "))
}

#[tokio::test]
async fn requests_are_answered_over_a_socket() {
    let address = serve().await;
    let send = |method: &str, path: &str, rest: &str| {
        let request = format!(
            "{method} /v1/operator/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{rest}"
        );
        async move { exchange(address, &request).await }
    };
    let (head, body) = send("GET", "raft/configuration", "\r\n").await;
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"));
    assert!(body.starts_with("{\"Servers\":[{\"ID\":"), "{body}");
    assert!(body.ends_with("],\"Index\":22}"), "{body}");
    assert_eq!(length(&head), Some(body.len().to_string().as_str()));

    let (head, nothing) = send("HEAD", "raft/configuration", "\r\n").await;
    assert_eq!(nothing, "");
    assert_eq!(length(&head), Some(body.len().to_string().as_str()));

    let chunked = "Transfer-Encoding: chunked\r\n\r\n\
                   8\r\n{\"Key\":\"\r\n18\r\nG/3/L4yOw3e5T7NTvuRi9g==\r\n2\r\n\"}\r\n0\r\n\r\n";
    let (head, body) = send("POST", "keyring", chunked).await;
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert_eq!(body, "");
    let (_, body) = send("GET", "keyring", "\r\n").await;
    assert!(body.contains("\"G/3/L4yOw3e5T7NTvuRi9g==\":3"), "{body}");

    // Not a byte of this one is ever sent.
    let (head, body) = send("POST", "keyring", "Content-Length: 999999\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 413 "), "{head}");
    assert_eq!(body, "Request body is larger than 65536 bytes");
}
