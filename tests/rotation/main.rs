//! Rotating the gossip key of a federation: with a fault at every step, with nodes that are
//! down, and the repair of those that were left behind.
#![cfg(all(feature = "mock", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod absent;
mod progress;
mod repair;
mod steps;

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::keyring::{GossipQuery, KeyChange, NodeFailure, NodeKeys, RingReport};
use cluster_operator::mock::{
    Fault as MockFault, Grant, MockAcl, MockFederation, MockKeyring, MockPeers, MockToken,
    NodeFault,
};
use cluster_operator::operation::{KeyringReply, KeyringScope, RingOutcome};
use cluster_operator::peers::Target;
use cluster_operator::rotation::{
    Absent, RingState, Rings, Rotation, RotationError, RotationEvent, RotationFault,
    RotationOptions, RotationStep, ServiceRings, Unverified, repair, rotate, rotate_with,
};
use cluster_operator::service::Caller;
use cluster_operator::{
    AllowAll, ErrorKind, GossipKey, KeyringBackend, OperatorError, OperatorService, Outcome, Pool,
    Timer, Token, TokioTimer,
};

fn key(byte: u8) -> GossipKey {
    GossipKey::from_bytes(&[byte; 32]).unwrap()
}

/// A ring of alice alone, who lists her keys in this way.
struct Listing(MockKeyring, fn(Vec<GossipKey>) -> NodeKeys);

impl Listing {
    fn service(ring: &MockKeyring, list: fn(Vec<GossipKey>) -> NodeKeys) -> OperatorService {
        OperatorService::builder("dc1")
            .keyring(Listing(ring.clone(), list))
            .authorizer(AllowAll)
            .build()
            .unwrap()
    }
}

#[async_trait]
impl KeyringBackend for Listing {
    fn pool(&self) -> &Pool {
        self.0.pool()
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        let keys = self.0.keys("alice");
        query.answers.asking(["alice".into()]);
        query.answers.answered(&"alice".into(), Ok((self.1)(keys)));
        Ok(())
    }

    async fn change(&self, change: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        self.0.change(change, query).await
    }
}

/// How a call to a ring fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The pool cannot be asked.
    Unasked,
    /// It is executed, and the answer is lost.
    Lost,
    /// It is never answered.
    Hanging,
    /// The last node does not answer, and the call does not end.
    OneLate,
    /// The first node refuses, the others do it.
    OneRefuses,
    /// The last node does not answer.
    OneSilent,
    /// The last node leaves the pool, and the pool notices.
    OneLeaves,
}

const FAULTS: [Fault; 6] = [
    Fault::Unasked,
    Fault::Lost,
    Fault::Hanging,
    Fault::OneLate,
    Fault::OneRefuses,
    Fault::OneSilent,
];

/// The number of calls until one fails, and how.
#[derive(Clone, Default)]
struct Plan(Arc<Mutex<Option<(usize, Fault)>>>);

impl Plan {
    fn fail(&self, call: usize, fault: Fault) {
        *self.0.lock().unwrap() = Some((call, fault));
    }

    /// Removes the fault; tells whether it had not occurred.
    fn clear(&self) -> bool {
        self.0.lock().unwrap().take().is_some()
    }

    fn next(&self) -> Option<Fault> {
        let mut plan = self.0.lock().unwrap();
        match plan.take() {
            Some((0, fault)) => Some(fault),
            Some((calls, fault)) => {
                *plan = Some((calls - 1, fault));
                None
            }
            None => None,
        }
    }
}

/// A ring that fails as planned.
struct Faulty {
    ring: MockKeyring,
    plan: Plan,
}

