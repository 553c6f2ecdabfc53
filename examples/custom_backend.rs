//! The smallest complete embedding, with a Raft and a gossip pool of your own. This
//! server is the only one of its cluster. Run it with
//! `cargo run --example custom_backend --all-features`, then try
//! `curl http://127.0.0.1:8501/v1/operator/keyring`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cluster_operator::{AllowAll, ErrorKind, NodeName, OperatorError, OperatorService};
use cluster_operator::{keyring::*, raft::*, server::OperatorHttp};

struct MyRaft(Arc<Membership>);

#[async_trait]
impl RaftBackend for MyRaft {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        let mut view = RaftView::new("my-id", Arc::clone(&self.0));
        view.leadership = Leadership::Local;
        Ok(view)
    }
    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        self.view().await // confirmed by a majority of one
    }
    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
        match change.kind {
            ChangeKind::Remove { .. } => Err(ErrorKind::LastVoter.into()),
            _ => Err(change.unsupported()),
        }
    }
}

struct MyGossip(tokio::sync::Mutex<Keyring>, NodeName);

#[async_trait]
impl KeyringBackend for MyGossip {
    fn pool(&self) -> &Pool {
        &Pool::Lan
    }
    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        query.answers.asking([self.1.clone()]); // all nodes of the pool
        let listed = self.0.lock().await.listed();
        query.answers.answered(&self.1, Ok(listed));
        Ok(())
    }
    async fn change(&self, change: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        query.answers.asking([self.1.clone()]);
        let answer = self.0.lock().await.change(change);
        query.answers.answered(&self.1, answer);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ring = Keyring::new("0eK8RjnsGC/+I1fJErQsBA==".parse()?);
    let membership = Membership::new([RaftMember::voter("my-id", "127.0.0.1:8300")]);
    let service = OperatorService::builder("dc1")
        .raft(MyRaft(membership.into()))
        .keyring(MyGossip(ring.into(), "me".into()))
        .authorizer(AllowAll)
        .build()?;
    let app = axum::Router::new().fallback_service(OperatorHttp::new(service));
    Ok(axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8501").await?, app).await?)
}
