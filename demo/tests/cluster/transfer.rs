use std::time::Duration;

use cluster_operator::RaftBackend;
use cluster_operator::raft::RaftMember;
use cluster_operator_demo::cluster::transfer::{WRITE, WriteError};
use cluster_operator_demo::cluster::{Node, Reply, Request, TypeConfig};
use cluster_operator_openraft::{OpenraftBackend, TransferChannel, TransferRequest};

use super::cluster::network::{CallError, Network};
use super::cluster::{NodeId, Server};
use super::{cluster, eventually, has, leader, own_ip, settings, stop};

fn backend(server: &Server) -> OpenraftBackend<TypeConfig> {
    let describe = |id: &NodeId, node: &Node| RaftMember::voter(id.to_string(), node.name.as_str());
    OpenraftBackend::new(server.raft().clone(), describe)
        .with_transfer(server.network().clone(), server.gate().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_transferred_over_http() {
    let ip = own_ip();
    let servers = cluster((1..=3).map(|id| settings(ip, id))).await;
    let old = leader(&servers).await;
    let new = servers.iter().find(|server| server.id() != old.id());
    let new = new.unwrap();
    let target = new.id().to_string().into();
    let backend = backend(old);
    eventually("the transfer", async || {
        let transfer = backend.transfer_leadership(&target, Duration::from_secs(16));
        transfer.await.ok()
    })
    .await;
    assert_eq!(leader(&servers).await.id(), new.id());

    // A client writes over HTTP. A follower names the leader.
    let write = async |to: &Server| -> Result<Reply, NodeId> {
        let request = Request::Set {
            key: "colour".to_owned(),
            value: "green".to_owned(),
        };
        let call = old
            .network()
            .post(to.node().raft, Some(to.id()), WRITE, &request);
        let answer: Result<Reply, WriteError> = call.await.unwrap();
        answer.map_err(|error| error.forward_to_leader().unwrap().leader_id.unwrap())
    };
    assert_eq!(write(old).await, Err(new.id()));
    assert_eq!(write(new).await, Ok(Reply::Previous(None)));
    has(old, "colour", "green").await;
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_of_a_transfer_reaches_only_its_server() {
    let server = Server::start(settings(own_ip(), 1)).await.unwrap();
    let node = server.node();
    let ask = async |network: &Network, id| network.send(&id, node, TransferRequest::Vote).await;
    ask(server.network(), 1).await.unwrap();
    let error = ask(server.network(), 2).await.unwrap_err();
    assert!(matches!(
        error.downcast_ref(),
        Some(CallError::Unreachable(_))
    ));
    stop([server]).await;
}
