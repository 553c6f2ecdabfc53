//! Leadership transfers: under load, to unsuitable targets, and at the same time as other
//! changes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::raft::{Leadership, PendingChange, RaftView};
use cluster_operator::{ErrorKind, OperatorError, Outcome, RaftBackend};
use cluster_operator_conformance::raft::RaftFixture;
use cluster_operator_openraft::{GateGuard, OpenraftBackend, TransferRequest, Ungated, WriteGate};
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, RaftError};
use tokio::task::JoinHandle;

use crate::cluster::transfer::Gate;
use crate::cluster::{NodeId, Raft, Request};
use crate::servers::{
    Backend, Cluster, Elections, TIMEOUT, depose, describe, name, node, soon, transfer, until,
    voters,
};

fn assert_kept(before: &RaftView, after: &RaftView) {
    assert_eq!(after.leadership, Leadership::Local);
    assert_eq!(after.term, before.term, "there was an election");
}

/// Asserts that a transfer was refused, and that the leader still leads and writes.
pub(crate) async fn assert_refused(
    cluster: &Cluster,
    before: &RaftView,
    answer: Result<(), OperatorError>,
    kind: &str,
) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind().name(), kind, "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    let leader = before.id.as_str().parse().unwrap();
    assert_kept(before, &cluster.view(leader).await);
    write(cluster, leader).await;
}

pub(crate) async fn write(cluster: &Cluster, id: NodeId) {
    let server = &cluster.servers[&id];
    let write = server.gate.write(&server.raft, Request::Noop);
    soon("a write", write).await.unwrap();
}

/// Writes to every server without a break, which only the leader accepts, until it is
/// stopped. Every failed write has to name another leader.
struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(cluster: &Cluster) -> Self {
        let (stop, written) = (
            Arc::new(AtomicBool::new(false)),
            Arc::<AtomicU64>::default(),
        );
        let writer = |(raft, gate): (Raft, Gate)| {
            let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match gate.write(&raft, Request::Noop).await {
                        Ok(_) => {
                            written.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
            })
        };
        let servers = cluster.servers.values().flat_map(|server| {
            let parts = (server.raft.clone(), server.gate.clone());
            [parts.clone(), parts]
        });
        Writers {
            tasks: servers.map(writer).collect(),
            stop,
            written,
        }
    }

    /// Waits until some more writes have been committed.
    async fn progress(&self) {
        let before = self.written.load(Ordering::Relaxed);
        until("writes", async || {
            (self.written.load(Ordering::Relaxed) > before + 10).then_some(())
        })
        .await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            soon("a writer", task).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_leads_while_clients_write() {
    for size in [3, 5] {
        let cluster = Cluster::voters(size).await;
        let writers = Writers::start(&cluster);
        for _ in 0..4 {
            let leader = cluster.leader().await;
            let target = cluster.followers_of(leader)[0];
            writers.progress().await;
            let before = cluster.view(leader).await;
            cluster.transferred(leader, target).await;
            // The view after the answer shows the new leader.
            let after = cluster.view(leader).await;
            assert_eq!(after.leader(), Some(&name(target)));
            assert!(after.term > before.term);
            assert_eq!(cluster.leader().await, target);
            writers.progress().await;
        }
        writers.stop().await;
        cluster.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_cluster_without_gate_keeps_its_leader() {
    let cluster = Cluster::voters(3).await;
    let writers = Writers::start(&cluster);
    let mut refused = 0;
    for _ in 0..6 {
        let leader = cluster.leader().await;
        let target = cluster.followers_of(leader)[0];
        let backend = OpenraftBackend::new(cluster.raft(leader).clone(), describe)
            .with_transfer(cluster.links.of(leader), Ungated);
        writers.progress().await;
        let before = cluster.view(leader).await;
        match transfer(&backend, target).await {
            Ok(()) => assert_eq!(cluster.leader().await, target),
            Err(error) => {
                refused += 1;
                let after = cluster.view(leader).await;
                assert_eq!(error.kind().name(), "unavailable", "{error:?}");
                assert_eq!(error.outcome(), Outcome::NotApplied);
                assert_kept(&before, &after);
            }
        }
    }
    println!("{refused} of 6 transfers were refused");
    writers.stop().await;
    // Without writes, no gate is needed.
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    let backend = OpenraftBackend::new(cluster.raft(leader).clone(), describe)
        .with_transfer(cluster.links.of(leader), Ungated);
    transfer(&backend, target).await.unwrap();
    cluster.close().await;
}

#[tokio::test]
async fn without_channel_transfer_is_unsupported() {
    let cluster = Cluster::voters(1).await;
    let backend = OpenraftBackend::new(cluster.raft(1).clone(), describe);
    let error = backend.transfer_leadership(&name(1), TIMEOUT).await;
    let error = error.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }));
    assert_eq!(error.outcome(), Outcome::NotApplied);
    cluster.close().await;
}

