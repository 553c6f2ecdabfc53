//! The settings of a simulated federation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::clock::MockClock;
use super::federation::MockFederation;
use crate::acl::{AclAuthorizer, AllowAll};
use crate::keyring::{GossipKey, Keyring};
use crate::raft::RaftServer;
use crate::service::OperatorServiceBuilder;
use crate::types::{DatacenterName, NodeName, SegmentName};

/// Builds a [`MockFederation`].
///
/// By default all servers are up and vote, the first one of each datacenter leads,
/// all are in one WAN pool, gossip is encrypted with one key, failures are noticed at
/// once, there is an autopilot, and [`AllowAll`] authorizes.
///
/// ```
/// use std::time::Duration;
/// use cluster_operator::mock::MockFederation;
/// use cluster_operator::Pool;
///
/// let federation = MockFederation::builder()
///     .datacenter("dc1", ["alice", "bob", "carol"])
///     .datacenter("dc2", ["dave"])
///     .leader("bob")
///     .nonvoters(["carol"])
///     .raft_servers(|server| server.last_index = Some(0))
///     .wan_pools([vec!["alice", "dave"], vec!["bob"]])
///     .service_options(|service| service.leader_wait(Duration::from_secs(7)))
///     .build();
/// assert_eq!(federation.leader("dc1"), Some("bob".into()));
/// assert_eq!(federation.keyring("alice", &Pool::Wan).nodes().len(), 2);
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct MockFederationBuilder {
    pub(super) datacenters: Vec<(DatacenterName, Vec<NodeName>)>,
    pub(super) segments: Vec<(DatacenterName, SegmentName, Vec<NodeName>)>,
    /// `None` if all servers are in one.
    pub(super) wan_pools: Option<Vec<Vec<NodeName>>>,
    pub(super) ring: Option<Keyring>,
    pub(super) notices_failures: bool,
    pub(super) order: Vec<NodeName>,
    pub(super) leaders: Vec<NodeName>,
    pub(super) nonvoters: Vec<NodeName>,
    pub(super) raft_servers: Box<dyn Fn(&mut RaftServer)>,
    pub(super) raft_index: u64,
    pub(super) autopilot: bool,
    pub(super) version: Option<String>,
    pub(super) meta: Option<BTreeMap<String, String>>,
    pub(super) authorizer: Arc<dyn AclAuthorizer>,
    pub(super) authorizers: BTreeMap<DatacenterName, Arc<dyn AclAuthorizer>>,
    pub(super) service_options: Box<dyn Fn(OperatorServiceBuilder) -> OperatorServiceBuilder>,
    pub(super) clock: Option<MockClock>,
    pub(super) seed: u64,
}

impl MockFederation {
    /// Creates a builder.
    pub fn builder() -> MockFederationBuilder {
        MockFederationBuilder {
            datacenters: Vec::new(),
            segments: Vec::new(),
            wan_pools: None,
            ring: GossipKey::from_bytes(&[1; 16]).ok().map(Keyring::new),
            notices_failures: true,
            order: Vec::new(),
            leaders: Vec::new(),
            nonvoters: Vec::new(),
            raft_servers: Box::new(|_| {}),
            raft_index: 1,
            autopilot: true,
            version: None,
            meta: None,
            authorizer: Arc::new(AllowAll),
            authorizers: BTreeMap::new(),
            service_options: Box::new(|service| service),
            clock: None,
            seed: 0,
        }
    }
}

impl MockFederationBuilder {
    /// Adds a datacenter with these servers. No two servers of a federation may have
    /// the same name.
    pub fn datacenter<N: Into<NodeName>>(
        mut self,
        name: impl Into<DatacenterName>,
        servers: impl IntoIterator<Item = N>,
    ) -> Self {
        self.datacenters.push((name.into(), names(servers)));
        self
    }

    /// Adds a network segment to a datacenter, with these of its servers.
    pub fn segment<N: Into<NodeName>>(
        mut self,
        datacenter: impl Into<DatacenterName>,
        segment: impl Into<SegmentName>,
        servers: impl IntoIterator<Item = N>,
    ) -> Self {
        let segment = (datacenter.into(), segment.into(), names(servers));
        self.segments.push(segment);
        self
    }

    /// Sets which servers are joined over the WAN. Servers of different pools do not
    /// know each other, and a server in no pool has no WAN ring. Default: all are
    /// in one pool.
    pub fn wan_pools<N: Into<NodeName>, P: IntoIterator<Item = N>>(
        mut self,
        pools: impl IntoIterator<Item = P>,
    ) -> Self {
        self.wan_pools = Some(pools.into_iter().map(names).collect());
        self
    }

    /// Sets the key of all gossip pools. Default: 16 bytes of 1.
    pub fn gossip_key(mut self, primary: GossipKey) -> Self {
        self.ring = Some(Keyring::new(primary));
        self
    }

