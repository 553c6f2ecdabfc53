//! Puts a federation together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{MockClock, MockFederation, MockServer};
use crate::acl::{AclAuthorizer, AllowAll};
use crate::keyring::{GossipKey, Keyring};
use crate::service::OperatorServiceBuilder;
use crate::types::{DatacenterName, NodeName, ProtocolVersion, SegmentName};

type ServiceOptions = Box<dyn Fn(OperatorServiceBuilder) -> OperatorServiceBuilder>;

/// Builds a [`MockFederation`].
///
/// What is not said: all servers vote and are up, the first of each datacenter
/// leads, all are in one WAN pool, gossip is encrypted with one key, failures
/// are noticed at once, there is an autopilot, and [`AllowAll`] authorizes.
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
///     .wan_pools([vec!["alice", "dave"], vec!["bob"]])
///     .service_options(|service| service.leader_wait(Duration::from_secs(7)))
///     .build();
/// assert_eq!(federation.leader("dc1"), Some("bob".into()));
/// assert_eq!(federation.keyring("alice", &Pool::Wan).nodes().len(), 2);
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct MockFederationBuilder {
    pub(super) datacenters: Vec<(DatacenterName, Vec<MockServer>)>,
    pub(super) segments: Vec<(DatacenterName, SegmentName, Vec<NodeName>)>,
    pub(super) wan_pools: Option<Vec<Vec<NodeName>>>,
    pub(super) ring: Option<Keyring>,
    pub(super) notices_failures: bool,
    pub(super) order: Vec<NodeName>,
    pub(super) leaders: Vec<NodeName>,
    pub(super) raft_index: u64,
    pub(super) protocol_version: Option<ProtocolVersion>,
    pub(super) reports_liveness: bool,
    pub(super) reports_last_index: bool,
    pub(super) autopilot: bool,
    pub(super) version: Option<String>,
    pub(super) authorizer: Arc<dyn AclAuthorizer>,
    pub(super) authorizers: BTreeMap<DatacenterName, Arc<dyn AclAuthorizer>>,
    pub(super) service_options: ServiceOptions,
    pub(super) clock: Option<MockClock>,
    pub(super) seed: u64,
}

impl MockFederationBuilder {
    pub(super) fn new() -> Self {
        MockFederationBuilder {
            datacenters: Vec::new(),
            segments: Vec::new(),
            wan_pools: None,
            ring: GossipKey::from_bytes(&[1; 16]).ok().map(Keyring::new),
            notices_failures: true,
            order: Vec::new(),
            leaders: Vec::new(),
            raft_index: 1,
            protocol_version: Some("3".into()),
            reports_liveness: true,
            reports_last_index: false,
            autopilot: true,
            version: None,
            authorizer: Arc::new(AllowAll),
            authorizers: BTreeMap::new(),
            service_options: Box::new(|service| service),
            clock: None,
            seed: 0,
        }
    }

    /// Adds a datacenter with these servers. Their names have to differ from
    /// those of all other servers.
    pub fn datacenter<S: Into<MockServer>>(
        mut self,
        name: impl Into<DatacenterName>,
        servers: impl IntoIterator<Item = S>,
    ) -> Self {
        let servers = servers.into_iter().map(Into::into).collect();
        self.datacenters.push((name.into(), servers));
        self
    }

    /// Adds a network segment to a datacenter, with these of its servers.
    pub fn segment<N: Into<NodeName>>(
        mut self,
        datacenter: impl Into<DatacenterName>,
        segment: impl Into<SegmentName>,
        servers: impl IntoIterator<Item = N>,
    ) -> Self {
        let servers = servers.into_iter().map(Into::into).collect();
        self.segments
            .push((datacenter.into(), segment.into(), servers));
        self
    }

