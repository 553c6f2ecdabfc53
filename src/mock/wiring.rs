//! Turns what a builder was told into servers that know each other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};

use super::gate::{Gate, Gated};
use super::inject::Injected;
use super::link::Link;
use super::network::{Network, Server};
use super::transcript::Recorder;
use super::{MockAutopilot, MockFederationBuilder, MockKeyring, MockRaft, MockServer};
use crate::acl::AclAuthorizer;
use crate::keyring::Pool;
use crate::raft::{RaftServer, Suffrage};
use crate::service::{OperatorService, OperatorServiceBuilder};
use crate::types::{DatacenterName, NodeName};

impl MockFederationBuilder {
    pub(super) fn wire(&self) -> Arc<Network> {
        self.check();
        let clock = self.clock.clone().unwrap_or_default();
        let recorder = Recorder::new(clock.clone());
        let network = Arc::new_cyclic(|network| Network {
            servers: self.servers(network),
            injected: Mutex::new(Injected::new(self.seed)),
            recorder: recorder.clone(),
            clock: clock.clone(),
            simulates_time: self.clock.is_some(),
        });
        for ring in network.servers.iter().flat_map(|server| &server.rings) {
            ring.watch(recorder.clone(), clock.clone());
        }
        network
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
            for server in servers {
                let name = &server.name;
                assert!(names.insert(name), "two servers are called {name:?}");
            }
        }
        let pools = self.wan_pools.iter().flatten();
        let mut joined = BTreeSet::new();
        for name in pools.clone().flatten() {
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
        for (datacenter, segment, nodes) in &self.segments {
            assert!(
                datacenters.contains(datacenter),
                "the federation has no datacenter {datacenter:?}"
            );
            for node in nodes {
                let is_there = self.datacenter_of(node) == Some(datacenter);
                assert!(
                    is_there,
                    "{node:?} cannot be in {segment:?} of {datacenter:?}"
                );
            }
        }
        let servers = self.datacenters.iter().flat_map(|(_, servers)| servers);
        for server in servers.filter(|server| self.leaders.contains(&server.name)) {
            let votes = server.suffrage == Suffrage::Voter;
            assert!(votes, "{:?} does not vote and cannot lead", server.name);
        }
        for datacenter in self.authorizers.keys() {
            assert!(
                datacenters.contains(datacenter),
                "the federation has no datacenter {datacenter:?}"
            );
        }
    }

    fn datacenter_of(&self, server: &NodeName) -> Option<&DatacenterName> {
        let mut datacenters = self.datacenters.iter();
        let (datacenter, _) =
            datacenters.find(|(_, servers)| servers.iter().any(|it| it.name == *server))?;
        Some(datacenter)
    }

    fn servers(&self, network: &Weak<Network>) -> Vec<Server> {
        let wan = self.wan_rings();
        let mut servers = Vec::new();
        for (datacenter, members) in &self.datacenters {
            let before = servers.len();
            let rafts = self.rafts(members, before);
            let local = self.local_rings(datacenter, members);
            for (server, raft) in std::iter::zip(members, rafts) {
                let node = wan_node(&server.name, datacenter);
                let gate = Gate::default();
                let raft = raft.behind(&gate);
                let rings = std::iter::empty()
                    .chain(node_of(&wan, &node))
                    .chain(node_of(&local, &server.name))
                    .map(|ring| ring.behind(&gate))
                    .collect::<Vec<_>>();
                let datacenters = self.known_to(&server.name, datacenter);
                let link = Link {
                    network: Weak::clone(network),
                    from: server.name.clone(),
                    datacenters: datacenters.clone(),
                };
                servers.push(Server {
                    name: server.name.clone(),
                    datacenter: datacenter.clone(),
                    service: self.service(datacenter, &raft, &rings, link, gate.clone()),
                    datacenters,
                    raft,
                    rings,
                    handed_on: 0.into(),
                    gate,
                    stopped: false.into(),
                });
            }
        }
        servers
    }

    /// The datacenters that a server knows, its own first: those of the servers
    /// in its WAN pool.
    fn known_to(&self, server: &NodeName, own: &DatacenterName) -> Vec<DatacenterName> {
        let joined = |member: &MockServer| match &self.wan_pools {
            Some(pools) => pools
                .iter()
                .any(|pool| pool.contains(server) && pool.contains(&member.name)),
            None => true,
        };
        let others = self.datacenters.iter();
        let others = others.filter(|(name, members)| name != own && members.iter().any(joined));
        let others = others.map(|(name, _)| name.clone());
        std::iter::once(own.clone()).chain(others).collect()
    }

