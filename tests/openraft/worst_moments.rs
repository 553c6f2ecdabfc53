//! Changes that the application makes itself, in the worst moment: after the
//! adapter has read the membership, and before it sends its own change.

use std::collections::BTreeSet;
use std::sync::Mutex;

use cluster_operator::engine::openraft::OpenraftBackend;
use cluster_operator::{ErrorKind, OperatorError, Outcome, RaftBackend};
use openraft::ChangeMembers;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::cluster::{Node, NodeId};
use crate::servers::{Cluster, Elections, by_id, describe, ids, soon};

/// Removes a server while the application makes this change.
async fn remove_after(
    cluster: &Cluster,
    victim: NodeId,
    change: ChangeMembers<NodeId, Node>,
    retain: bool,
) -> Result<(), OperatorError> {
    let leader = cluster.leader().await;
    let raft = cluster.raft(leader).clone();
    // The adapter describes every server that it has read, and reads twice.
    let reads = 2 * cluster.latest(leader).await.servers.len();
    let left = Mutex::new(Some((reads, change)));
    let application = raft.clone();
    let describe = move |id: &NodeId, node: &Node| {
        let mut left = left.lock().unwrap();
        let is_last = left.as_mut().is_some_and(|(reads, _)| {
            *reads -= 1;
            *reads == 0
        });
        if let Some((_, change)) = left.take_if(|_| is_last) {
            let change = application.change_membership(change, retain);
            block_in_place(|| Handle::current().block_on(change).unwrap());
        }
        describe(id, node)
    };
    let backend = OpenraftBackend::new(raft, describe);
    soon("a removal", backend.remove_server(&by_id(victim), None)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_has_become_a_learner_is_removed_all_the_same() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let to_learner = ChangeMembers::RemoveVoters(BTreeSet::from([victim]));
    remove_after(&cluster, victim, to_learner, true)
        .await
        .unwrap();
    assert!(!ids(&cluster.latest(leader).await).contains(&victim));
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_has_become_a_voter_is_removed_all_the_same() {
    let cluster = Cluster::start(1, 1, Elections::Never).await;
    let to_voter = ChangeMembers::AddVoterIds(BTreeSet::from([2]));
    remove_after(&cluster, 2, to_voter, true).await.unwrap();
    assert_eq!(ids(&cluster.latest(1).await), [1]);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_has_become_the_last_one_is_kept() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await.into_iter().collect();
    let all_others = ChangeMembers::RemoveVoters(others);
    let removal = remove_after(&cluster, leader, all_others, false).await;
    let error = removal.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::LastVoter);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(ids(&cluster.latest(leader).await), [leader]);
    cluster.close().await;
}
