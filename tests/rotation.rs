//! Rotating the gossip key of a federation, with a fault at every step.
#![cfg(all(feature = "mock", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

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

#[tokio::test]
async fn every_node_ends_with_the_new_key_only() {
    let federation = federation();
    let rotation = rotate(&federation.service, &Caller::anonymous(), key(3))
        .await
        .unwrap();
    assert_eq!(rotation.removed, 2);
    assert_eq!(rotation.rings.len(), 3);
    assert!(rotation.rings.iter().all(|ring| ring.old_keys.is_empty()));
    federation.assert_rotated_to(&key(3));
}

#[tokio::test]
async fn repeated_rotation_changes_nothing() {
    let federation = federation();
    let caller = Caller::anonymous();
    rotate(&federation.service, &caller, key(3)).await.unwrap();
    let again = rotate(&federation.service, &caller, key(3)).await.unwrap();
    assert_eq!(again.removed, 0);
    federation.assert_rotated_to(&key(3));
}

#[tokio::test]
async fn installed_key_can_be_rotated_to() {
    let federation = federation();
    rotate(&federation.service, &Caller::anonymous(), key(2))
        .await
        .unwrap();
    federation.assert_rotated_to(&key(2));
}

#[tokio::test(start_paused = true)]
async fn fault_at_any_step_leaves_rings_readable_and_resumable() {
    let caller = Caller::anonymous();
    for fault in FAULTS {
        let mut steps = Vec::new();
        for call in 0.. {
            let federation = federation();
            federation.plan.fail(call, fault);
            let result = rotate(&federation.service, &caller, key(3)).await;
            let when = format!("after call {call} met {fault:?}: {result:?}");
            if federation.plan.clear() {
                result.unwrap();
                break;
            }
            let error = result.expect_err(&when);
            steps.push(error.step);
            federation.assert_whole(&when);

            rotate(&federation.service, &caller, key(3))
                .await
                .expect(&when);
            federation.assert_rotated_to(&key(3));
        }
        steps.dedup();
        use RotationStep::*;
        let all = [
            Look,
            Install,
            VerifyInstall,
            Use,
            VerifyUse,
            Remove,
            VerifyRemove,
        ];
        assert_eq!(steps, all, "{fault:?} did not meet every step");
    }
}

#[tokio::test]
async fn error_names_the_ring_the_node_and_the_counts() {
    let federation = federation();
    federation.plan.fail(3, Fault::OneRefuses);
    let error = rotate(&federation.service, &Caller::anonymous(), key(3))
        .await
        .unwrap_err();
    assert_eq!(error.step, RotationStep::Install);
    assert_eq!(error.reason, RotationFault::Unconfirmed);
    let text = error.to_string();
    assert!(text.contains("dc1 (WAN)"), "{text}");
    assert!(text.contains("alice.dc1: not today"), "{text}");
    assert!(!text.contains(&*key(3).to_base64()), "{text}");
    assert!(error.source().is_none());
}

#[tokio::test]
async fn error_shows_every_ring_as_the_step_left_it() {
    // The first listing, the second ring of three.
    let federation = federation();
    federation.plan.fail(1, Fault::Unasked);
    let error = rotate(&federation.service, &Caller::anonymous(), key(3))
        .await
        .unwrap_err();
    let (one, two) = (key(1).fingerprint(), key(2).fingerprint());
    let held = |nodes: usize, ring: &str| {
        format!(
            "  {ring}: {nodes} of {nodes} nodes answered, 0 have the new key, 0 use it, \
             {nodes} have the old key {one}, {nodes} have the old key {two}"
        )
    };
    assert_eq!(
        error.to_string(),
        format!(
            "the rotation stopped at listing the rings: \
             not every node of every ring confirmed it\n\
             {}\n  dc1 (LAN): the pool is gone\n{}\n\
             repair what is wrong and run it again: it continues from here",
            held(3, "dc1 (WAN)"),
            held(2, "dc2 (LAN)")
        )
    );
}

