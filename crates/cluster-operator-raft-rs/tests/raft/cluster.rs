//! A cluster in one process, its links, and helpers for the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cluster_operator::raft::{Change, Leadership, PendingChange, RaftView};
use cluster_operator::{ErrorKind, OperatorError, Outcome, RaftBackend, ServerAddress, ServerId};
use cluster_operator_raft_rs::{Node, NodeConfig, RaftRsBackend, Transport};
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, EntryType, Message,
    MessageType,
};

/// An election timeout is half a second.
const TICK: Duration = Duration::from_millis(50);
/// Ten election timeouts.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
/// The time that a condition may take to come true.
const LIMIT: Duration = Duration::from_secs(60);

/// The links between the servers of a cluster. Clones are the same links.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<Links>>);

#[derive(Default)]
struct Links {
    nodes: BTreeMap<u64, Node>,
    cut: BTreeSet<u64>,
    /// The server that is lost at the next change of the configuration.
    fuse: Option<u64>,
    /// The delayed acknowledgements, while those are held back.
    held: Option<Vec<Message>>,
    latency: Duration,
}

impl Network {
    fn links(&self) -> MutexGuard<'_, Links> {
        self.0.lock().unwrap()
    }
}

impl Transport for Network {
    fn send(&self, message: Message) {
        let (from, to) = (message.from, message.to);
        let mut links = self.links();
        let mut entries = message.entries.iter();
        let changes = entries.any(|entry| entry.get_entry_type() != EntryType::EntryNormal);
        let lost = links
            .fuse
            .take_if(|lost| changes && [from, to].contains(lost));
        links.cut.extend(lost);
        if links.cut.contains(&from) || links.cut.contains(&to) {
            return;
        }
        if let Some(held) = &mut links.held
            && message.get_msg_type() == MessageType::MsgAppendResponse
            && !message.reject
        {
            held.push(message);
        } else if let Some(node) = links.nodes.get(&to).cloned() {
            let latency = links.latency;
            tokio::spawn(async move {
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                node.receive(message);
            });
        }
    }
}

/// A server: its node, and the writes that it has applied.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) id: u64,
    pub(crate) node: Node,
    pub(crate) backend: RaftRsBackend,
    pub(crate) applied: Arc<Mutex<Vec<Vec<u8>>>>,
}

pub(crate) struct Cluster {
    network: Network,
    pub(crate) servers: Vec<Server>,
}

pub(crate) fn address(id: u64) -> ServerAddress {
    format!("10.0.0.{id}:8300").into()
}

impl Cluster {
    /// Starts servers with the ids from 1 on: first the voters.
    pub(crate) fn start(voters: u64, learners: u64) -> Self {
        let network = Network::default();
        let ids = 1..=voters + learners;
        let start = |id| {
            let config = NodeConfig {
                id,
                voters: (1..=voters).collect(),
                learners: (voters + 1..=voters + learners).collect(),
                addresses: ids.clone().map(|id| (id, address(id))).collect(),
                tick: TICK,
            };
            let applied = Arc::<Mutex<Vec<Vec<u8>>>>::default();
            let log = Arc::clone(&applied);
            let apply = move |data: &[u8]| log.lock().unwrap().push(data.to_vec());
            let node = Node::start(config, network.clone(), apply).unwrap();
            network.links().nodes.insert(id, node.clone());
            let backend = RaftRsBackend::new(node.clone());
            Server {
                id,
                node,
                backend,
                applied,
            }
        };
        let servers = ids.clone().map(start).collect();
        Cluster { network, servers }
    }

    pub(crate) fn server(&self, id: u64) -> &Server {
        let server = self.servers.iter().find(|server| server.id == id);
        server.unwrap()
    }

    pub(crate) fn others(&self, one: &Server) -> Vec<Server> {
        let others = self.servers.iter().filter(|server| server.id != one.id);
        others.cloned().collect()
    }

    pub(crate) async fn stop(&self, id: u64) {
        self.server(id).node.stop().await;
    }

    /// Cuts a server off from all the others.
    pub(crate) fn cut(&self, id: u64) {
        self.network.links().cut.insert(id);
    }

    /// Cuts a server off once a change is appended, before it reaches that server,
    /// or any other one if that server leads.
    pub(crate) fn cut_at_change(&self, id: u64) {
        self.network.links().fuse = Some(id);
    }

    pub(crate) fn reconnect(&self, id: u64) {
        let mut links = self.network.links();
        links.cut.remove(&id);
        links.fuse.take_if(|lost| *lost == id);
    }

