//! Autopilot: the health of the servers, and the replicated configuration.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use cluster_operator::autopilot::{
    AutopilotConfiguration, AutopilotServer, AutopilotSetting, AutopilotState,
};
use cluster_operator::{AutopilotBackend, ErrorKind, OperatorError, Outcome};
use cluster_operator_openraft::{Contacts, OpenraftAutopilot};
use openraft::storage::RaftStateMachine;
use openraft::{
    Entry, LogId, OptionalSend, Snapshot, SnapshotMeta, StorageError, StoredMembership,
};
use tokio::sync::watch;

use crate::cluster::log::Log;
use crate::cluster::machine::Machine;
use crate::cluster::store::Store;
use crate::cluster::{Node, NodeId, Raft, Reply, TypeConfig};
use crate::links::Links;
use crate::servers::{Autopilot, Cluster, Elections, backend, depose, name, node, soon, until};

const HOUR: Duration = Duration::from_secs(3600);

impl Cluster {
    /// The autopilot of a server whose failure detector knows of every cut.
    fn autopilot(&self, id: NodeId) -> Autopilot {
        let links = self.links.clone();
        self.servers[&id].autopilot(move |id| Some(links.is_up(id)))
    }

    /// The autopilot of a server without a failure detector.
    fn undetecting(&self, id: NodeId) -> Autopilot {
        self.servers[&id].autopilot(|_| None)
    }
}

async fn set(autopilot: &Autopilot, configuration: &AutopilotConfiguration) {
    let set = autopilot.set_configuration(configuration.clone(), None);
    assert_eq!(soon("a change", set).await, Ok(true));
}

/// Sets the thresholds.
async fn allow(autopilot: &Autopilot, contact: Duration, trailing: u64) {
    let configuration = AutopilotConfiguration {
        last_contact_threshold: contact,
        max_trailing_logs: trailing,
        ..autopilot.defaults()
    };
    set(autopilot, &configuration).await;
}

/// Waits until these servers and no others are unhealthy, and returns the state.
async fn unhealthy(autopilot: &Autopilot, ids: &[NodeId]) -> AutopilotState {
    let ids: Vec<_> = ids.iter().copied().map(name).collect();
    until("the health of the servers", async || {
        let state = autopilot.state().await.unwrap();
        let unhealthy = state.servers.iter().filter(|server| !server.healthy);
        let found: Vec<_> = unhealthy.map(|server| server.id.clone()).collect();
        (found == ids).then_some(state)
    })
    .await
}

fn server(state: &AutopilotState, id: NodeId) -> &AutopilotServer {
    let mut servers = state.servers.iter();
    servers.find(|server| server.id == name(id)).unwrap()
}

#[tokio::test]
async fn stopped_server_becomes_unhealthy_and_failed() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    let autopilot = cluster.autopilot(leader);
    let before = unhealthy(&autopilot, &[]).await;
    assert!(before.healthy);
    assert_eq!(before.failure_tolerance, 1);
    assert_eq!(before.leader, Some(name(leader)));
    assert_eq!(before.voters[0], name(leader));
    assert_eq!(before.voters.len(), 3);
    let statuses = before.servers.iter().map(|server| &server.node_status);
    assert!(statuses.eq(["alive"; 4]));
    assert_eq!(server(&before, leader).last_contact, Duration::ZERO);

    let stopped = cluster.followers().await[0];
    cluster.stop(stopped).await;
    let after = unhealthy(&autopilot, &[stopped]).await;
    assert!(!after.healthy);
    assert_eq!(after.failure_tolerance, 0);
    assert_eq!(server(&after, stopped).node_status, "failed");
    let since = |state| server(state, stopped).stable_since;
    assert!(since(&after) > since(&before));
    cluster.close().await;
}

#[tokio::test]
async fn silent_server_is_unhealthy_beyond_the_contact_threshold() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let autopilot = cluster.undetecting(leader);
    let all = unhealthy(&autopilot, &[]).await;
    assert_eq!(server(&all, leader).node_status, "none");

    let silent = cluster.followers().await[0];
    cluster.links.cut(silent);
    let state = unhealthy(&autopilot, &[silent]).await;
    let threshold = autopilot.defaults().last_contact_threshold;
    assert!(server(&state, silent).last_contact > threshold);

    allow(&autopilot, HOUR, 250).await;
    unhealthy(&autopilot, &[]).await;
    cluster.links.mend();
    cluster.close().await;
}

