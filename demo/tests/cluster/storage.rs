use std::path::Path;

use cluster_operator::autopilot::{AutopilotChange, AutopilotConfiguration};
use cluster_operator_openraft::AutopilotStore;
use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::cluster::log::Log;
use super::cluster::machine::Machine;
use super::cluster::store::Store;
use super::cluster::{NodeId, Reply, Request, Server, Settings, StartError, TypeConfig};
use super::{cluster, eventually, has, leader, own_ip, set, settings, stop};

struct InMemory;

impl StoreBuilder<TypeConfig, Log, Machine> for InMemory {
    async fn build(&self) -> Result<((), Log, Machine), StorageError<NodeId>> {
        let store = Store::in_memory().unwrap();
        let machine = Machine::open(store.clone()).await.unwrap();
        Ok(((), Log::new(store), machine))
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig, Log, Machine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<NodeId>> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("raft.redb")).unwrap();
        let machine = Machine::open(store.clone()).await.unwrap();
        Ok((folder, Log::new(store), machine))
    }
}

// Both run at once, because the suite mostly sleeps.
#[test]
fn storage_passes_openraft_suite() {
    std::thread::scope(|scope| {
        let in_memory = scope.spawn(|| Suite::test_all(InMemory).unwrap());
        let on_disk = scope.spawn(|| Suite::test_all(OnDisk).unwrap());
        in_memory.join().unwrap();
        on_disk.join().unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn noop_is_applied_and_changes_nothing() {
    let servers = cluster([settings(own_ip(), 7)]).await;
    let server = leader(&servers).await;
    set(server, "colour", "green").await;
    let written = server.raft().client_write(Request::Noop).await.unwrap();
    assert_eq!(written.data, Reply::Done);
    assert!(server.raft().metrics().borrow().last_log_index >= Some(written.log_id.index));
    has(server, "colour", "green").await;
    stop(servers).await;
}

fn on_disk(folder: &Path) -> Settings {
    Settings {
        data: Some(folder.join("data")),
        ..settings(own_ip(), 7)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_keeps_vote_log_membership_and_table() {
    let folder = tempfile::tempdir().unwrap();
    let settings = on_disk(folder.path());
    let servers = cluster([settings.clone()]).await;
    let server = leader(&servers).await;
    set(server, "colour", "green").await;
    let before = server.raft().metrics().borrow().clone();
    stop(servers).await;

    let server = Server::start(settings).await.unwrap();
    let after = server.raft().metrics().borrow().clone();
    assert_eq!(after.vote, before.vote);
    assert_eq!(after.membership_config, before.membership_config);
    assert!(after.last_log_index >= before.last_log_index);
    assert_eq!(after.membership_config.nodes().count(), 1);
    has(&server, "colour", "green").await;
    stop([server]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_restores_state_from_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let settings = on_disk(folder.path());
    let servers = cluster([settings.clone()]).await;
    let server = leader(&servers).await;
    set(server, "colour", "green").await;
    let change = AutopilotChange {
        configuration: AutopilotConfiguration::default(),
        expected_index: Some(0),
    };
    let set = server.raft().client_write(Request::SetAutopilot(change));
    assert_eq!(set.await.unwrap().data, Reply::AutopilotSet(true));
    let autopilot = server.machine().autopilot().configuration();
    let membership = server.raft().metrics().borrow().membership_config.clone();
    snapshot(server).await;
    stop(servers).await;

    let server = Server::start(settings).await.unwrap();
    assert_eq!(server.machine().get("colour").as_deref(), Some("green"));
    assert!(autopilot.is_some());
    assert_eq!(server.machine().autopilot().configuration(), autopilot);
    let after = server.raft().metrics().borrow().clone();
    assert_eq!(after.membership_config, membership);
    stop([server]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_server_on_same_folder_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = on_disk(folder.path());
    let first = Server::start(settings.clone()).await.unwrap();
    let second = Server::start(settings).await;
    assert!(matches!(second.err(), Some(StartError::Data(_))));
    stop([first]).await;
}

/// Creates a snapshot of the applied state and purges the log before it.
pub(crate) async fn snapshot(server: &Server) {
    let raft = server.raft();
    let applied = raft.metrics().borrow().last_applied.unwrap();
    raft.trigger().snapshot().await.unwrap();
    eventually("the snapshot", async || {
        (raft.metrics().borrow().snapshot >= Some(applied)).then_some(())
    })
    .await;
    raft.trigger().purge_log(applied.index).await.unwrap();
    eventually("the purge", async || {
        (raft.metrics().borrow().purged >= Some(applied)).then_some(())
    })
    .await;
}
