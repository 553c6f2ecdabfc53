//! Removals at the same time as other changes, and removals that are given up.

use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use cluster_operator::{ErrorKind, OperatorError, Outcome, RaftBackend};
use futures_util::future::join_all;

use crate::servers::{Cluster, Elections, by_address, by_id, ids, node, soon, until};

/// The error of the one of two calls that fails.
fn the_only_error<T: Debug>(answers: [Result<T, OperatorError>; 2]) -> OperatorError {
    match answers {
        [Ok(_), Err(error)] | [Err(error), Ok(_)] => error,
        other => panic!("not one success and one error: {other:?}"),
    }
}

#[tokio::test]
async fn one_server_is_removed_once() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let backend = cluster.backend(leader);
    let (id, address) = (by_id(victim), by_address(victim));
    let answers = tokio::join!(
        backend.remove_server(&id, None),
        backend.remove_server(&address, None),
    );
    let error = the_only_error(answers.into());
    let unknown = [id, address].map(ErrorKind::UnknownServer);
    assert!(unknown.contains(error.kind()), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    cluster.close().await;
}

#[tokio::test]
async fn several_servers_are_removed_one_after_the_other() {
    let cluster = Cluster::start(4, 2, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    let backend = cluster.backend(leader);
    let servers: Vec<_> = others.iter().map(|id| by_id(*id)).collect();
    let removals = servers.iter().map(|id| backend.remove_server(id, None));
    for answer in soon("the removals", join_all(removals)).await {
        answer.unwrap();
    }
    assert_eq!(ids(&cluster.latest(leader).await), [leader]);
    cluster.close().await;
}

#[tokio::test]
async fn of_removals_at_the_same_index_one_is_done() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    let backend = cluster.backend(leader);
    let at = cluster.latest(leader).await.index;
    let (one, two) = (by_id(others[0]), by_id(others[1]));
    let answers = tokio::join!(
        backend.remove_server(&one, Some(at)),
        backend.remove_server(&two, Some(at)),
    );
    let error = the_only_error(answers.into());
    let latest = cluster.latest(leader).await;
    let (expected, actual) = (at, latest.index);
    assert_eq!(*error.kind(), ErrorKind::Conflict { expected, actual });
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(latest.servers.len(), 2);
    cluster.close().await;
}

#[tokio::test]
async fn of_the_last_voters_one_is_kept() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    let backend = cluster.backend(leader);
    // The learner is no voter that could be left.
    let voters: Vec<_> = others.iter().filter(|id| **id != 4).collect();
    let servers: Vec<_> = voters.iter().map(|id| by_id(**id)).collect();
    let leader_too = async {
        for server in &servers {
            backend.remove_server(server, None).await.unwrap();
        }
        backend.remove_server(&by_id(leader), None).await
    };
    let error = soon("the removals", leader_too).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::LastVoter);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(ids(&cluster.latest(leader).await), [leader, 4]);
    cluster.close().await;
}

#[tokio::test]
async fn a_leader_that_has_removed_itself_removes_nobody_else() {
    let cluster = Cluster::start(4, 0, Elections::Soon).await;
    let old = cluster.leader().await;
    let others = cluster.followers().await;
    let backend = cluster.backend(old);
    let all: Vec<_> = [old, others[0], others[1]].map(by_id).into();
    let removals = all.iter().map(|server| backend.remove_server(server, None));
    let answers = soon("the removals", join_all(removals)).await;
    answers[0].as_ref().unwrap();

    let new = cluster.leader_of(others.clone()).await;
    let left = ids(&cluster.latest(new).await);
    assert!(!left.contains(&old));
    for (id, answer) in others.iter().zip(&answers[1..]) {
        match answer {
            Ok(()) => assert!(!left.contains(id)),
            Err(error) => {
                assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
                assert!(left.contains(id));
            }
        }
    }
    let metrics = cluster.raft(old).metrics();
    assert_eq!(metrics.borrow().running_state, Ok(()));
    cluster.close().await;
}

#[tokio::test]
async fn a_removal_waits_for_a_change_that_is_not_committed() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    // Nothing is committed while the others are away.
    others.iter().for_each(|id| cluster.links.cut(*id));
    let raft = cluster.raft(leader).clone();
    let added = tokio::spawn(async move { raft.add_learner(9, node(9), false).await });
    until("the learner to be in the log", async || {
        ids(&cluster.latest(leader).await)
            .contains(&9)
            .then_some(())
    })
    .await;
    let at = cluster.latest(leader).await.index;
    let learner = by_id(9);
    let removal = cluster.backend(leader).remove_server(&learner, Some(at));
    let mut removal = pin!(removal);
    for _ in 0..20 {
        let wait = tokio::time::timeout(std::time::Duration::from_millis(10), removal.as_mut());
        assert!(wait.await.is_err(), "nothing can have been committed");
    }
    assert_eq!(cluster.latest(leader).await.index, at);
    cluster.links.mend();
    soon("the removal", removal).await.unwrap();
    added.await.unwrap().unwrap();
    assert_eq!(ids(&cluster.latest(leader).await), [1, 2, 3]);
    cluster.close().await;
}

/// Polls so often, with a breath for the others after each.
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
async fn a_dropped_removal_happens_whole_or_not_at_all() {
    let cluster = Cluster::start(8, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers().await;
    for (polls, victim) in others.iter().take(7).enumerate() {
        let server = by_id(*victim);
        poll(polls, cluster.backend(leader).remove_server(&server, None)).await;
        // The next one waits for what was begun, and finds it done or not begun.
        match soon("the next removal", cluster.remove(leader, *victim)).await {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(*error.kind(), ErrorKind::UnknownServer(server));
                assert_eq!(error.outcome(), Outcome::NotApplied);
            }
        }
        let mut left = others[polls + 1..].to_vec();
        left.push(leader);
        left.sort_unstable();
        assert_eq!(ids(&cluster.latest(leader).await), left);
    }
    cluster.close().await;
}

#[tokio::test]
async fn a_removal_that_was_begun_is_finished_without_its_caller() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let before = cluster.latest(leader).await.index;
    {
        let server = by_id(victim);
        let mut call = pin!(cluster.backend(leader).remove_server(&server, None));
        until("the removal to be in the log", async || {
            let mut context = Context::from_waker(Waker::noop());
            assert!(call.as_mut().poll(&mut context).is_pending());
            tokio::task::yield_now().await;
            let raft = cluster.raft(leader);
            let index = raft.with_raft_state(|s| s.membership_state.effective().log_id().unwrap());
            (index.await.unwrap().index > before).then_some(())
        })
        .await;
    }
    until("the removal to be finished", async || {
        let latest = cluster.latest(leader).await;
        (!ids(&latest).contains(&victim)).then_some(())
    })
    .await;
    cluster.close().await;
}