#[tokio::test]
async fn unsuitable_target_is_refused() {
    let cluster = Cluster::start(3, 1, Elections::Soon).await;
    let leader = cluster.leader().await;
    let before = cluster.view(leader).await;
    for (target, kind) in [
        (leader, "already-leader"),
        (4, "not-voter"),
        (9, "unknown-server"),
    ] {
        let answer = cluster.transfer(leader, target).await;
        assert_refused(&cluster, &before, answer, kind).await;
    }
    let follower = cluster.followers_of(leader)[0];
    let error = cluster.transfer(follower, leader).await.unwrap_err();
    assert_eq!(error.kind().name(), "not-leader");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    cluster.close().await;
}

#[tokio::test]
async fn new_leader_transfers_after_its_lease() {
    let cluster = Cluster::voters(3).await;
    let first = cluster.leader().await;
    let second = cluster.followers_of(first)[0];
    // The second one is asked at once.
    cluster.transferred(first, second).await;
    until("the new leader's own view", async || {
        let view = cluster.view(second).await;
        (view.leadership == Leadership::Local).then_some(())
    })
    .await;
    cluster.transferred(second, first).await;
    assert_eq!(cluster.leader().await, first);
    cluster.close().await;
}

#[tokio::test]
async fn one_of_two_transfers_at_once_is_done() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers_of(leader);
    let (one, two) = tokio::join!(
        cluster.transfer(leader, followers[0]),
        cluster.transfer(leader, followers[1]),
    );
    let (target, error) = match (one, two) {
        (Ok(()), Err(error)) => (followers[0], error),
        (Err(error), Ok(())) => (followers[1], error),
        both => panic!("not one success and one error: {both:?}"),
    };
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    // The latter if the first one had to wait for the end of the lease.
    assert!(["not-leader", "unavailable"].contains(&error.kind().name()));
    assert_eq!(cluster.leader().await, target);
    cluster.close().await;
}

#[tokio::test]
async fn transfer_waits_for_no_unfinished_change() {
    let cluster = Cluster::voters(4).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers_of(leader);
    let before = cluster.view(leader).await;
    let joint = PendingChange::Joint;
    cluster
        .leave_unfinished(&name(followers[1]), joint)
        .await
        .unwrap();
    let answer = cluster.transfer(leader, followers[0]).await;
    assert_refused(&cluster, &before, answer, "change-in-progress").await;
    assert_eq!(cluster.view(leader).await.change, Some(joint));
    // Once it is finished, the leadership can be transferred.
    let nobody = ChangeMembers::AddVoterIds(BTreeSet::new());
    let finish = cluster.raft(leader).change_membership(nobody, true);
    soon("the change", finish).await.unwrap();
    cluster.transferred(leader, followers[0]).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn membership_change_at_once_is_done_whole_or_not_at_all() {
    let cluster = Cluster::start(4, 1, Elections::Soon).await;
    for round in 0..6_u64 {
        let leader = cluster.leader().await;
        let view = cluster.view(leader).await;
        let is_voter = voters(&view).contains(&5);
        let target = cluster.followers_of(leader)[round as usize % 3];
        let target = if target == 5 { 1 } else { target };
        let raft = cluster.raft(leader).clone();
        // The application changes the membership itself, without the backend's lock.
        let change = async {
            tokio::time::sleep(Duration::from_millis(round)).await;
            let voter = BTreeSet::from([5]);
            if is_voter {
                raft.change_membership(ChangeMembers::RemoveVoters(voter), true)
                    .await
            } else {
                raft.change_membership(ChangeMembers::AddVoterIds(voter), true)
                    .await
            }
        };
        let both = async { tokio::join!(cluster.transfer(leader, target), change) };
        let (transferred, changed) = soon("both", both).await;
        println!("round {round}: {transferred:?}, {:?}", changed.is_ok());
        let now = cluster.leader().await;
        match transferred {
            Ok(()) => assert_eq!(now, target),
            Err(error) => assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}"),
        }
        write(&cluster, now).await;
        let settled = until("no change in progress", async || {
            let view = cluster.view(now).await;
            view.change.is_none().then_some(view)
        });
        let settled = settled.await;
        let members = voters(&settled);
        assert!([vec![1, 2, 3, 4], vec![1, 2, 3, 4, 5]].contains(&members));
        if changed.is_ok() {
            assert_eq!(members.contains(&5), !is_voter);
        }
    }
    cluster.close().await;
}