/// The state of a ring when a rotation has ended early.
#[track_caller]
fn ring<'a>(error: &'a RotationError, datacenter: &str, pool: &Pool) -> &'a RingState {
    let mut rings = error.rings.iter();
    let found = rings.find(|ring| ring.datacenter == datacenter && ring.pool == *pool);
    found.unwrap_or_else(|| panic!("{datacenter} ({pool}) is missing: {error}"))
}

/// The first call of each step that changes something; a step calls three rings.
const CHANGES: [(usize, RotationStep); 3] = [
    (3, RotationStep::Install),
    (9, RotationStep::Use),
    (15, RotationStep::Remove),
];

#[tokio::test]
async fn refusal_of_one_node_is_an_error_with_the_reply() {
    let federation = federation();
    let caller = Caller::anonymous();
    federation.plan.fail(1, Fault::OneRefuses);
    let error = federation.service.install_key(&caller, key(3)).await;
    let error = error.unwrap_err();
    let failed = vec![("dc1".into(), Pool::Lan)];
    assert_eq!(error.kind(), &ErrorKind::RingsFailed { failed, rings: 3 });
    assert_eq!(error.outcome(), Outcome::Unknown);
    let reply: KeyringReply = error.into_reply().unwrap();
    let confirmed: Vec<_> = reply.rings.iter().map(|it| it.is_confirmed()).collect();
    assert_eq!(confirmed, [true, false, true]);
    let report = reply.rings[1].report.as_ref().unwrap();
    assert_eq!((report.nodes, report.responses, report.errors), (2, 2, 1));
    let alice = (&"alice".into(), &NodeFailure::Other("not today".into()));
    assert_eq!(report.failures().collect::<Vec<_>>(), [alice]);
}

#[tokio::test]
async fn ring_that_cannot_be_asked_has_not_changed() {
    let federation = federation();
    federation.plan.fail(1, Fault::Unasked);
    let caller = Caller::anonymous();
    let error = federation.service.install_key(&caller, key(3)).await;
    let reply = error.unwrap_err().into_reply().unwrap();
    let outcomes: Vec<_> = reply.rings.iter().map(|it| it.outcome()).collect();
    use Outcome::{Applied, NotApplied};
    assert_eq!(outcomes, [Applied, NotApplied, Applied]);
    assert_eq!(reply.rings[1].report, None);
    assert_eq!(federation.rings[1].keys("alice"), [key(1), key(2)]);
}

#[tokio::test]
async fn error_has_the_state_of_the_ring_that_refused() {
    for (call, step) in CHANGES {
        // The LAN of dc1 is the second ring of each step.
        let federation = federation();
        federation.plan.fail(call + 1, Fault::OneRefuses);
        let error = rotate(&federation.service, &Caller::anonymous(), key(3)).await;
        let error = error.unwrap_err();
        assert_eq!(error.step, step);
        assert_eq!(error.reason, RotationFault::Unconfirmed);
        assert_eq!(error.rings.len(), 3);
        let lan = ring(&error, "dc1", &Pool::Lan);
        assert_eq!((lan.nodes, lan.responses), (2, 2), "{error}");
        assert_eq!(lan.error, None);
        assert!(lan.to_string().ends_with("; alice: not today"), "{lan}");
        let wan = ring(&error, "dc1", &Pool::Wan);
        assert!(wan.messages.is_empty() && wan.silent.is_empty(), "{wan}");
        federation.assert_whole(&format!("after alice refused at {step}"));
    }
}

