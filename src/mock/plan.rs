//! The plan of a simulated federation, and how its servers are built and connected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;

use super::autopilot::MockAutopilot;
use super::clock::{Gate, MockClock};
use super::fault::ActiveFaults;
use super::keyring::MockKeyring;
use super::network::{Link, Network, Server};
use super::raft::MockRaft;
use super::transcript::Recorder;
use crate::acl::{Access, AclAuthorizer, AclError, DefaultPolicy, Identity, Resource, Token};
use crate::keyring::{Keyring, Pool};
use crate::raft::{RaftServer, Suffrage};
use crate::service::{OperatorService, OperatorServiceBuilder};
use crate::types::{
    DatacenterName, NodeName, ProtocolVersion, SegmentName, ServerAddress, ServerId,
};

/// A server of a [`MockFederation`](super::MockFederation). A name can be used in
/// its place.
///
/// ```
/// use cluster_operator::mock::{MockFederation, MockServer};
///
/// let federation = MockFederation::builder()
///     .datacenter("dc1", [
///         MockServer::new("alice").with_id("8c2562c7-df78-bf89-3010-e31384d0b5f2"),
///         MockServer::new("bob").with_address("10.0.0.2:8300").nonvoter(),
///     ])
///     .build();
/// let servers = federation.configuration("dc1").servers;
/// assert_eq!(servers[0].id, "8c2562c7-df78-bf89-3010-e31384d0b5f2");
/// assert!(!servers[1].is_voter());
/// ```
#[derive(Debug, Clone)]
pub struct MockServer {
    name: NodeName,
    id: Option<ServerId>,
    address: Option<ServerAddress>,
    suffrage: Suffrage,
    named: bool,
}

impl MockServer {
    /// Creates a voter.
    pub fn new(name: impl Into<NodeName>) -> Self {
        MockServer {
            name: name.into(),
            id: None,
            address: None,
            suffrage: Suffrage::Voter,
            named: true,
        }
    }

    /// Sets the id. Default: a UUID with the number of the server in the federation.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<ServerId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the Raft address. Default: port 8300 of 127.0.0.1 for the first server of
    /// the federation, of 127.0.0.2 for the second, and so on.
    #[must_use]
    pub fn with_address(mut self, address: impl Into<ServerAddress>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Makes the server a non-voter.
    #[must_use]
    pub fn nonvoter(mut self) -> Self {
        self.suffrage = Suffrage::Nonvoter;
        self
    }

    /// Hides the name from Raft, as if gossip did not know the address.
    #[must_use]
    pub fn unnamed(mut self) -> Self {
        self.named = false;
        self
    }

    /// The server as Raft knows it, with its number in the federation.
    fn raft_server(&self, number: u32) -> RaftServer {
        let id = self.id.clone();
        let id = id.unwrap_or_else(|| format!("{number:08x}-0000-4000-8000-{number:012x}").into());
        let address = self.address.clone();
        let address = address.unwrap_or_else(|| {
            let [_, second, third, fourth] = number.to_be_bytes();
            format!("127.{second}.{third}.{fourth}:8300").into()
        });
        let mut server = RaftServer::voter(id, address).with_suffrage(self.suffrage);
        server.name = Some(self.name.clone()).filter(|_| self.named);
        server
    }
}

impl<N: Into<NodeName>> From<N> for MockServer {
    fn from(name: N) -> Self {
        MockServer::new(name)
    }
}

/// What a builder was told.
pub(super) struct Plan {
    pub(super) datacenters: Vec<(DatacenterName, Vec<MockServer>)>,
    pub(super) segments: Vec<(DatacenterName, SegmentName, Vec<NodeName>)>,
    /// `None` if all servers are in one.
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
    pub(super) service_options: Box<dyn Fn(OperatorServiceBuilder) -> OperatorServiceBuilder>,
    pub(super) clock: Option<MockClock>,
    pub(super) seed: u64,
}

impl Plan {
    pub(super) fn build(self) -> Arc<Network> {
        self.check();
        let clock = self.clock.clone().unwrap_or_default();
        let recorder = Recorder::new(clock.clone());
        Arc::new_cyclic(|network| {
            let servers = self.servers(network, &clock);
            for ring in servers.iter().flat_map(|server| &server.rings) {
                ring.record(recorder.clone());
            }
            Network {
                servers,
                faults: Mutex::new(ActiveFaults::new(self.seed)),
                recorder,
                clock,
                simulates_time: self.clock.is_some(),
            }
        })
    }

