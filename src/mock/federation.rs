//! A simulated federation, as a test operates it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::clock::{MockClock, lock};
use super::cluster::RaftFault;
use super::fault::{Fault, FaultId, FaultKind};
use super::keyring::MockKeyring;
use super::network::{Network, Server};
use super::raft::MockRaft;
use super::transcript::Transcript;
use crate::keyring::{GossipKey, KeyringBackend, Pool};
use crate::raft::RaftConfiguration;
use crate::service::OperatorService;
use crate::types::{DatacenterName, NodeName};

/// Servers of one or more datacenters, connected in memory.
///
/// Keep it as long as its services: they find each other through it. Clones share
/// everything.
///
/// A stopped server is dead to the others. Its own service answers
/// [`Unreachable`](crate::ErrorKind::Unreachable) to everything that is authorized,
/// for a keyring operation in every ring.
///
/// A server knows the datacenters of the servers in its WAN pool, dead or alive,
/// and in another datacenter reaches only those servers.
///
/// # Panics
/// All methods panic if the federation has no server, datacenter or pool of the
/// given name.
///
/// ```
/// use cluster_operator::mock::MockFederation;
/// use cluster_operator::operation::KeyringScope;
/// use cluster_operator::service::Caller;
/// use cluster_operator::Pool;
///
/// # futures_executor::block_on(async {
/// let federation = MockFederation::builder()
///     .datacenter("dc1", ["alice", "bob"])
///     .datacenter("dc2", ["carol"])
///     .build();
/// federation.stop_datacenter("dc2");
///
/// let alice = federation.service("alice");
/// let reply = alice.list_keys(&Caller::anonymous(), KeyringScope::Federation).await?;
/// let failed: Vec<_> = reply.rings.iter().filter(|ring| !ring.is_confirmed()).collect();
/// assert_eq!(reply.rings.len(), 3);
/// assert_eq!(failed.len(), 1);
/// assert_eq!(failed[0].datacenter, "dc2");
/// # Ok::<(), cluster_operator::OperatorError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MockFederation {
    pub(super) network: Arc<Network>,
}

impl MockFederation {
    /// Returns the service of a server.
    pub fn service(&self, server: impl Into<NodeName>) -> OperatorService {
        self.server(server).service.clone()
    }

    /// Returns the Raft of a server.
    pub fn raft(&self, server: impl Into<NodeName>) -> MockRaft {
        self.server(server).raft.clone()
    }

    /// Returns the keyring of a pool at a server. In the WAN pool the name of a node
    /// ends with that of its datacenter: `alice.dc1`.
    pub fn keyring(&self, server: impl Into<NodeName>, pool: &Pool) -> MockKeyring {
        let server = self.server(server);
        match server.ring(pool) {
            Some(ring) => ring.clone(),
            None => panic!("{:?} is not in the pool {pool}", server.name),
        }
    }

    /// Returns a server's own keys of a pool, the primary first; none if the pool is
    /// not encrypted.
    pub fn keys(&self, server: impl Into<NodeName>, pool: &Pool) -> Vec<GossipKey> {
        let ring = self.keyring(server, pool);
        ring.keys(ring.node().clone())
    }

    /// Returns the datacenters, in the order in which they were added.
    pub fn datacenters(&self) -> Vec<DatacenterName> {
        let servers = self.network.servers.iter();
        let mut datacenters: Vec<_> = servers.map(|server| server.datacenter.clone()).collect();
        datacenters.dedup();
        datacenters
    }

    /// Returns the servers of a datacenter, dead or alive, in the configuration or
    /// not, in the order in which they were added.
    pub fn servers(&self, datacenter: impl Into<DatacenterName>) -> Vec<NodeName> {
        let servers = self.network.datacenter(&datacenter.into());
        servers.iter().map(|server| server.name.clone()).collect()
    }

    /// Returns the leader of a datacenter.
    pub fn leader(&self, datacenter: impl Into<DatacenterName>) -> Option<NodeName> {
        let servers = self.network.datacenter(&datacenter.into());
        let leader = servers[0].raft.leader()?;
        let leader = servers.iter().find(|server| *server.raft.id() == leader)?;
        Some(leader.name.clone())
    }

    /// Returns the latest Raft configuration of a datacenter, known to its servers
    /// or not.
    pub fn configuration(&self, datacenter: impl Into<DatacenterName>) -> RaftConfiguration {
        self.network.datacenter(&datacenter.into())[0].raft.latest()
    }

    /// Returns whether a server is up.
    pub fn is_up(&self, server: impl Into<NodeName>) -> bool {
        self.server(server).is_up()
    }

    /// Returns how many requests other servers have forwarded to a server.
    pub fn handed_to(&self, server: impl Into<NodeName>) -> usize {
        self.server(server).received.load(Ordering::Relaxed)
    }

