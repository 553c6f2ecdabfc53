//! Removals while the program itself changes the membership.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use cluster_operator::engine::openraft::OpenraftBackend;
use cluster_operator::{ErrorKind, Outcome, PeerSelector, RaftBackend, RaftServer};
use openraft::ChangeMembers;

use crate::cluster::{Node, NodeId};
use crate::servers::{Cluster, Elections, by_id, ids, node, soon, until, voters};

/// Polls a change of the membership until its first entry is committed.
async fn first_half(cluster: &Cluster, leader: NodeId, change: impl Future + Unpin) {
    let mut change = change;
    assert!(futures_util::poll!(&mut change).is_pending());
    let metrics = cluster.raft(leader).metrics();
    until("the first entry", async || {
        let metrics = metrics.borrow();
        let latest = &metrics.membership_config;
        let is_joint = latest.membership().get_joint_config().len() == 2;
        (is_joint && metrics.last_applied >= *latest.log_id()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_that_the_program_is_about_to_end_is_left_to_it() {
    let cluster = Cluster::start(4, 0, Elections::Soon).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    let (demoted, victim) = (others[0], others[1]);

    let demote = ChangeMembers::RemoveVoters(BTreeSet::from([demoted]));
    let mut demote = pin!(cluster.raft(leader).change_membership(demote, true));
    first_half(&cluster, leader, demote.as_mut()).await;
    let mut removal = pin!(cluster.remove(leader, victim));
    let wait = tokio::time::timeout(Duration::from_millis(100), removal.as_mut());
    assert!(wait.await.is_err(), "the other change is not over");
    demote.await.unwrap();
    soon("the removal", removal).await.unwrap();

    let latest = cluster.latest(leader).await;
    assert!(ids(&latest).contains(&demoted), "it was to stay");
    assert!(!voters(&latest).contains(&demoted));
    assert!(!ids(&latest).contains(&victim));
    cluster.close().await;
}

#[tokio::test]
async fn a_change_that_nobody_ends_does_not_stand_in_the_way() {
    let cluster = Cluster::start(3, 1, Elections::Soon).await;
    let leader = cluster.leader().await;
    let learner = 4;
    let victim = cluster.followers().await[0];
    {
        let promote = ChangeMembers::AddVoterIds(BTreeSet::from([learner]));
        let promote = pin!(cluster.raft(leader).change_membership(promote, true));
        first_half(&cluster, leader, promote).await;
    }
    soon("the removal", cluster.remove(leader, victim))
        .await
        .unwrap();
    let latest = cluster.latest(leader).await;
    assert!(voters(&latest).contains(&learner));
    assert!(!ids(&latest).contains(&victim));
    cluster.close().await;
}

#[tokio::test]
async fn a_removal_that_is_overtaken_between_its_entries_goes_to_its_end() {
    let cluster = Cluster::start(5, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    for victim in cluster.followers().await.into_iter().take(3) {
        let raft = cluster.raft(leader);
        let removal = cluster.remove(leader, victim);
        // Each time a change is over, there is another one of the program's.
        let learners = async {
            for id in 100.. {
                while raft.add_learner(id, node(id), false).await.is_err() {}
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = soon("the removal", removal) => answer.unwrap(),
            () = learners => unreachable!(),
        }
        assert!(!ids(&cluster.latest(leader).await).contains(&victim));
    }
    cluster.close().await;
}

#[tokio::test]
async fn a_name_that_two_nodes_share_is_refused() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    // As the nodes are where only ids were given to `initialize`.
    let describe = |id: &NodeId, _: &Node| RaftServer::voter(id.to_string(), "");
    let backend = OpenraftBackend::new(cluster.raft(leader).clone(), describe);
    let shared = PeerSelector::Address("".into());
    let error = backend.remove_server(&shared, None).await.unwrap_err();
    let ErrorKind::InvalidRequest { reason } = error.kind() else {
        panic!("{error:?}");
    };
    let expected = "both node 1 and node 2 have the address \"\": name the server otherwise";
    assert_eq!(reason, expected);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(ids(&cluster.latest(leader).await), [1, 2, 3]);
    backend
        .remove_server(&by_id(cluster.followers().await[0]), None)
        .await
        .unwrap();
    cluster.close().await;
}