#[tokio::test(start_paused = true)]
async fn silent_nodes_are_named() {
    for (call, step) in CHANGES {
        for (fault, prefix) in [
            (Fault::OneSilent, ""),
            (
                Fault::OneLate,
                "no answer from the LAN pool within 5000 ms; ",
            ),
        ] {
            let federation = federation();
            federation.plan.fail(call + 1, fault);
            let error = rotate(&federation.service, &Caller::anonymous(), key(3)).await;
            let error = error.unwrap_err();
            assert_eq!(error.step, step);
            let lan = ring(&error, "dc1", &Pool::Lan);
            assert_eq!(lan.silent, ["bob"], "{error}");
            assert_eq!(lan.error.is_some(), fault == Fault::OneLate);
            assert_eq!(
                lan.to_string(),
                format!(
                    "dc1 (LAN): {prefix}1 of 2 nodes answered, 0 have the new key; bob is silent"
                )
            );
            federation.assert_whole(&format!("after bob met {fault:?} at {step}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn listing_that_some_rings_answered_stops_the_rotation() {
    let caller = Caller::anonymous();
    for fault in [Fault::Unasked, Fault::Hanging] {
        // Each ring in turn, in the first listing and in that after the change.
        for call in [0, 1, 2, 6, 7, 8] {
            let federation = federation();
            if call < 3 {
                federation.plan.fail(call, fault);
                let list = federation
                    .service
                    .list_keys(&caller, KeyringScope::Federation);
                let reply = list.await.unwrap();
                assert_eq!(reply.rings.iter().filter(|it| it.is_confirmed()).count(), 2);
            }
            federation.plan.fail(call, fault);
            let error = rotate(&federation.service, &caller, key(3))
                .await
                .unwrap_err();
            assert_eq!(error.reason, RotationFault::Unconfirmed, "{error}");
            let step = match call {
                0..3 => RotationStep::Look,
                _ => RotationStep::VerifyInstall,
            };
            assert_eq!(error.step, step);
            let unknown: Vec<_> = error.rings.iter().map(|it| it.error.is_some()).collect();
            let expected: Vec<_> = (0..3).map(|ring| ring == call % 3).collect();
            assert_eq!(unknown, expected, "{error}");
            for ring in &federation.rings {
                for node in ring.nodes() {
                    let keys = ring.keys(node);
                    assert_eq!(keys[0], key(1));
                    assert_eq!(keys.contains(&key(3)), call >= 3);
                }
            }
        }
    }
}

#[tokio::test]
async fn node_that_leaves_stops_the_rotation_until_it_is_repeated() {
    let federation = federation();
    let lan = federation.rings[1].clone();
    let caller = Caller::anonymous();
    // The second call to dc1's LAN is the one that installs.
    federation.plan.fail(4, Fault::OneLeaves);
    let rings = ServiceRings::new(&federation.service, &caller);
    let options = RotationOptions::default().absent(Absent::LeaveBehind);
    let error = rotate_with(&rings, &key(3), &options, |_| {}).await;
    let error = error.unwrap_err();
    assert_eq!(
        error.reason,
        RotationFault::NodeLost("dc1".into(), Pool::Lan)
    );
    assert_eq!(error.step, RotationStep::Install);
    federation.assert_whole("after bob left");

    // The second run has listed the ring without him.
    let rotation = rotate_with(&rings, &key(3), &options, |_| {}).await;
    assert_eq!(rotation.unwrap().left_behind().count(), 1);
    assert_eq!(lan.keys("alice"), [key(3)]);
    assert_eq!(lan.keys("bob"), [key(1), key(2)]);
}

#[tokio::test]
async fn node_that_gossip_has_given_up_is_left_behind_and_named() {
    let federation = federation();
    let lan = federation.rings[1].clone();
    lan.stop("bob");
    lan.notice_failure("bob");
    let caller = Caller::anonymous();
    let rings = ServiceRings::new(&federation.service, &caller);
    let options = RotationOptions::default().absent(Absent::LeaveBehind);
    let rotation = rotate_with(&rings, &key(3), &options, |_| {}).await;
    let rotation = rotation.unwrap();
    let left: Vec<_> = rotation.left_behind().collect();
    let [(ring, node)] = left[..] else {
        panic!("{left:?}");
    };
    assert_eq!((&ring.datacenter, &ring.pool), (&"dc1".into(), &Pool::Lan));
    assert_eq!(node, "bob");
    assert!(ring.to_string().contains("bob has failed"), "{ring}");
    assert_eq!(lan.keys("alice"), [key(3)]);
    assert_eq!(lan.keys("bob"), [key(1), key(2)]);
}

#[tokio::test]
async fn rotation_refuses_to_leave_a_node_behind() {
    let federation = federation();
    let caller = Caller::anonymous();
    let lan = federation.rings[1].clone();
    lan.stop("bob");
    lan.notice_failure("bob");
    let error = rotate(&federation.service, &caller, key(3)).await;
    let error = error.unwrap_err();
    let bob = RotationFault::NodeAbsent("dc1".into(), Pool::Lan, "bob".into());
    assert_eq!((&error.reason, error.step), (&bob, RotationStep::Look));
    assert!(error.to_string().contains("start it"), "{error}");
    // Nothing was changed.
    for ring in &federation.rings {
        assert_eq!(ring.keys(ring.nodes()[0].clone()), [key(1), key(2)]);
    }

    lan.restart("bob");
    let rotation = rotate(&federation.service, &caller, key(3)).await;
    assert_eq!(rotation.unwrap().left_behind().count(), 0);
    federation.assert_rotated_to(&key(3));
}

#[tokio::test]
async fn rotation_stops_once_a_node_is_given_up() {
    for (call, step) in CHANGES {
        let federation = federation();
        federation.plan.fail(call + 1, Fault::OneLeaves);
        let caller = Caller::anonymous();
        let error = rotate(&federation.service, &caller, key(3)).await;
        let error = error.unwrap_err();
        let bob = RotationFault::NodeAbsent("dc1".into(), Pool::Lan, "bob".into());
        assert_eq!((&error.reason, error.step), (&bob, step), "{error}");
        federation.assert_whole(&format!("after bob was given up at {step}"));
    }
}

#[tokio::test]
async fn caller_with_read_access_changes_nothing() {
    let ring = MockKeyring::new(Pool::Lan, key(1), ["alice"]);
    let acl = MockAcl::new(DefaultPolicy::Deny)
        .with_token(MockToken::new("viewer").with(Resource::Keyring, Grant::Read));
    let service = OperatorService::builder("dc1")
        .keyring(ring.clone())
        .authorizer(acl)
        .build()
        .unwrap();
    let error = rotate(&service, &Caller::with_token(Token::new("viewer")), key(3))
        .await
        .unwrap_err();
    assert_eq!(error.step, RotationStep::Install);
    let RotationFault::Refused(reason) = &error.reason else {
        panic!("{error}");
    };
    assert!(matches!(reason.kind(), ErrorKind::PermissionDenied { .. }));
    assert_eq!(error.source().unwrap().to_string(), reason.to_string());
    assert_eq!(ring.keys("alice"), [key(1)]);
}

#[tokio::test]
async fn truncated_listing_does_not_count_as_complete() {
    /// A ring whose nodes list one key each, whatever they hold.
    struct Cut(MockKeyring);

    #[async_trait]
    impl KeyringBackend for Cut {
        fn pool(&self) -> &Pool {
            self.0.pool()
        }

        async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
            let keys = self.0.keys("alice");
            let shown = NodeKeys::ring(keys[..1].iter().cloned()).truncated(keys.len());
            query.answers.asking(["alice".into()]);
            query.answers.answered(&"alice".into(), Ok(shown));
            Ok(())
        }

        async fn change(
            &self,
            change: &KeyChange,
            query: &GossipQuery,
        ) -> Result<(), OperatorError> {
            self.0.change(change, query).await
        }
    }

    let ring = MockKeyring::new(Pool::Lan, key(1), ["alice"]);
    let service = OperatorService::builder("dc1")
        .keyring(Cut(ring.clone()))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let error = rotate(&service, &Caller::anonymous(), key(3))
        .await
        .unwrap_err();
    assert_eq!(error.step, RotationStep::Look);
    let text = error.to_string();
    assert!(text.contains("; alice listed 1 of its 1 keys\n"), "{text}");
    assert_eq!(ring.keys("alice"), [key(1)]);
}

#[test]
fn every_step_has_its_own_text() {
    use RotationStep::*;
    let steps = [
        Look,
        Install,
        VerifyInstall,
        Use,
        VerifyUse,
        Remove,
        VerifyRemove,
    ];
    assert_eq!(
        steps.map(|step| step.to_string()),
        [
            "listing the rings",
            "installing the new key",
            "verifying that every node has the new key",
            "using the new key",
            "verifying that every node uses the new key",
            "removing the old keys",
            "verifying that the old keys are gone",
        ]
    );
}

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

#[tokio::test]
async fn progress_shows_each_step_and_each_change_of_a_ring() {
    let federation = federation();
    let rings = ServiceRings::new(&federation.service, &Caller::anonymous());
    let mut seen = Seen::default();
    let options = RotationOptions::default();
    rotate_with(&rings, &key(3), &options, |event| seen.see(event))
        .await
        .unwrap();
    let mut steps = seen.steps.clone();
    steps.dedup();
    assert_eq!(steps, RotationStep::ALL);
    // The LAN of dc2: as listed, with the new key, using it, with one old key less, and
    // with the new key alone.
    let dc2 = seen.rings.iter().filter(|ring| ring.datacenter == "dc2");
    let states: Vec<_> = dc2
        .map(|ring| (ring.with_new_key, ring.using_new_key, ring.old_keys.len()))
        .collect();
    let expected = [
        (0, Some(0), 2),
        (2, Some(0), 2),
        (2, Some(2), 2),
        (2, Some(2), 1),
        (2, Some(2), 0),
    ];
    assert_eq!(states, expected);
}

#[tokio::test(start_paused = true)]
async fn rotation_waits_for_a_node_that_comes_back() {
    let federation = federation();
    let lan = federation.rings[1].clone();
    lan.stop("bob");
    lan.notice_failure("bob");
    let rings = ServiceRings::new(&federation.service, &Caller::anonymous());
    let options = RotationOptions::default().absent(Absent::Wait(Duration::from_secs(60)));
    let mut seen = Seen::default();
    let new_key = key(3);
    let rotation = rotate_with(&rings, &new_key, &options, |event| {
        seen.see(event);
        if let RotationEvent::Waiting { error, left } = event {
            let bob = RotationFault::NodeAbsent("dc1".into(), Pool::Lan, "bob".into());
            assert_eq!(error.reason, bob);
            assert!(left <= Duration::from_secs(60));
            if seen.waits == 3 {
                lan.restart("bob");
            }
        }
    });
    let rotation = rotation.await.unwrap();
    assert_eq!(rotation.left_behind().count(), 0);
    assert_eq!(seen.waits, 3);
    federation.assert_rotated_to(&key(3));
}

#[tokio::test(start_paused = true)]
async fn rotation_ends_when_the_wait_is_over() {
    let federation = federation();
    let lan = federation.rings[1].clone();
    // It is a member that does not answer.
    lan.stop("bob");
    let rings = ServiceRings::new(&federation.service, &Caller::anonymous());
    let options = RotationOptions::default().absent(Absent::Wait(Duration::from_secs(20)));
    let began = tokio::time::Instant::now();
    let mut seen = Seen::default();
    let new_key = key(3);
    let result = rotate_with(&rings, &new_key, &options, |event| {
        seen.see(event);
        if seen.waits == 2 {
            // Gossip gives it up: the ring looks complete, with a node less.
            lan.notice_failure("bob");
        }
    });
    let error = result.await.unwrap_err();
    let bob = RotationFault::NodeAbsent("dc1".into(), Pool::Lan, "bob".into());
    assert_eq!((error.step, &error.reason), (RotationStep::Look, &bob));
    assert!(!error.is_past_return());
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(20), "{took:?}");
    assert!(took < Duration::from_secs(40), "{took:?}");
    assert_eq!(federation.rings[0].keys("alice.dc1"), [key(1), key(2)]);
}

#[tokio::test(start_paused = true)]
async fn refusal_of_the_caller_is_not_waited_for() {
    let ring = MockKeyring::new(Pool::Lan, key(1), ["alice"]);
    let acl = MockAcl::new(DefaultPolicy::Deny);
    let service = OperatorService::builder("dc1")
        .keyring(ring)
        .authorizer(acl)
        .build()
        .unwrap();
    let rings = ServiceRings::new(&service, &Caller::anonymous());
    let options = RotationOptions::default().absent(Absent::Wait(Duration::from_secs(60)));
    let mut seen = Seen::default();
    let result = rotate_with(&rings, &key(3), &options, |event| seen.see(event)).await;
    assert!(result.is_err());
    assert_eq!(seen.waits, 0);
}

#[tokio::test]
async fn expected_node_that_is_no_member_stops_the_rotation() {
    let federation = federation();
    let rings = ServiceRings::new(&federation.service, &Caller::anonymous());
    let lan =
        |nodes: &[&str]| RotationOptions::default().expect("dc1", Pool::Lan, nodes.iter().copied());
    let run = async |options: &RotationOptions| {
        let rotation = rotate_with(&rings, &key(3), options, |_| {}).await;
        rotation.map_err(|error| (error.step, error.reason))
    };
    let zoe = RotationFault::NodeAbsent("dc1".into(), Pool::Lan, "zoe".into());
    let error = run(&lan(&["alice", "bob", "zoe"])).await.unwrap_err();
    assert_eq!(error, (RotationStep::Look, zoe));
    let lost = RotationFault::RingLost("dc3".into(), Pool::Lan);
    let dc3 = lan(&["alice"]).expect("dc3", Pool::Lan, ["frank"]);
    let error = run(&dc3).await.unwrap_err();
    assert_eq!(error, (RotationStep::Look, lost));
    assert_eq!(federation.rings[1].keys("alice"), [key(1), key(2)]);
    run(&lan(&["alice", "bob"])).await.unwrap();
    let left = lan(&["alice", "bob", "zoe"]).absent(Absent::LeaveBehind);
    let rotation = run(&left).await.unwrap();
    let left: Vec<_> = rotation
        .left_behind()
        .map(|(_, node)| node.as_str())
        .collect();
    assert_eq!(left, ["zoe"]);
}

#[tokio::test]
async fn use_of_the_new_key_is_the_point_of_no_return() {
    for (call, past) in [
        (0, false),
        (4, false),
        (7, false),
        (10, true),
        (13, true),
        (16, true),
    ] {
        let federation = federation();
        federation.plan.fail(call, Fault::OneRefuses);
        let error = rotate(&federation.service, &Caller::anonymous(), key(3)).await;
        let error = error.unwrap_err();
        assert_eq!(error.is_past_return(), past, "{error}");
        let says = error.to_string().contains("cannot rejoin");
        assert_eq!(says, past, "{error}");
    }
    // The next run sees that the key is in use.
    let federation = federation();
    federation.plan.fail(16, Fault::OneRefuses);
    let caller = Caller::anonymous();
    rotate(&federation.service, &caller, key(3))
        .await
        .unwrap_err();
    federation.plan.fail(1, Fault::OneRefuses);
    let error = rotate(&federation.service, &caller, key(3))
        .await
        .unwrap_err();
    assert_eq!(error.step, RotationStep::Look);
    assert!(error.is_past_return(), "{error}");
}

#[tokio::test]
async fn ring_without_primary_keys_is_named_as_unverified() {
    /// A ring that does not show which key its nodes use.
    struct Old(MockKeyring);

    #[async_trait]
    impl KeyringBackend for Old {
        fn pool(&self) -> &Pool {
            self.0.pool()
        }

        async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
            let keys = self.0.keys("alice");
            query.answers.asking(["alice".into()]);
            let listed = NodeKeys::without_primary(keys);
            query.answers.answered(&"alice".into(), Ok(listed));
            Ok(())
        }

        async fn change(
            &self,
            change: &KeyChange,
            query: &GossipQuery,
        ) -> Result<(), OperatorError> {
            self.0.change(change, query).await
        }
    }

    let ring = MockKeyring::new(Pool::Lan, key(1), ["alice"]);
    let service = OperatorService::builder("dc1")
        .keyring(Old(ring.clone()))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let rotation = rotate(&service, &Caller::anonymous(), key(3)).await;
    let rotation: Rotation = rotation.unwrap();
    let unverified = [Unverified::Primary("dc1".into(), Pool::Lan)];
    assert_eq!(rotation.unverified, unverified);
    assert_eq!(ring.keys("alice"), [key(3)]);
}

/// Alice and bob in dc1, dave in dc2; bob has missed a rotation to key 3.
async fn left_behind() -> MockFederation {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob"])
        .datacenter("dc2", ["dave"])
        .gossip_key(key(1))
        .build();
    federation.stop("bob");
    let options = RotationOptions::default().absent(Absent::LeaveBehind);
    let alice = rings_at(&federation, "alice");
    let rotation = rotate_with(&alice, &key(3), &options, |_| {}).await;
    assert_eq!(rotation.unwrap().left_behind().count(), 2);
    federation.restart("bob");
    federation
}

fn rings_at(federation: &MockFederation, server: &str) -> ServiceRings {
    ServiceRings::new(&federation.service(server), &Caller::anonymous())
}

#[tokio::test]
async fn node_left_behind_is_repaired_at_its_own_address() {
    let federation = left_behind().await;
    let (alice, bob) = (rings_at(&federation, "alice"), rings_at(&federation, "bob"));
    let whole = async || {
        let caller = Caller::anonymous();
        let scope = KeyringScope::Federation;
        let listed = federation.service("alice").list_keys(&caller, scope).await;
        listed.unwrap().rings.iter().all(|ring| ring.is_confirmed())
    };
    assert!(!whole().await);
    let mut seen = Seen::default();
    let repaired = repair(&bob, &alice, |event| seen.see(event)).await;
    let repaired = repaired.unwrap();
    assert!(repaired.changed);
    assert_eq!(repaired.fingerprint, key(3).fingerprint());
    // Only its own datacenter counts.
    assert_eq!(repaired.rings.len(), 2);
    for pool in [Pool::Wan, Pool::Lan] {
        assert_eq!(federation.keys("bob", &pool), [key(3)]);
    }
    assert!(whole().await);
    seen.steps.dedup();
    assert_eq!(seen.steps, RotationStep::ALL);

    let again = repair(&bob, &alice, |_| {}).await.unwrap();
    assert!(!again.changed);
}

#[tokio::test]
async fn repair_installs_before_it_uses_and_can_be_repeated() {
    let federation = left_behind().await;
    let (alice, bob) = (rings_at(&federation, "alice"), rings_at(&federation, "bob"));
    let refuses = MockFault::node("bob", Pool::Lan, NodeFault::Refuses);
    let fault = federation.inject(refuses);
    let error = repair(&bob, &alice, |_| {}).await.unwrap_err();
    assert_eq!(error.step, RotationStep::VerifyInstall, "{error}");
    assert_eq!(federation.keys("bob", &Pool::Lan), [key(1)]);
    // The other ring has the new key and still uses the old one.
    assert_eq!(federation.keys("bob", &Pool::Wan), [key(1), key(3)]);
    federation.heal(fault);
    repair(&bob, &alice, |_| {}).await.unwrap();
    assert_eq!(federation.keys("bob", &Pool::Lan), [key(3)]);
}

#[tokio::test]
async fn repair_refuses_a_key_that_is_not_clear() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .gossip_key(key(1))
        .build();
    let ring = federation.keyring("carol", &Pool::Lan);
    let mut keys = ring.ring("carol").unwrap();
    keys.install(key(2));
    keys.use_key(&key(2)).unwrap();
    ring.set_ring("carol", Some(keys));
    let ring = federation.keyring("alice", &Pool::Lan);
    let mut keys = ring.ring("alice").unwrap();
    keys.install(key(2));
    ring.set_ring("alice", Some(keys));

    let (alice, bob) = (rings_at(&federation, "alice"), rings_at(&federation, "bob"));
    let error = repair(&bob, &alice, |_| {}).await.unwrap_err();
    assert_eq!(error.reason, RotationFault::KeyUnclear);
    assert_eq!(error.step, RotationStep::Look);
    assert_eq!(federation.keys("bob", &Pool::Lan), [key(1)]);
}

