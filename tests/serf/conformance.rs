//! Real pools under the keyring suite.

use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::conformance::keyring::{KeyringFixture, Node as Member, Rings};
use cluster_operator::conformance::{self, Fixture, NotSupported};
use cluster_operator::{GossipKey, NodeName, Timer, TokioTimer};

use crate::pool::{Node, encrypted, keyring, living, options, patient, ring, start};

struct Serfs {
    nodes: Vec<Node>,
}

impl Serfs {
    async fn new(wanted: Rings) -> Result<Self, NotSupported> {
        let rings = wanted.rings();
        let clear = rings.iter().filter(|ring| ring.is_empty()).count();
        if clear > 0 && clear < rings.len() {
            let reason = "a node in clear text cannot join nodes that encrypt";
            return Err(NotSupported::new(reason));
        }
        // Finds a dead node within seconds, and sends a question as often as on a
        // real network: less often, and of four nodes not all hear it.
        let memberlist = || {
            patient()
                .with_probe_interval(Duration::from_millis(500))
                .with_probe_timeout(Duration::from_millis(400))
                .with_retransmit_mult(4)
        };
        let all = rings.iter().map(|ring| match ring.len() {
            0 => options(memberlist()),
            _ => options(encrypted(memberlist(), ring)),
        });
        Ok(Serfs {
            nodes: start(all).await,
        })
    }

    fn node(&self, name: &NodeName) -> &Node {
        let mut nodes = self.nodes.iter();
        let named = nodes.find(|node| node.local_id().as_str() == name.as_str());
        named.unwrap()
    }
}

#[async_trait]
impl Fixture for Serfs {
    fn timer(&self) -> &dyn Timer {
        &TokioTimer
    }

    async fn close(&self) {
        for node in &self.nodes {
            node.shutdown().await.unwrap();
        }
    }
}

#[async_trait]
impl KeyringFixture for Serfs {
    fn nodes(&self) -> Vec<Member> {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| Member::new(node.local_id().as_str(), keyring(node)))
            .collect()
    }

    async fn ring(&self, node: &NodeName) -> Result<Vec<GossipKey>, NotSupported> {
        Ok(ring(self.node(node)))
    }

    async fn stop(&self, node: &NodeName) -> Result<(), NotSupported> {
        self.node(node).shutdown().await.unwrap();
        Ok(())
    }

    async fn noticed(&self, node: &NodeName) -> Result<(), NotSupported> {
        let stopped = self.node(node).local_id();
        let others = self.nodes.iter().filter(|node| node.local_id() != stopped);
        for other in others {
            while living(other).await == self.nodes.len() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }
}

conformance::keyring_tests! {
    factory = Serfs::new,
    block_on = block_on,
    skip = {
        a_node_without_encryption_fails_alone: "a node in clear text cannot join nodes that encrypt",
        a_late_node_is_counted_or_silent: "a node cannot be slowed down",
    },
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
