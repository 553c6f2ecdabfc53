//! Calls at the same time run one after another, and listings share a query.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster_operator::keyring::{GossipQuery, KeyChange};
use cluster_operator::{KeyringBackend, Outcome};
use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::pool::{
    Node, all_done, brief, install, key, keyring, list, list_with, query, ring, three, until,
    watched,
};

/// The number of queries in the pool so far; serf numbers them.
async fn queries(node: &Node) -> u64 {
    node.stats().await.get_query_time()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_once_all_get_their_answers() {
    let nodes = three(&[key(1)]).await;
    let (a, b) = (keyring(&nodes[0]), keyring(&nodes[1]));
    for round in 0..5 {
        let new = [2, 3, 4].map(|n| key(n + 3 * round));
        let (one, two, three, four, five, six, seven) = tokio::join!(
            list(&a),
            install(&a, &new[0]),
            list(&a),
            install(&a, &new[1]),
            list(&a),
            install(&b, &new[2]),
            list(&b),
        );
        for report in [one, two, three, four, five, six, seven] {
            all_done(&report, 3);
        }
        for node in &nodes {
            assert!(new.iter().all(|key| ring(node).contains(key)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_at_once_share_queries() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);
    for listings in [16, 1000] {
        let before = queries(&nodes[0]).await;
        for report in join_all((0..listings).map(|_| list(&lan))).await {
            all_done(&report, 3);
            assert_eq!(report.keys.get(&key(1)), 3);
        }
        // One query for the first listing, and one for all the others.
        assert_eq!(queries(&nodes[0]).await - before, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_waits_for_two_queries_beside_looping_listings() {
    let (nodes, sent) = watched(3).await;
    let lan = Arc::new(keyring(&nodes[0]));
    let ended = Arc::new(AtomicBool::new(false));
    let loops: Vec<_> = (0..4)
        .map(|_| {
            let (lan, ended) = (lan.clone(), ended.clone());
            tokio::spawn(async move {
                while !ended.load(Ordering::Relaxed) {
                    all_done(&list(&lan).await, 3);
                }
            })
        })
        .collect();
    let mut before = Vec::new();
    for new in 2..8 {
        until(async || sent().iter().any(|name| name == "_serf_list_keys")).await;
        let new = key(new);
        let mut change = install(&lan, &new).boxed();
        // From here on the change waits for its turn.
        if let Some(report) = (&mut change).now_or_never() {
            panic!("the change did not wait: {report:?}");
        }
        let _earlier = sent();
        all_done(&change.await, 3);
        before.push(sent().iter().position(|name| name == "_serf_install_key"));
    }
    ended.store(true, Ordering::Relaxed);
    for listings in loops {
        listings.await.unwrap();
    }
    // Zero if its turn came before the count.
    assert!(
        before.iter().flatten().all(|passed| *passed <= 2),
        "{before:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_without_a_turn_has_asked_no_node() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);
    nodes[2].shutdown().await.unwrap();
    // The call waits for the dead node.
    let long = query();
    let first = lan.list(&long);
    let others = async {
        until(async || long.answers.report().is_some()).await;
        let short = GossipQuery::new(Duration::from_millis(100));
        let change = KeyChange::Install(key(2));
        for refused in [lan.change(&change, &short).await, lan.list(&short).await] {
            let error = refused.unwrap_err();
            assert_eq!(error.outcome(), Outcome::NotApplied);
            assert!(error.to_string().contains("earlier calls"), "{error}");
            assert_eq!(short.answers.report(), None);
        }
    };
    tokio::select! {
        _ = first => panic!("the first listing ended"),
        () = others => {}
    }
    assert!(nodes[..2].iter().all(|node| ring(node) == [key(1)]));
    // The first call was dropped, which ended its turn. Its answers are kept.
    let listed = list_with(&lan, brief()).await;
    assert_eq!(
        (listed.responses, &listed.silent[..]),
        (2, &["c".into()][..])
    );
    let kept = long.answers.report().unwrap();
    assert_eq!((kept.nodes, kept.responses), (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing_goes_on_without_its_first_caller() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);
    let (one, two, three) = (query(), query(), query());
    let mut under_way = lan.list(&one).boxed();
    let mut waiting = lan.list(&two).boxed();
    let mut joined = lan.list(&three).boxed();
    assert!((&mut under_way).now_or_never().is_none());
    assert!((&mut waiting).now_or_never().is_none());
    assert!((&mut joined).now_or_never().is_none());
    drop(waiting);
    under_way.await.unwrap();
    joined.await.unwrap();
    all_done(&three.answers.report().unwrap(), 3);

    // All callers have gone, so no query waits for a turn.
    let mut under_way = lan.list(&one).boxed();
    let mut waiting = lan.list(&two).boxed();
    assert!((&mut under_way).now_or_never().is_none());
    assert!((&mut waiting).now_or_never().is_none());
    drop(waiting);
    under_way.await.unwrap();
    all_done(&install(&lan, &key(2)).await, 3);
    all_done(&list(&lan).await, 3);
}