    /// Sets which servers are joined over the WAN. Servers of different pools
    /// know nothing of each other, and one that is in none has no WAN. Default:
    /// all are in one.
    pub fn wan_pools<N: Into<NodeName>, P: IntoIterator<Item = N>>(
        mut self,
        pools: impl IntoIterator<Item = P>,
    ) -> Self {
        let pools = pools.into_iter();
        let pools = pools.map(|pool| pool.into_iter().map(Into::into).collect());
        self.wan_pools = Some(pools.collect());
        self
    }

    /// Sets the key with which all pools are encrypted. Default: 16 bytes of 1.
    pub fn gossip_key(mut self, primary: GossipKey) -> Self {
        self.ring = Some(Keyring::new(primary));
        self
    }

    /// Lets all pools gossip in clear text.
    pub fn unencrypted(mut self) -> Self {
        self.ring = None;
        self
    }

    /// Sets whether gossip notices at once that a server is down. If not, it
    /// counts as a member that does not answer, until
    /// [it is told](MockFederation::notice_failure). Default: it does.
    pub fn notices_failures(mut self, notices: bool) -> Self {
        self.notices_failures = notices;
        self
    }

    /// Sets the order of the servers in the Raft configurations. Those that are
    /// not named come behind. Default: the order in which the datacenters have
    /// them.
    pub fn configuration_order<N: Into<NodeName>>(
        mut self,
        servers: impl IntoIterator<Item = N>,
    ) -> Self {
        self.order = servers.into_iter().map(Into::into).collect();
        self
    }

    /// Makes a server the first leader of its datacenter. Default: the first one
    /// that votes.
    pub fn leader(mut self, server: impl Into<NodeName>) -> Self {
        self.leaders.push(server.into());
        self
    }

    /// Sets the index of the first Raft configuration. Default: 1.
    pub fn raft_index(mut self, index: u64) -> Self {
        self.raft_index = index;
        self
    }

    /// Sets the Raft protocol version of the servers; `None` if it is not to be
    /// known. Default: 3.
    pub fn protocol_version(mut self, version: Option<&str>) -> Self {
        self.protocol_version = version.map(Into::into);
        self
    }

    /// Sets whether Raft knows which servers are up. Default: it does.
    pub fn reports_liveness(mut self, reports: bool) -> Self {
        self.reports_liveness = reports;
        self
    }

    /// Sets whether Raft tells the last log index of the servers. Default: it
    /// does not.
    pub fn reports_last_index(mut self, reports: bool) -> Self {
        self.reports_last_index = reports;
        self
    }

    /// Sets whether there is an autopilot. Default: there is.
    pub fn autopilot(mut self, autopilot: bool) -> Self {
        self.autopilot = autopilot;
        self
    }

    /// Sets the version that autopilot tells of the servers' software. Default:
    /// that of [`MockAutopilot`](super::MockAutopilot).
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Sets the authorizer of all servers. Default: [`AllowAll`], because a mock
    /// protects nothing.
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

    /// Lets the federation live on a simulated clock: the servers' deadlines and
    /// waits, and [faults](super::Fault) that take time. What a server has sent
    /// then arrives also if the server has given up since. Default: the servers
    /// have the timer that their services are given, or tokio's.
    pub fn clock(mut self, clock: &MockClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Sets the seed of faults that are left to
    /// [chance](super::Calls::one_in). Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets what else is to be said to the builder of each server's service:
    /// deadlines, how long to wait for a leader, the timer, the quorum guard. It
    /// comes last, so it can also replace a part.
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
    /// If it makes no sense: two servers or datacenters of one name, two servers
    /// of one id in a datacenter, a datacenter without servers, a name that no
    /// server has, a server in two WAN pools or in the segment of another
    /// datacenter, a leader that does not vote, or [options](MockFederationBuilder::service_options) with
    /// which a service cannot be built.
    pub fn build(self) -> MockFederation {
        MockFederation::new(self.wire())
    }
}

impl fmt::Debug for MockFederationBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockFederationBuilder")
            .field("datacenters", &self.datacenters)
            .finish_non_exhaustive()
    }
}
