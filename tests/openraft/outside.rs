//! Callers that are not in openraft's runtime.

use cluster_operator::{Consistency, ErrorKind, RaftBackend};
use futures_executor::block_on;

use crate::servers::{Cluster, Elections, by_id, ids};

#[test]
fn a_backend_needs_no_runtime_of_its_callers() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let cluster = runtime.block_on(Cluster::start(3, 0, Elections::Soon));
    let leader = runtime.block_on(cluster.leader());
    let victim = runtime.block_on(cluster.followers())[0];
    let backend = cluster.backend(leader);

    block_on(backend.remove_server(&by_id(victim), None)).unwrap();
    let read = block_on(backend.configuration(Consistency::Consistent)).unwrap();
    assert!(!ids(&read).contains(&victim));

    // Asked again and again until the lease is over, and that without a clock.
    cluster.links.cut(leader);
    let read = block_on(backend.configuration(Consistency::Consistent));
    assert_eq!(*read.unwrap_err().kind(), ErrorKind::NoLeader);
    runtime.block_on(cluster.close());
}
