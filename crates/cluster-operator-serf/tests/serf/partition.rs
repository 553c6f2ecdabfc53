//! Partitions, after which the pool heals.
//!
//! `PARTITION_ROUNDS` sets their number. Each then has to heal within 10 s, which needs a
//! machine that does nothing else.

use std::time::{Duration, Instant};

use serf::types::MemberStatus;
use serf::{Options, Serf};

use crate::links::{Linked, Links};
use crate::pool::{
    alert, all_done, encrypted, join, key, keyring, list, living, options, transport, until,
};

/// The number of connections that fail during a partition, after it was noticed.
const FAILED_CONNECTIONS: usize = 4;

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

/// The number of dead members that a node sees.
async fn dead(node: &Serf<Linked>) -> usize {
    let members = node.members().await;
    let dead = members
        .iter()
        .filter(|member| *member.status() == MemberStatus::Failed);
    dead.count()
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
        until(async || {
            for node in &nodes {
                let expected = if node.local_id() == isolated.local_id() {
                    2
                } else {
                    1
                };
                if dead(node).await != expected {
                    return false;
                }
            }
            true
        })
        .await;
        let before = links.refused();
        until(async || links.refused() >= before + FAILED_CONNECTIONS).await;

        links.mend();
        let mended = Instant::now();
        for node in &nodes {
            until(async || living(node).await == 3).await;
        }
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
