//! Callers that are not in openraft's runtime.

use std::time::Duration;

use cluster_operator::{Outcome, RaftBackend};
use futures_executor::block_on;

use crate::servers::{Cluster, Elections, TIMEOUT, ids, name};

#[test]
fn backend_needs_no_runtime_of_its_callers() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let cluster = runtime.block_on(Cluster::start(3, 0, Elections::Soon));
    let first = runtime.block_on(cluster.leader());
    let leader = cluster.followers_of(first)[0];
    while let Err(error) = block_on(
        cluster
            .backend(first)
            .transfer_leadership(&name(leader), TIMEOUT),
    ) {
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    }
    assert_eq!(runtime.block_on(cluster.leader()), leader);
    let victim = runtime.block_on(cluster.followers())[0];
    let backend = cluster.backend(leader);

    block_on(cluster.remove(leader, victim)).unwrap();
    let view = block_on(backend.confirmed_view(TIMEOUT)).unwrap();
    assert!(!ids(&view).contains(&victim));

    cluster.links.cut(leader);
    let error = block_on(backend.confirmed_view(Duration::from_millis(300))).unwrap_err();
    assert_eq!(error.kind().name(), "deadline-exceeded");
    let error = block_on(cluster.remove(leader, victim)).unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    runtime.block_on(cluster.close());
}