#[tokio::test]
async fn lagging_server_is_unhealthy_beyond_the_log_threshold() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let autopilot = cluster.undetecting(leader);
    allow(&autopilot, HOUR, 1).await;
    unhealthy(&autopilot, &[]).await;
    let lagging = cluster.followers().await[0];
    cluster.links.cut(lagging);
    for _ in 0..3 {
        cluster.write(leader).await;
    }
    let state = unhealthy(&autopilot, &[lagging]).await;
    let last = cluster.view(leader).await;
    let last = last.own_status().unwrap().last_log.unwrap();
    assert_eq!(server(&state, leader).last_index, last.index);
    assert!(server(&state, lagging).last_index + 1 < last.index);
    assert_eq!(server(&state, lagging).last_term, last.term);

    allow(&autopilot, HOUR, 100).await;
    unhealthy(&autopilot, &[]).await;
    allow(&autopilot, HOUR, 1).await;
    unhealthy(&autopilot, &[lagging]).await;
    cluster.links.mend();
    unhealthy(&autopilot, &[]).await;
    cluster.close().await;
}

#[tokio::test]
async fn change_of_health_is_noticed_before_anybody_asks() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let (links, looks) = (cluster.links.clone(), Arc::new(AtomicUsize::new(0)));
    let looking = Arc::clone(&looks);
    let autopilot = cluster.servers[&leader].autopilot(move |id| {
        looking.fetch_add(1, Ordering::SeqCst);
        Some(links.is_up(id))
    });
    let watch = tokio::spawn(autopilot.clone().watch());
    allow(&autopilot, HOUR, 250).await;
    unhealthy(&autopilot, &[]).await;

    let cut = cluster.followers().await[0];
    cluster.links.cut(cut);
    let before = looks.load(Ordering::SeqCst);
    until("a look at all servers", async || {
        (looks.load(Ordering::SeqCst) >= before + 6).then_some(())
    })
    .await;
    let asked = SystemTime::now();
    let state = autopilot.state().await.unwrap();
    assert!(server(&state, cut).stable_since < asked);
    cluster.links.mend();
    cluster.close().await;
    // It ends with its Raft.
    soon("the end of the watch", watch).await.unwrap();
}

#[tokio::test]
async fn configuration_is_replaced_at_the_expected_index_only() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let autopilot = cluster.autopilot(leader);
    let read = async || autopilot.configuration().await.unwrap();
    let first = read().await;
    assert_eq!(first, autopilot.defaults());
    assert_eq!((first.create_index, first.modify_index), (0, 0));

    let change = AutopilotConfiguration {
        max_trailing_logs: 7,
        modify_index: 99,
        ..first
    };
    let set = async |expected| {
        let set = autopilot.set_configuration(change.clone(), expected);
        soon("a change", set).await.unwrap()
    };
    assert!(!set(Some(1)).await);
    assert_eq!(read().await.modify_index, 0);
    assert!(set(Some(0)).await);
    let second = read().await;
    let last = cluster.view(leader).await;
    let last = last.own_status().unwrap().last_log.unwrap();
    assert_eq!(second.create_index, last.index);
    assert_eq!(second.modify_index, last.index);
    assert_eq!(second.max_trailing_logs, 7);
    assert!(!set(Some(0)).await);
    assert!(set(Some(second.modify_index)).await);
    let third = read().await;
    assert_eq!(third.create_index, second.create_index);
    assert!(third.modify_index > second.modify_index);
    assert!(set(None).await);
    cluster.close().await;
}

#[tokio::test]
async fn new_leader_keeps_the_configuration() {
    let cluster = Cluster::voters(3).await;
    let set = until("a change", async || {
        let leader = cluster.leader().await;
        let autopilot = cluster.autopilot(leader);
        let change = AutopilotConfiguration {
            max_trailing_logs: 7,
            ..autopilot.defaults()
        };
        autopilot.set_configuration(change, None).await.ok()?;
        Some(leader)
    })
    .await;
    cluster.stop(set).await;
    let others = cluster.followers_of(set);
    let state = until("a new leader's state", async || {
        let leader = cluster.leader_of(others.iter().copied()).await;
        let autopilot = cluster.autopilot(leader);
        let read = autopilot.configuration().await.unwrap();
        assert_eq!(read.max_trailing_logs, 7);
        assert!(read.modify_index > 0);
        autopilot.state().await.ok()
    })
    .await;
    assert_ne!(state.leader, Some(name(set)));
    assert!(!server(&state, set).healthy);
    cluster.close().await;
}

#[tokio::test]
async fn follower_reads_its_copy_and_leaves_the_rest_to_the_leader() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    allow(&cluster.autopilot(leader), HOUR, 7).await;
    let follower = cluster.autopilot(cluster.followers().await[0]);
    until("the follower's copy", async || {
        let read = follower.configuration().await.unwrap();
        (read.max_trailing_logs == 7).then_some(())
    })
    .await;
    let names_leader = |error: OperatorError| {
        assert_eq!(error.outcome(), Outcome::NotApplied);
        match error.kind() {
            ErrorKind::NotLeader { leader: Some(hint) } => assert_eq!(hint.id, name(leader)),
            other => panic!("{other:?}"),
        }
    };
    names_leader(follower.state().await.unwrap_err());
    let change = follower.set_configuration(follower.defaults(), None).await;
    names_leader(change.unwrap_err());
    cluster.close().await;
}

