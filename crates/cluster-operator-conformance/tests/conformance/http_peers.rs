//! `HttpPeers` and `PeerHttp` under the suite for peers, with a directory to which
//! servers are added while requests are sent.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use cluster_operator::peer_http::{
    Directory, HttpPeers, PEER_PATH, PeerHttp, ServerUri, SharedSecret,
};
use cluster_operator::peers::Target;
use cluster_operator::raft::LeaderHint;
use cluster_operator::{DatacenterName, OperatorService, Peers, Timer, TokioTimer};
use cluster_operator_conformance::peers::PeersFixture;
use cluster_operator_conformance::{Fixture, NotSupported};
use http::Request;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tower::ServiceExt;

const SECRET: &str = "3f8a0c6e51d94b7e9a2c77d0";

/// Servers on the loopback device, by the names of their targets.
struct Loopback {
    peers: Arc<HttpPeers>,
    servers: Servers,
    started: AtomicUsize,
}

#[derive(Clone, Default)]
struct Servers(Arc<Mutex<BTreeMap<String, Server>>>);

struct Server {
    target: Target,
    uri: ServerUri,
    replies: Arc<Mutex<Replies>>,
    stop: Arc<Notify>,
    serving: Option<JoinHandle<()>>,
}

/// What the server does with the replies of its service.
#[derive(Clone, Default)]
enum Replies {
    #[default]
    Sent,
    Lost,
    Replaced(Vec<u8>),
}

impl Loopback {
    fn new() -> Loopback {
        let servers = Servers::default();
        let secret = SharedSecret::new(SECRET).unwrap();
        Loopback {
            peers: Arc::new(HttpPeers::new(servers.clone()).with_shared_secret(secret)),
            servers,
            started: AtomicUsize::new(0),
        }
    }
}

impl Servers {
    fn set(&self, target: &Target, replies: Replies) {
        let servers = self.0.lock().unwrap();
        *servers[&name(target)].replies.lock().unwrap() = replies;
    }
}

fn name(target: &Target) -> String {
    match target {
        Target::Server(leader) => format!("server {}", leader.id),
        Target::Datacenter(datacenter) => format!("datacenter {datacenter}"),
    }
}

impl Directory for Servers {
    fn datacenters(&self) -> Vec<DatacenterName> {
        let servers = self.0.lock().unwrap();
        let targets = servers.values().map(|server| &server.target);
        targets
            .filter_map(|target| match target {
                Target::Datacenter(datacenter) => Some(datacenter.clone()),
                Target::Server(_) => None,
            })
            .collect()
    }

    fn uris(&self, target: &Target) -> Vec<ServerUri> {
        let servers = self.0.lock().unwrap();
        let server = servers.get(&name(target));
        server
            .map(|server| server.uri.clone())
            .into_iter()
            .collect()
    }
}

#[async_trait]
impl Fixture for Loopback {
    fn timer(&self) -> &dyn Timer {
        &TokioTimer
    }

    /// Some checks wait for a twelfth of it.
    fn deadline(&self) -> Duration {
        Duration::from_secs(12)
    }

    async fn close(&self) {
        for server in self.servers.0.lock().unwrap().values() {
            server.serving.iter().for_each(JoinHandle::abort);
        }
    }
}

#[async_trait]
impl PeersFixture for Loopback {
    fn peers(&self) -> Arc<dyn Peers> {
        self.peers.clone()
    }

    async fn serve(
        &self,
        datacenter: Option<DatacenterName>,
        service: OperatorService,
    ) -> Result<Target, NotSupported> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let uri = format!("http://{address}").parse().unwrap();
        let number = self.started.fetch_add(1, Ordering::SeqCst);
        let target = match datacenter {
            Some(datacenter) => Target::Datacenter(datacenter),
            None => Target::Server(LeaderHint {
                id: format!("server-{number}").into(),
                address: address.into(),
            }),
        };
        let secret = SharedSecret::new(SECRET).unwrap();
        let peer = PeerHttp::new(service).with_shared_secret(&secret);
        let replies = Arc::<Mutex<Replies>>::default();
        let shared = replies.clone();
        let lossy = tower::service_fn(move |request: Request<Body>| {
            let (peer, replies) = (peer.clone(), shared.clone());
            async move {
                let answer = peer.oneshot(request).await?.map(Body::new);
                let replies = replies.lock().unwrap().clone();
                Ok::<_, Infallible>(match replies {
                    Replies::Sent => answer,
                    Replies::Lost => answer.map(|_| breaks_off()),
                    Replies::Replaced(bytes) => answer.map(|_| Body::from(bytes)),
                })
            }
        });
        let app = Router::new().route_service(PEER_PATH, lossy);
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let serving = tokio::spawn(async move {
            let server = axum::serve(listener, app);
            let stopped = async move { stopped.notified().await };
            server.with_graceful_shutdown(stopped).await.unwrap();
        });
        let server = Server {
            target: target.clone(),
            uri,
            replies,
            stop,
            serving: Some(serving),
        };
        // In place of the datacenter's former one.
        let mut servers = self.servers.0.lock().unwrap();
        servers.insert(name(&target), server);
        Ok(target)
    }

    async fn stop(&self, target: &Target) -> Result<(), NotSupported> {
        let serving = {
            let mut servers = self.servers.0.lock().unwrap();
            let server = servers.get_mut(&name(target)).unwrap();
            server.stop.notify_one();
            server.serving.take().unwrap()
        };
        serving.await.unwrap();
        Ok(())
    }

    async fn lose_answers(&self, target: &Target) -> Result<(), NotSupported> {
        self.servers.set(target, Replies::Lost);
        Ok(())
    }

    async fn replace_replies(&self, target: &Target, reply: Vec<u8>) -> Result<(), NotSupported> {
        self.servers.set(target, Replies::Replaced(reply));
        Ok(())
    }
}

/// A body at which the connection ends.
fn breaks_off() -> Body {
    let broken = std::io::Error::other("the connection is lost");
    Body::from_stream(futures_util::stream::iter([Err::<&str, _>(broken)]))
}

cluster_operator_conformance::peers_tests! {
    factory = async |()| Ok(Loopback::new()),
    block_on = |checks| tokio::runtime::Runtime::new().unwrap().block_on(checks),
}
