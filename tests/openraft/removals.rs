//! What a removal does to a cluster that is whole.

use cluster_operator::{Consistency, ErrorKind, Outcome, PeerSelector, RaftBackend};

use crate::servers::{Cluster, Elections, by_address, by_id, ids, soon, until, voters};

#[tokio::test]
async fn a_voter_goes_by_its_id_or_address_and_does_not_stay_as_a_learner() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    let mut index = cluster.latest(leader).await.index;
    for (selector, left) in [(by_id(others[0]), 2), (by_address(others[1]), 1)] {
        let backend = cluster.backend(leader);
        soon("a removal", backend.remove_server(&selector, None))
            .await
            .unwrap();
        // At once, and in the metrics too.
        for consistency in [Consistency::Stale, Consistency::Default] {
            let read = backend.configuration(consistency).await.unwrap();
            assert_eq!(ids(&read).len(), left);
            assert_eq!(voters(&read).len(), left);
            assert!(read.index > index);
        }
        index = cluster.latest(leader).await.index;
    }
    assert_eq!(ids(&cluster.latest(leader).await), [leader]);
    cluster.close().await;
}

#[tokio::test]
async fn a_learner_goes_and_the_voters_stay() {
    let cluster = Cluster::start(3, 2, Elections::Soon).await;
    let leader = cluster.leader().await;
    cluster.remove(leader, 4).await.unwrap();
    assert_eq!(ids(&cluster.latest(leader).await), [1, 2, 3, 5]);
    let by_address = by_address(5);
    let removed = cluster.backend(leader).remove_server(&by_address, None);
    removed.await.unwrap();
    let latest = cluster.latest(leader).await;
    assert_eq!(
        (ids(&latest), voters(&latest)),
        (vec![1, 2, 3], vec![1, 2, 3])
    );
    cluster.close().await;
}

#[tokio::test]
async fn the_leader_goes_and_another_one_leads() {
    let cluster = Cluster::voters(3).await;
    let old = cluster.leader().await;
    let rest = cluster.followers().await;
    soon("a leader's removal", cluster.remove(old, old))
        .await
        .unwrap();
    let new = cluster.leader_of(rest.clone()).await;
    assert_eq!(ids(&cluster.latest(new).await), rest);
    until("the old leader to know", async || {
        let read = cluster.backend(old).configuration(Consistency::Default);
        let error = read.await.err()?;
        matches!(
            error.kind(),
            ErrorKind::NoLeader | ErrorKind::NotLeader { .. }
        )
        .then_some(())
    })
    .await;
    assert!(
        cluster
            .stale(old)
            .await
            .servers
            .iter()
            .all(|server| { !server.leader || server.id != *old.to_string() })
    );
    cluster.close().await;
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let cluster = Cluster::start(1, 1, Elections::Soon).await;
    let backend = cluster.backend(1);
    let before = cluster.latest(1).await;
    let (expected, actual) = (before.index + 1, before.index);
    let unknown = ErrorKind::UnknownServer;
    let id = PeerSelector::Id("01".into());
    let address = PeerSelector::Address("1".into());
    for (server, at, refusal) in [
        (by_id(1), None, ErrorKind::LastVoter),
        (by_address(1), Some(actual), ErrorKind::LastVoter),
        (
            by_id(2),
            Some(expected),
            ErrorKind::Conflict { expected, actual },
        ),
        (
            by_id(1),
            Some(expected),
            ErrorKind::Conflict { expected, actual },
        ),
        (id.clone(), None, unknown(id)),
        (address.clone(), None, unknown(address)),
    ] {
        let error = backend.remove_server(&server, at).await.unwrap_err();
        assert_eq!(*error.kind(), refusal);
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert_eq!(cluster.latest(1).await, before);
    }
    backend
        .remove_server(&by_id(2), Some(actual))
        .await
        .unwrap();
    assert_eq!(ids(&cluster.latest(1).await), [1]);
    cluster.close().await;
}

#[tokio::test]
async fn a_follower_removes_nothing() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.followers().await[0];
    for id in [1, 2, 3] {
        let error = cluster.remove(follower, id).await.unwrap_err();
        let ErrorKind::NotLeader { leader: Some(hint) } = error.kind() else {
            panic!("{error:?}");
        };
        assert_eq!(hint.id, *leader.to_string());
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
    assert_eq!(ids(&cluster.latest(leader).await), [1, 2, 3]);
    cluster.close().await;
}

#[tokio::test]
async fn leadership_transfer_is_not_supported() {
    let cluster = Cluster::voters(1).await;
    let error = cluster.backend(1).transfer_leadership(None).await;
    let error = error.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }));
    cluster.close().await;
}
