//! Removals at the same time as other changes, and removals that are dropped.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cluster_operator::raft::{Change, Leadership, PeerSelector};
use cluster_operator::{ErrorKind, OperatorError, Outcome, RaftBackend};
use cluster_operator_openraft::{OpenraftBackend, log_position};
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::cluster::Request;
use crate::servers::{
    Cluster, Elections, PATIENCE, TIMEOUT, describe, ids, name, node, soon, until,
};

#[tokio::test]
async fn one_of_two_removals_of_the_same_version_is_done() {
    for same_server in [true, false] {
        let cluster = Cluster::start(4, 0, Elections::Never).await;
        let leader = cluster.leader().await;
        let others = cluster.followers().await;
        let other = if same_server { others[0] } else { others[1] };
        let one = cluster.removal(leader, others[0]).await;
        let two = cluster.removal(leader, other).await;
        // Clones take turns with each other.
        let backend = cluster.backend(leader).clone();
        let (one, two) = tokio::join!(
            cluster.backend(leader).change_membership(&one),
            backend.change_membership(&two),
        );
        let error = match (one, two) {
            (Ok(()), Err(error)) | (Err(error), Ok(())) => error,
            both => panic!("not one success and one error: {both:?}"),
        };
        assert!(
            matches!(error.kind(), ErrorKind::Conflict { .. }),
            "{error:?}"
        );
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert_eq!(ids(&cluster.view(leader).await).len(), 3);
        cluster.close().await;
    }
}

#[tokio::test]
async fn leader_that_removed_itself_removes_no_other_server() {
    let cluster = Cluster::start(4, 0, Elections::Soon).await;
    let old = cluster.leader().await;
    let others = cluster.followers().await;
    let backend = cluster.backend(old);
    let view = cluster.view(old).await;
    let all = [old, others[0], others[1]].map(|id| Change::remove(name(id), &view, TIMEOUT));
    let removals = all.iter().map(|removal| backend.change_membership(removal));
    let answers = soon("the removals", join_all(removals)).await;

    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(done, 1, "{answers:?}");
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    }
    if answers[0].is_ok() {
        let error = cluster.remove(old, others[0]).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied);
        let view = cluster.view(old).await;
        assert_ne!(view.leadership, Leadership::Local);
        let new = cluster.leader_of(others.clone()).await;
        assert_eq!(ids(&cluster.view(new).await), others);
    }
    let metrics = cluster.raft(old).metrics();
    assert_eq!(metrics.borrow().running_state, Ok(()));
    cluster.close().await;
}

#[tokio::test]
async fn change_that_is_not_committed_is_in_progress() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    // Nothing is committed while the others are cut off.
    others.iter().for_each(|id| cluster.links.cut(*id));
    let raft = cluster.raft(leader).clone();
    let added = tokio::spawn(async move { raft.add_learner(9, node(9), false).await });
    until("the learner to be in the log", async || {
        ids(&cluster.view(leader).await).contains(&9).then_some(())
    })
    .await;
    let mut removal = cluster.removal(leader, 9).await;
    let error = soon(
        "a refusal",
        cluster.backend(leader).change_membership(&removal),
    )
    .await;
    let error = error.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::ChangeInProgress);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(cluster.view(leader).await.version, removal.version);

    // The removal waits for a change that is committed soon.
    removal.timeout = PATIENCE;
    let mut removal = pin!(cluster.backend(leader).change_membership(&removal));
    let wait = tokio::time::timeout(Duration::from_millis(100), removal.as_mut());
    assert!(wait.await.is_err(), "nothing can have been committed");
    cluster.links.mend();
    soon("the removal", removal).await.unwrap();
    added.await.unwrap().unwrap();
    assert_eq!(ids(&cluster.view(leader).await), [1, 2, 3]);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_that_comes_during_the_proof_is_a_conflict() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let raft = cluster.raft(leader).clone();
    let application = Mutex::new(Some(raft.clone()));
    let backend = OpenraftBackend::new(raft, describe).with_noop(move || {
        let raft = application.lock().unwrap().take();
        if let Some(raft) = raft {
            let change = raft.add_learner(9, node(9), false);
            block_in_place(|| Handle::current().block_on(change).unwrap());
        }
        Request::Noop
    });
    let removal = cluster.removal(leader, victim).await;
    let error = soon("a removal", backend.change_membership(&removal)).await;
    let error = error.unwrap_err();
    let view = cluster.view(leader).await;
    let (expected, actual) = (removal.version, view.version);
    assert_eq!(*error.kind(), ErrorKind::Conflict { expected, actual });
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(ids(&view), [1, 2, 3, 9]);
    // The next view is new enough.
    let again = cluster.removal(leader, victim).await;
    soon("a removal", backend.change_membership(&again))
        .await
        .unwrap();
    cluster.close().await;
}

