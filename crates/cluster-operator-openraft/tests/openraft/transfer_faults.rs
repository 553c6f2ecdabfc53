//! Leadership transfers in which messages are lost or servers die.

use std::collections::BTreeSet;
use std::error::Error;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::raft::Leadership;
use cluster_operator::{ErrorKind, Outcome, RaftBackend};
use cluster_operator_openraft::{OpenraftBackend, TransferChannel, TransferReply, TransferRequest};
use openraft::ChangeMembers;

use crate::cluster::{Node, NodeId, Raft, Request, TypeConfig};
use crate::links::Ends;
use crate::servers::{Cluster, Elections, TIMEOUT, describe, name, soon, transfer, until};
use crate::transfers::{assert_refused, write};

type Matches = fn(&TransferRequest<NodeId>) -> bool;

#[tokio::test]
async fn dead_target_is_refused() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    // By what the leader knows, it is up to date.
    cluster.links.cut(target);
    let before = cluster.view(leader).await;
    let answer = cluster.transfer(leader, target).await;
    assert_refused(&cluster, &before, answer, "unreachable").await;
    // Now it is not.
    let answer = cluster.transfer(leader, target).await;
    assert_refused(&cluster, &before, answer, "unavailable").await;
    cluster.close().await;
}

/// Answers with a vote of an older term.
struct Behind(Ends);

#[async_trait]
impl TransferChannel<TypeConfig> for Behind {
    async fn send(
        &self,
        to: &NodeId,
        node: &Node,
        request: TransferRequest<NodeId>,
    ) -> Result<TransferReply<NodeId>, Box<dyn Error + Send + Sync>> {
        assert_eq!(request, TransferRequest::Vote, "a later step");
        let mut reply = self.0.send(to, node, request).await?;
        reply.term -= 1;
        Ok(reply)
    }
}

#[tokio::test]
async fn target_that_answers_but_follows_nobody_is_refused() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    let before = cluster.view(leader).await;
    let ends = cluster.links.of(leader);
    let gate = cluster.servers[&leader].gate.clone();
    let backend = OpenraftBackend::new(cluster.raft(leader).clone(), describe)
        .with_transfer(Behind(ends), gate);
    let answer = transfer(&backend, target).await;
    assert_refused(&cluster, &before, answer, "unavailable").await;
    cluster.close().await;
}

/// The receiver and the request, and whether the sender led.
type Sent = (NodeId, TransferRequest<NodeId>, bool);

/// Notes the requests of a leader, and whether it still led when it sent them.
struct Noting {
    ends: Ends,
    raft: Raft,
    sent: Arc<Mutex<Vec<Sent>>>,
}

#[async_trait]
impl TransferChannel<TypeConfig> for Noting {
    async fn send(
        &self,
        to: &NodeId,
        node: &Node,
        request: TransferRequest<NodeId>,
    ) -> Result<TransferReply<NodeId>, Box<dyn Error + Send + Sync>> {
        let leads = self
            .raft
            .with_raft_state(|state| state.server_state.is_leader());
        let leads = leads.await?;
        let sent = (*to, request.clone(), leads);
        self.sent.lock().unwrap().push(sent);
        self.ends.send(to, node, request).await
    }
}

#[tokio::test]
async fn leases_end_between_resignation_and_election() {
    let cluster = Cluster::voters(5).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers_of(leader);
    let (target, others) = (followers[0], &followers[1..]);
    let term = cluster.view(leader).await.term;
    let sent = Arc::default();
    let noting = Noting {
        ends: cluster.links.of(leader),
        raft: cluster.raft(leader).clone(),
        sent: Arc::clone(&sent),
    };
    let gate = cluster.servers[&leader].gate.clone();
    let backend =
        OpenraftBackend::new(cluster.raft(leader).clone(), describe).with_transfer(noting, gate);
    until("the transfer", async || {
        sent.lock().unwrap().clear();
        transfer(&backend, target).await.ok()
    })
    .await;
    let mut sent = sent.lock().unwrap().clone();
    assert_eq!(sent[0], (target, TransferRequest::Vote, true));
    // A slow machine repeats the last ones.
    let end = |id: &NodeId| (*id, TransferRequest::EndLease { term, target }, false);
    let ends: Vec<_> = others.iter().map(end).collect();
    sent[1..4].sort_by_key(|(to, ..)| *to);
    assert_eq!(sent[1..4], ends);
    assert_eq!(sent[4], (target, TransferRequest::Elect { term }, false));
    cluster.close().await;
}

/// Removes the target from the membership when it is asked for its vote.
struct Removing {
    ends: Ends,
    raft: Raft,
}

#[async_trait]
impl TransferChannel<TypeConfig> for Removing {
    async fn send(
        &self,
        to: &NodeId,
        node: &Node,
        request: TransferRequest<NodeId>,
    ) -> Result<TransferReply<NodeId>, Box<dyn Error + Send + Sync>> {
        assert_eq!(request, TransferRequest::Vote, "a later step");
        let raft = self.raft.clone();
        let target = ChangeMembers::RemoveVoters(BTreeSet::from([*to]));
        // A slow machine may not wait for it.
        tokio::spawn(async move { raft.change_membership(target, false).await }).await??;
        self.ends.send(to, node, request).await
    }
}

