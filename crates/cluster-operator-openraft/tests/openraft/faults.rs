//! Servers that are cut off or stopped.

use std::time::Duration;

use cluster_operator::raft::Leadership;
use cluster_operator::{ErrorKind, Outcome, RaftBackend};

use crate::servers::{Cluster, Elections, TIMEOUT, ids, name, soon, until};

async fn knows_no_leader(cluster: &Cluster, id: u64) {
    until("a server to know no leader", async || {
        let view = cluster.view(id).await;
        (view.leadership == Leadership::Unknown).then_some(())
    })
    .await;
}

/// Asserts that a server refuses all but views, at once.
async fn refuses_all_but_views(cluster: &Cluster, id: u64) {
    let confirmed = cluster.backend(id).confirmed_view(TIMEOUT);
    let error = soon("a confirmed view", confirmed).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoLeader);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    let error = soon("a removal", cluster.remove(id, 1)).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoLeader);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(ids(&cluster.view(id).await), [1, 2, 3]);
}

#[tokio::test]
async fn last_of_three_voters_knows_no_leader() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    cluster.stop(leader).await;
    cluster.stop(followers[0]).await;
    knows_no_leader(&cluster, followers[1]).await;
    refuses_all_but_views(&cluster, followers[1]).await;
    cluster.close().await;
}

#[tokio::test]
async fn isolated_leader_does_not_stay_leader() {
    let cluster = Cluster::voters(3).await;
    let old = cluster.leader().await;
    cluster.links.cut(old);
    knows_no_leader(&cluster, old).await;
    refuses_all_but_views(&cluster, old).await;
    let new = cluster.leader().await;
    assert_ne!(new, old);
    cluster.links.mend();
    assert_ne!(cluster.leader().await, old);
    cluster.close().await;
}

#[tokio::test]
async fn isolated_leader_confirms_no_view() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let backend = cluster.backend(leader);
    cluster.links.cut(leader);
    let error = soon("a confirmed view", backend.confirmed_view(TIMEOUT)).await;
    let error = error.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoLeader);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    cluster.close().await;
}

#[tokio::test]
async fn confirmed_view_ends_at_its_timeout() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    cluster.links.cut(leader);
    let timeout = Duration::from_millis(250);
    let view = cluster.backend(leader).confirmed_view(timeout);
    let error = soon("a confirmed view", view).await.unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::DeadlineExceeded { after, .. } if *after == timeout
    ));
    assert_eq!(error.outcome(), Outcome::NotApplied);
    cluster.close().await;
}

#[tokio::test]
async fn confirmed_view_outlasts_a_short_break() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    cluster.links.cut(leader);
    let backend = cluster.backend(leader);
    let mut view = std::pin::pin!(backend.confirmed_view(crate::servers::PATIENCE));
    // Longer than openraft itself waits for a majority.
    let longer = tokio::time::timeout(Duration::from_millis(200), view.as_mut()).await;
    assert!(longer.is_err(), "nobody can have confirmed it");
    cluster.links.mend();
    assert_eq!(
        ids(&soon("a confirmed view", view).await.unwrap()),
        [1, 2, 3]
    );
    cluster.close().await;
}

#[tokio::test]
async fn isolated_leader_removes_no_server() {
    let cluster = Cluster::voters(3).await;
    let old = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let version = cluster.view(old).await.version;
    let removal = cluster.removal(old, victim).await;
    cluster.links.cut(old);
    // Two at once: the second one does not wait for its turn forever.
    let both = async {
        tokio::join!(
            cluster.backend(old).change_membership(&removal),
            cluster.backend(old).change_membership(&removal),
        )
    };
    let (first, second) = soon("the removals", both).await;
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
        assert!(matches!(
            error.kind(),
            ErrorKind::QuorumUnproven { .. } | ErrorKind::NoLeader | ErrorKind::ChangeInProgress
        ));
    }
    assert_eq!(cluster.view(old).await.version, version);

    let new = cluster.leader().await;
    cluster.links.mend();
    let new_or_next = cluster.leader().await;
    assert_ne!(new, old);
    assert_eq!(cluster.view(new_or_next).await.version, version);
    // The turn has ended.
    soon("a removal", cluster.remove(new_or_next, victim))
        .await
        .unwrap();
    assert!(
        cluster
            .view(new_or_next)
            .await
            .membership
            .get(&name(victim))
            .is_none()
    );
    cluster.close().await;
}

#[tokio::test]
async fn stopped_server_can_be_removed() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let dead = cluster.followers().await[0];
    cluster.stop(dead).await;
    soon("a removal", cluster.remove(leader, dead))
        .await
        .unwrap();
    assert!(!ids(&cluster.view(leader).await).contains(&dead));
    cluster.close().await;
}
