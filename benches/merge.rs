//! What merging the answers of many nodes costs, and how that grows with the
//! nodes: of the report alone, and of the collector that knows the nodes by name.
//!
//! ```text
//! cargo bench --bench merge
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};

use cluster_operator::keyring::{Answers, NodeKeys, RingReport};
use cluster_operator::{GossipKey, NodeName};
use criterion::{BenchmarkId, Criterion, Throughput};

const KEYS: usize = 4;
const NODES: [usize; 3] = [1_000, 10_000, 100_000];

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

/// What so many nodes answer, each fourth with another primary.
struct Ring {
    keys: Vec<GossipKey>,
    other: Vec<GossipKey>,
    names: Vec<NodeName>,
}

impl Ring {
    fn new(nodes: usize) -> Self {
        let keys = keys();
        let mut other = keys.clone();
        other.reverse();
        let names = (0..nodes).map(|node| format!("node-{node:07}").into());
        Ring {
            keys,
            other,
            names: names.collect(),
        }
    }

    fn keys(&self, node: usize) -> &[GossipKey] {
        if node.is_multiple_of(4) {
            &self.other
        } else {
            &self.keys
        }
    }

    /// Merges into a report alone.
    fn merge(&self) -> RingReport {
        let mut report = RingReport::new(self.names.len());
        for node in 0..self.names.len() {
            report.holds(black_box(self.keys(node)));
        }
        report
    }

    /// Names the nodes and collects their answers, in no order of their names. Making
    /// the answers is part of it, as decoding them is for an engine.
    fn collect(&self) -> Answers {
        let collector = Answers::default();
        collector.asking(self.names.iter().cloned());
        let nodes = self.names.len();
        for at in 0..nodes {
            let node = at * 7_919 % nodes;
            let keys = NodeKeys::ring(self.keys(node).iter().cloned());
            collector.answered(&self.names[node], Ok(black_box(keys)));
        }
        collector
    }

    fn check(&self, report: &RingReport) {
        let nodes = self.names.len();
        assert_eq!((report.responses, report.nodes), (nodes, nodes));
        assert_eq!(report.keys.get(&self.keys[0]), nodes);
    }
}

/// Nanoseconds for one key of one node in the quickest of several merges: on a
/// busy machine long ones are interrupted, which is not their fault.
fn pair<T>(nodes: usize, merge: impl Fn() -> T) -> f64 {
    let quickest = (0..15)
        .map(|_| {
            let start = Instant::now();
            let merged = black_box(merge());
            let elapsed = start.elapsed();
            drop(merged);
            elapsed
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
    let mut group = criterion.benchmark_group("merge 4 keys");
    for nodes in NODES {
        let ring = Ring::new(nodes);
        ring.check(&ring.merge());
        let collected = ring.collect();
        ring.check(&collected.report().expect("nodes were asked"));
        group.throughput(Throughput::Elements((nodes * KEYS) as u64));
        group.bench_function(BenchmarkId::new("report, nodes", nodes), |bencher| {
            bencher.iter(|| ring.merge());
        });
        group.bench_function(BenchmarkId::new("answers, nodes", nodes), |bencher| {
            bencher.iter(|| ring.collect());
        });
    }
    group.finish();
    criterion.final_summary();
    for nodes in NODES {
        let ring = Ring::new(nodes);
        let report = pair(nodes, || ring.merge());
        let answers = pair(nodes, || ring.collect());
        println!(
            "{nodes} nodes x {KEYS} keys: {report:.1} ns a pair in a report, {answers:.1} ns in \
             the collector"
        );
    }
}
