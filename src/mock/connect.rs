//! How the servers of a simulated federation are created and connected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;

use super::autopilot::MockAutopilot;
use super::builder::MockFederationBuilder;
use super::clock::{Gate, MockClock};
use super::fault::ActiveFaults;
use super::keyring::MockKeyring;
use super::network::{Link, Network, Server};
use super::raft::MockRaft;
use super::transcript::Recorder;
use crate::acl::{Access, AclAuthorizer, AclError, DefaultPolicy, Identity, Resource, Token};
use crate::keyring::{KeyringBackend, Pool};
use crate::raft::{RaftServer, Suffrage};
use crate::service::OperatorService;
use crate::types::{DatacenterName, NodeName};

/// A gossip pool: its keyring, and its members with the names of their nodes.
type Members<'a> = (MockKeyring, Vec<(&'a NodeName, NodeName)>);

impl MockFederationBuilder {
    /// Panics if the settings are inconsistent.
    pub(super) fn check(&self) {
        let mut names = BTreeSet::new();
        let mut datacenters = BTreeMap::new();
        for (datacenter, servers) in &self.datacenters {
            assert!(
                !servers.is_empty(),
                "the datacenter {datacenter:?} has no servers"
            );
            for name in servers {
                assert!(names.insert(name), "two servers are called {name:?}");
            }
            assert!(
                datacenters.insert(datacenter, servers).is_none(),
                "two datacenters are called {datacenter:?}"
            );
        }
        let mut joined = BTreeSet::new();
        for name in self.wan_pools.iter().flatten().flatten() {
            assert!(joined.insert(name), "{name:?} is in two WAN pools");
        }
        let mentioned = joined.into_iter().chain(&self.order);
        for name in mentioned.chain(&self.leaders).chain(&self.nonvoters) {
            assert!(
                names.contains(name),
                "the federation has no server {name:?}"
            );
        }
        let segments = self.segments.iter().map(|(datacenter, ..)| datacenter);
        for datacenter in segments.chain(self.authorizers.keys()) {
            assert!(
                datacenters.contains_key(datacenter),
                "the federation has no datacenter {datacenter:?}"
            );
        }
        for (datacenter, segment, nodes) in &self.segments {
            for node in nodes {
                assert!(
                    datacenters[datacenter].contains(node),
                    "{node:?} cannot be in {segment:?} of {datacenter:?}"
                );
            }
        }
    }

    pub(super) fn connect(self) -> Arc<Network> {
        let recorder = Recorder::new(self.clock.clone().unwrap_or_default());
        Arc::new_cyclic(|network| Network {
            servers: self.servers(network, &recorder),
            faults: Mutex::new(ActiveFaults::new(self.seed)),
            recorder,
            simulates_time: self.clock.is_some(),
        })
    }

    fn servers(&self, network: &Weak<Network>, recorder: &Recorder) -> Vec<Arc<Server>> {
        let pools = self.pools(recorder);
        let mut servers = Vec::new();
        for (datacenter, members) in &self.datacenters {
            let rafts = self.rafts(members, servers.len());
            for (name, raft) in std::iter::zip(members, rafts) {
                let gate = Gate::default();
                let raft = raft.behind(&gate, &recorder.clock);
                let rings = pools.iter().filter_map(|(ring, members)| {
                    let (_, node) = members.iter().find(|(member, _)| *member == name)?;
                    Some(ring.at(node.clone()).behind(&gate))
                });
                let rings: Vec<_> = rings.collect();
                let link = Link {
                    network: Weak::clone(network),
                    from: name.clone(),
                    datacenters: self.known_datacenters(name, datacenter, &pools),
                };
                servers.push(Arc::new(Server {
                    name: name.clone(),
                    datacenter: datacenter.clone(),
                    service: self.service(datacenter, link, &raft, &rings, &recorder.clock, &gate),
                    raft,
                    rings,
                    received: 0.into(),
                    gate,
                    stopped: false.into(),
                }));
            }
        }
        servers
    }

    fn service(
        &self,
        datacenter: &DatacenterName,
        link: Link,
        raft: &MockRaft,
        rings: &[MockKeyring],
        clock: &MockClock,
        gate: &Gate,
    ) -> OperatorService {
        let authorizer = self.authorizers.get(datacenter).unwrap_or(&self.authorizer);
        let mut builder = OperatorService::builder(datacenter.clone())
            .raft(raft.clone())
            .peers(link)
            .authorizer(Arc::clone(authorizer));
        for ring in rings {
            builder = builder.keyring(ring.clone());
        }
        // Without tokio nothing else can measure time: it stands still.
        if self.clock.is_some() || cfg!(not(feature = "tokio")) {
            builder = builder.timer(clock.clone());
        }
        if self.autopilot {
            let mut autopilot = MockAutopilot::new(raft);
            if let Some(version) = &self.version {
                autopilot.version.clone_from(version);
            }
            if let Some(meta) = &self.meta {
                autopilot.meta.clone_from(meta);
            }
            builder = builder.autopilot(autopilot);
        }
        builder = (self.service_options)(builder);
        builder.authorizer = builder.authorizer.map(|authorizer| {
            let gate = gate.clone();
            Arc::new(Gated { authorizer, gate }) as Arc<dyn AclAuthorizer>
        });
        match builder.build() {
            Ok(service) => service,
            Err(error) => panic!("the service of a server cannot be built: {error}"),
        }
    }

