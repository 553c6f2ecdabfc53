//! The federation as a test holds it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::network::{Network, Server};
use super::{MockFederationBuilder, MockKeyring, MockRaft};
use crate::keyring::{GossipKey, Pool};
use crate::raft::RaftConfiguration;
use crate::service::OperatorService;
use crate::types::{DatacenterName, NodeName};

/// Servers of one or more datacenters, wired together in memory.
///
/// Keep it as long as the services that it hands out: they find each other
/// through it. Clones share everything.
///
/// A stopped server is dead to the others, and its own service answers
/// [`Unreachable`](crate::ErrorKind::Unreachable) to everything that the
/// authorizer lets pass; a keyring operation through it tells that of every
/// ring.
///
/// A server knows the datacenters of the servers that are in its WAN pool, dead
/// or alive, and reaches those servers of another datacenter alone.
///
/// # Panics
/// All methods do if the federation has no server, datacenter or pool of the
/// name that they are given.
///
/// ```
/// use cluster_operator::mock::MockFederation;
/// use cluster_operator::{Caller, KeyringScope, Pool};
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
    /// Starts to put a federation together.
    pub fn builder() -> MockFederationBuilder {
        MockFederationBuilder::new()
    }

    pub(super) fn new(network: Arc<Network>) -> Self {
        MockFederation { network }
    }

    /// The service of a server.
    pub fn service(&self, server: impl Into<NodeName>) -> OperatorService {
        self.server(server).service.clone()
    }

    /// The Raft of a server.
    pub fn raft(&self, server: impl Into<NodeName>) -> MockRaft {
        self.server(server).raft.clone()
    }

    /// The keyring of a pool as a server operates it. In the WAN pool a node's
    /// name is the server's with the datacenter's behind it: `alice.dc1`.
    pub fn keyring(&self, server: impl Into<NodeName>, pool: &Pool) -> MockKeyring {
        let server = self.server(server);
        match server.ring(pool) {
            Some(ring) => ring.clone(),
            None => panic!("{:?} is not in the pool {pool}", server.name),
        }
    }

    /// A server's own keys of a pool, the primary first; none if encryption is
    /// off.
    pub fn keys(&self, server: impl Into<NodeName>, pool: &Pool) -> Vec<GossipKey> {
        let ring = self.keyring(server, pool);
        ring.keys(ring.node().clone())
    }

    /// The datacenters, in the order in which they were named.
    pub fn datacenters(&self) -> Vec<DatacenterName> {
        let servers = self.network.servers.iter();
        let mut datacenters: Vec<_> = servers.map(|server| server.datacenter.clone()).collect();
        datacenters.dedup();
        datacenters
    }

    /// The servers of a datacenter, dead or alive, in the configuration or not,
    /// in the order in which they were named.
    pub fn servers(&self, datacenter: impl Into<DatacenterName>) -> Vec<NodeName> {
        let servers = self.network.datacenter(&datacenter.into());
        servers.iter().map(|server| server.name.clone()).collect()
    }

    /// Who leads a datacenter.
    pub fn leader(&self, datacenter: impl Into<DatacenterName>) -> Option<NodeName> {
        let servers = self.network.datacenter(&datacenter.into());
        let leader = servers[0].raft.leader()?;
        let leader = servers.iter().find(|server| *server.raft.id() == leader)?;
        Some(leader.name.clone())
    }

    /// The latest Raft configuration of a datacenter, whatever its servers know
    /// of it.
    pub fn configuration(&self, datacenter: impl Into<DatacenterName>) -> RaftConfiguration {
        self.network.datacenter(&datacenter.into())[0].raft.latest()
    }

    /// Whether a server is up.
    pub fn is_up(&self, server: impl Into<NodeName>) -> bool {
        self.server(server).is_up()
    }

    /// How many requests other servers have handed to a server.
    pub fn handed_to(&self, server: impl Into<NodeName>) -> usize {
        self.server(server).handed_on.load(Ordering::Relaxed)
    }

    /// Stops a server. Whether gossip notices is the
    /// [builder's choice](MockFederationBuilder::notices_failures).
    pub fn stop(&self, server: impl Into<NodeName>) {
        let server = self.server(server);
        self.note(format!("{} is stopped", server.name));
        server.stop();
    }

    /// Starts a stopped server again: it joins its pools with the keys that it
    /// had, and its Raft catches up with the leader.
    pub fn restart(&self, server: impl Into<NodeName>) {
        let server = self.server(server);
        if !server.is_up() {
            self.note(format!("{} is started again", server.name));
        }
        server.restart();
    }

    /// Stops all servers of a datacenter.
    pub fn stop_datacenter(&self, datacenter: impl Into<DatacenterName>) {
        for server in self.servers(datacenter) {
            self.stop(server);
        }
    }

    /// Starts all stopped servers of a datacenter again.
    pub fn restart_datacenter(&self, datacenter: impl Into<DatacenterName>) {
        for server in self.servers(datacenter) {
            if !self.is_up(server.clone()) {
                self.restart(server);
            }
        }
    }

    /// Lets every node of a pool notice that a server is down: it is counted no
    /// longer.
    pub fn notice_failure(&self, failed: impl Into<NodeName>, pool: &Pool) {
        let ring = self.keyring(failed, pool);
        ring.notice_failure(ring.node().clone());
    }

    /// Lets one server alone notice that another one in its pool is down.
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

    /// Makes a server the leader of its datacenter; it has to be a live voter,
    /// with a majority of the voters up. Says whether it leads now.
    pub fn elect(&self, server: impl Into<NodeName>) -> bool {
        let server = self.server(server);
        let leads = server.raft.elect(server.raft.id().clone());
        if leads {
            self.note(format!("{} is elected", server.name));
        }
        leads
    }

    /// Takes a server that was removed back into the Raft configuration of its
    /// datacenter. Says whether it is in it now; without a leader it is not.
    pub fn join(&self, server: impl Into<NodeName>) -> bool {
        let server = self.server(server);
        server.raft.join(server.raft.id().clone())
    }

    /// Removes the dead servers of a datacenter from its Raft configuration, as
    /// autopilot does when its configuration says so. Says which ones.
    pub fn cleanup_dead_servers(&self, datacenter: impl Into<DatacenterName>) -> Vec<NodeName> {
        let servers = self.network.datacenter(&datacenter.into());
        let removed = servers[0].raft.cleanup_dead_servers();
        let removed = servers
            .iter()
            .filter(|server| removed.contains(server.raft.id()));
        removed.map(|server| server.name.clone()).collect()
    }

    pub(super) fn server(&self, name: impl Into<NodeName>) -> &Server {
        self.network.server(&name.into())
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::error::ErrorKind;
    use crate::mock::MockServer;
    use crate::raft::Consistency;
    use crate::service::Caller;

    #[test]
    fn servers_are_numbered_over_the_whole_federation_whatever_the_order() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob"])
            .datacenter("dc2", ["carol"])
            .configuration_order(["bob"])
            .build();
        let told = |datacenter| {
            let servers = federation.configuration(datacenter).servers;
            let told = servers.into_iter();
            told.map(|server| (server.name.unwrap().to_string(), server.address.to_string()))
                .collect::<Vec<_>>()
        };
        let server = |name: &str, address: &str| (name.to_string(), address.to_string());
        let dc1 = [
            server("bob", "127.0.0.2:8300"),
            server("alice", "127.0.0.1:8300"),
        ];
        assert_eq!(told("dc1"), dc1);
        assert_eq!(told("dc2"), [server("carol", "127.0.0.3:8300")]);
        assert_eq!(federation.servers("dc1"), ["alice", "bob"]);
        assert_eq!(federation.leader("dc1"), Some("bob".into()));
        let carol = federation.raft("carol");
        assert_eq!(carol.id(), &"00000003-0000-4000-8000-000000000003");
    }

    #[test]
    fn services_do_not_keep_a_federation_that_is_dropped() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob"])
            .build();
        let bob = federation.service("bob");
        drop(federation);
        let caller = Caller::anonymous();
        let error = block_on(bob.raft_configuration(&caller, Consistency::Default)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
    }

    #[test]
    fn a_datacenter_is_reached_through_any_of_its_servers_that_is_up() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice"])
            .datacenter("dc2", ["bob", "carol", "dave"])
            .build();
        federation.stop("bob");
        let alice = federation.service("alice");
        let there = Caller::anonymous().in_datacenter("dc2");
        block_on(alice.raft_configuration(&there, Consistency::Default)).unwrap();
        assert_eq!(federation.handed_to("bob"), 0);
        assert_eq!(federation.handed_to("carol"), 1);
        federation.stop_datacenter("dc2");
        federation.restart_datacenter("dc2");
        block_on(alice.raft_configuration(&there, Consistency::Default)).unwrap();
        assert_eq!(federation.handed_to("bob"), 1);
    }

    fn refusal(builder: MockFederationBuilder) -> String {
        let build = std::panic::AssertUnwindSafe(|| builder.build());
        let panic = std::panic::catch_unwind(build).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let dc1 = || MockFederation::builder().datacenter("dc1", ["alice", "bob"]);
        // The one that dave, the fourth server, has if nobody gives him another.
        let carol = MockServer::new("carol").with_id("00000004-0000-4000-8000-000000000004");
        let twins = [carol, MockServer::new("dave")];
        for (builder, words) in [
            (
                dc1().datacenter("dc2", ["alice"]),
                "two servers are called \"alice\"",
            ),
            (
                dc1().datacenter("dc2", twins),
                "\"dave\" has the id of another server of its datacenter",
            ),
            (
                dc1().datacenter("dc1", ["carol"]),
                "two datacenters are called \"dc1\"",
            ),
            (
                dc1().wan_pools([["alice", "zoe"]]),
                "the federation has no server \"zoe\"",
            ),
            (
                dc1().wan_pools([["alice"], ["alice"]]),
                "\"alice\" is in two WAN pools",
            ),
            (
                dc1().segment("dc3", "alpha", ["alice"]),
                "the federation has no datacenter \"dc3\"",
            ),
            (
                dc1()
                    .datacenter("dc2", ["carol"])
                    .segment("dc2", "alpha", ["alice"]),
                "\"alice\" cannot be in \"alpha\" of \"dc2\"",
            ),
            (
                dc1()
                    .datacenter("dc2", [MockServer::new("carol").nonvoter()])
                    .leader("carol"),
                "\"carol\" does not vote and cannot lead",
            ),
        ] {
            assert_eq!(refusal(builder), words);
        }
    }
}