#[tokio::test]
async fn removal_and_transfer_take_turns() {
    let cluster = Cluster::voters(5).await;
    let mut gone = Vec::new();
    for transfer_first in [false, true] {
        let there = |id: &NodeId| !gone.contains(id);
        let ids: Vec<_> = cluster.servers.keys().copied().filter(there).collect();
        let leader = cluster.leader_of(ids.clone()).await;
        let mut followers = ids.into_iter().filter(|id| *id != leader);
        let (target, victim) = (followers.next().unwrap(), followers.next().unwrap());
        let before = cluster.view(leader).await;
        let removal = cluster.removal(leader, victim).await;
        let backend = cluster.backend(leader);
        let both = async {
            if transfer_first {
                tokio::join!(
                    cluster.transfer(leader, target),
                    backend.change_membership(&removal)
                )
            } else {
                let remove = backend.change_membership(&removal);
                let (removed, transferred) = tokio::join!(remove, cluster.transfer(leader, target));
                (transferred, removed)
            }
        };
        let (transferred, removed) = soon("both", both).await;
        println!("transferred: {transferred:?}, removed: {removed:?}");
        for error in [&transferred, &removed]
            .into_iter()
            .filter_map(|a| a.as_ref().err())
        {
            assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
        }
        assert!(transferred.is_ok() || removed.is_ok());
        let rest = voters(&before).into_iter().filter(|id| *id != victim);
        let now = cluster.leader_of(rest).await;
        assert_eq!(now == target, transferred.is_ok());
        let after = cluster.view(now).await;
        assert_eq!(voters(&after).contains(&victim), removed.is_err());
        assert_eq!(after.change, None);
        if removed.is_ok() {
            cluster.links.disconnect(victim);
            gone.push(victim);
        }
    }
    cluster.close().await;
}

/// A gate that never closes, because a write in flight does not end.
struct Stuck;

#[async_trait]
impl WriteGate for Stuck {
    async fn close(&self) -> GateGuard {
        std::future::pending().await
    }
}

#[tokio::test]
async fn gate_that_does_not_close_ends_the_transfer() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    let before = cluster.view(leader).await;
    let backend = OpenraftBackend::new(cluster.raft(leader).clone(), describe)
        .with_transfer(cluster.links.of(leader), Stuck);
    let answer = transfer(&backend, target).await;
    assert_refused(&cluster, &before, answer, "unavailable").await;
    cluster.close().await;
}

#[tokio::test]
async fn gate_closes_although_a_replaced_leader_has_no_answer() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let others = cluster.followers_of(leader);
    for id in &others {
        cluster.links.cut(*id);
    }
    let server = &cluster.servers[&leader];
    let (raft, gate) = (server.raft.clone(), server.gate.clone());
    let last_log = || server.raft.metrics().borrow().last_log_index;
    let before = last_log();
    let written = tokio::spawn(async move { gate.write(&raft, Request::Noop).await });
    until("the write to be in the log", async || {
        (last_log() > before).then_some(())
    })
    .await;
    depose(&server.raft, others[0]).await;
    drop(soon("the gate", server.gate.close()).await);
    let error = soon("the write", written).await.unwrap().unwrap_err();
    assert_eq!(
        error.forward_to_leader().unwrap().leader_id,
        Some(others[0])
    );
    cluster.close().await;
}

#[tokio::test]
async fn second_transfer_waits_for_its_turn() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let to = name(cluster.followers_of(leader)[0]);
    let one = OpenraftBackend::new(cluster.raft(leader).clone(), describe)
        .with_transfer(cluster.links.of(leader), Stuck);
    let two = one.clone();
    until("a refusal of the second transfer", async || {
        let one = one.transfer_leadership(&to, TIMEOUT);
        // It waits for less time than the gate of the first one.
        let two = two.transfer_leadership(&to, Duration::from_millis(400));
        let (_, two) = soon("both", async { tokio::join!(one, two) }).await;
        let error = two.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
        let is_other = error.to_string().starts_with("another removal or transfer");
        is_other.then_some(())
    })
    .await;
    cluster.close().await;
}

/// A gate that is closed at once, and notes how long its server has led then.
#[derive(Clone)]
struct Noting {
    raft: Raft,
    closed: Arc<Mutex<Vec<Duration>>>,
}

#[async_trait]
impl WriteGate for Noting {
    async fn close(&self) -> GateGuard {
        let elected = self
            .raft
            .with_raft_state(|state| state.vote_last_modified());
        let elected = elected.await.unwrap().unwrap();
        self.closed.lock().unwrap().push(elected.elapsed());
        Box::new(())
    }
}

