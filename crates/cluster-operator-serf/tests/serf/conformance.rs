//! Pools under the keyring suite.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::{GossipKey, NodeName, Timer, TokioTimer};
use cluster_operator_conformance::keyring::{KeyringFixture, Node as Tried, Rings};
use cluster_operator_conformance::{Fixture, NotSupported};
use serf::types::{Member, MemberStatus, SmolStr};
use serf::{Options, SerfState};
use tokio::runtime::{Builder, Runtime};

use crate::pool::{Node, encrypted, join, keyring, node, patient, ring};

/// A node that runs on a thread of its own.
struct Run {
    name: NodeName,
    node: Node,
    runtime: Option<Runtime>,
}

impl Run {
    async fn start(name: &'static str, options: Options) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let starting = runtime.spawn(node(name, options));
        Run {
            name: name.into(),
            node: starting.await.unwrap(),
            runtime: Some(runtime),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Even if the node holds their keys.
const CANNOT_READ: &str = "a node of serf that gossips in clear text cannot read the others";

struct Gossip {
    nodes: Vec<Run>,
}

impl Gossip {
    async fn new(wanted: Rings) -> Result<Self, NotSupported> {
        let rings = wanted.rings();
        if rings.iter().any(Vec::is_empty) && !rings.iter().all(Vec::is_empty) {
            return Err(NotSupported::new(CANNOT_READ));
        }
        let mut nodes = Vec::new();
        for (name, ring) in ["a", "b", "c", "d", "e"].into_iter().zip(&rings) {
            nodes.push(Run::start(name, options(ring)).await);
        }
        let members: Vec<_> = nodes.iter().map(|run| run.node.clone()).collect();
        join(&members).await;
        Ok(Gossip { nodes })
    }

    fn run(&self, name: &NodeName) -> &Run {
        self.nodes.iter().find(|run| run.name == *name).unwrap()
    }
}

/// A node counts as dead after about 3 s, so that one that is a second late does not.
fn options(ring: &[GossipKey]) -> Options {
    let clear = patient()
        .with_probe_interval(Duration::from_millis(400))
        .with_probe_timeout(Duration::from_millis(300))
        .with_suspicion_mult(6);
    let memberlist = match ring {
        [] => clear,
        ring => encrypted(clear, ring),
    };
    Options::new().with_memberlist_options(memberlist)
}

#[async_trait]
impl Fixture for Gossip {
    fn timer(&self) -> &dyn Timer {
        &TokioTimer
    }

    async fn close(&self) {
        for run in &self.nodes {
            run.node.shutdown().await.unwrap();
        }
    }

    /// The timeout of a call is a twelfth of it.
    fn deadline(&self) -> Duration {
        Duration::from_secs(12)
    }
}

#[async_trait]
impl KeyringFixture for Gossip {
    fn nodes(&self) -> Vec<Tried> {
        let nodes = self.nodes.iter();
        nodes
            .map(|run| Tried::new(run.name.clone(), keyring(&run.node)))
            .collect()
    }

    async fn ring(&self, node: &NodeName) -> Result<Vec<GossipKey>, NotSupported> {
        Ok(ring(&self.run(node).node))
    }

    async fn stop(&self, node: &NodeName) -> Result<(), NotSupported> {
        self.run(node).node.shutdown().await.unwrap();
        Ok(())
    }

    async fn noticed(&self, node: &NodeName) -> Result<(), NotSupported> {
        let is_alive = |member: &Member<SmolStr, SocketAddr>| {
            *member.status() == MemberStatus::Alive && *node == *member.node().id().as_str()
        };
        let nodes = self.nodes.iter().map(|run| &run.node);
        let mut running: Vec<_> = nodes
            .filter(|node| node.state() == SerfState::Alive)
            .collect();
        while let Some(other) = running.last() {
            if other.members().await.iter().any(is_alive) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            } else {
                running.pop();
            }
        }
        Ok(())
    }

    /// Makes the node's only thread sleep again and again.
    async fn slow_down(&self, node: &NodeName, by: Duration) -> Result<(), NotSupported> {
        let runtime = self.run(node).runtime.as_ref().unwrap();
        runtime.spawn(async move {
            loop {
                std::thread::sleep(by);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Ok(())
    }
}

fn block_on<F: Future>(work: F) -> F::Output {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build();
    runtime.unwrap().block_on(work)
}

cluster_operator_conformance::keyring_tests! {
    factory = Gossip::new,
    block_on = block_on,
    skip = {
        node_without_encryption_fails_alone:
            "a node of serf that gossips in clear text cannot read the others",
    },
}
