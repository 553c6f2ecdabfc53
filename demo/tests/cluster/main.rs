//! Tests of the demo cluster: durability over restarts and crashes, joining, and
//! rejecting other servers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crash;
mod forwarding;
mod gossip;
mod raft;
mod recovery;
mod storage;
mod transfer;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use cluster_operator::GossipKey;
use cluster_operator::peer_http::SharedSecret;
use cluster_operator_demo::cluster::{self, NodeId, Ports, Request, Server, Settings};
use cluster_operator_demo::serving::Limits;
use openraft::ServerState;

const KEY: &str = "0eK8RjnsGC/+I1fJErQsBA==";
const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns an address that no other test uses, so that none can take a port while a
/// server restarts. Outgoing connections use 127.0.0.1, which is not among them.
fn own_ip() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low, ..] = std::process::id().to_le_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, high.max(1), low, next).into()
}

fn secret() -> SharedSecret {
    SharedSecret::new("fedcba9876543210").unwrap()
}

/// A server in memory, on free ports.
fn settings(ip: IpAddr, id: NodeId) -> Settings {
    Settings {
        name: format!("server-{id}"),
        id,
        operator_id: None,
        datacenter: "dc1".to_owned(),
        ip,
        ports: Ports::default(),
        http: SocketAddr::new(ip, 8500),
        data: None,
        key: KEY.parse::<GossipKey>().unwrap(),
        secret: secret(),
        limits: Limits::default(),
    }
}

/// Starts servers with these settings and forms a cluster of them.
async fn cluster(settings: impl IntoIterator<Item = Settings>) -> Vec<Server> {
    let mut servers = Vec::new();
    for settings in settings {
        servers.push(Server::start(settings).await.unwrap());
    }
    let voters: BTreeMap<_, _> = servers
        .iter()
        .map(|server| (server.id(), server.node().clone()))
        .collect();
    servers[0].bootstrap(voters).await.unwrap();
    servers
}

/// Waits until all servers agree on a leader.
async fn leader(servers: &[Server]) -> &Server {
    eventually("a leader that all agree on", async || {
        let leader = servers[0].raft().current_leader().await?;
        for server in servers {
            if server.raft().current_leader().await != Some(leader) {
                return None;
            }
        }
        let leader = servers.iter().find(|server| server.id() == leader)?;
        let leads = leader.raft().metrics().borrow().state == ServerState::Leader;
        leads.then_some(leader)
    })
    .await
}

async fn set(server: &Server, key: &str, value: &str) {
    let request = Request::Set {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    server.raft().client_write(request).await.unwrap();
}

async fn has(server: &Server, key: &str, value: &str) {
    eventually("the value", async || {
        (server.machine().get(key)? == value).then_some(())
    })
    .await;
}

/// Retries until there is an answer.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, found)
        .await
        .unwrap_or_else(|_| panic!("{what} is still missing"))
}

async fn stop(servers: impl IntoIterator<Item = Server>) {
    for server in servers {
        server.shutdown().await.unwrap();
    }
}

fn text(error: &dyn Debug) -> String {
    format!("{error:?}")
}
