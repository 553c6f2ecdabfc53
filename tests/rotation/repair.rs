//! The repair of a node that was left behind.

use super::absent::Scripted;
use super::*;

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

/// Gives every node of the others' rings another key, as an installation does.
fn install_at_others(federation: &MockFederation, new_key: &GossipKey) {
    for (server, pool, node) in [
        ("alice", Pool::Wan, "alice.dc1"),
        ("alice", Pool::Lan, "alice"),
        ("dave", Pool::Wan, "dave.dc2"),
        ("dave", Pool::Lan, "dave"),
    ] {
        let ring = federation.keyring(server, &pool);
        let mut keys = ring.ring(node).unwrap();
        keys.install(new_key.clone());
        ring.set_ring(node, Some(keys));
    }
}

#[tokio::test]
async fn repair_refuses_while_a_rotation_is_half_done() {
    let federation = left_behind().await;
    install_at_others(&federation, &key(4));
    let (alice, bob) = (rings_at(&federation, "alice"), rings_at(&federation, "bob"));
    let error = repair(&bob, &alice, |_| {}).await.unwrap_err();
    assert_eq!(error.reason, RotationFault::KeyUnclear, "{error}");
    for (server, keys) in [("bob", vec![key(1)]), ("alice", vec![key(3), key(4)])] {
        assert_eq!(federation.keys(server, &Pool::Lan), keys, "{server}");
    }
}

#[tokio::test]
async fn repair_keeps_the_key_of_a_rotation_that_begins_meanwhile() {
    let federation = left_behind().await;
    let (alice, bob) = (rings_at(&federation, "alice"), rings_at(&federation, "bob"));
    let repaired = repair(&bob, &alice, |event| {
        if let RotationEvent::Step(RotationStep::Use) = event {
            install_at_others(&federation, &key(4));
        }
    });
    let error = repaired.await.unwrap_err();
    assert_eq!(error.step, RotationStep::VerifyRemove, "{error}");
    for pool in [Pool::Wan, Pool::Lan] {
        assert_eq!(federation.keys("bob", &pool), [key(3)]);
        assert_eq!(federation.keys("alice", &pool), [key(3), key(4)]);
    }
}

#[tokio::test]
async fn repair_that_ended_before_the_removal_continues() {
    let federation = left_behind().await;
    for (pool, node) in [(Pool::Wan, "bob.dc1"), (Pool::Lan, "bob")] {
        let ring = federation.keyring("bob", &pool);
        let mut keys = ring.ring(node).unwrap();
        keys.install(key(3));
        keys.use_key(&key(3)).unwrap();
        ring.set_ring(node, Some(keys));
    }
    // The others understand it again, and list its old key.
    let (alice, bob) = (rings_at(&federation, "alice"), rings_at(&federation, "bob"));
    assert!(repair(&bob, &alice, |_| {}).await.unwrap().changed);
    assert_eq!(federation.keys("bob", &Pool::Lan), [key(3)]);
}

#[tokio::test]
async fn repair_learns_no_key_from_rings_that_failed() {
    let federation = left_behind().await;
    let failed = RingOutcome::failed("dc1", Pool::Lan, OperatorError::backend("no memberlist"));
    let failed = Ok(KeyringReply {
        rings: vec![failed],
    });
    let (others, bob) = (Scripted::new([failed]), rings_at(&federation, "bob"));
    let error = repair(&bob, &others, |_| {}).await.unwrap_err();
    assert_eq!(error.reason, RotationFault::Unconfirmed);
    let text = error.to_string();
    assert!(text.starts_with("stopped at listing the rings: "), "{text}");
    assert!(text.contains("no memberlist"), "{text}");
    assert!(!text.contains("rotation"), "{text}");
}
