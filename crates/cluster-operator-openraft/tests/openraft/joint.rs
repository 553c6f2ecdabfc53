//! Joint configurations that nobody finishes, and removals with another change between
//! their two entries.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use cluster_operator::raft::{PendingChange, RaftView};
use cluster_operator::{ErrorKind, Outcome, RaftBackend};
use cluster_operator_openraft::log_position;
use openraft::{ChangeMembers, EntryPayload};

use crate::cluster::{NodeId, Raft};
use crate::servers::{
    Cluster, Elections, brings_final, brings_joint, ids, node, soon, until, voters,
};

/// The next leader after the first one is cut off.
#[derive(Debug, Clone, Copy, PartialEq)]
enum NextLeader {
    /// The server that is to be removed.
    Victim,
    Another,
}

/// The leader that was cut off when it had committed the joint configuration, the server
/// that it was to remove, and the next leader.
async fn left_joint(cluster: &Cluster, next: NextLeader) -> (NodeId, NodeId, NodeId) {
    let old = cluster.leader().await;
    let victim = cluster.followers().await[0];
    cluster.links.cut_before(move |rpc| {
        rpc.entries.iter().any(|entry| match &entry.payload {
            EntryPayload::Membership(sets) => sets.get_node(&victim).is_none(),
            _ => false,
        })
    });
    cluster.only_elects(|id| (id == victim) == (next == NextLeader::Victim));
    let answer = soon("a removal", cluster.remove(old, victim)).await;
    assert_eq!(answer.unwrap_err().outcome(), Outcome::Unknown);
    assert!(cluster.links.is_cut(old));
    let new = cluster.leader().await;
    assert_eq!(new == victim, next == NextLeader::Victim);
    cluster.only_elects(|_| true);
    until("the joint configuration to be committed", async || {
        let joint = Some(PendingChange::Joint);
        (cluster.view(new).await.change == joint).then_some(())
    })
    .await;
    (old, victim, new)
}

#[tokio::test]
async fn unfinished_removal_is_finished() {
    finish_the_removal(NextLeader::Another).await;
}

#[tokio::test]
async fn leader_finishes_its_own_unfinished_removal() {
    finish_the_removal(NextLeader::Victim).await;
}

async fn finish_the_removal(next: NextLeader) {
    let cluster = Cluster::voters(4).await;
    let (old, victim, new) = left_joint(&cluster, next).await;
    let half = cluster.view(new).await;
    assert_eq!(ids(&half), [1, 2, 3, 4]);
    assert_eq!(voters(&half), [1, 2, 3, 4]);

    soon("the rest of the removal", cluster.remove(new, victim))
        .await
        .unwrap();
    let rest: Vec<_> = (1..=4).filter(|id| *id != victim).collect();
    let connected = rest.iter().copied().filter(|id| *id != old);
    let new = cluster.leader_of(connected).await;
    let view = cluster.view(new).await;
    assert!(view.version > half.version);
    assert_eq!((ids(&view), voters(&view)), (rest.clone(), rest));
    let again = cluster.remove(new, victim).await.unwrap_err();
    assert!(matches!(again.kind(), ErrorKind::UnknownServer(_)));

    cluster.links.mend();
    until("the old leader to know", async || {
        (!ids(&cluster.view(old).await).contains(&victim)).then_some(())
    })
    .await;
    cluster.close().await;
}

#[tokio::test]
async fn joint_configuration_is_finished_before_another_removal() {
    remove_another(NextLeader::Another).await;
}

#[tokio::test]
async fn leader_finishes_its_own_before_another_removal() {
    remove_another(NextLeader::Victim).await;
}

async fn remove_another(next: NextLeader) {
    let cluster = Cluster::voters(5).await;
    let (old, victim, new) = left_joint(&cluster, next).await;
    let half = cluster.view(new).await;
    let error = soon("another removal", cluster.remove(new, old)).await;
    let view = finished(&cluster, new).await;
    let (expected, actual) = (half.version, view.version);
    let error = error.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Conflict { expected, actual });
    assert_eq!(error.outcome(), Outcome::NotApplied);
    // The server of the unfinished removal stays as a learner.
    assert_eq!(ids(&view), [1, 2, 3, 4, 5]);
    assert!(!voters(&view).contains(&victim));

    // In openraft a leader goes on leading as a learner, until it is removed.
    soon("a removal", cluster.remove(new, old)).await.unwrap();
    soon("a removal", cluster.remove(new, victim))
        .await
        .unwrap();
    let rest: Vec<_> = (1..=5).filter(|id| *id != old && *id != victim).collect();
    let new = cluster.leader_of(rest.clone()).await;
    assert_eq!(ids(&cluster.view(new).await), rest);
    cluster.close().await;
}

