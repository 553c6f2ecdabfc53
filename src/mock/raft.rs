//! One server's Raft.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::cluster::{Cluster, SharedCluster, with};
use super::gate::Gate;
use super::mishap::Mishaps;
use super::{FaultId, RaftChange};
use crate::error::OperatorError;
use crate::raft::{RaftBackend, RaftConfiguration, RaftServer, RaftView, Removal};
use crate::timer::Timer;
use crate::types::{ServerAddress, ServerId};

/// A [`RaftBackend`] in memory: one server of a cluster that all handles share.
///
/// There is a leader while a majority of the voters is up, and it is found at
/// once: the one that led before, else the first live voter in the order of the
/// configuration. What the leader does reaches every live server of the
/// configuration at once. A stopped server keeps what it knew, answers
/// [`Unreachable`](crate::ErrorKind::Unreachable), and catches up when it is
/// started again and there is a leader.
///
/// ```
/// use cluster_operator::mock::MockRaft;
/// use cluster_operator::{Leadership, RaftBackend};
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
    cluster: SharedCluster,
    id: ServerId,
    /// What the server waits at while it is paused.
    gate: Gate,
}

impl MockRaft {
    /// The leader of a cluster of these servers, or the first of them if there
    /// is no leader.
    ///
    /// The first server that is marked as the leader leads, if it is a voter and
    /// a majority is up. One that is marked as not alive is stopped. A server's
    /// liveness and last index are told only if they are set, the index with
    /// its true value.
    pub fn new(servers: impl IntoIterator<Item = RaftServer>) -> Self {
        let servers: Vec<_> = servers.into_iter().collect();
        let first = servers.first().map(|server| server.id.clone());
        let cluster = Cluster::new(servers);
        let leader = with(&cluster, |cluster| cluster.leader().cloned());
        let id = leader
            .or(first)
            .unwrap_or_else(|| ServerId::new("stateless"));
        with(&cluster, |cluster| cluster.admit(&id));
        MockRaft {
            cluster,
            id,
            gate: Gate::default(),
        }
    }

    /// The first of a cluster of live voters, which leads. What is given is the
    /// id, the name and the address of each.
    pub fn voters<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let voter = |name| {
            RaftServer::voter(name, name)
                .with_name(name)
                .with_alive(true)
        };
        MockRaft::new(names.into_iter().map(voter))
    }

    /// The same at the beginning, with the first configuration at this index.
    /// Default: 1.
    #[must_use]
    pub fn with_index(self, index: u64) -> Self {
        with(&self.cluster, |cluster| cluster.start_at(index));
        self
    }

    /// Another server of the same cluster. One that the cluster has never heard
    /// of is up, knows nothing, and follows nobody.
    pub fn at(&self, id: impl Into<ServerId>) -> Self {
        let id = id.into();
        with(&self.cluster, |cluster| cluster.admit(&id));
        MockRaft {
            cluster: Arc::clone(&self.cluster),
            id,
            gate: Gate::default(),
        }
    }

    /// Which server this is.
    pub fn id(&self) -> &ServerId {
        &self.id
    }

    /// Where Raft reaches this server, if the latest configuration holds it.
    pub fn address(&self) -> Option<ServerAddress> {
        let servers = self.latest().servers;
        let mine = servers.into_iter().find(|server| server.id == self.id)?;
        Some(mine.address)
    }

    /// Who leads.
    pub fn leader(&self) -> Option<ServerId> {
        with(&self.cluster, |cluster| cluster.leader().cloned())
    }

    /// The latest configuration, whatever this server knows of it.
    pub fn latest(&self) -> RaftConfiguration {
        with(&self.cluster, |cluster| cluster.latest())
    }

    /// Stops a server.
    pub fn stop(&self, id: impl Into<ServerId>) {
        with(&self.cluster, |cluster| cluster.set_up(&id.into(), false));
    }

    /// Starts a stopped server again.
    pub fn restart(&self, id: impl Into<ServerId>) {
        with(&self.cluster, |cluster| cluster.set_up(&id.into(), true));
    }

    /// Whether a server is up.
    pub fn is_up(&self, id: impl Into<ServerId>) -> bool {
        with(&self.cluster, |cluster| cluster.is_up(&id.into()))
    }

    /// Makes a server the leader, which has to be a live voter, with a majority
    /// of the voters up. Says whether it is now.
    pub fn elect(&self, id: impl Into<ServerId>) -> bool {
        with(&self.cluster, |cluster| cluster.elect(&id.into()))
    }

    /// Removes the dead servers as autopilot does: only with a leader, only if
    /// its configuration says so, and not below its minimum. Says which ones.
    pub fn cleanup_dead_servers(&self) -> Vec<ServerId> {
        with(&self.cluster, Cluster::cleanup_dead_servers)
    }

    /// Adds a server that was removed, as it was at the beginning. Says whether
    /// the configuration has it now; without a leader it does not.
    pub fn join(&self, id: impl Into<ServerId>) -> bool {
        with(&self.cluster, |cluster| cluster.join(&id.into()))
    }

    /// The removals so far, whoever has asked for them.
    pub fn changes(&self) -> Vec<RaftChange> {
        with(&self.cluster, |cluster| cluster.changes.clone())
    }

    /// Ends what one fault has done to the cluster.
    pub(super) fn forget(&self, fault: FaultId) {
        with(&self.cluster, |cluster| {
            cluster.mishaps.forget(fault);
            cluster.settle();
        });
    }

    pub(super) fn mishaps<T>(&self, change: impl FnOnce(&mut Mishaps) -> T) -> T {
        with(&self.cluster, |cluster| change(&mut cluster.mishaps))
    }

    /// The same, that goes on only while the gate is open.
    pub(super) fn behind(mut self, gate: &Gate) -> Self {
        self.gate = gate.clone();
        self
    }

    pub(super) fn set_cuts(&self, cuts: BTreeSet<(ServerId, ServerId)>) {
        with(&self.cluster, |cluster| cluster.set_cuts(cuts));
    }

    pub(super) async fn take_time(&self) {
        let slow = self.mishaps(|mishaps| mishaps.slow.clone());
        if let Some((clock, delay)) = slow {
            clock.sleep(delay).await;
        }
        self.gate.pass().await;
    }

    pub(super) fn cluster(&self) -> &SharedCluster {
        &self.cluster
    }
}