    /// Delays each message by this time from now on.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.network.links().latency = latency;
    }

    /// Holds all acknowledgements back from now on.
    pub(crate) fn hold_acknowledgements(&self) {
        self.network.links().held = Some(Vec::new());
    }

    pub(crate) fn release_acknowledgements(&self) {
        let held = self.network.links().held.take();
        for message in held.into_iter().flatten() {
            self.network.send(message);
        }
    }

    /// Stops all servers, and drops them.
    pub(crate) async fn close(&self) {
        for server in &self.servers {
            server.node.stop().await;
        }
        self.network.links().nodes.clear();
    }

    /// The leader of these servers, once it confirms that it leads.
    pub(crate) async fn leader_among(&self, servers: &[Server]) -> Server {
        eventually("one server confirms that it leads", || async {
            for server in servers {
                if server.backend.confirmed_view(TIMEOUT).await.is_ok() {
                    return Some(server.clone());
                }
            }
            None
        })
        .await
    }

    pub(crate) async fn leader(&self) -> Server {
        self.leader_among(&self.servers).await
    }

    /// Waits until one of these servers has committed a write, and returns it.
    pub(crate) async fn write_among(&self, servers: &[Server]) -> Server {
        eventually("the cluster commits a write", || async {
            for server in servers {
                if let Ok(true) = server.node.write(b"write".to_vec()).await {
                    return Some(server.clone());
                }
            }
            None
        })
        .await
    }

    /// Leaves the removal of a server unfinished.
    pub(crate) async fn leave_unfinished(&self, server: u64, at: PendingChange) {
        let leader = self.leader().await;
        if at == PendingChange::Uncommitted {
            self.cut(leader.id);
            leader.node.change(removal_of(server)).await.unwrap();
            return;
        }
        leader.enter_joint(removal_of(server)).await;
    }
}

/// The change that removes a server in one step.
pub(crate) fn removal_of(server: u64) -> ConfChangeV2 {
    change_of(&[(server, ConfChangeType::RemoveNode)])
}

pub(crate) fn change_of(changes: &[(u64, ConfChangeType)]) -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    for &(node_id, change_type) in changes {
        change.mut_changes().push(ConfChangeSingle {
            node_id,
            change_type,
            ..ConfChangeSingle::default()
        });
    }
    change
}

impl Server {
    pub(crate) fn name(&self) -> ServerId {
        self.id.to_string().into()
    }

    pub(crate) async fn view(&self) -> RaftView {
        self.backend.view().await.unwrap()
    }

    /// The ids of the voters in this server's view.
    pub(crate) async fn voters(&self) -> Vec<u64> {
        let view = self.view().await;
        let voters = view.membership.voters();
        voters
            .map(|voter| voter.id.as_str().parse().unwrap())
            .collect()
    }

    /// The removal of a server, as this one sees the cluster.
    pub(crate) async fn removal(&self, server: u64) -> Change {
        Change::remove(server.to_string(), &self.view().await, TIMEOUT)
    }

    pub(crate) async fn remove(&self, server: u64) -> Result<(), OperatorError> {
        let removal = self.removal(server).await;
        soon("a removal", self.backend.change_membership(&removal)).await
    }

    pub(crate) async fn replace(&self, old: u64, new: u64) -> Result<(), OperatorError> {
        let (old, new) = (old.to_string(), new.to_string());
        let replacement = Change::replace(old, new, &self.view().await, TIMEOUT);
        let replaced = self.backend.change_membership(&replacement);
        soon("a replacement", replaced).await
    }

    pub(crate) async fn promote(&self, server: u64) -> Result<(), OperatorError> {
        let promotion = Change::promote(server.to_string(), &self.view().await, TIMEOUT);
        soon("a promotion", self.backend.change_membership(&promotion)).await
    }

    /// Begins a change with a joint configuration that no node leaves by itself.
    pub(crate) async fn enter_joint(&self, mut change: ConfChangeV2) {
        change.set_transition(ConfChangeTransition::Explicit);
        self.node.change(change).await.unwrap();
        let mut state = self.node.state();
        let joint = state.wait_for(|state| state.change == Some(PendingChange::Joint));
        soon("the joint configuration", joint).await.unwrap();
    }

    pub(crate) async fn hand_lead_to(&self, server: &str) -> Result<(), OperatorError> {
        let server = server.into();
        let transfer = self.backend.transfer_leadership(&server, TIMEOUT);
        soon("a transfer", transfer).await
    }

    /// Waits until no leader is known here.
    pub(crate) async fn knows_no_leader(&self) {
        eventually("a server knows no leader", || async {
            (self.view().await.leadership == Leadership::Unknown).then_some(())
        })
        .await;
    }

    /// Waits until these are the voters in this server's view.
    pub(crate) async fn sees_voters(&self, voters: &[u64]) {
        eventually("a server sees the voters", || async {
            (self.voters().await == voters).then_some(())
        })
        .await;
    }
}

/// The kind of an error with the outcome `NotApplied`.
pub(crate) fn not_applied<T: std::fmt::Debug>(
    answer: Result<T, OperatorError>,
    is_it: impl FnOnce(&ErrorKind) -> bool,
) {
    let error = answer.unwrap_err();
    assert!(is_it(error.kind()), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
}

/// Probes again and again until there is an answer.
pub(crate) async fn eventually<T, A>(what: &str, ask: impl Fn() -> A) -> T
where
    A: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(TICK / 5).await;
        }
    };
    soon(what, asking).await
}

/// The output of work, which has to end within the time of a test.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let output = tokio::time::timeout(LIMIT, future).await;
    output.unwrap_or_else(|_| panic!("waited too long until {what}"))
}
