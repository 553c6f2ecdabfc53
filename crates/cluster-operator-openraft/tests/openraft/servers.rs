//! A cluster in one process, and helpers for the tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_operator::raft::{Change, Leadership, RaftMember, RaftView, ServerStatus};
use cluster_operator::{OperatorError, Outcome, RaftBackend, ServerId};
use cluster_operator_openraft::{Contacts, OpenraftAutopilot, OpenraftBackend};
use openraft::raft::AppendEntriesRequest;
use openraft::{Config, EntryPayload, Vote};

use crate::cluster::log::Log;
use crate::cluster::machine::Machine;
use crate::cluster::store::Store;
use crate::cluster::transfer::Gate;
use crate::cluster::{Node, NodeId, Raft, Request, TypeConfig};
use crate::links::Links;

/// The time that a condition may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The timeout of a removal: more than eight election timeouts.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(6);

pub(crate) type Backend = OpenraftBackend<TypeConfig>;
pub(crate) type Autopilot = OpenraftAutopilot<TypeConfig>;

pub(crate) fn describe(id: &NodeId, node: &Node) -> RaftMember {
    RaftMember::voter(id.to_string(), node.raft.to_string())
}

pub(crate) fn backend(raft: &Raft) -> Backend {
    let named = |_: &NodeId, node: &Node| {
        let mut status = ServerStatus::default();
        status.name = Some(node.name.as_str().into());
        status
    };
    OpenraftBackend::new(raft.clone(), describe)
        .with_status(named)
        .with_noop(|| Request::Noop)
}

pub(crate) fn node(id: NodeId) -> Node {
    let port = u16::try_from(id).unwrap();
    Node {
        name: format!("server-{id}"),
        raft: SocketAddr::from(([127, 0, 0, 1], 8300 + port)),
        http: SocketAddr::from(([127, 0, 0, 1], 8500 + port)),
        operator_id: None,
    }
}

pub(crate) fn address(id: NodeId) -> String {
    node(id).raft.to_string()
}

/// The election timeouts of a cluster.
#[derive(Clone, Copy)]
pub(crate) enum Elections {
    /// As short as a busy machine allows.
    Soon,
    /// So long that no leader is deposed while a test runs.
    Never,
}

impl Elections {
    pub(crate) fn config(self) -> Arc<Config> {
        // A call of a transfer may take one heartbeat interval.
        let (heartbeat_interval, min, max) = match self {
            Elections::Soon => (100, 300, 600),
            Elections::Never => (50, 60_000, 61_000),
        };
        let config = Config {
            heartbeat_interval,
            election_timeout_min: min,
            election_timeout_max: max,
            ..Config::default()
        };
        Arc::new(config.validate().unwrap())
    }
}

pub(crate) struct Server {
    pub(crate) raft: Raft,
    pub(crate) backend: Backend,
    pub(crate) contacts: Contacts<TypeConfig>,
    pub(crate) machine: Machine,
    pub(crate) gate: Gate,
}

impl Server {
    pub(crate) async fn start(id: NodeId, links: &Links, elections: Elections) -> Self {
        let store = Store::in_memory().unwrap();
        let machine = Machine::open(store.clone()).await.unwrap();
        let contacts = Contacts::new();
        let raft = Raft::new(
            id,
            elections.config(),
            contacts.network(links.of(id)),
            Log::new(store),
            machine.clone(),
        );
        let raft = raft.await.unwrap();
        links.connect(id, raft.clone());
        let gate = Gate::default();
        Server {
            backend: backend(&raft).with_transfer(links.of(id), gate.clone()),
            raft,
            contacts,
            machine,
            gate,
        }
    }

    /// Its autopilot, whose failure detector is given here.
    pub(crate) fn autopilot(
        &self,
        detect: impl Fn(NodeId) -> Option<bool> + Send + Sync + 'static,
    ) -> Autopilot {
        let status = move |id: &NodeId, _: &Node| {
            let mut status = ServerStatus::unknown();
            status.alive = detect(*id);
            status
        };
        let backend = self.backend.clone().with_status(status);
        let (contacts, store) = (self.contacts.clone(), self.machine.autopilot());
        OpenraftAutopilot::new(backend, contacts, store)
    }
}

