//! Allocations of merging the answers of a pool's nodes.

use allocation_counter::measure;
use cluster_operator::keyring::{Answers, NodeFailure, NodeKeys, RingReport};
use cluster_operator::{GossipKey, NodeName};

fn key(number: usize) -> GossipKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    GossipKey::from_bytes(&bytes).unwrap()
}

fn node(number: usize) -> NodeName {
    format!("node-{number:08}").into()
}

/// Returns the bytes that are held, without the names of the asked nodes, after `nodes`
/// nodes have listed this number of keys, `failing` have failed and `silent` have not
/// answered.
fn held(keys: usize, nodes: usize, failing: usize, silent: usize) -> i64 {
    let keys: Vec<_> = (0..keys).map(key).collect();
    let names: Vec<_> = (0..nodes + failing + silent).map(node).collect();
    let answers = Answers::default();
    answers.asking(names.iter().cloned());
    let allocated = measure(|| {
        for (at, name) in names[..nodes + failing].iter().enumerate() {
            let answer = if at < nodes {
                Ok(NodeKeys::ring(keys.iter().cloned()))
            } else {
                Err(NodeFailure::EncryptionOff)
            };
            answers.answered(name, answer);
        }
    });
    let report = answers.report().unwrap();
    assert_eq!(report.nodes, nodes + failing + silent);
    assert_eq!(report.responses, nodes + failing);
    assert_eq!(report.errors, failing);
    assert_eq!(report.silent.len(), silent.min(RingReport::NAMED));
    assert_eq!(report.keys.len(), if nodes == 0 { 0 } else { keys.len() });
    allocated.bytes_current
}

#[test]
fn memory_of_merge_does_not_grow_with_nodes() {
    assert_eq!(held(4, 100_000, 0, 0), held(4, 1, 0, 0));
    assert_eq!(held(4, 100_000, 100, 0), held(4, 1, 100, 0));
    // Nodes that are not named are only counted.
    assert_eq!(held(4, 1, 100_000, 0), held(4, 1, 100, 0));
    assert_eq!(held(4, 1, 0, 100_000), held(4, 1, 0, 1));
}

#[test]
fn memory_of_merge_grows_with_keys_and_named_nodes() {
    let (few, many) = (held(100, 10, 0, 0), held(1000, 10, 0, 0));
    println!("{few} bytes for 100 keys, {many} for 1,000");
    assert!(many < 15 * few && many < 1000 * 300, "{few} and {many}");
    let (few, many) = (held(0, 0, 10, 0), held(0, 0, 100, 0));
    println!("{few} bytes for 10 failing nodes, {many} for 100");
    assert!(few < many && many < 100 * 300, "{few} and {many}");
}

/// Returns the bytes of the report of a pool without answers.
fn silent_report(nodes: usize) -> i64 {
    let answers = Answers::default();
    answers.asking((0..nodes).map(node));
    let mut report = None;
    let allocated = measure(|| report = answers.report());
    assert_eq!(report.unwrap().silent.len(), RingReport::NAMED);
    allocated.bytes_current
}

#[test]
fn report_names_at_most_100_silent_nodes() {
    assert_eq!(silent_report(10_000), silent_report(RingReport::NAMED));
}
