//! Partitions, after which the pool heals.
//!
//! `PARTITION_ROUNDS` sets their number. Each then has to heal within 10 s, which needs a
//! machine that does nothing else.

use std::time::{Duration, Instant};

use serf::{Options, Serf};

use crate::links::{Linked, Links};
use crate::pool::{
    alert, all_done, encrypted, join, key, keyring, list, living, options, transport, until,
};

/// The number of connections that fail during a partition, after it was noticed.
const FAILED_CONNECTIONS: usize = 4;

/// Shorter than that of [`until`].
const LIMIT: Duration = Duration::from_secs(29);

/// A node forgets a dead one at once, unless it is started safely.
fn forgetful() -> Options {
    let memberlist = alert().with_gossip_to_the_dead_time(Duration::from_millis(1));
    options(encrypted(memberlist, &[key(1)])).with_reconnect_interval(Duration::from_millis(500))
}

async fn three(links: &Links) -> Vec<Serf<Linked>> {
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let transport = (transport(name), links.clone());
        let keys = [key(1)];
        let started = cluster_operator_serf::start(forgetful(), &keys, |options| {
            Serf::<Linked>::new(transport, options)
        });
        nodes.push(started.await.unwrap());
    }
    join(&nodes).await;
    nodes
}

/// Waits for a condition, and shows all members' views if it never holds.
async fn holds(what: &str, nodes: &[Serf<Linked>], condition: impl AsyncFnMut() -> bool) {
    if tokio::time::timeout(LIMIT, until(condition)).await.is_err() {
        for node in nodes {
            println!("{}: {:?}", node.local_id(), node.members().await);
        }
        panic!("{what}: not within {LIMIT:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pool_heals_after_a_partition() {
    let rounds = std::env::var("PARTITION_ROUNDS").ok();
    let measured = rounds.is_some();
    let rounds = rounds.map_or(2, |rounds| rounds.parse().expect("a number of rounds"));
    let links = Links::default();
    let nodes = three(&links).await;
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let isolated = &nodes[round % 3];
        links.isolate(*isolated.advertise_node().address());
        holds("each side finds the other dead", &nodes, async || {
            for node in &nodes {
                let is_isolated = node.local_id() == isolated.local_id();
                // Not in serf's table: while it is read, memberlist cannot change it, and
                // sometimes gives up.
                let online = node.memberlist().num_online_members().await;
                if online != if is_isolated { 1 } else { 2 } {
                    return false;
                }
            }
            true
        })
        .await;
        let before = links.refused();
        holds("connections fail", &nodes, async || {
            links.refused() >= before + FAILED_CONNECTIONS
        })
        .await;

        links.mend();
        let mended = Instant::now();
        holds("all are alive", &nodes, async || {
            for node in &nodes {
                if living(node).await != 3 {
                    return false;
                }
            }
            true
        })
        .await;
        for node in &nodes {
            all_done(&list(&keyring(node)).await, 3);
        }
        let healed = mended.elapsed();
        println!("partition {round}: healed after {healed:?}");
        slowest = slowest.max(healed);
    }
    println!("{rounds} partitions healed, the slowest in {slowest:?}");
    assert!(!measured || slowest <= Duration::from_secs(10));
}