    /// Turns the encryption of gossip off.
    pub fn unencrypted(mut self) -> Self {
        self.ring = None;
        self
    }

    /// Sets whether gossip notices at once that a server is down. If not, the server
    /// counts as a member that does not answer, until the test
    /// [says otherwise](MockFederation::notice_failure). Default: true.
    pub fn notices_failures(mut self, notices: bool) -> Self {
        self.notices_failures = notices;
        self
    }

    /// Sets the order of the servers in the Raft configurations. Other servers follow
    /// them. Default: the order in which the servers were added.
    pub fn configuration_order<N: Into<NodeName>>(
        mut self,
        servers: impl IntoIterator<Item = N>,
    ) -> Self {
        self.order = names(servers);
        self
    }

    /// Makes a server the first leader of its datacenter. Default: the first voter.
    pub fn leader(mut self, server: impl Into<NodeName>) -> Self {
        self.leaders.push(server.into());
        self
    }

    /// Takes the right to vote from these servers.
    pub fn nonvoters<N: Into<NodeName>>(mut self, servers: impl IntoIterator<Item = N>) -> Self {
        self.nonvoters = names(servers);
        self
    }

    /// Changes the servers as Raft knows them. By default the id of the first server
    /// of the federation is `00000001-0000-4000-8000-000000000001` and its address
    /// `127.0.0.1:8300`, that of the second server `127.0.0.2:8300`, and so on; the
    /// protocol version is 3, the liveness is known, and the last index is not.
    pub fn raft_servers(mut self, change: impl Fn(&mut RaftServer) + 'static) -> Self {
        self.raft_servers = Box::new(change);
        self
    }

    /// Sets the index of the first Raft configuration. Default: 1.
    pub fn raft_index(mut self, index: u64) -> Self {
        self.raft_index = index;
        self
    }

    /// Sets whether the servers have an autopilot. Default: true.
    pub fn autopilot(mut self, autopilot: bool) -> Self {
        self.autopilot = autopilot;
        self
    }

    /// Sets the software version that autopilot reports, such as that of a
    /// [dialect's server](crate::consul::Dialect::version). Default: that of
    /// [`MockAutopilot`](super::MockAutopilot).
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Sets the metadata of the servers' nodes, which autopilot shows. Default: that of
    /// Consul 1.10.
    pub fn node_meta<N: Into<String>, V: Into<String>>(
        mut self,
        meta: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let meta = meta.into_iter();
        self.meta = Some(
            meta.map(|(name, value)| (name.into(), value.into()))
                .collect(),
        );
        self
    }

    /// Sets the authorizer of all servers. Default: [`AllowAll`], because a mock has
    /// nothing to protect.
    pub fn authorizer(mut self, authorizer: impl AclAuthorizer + 'static) -> Self {
        self.authorizer = Arc::new(authorizer);
        self
    }

    /// Sets another authorizer for the servers of one datacenter.
    pub fn authorizer_in(
        mut self,
        datacenter: impl Into<DatacenterName>,
        authorizer: impl AclAuthorizer + 'static,
    ) -> Self {
        self.authorizers
            .insert(datacenter.into(), Arc::new(authorizer));
        self
    }

    /// Runs the federation on a simulated clock: the deadlines and waits of the
    /// services, and [faults](super::Fault) that take time. A request that was sent
    /// arrives even if its sender has given up. The views of a leader show for how long it
    /// has led, and when the others answered it last. Default: the services have the timer
    /// from [`service_options`](MockFederationBuilder::service_options), or tokio's.
    pub fn clock(mut self, clock: &MockClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Sets the seed of [random faults](super::Calls::one_in). Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets further options of each server's service: deadlines, how long to wait for
    /// a leader, the timer, the quorum guard. They are applied last, so they can also
    /// replace a backend.
    pub fn service_options(
        mut self,
        options: impl Fn(OperatorServiceBuilder) -> OperatorServiceBuilder + 'static,
    ) -> Self {
        self.service_options = Box::new(options);
        self
    }

    /// Builds the federation.
    ///
    /// # Panics
    /// If the federation is inconsistent: two servers or datacenters have the same
    /// name, or two servers of a datacenter the same id; a datacenter has no servers;
    /// a name is unknown; a server is in two WAN pools, or in the segment of another
    /// datacenter; a leader is no voter; or a service cannot be built with the
    /// [options](MockFederationBuilder::service_options).
    pub fn build(self) -> MockFederation {
        self.check();
        MockFederation {
            network: self.connect(),
        }
    }
}

fn names<N: Into<NodeName>>(names: impl IntoIterator<Item = N>) -> Vec<NodeName> {
    names.into_iter().map(Into::into).collect()
}

impl fmt::Debug for MockFederationBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockFederationBuilder")
            .field("datacenters", &self.datacenters)
            .finish_non_exhaustive()
    }
}