    /// The datacenters of the servers in a server's WAN pool, its own first.
    fn known_datacenters(
        &self,
        server: &NodeName,
        own: &DatacenterName,
        pools: &[Members<'_>],
    ) -> Vec<DatacenterName> {
        let is_joined = |other| {
            pools.iter().any(|(ring, members)| {
                let has = |name| members.iter().any(|(member, _)| *member == name);
                *ring.pool() == Pool::Wan && has(server) && has(other)
            })
        };
        let others = self.datacenters.iter();
        let others = others.filter(|(name, members)| name != own && members.iter().any(is_joined));
        let others = others.map(|(name, _)| name.clone());
        std::iter::once(own.clone()).chain(others).collect()
    }

    /// The Rafts of a datacenter's servers, in the same order. `before` servers were
    /// built before.
    fn rafts(&self, members: &[NodeName], before: usize) -> Vec<MockRaft> {
        let mut ids = Vec::new();
        let mut servers = Vec::new();
        for (at, name) in members.iter().enumerate() {
            let server = self.raft_server(name, (before + at + 1) as u32);
            assert!(
                !ids.contains(&server.id),
                "{name:?} has the id of another server of its datacenter"
            );
            assert!(
                server.is_voter() || !server.leader,
                "{name:?} does not vote and cannot lead"
            );
            ids.push(server.id.clone());
            let place = self.order.iter().position(|ordered| ordered == name);
            servers.push((place.unwrap_or(self.order.len()), server));
        }
        servers.sort_by_key(|(place, _)| *place);
        let servers = servers.into_iter().map(|(_, server)| server);
        let raft = MockRaft::new(servers);
        raft.cluster(|cluster| {
            cluster.start_at(self.raft_index);
            if let Some(clock) = &self.clock {
                cluster.measure(clock);
            }
        });
        ids.into_iter().map(|id| raft.at(id)).collect()
    }

    /// A server as Raft knows it, with its number in the federation.
    fn raft_server(&self, name: &NodeName, number: u32) -> RaftServer {
        let id = format!("{number:08x}-0000-4000-8000-{number:012x}");
        let [_, second, third, fourth] = number.to_be_bytes();
        let address = format!("127.{second}.{third}.{fourth}:8300");
        let mut server = RaftServer::voter(id, address)
            .with_name(name.clone())
            .with_protocol_version("3")
            .with_alive(true)
            .with_leader(self.leaders.contains(name));
        if self.nonvoters.contains(name) {
            server.suffrage = Suffrage::Nonvoter;
        }
        (self.raft_servers)(&mut server);
        server
    }

    /// The gossip pools: over the WAN, in each datacenter, and in its segments.
    fn pools(&self, recorder: &Recorder) -> Vec<Members<'_>> {
        let mut pools = Vec::new();
        let mut add = |pool, members: Vec<_>| {
            if members.is_empty() {
                return;
            }
            let nodes = members.iter().map(|(_, node): &(_, NodeName)| node.clone());
            let ring = MockKeyring::with_ring(pool, self.ring.clone(), nodes);
            ring.set_notices_failures(self.notices_failures);
            ring.record(recorder.clone());
            pools.push((ring, members));
        };
        let mut everyone = Vec::new();
        for (datacenter, names) in &self.datacenters {
            let wan_node = |name| NodeName::from(format!("{name}.{datacenter}"));
            everyone.extend(names.iter().map(|name| (name, wan_node(name))));
        }
        match &self.wan_pools {
            None => add(Pool::Wan, everyone),
            Some(wan_pools) => {
                for pool in wan_pools {
                    let mut members = everyone.clone();
                    members.retain(|(name, _)| pool.contains(name));
                    add(Pool::Wan, members);
                }
            }
        }
        for (datacenter, names) in &self.datacenters {
            add(Pool::Lan, by_name(names));
            for (of, segment, names) in &self.segments {
                if of == datacenter {
                    add(Pool::Segment(segment.clone()), by_name(names));
                }
            }
        }
        pools
    }
}

/// Members whose nodes have the names of the servers.
fn by_name(servers: &[NodeName]) -> Vec<(&NodeName, NodeName)> {
    servers.iter().map(|name| (name, name.clone())).collect()
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
