//! Keyring requests at the same time, and beside a server that has just died.
//!
//! The test prints the medians of all rounds, also as multiples of one listing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster_operator::GossipKey;
use cluster_operator::client::RingListing;
use futures_util::future::join_all;

use crate::datacenter::Datacenter;
use crate::{in_time, rounds_of};

const READERS: usize = 4;
const LISTINGS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyring_requests_succeed_at_the_same_time() {
    let rounds = rounds_of("KEYRING_ROUNDS", 1);
    let mut datacenter = Datacenter::start(8, 3).await;
    let mut single = Vec::new();
    let mut together = Vec::new();
    let mut writes = Vec::new();
    let mut partial = Vec::new();
    for round in 0..rounds {
        single.push(time_of(list(&datacenter)).await);
        let begin = Instant::now();
        let listings = join_all((0..LISTINGS).map(|_| time_of(list(&datacenter)))).await;
        println!("{LISTINGS} listings {round}: {:?}", begin.elapsed());
        together.extend(listings);
    }
    for round in 0..rounds {
        let key = GossipKey::from_bytes(&[round as u8 + 1; 16]).unwrap();
        writes.push(write_beside_readers(&datacenter, &key).await);
    }
    for _ in 0..rounds {
        datacenter.server_mut("carol").kill();
        let begin = Instant::now();
        let client = datacenter.client("alice");
        let rings = in_time(client.list_keys()).await.unwrap();
        partial.push(begin.elapsed());
        assert_eq!(rings.len(), 2);
        for ring in rings {
            assert_eq!(silent(&ring), 1, "{ring:?}");
            assert!(ring.silent[0].as_str().starts_with("carol"), "{ring:?}");
            assert!(ring.keys.iter().all(|(_, nodes)| nodes == 2), "{ring:?}");
        }
        datacenter.restart("carol").await;
        datacenter.complete_rings().await;
    }

    let longest = together.iter().max().copied().unwrap_or_default();
    let one = median(single);
    println!("one listing: {one:?}");
    for (what, time) in [
        ("each of 16 listings at once", median(together)),
        ("the slowest of them in all rounds", longest),
        ("a write beside four readers", median(writes)),
        ("a listing, one server just killed", median(partial)),
    ] {
        let times = time.as_secs_f64() / one.as_secs_f64();
        println!("{what}: {time:?}, {times:.1} listings");
    }
}

/// Lists all keys of both pools.
async fn list(datacenter: &Datacenter) {
    let client = datacenter.client("alice");
    let rings = in_time(client.list_keys()).await.unwrap();
    assert_eq!(rings.len(), 2);
    for ring in rings {
        assert_eq!((ring.nodes, silent(&ring)), (3, 0), "{ring:?}");
    }
}

/// Installs a key while others list all the time.
async fn write_beside_readers(datacenter: &Datacenter, key: &GossipKey) -> Duration {
    let written = Arc::new(AtomicBool::new(false));
    let readers = (0..READERS).map(async |_| {
        let mut listings = 0;
        while !written.load(Ordering::Relaxed) {
            list(datacenter).await;
            listings += 1;
        }
        listings
    });
    let client = datacenter.client("alice");
    let write = async {
        // Not before the readers have begun.
        list(datacenter).await;
        let time = time_of(async { in_time(client.install_key(key)).await.unwrap() }).await;
        written.store(true, Ordering::Relaxed);
        time
    };
    let (listings, time) = tokio::join!(join_all(readers), write);
    println!("a write beside {} listings", listings.iter().sum::<u32>());
    time
}

fn silent(ring: &RingListing) -> usize {
    ring.silent.len()
}

async fn time_of(work: impl Future<Output = ()>) -> Duration {
    let begin = Instant::now();
    work.await;
    begin.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
