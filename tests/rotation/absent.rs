//! Nodes that are down: refused, waited for, left behind, or expected.

use super::*;

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

/// Rings of one pool that list what the test says, and whose changes are confirmed
/// without the rings, as over HTTP.
pub(super) struct Scripted {
    /// The listings; the last one is repeated.
    lists: Mutex<Vec<Result<KeyringReply, OperatorError>>>,
    changes: Mutex<Vec<&'static str>>,
}

impl Scripted {
    pub(super) fn new(
        lists: impl IntoIterator<Item = Result<KeyringReply, OperatorError>>,
    ) -> Self {
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

#[tokio::test(start_paused = true)]
async fn wait_does_not_forget_that_the_new_key_is_in_use() {
    let gone = || Err(OperatorError::backend("connection refused"));
    for (lists, past) in [
        // The use is confirmed, and then nobody answers.
        (vec![listed(3, &[1]), listed(3, &[1, 3]), gone()], true),
        // An earlier rotation has used it.
        (vec![listed(3, &[3, 1]), gone()], true),
        (vec![listed(3, &[1]), gone()], false),
    ] {
        let rings = Scripted::new(lists);
        let options = RotationOptions::default().absent(Absent::Wait(Duration::from_secs(5)));
        let mut waits = 0;
        let new_key = key(3);
        let rotation = rotate_with(&rings, &new_key, &options, |event| {
            if let RotationEvent::Waiting { error, .. } = event {
                assert_eq!(error.is_past_return(), past, "{error}");
                waits += 1;
            }
        });
        let error = rotation.await.unwrap_err();
        assert!(waits > 2);
        assert_eq!(error.step, RotationStep::Look);
        assert_eq!(error.is_past_return(), past, "{error}");
        assert_eq!(error.to_string().contains("cannot rejoin"), past, "{error}");
    }
}

/// The WAN as servers of these datacenters list it: so many of three nodes have answered.
fn wans<const N: usize>(
    seen: [(&str, usize); N],
    keys: &[u8],
) -> Result<KeyringReply, OperatorError> {
    let keys: Vec<_> = keys.iter().copied().map(key).collect();
    let rings = seen.map(|(datacenter, answered)| {
        let mut report = RingReport::new(3);
        for _ in 0..answered {
            report.holds(&keys);
        }
        RingOutcome::new(datacenter, Pool::Wan, report)
    });
    let rings = rings.into();
    Ok(KeyringReply { rings })
}

#[tokio::test(start_paused = true)]
async fn wan_that_two_servers_list_differently_is_one_ring() {
    let rings = Scripted::new([
        // A node is late for the server of dc2.
        wans([("dc1", 3), ("dc2", 2)], &[1]),
        wans([("dc1", 3)], &[1]),
        wans([("dc1", 3)], &[1, 3]),
        wans([("dc1", 3)], &[3, 1]),
        wans([("dc1", 3)], &[3]),
    ]);
    let options = RotationOptions::default().absent(Absent::Wait(Duration::from_secs(60)));
    let mut seen = Seen::default();
    let new_key = key(3);
    let rotation = rotate_with(&rings, &new_key, &options, |event| seen.see(event));
    assert_eq!(rotation.await.unwrap().rings.len(), 1);
    assert_eq!(seen.waits, 1);
}

#[tokio::test]
async fn listing_without_rings_is_no_success() {
    let rings = Scripted::new([Ok(KeyringReply::default())]);
    let options = RotationOptions::default();
    let error = rotate_with(&rings, &key(3), &options, |_| {}).await;
    let error = error.unwrap_err();
    let unconfirmed = (RotationStep::Look, RotationFault::Unconfirmed);
    assert_eq!((error.step, error.reason), unconfirmed);
    assert_eq!(rings.changes.lock().unwrap().len(), 0);
}
