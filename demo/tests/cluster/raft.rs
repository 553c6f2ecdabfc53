use std::time::Duration;

use openraft::Vote;
use openraft::error::RaftError;
use openraft::raft::{VoteRequest, VoteResponse};

use super::cluster::network::{CallError, Network};
use super::cluster::{NodeId, Server, Settings};
use super::storage::snapshot;
use super::{cluster, eventually, has, leader, own_ip, set, settings, stop};

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_elect_a_leader_and_replicate() {
    let ip = own_ip();
    let servers = cluster((1..=3).map(|id| settings(ip, id))).await;
    set(leader(&servers).await, "colour", "green").await;
    for server in &servers {
        has(server, "colour", "green").await;
        let metrics = server.raft().metrics().borrow().clone();
        let known: Vec<_> = metrics
            .membership_config
            .nodes()
            .map(|(_, node)| node)
            .collect();
        let started: Vec<_> = servers.iter().map(Server::node).collect();
        assert_eq!(known, started);
    }
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_elect_new_leader_after_leader_stops() {
    let ip = own_ip();
    let mut servers = cluster((1..=3).map(|id| settings(ip, id))).await;
    let first = leader(&servers).await.id();
    let gone = servers.remove(servers.iter().position(|s| s.id() == first).unwrap());
    gone.shutdown().await.unwrap();
    let second = eventually("another leader", async || {
        let leader = servers[0].raft().current_leader().await?;
        (leader != first).then_some(leader)
    })
    .await;
    let server = servers.iter().find(|server| server.id() == second).unwrap();
    set(server, "colour", "green").await;
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_server_catches_up_from_log() {
    catches_up(async |_| ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_server_catches_up_from_snapshot() {
    catches_up(snapshot).await;
}

async fn catches_up(meanwhile: impl AsyncFn(&Server)) {
    let ip = own_ip();
    let folder = tempfile::tempdir().unwrap();
    let on_disk = |id: NodeId| Settings {
        data: Some(folder.path().join(id.to_string())),
        ..settings(ip, id)
    };
    let mut servers = cluster((1..=3).map(on_disk)).await;
    let leading = leader(&servers).await.id();
    set(leader(&servers).await, "colour", "green").await;
    let follower = servers.iter().position(|s| s.id() != leading).unwrap();
    let follower = servers.remove(follower);
    let (id, ports) = (follower.id(), follower.ports());
    follower.shutdown().await.unwrap();

    set(leader(&servers).await, "colour", "blue").await;
    meanwhile(leader(&servers).await).await;

    let settings = Settings {
        ports,
        ..on_disk(id)
    };
    servers.push(Server::start(settings).await.unwrap());
    has(servers.last().unwrap(), "colour", "blue").await;
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_joins_by_asking_a_follower() {
    let ip = own_ip();
    let mut servers = cluster((1..=3).map(|id| settings(ip, id))).await;
    let leading = leader(&servers).await.id();
    let follower = servers.iter().find(|s| s.id() != leading).unwrap();
    let peers = [follower.node().raft];

    let newcomer = Server::start(settings(ip, 4)).await.unwrap();
    newcomer.join_raft(&peers).await.unwrap();
    servers.push(newcomer);
    for server in &servers {
        eventually("the fourth voter", async || {
            let metrics = server.raft().metrics().borrow().clone();
            let voters = metrics.membership_config.voter_ids();
            voters.eq(1..=4).then_some(())
        })
        .await;
    }
    // A voter returns at once, even without peers to ask.
    servers[3].join_raft(&[]).await.unwrap();
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_rejects_call_for_another_server() {
    let server = Server::start(settings(own_ip(), 1)).await.unwrap();
    let address = server.node().raft;
    let ask = async |datacenter: &str, target: Option<NodeId>| {
        let vote = VoteRequest::new(Vote::new(9, 2), None);
        let network = Network::new(datacenter, 2);
        let call = network.post(address, target, "/raft/vote", &vote).await;
        call.map(|answer: Result<VoteResponse<NodeId>, RaftError<NodeId>>| answer.unwrap())
    };
    for (datacenter, target) in [("dc1", Some(2)), ("dc2", Some(1))] {
        let refused = ask(datacenter, target).await;
        assert!(matches!(refused, Err(CallError::Unreachable(_))));
    }
    assert!(matches!(
        ask("dc1", None).await,
        Err(CallError::Unreachable(_))
    ));
    assert!(ask("dc1", Some(1)).await.unwrap().vote_granted);
    stop([server]).await;

    // A stopped server is unreachable, which is different from a lost answer.
    let stopped = tokio::time::timeout(Duration::from_secs(10), ask("dc1", Some(1))).await;
    assert!(matches!(stopped, Ok(Err(CallError::Unreachable(_)))));
}