    /// Stops a server. Whether gossip notices is
    /// [set by the builder](super::MockFederationBuilder::notices_failures).
    pub fn stop(&self, server: impl Into<NodeName>) {
        let server = self.server(server);
        self.note(format!("{} is stopped", server.name));
        server.stop();
    }

    /// Restarts a stopped server: it joins its pools with its former keys, with which
    /// it may not be able to read the others, and its Raft catches up with the leader.
    pub fn restart(&self, server: impl Into<NodeName>) {
        let server = self.server(server);
        if !server.is_up() {
            self.note(format!("{} is restarted", server.name));
        }
        server.restart();
    }

    /// Stops all servers of a datacenter.
    pub fn stop_datacenter(&self, datacenter: impl Into<DatacenterName>) {
        for server in self.servers(datacenter) {
            self.stop(server);
        }
    }

    /// Restarts all stopped servers of a datacenter.
    pub fn restart_datacenter(&self, datacenter: impl Into<DatacenterName>) {
        for server in self.servers(datacenter) {
            if !self.is_up(server.clone()) {
                self.restart(server);
            }
        }
    }

    /// Lets every node of a pool notice that a server is down. It is not counted as
    /// a member any more.
    pub fn notice_failure(&self, failed: impl Into<NodeName>, pool: &Pool) {
        let ring = self.keyring(failed, pool);
        ring.notice_failure(ring.node().clone());
    }

    /// Lets one server notice that another one in its pool is down.
    pub fn notice_failure_by(
        &self,
        observer: impl Into<NodeName>,
        failed: impl Into<NodeName>,
        pool: &Pool,
    ) {
        let observer = self.keyring(observer, pool);
        let failed = self.keyring(failed, pool);
        observer.notice_failure_by(observer.node().clone(), failed.node().clone());
    }

    /// Makes a server the leader of its datacenter, if it is a live voter and a
    /// majority of the voters is up. Returns whether it leads now.
    pub fn elect(&self, server: impl Into<NodeName>) -> bool {
        let server = self.server(server);
        let leads = server.raft.elect(server.raft.id().clone());
        if leads {
            self.note(format!("{} is elected", server.name));
        }
        leads
    }

    /// Adds a removed server to the Raft configuration of its datacenter again.
    /// Returns whether the configuration contains it now; without a leader it does
    /// not.
    pub fn join(&self, server: impl Into<NodeName>) -> bool {
        let server = self.server(server);
        server.raft.join(server.raft.id().clone())
    }

    /// Removes the dead servers of a datacenter from its Raft configuration, as
    /// autopilot does if its configuration says so. Returns those removed.
    pub fn cleanup_dead_servers(&self, datacenter: impl Into<DatacenterName>) -> Vec<NodeName> {
        let servers = self.network.datacenter(&datacenter.into());
        let removed = servers[0].raft.cleanup_dead_servers();
        let removed = servers
            .iter()
            .filter(|server| removed.contains(server.raft.id()));
        removed.map(|server| server.name.clone()).collect()
    }

    fn server(&self, name: impl Into<NodeName>) -> &Server {
        self.network.server(&name.into())
    }
}

/// The transcript and the clock.
impl MockFederation {
    /// Returns the calls so far, between servers and to the nodes of gossip pools.
    /// Only the last 100,000 entries are kept.
    pub fn transcript(&self) -> Transcript {
        self.network.recorder.transcript()
    }

    /// Clears the transcript.
    pub fn clear_transcript(&self) {
        self.network.recorder.clear();
    }

    /// Adds a line of the test's own to the transcript.
    pub fn note(&self, text: impl Into<String>) {
        self.network.recorder.note(text.into());
    }

    /// Returns the clock of the transcript: the one that the federation was
    /// [built with](super::MockFederationBuilder::clock), or one that stands still.
    pub fn clock(&self) -> MockClock {
        self.network.clock.clone()
    }
}

/// Faults.
impl MockFederation {
    /// Injects a fault, which is in effect until it is healed.
    ///
    /// # Panics
    /// If the fault names something that does not exist, contradicts itself, or
    /// takes time without a [clock](super::MockFederationBuilder::clock).
    pub fn inject(&self, fault: Fault) -> FaultId {
        self.check(&fault);
        let id = lock(&self.network.faults).add(fault.clone());
        self.note(fault.to_string());
        let network = &self.network;
        let raft_of = |datacenter| &network.datacenter(datacenter)[0].raft;
        match &fault.0 {
            FaultKind::Stop(server) => network.server(server).stop(),
            FaultKind::Pause(server) => network.server(server).pause(),
            FaultKind::LoseLead(datacenter, nth) => {
                raft_of(datacenter).add_fault(id, RaftFault::LoseLeadIn(*nth));
            }
            FaultKind::FailRemoval(datacenter, outcome) => {
                raft_of(datacenter).add_fault(id, RaftFault::FailRemoval(*outcome));
            }
            FaultKind::LoseAtRemoval(server) => {
                let raft = &network.server(server).raft;
                raft.add_fault(id, RaftFault::LoseAtRemoval(raft.id().clone()));
            }
            FaultKind::UnfinishedRemoval(server, at) => {
                let raft = &network.server(server).raft;
                raft.add_fault(id, RaftFault::Unfinished(raft.id().clone(), *at));
            }
            _ => {}
        }
        self.apply_faults();
        id
    }

