//! What a rotation reports, and what its errors say.

use super::*;

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
            "stopped at listing the rings: \
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
    let ring = MockKeyring::new(Pool::Lan, key(1), ["alice"]);
    let service = Listing::service(&ring, NodeKeys::without_primary);
    let rotation = rotate(&service, &Caller::anonymous(), key(3)).await;
    let rotation: Rotation = rotation.unwrap();
    let unverified = [Unverified::Primary("dc1".into(), Pool::Lan)];
    assert_eq!(rotation.unverified, unverified);
    assert_eq!(ring.keys("alice"), [key(3)]);
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
