//! The smallest real embedding: a Raft and a gossip ring of your own, behind
//! Consul's endpoints. This server is the only one of its cluster.
//!
//! `cargo run --example custom_backend --all-features`, then
//! `curl http://127.0.0.1:8501/v1/operator/keyring`.

use async_trait::async_trait;
use cluster_operator::http::OperatorHttp;
use cluster_operator::keyring::*;
use cluster_operator::raft::*;
use cluster_operator::{AllowAll, ErrorKind, OperatorError, OperatorService};

type Answer = Result<RingReport, OperatorError>;

struct MyRaft;

#[async_trait]
impl RaftBackend for MyRaft {
    fn leadership(&self) -> Leadership {
        Leadership::Local
    }

    async fn configuration(&self, _: Consistency) -> Result<RaftConfiguration, OperatorError> {
        let me = RaftServer::voter("my-id", "127.0.0.1:8300").with_name("me");
        let servers = vec![me.with_leader(true)];
        Ok(RaftConfiguration { servers, index: 1 })
    }

    async fn remove_server(&self, _: &PeerSelector, _: Option<u64>) -> Result<(), OperatorError> {
        Err(ErrorKind::LastVoter.into())
    }
}

struct MyGossip(tokio::sync::Mutex<Keyring>);

impl MyGossip {
    /// Asks every node of the pool, which is this one, and merges the answers.
    async fn ask<T>(&self, ask: impl FnOnce(&mut Keyring) -> Result<T, NodeFailure>) -> Answer {
        let mut report = RingReport::new(1);
        report.answered("me".into(), ask(&mut *self.0.lock().await));
        Ok(report)
    }
}

#[async_trait]
impl KeyringBackend for MyGossip {
    fn pool(&self) -> Pool {
        Pool::Lan
    }
    async fn list(&self, _: RelayFactor) -> Answer {
        let mut report = RingReport::new(1);
        report.holds(self.0.lock().await.keys());
        Ok(report)
    }
    async fn install(&self, key: &GossipKey, _: RelayFactor) -> Answer {
        self.ask(|ring| Ok(ring.install(key.clone()))).await
    }
    async fn use_key(&self, key: &GossipKey, _: RelayFactor) -> Answer {
        self.ask(|ring| ring.use_key(key)).await
    }
    async fn remove(&self, key: &GossipKey, _: RelayFactor) -> Answer {
        self.ask(|ring| ring.remove(key)).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ring = Keyring::new(GossipKey::from_base64("0eK8RjnsGC/+I1fJErQsBA==")?);
    let service = OperatorService::builder("dc1")
        .raft(MyRaft)
        .keyring(MyGossip(ring.into()))
        .authorizer(AllowAll)
        .build()?;
    let app = axum::Router::new().fallback_service(OperatorHttp::new(service));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8501").await?;
    Ok(axum::serve(listener, app).await?)
}
