//! Removals from a healthy cluster.

use cluster_operator::raft::{Change, ConfigVersion, Leadership, PeerSelector, Proof, RaftMember};
use cluster_operator::{ErrorKind, Outcome, RaftBackend};
use cluster_operator_openraft::OpenraftBackend;

use crate::cluster::{Node, NodeId, Request};
use crate::servers::{Cluster, Elections, TIMEOUT, describe, ids, name, soon, voters};

#[tokio::test]
async fn removed_voter_does_not_stay_as_learner() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let mut before = cluster.view(leader).await;
    for victim in cluster.followers().await {
        soon("a removal", cluster.remove(leader, victim))
            .await
            .unwrap();
        // At once.
        let view = cluster.view(leader).await;
        assert_eq!(view.change, None);
        assert!(view.version > before.version);
        assert_eq!(ids(&view).len(), ids(&before).len() - 1);
        assert!(!ids(&view).contains(&victim));
        assert_eq!(ids(&view), voters(&view));
        before = view;
    }
    assert_eq!(ids(&before), [leader]);
    cluster.close().await;
}

#[tokio::test]
async fn majority_of_those_that_stay_holds_the_final_entry() {
    let cluster = Cluster::start(4, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    for victim in cluster.followers().await {
        cluster.remove(leader, victim).await.unwrap();
        let view = cluster.view(leader).await;
        let version = view.version;
        let holders = view.servers().filter(|(_, status)| {
            let log = status.and_then(|status| status.last_log);
            log.is_some_and(|log| log.index >= version.index)
        });
        assert!(holders.count() > view.membership.servers.len() / 2);
    }
    cluster.close().await;
}

#[tokio::test]
async fn learner_is_removed_and_the_voters_stay() {
    let cluster = Cluster::start(3, 2, Elections::Soon).await;
    let leader = cluster.leader().await;
    for learner in [4, 5] {
        cluster.remove(leader, learner).await.unwrap();
    }
    let view = cluster.view(leader).await;
    assert_eq!((ids(&view), voters(&view)), (vec![1, 2, 3], vec![1, 2, 3]));
    cluster.close().await;
}

#[tokio::test]
async fn removed_leader_is_replaced() {
    let cluster = Cluster::voters(3).await;
    let old = cluster.leader().await;
    let rest = cluster.followers().await;
    soon("a leader's removal", cluster.remove(old, old))
        .await
        .unwrap();
    let view = cluster.view(old).await;
    assert_eq!(view.leadership, Leadership::Unknown);
    assert_eq!(view.id, name(old));
    assert_eq!(ids(&view), rest);
    let new = cluster.leader_of(rest.clone()).await;
    assert_eq!(ids(&cluster.view(new).await), rest);
    let confirmed = cluster.backend(old).confirmed_view(TIMEOUT).await;
    assert!(matches!(
        confirmed.unwrap_err().kind(),
        ErrorKind::NoLeader | ErrorKind::NotLeader { .. }
    ));
    cluster.close().await;
}

#[tokio::test]
async fn refused_removal_changes_nothing() {
    let cluster = Cluster::start(1, 1, Elections::Never).await;
    let before = cluster.view(1).await;
    let backend = cluster.backend(1);
    let to_remove = |id: &str| Change::remove(id, &before, TIMEOUT);
    let next_index = ConfigVersion {
        index: before.version.index + 1,
        ..before.version
    };
    let next_term = ConfigVersion {
        term: before.version.term + 1,
        ..before.version
    };
    let changed = |change: &dyn Fn(&mut Change)| {
        let mut removal = to_remove("2");
        change(&mut removal);
        removal
    };
    let conflict = |expected| ErrorKind::Conflict {
        expected,
        actual: before.version,
    };
    let unknown = |id: &str| ErrorKind::UnknownServer(PeerSelector::Id(id.into()));
    for (removal, refusal) in [
        (to_remove("1"), ErrorKind::LastVoter),
        (to_remove("01"), unknown("01")),
        (to_remove(""), unknown("")),
        (
            changed(&|removal| removal.version = next_index),
            conflict(next_index),
        ),
        (
            changed(&|removal| removal.version = next_term),
            conflict(next_term),
        ),
        (
            changed(&|removal| removal.term += 1),
            ErrorKind::TermChanged {
                expected: before.term + 1,
                actual: before.term,
            },
        ),
    ] {
        let error = soon("a refusal", backend.change_membership(&removal)).await;
        let error = error.unwrap_err();
        assert_eq!(*error.kind(), refusal);
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert_eq!(cluster.view(1).await.version, before.version);
    }
    backend.change_membership(&to_remove("2")).await.unwrap();
    assert_eq!(ids(&cluster.view(1).await), [1]);
    cluster.close().await;
}

#[tokio::test]
async fn extreme_timeouts_are_accepted() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let mut removal = cluster.removal(leader, victim).await;
    removal.timeout = std::time::Duration::ZERO;
    let answer = cluster.backend(leader).change_membership(&removal).await;
    assert_eq!(answer.unwrap_err().outcome(), Outcome::NotApplied);
    let backend = cluster.backend(leader);
    backend
        .confirmed_view(std::time::Duration::MAX)
        .await
        .unwrap();
    removal.timeout = std::time::Duration::MAX;
    soon("a removal", backend.change_membership(&removal))
        .await
        .unwrap();
    cluster.close().await;
}

#[tokio::test]
async fn follower_refuses_a_removal() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.followers().await[0];
    for id in [1, 2, 3] {
        let error = cluster.remove(follower, id).await.unwrap_err();
        let ErrorKind::NotLeader { leader: Some(hint) } = error.kind() else {
            panic!("{error:?}");
        };
        assert_eq!(hint.id, name(leader));
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
    assert_eq!(ids(&cluster.view(leader).await), [1, 2, 3]);
    cluster.close().await;
}

#[tokio::test]
async fn without_a_noop_only_learners_are_removed() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    let backend = OpenraftBackend::new(cluster.raft(leader).clone(), describe);
    let before = cluster.view(leader).await;
    let voter = Change::remove(name(cluster.followers().await[0]), &before, TIMEOUT);
    let error = backend.change_membership(&voter).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }));
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(cluster.view(leader).await.version, before.version);
    let learner = Change::remove("4", &before, TIMEOUT);
    backend.change_membership(&learner).await.unwrap();
    assert_eq!(ids(&cluster.view(leader).await), [1, 2, 3]);
    cluster.close().await;
}

#[tokio::test]
async fn id_that_two_nodes_share_is_refused() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let twins = |id: &NodeId, _: &Node| {
        let name = if *id == 1 { "one" } else { "twin" };
        RaftMember::voter(name, "")
    };
    let backend =
        OpenraftBackend::new(cluster.raft(leader).clone(), twins).with_noop(|| Request::Noop);
    let view = backend.view().await.unwrap();
    let removal = Change::remove("twin", &view, TIMEOUT).with_proof(Proof::Majority);
    let error = backend.change_membership(&removal).await.unwrap_err();
    let ErrorKind::InvalidRequest { reason } = error.kind() else {
        panic!("{error:?}");
    };
    let expected = "the nodes 2 and 3 both have the id \"twin\": give each node an id of its own";
    assert_eq!(reason, expected);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(ids(&cluster.view(leader).await), [1, 2, 3]);
    cluster.close().await;
}