/// The view of a server once the configuration is not joint any more.
async fn finished(cluster: &Cluster, id: NodeId) -> RaftView {
    until("the joint configuration to be finished", async || {
        let view = cluster.view(id).await;
        view.change.is_none().then_some(view)
    })
    .await
}

#[tokio::test]
async fn joint_configuration_is_not_finished_without_a_proof() {
    let cluster = Cluster::voters(5).await;
    let (old, victim, new) = left_joint(&cluster, NextLeader::Another).await;
    // Three of the five old voters are up, but only two of the four new ones.
    let others = [1, 2, 3, 4, 5].into_iter();
    let dead = others.rev().find(|id| ![old, victim, new].contains(id));
    let removals = [old, victim].map(|id| cluster.removal(new, id));
    let removals = futures_util::future::join_all(removals).await;
    cluster.links.cut(dead.unwrap());
    for removal in &removals {
        let answer = cluster.backend(new).change_membership(removal);
        let error = soon("a removal", answer).await.unwrap_err();
        // The second one may find that the leader has lost the lead.
        match error.kind() {
            ErrorKind::QuorumUnproven {
                confirmed, needed, ..
            } => assert_eq!((*confirmed, *needed), (2, 3)),
            kind => assert_eq!(*kind, ErrorKind::NoLeader),
        }
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
    assert_eq!(voters(&cluster.view(new).await), [1, 2, 3, 4, 5]);
    cluster.close().await;
}

#[tokio::test]
async fn removal_that_ends_under_another_leader_ends_its_turn() {
    let cluster = Cluster::voters(5).await;
    let old = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let before = cluster.view(old).await.version;
    cluster.links.cut_after(brings_joint);
    cluster.only_elects(|_| false);
    let answer = soon("a removal", cluster.remove(old, victim)).await;
    assert_eq!(answer.unwrap_err().outcome(), Outcome::Unknown);

    // A server with the first entry leads, and commits it.
    let next = until("a server with the first entry", async || {
        for id in cluster.followers_of(old) {
            if cluster.view(id).await.version > before {
                return Some(id);
            }
        }
        None
    })
    .await;
    cluster.only_elects(|id| id == next);
    assert_eq!(cluster.leader().await, next);

    // The old leader learns of it from a snapshot, so that openraft never answers for the
    // entry.
    let raft = cluster.raft(next);
    let mut metrics = raft.metrics();
    let last = cluster.write(next).await;
    raft.trigger().snapshot().await.unwrap();
    let taken = metrics.wait_for(|metrics| metrics.snapshot >= Some(last));
    drop(soon("a snapshot", taken).await.unwrap());
    raft.trigger().purge_log(last.index).await.unwrap();
    let purged = metrics.wait_for(|metrics| metrics.purged >= Some(last));
    drop(soon("a shorter log", purged).await.unwrap());
    cluster.links.mend();
    let mut metrics = cluster.raft(old).metrics();
    let caught_up = metrics.wait_for(|metrics| metrics.snapshot >= Some(last));
    drop(soon("the old leader's snapshot", caught_up).await.unwrap());

    cluster.only_elects(|id| id == old);
    cluster.stop(next).await;
    assert_eq!(cluster.leader_of(cluster.followers_of(next)).await, old);
    // The removal finishes the joint configuration first.
    let finished = soon("the rest", cluster.remove(old, victim)).await;
    finished.unwrap();
    // The stopped leader may be the removed server.
    let others = cluster.followers_of(old);
    let next = *others.iter().find(|id| **id != victim).unwrap();
    soon("a removal", cluster.remove(old, next)).await.unwrap();
    assert!(!ids(&cluster.view(old).await).contains(&next));
    cluster.close().await;
}

/// Polls a change of the membership until its first entry is committed.
async fn first_half(cluster: &Cluster, leader: NodeId, change: impl Future + Unpin) {
    let mut change = change;
    assert!(futures_util::poll!(&mut change).is_pending());
    until("the first entry", async || {
        let joint = Some(PendingChange::Joint);
        (cluster.view(leader).await.change == joint).then_some(())
    })
    .await;
}

#[tokio::test]
async fn change_that_the_program_finishes_is_not_finished_twice() {
    let cluster = Cluster::start(4, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    let (demoted, victim) = (others[0], others[1]);

    let demote = ChangeMembers::RemoveVoters(BTreeSet::from([demoted]));
    let mut demote = pin!(cluster.raft(leader).change_membership(demote, true));
    first_half(&cluster, leader, demote.as_mut()).await;
    let mut removal = cluster.removal(leader, victim).await;
    removal.timeout = crate::servers::PATIENCE;
    let mut removal = pin!(cluster.backend(leader).change_membership(&removal));
    let wait = tokio::time::timeout(Duration::from_millis(100), removal.as_mut());
    assert!(wait.await.is_err(), "the other change is not over");
    demote.await.unwrap();
    let error = soon("the removal", removal).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Conflict { .. }));
    assert_eq!(error.outcome(), Outcome::NotApplied);
    soon("the removal", cluster.remove(leader, victim))
        .await
        .unwrap();

    let view = cluster.view(leader).await;
    assert!(ids(&view).contains(&demoted), "it was to stay");
    assert!(!voters(&view).contains(&demoted));
    assert!(!ids(&view).contains(&victim));
    cluster.close().await;
}

