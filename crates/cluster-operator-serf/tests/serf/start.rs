//! Starts with the keys of the pool, and members that return.

use std::error::Error;
use std::time::Duration;

use cluster_operator::GossipKey;
use cluster_operator_serf::{StartError, start};
use memberlist_core::delegate::EventDelegate;
use serf::Options;
use serf::net::NetTransportOptions;
use serf::types::{MaybeResolvedAddress, MemberStatus};

use crate::pool::{
    self, Node, alert, all_done, brief, encrypted, join, key, keyring, list, list_with, living,
    node, options, patient, ring, transport, until,
};

async fn started(options: Options, keys: &[GossipKey]) -> Result<Node, StartError> {
    start(options, keys, |options| Node::new(transport("a"), options)).await
}

fn address(node: &Node) -> MaybeResolvedAddress<std::net::SocketAddr, std::net::SocketAddr> {
    MaybeResolvedAddress::resolved(*node.advertise_node().address())
}

#[tokio::test]
async fn member_starts_with_exactly_the_given_keys() {
    for (given, expected) in [
        (&[1][..], &[1][..]),
        (&[2, 1, 3], &[2, 1, 3]),
        (&[1, 1, 2, 2], &[1, 2]),
    ] {
        let given: Vec<_> = given.iter().copied().map(key).collect();
        // Keys in the options are ignored.
        let others = options(encrypted(patient(), &[key(8), key(9)]));
        let node = started(others, &given).await.unwrap();
        assert!(node.encryption_enabled());
        let held = node.memberlist().keyring().unwrap().keys();
        let held: Vec<_> = held
            .map(|key| GossipKey::from_bytes(&key).unwrap())
            .collect();
        let expected: Vec<_> = expected.iter().copied().map(key).collect();
        assert_eq!(held, expected);
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn nobody_joins_a_member_before_it_has_started() {
    let early = node("b", options(encrypted(patient(), &[key(1)]))).await;
    let keys = [key(1)];
    let begun = start(options(patient()), &keys, async |options| {
        let begun = Node::new(transport("a"), options).await?;
        early.join(address(&begun), false).await.unwrap_err();
        begun.join(address(&early), false).await.unwrap_err();
        Ok::<_, Box<dyn Error + Send + Sync>>(begun)
    });
    let nodes = [begun.await.unwrap(), early];
    assert_eq!((living(&nodes[0]).await, living(&nodes[1]).await), (1, 1));
    join(&nodes).await;
    all_done(&list(&keyring(&nodes[0])).await, 2);
}

#[tokio::test]
async fn clear_text_is_refused() {
    let clear = node("b", options(patient())).await;
    let node = started(options(patient()), &[key(1)]).await.unwrap();
    clear.join(address(&node), false).await.unwrap_err();
    assert_eq!(living(&node).await, 1);
}

#[tokio::test]
async fn keyring_file_takes_precedence_over_the_given_keys() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keyring.json");
    let stored = [key(3), key(2)].map(|key| key.to_base64().to_string());
    std::fs::write(&file, serde_json::to_vec(&stored).unwrap()).unwrap();
    let options = || options(patient()).with_keyring_file(Some(file.clone()));
    for given in [&[key(1)][..], &[]] {
        let node = started(options(), given).await.unwrap();
        assert_eq!(ring(&node), [key(3), key(2)]);
        node.shutdown().await.unwrap();
    }

    std::fs::remove_file(&file).unwrap();
    let node = started(options(), &[key(1)]).await.unwrap();
    assert_eq!(ring(&node), [key(1)]);
    node.shutdown().await.unwrap();
    let error = started(options(), &[]).await.err().unwrap();
    assert!(matches!(error, StartError::NoKey), "{error:?}");

    // Not the given key, which may have been replaced.
    std::fs::write(&file, &stored[0]).unwrap();
    let error = started(options(), &[key(1)]).await.err().unwrap();
    assert!(matches!(error, StartError::Keyring { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("copy that of another server"), "{text}");
    assert!(!text.contains(&stored[0]), "{text}");
}

#[tokio::test]
async fn failed_start_leaves_no_member_behind() {
    let bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = bound.local_addr().unwrap();
    let at = || {
        let mut transport = NetTransportOptions::new("a".into());
        transport.add_bind_address(taken);
        transport
    };
    let keys = [key(1)];
    let refused = start(options(patient()), &keys, |options| {
        Node::new(at(), options)
    });
    let error = refused.await.err().unwrap();
    assert!(matches!(error, StartError::Serf(_)), "{error:?}");
    assert!(error.source().is_some());

    // A constructor that is given other options.
    drop(bound);
    let other = start(options(patient()), &keys, |_| {
        Node::new(at(), options(encrypted(patient(), &[key(2)])))
    });
    let error = other.await.err().unwrap();
    assert!(matches!(error, StartError::Serf(_)), "{error:?}");
    std::net::UdpSocket::bind(taken).unwrap();
}

/// Memberlist tells serf of each change once, and serf may miss it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serf_table_is_repaired() {
    let nodes = pool::start((0..3).map(|_| options(encrypted(alert(), &[key(1)])))).await;
    let memberlist = nodes[0].memberlist();
    let told = memberlist.delegate().unwrap();
    let third = memberlist.by_id(&"c".into()).await.unwrap();
    told.notify_leave(third.clone()).await;
    until(async || living(&nodes[0]).await == 3).await;

    nodes[2].shutdown().await.unwrap();
    until(async || living(&nodes[0]).await == 2).await;
    told.notify_join(third).await;
    until(async || living(&nodes[0]).await == 2).await;
    until(async || nodes[0].stats().await.get_failed() == 1).await;
}

/// Both before and after the others have found it dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_member_returns_at_another_address() {
    for noticed in [true, false] {
        let ring = || {
            let memberlist = alert()
                .with_dead_node_reclaim_time(Duration::from_millis(10))
                .with_push_pull_interval(Duration::from_millis(200));
            options(encrypted(memberlist, &[key(1)]))
        };
        let mut nodes = pool::start((0..3).map(|_| ring())).await;
        let gone = nodes.pop().unwrap();
        gone.shutdown().await.unwrap();
        if noticed {
            until(async || living(&nodes[0]).await == 2 && living(&nodes[1]).await == 2).await;
        }
        let back = node("c", ring()).await;
        let new = *back.advertise_node().address();
        assert_ne!(new, *gone.advertise_node().address());
        until(async || back.join(address(&nodes[0]), false).await.is_ok()).await;
        nodes.push(back);
        for node in &nodes {
            until(async || {
                let members = node.members().await;
                let mut members = members.iter();
                members.any(|member| {
                    let node = member.node();
                    let is_back = node.id() == "c" && *node.address() == new;
                    is_back && *member.status() == MemberStatus::Alive
                }) && living(node).await == 3
            })
            .await;
        }
        // News of its death may still arrive, which it denies.
        let lan = keyring(&nodes[0]);
        until(async || list_with(&lan, brief()).await.responses == 3).await;
    }
}
