//! The failure detector over a pool.

use std::time::Duration;

use cluster_operator::autopilot::{Detected, Detection, FailureDetector};
use cluster_operator_serf::SerfDetector;

use crate::pool::{alert, options, start, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_node_has_failed_and_one_that_left_has_left() {
    let nodes = start((0..4).map(|_| options(alert()))).await;
    let detector = SerfDetector::new(nodes[0].clone());
    let of = async |name: &str| -> Option<Detection> {
        let detected = detector.detect().await.unwrap();
        detected.get(name).copied()
    };
    let has = async |name: &str, status| of(name).await.is_some_and(|it| it.status == status);
    for name in ["a", "b", "c", "d"] {
        until(async || has(name, Detected::Alive).await).await;
    }
    let alive = of("b").await.unwrap();
    nodes[2].shutdown().await.unwrap();
    nodes[3].leave().await.unwrap();
    nodes[3].shutdown().await.unwrap();
    until(async || has("c", Detected::Failed).await).await;
    until(async || has("d", Detected::Left).await).await;

    // The time begins with the status, and goes on.
    let failed = of("c").await.unwrap();
    assert!(failed.lasted < of("b").await.unwrap().lasted);
    until(async || {
        let longer = of("c").await.unwrap();
        longer.lasted >= failed.lasted + Duration::from_millis(50)
    })
    .await;
    assert!(of("b").await.unwrap().lasted > alive.lasted);
    assert_eq!(of("x").await, None);
}
