//! Nodes that are dead, cannot read the others, or have left, and dropped calls.

use std::time::{Duration, Instant};

use cluster_operator::keyring::{KeyChange, NodeFailure, NodeMessage, RingFailure};
use cluster_operator::{ErrorKind, KeyringBackend, Outcome};
use memberlist_core::delegate::EventDelegate;
use serf::types::MemberStatus;

use crate::pool::{
    Node, alert, all_done, brief, change_with, encrypted, install, join, key, keyring, list,
    list_with, living, options, patient, query, remove, ring, secret, start, three, transport,
    until, use_key, watched,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_has_just_died_is_silent_and_named() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);
    nodes[2].shutdown().await.unwrap();
    let listed = list_with(&lan, brief()).await;
    let installed = change_with(&lan, KeyChange::Install(key(2)), brief()).await;
    for report in [&listed, &installed] {
        let silent = RingFailure::Silent {
            responses: 2,
            nodes: 3,
        };
        assert_eq!(report.failure(), Some(silent));
        assert_eq!(report.silent, ["c"]);
        assert!(report.messages.is_empty());
    }
    assert_eq!(listed.keys.get(&key(1)), 2);
    assert!(nodes[..2].iter().all(|node| ring(node) == [key(1), key(2)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_ends_once_a_silent_node_is_found_dead() {
    let nodes = start((0..3).map(|_| options(encrypted(alert(), &[key(1)])))).await;
    let lan = keyring(&nodes[0]);
    nodes[2].shutdown().await.unwrap();
    let query = query();
    let start = Instant::now();
    let installed = change_with(&lan, KeyChange::Install(key(2)), query.clone()).await;
    assert!(start.elapsed() < query.timeout, "{:?}", start.elapsed());
    assert_eq!((installed.nodes, installed.responses), (3, 2));
    assert_eq!(installed.silent, ["c"]);
    assert_eq!(living(&nodes[0]).await, 2);
    all_done(&list(&lan).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_known_to_be_dead_is_not_asked() {
    let nodes = start((0..3).map(|_| options(encrypted(alert(), &[key(1)])))).await;
    nodes[2].shutdown().await.unwrap();
    until(async || living(&nodes[0]).await == 2 && living(&nodes[1]).await == 2).await;
    assert_eq!(nodes[0].num_members().await, 3);

    // Nobody waits for the dead node, whose failure is remembered.
    let lan = keyring(&nodes[0]);
    let begin = Instant::now();
    for report in [
        list(&lan).await,
        install(&lan, &key(2)).await,
        use_key(&lan, &key(2)).await,
        remove(&lan, &key(1)).await,
    ] {
        all_done(&report, 2);
        assert_eq!(report.absent, ["c"]);
    }
    assert!(begin.elapsed() < query().timeout, "{:?}", begin.elapsed());
}

/// Memberlist does not repeat to serf who is alive, and serf may have missed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serf_table_that_is_wrong_does_not_matter() {
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        // Not by `start`, which repairs the table.
        let options = options(encrypted(alert(), &[key(1)]));
        nodes.push(Node::new(transport(name), options).await.unwrap());
    }
    join(&nodes).await;
    let memberlist = nodes[0].memberlist();
    let told = memberlist.delegate().unwrap();
    let third = memberlist.by_id(&"c".into()).await.unwrap();
    let lan = keyring(&nodes[0]);
    told.notify_leave(third.clone()).await;
    assert_eq!(living(&nodes[0]).await, 2);
    all_done(&install(&lan, &key(2)).await, 3);
    let listed = list(&lan).await;
    all_done(&listed, 3);
    assert!(listed.absent.is_empty());

    nodes[2].shutdown().await.unwrap();
    until(async || memberlist.num_online_members().await == 2).await;
    told.notify_join(third).await;
    assert_eq!(living(&nodes[0]).await, 3);
    let begin = Instant::now();
    let listed = list(&lan).await;
    all_done(&listed, 2);
    assert_eq!(listed.absent, ["c"]);
    assert!(begin.elapsed() < query().timeout, "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_has_left_neither_asks_nor_is_asked() {
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
    let begin = Instant::now();
    all_done(&list(&lan).await, 2);
    all_done(&use_key(&lan, &key(1)).await, 2);
    assert!(begin.elapsed() < query().timeout, "{:?}", begin.elapsed());

    let gone = keyring(&nodes[2]);
    let query = query();
    for error in [
        gone.list(&query).await.unwrap_err(),
        gone.change(&KeyChange::Remove(key(1)), &query)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::Backend { .. }), "{error}");
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert_eq!(query.answers.report(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_without_the_key_in_use_is_silent_until_it_has_it() {
    let rings = [vec![key(1), key(2)], vec![key(1), key(2)], vec![key(1)]];
    let nodes = start(rings.iter().map(|ring| options(encrypted(patient(), ring)))).await;
    let lan = keyring(&nodes[0]);
    let listed = list(&lan).await;
    assert_eq!((listed.nodes, listed.keys.get(&key(2))), (3, 2));

    let change = KeyChange::Use(key(2));
    let used = change_with(&keyring(&nodes[2]), change, brief()).await;
    let absent = NodeMessage::Failed(NodeFailure::KeyNotInstalled);
    assert_eq!(used.messages.get("c"), Some(&absent));
    assert_eq!((used.nodes, used.errors), (3, 1));
    assert_eq!(ring(&nodes[2]), [key(1)]);

    until(async || nodes[..2].iter().all(|node| ring(node)[0] == key(2))).await;
    let listed = list_with(&lan, brief()).await;
    assert_eq!((listed.nodes, listed.responses, listed.errors), (3, 2, 0));
    assert_eq!(listed.silent, ["c"]);
    nodes[2]
        .memberlist()
        .keyring()
        .unwrap()
        .insert(secret(&key(2)));
    all_done(&use_key(&lan, &key(2)).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_change_leaves_every_ring_whole() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);
    let delays = [0, 1, 3, 9, 20].map(Duration::from_millis);
    let drop_after = async |delay, change: KeyChange| {
        let _ = tokio::time::timeout(delay, lan.change(&change, &query())).await;
    };
    for (delay, new) in std::iter::zip(delays, 10..) {
        let (old, new) = (ring(&nodes[0])[0].clone(), key(new));
        drop_after(delay, KeyChange::Install(new.clone())).await;
        for node in &nodes {
            assert_eq!(ring(node)[0], old);
        }
        all_done(&install(&lan, &new).await, 3);
        drop_after(delay, KeyChange::Use(new.clone())).await;
        for node in &nodes {
            let held = ring(node);
            assert!([&old, &new].contains(&&held[0]), "{held:?}");
            assert!(
                [&old, &new].into_iter().all(|key| held.contains(key)),
                "{held:?}"
            );
        }
        all_done(&use_key(&lan, &new).await, 3);
        drop_after(delay, KeyChange::Remove(old.clone())).await;
        all_done(&remove(&lan, &old).await, 3);
        for node in &nodes {
            assert_eq!(ring(node), std::slice::from_ref(&new));
        }
    }
}

/// The other nodes' events do not show them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_events_show_the_queries() {
    let (nodes, queries) = watched(2).await;
    for node in nodes.iter().rev() {
        let lan = keyring(node);
        all_done(&list(&lan).await, 2);
        all_done(&install(&lan, &key(2)).await, 2);
        all_done(&use_key(&lan, &key(2)).await, 2);
        all_done(&use_key(&lan, &key(1)).await, 2);
        all_done(&remove(&lan, &key(2)).await, 2);
    }
    let expected = [
        "_serf_list_keys",
        "_serf_install_key",
        "_serf_use_key",
        "_serf_use_key",
        "_serf_remove_key",
    ];
    assert_eq!(queries(), expected);
}
