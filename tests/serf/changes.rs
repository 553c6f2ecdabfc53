//! What each operation does to a pool in which every node is well.

use cluster_operator::{KeyringBackend, NodeFailure, NodeMessage, RelayFactor, RingReport};

use crate::pool::{
    Node, all_done, encrypted, key, keyring, none, options, patient, ring, start, three,
};

fn failures(report: &RingReport) -> Vec<(&str, &NodeFailure)> {
    let failures = report.failures();
    failures.map(|(node, why)| (node.as_str(), why)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_installed_used_and_the_old_one_removed() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);

    let listed = lan.list(none()).await.unwrap();
    all_done(&listed, 3);
    assert_eq!(listed.keys, [(key(1), 3)].into_iter().collect());
    assert_eq!(listed.primary_keys, listed.keys);

    let installed = lan.install(&key(2), none()).await.unwrap();
    all_done(&installed, 3);
    let listed = lan.list(none()).await.unwrap();
    assert_eq!(
        listed.keys,
        [(key(1), 3), (key(2), 3)].into_iter().collect()
    );
    assert_eq!(listed.primary_keys, [(key(1), 3)].into_iter().collect());

    let used = lan.use_key(&key(2), none()).await.unwrap();
    all_done(&used, 3);
    let listed = lan.list(none()).await.unwrap();
    assert_eq!(listed.primary_keys, [(key(2), 3)].into_iter().collect());

    let removed = lan.remove(&key(1), none()).await.unwrap();
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
        all_done(&lan.install(&key(10 + factor), relay).await.unwrap(), 3);
        let listed = lan.list(relay).await.unwrap();
        all_done(&listed, 3);
        assert_eq!(listed.keys.get(&key(10 + factor)), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_each_node_refuses_is_told_of_each() {
    let nodes = three(&[key(1), key(2)]).await;
    let lan = keyring(&nodes[0]);

    let used = lan.use_key(&key(9), none()).await.unwrap();
    let absent = NodeFailure::KeyNotInstalled;
    assert_eq!(
        failures(&used),
        [("a", &absent), ("b", &absent), ("c", &absent)]
    );
    let removed = lan.remove(&key(1), none()).await.unwrap();
    let primary = NodeFailure::PrimaryKey;
    assert_eq!(
        failures(&removed),
        [("a", &primary), ("b", &primary), ("c", &primary)]
    );
    for report in [used, removed] {
        assert_eq!((report.nodes, report.responses, report.errors), (3, 3, 3));
    }
    all_done(&lan.remove(&key(9), none()).await.unwrap(), 3);
    for node in &nodes {
        assert_eq!(ring(node), [key(1), key(2)]);
    }
}

/// Serf then has it twice, and its key manager would count it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_installed_again_counts_once_on_each_node() {
    let nodes = three(&[key(1)]).await;
    let lan = keyring(&nodes[0]);
    all_done(&lan.install(&key(1), none()).await.unwrap(), 3);
    let merged = nodes[0].key_manager().list_keys().await.unwrap();
    assert_eq!(merged.keys().values().sum::<usize>(), 6);

    let listed = lan.list(none()).await.unwrap();
    assert_eq!(listed.keys, [(key(1), 3)].into_iter().collect());
    assert_eq!(listed.primary_keys, listed.keys);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_encryption_every_node_says_so() {
    let nodes = start((0..3).map(|_| options(patient()))).await;
    let lan = keyring(&nodes[0]);
    for report in [
        lan.list(none()).await.unwrap(),
        lan.install(&key(1), none()).await.unwrap(),
        lan.use_key(&key(1), none()).await.unwrap(),
        lan.remove(&key(1), none()).await.unwrap(),
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
    let listed = keyring(&nodes[0]).list(none()).await.unwrap();
    all_done(&listed, 3);
    assert_eq!(
        listed.keys,
        [(key(1), 3), (key(2), 3)].into_iter().collect()
    );
    assert_eq!(
        listed.primary_keys,
        [(key(1), 2), (key(2), 1)].into_iter().collect()
    );

    // Asked by the one that refuses: the others could no longer read its answer.
    let removed = keyring(&nodes[2]).remove(&key(2), none()).await.unwrap();
    assert_eq!(failures(&removed), [("c", &NodeFailure::PrimaryKey)]);
    assert_eq!(
        (removed.nodes, removed.responses, removed.errors),
        (3, 3, 1)
    );
    let rings: Vec<_> = nodes.iter().map(ring).collect();
    assert_eq!(rings, [vec![key(1)], vec![key(1)], vec![key(2), key(1)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_that_does_not_fit_into_an_answer_is_told_to_be_cut() {
    let many: Vec<_> = (1..=60).map(key).collect();
    let rings = [vec![key(1)], many];
    let nodes = start(rings.iter().map(|ring| options(encrypted(patient(), ring)))).await;
    let listed = keyring(&nodes[0]).list(none()).await.unwrap();
    all_done(&listed, 2);
    assert_eq!(listed.keys.get(&key(1)), 2);
    let (node, message) = listed.messages.first_key_value().unwrap();
    let &NodeMessage::Truncated { shown, total } = message else {
        panic!("{message:?}");
    };
    assert_eq!((node.as_str(), total), ("b", 60));
    assert_eq!(listed.keys.iter().count(), shown);

    // A node's own ring goes through no message.
    let listed = keyring(&nodes[1]).list(none()).await.unwrap();
    assert_eq!((listed.keys.iter().count(), listed.messages.len()), (60, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_write_its_file_has_changed_all_the_same() {
    let directory = std::env::temp_dir().join(format!("serf-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let good = directory.join("keyring.json");
    let files = [
        None,
        Some(directory.join("missing/keyring.json")),
        Some(good.clone()),
    ];
    let nodes =
        start(files.map(|file| options(encrypted(patient(), &[key(1)])).with_keyring_file(file)))
            .await;
    let report = keyring(&nodes[0]).install(&key(2), none()).await.unwrap();
    let written = std::fs::read_to_string(good).unwrap();
    std::fs::remove_dir_all(directory).unwrap();

    let failed = failures(&report);
    assert!(
        matches!(failed[..], [("b", NodeFailure::Other(_))]),
        "{failed:?}"
    );
    assert_eq!((report.nodes, report.responses, report.errors), (3, 3, 1));
    assert_eq!(ring(&nodes[1]), [key(1), key(2)]);
    let saved: Vec<String> = serde_json::from_str(&written).unwrap();
    assert_eq!(
        saved,
        [key(1), key(2)].map(|key| key.to_base64().to_string())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_members_are_named_as_serf_names_them() {
    let nodes: Vec<Node> = three(&[key(1)]).await;
    let mut names = keyring(&nodes[1]).members().unwrap();
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
}
