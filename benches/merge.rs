//! What merging the answers of many nodes costs, and how that grows with the
//! nodes.
//!
//! ```text
//! cargo bench --bench merge
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};

use cluster_operator::{GossipKey, RingReport};
use criterion::{BenchmarkId, Criterion, Throughput};

const KEYS: usize = 4;
const NODES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Keys that look random and are the same in every run.
fn keys() -> Vec<GossipKey> {
    (0..KEYS as u8)
        .map(|n| {
            let bytes: Vec<u8> = (1..=32)
                .map(|at: u8| at.wrapping_mul(37) ^ (n + 1).wrapping_mul(151))
                .collect();
            GossipKey::from_bytes(&bytes).expect("32 bytes are a key")
        })
        .collect()
}

/// Every node lists its ring, each fourth with another primary.
fn merge(keys: &[GossipKey], nodes: usize) -> RingReport {
    let mut other = keys.to_vec();
    other.reverse();
    let mut report = RingReport::new(nodes);
    for node in 0..nodes {
        report.holds(black_box(if node % 4 == 0 { &other } else { keys }));
    }
    assert_eq!(report.keys.get(&keys[0]), nodes);
    report
}

/// Nanoseconds for one key of one node in the quickest of several merges: on a
/// busy machine long ones are interrupted, which is not their fault.
fn pair(keys: &[GossipKey], nodes: usize) -> f64 {
    let quickest = (0..15)
        .map(|_| {
            let start = Instant::now();
            black_box(merge(keys, nodes));
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    quickest.as_secs_f64() * 1e9 / (nodes * KEYS) as f64
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    let keys = keys();
    let mut group = criterion.benchmark_group("merge 4 keys");
    for nodes in NODES {
        group.throughput(Throughput::Elements((nodes * KEYS) as u64));
        group.bench_function(BenchmarkId::new("nodes", nodes), |bencher| {
            bencher.iter(|| merge(&keys, nodes));
        });
    }
    group.finish();
    criterion.final_summary();
    let few = pair(&keys, NODES[0]);
    for nodes in NODES {
        let pair = pair(&keys, nodes);
        println!(
            "{nodes} nodes x {KEYS} keys: {pair:.1} ns a pair, {:.2} of that of {} nodes",
            pair / few,
            NODES[0]
        );
    }
}
