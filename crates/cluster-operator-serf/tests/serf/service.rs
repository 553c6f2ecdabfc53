//! The service over two pools.

use std::time::Duration;

use cluster_operator::operation::KeyringScope;
use cluster_operator::rotation::{RotationStep, rotate};
use cluster_operator::service::Caller;
use cluster_operator::{AllowAll, OperatorService, Pool};
use cluster_operator_serf::SerfKeyring;

use crate::pool::{Node, install, key, keyring, ring, three, use_key};

fn service(lan: &Node, wan: &Node) -> OperatorService {
    OperatorService::builder("dc1")
        .keyring(SerfKeyring::new(Pool::Lan, lan.clone(), None))
        .keyring(SerfKeyring::new(Pool::Wan, wan.clone(), None))
        .authorizer(AllowAll)
        .keyring_deadline(Duration::from_secs(5))
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_continues_where_another_ended() {
    let (lan, wan) = tokio::join!(three_of(1), three_of(2));
    let service = service(&lan[0], &wan[1]);
    let caller = Caller::anonymous();

    let listed = service.list_keys(&caller, KeyringScope::Federation).await;
    let rings = listed.unwrap().confirmed().unwrap().rings;
    let pools: Vec<_> = rings.iter().map(|ring| ring.pool.clone()).collect();
    assert_eq!(pools, [Pool::Wan, Pool::Lan]);

    // Like a rotation that ended after the change of the LAN.
    let half = keyring(&lan[0]);
    install(&half, &key(3)).await;
    use_key(&half, &key(3)).await;

    let rotation = rotate(&service, &caller, key(3)).await.unwrap();
    assert_eq!(rotation.removed, 2);
    for node in lan.iter().chain(&wan) {
        assert_eq!(ring(node)[0], key(3));
        assert!(ring(node).iter().all(|held| *held == key(3)));
    }
    assert_eq!(rotate(&service, &caller, key(3)).await.unwrap().removed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_node_stops_a_rotation_before_any_change() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_node_does_not_hide_the_answers_of_the_others() {
    let lan = three_of(1).await;
    lan[2].shutdown().await.unwrap();
    let service = OperatorService::builder("dc1")
        .keyring(keyring(&lan[0]))
        .authorizer(AllowAll)
        .keyring_deadline(Duration::from_secs(2))
        .build()
        .unwrap();
    let listed = service
        .list_keys(&Caller::anonymous(), KeyringScope::Federation)
        .await;
    let ring = &listed.unwrap().rings[0];
    assert_eq!(ring.error, None);
    let report = ring.report.as_ref().unwrap();
    assert_eq!((report.nodes, report.responses), (3, 2));
    assert_eq!(report.silent, ["c"]);
    assert_eq!(report.keys.get(&key(1)), 2);
}

async fn three_of(ring: u8) -> Vec<Node> {
    three(&[key(ring)]).await
}