    fn check(&self) {
        let mut names = BTreeSet::new();
        let mut datacenters = BTreeSet::new();
        for (datacenter, servers) in &self.datacenters {
            assert!(
                datacenters.insert(datacenter),
                "two datacenters are called {datacenter:?}"
            );
            assert!(
                !servers.is_empty(),
                "the datacenter {datacenter:?} has no servers"
            );
            for MockServer { name, suffrage, .. } in servers {
                assert!(names.insert(name), "two servers are called {name:?}");
                assert!(
                    *suffrage == Suffrage::Voter || !self.leaders.contains(name),
                    "{name:?} does not vote and cannot lead"
                );
            }
        }
        let mut joined = BTreeSet::new();
        for name in self.wan_pools.iter().flatten().flatten() {
            assert!(joined.insert(name), "{name:?} is in two WAN pools");
        }
        let segments = self.segments.iter().flat_map(|(_, _, nodes)| nodes);
        let mentioned = joined.into_iter().chain(segments);
        for name in mentioned.chain(&self.order).chain(&self.leaders) {
            assert!(
                names.contains(name),
                "the federation has no server {name:?}"
            );
        }
        let segments = self.segments.iter().map(|(datacenter, ..)| datacenter);
        for datacenter in segments.chain(self.authorizers.keys()) {
            assert!(
                datacenters.contains(datacenter),
                "the federation has no datacenter {datacenter:?}"
            );
        }
        for (datacenter, segment, nodes) in &self.segments {
            let mut all = self.datacenters.iter();
            let servers = all.find(|(name, _)| name == datacenter);
            for node in nodes {
                assert!(
                    servers.is_some_and(|(_, all)| all.iter().any(|it| it.name == *node)),
                    "{node:?} cannot be in {segment:?} of {datacenter:?}"
                );
            }
        }
    }

    fn servers(&self, network: &Weak<Network>, clock: &MockClock) -> Vec<Server> {
        let wan = self.wan_rings();
        let mut servers = Vec::new();
        for (datacenter, members) in &self.datacenters {
            let rafts = self.rafts(members, servers.len());
            let local = self.local_rings(datacenter, members);
            for (MockServer { name, .. }, raft) in std::iter::zip(members, rafts) {
                let gate = Gate::default();
                let raft = raft.behind(&gate);
                let wan_node = wan_node(name, datacenter);
                let rings = std::iter::zip(&wan, std::iter::repeat(&wan_node));
                let rings = rings.chain(std::iter::zip(&local, std::iter::repeat(name)));
                let rings: Vec<_> = rings
                    .filter(|(ring, node)| ring.nodes().contains(node))
                    .map(|(ring, node)| ring.at(node.clone()).behind(&gate))
                    .collect();
                let datacenters = self.known_datacenters(name, datacenter);
                let link = Link {
                    network: Weak::clone(network),
                    from: name.clone(),
                    datacenters: datacenters.clone(),
                };
                let mut service = OperatorService::builder(datacenter.clone())
                    .raft(raft.clone())
                    .peers(link);
                for ring in &rings {
                    service = service.keyring(ring.clone());
                }
                // Without tokio nothing else can measure time: it stands still.
                if self.clock.is_some() || cfg!(not(feature = "tokio")) {
                    service = service.timer(clock.clone());
                }
                servers.push(Server {
                    name: name.clone(),
                    datacenter: datacenter.clone(),
                    service: self.service(service, datacenter, &raft, gate.clone()),
                    datacenters,
                    raft,
                    rings,
                    received: 0.into(),
                    gate,
                    stopped: false.into(),
                });
            }
        }
        servers
    }

    fn service(
        &self,
        mut builder: OperatorServiceBuilder,
        datacenter: &DatacenterName,
        raft: &MockRaft,
        gate: Gate,
    ) -> OperatorService {
        if self.autopilot {
            let mut autopilot = MockAutopilot::new(raft);
            if let Some(version) = &self.version {
                autopilot = autopilot.with_version(version.clone());
            }
            builder = builder.autopilot(autopilot);
        }
        let authorizer = self.authorizers.get(datacenter).unwrap_or(&self.authorizer);
        builder = (self.service_options)(builder.authorizer(Arc::clone(authorizer)));
        builder.authorizer = builder
            .authorizer
            .map(|authorizer| -> Arc<dyn AclAuthorizer> { Arc::new(Gated { authorizer, gate }) });
        match builder.build() {
            Ok(service) => service,
            Err(error) => panic!("the service of a server cannot be built: {error}"),
        }
    }

