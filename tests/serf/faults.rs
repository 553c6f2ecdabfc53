//! Nodes that are dead, deaf or gone, and calls that are given up or meet.

use std::sync::Arc;
use std::time::Duration;

use cluster_operator::keyring::RingFault;
use cluster_operator::{ErrorKind, KeyringBackend, NodeFailure, NodeMessage, Outcome};
use serf::event::{Event, EventProducer};
use serf::types::MemberStatus;

use crate::pool::{
    Node, alert, all_done, encrypted, join, key, keyring, living, none, options, patient, ring,
    secret, start, three, transport, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_died_just_now_is_told_to_be_silent() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);
    nodes[2].shutdown().await.unwrap();
    let listed = lan.list(none()).await.unwrap();
    let installed = lan.install(&key(2), none()).await.unwrap();
    for report in [&listed, &installed] {
        let silent = RingFault::Silent {
            responses: 2,
            nodes: 3,
        };
        assert_eq!(report.fault(), Some(silent));
        assert!(report.messages.is_empty());
    }
    assert_eq!(listed.keys.get(&key(1)), 2);
    assert!(nodes[..2].iter().all(|node| ring(node) == [key(1), key(2)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_known_to_be_dead_is_not_asked_for() {
    let nodes = start((0..3).map(|_| options(encrypted(alert(), &[key(1)])))).await;
    nodes[2].shutdown().await.unwrap();
    until(async || living(&nodes[0]).await == 2 && living(&nodes[1]).await == 2).await;
    assert_eq!(nodes[0].num_members().await, 3);

    let lan = keyring(&nodes[0]);
    let mut names = lan.members().unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    all_done(&lan.list(none()).await.unwrap(), 2);
    all_done(&lan.install(&key(2), none()).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_left_is_not_asked_for() {
    let brief = Duration::from_millis(50);
    let nodes = start(
        (0..3).map(|_| options(encrypted(patient(), &[key(1)])).with_leave_propagate_delay(brief)),
    )
    .await;
    nodes[2].leave().await.unwrap();
    nodes[2].shutdown().await.unwrap();
    until(async || {
        let members = nodes[0].members().await;
        members
            .iter()
            .any(|member| *member.status() == MemberStatus::Left)
    })
    .await;
    let lan = keyring(&nodes[0]);
    all_done(&lan.list(none()).await.unwrap(), 2);
    all_done(&lan.use_key(&key(1), none()).await.unwrap(), 2);

    let gone = keyring(&nodes[2]);
    for error in [
        gone.list(none()).await.unwrap_err(),
        gone.remove(&key(1), none()).await.unwrap_err(),
        gone.members().unwrap_err(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::Backend { .. }), "{error}");
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
}

/// What encrypted gossip cannot help: it does not even hear the question.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_the_key_in_use_falls_silent_until_it_has_it() {
    let rings = [vec![key(1), key(2)], vec![key(1), key(2)], vec![key(1)]];
    let nodes = start(rings.iter().map(|ring| options(encrypted(patient(), ring)))).await;
    let lan = keyring(&nodes[0]);
    let listed = lan.list(none()).await.unwrap();
    assert_eq!((listed.nodes, listed.keys.get(&key(2))), (3, 2));

    let used = keyring(&nodes[2]).use_key(&key(2), none()).await.unwrap();
    let absent = NodeMessage::Failed(NodeFailure::KeyNotInstalled);
    assert_eq!(used.messages.get("c"), Some(&absent));
    assert_eq!((used.nodes, used.errors), (3, 1));
    assert_eq!(ring(&nodes[2]), [key(1)]);

    until(async || nodes[..2].iter().all(|node| ring(node)[0] == key(2))).await;
    let listed = lan.list(none()).await.unwrap();
    assert_eq!((listed.nodes, listed.responses, listed.errors), (3, 2, 0));
    nodes[2]
        .memberlist()
        .keyring()
        .unwrap()
        .insert(secret(&key(2)));
    all_done(&lan.use_key(&key(2), none()).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_given_up_leaves_every_ring_whole() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);
    let delays = [0, 1, 3, 9, 20].map(Duration::from_millis);
    for (delay, new) in std::iter::zip(delays, 10..) {
        let (old, new) = (ring(&nodes[0])[0].clone(), key(new));
        let _ = tokio::time::timeout(delay, lan.install(&new, none())).await;
        for node in &nodes {
            assert_eq!(ring(node)[0], old);
        }
        all_done(&lan.install(&new, none()).await.unwrap(), 3);
        let _ = tokio::time::timeout(delay, lan.use_key(&new, none())).await;
        for node in &nodes {
            let held = ring(node);
            assert!([&old, &new].contains(&&held[0]), "{held:?}");
            assert!(
                [&old, &new].into_iter().all(|key| held.contains(key)),
                "{held:?}"
            );
        }
        all_done(&lan.use_key(&new, none()).await.unwrap(), 3);
        let _ = tokio::time::timeout(delay, lan.remove(&old, none())).await;
        all_done(&lan.remove(&old, none()).await.unwrap(), 3);
        for node in &nodes {
            assert_eq!(ring(node), std::slice::from_ref(&new));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_meet_all_get_their_answers() {
    let nodes = three(&[key(1)]).await;
    let (a, b) = (keyring(&nodes[0]), keyring(&nodes[1]));
    for round in 0..5 {
        let new = [2, 3, 4].map(|n| key(n + 3 * round));
        let (one, two, three, four, five, six, seven) = tokio::join!(
            a.list(none()),
            a.install(&new[0], none()),
            a.list(none()),
            a.install(&new[1], none()),
            a.list(none()),
            b.install(&new[2], none()),
            b.list(none()),
        );
        for report in [one, two, three, four, five, six, seven] {
            all_done(&report.unwrap(), 3);
        }
        for node in &nodes {
            assert!(new.iter().all(|key| ring(node).contains(key)));
        }
    }
}

/// Of as many that the key manager makes at once, some never end; and as many
/// queries at once end a node's gossip.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_listings_all_end() {
    let nodes = three(&[key(1)]).await;
    let lan = Arc::new(keyring(&nodes[0]));
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let lan = lan.clone();
            tokio::spawn(async move { lan.list(none()).await.unwrap() })
        })
        .collect();
    for listing in crowd {
        all_done(&listing.await.unwrap(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_member_s_own_events_show_a_listing_and_never_a_key() {
    let (producer, events) = EventProducer::unbounded();
    let ring = || options(encrypted(patient(), &[key(1)]));
    let watched = Node::with_event_producer(transport("a"), ring(), producer);
    let nodes = [
        watched.await.unwrap(),
        Node::new(transport("b"), ring()).await.unwrap(),
    ];
    join(&nodes).await;
    for node in &nodes {
        let lan = keyring(node);
        all_done(&lan.list(none()).await.unwrap(), 2);
        all_done(&lan.install(&key(2), none()).await.unwrap(), 2);
        all_done(&lan.use_key(&key(2), none()).await.unwrap(), 2);
        all_done(&lan.use_key(&key(1), none()).await.unwrap(), 2);
        all_done(&lan.remove(&key(2), none()).await.unwrap(), 2);
    }
    let mut queries = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Query(query) = event {
            assert!(query.payload().is_empty());
            queries.push(query.name().to_string());
        }
    }
    assert_eq!(queries, ["_serf_list_keys"]);
}
