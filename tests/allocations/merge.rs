//! Merging the answers of the nodes of a pool.

use allocation_counter::measure;
use cluster_operator::{GossipKey, NodeFailure, RingReport};

fn key(number: usize) -> GossipKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    GossipKey::from_bytes(&bytes).unwrap()
}

/// The most bytes that are held at a time while so many nodes list these keys
/// and so many fail.
fn peak(keys: usize, nodes: usize, failing: usize) -> u64 {
    let keys: Vec<_> = (0..keys).map(key).collect();
    let allocated = measure(|| {
        let mut report = RingReport::new(nodes + failing);
        for _ in 0..nodes {
            report.holds(&keys);
        }
        for node in 0..failing {
            report.failed(format!("node-{node}").into(), NodeFailure::EncryptionOff);
        }
        assert_eq!(report.responses, nodes + failing);
        assert_eq!(report.keys.len(), if nodes == 0 { 0 } else { keys.len() });
    });
    allocated.bytes_max
}

#[test]
fn the_memory_of_a_merge_does_not_grow_with_the_nodes() {
    assert_eq!(peak(4, 100_000, 0), peak(4, 1, 0));
    assert_eq!(peak(4, 100_000, 100), peak(4, 1, 100));
}

#[test]
fn the_memory_of_a_merge_grows_with_the_keys_and_the_failing_nodes() {
    let (few, many) = (peak(100, 10, 0), peak(1000, 10, 0));
    println!("{few} bytes for 100 keys, {many} for 1,000");
    assert!(many < 15 * few && many < 1000 * 300, "{few} and {many}");
    let (few, many) = (peak(0, 0, 1000), peak(0, 0, 10_000));
    println!("{few} bytes for 1,000 failing nodes, {many} for 10,000");
    assert!(many < 15 * few && many < 10_000 * 300, "{few} and {many}");
}