/// Polls this often, and lets the others run after each poll.
async fn poll(times: usize, call: impl Future<Output = Result<(), OperatorError>>) {
    let mut call = pin!(call);
    for _ in 0..times {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(answer) = call.as_mut().poll(&mut context) {
            return answer.unwrap();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn dropped_removal_happens_whole_or_not_at_all() {
    let cluster = Cluster::start(8, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    for (round, victim) in others.iter().take(7).enumerate() {
        let removal = cluster.removal(leader, *victim).await;
        poll(
            1 << round,
            cluster.backend(leader).change_membership(&removal),
        )
        .await;
        // The next removal waits for the dropped one, and finds it done or not begun.
        match soon("the next removal", cluster.remove(leader, *victim)).await {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.outcome(), Outcome::NotApplied);
                match error.kind() {
                    ErrorKind::Conflict { .. } => {}
                    ErrorKind::UnknownServer(PeerSelector::Id(id)) => {
                        assert_eq!(*id, name(*victim))
                    }
                    _ => panic!("{error:?}"),
                }
            }
        }
        let mut left = others[round + 1..].to_vec();
        left.push(leader);
        left.sort_unstable();
        assert_eq!(ids(&cluster.view(leader).await), left);
    }
    cluster.close().await;
}

#[tokio::test]
async fn removal_dropped_during_the_proof_appends_nothing() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let mut removal = cluster.removal(leader, victim).await;
    removal.timeout = PATIENCE;
    cluster.links.cut(leader);
    let last_log = || cluster.raft(leader).metrics().borrow().last_log_index;
    let before = last_log();
    {
        let mut call = pin!(cluster.backend(leader).change_membership(&removal));
        until("the proof to begin", async || {
            assert!(futures_util::poll!(&mut call).is_pending());
            (last_log() > before).then_some(())
        })
        .await;
    }
    // Long before the proof of the dropped removal would have failed.
    removal.timeout = Duration::from_secs(2);
    let again = cluster.backend(leader).change_membership(&removal);
    let error = soon("the same removal", again).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::QuorumUnproven { .. }),
        "{error:?}"
    );
    cluster.links.mend();
    // Everything is as it was.
    removal.timeout = PATIENCE;
    let again = cluster.backend(leader).change_membership(&removal);
    soon("the same removal", again).await.unwrap();
    assert!(!ids(&cluster.view(leader).await).contains(&victim));
    cluster.close().await;
}

#[tokio::test]
async fn appended_removal_is_finished_without_its_caller() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let removal = cluster.removal(leader, victim).await;
    {
        let mut call = pin!(cluster.backend(leader).change_membership(&removal));
        until("the removal to be in the log", async || {
            let _begun = futures_util::poll!(&mut call);
            let raft = cluster.raft(leader);
            let index = raft.with_raft_state(|s| s.membership_state.effective().log_id().unwrap());
            let at = log_position(&index.await.unwrap());
            (at.index > removal.version.index).then_some(())
        })
        .await;
    }
    until("the removal to be finished", async || {
        let view = cluster.view(leader).await;
        (view.change.is_none() && !ids(&view).contains(&victim)).then_some(())
    })
    .await;
    cluster.close().await;
}
