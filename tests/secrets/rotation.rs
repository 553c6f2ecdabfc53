//! A rotation, a repair and a diagnosis show no key, whatever fails.

use std::fmt::Debug;

use cluster_operator::mock::{Fault, MockClock, MockFederation, NodeFault};
use cluster_operator::rotation::{
    Absent, RotationEvent, RotationOptions, ServiceRings, repair, rotate_with,
};
use cluster_operator::service::Caller;
use cluster_operator::{GossipKey, Pool};

use super::search::{assert_no_secret, key, token};

fn show(text: &mut String, value: &impl Debug) {
    *text += &format!("{value:?}\n{value:#?}\n");
}

/// Adds everything that a rotation reports.
fn report(text: &mut String, event: RotationEvent<'_>) {
    show(text, &event);
    match event {
        RotationEvent::Step(step) => *text += &step.to_string(),
        RotationEvent::Ring(ring) => *text += &ring.to_string(),
        RotationEvent::Waiting { error, .. } => *text += &error.to_string(),
        _ => {}
    }
}

#[test]
fn rotation_repair_and_diagnosis_show_no_key() {
    let new_key = GossipKey::from_bytes(&[7; 32]).unwrap();
    // The secret key is the old one, and then the new one.
    for (old, new) in [(key(), new_key.clone()), (new_key, key())] {
        for fault in [
            None,
            Some(NodeFault::Refuses),
            Some(NodeFault::Lies),
            Some(NodeFault::ListsOther(key())),
            Some(NodeFault::ListsFirst(1)),
        ] {
            let clock = MockClock::new();
            let federation = MockFederation::builder()
                .datacenter("dc1", ["alice", "bob", "carol"])
                .datacenter("dc2", ["dave"])
                .gossip_key(old.clone())
                .clock(&clock)
                .build();
            let rings = |server: &str| {
                let caller = Caller::with_token(token());
                ServiceRings::new(&federation.service(server), &caller)
            };
            federation.stop("carol");
            if let Some(fault) = fault {
                federation.inject(Fault::node("bob", Pool::Lan, fault));
            }
            let (alice, carol) = (rings("alice"), rings("carol"));
            let mut text = String::new();
            show(&mut text, &alice);
            let options = RotationOptions::default().absent(Absent::LeaveBehind);
            show(&mut text, &options);
            let rotated = rotate_with(&alice, &new, &options, |event| report(&mut text, event));
            let rotated = clock.run(rotated);
            show(&mut text, &rotated);
            if let Err(error) = rotated {
                text += &error.to_string();
            }
            federation.restart("carol");
            let repaired = repair(&carol, &alice, |event| report(&mut text, event));
            let repaired = clock.run(repaired);
            show(&mut text, &repaired);
            if let Err(error) = repaired {
                text += &error.to_string();
            }
            let caller = Caller::with_token(token());
            let diagnosis = clock.run(federation.service("alice").diagnose(&caller));
            let diagnosis = diagnosis.unwrap();
            show(&mut text, &diagnosis);
            text += &serde_json::to_string(&diagnosis).unwrap();
            assert!(text.contains(&old.fingerprint()), "nothing was shown");
            assert_no_secret(&text);
        }
    }
}