pub(crate) struct Cluster {
    pub(crate) links: Links,
    pub(crate) servers: BTreeMap<NodeId, Server>,
}

impl Cluster {
    /// Starts voters from 1 on, and learners after them, and waits until all follow a leader.
    pub(crate) async fn start(voters: u64, learners: u64, elections: Elections) -> Self {
        let links = Links::default();
        let mut servers = BTreeMap::new();
        for id in 1..=voters + learners {
            servers.insert(id, Server::start(id, &links, elections).await);
        }
        let cluster = Cluster { links, servers };
        let first: BTreeMap<_, _> = (1..=voters).map(|id| (id, node(id))).collect();
        cluster.raft(1).initialize(first).await.unwrap();
        let leader = cluster.leader_of(1..=voters).await;
        for id in voters + 1..=voters + learners {
            let added = cluster.raft(leader).add_learner(id, node(id), true).await;
            added.unwrap();
        }
        cluster.leader().await;
        cluster
    }

    pub(crate) async fn voters(voters: u64) -> Self {
        Self::start(voters, 0, Elections::Soon).await
    }

    pub(crate) fn raft(&self, id: NodeId) -> &Raft {
        &self.servers[&id].raft
    }

    pub(crate) fn backend(&self, id: NodeId) -> &Backend {
        &self.servers[&id].backend
    }

    /// The leader that all servers that are not cut off follow.
    pub(crate) async fn leader(&self) -> NodeId {
        let ids = self.servers.keys().copied();
        self.leader_of(ids.filter(|id| !self.links.is_cut(*id)))
            .await
    }

    /// The leader that all of these servers follow.
    pub(crate) async fn leader_of(&self, ids: impl IntoIterator<Item = NodeId>) -> NodeId {
        let ids: Vec<_> = ids.into_iter().collect();
        until("a leader that all follow", async || {
            let mut leaders = Vec::new();
            for id in &ids {
                leaders.push(self.view(*id).await.leader().cloned());
            }
            let leader = ids.iter().zip(&leaders);
            let leader = leader.map(|(id, _)| *id).find(|id| {
                let id = Some(name(*id));
                leaders.iter().all(|leader| *leader == id)
            })?;
            let view = self.view(leader).await;
            (view.leadership == Leadership::Local).then_some(leader)
        })
        .await
    }

    /// The servers that do not lead.
    pub(crate) async fn followers(&self) -> Vec<NodeId> {
        self.followers_of(self.leader().await)
    }

    /// All servers but this one.
    pub(crate) fn followers_of(&self, leader: NodeId) -> Vec<NodeId> {
        let ids = self.servers.keys().copied();
        ids.filter(|id| *id != leader).collect()
    }

    /// Lets only these servers stand for election.
    pub(crate) fn only_elects(&self, stands: impl Fn(NodeId) -> bool) {
        for (id, server) in &self.servers {
            server.raft.runtime_config().elect(stands(*id));
        }
    }

    /// This server's view.
    pub(crate) async fn view(&self, id: NodeId) -> RaftView {
        self.backend(id).view().await.unwrap()
    }

    /// Removes a server as the leader sees the cluster now.
    pub(crate) async fn remove(&self, at: NodeId, id: NodeId) -> Result<(), OperatorError> {
        let removal = self.removal(at, id).await;
        self.backend(at).change_membership(&removal).await
    }

    /// Replaces a voter as the leader sees the cluster now.
    pub(crate) async fn replace(
        &self,
        at: NodeId,
        old: NodeId,
        new: NodeId,
    ) -> Result<(), OperatorError> {
        let view = self.view(at).await;
        let replacement = Change::replace(name(old), name(new), &view, TIMEOUT);
        self.backend(at).change_membership(&replacement).await
    }

