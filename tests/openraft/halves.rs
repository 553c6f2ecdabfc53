//! Removals that stop between their two entries.

use cluster_operator::{ErrorKind, Outcome, RaftBackend};
use openraft::EntryPayload;

use crate::cluster::Request;
use crate::servers::{Cluster, by_id, ids, soon, until, voters};

/// Who leads once the leader is cut off.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Heir {
    /// The server that is half removed.
    Victim,
    Another,
}

/// A leader that was cut off when it had committed the old and the new voters
/// together, the server that it was to remove, and the leader after it.
async fn half_done(cluster: &Cluster, heir: Heir) -> (u64, u64, u64) {
    let old = cluster.leader().await;
    let victim = cluster.followers().await[0];
    cluster.links.cut_before(move |rpc| {
        rpc.entries.iter().any(|entry| match &entry.payload {
            EntryPayload::Membership(membership) => membership.get_node(&victim).is_none(),
            _ => false,
        })
    });
    cluster.only_elects(|id| (id == victim) == (heir == Heir::Victim));
    let answer = soon("a removal", cluster.remove(old, victim)).await;
    assert_eq!(answer.unwrap_err().outcome(), Outcome::Unknown);
    assert!(cluster.links.is_cut(old));
    let new = cluster.leader().await;
    assert_eq!(new == victim, heir == Heir::Victim);
    cluster.only_elects(|_| true);
    let metrics = cluster.raft(new).metrics();
    let joint = metrics.borrow().membership_config.clone();
    assert_eq!(joint.membership().get_joint_config().len(), 2);
    (old, victim, new)
}

#[tokio::test]
async fn a_server_that_is_half_removed_is_listed_and_its_removal_can_be_finished() {
    finish_the_removal(Heir::Another).await;
}

#[tokio::test]
async fn a_leader_that_is_half_removed_can_finish_its_own_removal() {
    finish_the_removal(Heir::Victim).await;
}

async fn finish_the_removal(heir: Heir) {
    let cluster = Cluster::voters(4).await;
    let (old, victim, new) = half_done(&cluster, heir).await;
    let half = cluster.latest(new).await;
    assert_eq!(ids(&half), [1, 2, 3, 4]);
    assert_eq!(voters(&half), [1, 2, 3, 4]);

    soon("the rest of the removal", cluster.remove(new, victim))
        .await
        .unwrap();
    let rest = (1..=4).filter(|id| *id != victim);
    let rest: Vec<_> = rest.collect();
    let connected = rest.iter().copied().filter(|id| *id != old);
    let new = cluster.leader_of(connected).await;
    let latest = cluster.latest(new).await;
    assert!(latest.index > half.index);
    assert_eq!((ids(&latest), voters(&latest)), (rest.clone(), rest));
    let again = cluster.remove(new, victim).await.unwrap_err();
    assert!(matches!(again.kind(), ErrorKind::UnknownServer(_)));

    cluster.links.mend();
    until("the old leader to know", async || {
        (!ids(&cluster.stale(old).await).contains(&victim)).then_some(())
    })
    .await;
    cluster.close().await;
}

#[tokio::test]
async fn removing_another_server_finishes_the_change_and_leaves_a_learner() {
    remove_another(Heir::Another).await;
}

#[tokio::test]
async fn a_leader_that_is_half_removed_can_remove_another_server() {
    remove_another(Heir::Victim).await;
}

async fn remove_another(heir: Heir) {
    let cluster = Cluster::voters(5).await;
    let (old, victim, new) = half_done(&cluster, heir).await;
    soon("another removal", cluster.remove(new, old))
        .await
        .unwrap();
    let rest = (1..=5).filter(|id| *id != old);
    let rest: Vec<_> = rest.collect();
    let latest = cluster.latest(new).await;
    assert_eq!(ids(&latest), rest);
    let rest = rest.into_iter().filter(|id| *id != victim);
    let rest: Vec<_> = rest.collect();
    assert_eq!(voters(&latest), rest);

    soon("the learner's removal", cluster.remove(new, victim))
        .await
        .unwrap();
    let new = cluster.leader_of(rest.clone()).await;
    assert_eq!(ids(&cluster.latest(new).await), rest);
    cluster.close().await;
}

#[tokio::test]
async fn the_last_voter_to_come_is_kept_while_the_old_ones_still_vote() {
    let cluster = Cluster::voters(3).await;
    let old = cluster.leader().await;
    let followers = cluster.followers().await;
    let (heir, other) = (followers[0], followers[1]);
    cluster.links.cut_before(move |rpc| {
        rpc.entries.iter().any(|entry| match &entry.payload {
            EntryPayload::Membership(now) => now.get_joint_config() == &[[heir].into()],
            _ => false,
        })
    });
    // The application's own change, whose leader does not live to see its end.
    cluster.only_elects(|id| id == heir);
    let raft = cluster.raft(old).clone();
    let change = tokio::spawn(async move { raft.change_membership([heir], false).await });
    until("the leader to be cut off", async || {
        cluster.links.is_cut(old).then_some(())
    })
    .await;
    assert_eq!(cluster.leader().await, heir);
    let before = cluster.latest(heir).await;
    assert_eq!(voters(&before), [1, 2, 3]);

    let error = cluster.remove(heir, heir).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::LastVoter);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(cluster.latest(heir).await.index, before.index);

    // At the index that was read, although the change is finished first.
    let backend = cluster.backend(heir);
    let server = by_id(other);
    let removal = backend.remove_server(&server, Some(before.index));
    soon("a removal", removal).await.unwrap();
    let latest = cluster.latest(heir).await;
    assert!(!ids(&latest).contains(&other));
    assert!(ids(&latest).contains(&old), "as a learner");
    assert_eq!(voters(&latest), [heir]);
    cluster.close().await;
    assert!(change.await.unwrap().is_err());
}

#[tokio::test]
async fn a_removal_that_ends_under_another_leader_gives_its_turn_back() {
    let cluster = Cluster::voters(5).await;
    let old = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let before = cluster.latest(old).await.index;
    cluster.links.cut_after(|rpc| {
        rpc.entries.iter().any(|entry| match &entry.payload {
            EntryPayload::Membership(membership) => membership.get_joint_config().len() == 2,
            _ => false,
        })
    });
    cluster.only_elects(|_| false);
    let answer = soon("a removal", cluster.remove(old, victim)).await;
    assert_eq!(answer.unwrap_err().outcome(), Outcome::Unknown);

    // One that has the first entry leads, and commits it.
    let heir = until("a server with the first entry", async || {
        for id in cluster.followers_of(old) {
            if cluster.stale(id).await.index > before {
                return Some(id);
            }
        }
        None
    })
    .await;
    cluster.only_elects(|id| id == heir);
    assert_eq!(cluster.leader().await, heir);

    // The old leader hears of it from a snapshot, so that openraft does not
    // tell it what became of the entry.
    let raft = cluster.raft(heir);
    let mut metrics = raft.metrics();
    let set = Request::Remove { key: String::new() };
    let last = raft.client_write(set).await.unwrap().log_id;
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
    cluster.stop(heir).await;
    assert_eq!(cluster.leader_of(cluster.followers_of(heir)).await, old);
    soon("a removal", cluster.remove(old, heir)).await.unwrap();
    assert!(!ids(&cluster.latest(old).await).contains(&heir));
    cluster.close().await;
}
