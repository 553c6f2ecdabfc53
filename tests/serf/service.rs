//! The service over two pools.

use std::time::Duration;

use cluster_operator::engine::serf::SerfKeyring;
use cluster_operator::rotation::{RotationStep, rotate};
use cluster_operator::{AllowAll, Caller, KeyringBackend, KeyringScope, OperatorService, Pool};

use crate::pool::{Node, key, keyring, none, ring, three};

fn service(lan: &Node, wan: &Node) -> OperatorService {
    OperatorService::builder("dc1")
        .keyring(SerfKeyring::new(Pool::Lan, lan.clone()))
        .keyring(SerfKeyring::new(Pool::Wan, wan.clone()))
        .authorizer(AllowAll)
        .keyring_deadline(Duration::from_secs(10))
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_goes_through_both_pools_and_goes_on_where_one_ended() {
    let (lan, wan) = tokio::join!(three_of(1), three_of(2));
    let service = service(&lan[0], &wan[1]);
    let caller = Caller::anonymous();

    let listed = service.list_keys(&caller, KeyringScope::Federation).await;
    let rings = listed.unwrap().confirmed().unwrap().rings;
    let pools: Vec<_> = rings.iter().map(|ring| ring.pool.clone()).collect();
    assert_eq!(pools, [Pool::Wan, Pool::Lan]);

    // As one that ended after the LAN had changed.
    let half = keyring(&lan[0]);
    half.install(&key(3), none()).await.unwrap();
    half.use_key(&key(3), none()).await.unwrap();

    let rotation = rotate(&service, &caller, key(3)).await.unwrap();
    assert_eq!(rotation.removed, 2);
    for node in lan.iter().chain(&wan) {
        assert_eq!(ring(node)[0], key(3));
        assert!(ring(node).iter().all(|held| *held == key(3)));
    }
    assert_eq!(rotate(&service, &caller, key(3)).await.unwrap().removed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_stops_a_rotation_before_anything_changes() {
    let (lan, wan) = tokio::join!(three_of(1), three_of(2));
    wan[2].shutdown().await.unwrap();
    let service = service(&lan[0], &wan[0]);
    let error = rotate(&service, &Caller::anonymous(), key(3))
        .await
        .unwrap_err();
    assert_eq!(error.step, RotationStep::Look);
    assert!(lan.iter().all(|node| ring(node) == [key(1)]));
    assert!(!error.to_string().contains(&*key(1).to_base64()));
}

async fn three_of(ring: u8) -> Vec<Node> {
    three(&[key(ring)]).await
}
