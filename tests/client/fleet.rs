//! A federation in memory whose servers reach each other over sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::serve::ListenerExt;
use cluster_operator::mock::MockFederation;
use cluster_operator::peer_http::{AddressBook, HttpPeers, PEER_PATHS, PeerHttp, SharedSecret};
use cluster_operator::{AclAuthorizer, OperatorService, Pool};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::SECRET;

/// The servers of a [`MockFederation`], with its Rafts and rings, but with
/// [`HttpPeers`] between them.
pub(crate) struct Fleet {
    pub(crate) federation: MockFederation,
    services: BTreeMap<&'static str, OperatorService>,
    serving: BTreeMap<&'static str, JoinHandle<()>>,
    connections: BTreeMap<&'static str, Arc<AtomicUsize>>,
}

/// Alice, who leads, bob and carol in dc1, dave and erin in dc2.
const SERVERS: [(&str, &str); 5] = [
    ("alice", "dc1"),
    ("bob", "dc1"),
    ("carol", "dc1"),
    ("dave", "dc2"),
    ("erin", "dc2"),
];

impl Fleet {
    pub(crate) async fn start<A>(authorizer: impl Fn(&str) -> A) -> Fleet
    where
        A: AclAuthorizer + 'static,
    {
        let of = |datacenter: &'static str| {
            let servers = SERVERS.into_iter().filter(move |(_, at)| *at == datacenter);
            servers.map(|(name, _)| name)
        };
        let federation = MockFederation::builder()
            .datacenter("dc1", of("dc1"))
            .datacenter("dc2", of("dc2"))
            .gossip_key(super::key(1))
            .build();
        let mut listeners = BTreeMap::new();
        for (name, _) in SERVERS {
            listeners.insert(name, TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let uri = |name: &str| format!("http://{}", listeners[name].local_addr().unwrap());
        let secret = SharedSecret::new(SECRET).unwrap();
        let book = |own: &str| {
            let mut book = AddressBook::new();
            for (name, datacenter) in SERVERS {
                let id = federation.raft(name).id().clone();
                if datacenter == own {
                    book = book.with_server(id, uri(name).as_str()).unwrap();
                }
            }
            for datacenter in ["dc1", "dc2"] {
                let uris: Vec<_> = of(datacenter).map(uri).collect();
                let uris = uris.iter().map(String::as_str);
                book = book.with_datacenter(datacenter, uris).unwrap();
            }
            book
        };
        let mut services = BTreeMap::new();
        for (name, datacenter) in SERVERS {
            let peers = HttpPeers::new(book(datacenter)).with_shared_secret(secret.clone());
            let service = OperatorService::builder(datacenter)
                .raft(federation.raft(name))
                .keyring(federation.keyring(name, &Pool::Wan))
                .keyring(federation.keyring(name, &Pool::Lan))
                .authorizer(authorizer(datacenter))
                .peers(peers)
                .build();
            services.insert(name, service.unwrap());
        }
        let (mut serving, mut connections) = (BTreeMap::new(), BTreeMap::new());
        for (name, listener) in listeners {
            let asked = PeerHttp::new(services[name].clone()).with_shared_secret(&secret);
            let mut app = Router::new();
            for path in PEER_PATHS {
                app = app.route_service(path, asked.clone());
            }
            let count = Arc::new(AtomicUsize::new(0));
            connections.insert(name, count.clone());
            let listener = listener.tap_io(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            });
            let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
            serving.insert(name, task);
        }
        Fleet {
            federation,
            services,
            serving,
            connections,
        }
    }

    pub(crate) fn service(&self, server: &str) -> &OperatorService {
        &self.services[server]
    }

    /// Closes the listener of a server that nobody has connected to yet.
    pub(crate) async fn stop_listening(&mut self, server: &str) {
        let task = self.serving.remove(server).unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// How often others have connected to a server.
    pub(crate) fn connections(&self, server: &str) -> usize {
        self.connections[server].load(Ordering::SeqCst)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for task in self.serving.values() {
            task.abort();
        }
    }
}