    /// The datacenters of the servers in a server's WAN pool, its own first.
    fn known_datacenters(&self, server: &NodeName, own: &DatacenterName) -> Vec<DatacenterName> {
        let is_joined = |member: &MockServer| match &self.wan_pools {
            Some(pools) => pools
                .iter()
                .any(|pool| pool.contains(server) && pool.contains(&member.name)),
            None => true,
        };
        let others = self.datacenters.iter();
        let others = others.filter(|(name, members)| name != own && members.iter().any(is_joined));
        let others = others.map(|(name, _)| name.clone());
        std::iter::once(own.clone()).chain(others).collect()
    }

    /// The Rafts of a datacenter's servers, in the same order. `before` servers were
    /// built before.
    fn rafts(&self, members: &[MockServer], before: usize) -> Vec<MockRaft> {
        let mut ids = Vec::new();
        let mut servers = Vec::new();
        for (at, member) in members.iter().enumerate() {
            let mut server = member.raft_server((before + at + 1) as u32);
            assert!(
                !ids.contains(&server.id),
                "{:?} has the id of another server of its datacenter",
                member.name
            );
            server.leader = self.leaders.contains(&member.name);
            server.protocol_version = self.protocol_version.clone();
            server.alive = self.reports_liveness.then_some(true);
            server.last_index = self.reports_last_index.then_some(0);
            ids.push(server.id.clone());
            servers.push((&member.name, server));
        }
        servers.sort_by_key(|(name, _)| {
            let place = self.order.iter().position(|ordered| ordered == *name);
            place.unwrap_or(self.order.len())
        });
        let servers = servers.into_iter().map(|(_, server)| server);
        let raft = MockRaft::new(servers).with_index(self.raft_index);
        ids.into_iter().map(|id| raft.at(id)).collect()
    }

    /// One ring for each WAN pool.
    fn wan_rings(&self) -> Vec<MockKeyring> {
        let nodes = |is_joined: &dyn Fn(&NodeName) -> bool| {
            let mut nodes = Vec::new();
            for (datacenter, members) in &self.datacenters {
                let joined = members.iter().filter(|member| is_joined(&member.name));
                nodes.extend(joined.map(|member| wan_node(&member.name, datacenter)));
            }
            nodes
        };
        let pools: Vec<_> = match &self.wan_pools {
            Some(pools) => pools
                .iter()
                .map(|pool| nodes(&|name| pool.contains(name)))
                .collect(),
            None => vec![nodes(&|_| true)],
        };
        let pools = pools.into_iter().filter(|nodes| !nodes.is_empty());
        pools.map(|nodes| self.ring(Pool::Wan, nodes)).collect()
    }

    /// One ring for the LAN of a datacenter, and for each of its segments.
    fn local_rings(&self, datacenter: &DatacenterName, members: &[MockServer]) -> Vec<MockKeyring> {
        let names = members.iter().map(|member| member.name.clone()).collect();
        let mut rings = vec![self.ring(Pool::Lan, names)];
        for (of, segment, nodes) in &self.segments {
            if of == datacenter {
                rings.push(self.ring(Pool::Segment(segment.clone()), nodes.clone()));
            }
        }
        rings
    }

    fn ring(&self, pool: Pool, nodes: Vec<NodeName>) -> MockKeyring {
        let ring = MockKeyring::with_ring(pool, self.ring.clone(), nodes);
        ring.set_notices_failures(self.notices_failures);
        ring
    }
}

/// The name of a server in the WAN pool.
fn wan_node(server: &NodeName, datacenter: &DatacenterName) -> NodeName {
    format!("{server}.{datacenter}").into()
}

/// An authorizer that waits while its server is paused. Every operation passes it
/// where it is served, so that a paused server serves none.
struct Gated {
    authorizer: Arc<dyn AclAuthorizer>,
    gate: Gate,
}

#[async_trait]
impl AclAuthorizer for Gated {
    async fn authorize(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, AclError> {
        self.gate.pass().await;
        let decision = self.authorizer.authorize(token, resource, access).await;
        self.gate.pass().await;
        decision
    }

    fn default_policy(&self) -> DefaultPolicy {
        self.authorizer.default_policy()
    }
}