    /// The Rafts of a datacenter's servers, in the same order. So many servers
    /// have come before it.
    fn rafts(&self, members: &[MockServer], before: usize) -> Vec<MockRaft> {
        let mut servers = Vec::new();
        for (at, member) in members.iter().enumerate() {
            let number = (before + at + 1) as u32;
            let mut server = member
                .raft_server(number)
                .with_leader(self.leaders.contains(&member.name));
            let mut others = servers.iter();
            assert!(
                others.all(|(_, other): &(_, RaftServer)| other.id != server.id),
                "{:?} has the id of another server of its datacenter",
                member.name
            );
            server.protocol_version = self.protocol_version.clone();
            server.alive = self.reports_liveness.then_some(true);
            server.last_index = self.reports_last_index.then_some(0);
            servers.push((&member.name, server));
        }
        let ids: Vec<_> = servers
            .iter()
            .map(|(_, server)| server.id.clone())
            .collect();
        servers.sort_by_key(|(name, _)| {
            let place = self.order.iter().position(|ordered| ordered == *name);
            place.unwrap_or(self.order.len())
        });
        let raft = MockRaft::new(servers.into_iter().map(|(_, server)| server))
            .with_index(self.raft_index);
        ids.into_iter().map(|id| raft.at(id)).collect()
    }

    fn wan_rings(&self) -> Vec<MockKeyring> {
        let mut nodes = Vec::new();
        for (datacenter, members) in &self.datacenters {
            let names = members.iter().map(|member| &member.name);
            nodes.extend(names.map(|name| (name, wan_node(name, datacenter))));
        }
        let pool = |joined: &dyn Fn(&NodeName) -> bool| {
            let joined = nodes.iter().filter(|(name, _)| joined(name));
            let joined: Vec<_> = joined.map(|(_, node)| node.clone()).collect();
            (!joined.is_empty()).then(|| self.pool(Pool::Wan, joined))
        };
        match &self.wan_pools {
            Some(pools) => {
                let pools = pools.iter();
                pools
                    .filter_map(|names| pool(&|name| names.contains(name)))
                    .collect()
            }
            None => pool(&|_| true).into_iter().collect(),
        }
    }

    /// The LAN and the segments of a datacenter.
    fn local_rings(&self, datacenter: &DatacenterName, members: &[MockServer]) -> Vec<MockKeyring> {
        let names = members.iter().map(|member| member.name.clone());
        let mut rings = vec![self.pool(Pool::Lan, names)];
        for (of, segment, nodes) in &self.segments {
            if of == datacenter {
                rings.push(self.pool(Pool::Segment(segment.clone()), nodes.iter().cloned()));
            }
        }
        rings
    }

    fn pool(&self, pool: Pool, nodes: impl IntoIterator<Item = NodeName>) -> MockKeyring {
        let ring = MockKeyring::with_ring(pool, self.ring.clone(), nodes);
        ring.set_notices_failures(self.notices_failures);
        ring
    }

    fn service(
        &self,
        datacenter: &DatacenterName,
        raft: &MockRaft,
        rings: &[MockKeyring],
        link: Link,
        gate: Gate,
    ) -> OperatorService {
        let authorizer = self.authorizers.get(datacenter).unwrap_or(&self.authorizer);
        let mut builder = OperatorService::builder(datacenter.clone())
            .raft(raft.clone())
            .authorizer(Arc::clone(authorizer))
            .peers(link);
        builder = match &self.clock {
            Some(clock) => builder.timer(clock.clone()),
            None => with_clock(builder),
        };
        for ring in rings {
            builder = builder.keyring(ring.clone());
        }
        if self.autopilot {
            let mut autopilot = MockAutopilot::new(raft);
            if let Some(version) = &self.version {
                autopilot = autopilot.with_version(version.clone());
            }
            builder = builder.autopilot(autopilot);
        }
        builder = (self.service_options)(builder);
        builder.authorizer = builder
            .authorizer
            .map(|authorizer| -> Arc<dyn AclAuthorizer> { Arc::new(Gated { authorizer, gate }) });
        match builder.build() {
            Ok(service) => service,
            Err(error) => panic!("the service of a server cannot be built: {error}"),
        }
    }
}

/// The service has tokio's by default.
#[cfg(feature = "tokio")]
fn with_clock(builder: OperatorServiceBuilder) -> OperatorServiceBuilder {
    builder
}

#[cfg(not(feature = "tokio"))]
fn with_clock(builder: OperatorServiceBuilder) -> OperatorServiceBuilder {
    builder.timer(super::standstill::Standstill)
}

/// The name of a server in the WAN pool.
fn wan_node(server: &NodeName, datacenter: &DatacenterName) -> NodeName {
    format!("{server}.{datacenter}").into()
}

/// The node of this name in each of the pools that it is in.
fn node_of<'a>(
    rings: &'a [MockKeyring],
    node: &'a NodeName,
) -> impl Iterator<Item = MockKeyring> + 'a {
    let joined = rings.iter().filter(|ring| ring.nodes().contains(node));
    joined.map(|ring| ring.at(node.clone()))
}
