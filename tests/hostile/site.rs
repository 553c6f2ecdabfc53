//! The server under attack: hyper with the limits of the demo, in front of a simulated
//! federation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cluster_operator::Pool;
use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::consul::Dialect;
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockToken};
use cluster_operator::peer_http::{PEER_PATHS, PeerHttp, SharedSecret};
use cluster_operator::server::OperatorHttp;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::case::{Input, get};

/// The token that may do everything, those that may do less, and the secret of the servers.
pub(crate) const ROOT: &str = "root-4f1c9e07d2b8";
pub(crate) const READER: &str = "reader-77a0c35e91f4";
pub(crate) const POWERLESS: &str = "powerless-1d66e80b42";
pub(crate) const PEER_SECRET: &str = "peers-9b02c4d8e6f1a3";
/// The ids of the servers.
pub(crate) const ALICE: &str = "00000001-0000-4000-8000-000000000001";
pub(crate) const BOB: &str = "00000002-0000-4000-8000-000000000002";
pub(crate) const CAROL: &str = "00000003-0000-4000-8000-000000000003";
/// The only key of each ring.
pub(crate) const KEY: &str = "0eK8RjnsGC/+I1fJErQsBA==";

/// Only a test that fails waits this long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// The limits of the server.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// How long a client may take to send a header, or leave a connection idle.
    pub(crate) header: Duration,
    /// How long a client may take to send a body.
    pub(crate) body: Duration,
    pub(crate) connections: usize,
    /// The number of requests that are executed at once.
    pub(crate) requests: usize,
}

/// Those of the demo, but for the times: the tables wait for them.
impl Default for Limits {
    fn default() -> Self {
        Limits {
            header: Duration::from_secs(3),
            body: Duration::from_secs(3),
            connections: 600,
            requests: 1024,
        }
    }
}

/// The server alice, which leads bob and carol; dave is in another datacenter.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) federation: MockFederation,
    // Stops the server when it is dropped.
    _server: JoinSet<()>,
}

/// An answer as a client reads it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Site {
    pub(crate) async fn start(dialect: Dialect) -> Self {
        Site::with_limits(dialect, Limits::default()).await
    }

    pub(crate) async fn with_limits(dialect: Dialect, limits: Limits) -> Self {
        let reader = MockToken::new(READER)
            .with(Resource::Operator, Grant::Read)
            .with(Resource::Keyring, Grant::Read);
        let acl = MockAcl::new(DefaultPolicy::Deny)
            .with_token(MockToken::management(ROOT))
            .with_token(reader)
            .with_token(MockToken::new(POWERLESS));
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob", "carol"])
            .datacenter("dc2", ["dave"])
            .raft_index(22)
            .gossip_key(KEY.parse().unwrap())
            .authorizer(acl)
            .build();
        let service = federation.service("alice");
        let endpoints = OperatorHttp::new(service.clone())
            .with_dialect(dialect)
            .with_body_deadline(limits.body)
            .with_concurrency_limit(limits.requests);
        let peers = PeerHttp::new(service)
            .with_shared_secret(&SharedSecret::new(PEER_SECRET).unwrap())
            .with_body_deadline(limits.body);
        let mut app = Router::new().fallback_service(endpoints);
        for path in PEER_PATHS {
            app = app.route_service(path, peers.clone());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, app, limits));
        Site {
            address,
            federation,
            _server: server,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let connecting = timeout(TIMEOUT, TcpStream::connect(self.address));
        connecting.await.expect("a connection").unwrap()
    }

    /// Sends an input on a connection of its own, and reads until the server closes it.
    pub(crate) async fn exchange(&self, input: &Input) -> Vec<Answer> {
        let mut stream = self.connect().await;
        let (mut from, mut to) = stream.split();
        let write = async {
            // The server may refuse to read it all.
            let sent = to.write_all(&input.bytes).await;
            if sent.is_ok() && input.is_cut {
                let _ = to.shutdown().await;
            }
        };
        let mut received = Vec::new();
        let read = async {
            // A connection that is reset keeps what has arrived.
            let _ = from.read_to_end(&mut received).await;
        };
        let both = async { tokio::join!(write, read) };
        timeout(TIMEOUT, both).await.expect("a closed connection");
        answers(&received, input.bytes.starts_with(b"HEAD"))
    }

    /// Checks that the server still answers, and that nothing has changed: no input of the
    /// tables may change anything.
    pub(crate) async fn check_unharmed(&self) {
        let answers = self.exchange(&get("/v1/operator/raft/configuration")).await;
        assert_eq!(answers[0].status, 200);
        for (datacenter, servers) in [("dc1", 3), ("dc2", 1)] {
            let configuration = self.federation.configuration(datacenter);
            assert_eq!(configuration.servers.len(), servers);
            assert_eq!(configuration.index, 22);
        }
        for server in ["alice", "bob", "carol", "dave"] {
            for pool in [Pool::Lan, Pool::Wan] {
                let keys = self.federation.keys(server, &pool);
                assert_eq!(keys, [KEY.parse().unwrap()], "{server}");
            }
        }
        assert_eq!(self.federation.leader("dc1"), Some("alice".into()));
    }
}

/// Serves HTTP/1 as the demo does.
async fn serve(listener: TcpListener, app: Router, limits: Limits) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header);
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            // A panic of a connection ends the server, and with it the test.
            Some(ended) = connections.join_next() => {
                ended.expect("a connection that does not panic");
                continue;
            }
        };
        let service = TowerToHyperService::new(app.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            let _ = connection.await;
            drop(place);
        });
    }
}

/// Splits what a client has received into answers. Anything else fails the test.
fn answers(mut received: &[u8], is_head: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !received.is_empty() {
        let end = received.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, rest) = received.split_at(end.expect("a whole header") + 4);
        let head = std::str::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head
            .strip_prefix("http/1.1 ")
            .or(head.strip_prefix("http/1.0 "));
        let status = status.expect("a status line")[..3].parse().unwrap();
        let lengths = head.matches("\r\ncontent-length: ").count();
        assert!(
            lengths <= 1 && !head.contains("transfer-encoding"),
            "{head}"
        );
        let length = head.split_once("\r\ncontent-length: ");
        let length = length.map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
        let (body, rest) = rest.split_at(if is_head { 0 } else { length });
        answers.push(Answer {
            status,
            head,
            body: String::from_utf8(body.to_vec()).unwrap(),
        });
        received = rest;
    }
    answers
}