#[tokio::test]
async fn change_that_nobody_finishes_is_finished() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    let learner = 4;
    let others = cluster.followers().await;
    let victim = *others.iter().find(|id| **id != learner).unwrap();
    {
        let promote = ChangeMembers::AddVoterIds(BTreeSet::from([learner]));
        let promote = pin!(cluster.raft(leader).change_membership(promote, true));
        first_half(&cluster, leader, promote).await;
    }
    let error = soon("the removal", cluster.remove(leader, victim)).await;
    assert!(matches!(
        error.unwrap_err().kind(),
        ErrorKind::Conflict { .. }
    ));
    soon("the removal", cluster.remove(leader, victim))
        .await
        .unwrap();
    let view = cluster.view(leader).await;
    assert!(voters(&view).contains(&learner));
    assert!(!ids(&view).contains(&victim));
    cluster.close().await;
}

#[tokio::test]
async fn last_voter_of_a_joint_configuration_is_kept() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    {
        let only = BTreeSet::from([leader]);
        let change = pin!(cluster.raft(leader).change_membership(only, false));
        first_half(&cluster, leader, change).await;
    }
    assert_eq!(voters(&cluster.view(leader).await), [1, 2, 3]);
    let error = soon("a removal", cluster.remove(leader, leader)).await;
    assert!(matches!(
        error.unwrap_err().kind(),
        ErrorKind::Conflict { .. }
    ));
    let view = finished(&cluster, leader).await;
    assert_eq!((ids(&view), voters(&view)), (vec![1, 2, 3], vec![leader]));
    let error = cluster.remove(leader, leader).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::LastVoter);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    cluster.close().await;
}

