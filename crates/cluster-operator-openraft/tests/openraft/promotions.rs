//! Promotions of learners to voters.

use cluster_operator::raft::{Change, PendingChange, Proof};
use cluster_operator::{ErrorKind, Outcome, RaftBackend};

use crate::cluster::NodeId;
use crate::servers::{Cluster, Elections, TIMEOUT, brings_final, ids, name, soon, until, voters};

impl Cluster {
    /// The promotion of a server, decided on what this one sees now.
    async fn promotion(&self, at: NodeId, id: NodeId) -> Change {
        Change::promote(name(id), &self.view(at).await, TIMEOUT)
    }
}

#[tokio::test]
async fn promoted_learner_votes() {
    let cluster = Cluster::start(2, 2, Elections::Never).await;
    let leader = cluster.leader().await;
    let before = cluster.view(leader).await;
    let promotion = cluster.promotion(leader, 3).await;
    let promoted = cluster.backend(leader).change_membership(&promotion);
    soon("a promotion", promoted).await.unwrap();
    // At once.
    let view = cluster.view(leader).await;
    assert_eq!(view.change, None);
    assert!(view.version > before.version);
    assert_eq!(ids(&view), [1, 2, 3, 4]);
    assert_eq!(voters(&view), [1, 2, 3]);

    let again = cluster.backend(leader).change_membership(&promotion).await;
    assert!(matches!(
        again.unwrap_err().kind(),
        ErrorKind::Conflict { .. }
    ));
    let voter = cluster.promotion(leader, 3).await;
    let voter = cluster.backend(leader).change_membership(&voter).await;
    let voter = voter.unwrap_err();
    assert!(matches!(voter.kind(), ErrorKind::AlreadyVoter { .. }));
    let unknown = cluster.promotion(leader, 9).await;
    let unknown = cluster.backend(leader).change_membership(&unknown).await;
    let unknown = unknown.unwrap_err();
    assert!(matches!(unknown.kind(), ErrorKind::UnknownServer(_)));
    assert_eq!(unknown.outcome(), Outcome::NotApplied);
    cluster.close().await;
}

#[tokio::test]
async fn learner_without_the_whole_log_stays_a_learner() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    cluster.links.disconnect(4);
    let before = cluster.view(leader).await;
    let promotion = cluster.promotion(leader, 4).await;
    let behind = cluster.backend(leader).change_membership(&promotion).await;
    let behind = behind.unwrap_err();
    assert!(
        matches!(behind.kind(), ErrorKind::NotCaughtUp { id, .. } if *id == name(4)),
        "{behind:?}"
    );
    assert_eq!(behind.outcome(), Outcome::NotApplied);
    let view = cluster.view(leader).await;
    assert_eq!(view.version, before.version);
    cluster.close().await;
}

#[tokio::test]
async fn promotion_needs_the_proof_that_was_asked_for() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    let dead = cluster.followers_of(leader)[0];
    cluster.links.disconnect(dead);
    // Three of the four voters are up, and the margin needs all.
    let promotion = cluster.promotion(leader, 4).await;
    let margin = promotion.clone().with_proof(Proof::Margin);
    let unproven = cluster.backend(leader).change_membership(&margin).await;
    let unproven = unproven.unwrap_err();
    assert!(matches!(unproven.kind(), ErrorKind::QuorumUnproven { .. }));
    let promoted = cluster.backend(leader).change_membership(&promotion);
    soon("a promotion", promoted).await.unwrap();
    assert_eq!(voters(&cluster.view(leader).await), [1, 2, 3, 4]);
    cluster.close().await;
}

#[tokio::test]
async fn next_leader_finishes_a_promotion() {
    let cluster = Cluster::start(3, 1, Elections::Soon).await;
    let old = cluster.leader().await;
    // The final entry reaches nobody.
    cluster
        .links
        .cut_before(|rpc| brings_final(rpc) && rpc.entries.len() == 1);
    let promotion = cluster.promotion(old, 4).await;
    let promoted = cluster.backend(old).change_membership(&promotion);
    let lost = soon("a promotion", promoted).await.unwrap_err();
    assert_eq!(lost.outcome(), Outcome::Unknown);
    let new = cluster.leader().await;
    until("the joint configuration to be committed", async || {
        let joint = Some(PendingChange::Joint);
        (cluster.view(new).await.change == joint).then_some(())
    })
    .await;
    let rest = cluster.promotion(new, 4).await;
    let promoted = cluster.backend(new).change_membership(&rest);
    soon("the rest of the promotion", promoted).await.unwrap();
    let view = cluster.view(new).await;
    assert_eq!((view.change, voters(&view)), (None, vec![1, 2, 3, 4]));
    cluster.links.mend();
    cluster.close().await;
}