fn noting(cluster: &Cluster, id: NodeId) -> (Backend, Noting) {
    let gate = Noting {
        raft: cluster.raft(id).clone(),
        closed: Arc::default(),
    };
    let backend = OpenraftBackend::new(gate.raft.clone(), describe)
        .with_transfer(cluster.links.of(id), gate.clone());
    (backend, gate)
}

#[tokio::test]
async fn gate_stays_open_while_the_target_is_behind() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    let before = cluster.view(leader).await;
    cluster.links.cut(target);
    cluster.write(leader).await;
    let (backend, gate) = noting(&cluster, leader);
    let answer = transfer(&backend, target).await;
    assert_refused(&cluster, &before, answer, "unavailable").await;
    assert!(gate.closed.lock().unwrap().is_empty());
    cluster.close().await;
}

#[tokio::test]
async fn gate_stays_open_during_the_lease_of_the_leader() {
    let cluster = Cluster::voters(3).await;
    let first = cluster.leader().await;
    let second = cluster.followers_of(first)[0];
    cluster.transferred(first, second).await;
    let (backend, gate) = noting(&cluster, second);
    until("the transfer back", async || {
        transfer(&backend, first).await.ok()
    })
    .await;
    let lease = Duration::from_millis(600);
    let closed = gate.closed.lock().unwrap().clone();
    assert!(!closed.is_empty());
    assert!(closed.iter().all(|led| *led > lease), "{closed:?}");
    cluster.close().await;
}

#[tokio::test]
async fn any_timeout_is_accepted() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    let to = name(target);
    let before = cluster.view(leader).await;
    for timeout in [Duration::ZERO, Duration::from_nanos(1)] {
        let transfer = cluster.backend(leader).transfer_leadership(&to, timeout);
        let answer = soon("a transfer", transfer).await;
        assert_eq!(answer.unwrap_err().outcome(), Outcome::NotApplied);
        assert_kept(&before, &cluster.view(leader).await);
    }
    until("the transfer", async || {
        let transfer = cluster.backend(leader);
        let transfer = transfer.transfer_leadership(&to, Duration::MAX);
        soon("a transfer", transfer).await.ok()
    })
    .await;
    cluster.close().await;
}

#[tokio::test]
async fn target_that_needs_a_snapshot_leads_once_it_has_it() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    cluster.links.cut(target);
    for _ in 0..20 {
        cluster.write(leader).await;
    }
    let raft = cluster.raft(leader);
    let applied = cluster.write(leader).await;
    raft.trigger().snapshot().await.unwrap();
    until("the snapshot", async || {
        (raft.metrics().borrow().snapshot >= Some(applied)).then_some(())
    })
    .await;
    raft.trigger().purge_log(applied.index).await.unwrap();
    until("the purge", async || {
        (raft.metrics().borrow().purged >= Some(applied)).then_some(())
    })
    .await;
    // It stands for no election of its own meanwhile.
    cluster.raft(target).runtime_config().elect(false);
    cluster.links.mend();
    until("the transfer to the target", async || {
        let at = cluster.leader().await;
        match cluster.transfer(at, target).await {
            Ok(()) => Some(()),
            Err(error) => {
                println!("{error:?}");
                assert_ne!(error.outcome(), Outcome::Applied);
                (at == target).then_some(())
            }
        }
    })
    .await;
    assert_eq!(cluster.leader().await, target);
    let metrics = cluster.raft(target).metrics().borrow().clone();
    assert!(metrics.snapshot >= Some(applied), "it had the log");
    write(&cluster, target).await;
    cluster.close().await;
}

#[tokio::test]
async fn held_back_write_is_answered_after_the_transfer() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    let server = &cluster.servers[&leader];
    let (raft, gate) = (server.raft.clone(), server.gate.clone());
    let (sender, answer) = tokio::sync::oneshot::channel();
    let mut sender = Some(sender);
    // The write begins while the gate is closed.
    cluster.links.lose(move |_, request| {
        if *request == TransferRequest::Vote
            && let Some(sender) = sender.take()
        {
            let (raft, gate) = (raft.clone(), gate.clone());
            tokio::spawn(async move { sender.send(gate.write(&raft, Request::Noop).await) });
        }
        false
    });
    cluster.transferred(leader, target).await;
    let answer = soon("the write", answer).await.unwrap();
    // It was not passed to openraft before, so it is told who leads.
    let error = answer.unwrap_err();
    let forward = error.forward_to_leader().unwrap();
    assert_eq!(forward.leader_id, Some(target));
    assert_eq!(forward.leader_node, Some(node(target)));
    cluster.close().await;
}