/// Waits until the membership is a later one than that at this index.
async fn changed_after(raft: &Raft, before: u64) {
    let mut metrics = raft.metrics();
    let changed = metrics.wait_for(|metrics| {
        let at = metrics.membership_config.log_id();
        at.is_some_and(|at| log_position(&at).index > before)
    });
    drop(changed.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_ends_though_a_change_comes_between_its_entries() {
    let cluster = Cluster::start(4, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let victim = cluster.followers().await[0];
    // The program adds learners as soon as the joint configuration allows it, until one of
    // them comes before the final entry.
    until("a removal to be overtaken", async || {
        let before = cluster.view(leader).await.version.index;
        let adding = (100..108).map(|id| {
            let raft = cluster.raft(leader).clone();
            tokio::spawn(async move {
                changed_after(&raft, before).await;
                loop {
                    if let Ok(added) = raft.add_learner(id, node(id), false).await {
                        return added.membership.unwrap().get_joint_config().len() > 1;
                    }
                }
            })
        });
        let adding: Vec<_> = adding.collect();
        soon("the removal", cluster.remove(leader, victim))
            .await
            .unwrap();
        assert!(!ids(&cluster.view(leader).await).contains(&victim));
        let mut overtaken = false;
        for added in adding {
            overtaken |= soon("a learner", added).await.unwrap();
        }
        if overtaken {
            return Some(());
        }
        let raft = cluster.raft(leader);
        let learners = (100..108).collect();
        let gone = ChangeMembers::RemoveNodes(learners);
        raft.change_membership(gone, false).await.unwrap();
        raft.add_learner(victim, node(victim), true).await.unwrap();
        let voter = ChangeMembers::AddVoterIds(BTreeSet::from([victim]));
        raft.change_membership(voter, true).await.unwrap();
        None
    })
    .await;
    cluster.close().await;
}

#[tokio::test]
async fn removed_voter_that_was_kept_as_learner_is_removed() {
    let cluster = Cluster::start(4, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let victim = cluster.followers().await[0];
    // The program ends the joint configuration itself, until its entry comes before the
    // final entry of the removal.
    until("a removal to be overtaken", async || {
        let before = cluster.view(leader).await.version.index;
        let ending = (0..8).map(|_| {
            let raft = cluster.raft(leader).clone();
            tokio::spawn(async move {
                changed_after(&raft, before).await;
                loop {
                    let nobody = ChangeMembers::AddVoterIds(BTreeSet::new());
                    if let Ok(ended) = raft.change_membership(nobody, true).await {
                        return ended.membership.unwrap().get_node(&victim).is_some();
                    }
                }
            })
        });
        let ending: Vec<_> = ending.collect();
        soon("the removal", cluster.remove(leader, victim))
            .await
            .unwrap();
        assert!(!ids(&cluster.view(leader).await).contains(&victim));
        let mut overtaken = false;
        for ended in ending {
            overtaken |= soon("the end", ended).await.unwrap();
        }
        if overtaken {
            return Some(());
        }
        let raft = cluster.raft(leader);
        raft.add_learner(victim, node(victim), true).await.unwrap();
        let voter = ChangeMembers::AddVoterIds(BTreeSet::from([victim]));
        raft.change_membership(voter, true).await.unwrap();
        None
    })
    .await;
    cluster.close().await;
}

#[tokio::test]
async fn replacement_without_a_vote_for_the_new_server_is_unknown() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    let (victim, spare) = (cluster.followers_of(leader)[0], 4);
    // The program takes the new server's vote as soon as the joint configuration allows it,
    // until that comes before the final entry of the replacement.
    let error = until("a replacement to be overtaken", async || {
        let before = cluster.view(leader).await.version.index;
        let removing = (0..8).map(|_| {
            let raft = cluster.raft(leader).clone();
            tokio::spawn(async move {
                changed_after(&raft, before).await;
                loop {
                    let vote = ChangeMembers::RemoveVoters(BTreeSet::from([spare]));
                    if raft.change_membership(vote, false).await.is_ok() {
                        return;
                    }
                }
            })
        });
        let removing: Vec<_> = removing.collect();
        let answer = soon("the replacement", cluster.replace(leader, victim, spare)).await;
        for removed in removing {
            soon("the end of the vote", removed).await.unwrap();
        }
        let rest = cluster.followers_of(leader);
        let rest = rest.into_iter().filter(|id| ![victim, spare].contains(id));
        let rest: BTreeSet<_> = rest.chain([leader]).collect();
        assert_eq!(voters(&cluster.view(leader).await), Vec::from_iter(rest));
        if answer.is_err() {
            return answer.err();
        }
        let raft = cluster.raft(leader);
        for id in [victim, spare] {
            raft.add_learner(id, node(id), true).await.unwrap();
        }
        let voter = ChangeMembers::AddVoterIds(BTreeSet::from([victim]));
        raft.change_membership(voter, true).await.unwrap();
        None
    })
    .await;
    assert!(matches!(error.kind(), ErrorKind::Conflict { .. }));
    assert_eq!(error.outcome(), Outcome::Unknown);
    cluster.close().await;
}

/// The leader is cut off when it has committed the joint configuration of a replacement.
/// Returns the voter that leaves, the server that takes its place, and the next leader.
async fn left_replacement(cluster: &Cluster) -> (NodeId, NodeId, NodeId) {
    let old_leader = cluster.leader().await;
    let followers = cluster.followers_of(old_leader);
    let (victim, next, spare) = (followers[0], followers[1], 4);
    cluster.links.cut_before(move |rpc| {
        rpc.entries.iter().any(|entry| match &entry.payload {
            EntryPayload::Membership(sets) => sets.get_node(&victim).is_none(),
            _ => false,
        })
    });
    cluster.only_elects(|id| id == next);
    let answer = soon("a replacement", cluster.replace(old_leader, victim, spare)).await;
    assert_eq!(answer.unwrap_err().outcome(), Outcome::Unknown);
    assert!(cluster.links.is_cut(old_leader));
    assert_eq!(cluster.leader().await, next);
    until("the joint configuration to be committed", async || {
        let joint = Some(PendingChange::Joint);
        (cluster.view(next).await.change == joint).then_some(())
    })
    .await;
    (victim, spare, next)
}

/// The next leader finishes a replacement: by the same request, or by a removal of the old
/// voter.
async fn finish_the_replacement(by_removal: bool) {
    let cluster = Cluster::start(3, 1, Elections::Soon).await;
    let (victim, spare, next) = left_replacement(&cluster).await;
    let rest = if by_removal {
        soon("a removal", cluster.remove(next, victim)).await
    } else {
        soon(
            "the rest of the replacement",
            cluster.replace(next, victim, spare),
        )
        .await
    };
    rest.unwrap();
    let view = cluster.view(next).await;
    let expected: Vec<_> = (1..=4).filter(|id| *id != victim).collect();
    assert_eq!((ids(&view), voters(&view)), (expected.clone(), expected));
    assert_eq!(view.change, None);
    cluster.close().await;
}

#[tokio::test]
async fn promotion_that_only_ends_a_replacement_is_a_conflict() {
    let cluster = Cluster::start(3, 1, Elections::Soon).await;
    let (victim, spare, next) = left_replacement(&cluster).await;
    let expected = cluster.view(next).await.version;
    let promoted = soon("a promotion", cluster.promote(next, spare)).await;
    let error = promoted.unwrap_err();
    let view = finished(&cluster, next).await;
    let actual = view.version;
    assert_eq!(*error.kind(), ErrorKind::Conflict { expected, actual });
    assert_eq!(error.outcome(), Outcome::NotApplied);
    // The server votes, but in the place of another one, which nobody asked for here.
    assert_eq!(ids(&view), [1, 2, 3, 4]);
    let rest: Vec<_> = (1..=4).filter(|id| *id != victim).collect();
    assert_eq!(voters(&view), rest);
    cluster.close().await;
}

#[tokio::test]
async fn unfinished_replacement_is_finished() {
    finish_the_replacement(false).await;
}

#[tokio::test]
async fn removal_of_old_voter_finishes_replacement() {
    finish_the_replacement(true).await;
}

#[tokio::test]
async fn unfinished_promotion_is_finished() {
    let cluster = Cluster::start(3, 1, Elections::Soon).await;
    let old = cluster.leader().await;
    // The final entry reaches nobody.
    cluster
        .links
        .cut_before(|rpc| brings_final(rpc) && rpc.entries.len() == 1);
    let answer = soon("a promotion", cluster.promote(old, 4)).await;
    assert_eq!(answer.unwrap_err().outcome(), Outcome::Unknown);
    let new = cluster.leader().await;
    until("the joint configuration to be committed", async || {
        let joint = Some(PendingChange::Joint);
        (cluster.view(new).await.change == joint).then_some(())
    })
    .await;
    soon("the rest of the promotion", cluster.promote(new, 4))
        .await
        .unwrap();
    let view = cluster.view(new).await;
    assert_eq!((view.change, voters(&view)), (None, vec![1, 2, 3, 4]));
    cluster.links.mend();
    cluster.close().await;
}
