//! Servers that are cut off, or gone.

use cluster_operator::{Consistency, ErrorKind, Leadership, Outcome, RaftBackend};

use crate::servers::{Cluster, Elections, by_id, ids, soon, until};

async fn without_a_lead(cluster: &Cluster, id: u64) {
    until("a server to know that nobody leads", async || {
        let leadership = cluster.backend(id).leadership();
        (leadership == Leadership::None).then_some(())
    })
    .await;
}

/// Nobody is asked, so nothing waits.
async fn refuses_all_but_stale_reads(cluster: &Cluster, id: u64) {
    for consistency in [Consistency::Default, Consistency::Consistent] {
        let read = cluster.backend(id).configuration(consistency);
        let error = soon("a read", read).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NoLeader);
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
    let error = soon("a removal", cluster.remove(id, 1)).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoLeader);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    let stale = cluster.stale(id).await;
    assert_eq!(ids(&stale), [1, 2, 3]);
    assert!(stale.servers.iter().all(|server| !server.leader));
}

#[tokio::test]
async fn the_last_of_three_has_no_leader_and_answers_stale_reads() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    cluster.stop(leader).await;
    cluster.stop(followers[0]).await;
    without_a_lead(&cluster, followers[1]).await;
    refuses_all_but_stale_reads(&cluster, followers[1]).await;
    cluster.close().await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_leads_no_more_and_follows_when_it_is_back() {
    let cluster = Cluster::voters(3).await;
    let old = cluster.leader().await;
    cluster.links.cut(old);
    without_a_lead(&cluster, old).await;
    refuses_all_but_stale_reads(&cluster, old).await;
    let new = cluster.leader().await;
    assert_ne!(new, old);
    cluster.links.mend();
    assert_ne!(cluster.leader().await, old);
    cluster.close().await;
}

#[tokio::test]
async fn a_consistent_read_of_a_leader_that_has_just_been_cut_off_fails() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let backend = cluster.backend(leader);
    cluster.links.cut(leader);
    let default = backend.configuration(Consistency::Default).await;
    assert!(default.is_ok(), "it does not know yet");
    let read = backend.configuration(Consistency::Consistent);
    let error = soon("a consistent read", read).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoLeader);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    cluster.close().await;
}

#[tokio::test]
async fn a_consistent_read_outlasts_a_short_break() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    cluster.links.cut(leader);
    let read = cluster
        .backend(leader)
        .configuration(Consistency::Consistent);
    let mend = async {
        // Longer than openraft waits for a majority by itself.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        cluster.links.mend();
    };
    let (read, ()) = soon("a consistent read", async { tokio::join!(read, mend) }).await;
    assert_eq!(ids(&read.unwrap()), [1, 2, 3]);
    cluster.close().await;
}

#[tokio::test]
async fn a_removal_that_no_majority_confirms_is_of_unknown_outcome() {
    let cluster = Cluster::voters(3).await;
    let old = cluster.leader().await;
    let victim = cluster.followers().await[0];
    cluster.links.cut(old);
    // Two at once: the one that waits for its turn does not for ever.
    let server = by_id(victim);
    let both = async {
        tokio::join!(
            cluster.backend(old).remove_server(&server, None),
            cluster.backend(old).remove_server(&server, None),
        )
    };
    let (first, second) = soon("the removals", both).await;
    let mut outcomes = [first.unwrap_err(), second.unwrap_err()].map(|error| {
        assert_eq!(*error.kind(), ErrorKind::NoLeader);
        error.outcome()
    });
    outcomes.sort_by_key(|outcome| *outcome == Outcome::Unknown);
    assert_eq!(outcomes, [Outcome::NotApplied, Outcome::Unknown]);

    // The others know nothing of it, and the old leader takes that over.
    let new = cluster.leader().await;
    assert_eq!(ids(&cluster.latest(new).await), [1, 2, 3]);
    cluster.links.mend();
    let new = cluster.leader().await;
    assert_eq!(ids(&cluster.latest(new).await), [1, 2, 3]);
    until("the old leader to forget the removal", async || {
        let stale = cluster.stale(old).await;
        (stale.index == 0 && ids(&stale) == [1, 2, 3]).then_some(())
    })
    .await;
    // And the turn was given back.
    soon("a removal", cluster.remove(new, victim))
        .await
        .unwrap();
    cluster.close().await;
}

#[tokio::test]
async fn a_dead_server_can_be_removed() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let dead = cluster.followers().await[0];
    cluster.stop(dead).await;
    soon("a removal", cluster.remove(leader, dead))
        .await
        .unwrap();
    assert!(!ids(&cluster.latest(leader).await).contains(&dead));
    cluster.close().await;
}
