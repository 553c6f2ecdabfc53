//! The steps of a rotation, with a fault at each.

use super::*;

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
    // One key is shown, however many there are.
    let ring = MockKeyring::new(Pool::Lan, key(1), ["alice"]);
    let service = Listing::service(&ring, |keys| {
        NodeKeys::ring(keys[..1].iter().cloned()).truncated(keys.len())
    });
    let error = rotate(&service, &Caller::anonymous(), key(3))
        .await
        .unwrap_err();
    assert_eq!(error.step, RotationStep::Look);
    let text = error.to_string();
    assert!(text.contains("; alice listed 1 of its 1 keys\n"), "{text}");
    assert_eq!(ring.keys("alice"), [key(1)]);
}
