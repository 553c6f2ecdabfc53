//! The Raft of one simulated server.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::clock::{Gate, MockClock, lock};
use super::cluster::{Active, Cluster, RaftChange};
use super::fault::{FaultId, RaftFault};
use crate::error::OperatorError;
use crate::raft::{Change, RaftBackend, RaftConfiguration, RaftServer, RaftView, Suffrage};
use crate::timer::Timer;
use crate::types::{ServerAddress, ServerId};

/// A [`RaftBackend`] in memory: one server of a cluster that all its handles share.
///
/// There is a leader while a majority of the voters is up: the previous one if
/// possible, else the first live voter in the order of the configuration. Changes
/// reach every live server of the configuration at once. A stopped server keeps
/// its state, answers [`Unreachable`](crate::ErrorKind::Unreachable), and catches up
/// once it is restarted and there is a leader.
///
/// ```
/// use cluster_operator::mock::MockRaft;
/// use cluster_operator::raft::Leadership;
/// use cluster_operator::RaftBackend;
///
/// let alice = MockRaft::voters(["alice", "bob", "carol"]);
/// let view = futures_executor::block_on(alice.view()).unwrap();
/// assert_eq!(view.leadership, Leadership::Local);
///
/// let carol = alice.at("carol");
/// alice.stop("alice");
/// assert_eq!(carol.leader(), Some("bob".into()));
/// ```
#[derive(Debug, Clone)]
pub struct MockRaft {
    cluster: Arc<Mutex<Cluster>>,
    id: ServerId,
    /// Closed while the server is paused.
    gate: Gate,
    /// Measures how long a slow call takes.
    clock: MockClock,
}

impl MockRaft {
    /// Creates a cluster of these servers. Returns its leader, or its first server
    /// if it has no leader.
    ///
    /// The first server that is marked as the leader leads, if it is a voter and a
    /// majority is up. A server that is marked as not alive is stopped. Views show a
    /// server's liveness and last index only if they are set here; the index is
    /// replaced by the true one.
    pub fn new(servers: impl IntoIterator<Item = RaftServer>) -> Self {
        let servers: Vec<_> = servers.into_iter().collect();
        let first = servers.first().map(|server| server.id.clone());
        let cluster = Cluster::new(servers);
        let id = cluster.leader.clone().or(first);
        let raft = MockRaft {
            cluster: Arc::new(Mutex::new(cluster)),
            id: id.unwrap_or_else(|| "stateless".into()),
            gate: Gate::default(),
            clock: MockClock::new(),
        };
        raft.at(raft.id.clone())
    }

    /// Creates a cluster of live voters, and returns the first one, which leads.
    /// Each name is also the id and the address.
    pub fn voters<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        MockRaft::new(names.into_iter().map(|name| {
            RaftServer::voter(name, name)
                .with_name(name)
                .with_protocol_version("3")
                .with_alive(true)
        }))
    }

    /// Returns another server of the same cluster. A server that the cluster does
    /// not know is up, has no configuration, and follows nobody.
    pub fn at(&self, id: impl Into<ServerId>) -> Self {
        let id = id.into();
        self.cluster(|cluster| _ = cluster.admit(&id));
        MockRaft {
            id,
            gate: Gate::default(),
            ..self.clone()
        }
    }

    /// Returns the id of this server.
    pub fn id(&self) -> &ServerId {
        &self.id
    }

    /// Returns the address of this server, if the latest configuration contains
    /// it.
    pub fn address(&self) -> Option<ServerAddress> {
        let servers = self.latest().servers;
        let own = servers.into_iter().find(|server| server.id == self.id)?;
        Some(own.address)
    }

    /// Returns the leader.
    pub fn leader(&self) -> Option<ServerId> {
        self.cluster(|cluster| cluster.leader.clone())
    }

    /// Returns the latest configuration, known to this server or not.
    pub fn latest(&self) -> RaftConfiguration {
        self.cluster(|cluster| cluster.latest())
    }

    /// Stops a server.
    pub fn stop(&self, id: impl Into<ServerId>) {
        self.set_up(&id.into(), false);
    }

    /// Restarts a stopped server.
    pub fn restart(&self, id: impl Into<ServerId>) {
        self.set_up(&id.into(), true);
    }

    /// Returns whether a server is up.
    pub fn is_up(&self, id: impl Into<ServerId>) -> bool {
        self.cluster(|cluster| cluster.is_up(&id.into()))
    }

    /// Makes a server the leader, if it is a live voter and a majority of the voters
    /// is up. Returns whether it leads now.
    pub fn elect(&self, id: impl Into<ServerId>) -> bool {
        self.cluster(|cluster| cluster.elect(&id.into()))
    }

    /// Returns all removals, replacements and promotions so far.
    pub fn changes(&self) -> Vec<RaftChange> {
        self.cluster(|cluster| cluster.changes.clone())
    }

    /// Adds this server to the configuration again.
    pub(super) fn join(&self, suffrage: Option<Suffrage>) -> bool {
        self.cluster(|cluster| cluster.join(&self.id, suffrage))
    }

    pub(super) fn set_up(&self, id: &ServerId, up: bool) {
        self.cluster(|cluster| {
            cluster.admit(id).up = up;
            cluster.settle();
        });
    }

    pub(super) fn add_fault(&self, by: FaultId, fault: &RaftFault) {
        let (at, fault) = (self.id.clone(), fault.clone());
        self.cluster(|cluster| cluster.faults.push(Active { by, at, fault }));
    }

    /// Ends the effects of a fault, to come or present.
    pub(super) fn heal(&self, fault: FaultId) {
        self.cluster(|cluster| {
            cluster.faults.retain(|active| active.by != fault);
            cluster.settle();
        });
    }

    /// Separates these pairs of servers, given in both orders, and no others.
    pub(super) fn cut(&self, pairs: BTreeSet<(ServerId, ServerId)>) {
        self.cluster(|cluster| {
            cluster.cuts = pairs;
            cluster.settle();
        });
    }

    /// Makes calls wait while the gate is closed, and while the clock measures how
    /// long they take.
    pub(super) fn behind(mut self, gate: &Gate, clock: &MockClock) -> Self {
        self.gate = gate.clone();
        self.clock = clock.clone();
        self
    }

    /// Calls this server, which takes as long as the faults say.
    pub(super) async fn call<T>(&self, visit: impl FnOnce(&mut Cluster) -> T) -> T {
        let delay = self.cluster(|cluster| cluster.delay());
        self.clock.sleep(delay).await;
        self.gate.pass().await;
        self.cluster(visit)
    }

    /// Calls this server, which has to lead.
    pub(super) async fn call_leader<T>(
        &self,
        visit: impl FnOnce(&mut Cluster) -> Result<T, OperatorError>,
    ) -> Result<T, OperatorError> {
        self.call(|cluster| {
            cluster.check_leads(&self.id)?;
            visit(cluster)
        })
        .await
    }

    pub(super) fn cluster<T>(&self, visit: impl FnOnce(&mut Cluster) -> T) -> T {
        visit(&mut lock(&self.cluster))
    }
}

