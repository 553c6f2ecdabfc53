//! The effect of each operation on a healthy pool.

use cluster_operator::Pool;
use cluster_operator::keyring::{KeyChange, NodeFailure, NodeMessage, RelayFactor, RingReport};
use cluster_operator_serf::SerfKeyring;

use crate::pool::{
    all_done, change_with, encrypted, install, key, keyring, list, list_with, options, patient,
    query, remove, ring, start, three, use_key,
};

fn failures(report: &RingReport) -> Vec<(&str, &NodeFailure)> {
    let failures = report.failures();
    failures.map(|(node, why)| (node.as_str(), why)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_is_installed_used_and_the_old_one_removed() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);

    let listed = list(&lan).await;
    all_done(&listed, 3);
    assert_eq!(listed.keys, [(key(1), 3)].into_iter().collect());
    assert_eq!(listed.primary_keys, listed.keys);

    let installed = install(&lan, &key(2)).await;
    all_done(&installed, 3);
    let listed = list(&lan).await;
    assert_eq!(
        listed.keys,
        [(key(1), 3), (key(2), 3)].into_iter().collect()
    );
    assert_eq!(listed.primary_keys, [(key(1), 3)].into_iter().collect());

    let used = use_key(&lan, &key(2)).await;
    all_done(&used, 3);
    let listed = list(&lan).await;
    assert_eq!(listed.primary_keys, [(key(2), 3)].into_iter().collect());

    let removed = remove(&lan, &key(1)).await;
    all_done(&removed, 3);
    for report in [installed, used, removed] {
        assert!(report.messages.is_empty() && report.keys.is_empty());
    }
    for node in &nodes {
        assert_eq!(ring(node), [key(2)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_relay_factor_counts_each_node_once() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);
    for factor in 0..=5 {
        let relay = RelayFactor::try_from(factor).unwrap();
        let change = KeyChange::Install(key(10 + factor));
        all_done(
            &change_with(&lan, change, query().with_relay(relay)).await,
            3,
        );
        let listed = list_with(&lan, query().with_relay(relay)).await;
        all_done(&listed, 3);
        assert_eq!(listed.keys.get(&key(10 + factor)), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejections_are_reported_for_each_node() {
    let nodes = three(&[key(1), key(2)]).await;
    let lan = keyring(&nodes[0]);

    let used = use_key(&lan, &key(9)).await;
    let absent = NodeFailure::KeyNotInstalled;
    assert_eq!(
        failures(&used),
        [("a", &absent), ("b", &absent), ("c", &absent)]
    );
    let removed = remove(&lan, &key(1)).await;
    let primary = NodeFailure::PrimaryKey;
    assert_eq!(
        failures(&removed),
        [("a", &primary), ("b", &primary), ("c", &primary)]
    );
    for report in [used, removed] {
        assert_eq!((report.nodes, report.responses, report.errors), (3, 3, 3));
    }
    all_done(&remove(&lan, &key(9)).await, 3);
    for node in &nodes {
        assert_eq!(ring(node), [key(1), key(2)]);
    }
}

/// The nodes that serf changes then hold it twice, and serf's key manager counts it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn primary_that_is_installed_again_counts_once() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);
    all_done(&install(&lan, &key(1)).await, 3);
    let merged = nodes[0].key_manager().list_keys().await.unwrap();
    assert_eq!(merged.keys().values().sum::<usize>(), 5);

    let listed = list(&lan).await;
    assert_eq!(listed.keys, [(key(1), 3)].into_iter().collect());
    assert_eq!(listed.primary_keys, listed.keys);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_encryption_every_node_says_so() {
    let nodes = start((0..3).map(|_| options(patient()))).await;
    let lan = keyring(&nodes[0]);
    for report in [
        list(&lan).await,
        install(&lan, &key(1)).await,
        use_key(&lan, &key(1)).await,
        remove(&lan, &key(1)).await,
    ] {
        let off = NodeFailure::EncryptionOff;
        assert_eq!(failures(&report), [("a", &off), ("b", &off), ("c", &off)]);
        assert_eq!((report.nodes, report.responses, report.errors), (3, 3, 3));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn primaries_are_counted_by_node_and_kept_by_each() {
    let rings = [[key(1), key(2)], [key(1), key(2)], [key(2), key(1)]];
    let nodes = start(rings.iter().map(|ring| options(encrypted(patient(), ring)))).await;
    let listed = list(&keyring(&nodes[0])).await;
    all_done(&listed, 3);
    assert_eq!(
        listed.keys,
        [(key(1), 3), (key(2), 3)].into_iter().collect()
    );
    assert_eq!(
        listed.primary_keys,
        [(key(1), 2), (key(2), 1)].into_iter().collect()
    );

    // Only the others change, and then cannot read this node any more.
    let removed = remove(&keyring(&nodes[0]), &key(2)).await;
    assert_eq!(failures(&removed), [("c", &NodeFailure::PrimaryKey)]);
    assert_eq!(
        (removed.nodes, removed.responses, removed.errors),
        (3, 3, 1)
    );
    let rings: Vec<_> = nodes.iter().map(ring).collect();
    assert_eq!(rings, [vec![key(1)], vec![key(1)], vec![key(2), key(1)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ring_too_long_for_an_answer_is_reported_as_truncated() {
    let many: Vec<_> = (1..=60).map(key).collect();
    let rings = [vec![key(1)], many];
    let nodes = start(rings.iter().map(|ring| options(encrypted(patient(), ring)))).await;
    let listed = list(&keyring(&nodes[0])).await;
    all_done(&listed, 2);
    assert_eq!(listed.keys.get(&key(1)), 2);
    let (node, message) = listed.messages.first_key_value().unwrap();
    let &NodeMessage::Truncated { shown, total } = message else {
        panic!("{message:?}");
    };
    assert_eq!((node.as_str(), total), ("b", 60));
    assert_eq!(listed.keys.iter().count(), shown);

    // A node's own ring is not limited by a message.
    let listed = list(&keyring(&nodes[1])).await;
    assert_eq!((listed.keys.iter().count(), listed.messages.len()), (60, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_written_to_the_files_of_all_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let files = ["a.json", "b.json"].map(|name| directory.path().join(name));
    let nodes = start(files.iter().map(|file| {
        options(encrypted(patient(), &[key(1)])).with_keyring_file(Some(file.clone()))
    }))
    .await;
    let lan = SerfKeyring::new(Pool::Lan, nodes[0].clone(), Some(files[0].clone()));
    let written = || {
        files.each_ref().map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            serde_json::from_str::<Vec<String>>(&text).unwrap()
        })
    };
    let texts = |keys: &[u8]| -> Vec<String> {
        keys.iter()
            .map(|n| key(*n).to_base64().to_string())
            .collect()
    };
    all_done(&install(&lan, &key(2)).await, 2);
    assert_eq!(written(), [texts(&[1, 2]), texts(&[1, 2])]);
    all_done(&use_key(&lan, &key(2)).await, 2);
    assert_eq!(written(), [texts(&[2, 1]), texts(&[2, 1])]);
    all_done(&remove(&lan, &key(1)).await, 2);
    assert_eq!(written(), [texts(&[2]), texts(&[2])]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    #[cfg(unix)]
    for file in &files {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ring_changes_even_if_its_file_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing/keyring.json");
    let files = [Some(missing.clone()), Some(missing.clone()), None];
    let nodes =
        start(files.map(|file| options(encrypted(patient(), &[key(1)])).with_keyring_file(file)))
            .await;
    let lan = SerfKeyring::new(Pool::Lan, nodes[0].clone(), Some(missing));
    let report = install(&lan, &key(2)).await;
    let failed = failures(&report);
    assert!(
        matches!(
            failed[..],
            [("a", NodeFailure::Other(_)), ("b", NodeFailure::Other(_))]
        ),
        "{failed:?}"
    );
    assert_eq!((report.nodes, report.responses, report.errors), (3, 3, 2));
    assert!(nodes.iter().all(|node| ring(node) == [key(1), key(2)]));
}