#[tokio::test]
async fn neither_progress_nor_error_contains_a_key() {
    let federation = federation();
    federation.plan.fail(13, Fault::OneRefuses);
    let rings = ServiceRings::new(&federation.service, &Caller::anonymous());
    let mut text = String::new();
    let options = RotationOptions::default();
    let error = rotate_with(&rings, &key(3), &options, |event| {
        text += &format!("{event:?} {event:#?}");
        if let RotationEvent::Ring(ring) = event {
            text += &ring.to_string();
        }
    })
    .await
    .unwrap_err();
    text += &format!("{error} {error:?} {error:#?}");
    assert!(text.contains(&key(1).fingerprint()));
    for byte in 1..=3 {
        let key = key(byte);
        let bytes = format!("{:?}", &key.as_bytes()[..4]);
        for part in [&key.to_base64()[..8], bytes.trim_matches(['[', ']'])] {
            assert!(!text.contains(part), "{part}");
        }
    }
}

#[tokio::test]
async fn repair_learns_the_key_from_another_datacenter_too() {
    let federation = left_behind().await;
    // A server of dc2 asks alice or bob for the LAN of dc1, who may be the one that was
    // left behind.
    federation.stop("alice");
    let (dave, bob) = (rings_at(&federation, "dave"), rings_at(&federation, "bob"));
    let repaired = repair(&bob, &dave, |_| {}).await.unwrap();
    assert_eq!(repaired.fingerprint, key(3).fingerprint());
    assert_eq!(federation.keys("bob", &Pool::Lan), [key(3)]);
}