    /// Promotes a learner as the leader sees the cluster now.
    pub(crate) async fn promote(&self, at: NodeId, id: NodeId) -> Result<(), OperatorError> {
        let promotion = Change::promote(name(id), &self.view(at).await, TIMEOUT);
        self.backend(at).change_membership(&promotion).await
    }

    /// The removal of a server, decided on what this one sees now.
    pub(crate) async fn removal(&self, at: NodeId, id: NodeId) -> Change {
        Change::remove(name(id), &self.view(at).await, TIMEOUT)
    }

    /// Transfers leadership from this server.
    pub(crate) async fn transfer(&self, at: NodeId, to: NodeId) -> Result<(), OperatorError> {
        transfer(self.backend(at), to).await
    }

    /// Transfers leadership, however long this machine takes for the calls.
    pub(crate) async fn transferred(&self, at: NodeId, to: NodeId) {
        until("the transfer", async || {
            let answer = self.transfer(at, to).await;
            answer
                .inspect_err(|error| assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}"))
                .ok()
        })
        .await;
    }

    /// Writes an entry, which shows that the cluster has its majority.
    pub(crate) async fn write(&self, leader: NodeId) -> openraft::LogId<NodeId> {
        let key = "key".to_owned();
        let write = self.raft(leader).client_write(Request::Remove { key });
        soon("a write", write).await.unwrap().log_id
    }

    /// Stops a server for good.
    pub(crate) async fn stop(&self, id: NodeId) {
        self.links.disconnect(id);
        self.raft(id).shutdown().await.unwrap();
    }

    pub(crate) async fn close(&self) {
        for id in self.servers.keys() {
            self.stop(*id).await;
        }
    }
}

/// Transfers leadership to this server.
pub(crate) async fn transfer(backend: &Backend, to: NodeId) -> Result<(), OperatorError> {
    let to = name(to);
    soon("a transfer", backend.transfer_leadership(&to, TIMEOUT)).await
}

/// The id by which operators know a server.
pub(crate) fn name(id: NodeId) -> ServerId {
    id.to_string().into()
}

/// The servers' numbers, in order.
pub(crate) fn ids(view: &RaftView) -> Vec<NodeId> {
    numbers(view.membership.servers.iter())
}

/// The voters' numbers, in order.
pub(crate) fn voters(view: &RaftView) -> Vec<NodeId> {
    numbers(view.membership.voters())
}

fn numbers<'a>(members: impl Iterator<Item = &'a RaftMember>) -> Vec<NodeId> {
    members
        .map(|member| member.id.as_str().parse().unwrap())
        .collect()
}

/// Whether a call contains a joint configuration.
pub(crate) fn brings_joint(rpc: &AppendEntriesRequest<TypeConfig>) -> bool {
    brings(rpc, |configs| configs == 2)
}

/// Whether a call contains a configuration that is not joint.
pub(crate) fn brings_final(rpc: &AppendEntriesRequest<TypeConfig>) -> bool {
    brings(rpc, |configs| configs == 1)
}

fn brings(rpc: &AppendEntriesRequest<TypeConfig>, matches: impl Fn(usize) -> bool) -> bool {
    rpc.entries.iter().any(|entry| match &entry.payload {
        EntryPayload::Membership(sets) => matches(sets.get_joint_config().len()),
        _ => false,
    })
}

/// Deposes a leader, as a server that was elected after it would.
pub(crate) async fn depose(raft: &Raft, by: NodeId) {
    let term = raft.metrics().borrow().current_term;
    let from_a_new_leader = AppendEntriesRequest {
        vote: Vote::new_committed(term + 1, by),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    raft.append_entries(from_a_new_leader).await.unwrap();
}

/// Probes again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The output of work, which has to end within the time of a test.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let output = tokio::time::timeout(PATIENCE, future).await;
    output.unwrap_or_else(|_| panic!("{what} hangs"))
}