#[tokio::test]
async fn change_of_a_leader_that_is_replaced_is_unknown() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    for id in &others {
        cluster.links.cut(*id);
    }
    let (raft, autopilot) = (cluster.raft(leader), cluster.autopilot(leader));
    let last_log = || raft.metrics().borrow().last_log_index;
    let before = last_log();
    let change = tokio::spawn(async move {
        let defaults = autopilot.defaults();
        autopilot.set_configuration(defaults, None).await
    });
    until("the change to be in the log", async || {
        (last_log() > before).then_some(())
    })
    .await;
    depose(raft, others[0]).await;
    let error = soon("the end of the change", change).await.unwrap();
    assert_eq!(error.unwrap_err().outcome(), Outcome::Unknown);
    cluster.close().await;
}

#[tokio::test]
async fn settings_without_effect_are_off() {
    let cluster = Cluster::start(1, 0, Elections::Never).await;
    let autopilot = cluster.autopilot(1);
    let defaults = autopilot.defaults();
    assert!(!defaults.cleanup_dead_servers);
    assert!(defaults.disable_upgrade_migration);
    assert_eq!(defaults.server_stabilization_time, Duration::ZERO);
    assert_eq!(defaults.last_contact_threshold, Duration::from_millis(200));
    let acts_on = AutopilotSetting::ALL.into_iter();
    let acts_on: Vec<_> = acts_on.filter(|it| autopilot.acts_on(*it)).collect();
    assert_eq!(
        acts_on,
        [
            AutopilotSetting::LastContactThreshold,
            AutopilotSetting::MaxTrailingLogs
        ]
    );
    cluster.close().await;
}

/// A state machine that applies nothing while its gate is closed.
struct Gated {
    machine: Machine,
    gate: watch::Receiver<bool>,
}

impl RaftStateMachine<TypeConfig> for Gated {
    type SnapshotBuilder = Machine;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<NodeId>>, StoredMembership<NodeId, Node>), StorageError<NodeId>> {
        self.machine.applied_state().await
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Reply>, StorageError<NodeId>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        drop(self.gate.wait_for(|is_open| *is_open).await.unwrap());
        self.machine.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.machine.clone()
    }

    async fn begin_receiving_snapshot(
        &mut self,
    ) -> Result<Box<Cursor<Vec<u8>>>, StorageError<NodeId>> {
        self.machine.begin_receiving_snapshot().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, Node>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<NodeId>> {
        self.machine.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<TypeConfig>>, StorageError<NodeId>> {
        self.machine.get_current_snapshot().await
    }
}

#[tokio::test]
async fn new_leader_reads_after_it_has_applied_what_was_committed() {
    let store = Store::in_memory().unwrap();
    let machine = Machine::open(store.clone()).await.unwrap();
    let (gate, gated) = watch::channel(true);
    let state_machine = Gated {
        machine: machine.clone(),
        gate: gated,
    };
    let contacts = Contacts::new();
    let network = contacts.network(Links::default().of(1));
    let config = Elections::Never.config();
    let raft = Raft::new(1, config, network, Log::new(store), state_machine);
    let raft = raft.await.unwrap();
    let voters = BTreeMap::from([(1, node(1))]);
    raft.initialize(voters).await.unwrap();
    let autopilot = OpenraftAutopilot::new(backend(&raft), contacts, machine.autopilot());
    let leads = async || autopilot.state().await.ok();
    until("a leader", leads).await;

    gate.send_replace(false);
    let last_log = || raft.metrics().borrow().last_log_index;
    let before = last_log();
    let change = AutopilotConfiguration {
        max_trailing_logs: 7,
        ..autopilot.defaults()
    };
    let writer = autopilot.clone();
    let write = tokio::spawn(async move { writer.set_configuration(change, None).await });
    until("the change to be in the log", async || {
        (last_log() > before).then_some(())
    })
    .await;
    depose(&raft, 2).await;
    assert!(soon("the end of the change", write).await.unwrap().is_err());
    raft.trigger().elect().await.unwrap();
    until("a new leader", async || {
        let metrics = raft.metrics().borrow().clone();
        (metrics.state.is_leader() && metrics.millis_since_quorum_ack.is_some()).then_some(())
    })
    .await;

    let reader = autopilot.clone();
    let read = tokio::spawn(async move { reader.configuration().await });
    tokio::task::yield_now().await;
    gate.send_replace(true);
    let read = soon("the configuration", read).await.unwrap().unwrap();
    assert_eq!(read.max_trailing_logs, 7);
    raft.shutdown().await.unwrap();
}