/// Rings of one pool that list what the test says, and whose changes are confirmed
/// without the rings, as over HTTP.
struct Scripted {
    /// The listings; the last one is repeated.
    lists: Mutex<Vec<Result<KeyringReply, OperatorError>>>,
    changes: Mutex<Vec<&'static str>>,
}

impl Scripted {
    fn new(lists: impl IntoIterator<Item = Result<KeyringReply, OperatorError>>) -> Self {
        Scripted {
            lists: Mutex::new(lists.into_iter().collect()),
            changes: Mutex::default(),
        }
    }
}

#[async_trait]
impl Rings for Scripted {
    async fn list(&self) -> Result<KeyringReply, OperatorError> {
        let mut lists = self.lists.lock().unwrap();
        if lists.len() > 1 {
            lists.remove(0)
        } else {
            lists[0].clone()
        }
    }

    async fn change(&self, change: &KeyChange) -> Result<KeyringReply, OperatorError> {
        self.changes.lock().unwrap().push(match change {
            KeyChange::Install(_) => "install",
            KeyChange::Use(_) => "use",
            KeyChange::Remove(_) => "remove",
        });
        Ok(KeyringReply::default())
    }

    fn timer(&self) -> &dyn Timer {
        &TokioTimer
    }
}

/// A ring of so many nodes, each with these keys, the primary first.
fn listed(nodes: usize, keys: &[u8]) -> Result<KeyringReply, OperatorError> {
    let mut report = RingReport::new(nodes);
    let keys: Vec<_> = keys.iter().copied().map(key).collect();
    for _ in 0..nodes {
        report.holds(&keys);
    }
    let rings = vec![RingOutcome::new("dc1", Pool::Lan, report)];
    Ok(KeyringReply { rings })
}