#[tokio::test]
async fn leader_does_not_resign_for_a_server_that_was_removed() {
    let cluster = Cluster::voters(4).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    let before = cluster.view(leader).await;
    let removing = Removing {
        ends: cluster.links.of(leader),
        raft: cluster.raft(leader).clone(),
    };
    let gate = cluster.servers[&leader].gate.clone();
    let backend =
        OpenraftBackend::new(cluster.raft(leader).clone(), describe).with_transfer(removing, gate);
    let error = transfer(&backend, target).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    let kind = error.kind().name();
    assert!(
        ["unknown-server", "deadline-exceeded"].contains(&kind),
        "{error:?}"
    );
    until("the removal", async || {
        let view = cluster.view(leader).await;
        let is_there = view.membership.get(&name(target)).is_some();
        (view.change.is_none() && !is_there).then_some(())
    })
    .await;
    let after = cluster.view(leader).await;
    assert_eq!(
        (after.leadership, after.term),
        (Leadership::Local, before.term)
    );
    write(&cluster, leader).await;
    cluster.close().await;
}

/// Loses the first request of a kind to each server.
fn loses_first(
    matches: Matches,
) -> impl FnMut(NodeId, &TransferRequest<NodeId>) -> bool + Send + 'static {
    let mut seen = BTreeSet::new();
    move |to, request| matches(request) && seen.insert(to)
}

fn ends_lease(request: &TransferRequest<NodeId>) -> bool {
    matches!(request, TransferRequest::EndLease { .. })
}

fn elects(request: &TransferRequest<NodeId>) -> bool {
    matches!(request, TransferRequest::Elect { .. })
}

#[tokio::test]
async fn lost_message_is_repeated() {
    for (size, matches) in [
        (3, ends_lease as Matches),
        (5, ends_lease),
        (3, elects),
        (5, elects),
        (5, |request| ends_lease(request) || elects(request)),
    ] {
        let cluster = Cluster::voters(size).await;
        let leader = cluster.leader().await;
        let target = cluster.followers_of(leader)[0];
        // No server stands for election that is not asked to.
        cluster.only_elects(|_| false);
        cluster.links.lose(loses_first(matches));
        cluster.transferred(leader, target).await;
        assert_eq!(cluster.leader().await, target);
        cluster.close().await;
    }
}

#[tokio::test]
async fn answer_is_true_when_no_lease_is_ended() {
    let cluster = Cluster::voters(5).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    let before = cluster.view(leader).await;
    cluster.links.lose(|_, request| ends_lease(request));
    let answer = cluster.transfer(leader, target).await;
    let now = cluster.leader().await;
    println!("{answer:?}, {now} leads");
    match answer {
        Ok(()) => {}
        Err(error) => match error.kind() {
            ErrorKind::TransferredElsewhere { .. } => {
                assert_eq!(error.outcome(), Outcome::NotApplied);
            }
            _ => assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}"),
        },
    }
    assert!(cluster.view(now).await.term > before.term);
    cluster.close().await;
}

/// Cuts a server off when such a request is sent, before it arrives.
fn cut_at(cluster: &Cluster, id: NodeId, matches: Matches) {
    let links = cluster.links.clone();
    cluster.links.lose(move |_, request| {
        if matches(request) {
            links.cut(id);
        }
        false
    });
}

#[tokio::test]
async fn leader_that_is_cut_off_after_resigning_knows_nothing() {
    for matches in [ends_lease as Matches, elects] {
        let cluster = Cluster::voters(3).await;
        let leader = cluster.leader().await;
        let target = cluster.followers_of(leader)[0];
        cut_at(&cluster, leader, matches);
        let error = cluster.transfer(leader, target).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
        assert_eq!(error.kind().name(), "deadline-exceeded");
        // The others elect a leader, and the gate is open again.
        let new = cluster.leader().await;
        write(&cluster, new).await;
        cluster.links.mend();
        let server = &cluster.servers[&leader];
        let write = server.gate.write(&server.raft, Request::Noop);
        soon("a write", write).await.ok();
        cluster.leader().await;
        cluster.close().await;
    }
}

#[tokio::test]
async fn timeout_after_the_resignation_is_unknown() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    let to = name(target);
    cut_at(&cluster, leader, elects);
    let error = until("the resignation", async || {
        // Shorter than the time for an election.
        let timeout = Duration::from_millis(1200);
        let transfer = cluster.backend(leader);
        let transfer = transfer.transfer_leadership(&to, timeout);
        let error = soon("a transfer", transfer).await.unwrap_err();
        let resigned = cluster.links.is_cut(leader);
        assert_eq!(error.outcome() == Outcome::Unknown, resigned, "{error:?}");
        resigned.then_some(error)
    });
    let error = error.await;
    let ErrorKind::DeadlineExceeded { after, .. } = error.kind() else {
        panic!("{error:?}");
    };
    assert_eq!(*after, Duration::from_millis(1050));
    // The gate is opened without the caller, and the next transfer gets its turn.
    let server = &cluster.servers[&leader];
    let write = server.gate.write(&server.raft, Request::Noop);
    soon("a write", write).await.unwrap_err();
    cluster.links.mend();
    cluster.leader().await;
    cluster.close().await;
}