#[async_trait]
impl RaftBackend for MockRaft {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        self.call(|cluster| cluster.view(&self.id)).await
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        self.call_leader(|cluster| cluster.view(&self.id)).await
    }

    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
        self.call_leader(|cluster| cluster.execute(change)).await
    }

    async fn transfer_leadership(&self, to: &ServerId, _: Duration) -> Result<(), OperatorError> {
        self.call_leader(|cluster| cluster.transfer(to)).await
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::error::ErrorKind;
    use crate::raft::Leadership;

    const SECOND: Duration = Duration::from_secs(1);

    fn remove(raft: &MockRaft, id: &str) -> Result<(), OperatorError> {
        block_on(raft.change_membership(&Change::remove(id, &view(raft), SECOND)))
    }

    fn view(raft: &MockRaft) -> RaftView {
        block_on(raft.view()).unwrap()
    }

    fn stale(raft: &MockRaft) -> RaftConfiguration {
        RaftConfiguration::from(view(raft))
    }

    #[test]
    fn leader_exists_while_a_majority_of_voters_is_up() {
        let a = MockRaft::voters(["a", "b", "c", "d"]);
        assert_eq!(a.leader(), Some("a".into()));
        a.stop("a");
        assert_eq!(a.leader(), Some("b".into()));
        a.stop("c");
        assert_eq!(a.leader(), None);
        assert!(!a.elect("d"));
        a.restart("a");
        assert_eq!(a.leader(), Some("a".into()));
        a.restart("c");
        assert!(a.elect("c"));
        a.stop("a");
        assert_eq!(a.leader(), Some("c".into()));
    }

    #[test]
    fn nonvoter_neither_leads_nor_counts() {
        let raft = MockRaft::new([
            RaftServer::nonvoter("n", "n"),
            RaftServer::voter("a", "a"),
            RaftServer::voter("b", "b"),
        ]);
        assert_eq!(raft.id(), &"a");
        assert!(!raft.elect("n"));
        raft.stop("a");
        assert_eq!(raft.leader(), None);
    }

    #[test]
    fn stopped_server_keeps_its_view_until_there_is_a_leader() {
        let a = MockRaft::voters(["a", "b", "c", "d", "e"]);
        let e = a.at("e");
        a.stop("e");
        remove(&a, "d").unwrap();
        let error = block_on(e.view()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
        a.stop("b");
        a.stop("c");
        a.restart("e");
        assert_eq!(view(&e).leadership, Leadership::Unknown);
        assert_eq!(stale(&e).servers.len(), 5);
        assert_eq!(stale(&a).servers.len(), 4);
        assert!(stale(&e).servers.iter().all(|server| !server.leader));
        a.restart("b");
        assert_eq!(stale(&e), stale(&a));
        assert!(stale(&e).servers[0].leader);
    }

    #[test]
    fn liveness_and_last_index_show_only_if_set_at_first() {
        let set = RaftServer::voter("a", "a")
            .with_alive(true)
            .with_last_index(0);
        let a = MockRaft::new([set, RaftServer::voter("b", "b")]);
        let status = view(&a).status;
        assert_eq!(status[0].alive, Some(true));
        assert!(status[0].last_log.is_some_and(|last| last.index > 0));
        assert_eq!(status[1].alive, None);
        assert_eq!(status[1].last_log, None);
    }

    #[test]
    fn server_without_a_configuration_follows_nobody() {
        let raft = MockRaft::new([]);
        assert_eq!(view(&raft).leadership, Leadership::Unknown);
        assert_eq!(stale(&raft).servers, []);
        let unknown = MockRaft::voters(["a"]).at("z");
        assert_eq!(view(&unknown).leadership, Leadership::Unknown);
        assert_eq!(stale(&unknown).servers, []);
    }
}
