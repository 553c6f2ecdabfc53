//! The answers of a follower without a leader.

use std::time::Instant;

use cluster_operator::ErrorKind;
use cluster_operator::raft::Consistency;

use crate::datacenter::{Datacenter, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_leader_only_stale_reads_succeed() {
    let mut datacenter = Datacenter::start(3, 3).await;
    let [leader, asked, killed] = datacenter.by_role().await.try_into().unwrap();

    // A follower gives the leader's answer.
    let of_leader = datacenter
        .read(&leader, Consistency::Default)
        .await
        .unwrap();
    let of_follower = datacenter.read(&asked, Consistency::Default).await.unwrap();
    assert_eq!(of_leader, of_follower);

    // Two of three are killed, so the remaining one cannot elect a leader.
    datacenter.server_mut(&leader).kill();
    datacenter.server_mut(&killed).kill();
    let left = datacenter.client(&asked);
    let stale = left.raft_configuration(Consistency::Stale).await.unwrap();
    assert_eq!(stale.servers.len(), 3);

    // Until it starts an election, which it does within two seconds, it still regards
    // the killed server as the leader and reports it as unreachable.
    let start = Instant::now();
    let error = eventually("an election", || async {
        let read = left.raft_configuration(Consistency::Default).await;
        let error = read.unwrap_err();
        match error.kind() {
            ErrorKind::NoLeader => Ok(error),
            kind => {
                assert_eq!(kind.name(), "unreachable", "{error}");
                Err(error.to_string())
            }
        }
    })
    .await;
    println!("no leader after {:?}: {error}", start.elapsed());
    left.raft_configuration(Consistency::Stale).await.unwrap();
}
