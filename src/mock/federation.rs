//! A simulated federation, as a test operates it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::clock::lock;
use super::fault::{Fault, FaultId, FaultKind, RaftFault};
use super::keyring::MockKeyring;
use super::network::{Network, Server};
use super::raft::MockRaft;
use super::transcript::Transcript;
use crate::keyring::{GossipKey, Pool};
use crate::raft::{RaftConfiguration, Suffrage};
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
        self.server(server).raft.join(None)
    }

    /// As [`join`](MockFederation::join), without a vote, as where an autopilot promotes
    /// servers.
    pub fn join_without_vote(&self, server: impl Into<NodeName>) -> bool {
        self.server(server).raft.join(Some(Suffrage::Nonvoter))
    }

    fn server(&self, name: impl Into<NodeName>) -> &Server {
        self.network.server(&name.into())
    }
}

/// The transcript.
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
}

/// Faults.
impl MockFederation {
    /// Injects a fault, which is in effect until it is healed.
    ///
    /// # Panics
    /// If the fault names something that does not exist, contradicts itself, or
    /// takes time without a [clock](super::MockFederationBuilder::clock).
    pub fn inject(&self, fault: Fault) -> FaultId {
        let network = &self.network;
        assert!(
            network.simulates_time || !fault.takes_time(),
            "a fault that takes time ({fault}): give the federation a clock"
        );
        let id = FaultId::next();
        let exists = |server: &NodeName| _ = network.server(server);
        match &fault.kind {
            FaultKind::Stop(server) => network.server(server).stop(),
            FaultKind::Pause(server) => network.server(server).pause(),
            FaultKind::Partition(group, other) => {
                group.iter().chain(other).for_each(exists);
                if let Some(both) = group.iter().find(|server| other.contains(server)) {
                    panic!("{both:?} is on both sides of a partition");
                }
            }
            FaultKind::SilentDatacenter(datacenter) => drop(network.datacenter(datacenter)),
            FaultKind::Call(calls, _) => calls.from.iter().chain(&calls.to).for_each(exists),
            FaultKind::Node(server, pool, fault) => {
                self.keyring(server.clone(), pool).add_fault(id, fault);
            }
            FaultKind::StaleHint(server, leader) => {
                let (server, leader) = (network.server(server), network.server(leader));
                assert!(
                    server.datacenter == leader.datacenter,
                    "{:?} and {:?} are servers of different datacenters",
                    server.name,
                    leader.name
                );
                let leader = leader.raft.id().clone();
                server.raft.add_fault(id, &RaftFault::StaleHint(leader));
            }
            FaultKind::Member(server, fault) => network.server(server).raft.add_fault(id, fault),
            FaultKind::Cluster(datacenter, fault) => {
                network.datacenter(datacenter)[0].raft.add_fault(id, fault);
            }
        }
        self.note(fault.to_string());
        lock(&network.faults).add(id, fault);
        network.cut();
        id
    }

    /// Heals a fault. Does nothing if it was healed before.
    pub fn heal(&self, fault: FaultId) {
        let network = &self.network;
        let Some(healed) = lock(&network.faults).remove(fault) else {
            return;
        };
        self.note(format!("healed: {healed}"));
        let kind = &healed.kind;
        let remains = lock(&network.faults).contains(kind);
        match kind {
            FaultKind::Stop(server) if !remains => network.server(server).restart(),
            FaultKind::Pause(server) if !remains => network.server(server).resume(),
            _ => {}
        }
        network.cut();
        for server in &network.servers {
            server.raft.heal(fault);
            server.rings.iter().for_each(|ring| ring.heal(fault));
        }
    }

    /// Heals all faults.
    pub fn heal_all(&self) {
        let faults = lock(&self.network.faults).ids();
        faults.into_iter().for_each(|fault| self.heal(fault));
    }
}
