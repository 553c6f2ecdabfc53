//! Simulated pools under the keyring suite.

use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::keyring::Keyring;
use cluster_operator::mock::{Fault, MockClock, MockFederation, MockKeyring, NodeFault};
use cluster_operator::{GossipKey, KeyringBackend, NodeName, Pool, Timer};
use cluster_operator_conformance::keyring::{KeyringFixture, Node, Rings};
use cluster_operator_conformance::{Fixture, NotSupported};

/// The number of keys that fit into an answer.
pub(crate) const SHOWN: usize = 20;

/// A pool whose answers take some time.
pub(crate) struct Gossip {
    clock: MockClock,
    federation: MockFederation,
    pub(crate) nodes: Vec<MockKeyring>,
}

impl Gossip {
    pub(crate) fn new(clock: &MockClock, wanted: Rings) -> Self {
        let rings = wanted.rings();
        let names: Vec<_> = (0..rings.len())
            .map(|number| format!("node-{number}"))
            .collect();
        let federation = MockFederation::builder()
            .datacenter("dc1", names.iter().map(String::as_str))
            .notices_failures(false)
            .clock(clock)
            .build();
        let nodes: Vec<_> = names
            .iter()
            .map(|name| federation.keyring(name.as_str(), &Pool::Lan))
            .collect();
        for ((name, node), keys) in names.iter().zip(&nodes).zip(&rings) {
            node.set_ring(name.as_str(), ring(keys));
        }
        for (name, number) in names.iter().zip(0..).skip(1) {
            let fault = match rings[number as usize].len() {
                held if held > SHOWN => NodeFault::ListsFirst(SHOWN),
                _ => NodeFault::Late(Duration::from_millis(20) * number),
            };
            federation.inject(Fault::node(name.as_str(), Pool::Lan, fault));
        }
        Gossip {
            clock: clock.clone(),
            federation,
            nodes,
        }
    }

    /// The nodes, each with the backend that `backend` makes of its keyring.
    pub(crate) fn nodes_with<B: KeyringBackend + 'static>(
        &self,
        backend: impl Fn(MockKeyring) -> B,
    ) -> Vec<Node> {
        let nodes = self.nodes.iter().cloned();
        nodes
            .map(|node| Node::new(node.node().clone(), backend(node)))
            .collect()
    }
}

/// A ring of these keys, the primary first.
pub(crate) fn ring(keys: &[GossipKey]) -> Option<Keyring> {
    let (primary, others) = keys.split_first()?;
    let mut ring = Keyring::new(primary.clone());
    for key in others {
        ring.install(key.clone());
    }
    Some(ring)
}

#[async_trait]
impl Fixture for Gossip {
    fn timer(&self) -> &dyn Timer {
        &self.clock
    }
}

#[async_trait]
impl KeyringFixture for Gossip {
    fn nodes(&self) -> Vec<Node> {
        self.nodes_with(|node| node)
    }

    async fn ring(&self, node: &NodeName) -> Result<Vec<GossipKey>, NotSupported> {
        Ok(self.nodes[0].keys(node.clone()))
    }

    async fn stop(&self, node: &NodeName) -> Result<(), NotSupported> {
        self.federation.stop(node.clone());
        Ok(())
    }

    async fn noticed(&self, node: &NodeName) -> Result<(), NotSupported> {
        self.nodes[0].notice_failure(node.clone());
        Ok(())
    }

    async fn slow_down(&self, node: &NodeName, by: Duration) -> Result<(), NotSupported> {
        let fault = Fault::node(node.clone(), Pool::Lan, NodeFault::Late(by));
        self.federation.inject(fault);
        Ok(())
    }
}

#[test]
fn mock_passes() {
    let clock = MockClock::new();
    let pool = async |wanted| Ok(Gossip::new(&clock, wanted));
    clock
        .run(cluster_operator_conformance::keyring_backend(pool))
        .assert_complete();
}
