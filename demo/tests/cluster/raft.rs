use std::net::SocketAddr;
use std::time::Duration;

use cluster_operator::autopilot::{self, AutopilotChange, AutopilotConfiguration};
use cluster_operator::peer_http::SharedSecret;
use openraft::entry::RaftEntry;
use openraft::error::RaftError;
use openraft::raft::{AppendEntriesRequest, VoteRequest, VoteResponse};
use openraft::{CommittedLeaderId, Entry, LogId, Vote};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cluster::network::{CallError, Network};
use super::cluster::{NodeId, Request, Server, Settings, TypeConfig};
use super::storage::snapshot;
use super::{TIMEOUT, cluster, eventually, has, leader, own_ip, secret, set, settings, stop, text};

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
async fn server_joins_without_a_vote_where_autopilot_acts() {
    let ip = own_ip();
    let servers = cluster((1..=3).map(|id| settings(ip, id))).await;
    let acting = autopilot::Settings::new(3, AutopilotConfiguration::default());
    let acting = acting.unwrap().acting();
    for server in &servers {
        server.set_autopilot(acting.clone());
    }
    let leading = leader(&servers).await;
    let peers = [leading.node().raft];
    let voters = || {
        let metrics = leading.raft().metrics().borrow().clone();
        metrics.membership_config.voter_ids().collect::<Vec<_>>()
    };

    let newcomer = Server::start(settings(ip, 4)).await.unwrap();
    assert_eq!(newcomer.join_raft(&peers).await.unwrap(), Some(3));
    assert_eq!(voters(), [1, 2, 3]);

    // What operators have set comes before what the program says, which the newcomer is
    // told all the same.
    set_autopilot(leading, |it| {
        (it.dry_run, it.intended_size) = (Some(true), Some(5));
    })
    .await;
    assert_eq!(newcomer.join_raft(&peers).await.unwrap(), Some(3));
    eventually("the fourth voter", async || {
        (voters() == [1, 2, 3, 4]).then_some(())
    })
    .await;
    stop(servers.into_iter().chain([newcomer])).await;
}

/// Replicates a configuration of autopilot.
async fn set_autopilot(leader: &Server, set: impl FnOnce(&mut AutopilotConfiguration)) {
    let mut configuration = AutopilotConfiguration::default();
    set(&mut configuration);
    let change = Request::SetAutopilot(AutopilotChange {
        configuration,
        expected_index: None,
    });
    leader.raft().client_write(change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn server_joins_with_a_vote_where_settings_stopped_autopilot() {
    let servers = cluster([settings(own_ip(), 1)]).await;
    let leading = leader(&servers).await;
    let acting = autopilot::Settings::new(3, AutopilotConfiguration::default());
    leading.set_autopilot(acting.unwrap().acting());
    set_autopilot(leading, |it| it.min_quorum = 4).await;

    let newcomer = Server::start(settings(own_ip(), 2)).await.unwrap();
    let joined = newcomer.join_raft(&[leading.node().raft]).await;
    assert_eq!(joined.unwrap(), Some(3));
    let metrics = leading.raft().metrics().borrow().clone();
    assert!(metrics.membership_config.voter_ids().eq(1..=2));
    stop(servers.into_iter().chain([newcomer])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_rejects_call_for_another_server() {
    let server = Server::start(settings(own_ip(), 1)).await.unwrap();
    let address = server.node().raft;
    let ask = async |datacenter: &str, target: Option<NodeId>| {
        let vote = VoteRequest::new(Vote::new(9, 2), None);
        let network = Network::new(datacenter, 2, secret());
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

/// Sends a call with these headers, whose body is announced and never sent.
async fn status_without_body(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::time::timeout(TIMEOUT, stream.read_exact(&mut answer));
    read.await.expect("an answer before the body").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn call_without_shared_secret_is_refused_before_its_body() {
    let server = Server::start(settings(own_ip(), 1)).await.unwrap();
    let address = server.node().raft;
    let target = "X-Raft-Target: dc1/1\r\n";
    for path in [
        "/raft/append",
        "/raft/vote",
        "/raft/snapshot",
        "/raft/join",
        "/",
    ] {
        for secret in ["", "Authorization: Bearer fedcba9876543211\r\n"] {
            let headers = format!("{target}{secret}");
            let status = status_without_body(address, path, &headers).await;
            assert_eq!(status, "HTTP/1.1 401", "{path}");
        }
    }

    // The same for the network of a server with another secret.
    let other = SharedSecret::new("0123456789abcdef").unwrap();
    let vote = VoteRequest::<NodeId>::new(Vote::new(9, 2), None);
    let network = Network::new("dc1", 2, other);
    let call = network.post::<()>(address, Some(1), "/raft/vote", &vote);
    let refused = call.await.unwrap_err();
    assert!(matches!(refused, CallError::Unreachable(_)));
    assert!(text(&refused).contains("shared secret"), "{refused:?}");
    assert!(!text(&refused).contains("0123456789abcdef"), "{refused:?}");
    assert_eq!(server.raft().metrics().borrow().vote, Vote::default());
    stop([server]).await;
}

/// A call by which a stranger could stop the core of a Raft: entries far beyond the log.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_append_of_stranger_does_not_stop_raft() {
    let servers = cluster([settings(own_ip(), 1)]).await;
    let server = leader(&servers).await;
    let id = |index| LogId::new(CommittedLeaderId::new(99, 9), index);
    let append = AppendEntriesRequest::<TypeConfig> {
        vote: Vote::new_committed(99, 9),
        prev_log_id: None,
        entries: vec![Entry::new_blank(id(7))],
        leader_commit: Some(id(7)),
    };
    let body = serde_json::to_string(&append).unwrap();
    for _ in 0..3 {
        let address = server.node().raft;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let call = format!(
            "POST /raft/append HTTP/1.1\r\nHost: {address}\r\nX-Raft-Target: dc1/1\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    set(server, "colour", "green").await;
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_listener_closes_half_a_header() {
    let mut settings = settings(own_ip(), 1);
    settings.limits.header = Duration::from_millis(200);
    let server = Server::start(settings).await.unwrap();
    let mut stream = TcpStream::connect(server.node().raft).await.unwrap();
    stream
        .write_all(b"POST /raft/append HTTP/1.1\r\nX: ")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut answer)).await;
    closed.expect("a closed connection").unwrap();
    stop([server]).await;
}