    /// Heals a fault. Does nothing if it was healed before.
    pub fn heal(&self, fault: FaultId) {
        let Some(healed) = lock(&self.network.faults).remove(fault) else {
            return;
        };
        self.note(format!("healed: {healed}"));
        let (kind, remaining) = (&healed.0, lock(&self.network.faults).kinds());
        match kind {
            FaultKind::Stop(server) if !remaining.contains(kind) => {
                self.network.server(server).restart();
            }
            FaultKind::Pause(server) if !remaining.contains(kind) => {
                self.network.server(server).resume();
            }
            _ => {}
        }
        for server in &self.network.servers {
            server.raft.heal(fault);
        }
        self.apply_faults();
    }

    /// Heals all faults.
    pub fn heal_all(&self) {
        let faults = lock(&self.network.faults).ids();
        faults.into_iter().for_each(|fault| self.heal(fault));
    }

    fn check(&self, fault: &Fault) {
        let network = &self.network;
        assert!(
            network.simulates_time || !fault.takes_time(),
            "a fault that takes time ({fault}): give the federation a clock"
        );
        let exists = |server: &NodeName| _ = network.server(server);
        match &fault.0 {
            FaultKind::Stop(server)
            | FaultKind::Pause(server)
            | FaultKind::LoseAtRemoval(server)
            | FaultKind::UnfinishedRemoval(server, _) => exists(server),
            FaultKind::Partition(group, other) => {
                group.iter().chain(other).for_each(exists);
                if let Some(both) = group.iter().find(|server| other.contains(server)) {
                    panic!("{both:?} is on both sides of a partition");
                }
            }
            FaultKind::Call(calls, _) => calls.from.iter().chain(&calls.to).for_each(exists),
            FaultKind::SilentDatacenter(datacenter)
            | FaultKind::LoseLead(datacenter, _)
            | FaultKind::FailRemoval(datacenter, _)
            | FaultKind::SlowRaft(datacenter, _) => drop(network.datacenter(datacenter)),
            FaultKind::Node(server, pool, _) => drop(self.keyring(server.clone(), pool)),
            FaultKind::StaleHint(server, leader) => {
                let datacenter = |name| &network.server(name).datacenter;
                assert!(
                    datacenter(server) == datacenter(leader),
                    "{server:?} and {leader:?} are servers of different datacenters"
                );
            }
        }
    }

    /// Passes the faults in effect to the Rafts and the gossip pools.
    fn apply_faults(&self) {
        let network = &self.network;
        let kinds = lock(&network.faults).kinds();
        let mut cuts = BTreeSet::new();
        for from in &network.servers {
            for to in network.servers.iter().filter(|to| network.is_cut(from, to)) {
                cuts.insert((&from.name, &to.name));
            }
        }
        let id = |name| network.server(name).raft.id().clone();
        for server in &network.servers {
            let cuts_by_id = cuts.iter().map(|(from, to)| (id(from), id(to)));
            let hints = kinds.iter().filter_map(|kind| match kind {
                FaultKind::StaleHint(server, leader) => Some((id(server), id(leader))),
                _ => None,
            });
            let delays = kinds.iter().filter_map(|kind| match kind {
                FaultKind::SlowRaft(slow, delay) if *slow == server.datacenter => Some(*delay),
                _ => None,
            });
            let delay = delays.reduce(Duration::saturating_add);
            server.raft.cluster(|cluster| {
                cluster.cuts = cuts_by_id.collect();
                cluster.stale_hints = hints.collect();
                cluster.delay = delay.map(|delay| (network.clock.clone(), delay));
                cluster.settle();
            });
            for ring in &server.rings {
                let node = |name| Some(network.server(name).ring(ring.pool())?.node().clone());
                let cuts = cuts.iter();
                let cuts = cuts.filter_map(|(from, to)| Some((node(from)?, node(to)?)));
                let faults = kinds.iter().filter_map(|kind| match kind {
                    FaultKind::Node(name, pool, fault) if pool == ring.pool() => {
                        Some((node(name)?, fault.clone()))
                    }
                    _ => None,
                });
                ring.set_faults(cuts.collect(), faults.collect());
            }
        }
    }
}