#[tokio::test]
async fn target_that_dies_after_the_leader_resigned_does_not_lead() {
    for (size, matches) in [(3, ends_lease as Matches), (3, elects), (5, elects)] {
        let cluster = Cluster::voters(size).await;
        let leader = cluster.leader().await;
        let target = cluster.followers_of(leader)[0];
        cut_at(&cluster, target, matches);
        let error = cluster.transfer(leader, target).await.unwrap_err();
        let now = cluster.leader().await;
        assert_ne!(now, target);
        match error.kind() {
            ErrorKind::TransferredElsewhere { leader } => {
                assert_eq!(error.outcome(), Outcome::NotApplied);
                assert_ne!(*leader, name(target));
            }
            _ => assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}"),
        }
        write(&cluster, now).await;
        cluster.close().await;
    }
}

#[tokio::test]
async fn another_leader_is_named() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers_of(leader);
    let (target, other) = (followers[0], followers[1]);
    cluster.only_elects(|_| false);
    let rival = cluster.raft(other).clone();
    cluster.links.lose(move |_, request| {
        let is_elect = elects(request);
        if is_elect {
            let rival = rival.clone();
            tokio::spawn(async move { rival.trigger().elect().await });
        }
        is_elect
    });
    let error = cluster.transfer(leader, target).await.unwrap_err();
    let expected = ErrorKind::TransferredElsewhere {
        leader: name(other),
    };
    assert_eq!(*error.kind(), expected);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(cluster.leader().await, other);
    cluster.close().await;
}

#[tokio::test]
async fn requests_of_other_terms_do_not_disturb_a_leader() {
    let cluster = Cluster::start(3, 1, Elections::Soon).await;
    let old = cluster.leader().await;
    let followers = cluster.followers_of(old);
    let (new, other) = (followers[0], followers[1]);
    let term = cluster.view(old).await.term;
    cluster.transferred(old, new).await;
    assert_eq!(cluster.leader().await, new);
    let led = cluster.view(new).await.term;
    for id in [old, new, other] {
        let raft = cluster.raft(id);
        let end = |term| TransferRequest::EndLease { term, target: old };
        let elect = |term| TransferRequest::Elect { term };
        // No server knows a term that is to come.
        let requests = [
            end(term),
            end(led - 1),
            end(led + 5),
            elect(term),
            elect(led + 5),
        ];
        for request in requests {
            let vote = request.serve(raft).await.unwrap();
            assert_eq!(
                (vote.term, vote.leader, vote.elected),
                (led, Some(new), true)
            );
        }
    }
    // The target itself ignores a request that is meant for others.
    let own = TransferRequest::EndLease {
        term: led,
        target: other,
    };
    let vote = own.serve(cluster.raft(other)).await.unwrap();
    assert_eq!((vote.term, vote.leader), (led, Some(new)));
    // A learner or a leader does not stand for election.
    for id in [4, new] {
        let elect = TransferRequest::Elect { term: led };
        let vote = elect.serve(cluster.raft(id)).await.unwrap();
        assert_eq!((vote.term, vote.leader), (led, Some(new)));
    }
    write(&cluster, new).await;
    assert_eq!(cluster.view(new).await.term, led);
    cluster.close().await;
}

#[tokio::test]
async fn requests_with_any_term_are_answered() {
    let cluster = Cluster::start(1, 1, Elections::Soon).await;
    for id in [1, 2] {
        for term in [0, 1, u64::MAX] {
            let end = TransferRequest::EndLease { term, target: 9 };
            for request in [TransferRequest::Vote, end, TransferRequest::Elect { term }] {
                request.serve(cluster.raft(id)).await.unwrap();
            }
        }
    }
    // The learner has not stood for election.
    assert_eq!(cluster.leader().await, 1);
    cluster.close().await;
    let stopped = TransferRequest::Vote.serve(cluster.raft(1)).await;
    stopped.unwrap_err();
}

#[tokio::test]
async fn transfer_without_its_caller_is_completed() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    let target = cluster.followers_of(leader)[0];
    {
        let to = name(target);
        let transfer = cluster.backend(leader).transfer_leadership(&to, TIMEOUT);
        assert!(futures_util::poll!(pin!(transfer)).is_pending());
    }
    until("the target to lead", async || {
        let view = cluster.view(target).await;
        (view.leadership == Leadership::Local).then_some(())
    })
    .await;
    write(&cluster, target).await;
    cluster.close().await;
}
