//! Servers whose answers a test scripts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cluster_operator::raft::RaftConfiguration;
use cluster_operator::{OperatorError, OperatorReply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::seal::reply;

/// What a server does after it has read a request.
pub(crate) enum Turn {
    /// It answers, and keeps the connection.
    Answer(Vec<u8>),
    /// It answers as if it kept the connection, and closes it.
    AnswerAndClose(Vec<u8>),
    /// It closes the connection.
    Close,
    /// It never answers.
    Silence,
}

/// A server on a free port. It stops when it is dropped.
pub(crate) struct Scripted {
    pub(crate) uri: String,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Scripted {
    /// `turn` gets the request's number, from 0 on, and its text.
    pub(crate) async fn start(
        turn: impl Fn(usize, &str) -> Turn + Send + Sync + 'static,
    ) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let counts = Arc::new(Counts::default());
        let (shared, turn) = (counts.clone(), Arc::new(turn));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (counts, turn) = (shared.clone(), turn.clone());
                tokio::spawn(async move { converse(stream, &counts, &*turn).await });
            }
        });
        Scripted { uri, counts, task }
    }

    /// A server that does the same with each request.
    pub(crate) async fn always(turn: impl Fn() -> Turn + Send + Sync + 'static) -> Scripted {
        Scripted::start(move |_, _| turn()).await
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// The number of requests that have arrived completely.
    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    mut stream: TcpStream,
    counts: &Counts,
    turn: &(impl Fn(usize, &str) -> Turn + ?Sized),
) {
    let mut read = Vec::new();
    while let Some(request) = next_request(&mut stream, &mut read).await {
        match turn(counts.requests.fetch_add(1, Ordering::SeqCst), &request) {
            Turn::Answer(answer) => {
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
            Turn::AnswerAndClose(answer) => {
                let _ = stream.write_all(&answer).await;
                return;
            }
            Turn::Close => return,
            Turn::Silence => std::future::pending().await,
        }
    }
}

/// Reads a request with its body; `None` if the client has closed the connection.
async fn next_request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<String> {
    loop {
        let text = String::from_utf8_lossy(read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                (name.eq_ignore_ascii_case("content-length")).then(|| value.trim().parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                read.clear();
                return Some(text);
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

pub(crate) fn http(status: u16, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// The answer of a `PeerHttp`.
pub(crate) async fn answer(answer: Result<OperatorReply, OperatorError>) -> Vec<u8> {
    let reply = reply(answer).await;
    let body = std::str::from_utf8(reply.as_bytes()).unwrap();
    http(200, "application/json", body)
}

/// A server that answers a read with an empty configuration, and a removal with
/// success.
pub(crate) async fn serving() -> Scripted {
    let empty = OperatorReply::RaftConfiguration(RaftConfiguration::default());
    let (read, removed) = (answer(Ok(empty)), answer(Ok(OperatorReply::PeerRemoved)));
    let (read, removed) = (read.await, removed.await);
    Scripted::start(move |_, request| {
        let answer = if request.contains("RemovePeer") {
            &removed
        } else {
            &read
        };
        Turn::Answer(answer.clone())
    })
    .await
}

/// A URI at which nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
