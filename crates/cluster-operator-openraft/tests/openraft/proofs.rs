//! Removals while other servers die: before the proof, and in the window after it.

use std::pin::pin;
use std::time::Duration;

use cluster_operator::raft::Proof;
use cluster_operator::{ErrorKind, OperatorError, Outcome, RaftBackend};
use openraft::Vote;
use openraft::raft::AppendEntriesRequest;

use crate::cluster::NodeId;
use crate::servers::{
    Cluster, Elections, PATIENCE, brings_final, brings_joint, ids, name, soon, until, voters,
};

/// Removes a server with this proof, while others are cut off.
async fn remove(
    cluster: &Cluster,
    leader: NodeId,
    id: NodeId,
    proof: Proof,
) -> Result<(), OperatorError> {
    let removal = cluster.removal(leader, id).await.with_proof(proof);
    soon(
        "a removal",
        cluster.backend(leader).change_membership(&removal),
    )
    .await
}

fn assert_unproven(error: &OperatorError, confirmed: usize, needed: usize) {
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    let ErrorKind::QuorumUnproven {
        confirmed: seen,
        needed: asked,
        ..
    } = error.kind()
    else {
        panic!("{error:?}");
    };
    assert_eq!((*seen, *asked), (confirmed, needed), "{error:?}");
}

#[tokio::test]
async fn live_voter_of_three_stays_when_another_has_just_died() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let (victim, dead) = (followers[0], followers[1]);
    let before = cluster.view(leader).await;
    cluster.write(leader).await;
    cluster.links.cut(dead);
    for id in [victim, leader] {
        let error = remove(&cluster, leader, id, Proof::Majority).await;
        // A leader that leaves does not count.
        assert_unproven(&error.unwrap_err(), 1, 2);
        let view = cluster.view(leader).await;
        assert_eq!((view.version, view.change), (before.version, None));
        cluster.write(leader).await;
    }
    // The dead voter itself can be removed.
    remove(&cluster, leader, dead, Proof::Majority)
        .await
        .unwrap();
    assert!(!ids(&cluster.view(leader).await).contains(&dead));
    cluster.write(leader).await;
    cluster.close().await;
}

#[tokio::test]
async fn live_voter_of_five_stays_when_two_have_died() {
    let cluster = Cluster::start(5, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let (victim, dead) = (followers[0], [followers[1], followers[2]]);
    for id in dead {
        cluster.links.cut(id);
    }
    let error = remove(&cluster, leader, victim, Proof::Majority).await;
    assert_unproven(&error.unwrap_err(), 2, 3);
    cluster.write(leader).await;
    for id in dead {
        remove(&cluster, leader, id, Proof::Majority).await.unwrap();
    }
    remove(&cluster, leader, victim, Proof::Majority)
        .await
        .unwrap();
    assert_eq!(voters(&cluster.view(leader).await).len(), 2);
    cluster.close().await;
}

#[tokio::test]
async fn entry_that_is_not_committed_proves_nothing() {
    let cluster = Cluster::start(4, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    // Two of the three that stay are up, but only two of the four that vote.
    let (victim, dead) = (followers[0], followers[1]);
    cluster.links.cut(victim);
    cluster.links.cut(dead);
    let error = remove(&cluster, leader, victim, Proof::Majority).await;
    assert_unproven(&error.unwrap_err(), 2, 3);
    cluster.links.mend();
    cluster.write(leader).await;
    assert_eq!(ids(&cluster.view(leader).await), [1, 2, 3, 4]);
    cluster.close().await;
}

#[tokio::test]
async fn margin_asks_for_one_voter_more_than_a_majority() {
    let cluster = Cluster::start(5, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    cluster.links.cut(followers[1]);
    let error = remove(&cluster, leader, followers[0], Proof::Margin).await;
    assert_unproven(&error.unwrap_err(), 3, 4);
    cluster.links.mend();
    remove(&cluster, leader, followers[0], Proof::Margin)
        .await
        .unwrap();
    remove(&cluster, leader, followers[1], Proof::Margin)
        .await
        .unwrap();
    // Three are left, and two that stay cannot have the margin.
    let error = remove(&cluster, leader, followers[2], Proof::Margin).await;
    assert_unproven(&error.unwrap_err(), 2, 3);
    cluster.write(leader).await;
    cluster.close().await;
}

#[tokio::test]
async fn lead_lost_during_the_proof_is_not_a_missing_quorum() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let (victim, other) = (followers[0], followers[1]);
    cluster.links.cut(other);
    let mut removal = cluster.removal(leader, victim).await;
    removal.timeout = PATIENCE;
    let raft = cluster.raft(leader);
    let committed = || raft.metrics().borrow().last_applied;
    let before = committed();
    let mut call = pin!(cluster.backend(leader).change_membership(&removal));
    until("the proof's entry to be committed", async || {
        assert!(futures_util::poll!(&mut call).is_pending());
        (committed() > before).then_some(())
    })
    .await;
    let from_a_new_leader = AppendEntriesRequest {
        vote: Vote::new_committed(removal.term + 1, other),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    raft.append_entries(from_a_new_leader).await.unwrap();
    let error = soon("the removal", call).await.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::NotLeader { .. } | ErrorKind::NoLeader
        ),
        "{error:?}"
    );
    assert_eq!(error.outcome(), Outcome::NotApplied);
    cluster.close().await;
}

#[tokio::test]
async fn learner_is_removed_while_a_voter_is_dead() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let dead = followers.into_iter().find(|id| *id != 4).unwrap();
    cluster.links.cut(dead);
    cluster.links.cut(4);
    remove(&cluster, leader, 4, Proof::Majority).await.unwrap();
    assert_eq!(ids(&cluster.view(leader).await), [1, 2, 3]);
    cluster.close().await;
}

/// Cuts off a voter that stays when it is about to receive the joint or the final entry,
/// which no proof can prevent. The removal ends once the voter is back.
async fn dies_in_the_window(at_the_final_entry: bool) {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let (victim, dead) = (followers[0], followers[1]);
    if at_the_final_entry {
        cluster.links.cut_receiver(dead, brings_final);
    } else {
        cluster.links.cut_receiver(dead, brings_joint);
    }
    let removal = cluster.removal(leader, victim).await;
    let began = std::time::Instant::now();
    let answer = soon(
        "a removal",
        cluster.backend(leader).change_membership(&removal),
    )
    .await;
    // The old majority is up, which is not enough.
    let error = answer.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert_eq!(error.kind().name(), "deadline-exceeded");
    assert!(began.elapsed() >= removal.timeout / 2);
    assert!(cluster.links.is_cut(dead));

    // The removal keeps its turn until it ends.
    let mut next = cluster.removal(leader, dead).await;
    next.timeout = Duration::from_millis(400);
    let refused = cluster.backend(leader).change_membership(&next).await;
    assert_eq!(*refused.unwrap_err().kind(), ErrorKind::ChangeInProgress);

    cluster.links.mend();
    until("the removal to end", async || {
        let view = cluster.view(leader).await;
        (view.change.is_none() && view.membership.get(&name(victim)).is_none()).then_some(())
    })
    .await;
    cluster.write(leader).await;
    remove(&cluster, leader, dead, Proof::Majority)
        .await
        .unwrap();
    cluster.close().await;
}

#[tokio::test]
async fn voter_that_dies_at_the_joint_entry_delays_the_removal() {
    dies_in_the_window(false).await;
}

#[tokio::test]
async fn old_majority_does_not_confirm_a_removal() {
    dies_in_the_window(true).await;
}