#[async_trait]
impl RaftBackend for MockRaft {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        self.take_time().await;
        with(&self.cluster, |cluster| cluster.view(&self.id))
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        self.take_time().await;
        with(&self.cluster, |cluster| {
            cluster.check_leads(&self.id)?;
            cluster.view(&self.id)
        })
    }

    async fn remove_server(&self, removal: &Removal) -> Result<(), OperatorError> {
        self.take_time().await;
        with(&self.cluster, |cluster| {
            cluster.check_leads(&self.id)?;
            cluster.remove(removal)
        })
    }

    async fn transfer_leadership(&self, to: &ServerId, _: Duration) -> Result<(), OperatorError> {
        self.take_time().await;
        with(&self.cluster, |cluster| {
            cluster.check_leads(&self.id)?;
            cluster.transfer(to)
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::error::{ErrorKind, Outcome};
    use crate::raft::Leadership;

    const SECOND: Duration = Duration::from_secs(1);

    fn remove(raft: &MockRaft, id: &str) -> Result<(), OperatorError> {
        let removal = Removal::new(id, &view(raft), SECOND);
        block_on(raft.remove_server(&removal))
    }

    fn view(raft: &MockRaft) -> RaftView {
        block_on(raft.view()).unwrap()
    }

    fn stale(raft: &MockRaft) -> RaftConfiguration {
        RaftConfiguration::from(view(raft))
    }

    #[test]
    fn there_is_a_leader_while_a_majority_of_the_voters_is_up() {
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
    fn a_nonvoter_neither_leads_nor_counts() {
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
    fn a_follower_names_the_leader_and_does_nothing_itself() {
        let b = MockRaft::voters(["a", "b", "c"]).at("b");
        let before = b.latest();
        let Leadership::Remote(leader) = view(&b).leadership else {
            panic!("{:?}", view(&b));
        };
        assert_eq!(leader.id, "a");
        let leader = Some(leader);
        let not_leader = ErrorKind::NotLeader { leader };
        assert_eq!(remove(&b, "c").unwrap_err().kind(), &not_leader);
        let read = block_on(b.confirmed_view(SECOND));
        assert_eq!(read.unwrap_err().kind(), &not_leader);
        let moved = block_on(b.transfer_leadership(&"c".into(), SECOND));
        assert_eq!(moved.unwrap_err().kind(), &not_leader);
        assert_eq!(b.latest(), before);
    }

    #[test]
    fn a_stopped_server_keeps_its_view_until_a_leader_tells_it_more() {
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
    fn the_index_grows_with_each_change_and_with_no_other_call() {
        let a = MockRaft::voters(["a", "b", "c"]).with_index(70);
        assert_eq!(a.latest().index, 70);
        let unknown = remove(&a, "z").unwrap_err();
        assert_eq!(unknown.outcome(), Outcome::NotApplied);
        assert!(a.elect("b"));
        assert!(a.elect("a"));
        assert_eq!(a.latest().index, 70);
        remove(&a, "c").unwrap();
        let first = a.latest().index;
        assert!(first > 70);
        remove(&a, "b").unwrap();
        assert!(a.latest().index > first);
        assert_eq!(remove(&a, "a").unwrap_err().kind(), &ErrorKind::LastVoter);
    }

    #[test]
    fn what_a_server_is_not_said_to_tell_is_not_told() {
        let told = RaftServer::voter("a", "a")
            .with_alive(true)
            .with_last_index(0);
        let a = MockRaft::new([told, RaftServer::voter("b", "b")]);
        let servers = stale(&a).servers;
        assert_eq!(servers[0].alive, Some(true));
        assert!(servers[0].last_index > Some(0));
        assert_eq!(servers[1].alive, None);
        assert_eq!(servers[1].last_index, None);
    }

    #[test]
    fn a_server_without_a_state_follows_nobody() {
        let raft = MockRaft::new([]);
        assert_eq!(view(&raft).leadership, Leadership::Unknown);
        assert_eq!(stale(&raft).servers, []);
        let stranger = MockRaft::voters(["a"]).at("z");
        assert_eq!(view(&stranger).leadership, Leadership::Unknown);
        assert_eq!(stale(&stranger).servers, []);
    }
}