#[tokio::test(start_paused = true)]
async fn node_that_is_given_up_during_a_wait_is_missed() {
    let rings = Scripted::new([
        listed(3, &[1]),
        // The listing of Consul fails until gossip has given the node up.
        Err(OperatorError::backend("2/3 nodes reported success")),
        listed(2, &[1, 3]),
    ]);
    let options = RotationOptions::default().absent(Absent::Wait(Duration::from_secs(60)));
    let error = rotate_with(&rings, &key(3), &options, |_| {}).await;
    let error = error.unwrap_err();
    let lost = RotationFault::NodeLost("dc1".into(), Pool::Lan);
    assert_eq!((error.step, error.reason), (RotationStep::Look, lost));
    assert_eq!(*rings.changes.lock().unwrap(), ["install"]);
}

#[tokio::test]
async fn rings_are_listed_before_each_old_key_is_removed() {
    let rings = Scripted::new([
        listed(3, &[1, 2]),
        listed(3, &[1, 2, 3]),
        listed(3, &[3, 1, 2]),
        listed(2, &[3, 2]),
    ]);
    let options = RotationOptions::default();
    let error = rotate_with(&rings, &key(3), &options, |_| {}).await;
    let error = error.unwrap_err();
    let lost = RotationFault::NodeLost("dc1".into(), Pool::Lan);
    assert_eq!((error.step, &error.reason), (RotationStep::Remove, &lost));
    assert!(error.is_past_return());
    assert_eq!(*rings.changes.lock().unwrap(), ["install", "use", "remove"]);
}
