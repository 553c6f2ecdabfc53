//! The recovery of a cluster that has lost its majority for good.

use std::path::Path;

use openraft::error::RaftError;
use openraft::raft::{VoteRequest, VoteResponse};
use openraft::{CommittedLeaderId, LogId, Vote};

use super::cluster::network::{CallError, Network};
use super::cluster::recovery::{RecoveryError, Survivor};
use super::cluster::{NodeId, Server, Settings};
use super::storage::snapshot;
use super::{cluster, eventually, has, leader, own_ip, secret, set, settings, stop};

type Granted = Result<VoteResponse<NodeId>, RaftError<NodeId>>;

const NEW_ID: NodeId = 1_000_000;

/// Three servers on disk, of which each holds a value.
async fn three(folder: &Path) -> (Vec<Server>, impl Fn(NodeId) -> Settings) {
    let ip = own_ip();
    let folder = folder.to_owned();
    let on_disk = move |id: NodeId| Settings {
        data: Some(folder.join(id.to_string())),
        ..settings(ip, id)
    };
    let servers = cluster((1..=3).map(&on_disk)).await;
    set(leader(&servers).await, "colour", "green").await;
    for server in &servers {
        has(server, "colour", "green").await;
    }
    (servers, on_disk)
}

async fn open(settings: &Settings) -> Result<Survivor, RecoveryError> {
    Survivor::open(settings.data.as_ref().unwrap(), &settings.name).await
}

async fn recover(settings: &Settings, id: NodeId) -> Result<(), RecoveryError> {
    let survivor = open(settings).await?;
    let position = survivor.position().to_string();
    survivor.become_only_server(&position, id, || Ok(())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn survivor_becomes_only_server_and_others_join_again() {
    survivor_leads_again(async |_| ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn survivor_recovers_from_a_snapshot() {
    survivor_leads_again(snapshot).await;
}

async fn survivor_leads_again(meanwhile: impl AsyncFn(&Server)) {
    let folder = tempfile::tempdir().unwrap();
    let (servers, on_disk) = three(folder.path()).await;
    meanwhile(&servers[0]).await;
    let ports: Vec<_> = servers.iter().map(Server::ports).collect();
    stop(servers).await;

    recover(&on_disk(1), NEW_ID).await.unwrap();
    let recovered = Settings {
        id: NEW_ID,
        ports: ports[0],
        ..on_disk(1)
    };
    let mut servers = vec![Server::start(recovered.clone()).await.unwrap()];
    let alone = leader(&servers).await;
    has(alone, "colour", "green").await;
    set(alone, "colour", "blue").await;
    let term = alone.raft().metrics().borrow().current_term;

    // A server that was forgotten comes back. It can neither win nor disturb.
    let forgotten = Settings {
        ports: ports[1],
        ..on_disk(2)
    };
    let forgotten = Server::start(forgotten).await.unwrap();
    let begun = forgotten.raft().metrics().borrow().current_term;
    eventually("an election", async || {
        let now = forgotten.raft().metrics().borrow().current_term;
        (now > begun + 1).then_some(())
    })
    .await;
    assert_eq!(forgotten.raft().current_leader().await, None);
    assert_eq!(alone.raft().metrics().borrow().current_term, term);
    stop([forgotten]).await;
    // Not even with a newer log, because it knows only the old number.
    let newer = LogId::new(CommittedLeaderId::new(1000, 2), 1000);
    let vote = VoteRequest::new(Vote::new(1001, 2), Some(newer));
    let network = Network::new("dc1", 2, secret());
    let (address, old) = (alone.node().raft, Some(1));
    let call = network.post::<Granted>(address, old, "/raft/vote", &vote);
    assert!(matches!(call.await, Err(CallError::Unreachable(_))));
    assert_eq!(alone.raft().metrics().borrow().current_term, term);

    // Its folder is emptied, and it joins under a new number.
    let again = Settings {
        data: Some(folder.path().join("again")),
        ..on_disk(4)
    };
    let again = Server::start(again).await.unwrap();
    again.join_raft(&[alone.node().raft]).await.unwrap();
    has(&again, "colour", "blue").await;
    servers.push(again);
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_is_refused_while_a_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (mut servers, on_disk) = three(folder.path()).await;
    let running = open(&on_disk(3)).await.unwrap_err();
    assert!(matches!(running, RecoveryError::Open(_)));

    stop(servers.drain(1..)).await;
    let another = recover(&on_disk(3), NEW_ID).await.unwrap_err();
    assert!(matches!(&another, RecoveryError::Running { name, .. } if name == "server-1"));
    stop(servers).await;
    recover(&on_disk(3), NEW_ID).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_is_refused_where_it_does_not_help() {
    let folder = tempfile::tempdir().unwrap();
    let (servers, on_disk) = three(folder.path()).await;
    stop(servers).await;

    let survivor = open(&on_disk(1)).await.unwrap();
    assert_eq!(survivor.voters(), "server-1, server-2, server-3");
    assert!(survivor.committed() <= survivor.position().index);
    let moved = survivor
        .become_only_server("1-1", NEW_ID, || panic!("nothing is stored"))
        .await;
    assert!(matches!(moved.unwrap_err(), RecoveryError::Moved { .. }));

    let other_name = Settings {
        name: "stranger".to_owned(),
        ..on_disk(1)
    };
    let refused = open(&other_name).await.unwrap_err();
    assert!(matches!(refused, RecoveryError::NoVoter { .. }));
    let refused = open(&on_disk(9)).await.unwrap_err();
    assert!(matches!(refused, RecoveryError::NoLog(_)));
    assert!(!folder.path().join("9").exists());

    // Repeating a recovery does no harm.
    recover(&on_disk(1), NEW_ID).await.unwrap();
    let again = recover(&on_disk(1), NEW_ID + 1).await.unwrap_err();
    assert!(matches!(again, RecoveryError::Alone(_)));

    let new = Server::start(on_disk(5)).await.unwrap();
    stop([new]).await;
    let refused = open(&on_disk(5)).await.unwrap_err();
    assert!(matches!(refused, RecoveryError::NoCluster));
}