impl Faulty {
    /// Asks the ring for a change or for its keys.
    async fn ask(
        &self,
        change: Option<&KeyChange>,
        query: &GossipQuery,
    ) -> Result<(), OperatorError> {
        let call = async {
            match change {
                Some(change) => self.ring.change(change, query).await,
                None => self.ring.list(query).await,
            }
        };
        let nodes = self.ring.nodes();
        let (first, last) = (nodes[0].clone(), nodes[nodes.len() - 1].clone());
        match self.plan.next() {
            None => call.await,
            Some(Fault::Unasked) => Err(OperatorError::backend("the pool is gone")),
            Some(Fault::Lost) => {
                call.await?;
                Err(OperatorError::backend("the answer is lost"))
            }
            Some(Fault::Hanging) => std::future::pending().await,
            Some(fault @ (Fault::OneSilent | Fault::OneLate)) => {
                self.ring.stop(last.clone());
                let done = call.await;
                self.ring.restart(last);
                match fault {
                    Fault::OneLate => std::future::pending().await,
                    _ => done,
                }
            }
            Some(Fault::OneRefuses) => {
                let before = self.ring.ring(first.clone());
                // It is recorded before the node's own answer.
                query.answers.asking([first.clone()]);
                let failure = NodeFailure::Other("not today".into());
                query.answers.answered(&first, Err(failure));
                let done = call.await;
                self.ring.set_ring(first, before);
                done
            }
            Some(Fault::OneLeaves) => {
                self.ring.stop(last.clone());
                self.ring.notice_failure(last);
                call.await
            }
        }
    }
}

#[async_trait]
impl KeyringBackend for Faulty {
    fn pool(&self) -> &Pool {
        self.ring.pool()
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        self.ask(None, query).await
    }

    async fn change(&self, change: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        self.ask(Some(change), query).await
    }
}

/// Two datacenters with three rings, all with the keys 1 (primary) and 2.
struct Federation {
    rings: Vec<MockKeyring>,
    plan: Plan,
    service: OperatorService,
}

fn federation() -> Federation {
    let plan = Plan::default();
    let ring = |pool, nodes: &[&str]| {
        let ring = MockKeyring::new(pool, key(1), nodes.iter().copied());
        for node in ring.nodes() {
            let mut keys = ring.ring(node.clone()).unwrap();
            keys.install(key(2));
            ring.set_ring(node, Some(keys));
        }
        ring
    };
    let rings = vec![
        ring(Pool::Wan, &["alice.dc1", "bob.dc1", "dave.dc2"]),
        ring(Pool::Lan, &["alice", "bob"]),
        ring(Pool::Lan, &["dave", "erin"]),
    ];
    let faulty = |ring: &MockKeyring| Faulty {
        ring: ring.clone(),
        plan: plan.clone(),
    };
    let dave = OperatorService::builder("dc2")
        .keyring(faulty(&rings[2]))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let peers = MockPeers::new().with_service(Target::Datacenter("dc2".into()), dave);
    let service = OperatorService::builder("dc1")
        .keyring(faulty(&rings[0]))
        .keyring(faulty(&rings[1]))
        .authorizer(AllowAll)
        .peers(peers)
        .build()
        .unwrap();
    Federation {
        rings,
        plan,
        service,
    }
}

impl Federation {
    /// Every node can read what every other one of its ring sends.
    fn assert_whole(&self, when: &str) {
        for ring in &self.rings {
            for sender in ring.nodes() {
                let primary = ring.ring(sender.clone()).unwrap().primary().clone();
                for reader in ring.nodes() {
                    let keys = ring.keys(reader.clone());
                    assert!(
                        keys.contains(&primary),
                        "{reader} cannot read {sender} {when}"
                    );
                }
            }
        }
    }

    fn assert_rotated_to(&self, key: &GossipKey) {
        for ring in &self.rings {
            for node in ring.nodes() {
                assert_eq!(ring.keys(node.clone()), std::slice::from_ref(key), "{node}");
            }
        }
    }
}

/// The first call of each step that changes something; a step calls three rings.
const CHANGES: [(usize, RotationStep); 3] = [
    (3, RotationStep::Install),
    (9, RotationStep::Use),
    (15, RotationStep::Remove),
];

/// What a rotation reported.
#[derive(Default)]
struct Seen {
    steps: Vec<RotationStep>,
    rings: Vec<RingState>,
    waits: usize,
}

impl Seen {
    fn see(&mut self, event: RotationEvent<'_>) {
        match event {
            RotationEvent::Step(step) => self.steps.push(step),
            RotationEvent::Ring(ring) => self.rings.push(ring.clone()),
            RotationEvent::Waiting { .. } => self.waits += 1,
            _ => {}
        }
    }
}
