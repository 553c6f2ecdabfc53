//! The answers of a follower without a leader.

use std::time::{Duration, Instant};

use cluster_operator::ErrorKind;
use cluster_operator::raft::Consistency;

use crate::datacenter::Datacenter;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_leader_only_stale_reads_succeed() {
    let mut datacenter = Datacenter::start(3, 3).await;
    let leader = datacenter.leader().await;
    let mut followers = datacenter.running();
    followers.retain(|name| *name != leader);

    // A follower gives the leader's answer.
    let of_leader = datacenter
        .read(&leader, Consistency::Default)
        .await
        .unwrap();
    let of_follower = datacenter
        .read(&followers[0], Consistency::Default)
        .await
        .unwrap();
    assert_eq!(of_leader, of_follower);

    // Two of three are killed, so the remaining one cannot elect a leader.
    datacenter.server_mut(&leader).kill();
    datacenter.server_mut(&followers[1]).kill();
    let left = datacenter.client(&followers[0]);
    let stale = left.raft_configuration(Consistency::Stale).await.unwrap();
    assert_eq!(stale.servers.len(), 3);

    // Until it starts an election, which it does within two seconds, it still regards
    // the killed server as the leader and reports it as unreachable.
    let start = Instant::now();
    loop {
        let error = left
            .raft_configuration(Consistency::Default)
            .await
            .unwrap_err();
        match error.kind() {
            ErrorKind::NoLeader => break,
            kind => assert_eq!(kind.name(), "unreachable", "{error}"),
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = Instant::now();
    let error = left
        .raft_configuration(Consistency::Default)
        .await
        .unwrap_err();
    println!(
        "no leader after {:?}, answered in {:?}: {error}",
        start.elapsed(),
        asked.elapsed()
    );
    left.raft_configuration(Consistency::Stale).await.unwrap();
}
