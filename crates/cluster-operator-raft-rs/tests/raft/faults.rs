//! Servers that die or are cut off during a change of the configuration.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use cluster_operator::raft::{Leadership, PendingChange, Proof};
use cluster_operator::{ErrorKind, OperatorError, Outcome, RaftBackend};
use raft::eraftpb::ConfChangeType;
use tokio::time::Instant;

use crate::cluster::{Cluster, Server, TIMEOUT, change_of, not_applied, removal_of, soon};

fn unproven(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::QuorumUnproven { .. })
}

fn ids(servers: &[Server]) -> Vec<u64> {
    servers.iter().map(|server| server.id).collect()
}

#[tokio::test(start_paused = true)]
async fn voter_killed_before_the_proof_leaves_a_writable_cluster() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    cluster.stop(others[0].id).await;
    let answer = leader.remove(others[1].id).await;
    not_applied(answer, |kind| {
        let after = leader.node.election_timeout();
        let (confirmed, needed) = (1, 2);
        *kind
            == ErrorKind::QuorumUnproven {
                confirmed,
                needed,
                after,
            }
    });
    assert_eq!(leader.voters().await, [1, 2, 3]);
    cluster.write_among(&cluster.servers).await;
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn removed_leader_steps_down() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    leader.remove(leader.id).await.unwrap();
    assert_eq!(leader.voters().await, ids(&others));
    assert_eq!(leader.view().await.leadership, Leadership::Unknown);
    let removed = Instant::now();
    cluster.write_among(&others).await;
    // The lead was transferred, so there was no election timeout.
    assert!(removed.elapsed() < leader.node.election_timeout());
    for server in &others {
        server.sees_voters(&ids(&others)).await;
    }
    // By itself: it is not stopped.
    let mut state = leader.node.state();
    let stepped_down = state.wait_for(|state| state.leader != leader.id);
    soon("stepping down", stepped_down).await.unwrap();
    not_applied(leader.remove(others[0].id).await, |kind| {
        *kind == ErrorKind::NoLeader
    });
    cluster.close().await;
}

/// The log must have no entry behind the removal.
#[tokio::test(start_paused = true)]
async fn leader_is_removed_under_writes() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    let writing = async {
        let mut written = 0_u64;
        while leader.view().await.leadership == Leadership::Local {
            let node = leader.node.clone();
            let data = written.to_be_bytes().to_vec();
            tokio::spawn(async move { node.write(data).await });
            written += 1;
            tokio::task::yield_now().await;
        }
        written
    };
    let (removed, written) = tokio::join!(leader.remove(leader.id), writing);
    removed.unwrap();
    assert!(written > 1);
    let last = cluster.write_among(&others).await;
    assert_eq!(last.voters().await, ids(&others));
    // All servers have applied the same writes, in the same order.
    let applied = leader.applied.lock().unwrap().clone();
    assert!(last.applied.lock().unwrap().starts_with(&applied));
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn leader_of_two_is_removed() {
    let cluster = Cluster::start(2, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    leader.remove(leader.id).await.unwrap();
    let last = cluster.write_among(&others).await;
    assert_eq!(last.voters().await, ids(&others));
    not_applied(last.remove(last.id).await, |kind| {
        *kind == ErrorKind::LastVoter
    });
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn leader_does_not_count_for_its_own_removal() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    cluster.stop(cluster.others(&leader)[0].id).await;
    not_applied(leader.remove(leader.id).await, unproven);
    cluster.write_among(&cluster.servers).await;
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn cut_off_leader_removes_nothing_and_is_replaced() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    cluster.cut(leader.id);
    not_applied(leader.remove(others[0].id).await, |kind| {
        unproven(kind) || *kind == ErrorKind::NoLeader
    });
    cluster.write_among(&others).await;
    leader.knows_no_leader().await;
    cluster.reconnect(leader.id);
    leader.sees_voters(&[1, 2, 3]).await;
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn two_removals_at_once_are_done_one_at_a_time() {
    let cluster = Cluster::start(5, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    let [one, other] = [
        leader.removal(others[0].id).await,
        leader.removal(others[1].id).await,
    ];
    let answers: (Result<(), OperatorError>, Result<(), OperatorError>) = tokio::join!(
        leader.backend.change_membership(&one),
        leader.backend.change_membership(&other),
    );
    let (done, refused) = match answers {
        (Ok(()), refused) => (&others[0], refused),
        (refused, done) => {
            done.unwrap();
            (&others[1], refused)
        }
    };
    not_applied(refused, |kind| {
        matches!(
            kind,
            ErrorKind::ChangeInProgress | ErrorKind::Conflict { .. }
        )
    });
    let left = ids(&cluster.others(done));
    assert_eq!(leader.voters().await, left);
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn margin_asks_for_one_voter_more() {
    let cluster = Cluster::start(5, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    cluster.stop(others[0].id).await;
    let removal = leader.removal(others[1].id).await;
    let with_margin = removal.clone().with_proof(Proof::Margin);
    not_applied(
        leader.backend.change_membership(&with_margin).await,
        |kind| {
            matches!(
                kind,
                ErrorKind::QuorumUnproven {
                    confirmed: 3,
                    needed: 4,
                    ..
                }
            )
        },
    );
    leader.backend.change_membership(&removal).await.unwrap();
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn voter_lost_after_the_proof_leaves_the_outcome_unknown() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    cluster.cut_at_change(others[0].id);
    let answer = leader.remove(others[1].id).await;
    // The leader and the voter that leaves have committed it, which is no success.
    assert_eq!(answer.unwrap_err().outcome(), Outcome::Unknown);
    cluster.reconnect(others[0].id);
    let left = [leader.clone(), others[0].clone()];
    cluster.write_among(&left).await;
    others[0].sees_voters(&leader.voters().await).await;
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn removal_beside_an_uncommitted_change_is_refused() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    let removal = leader.removal(others[1].id).await;
    cluster.cut(leader.id);
    let at = leader.node.change(removal_of(others[0].id)).await.unwrap();
    assert_eq!(leader.view().await.change, Some(PendingChange::Uncommitted));
    for _ in 0..2 {
        not_applied(leader.backend.change_membership(&removal).await, |kind| {
            *kind == ErrorKind::ChangeInProgress
        });
        let another = leader.node.change(removal_of(others[1].id)).await;
        assert!(another.is_err());
    }
    let log = leader.node.state().borrow().progress[&leader.id].matched;
    assert_eq!(log, at);
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn unfinished_removal_is_finished_first() {
    let cluster = Cluster::start(4, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    cluster
        .leave_unfinished(others[0].id, PendingChange::Joint)
        .await;
    let leader = cluster.leader().await;
    assert_eq!(leader.view().await.change, Some(PendingChange::Joint));
    let removal = leader.removal(others[1].id).await;
    not_applied(leader.backend.change_membership(&removal).await, |kind| {
        matches!(kind, ErrorKind::Conflict { expected, actual }
            if *expected == removal.version && actual.index > expected.index)
    });
    assert_eq!(leader.view().await.change, None);
    let left = ids(&cluster.others(&others[0]));
    assert_eq!(leader.voters().await, left);
    leader.remove(others[1].id).await.unwrap();
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn finishing_the_requested_removal_is_ok() {
    for server in 1..=3 {
        let cluster = Cluster::start(3, 0);
        cluster.leave_unfinished(server, PendingChange::Joint).await;
        let leader = cluster.leader().await;
        leader.remove(server).await.unwrap();
        let left = cluster.others(cluster.server(server));
        assert_eq!(leader.voters().await, ids(&left));
        cluster.write_among(&left).await;
        cluster.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn unfinished_removal_is_not_finished_without_a_proof() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    cluster
        .leave_unfinished(others[0].id, PendingChange::Joint)
        .await;
    cluster.stop(others[1].id).await;
    not_applied(leader.remove(others[0].id).await, unproven);
    assert_eq!(leader.view().await.change, Some(PendingChange::Joint));
    cluster.close().await;
}

/// A leader that an earlier leader's entry removes accepts writes before it knows, and
/// raft panics if a leader that is no member commits one.
#[tokio::test(start_paused = true)]
async fn removal_in_the_log_of_a_new_leader_is_survived() {
    let cluster = Cluster::start(4, 0);
    let old = cluster.leader().await;
    let others = cluster.others(&old);
    let (new, rest) = others.split_first().unwrap();
    for server in rest {
        cluster.cut(server.id);
    }
    let at = old.node.change(removal_of(new.id)).await.unwrap();
    let mut state = new.node.state();
    let has_it = state.wait_for(|state| state.progress[&new.id].matched == at);
    soon("an entry", has_it).await.unwrap();
    cluster.stop(old.id).await;
    // No other server can lead: that takes three of four, and this log is the longest.
    cluster.hold_acknowledgements();
    for server in rest {
        cluster.reconnect(server.id);
    }
    for server in rest {
        // The removal, and the first entry of the new leader's term.
        let mut state = server.node.state();
        let has_both = state.wait_for(|state| state.progress[&server.id].matched.index > at.index);
        soon("an election", has_both).await.unwrap();
    }
    let node = new.node.clone();
    let write = tokio::spawn(async move { node.write(b"behind it".to_vec()).await });
    let wrote = state.wait_for(|state| state.progress[&new.id].matched.index > at.index + 1);
    soon("a write", wrote).await.unwrap();
    cluster.release_acknowledgements();
    let last = cluster.write_among(rest).await;
    let left = ids(&cluster.others(new));
    assert_eq!(last.voters().await, left);
    new.knows_no_leader().await;
    assert!(state.has_changed().is_ok(), "the node has panicked");
    write.abort();
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn dropped_write_is_not_appended() {
    let cluster = Cluster::start(1, 0);
    let leader = cluster.leader().await;
    let write = leader.node.write(b"given up".to_vec());
    let given_up = tokio::time::timeout(Duration::ZERO, write).await;
    assert!(given_up.is_err());
    assert!(leader.node.write(b"write".to_vec()).await.unwrap());
    assert_eq!(*leader.applied.lock().unwrap(), [b"write"]);
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn lead_is_not_transferred_to_a_dead_voter() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    let dead = &cluster.others(&leader)[0];
    cluster.stop(dead.id).await;
    let answer = leader.hand_lead_to(dead.name().as_str()).await;
    not_applied(answer, |kind| {
        matches!(kind, ErrorKind::DeadlineExceeded { .. })
    });
    assert_eq!(cluster.leader().await.id, leader.id);
    cluster.write_among(&cluster.servers).await;
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn lead_is_transferred_to_the_target() {
    let cluster = Cluster::start(3, 1);
    let leader = cluster.leader().await;
    let target = &cluster.others(&leader)[0];
    let name = target.name();
    leader.hand_lead_to(name.as_str()).await.unwrap();
    assert_eq!(leader.view().await.leader(), Some(&name));
    assert_eq!(cluster.leader().await.id, target.id);
    // Itself, a non-voter, and an unknown server.
    for refused in [name.as_str(), "4", "04"] {
        not_applied(target.hand_lead_to(refused).await, |_| true);
    }
    assert_eq!(cluster.leader().await.id, target.id);
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn view_is_not_confirmed_across_terms() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    let other = &cluster.others(&leader)[0];
    cluster.set_latency(Duration::from_millis(2));
    let mut view = pin!(leader.backend.confirmed_view(TIMEOUT));
    begin(&mut view, 8).await;
    // The lead is lost and won again, and the call sees only the result.
    leader.hand_lead_to(other.name().as_str()).await.unwrap();
    other.hand_lead_to(leader.name().as_str()).await.unwrap();
    not_applied(soon("a view", view).await, |kind| {
        *kind == ErrorKind::NoLeader
    });
    cluster.close().await;
}

/// Polls a call this often, and lets the servers run after each poll.
async fn begin<T>(call: &mut Pin<&mut impl Future<Output = T>>, polls: usize) {
    for _ in 0..polls {
        let polled = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending()));
        assert!(polled.await, "it is over");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn removal_counts_although_the_server_is_added_again() {
    for is_joint in [false, true] {
        let cluster = Cluster::start(3, 0);
        let leader = cluster.leader().await;
        let victim = cluster.others(&leader)[0].id;
        if is_joint {
            cluster.leave_unfinished(victim, PendingChange::Joint).await;
        }
        cluster.set_latency(Duration::from_millis(2));
        let removal = leader.removal(victim).await;
        let mut answer = pin!(leader.backend.change_membership(&removal));
        while leader.view().await.change != Some(PendingChange::Uncommitted) {
            begin(&mut answer, 1).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The call sees only the result.
        let left = ids(&cluster.others(cluster.server(victim)));
        leader.sees_voters(&left).await;
        let addition = change_of(&[(victim, ConfChangeType::AddNode)]);
        leader.node.change(addition).await.unwrap();
        leader.sees_voters(&[1, 2, 3]).await;
        soon("the removal", answer).await.unwrap();
        cluster.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts_without_end_are_accepted() {
    let cluster = Cluster::start(3, 0);
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    let view = leader.backend.confirmed_view(Duration::MAX);
    soon("a view", view).await.unwrap();
    let target = others[0].name();
    let transfer = leader.backend.transfer_leadership(&target, Duration::MAX);
    soon("a transfer", transfer).await.unwrap();
    let leader = cluster.leader().await;
    let mut removal = leader.removal(others[1].id).await;
    removal.timeout = Duration::MAX;
    let answer = leader.backend.change_membership(&removal);
    soon("a removal", answer).await.unwrap();
    cluster.close().await;
}

/// Kills a server at each moment of a removal, which takes about ten messages in a row.
#[tokio::test(start_paused = true)]
async fn answer_is_true_whenever_a_server_dies() {
    for moment in 0..30 {
        for (leader_leaves, leader_dies) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let cluster = Cluster::start(5, 0);
            cluster.set_latency(Duration::from_millis(2));
            let leader = cluster.leader().await;
            let others = cluster.others(&leader);
            let leaves = if leader_leaves { &leader } else { &others[0] };
            let dies = if leader_dies { &leader } else { &others[1] };
            let death = async {
                tokio::time::sleep(Duration::from_millis(moment)).await;
                cluster.stop(dies.id).await;
            };
            let (answer, ()) = tokio::join!(leader.remove(leaves.id), death);
            let last = cluster.write_among(&cluster.others(dies)).await;
            let is_there = last.voters().await.contains(&leaves.id);
            match answer {
                Ok(()) => assert!(!is_there, "Ok at {moment} ms"),
                Err(error) if error.outcome() == Outcome::NotApplied => {
                    assert!(is_there, "{error:?} at {moment} ms");
                }
                Err(_) => assert!(leader_dies, "an unknown outcome at {moment} ms"),
            }
            cluster.close().await;
        }
    }
}

/// Kills a server at each moment of a replacement. Whichever dies, the others take writes.
#[tokio::test(start_paused = true)]
async fn replacement_survives_any_death() {
    for moment in 0..40 {
        for (leader_leaves, dies) in [false, true]
            .into_iter()
            .flat_map(|leaves| (0..4).map(move |dies| (leaves, dies)))
        {
            let cluster = Cluster::start(3, 1);
            cluster.set_latency(Duration::from_millis(2));
            let leader = cluster.leader().await;
            let others = cluster.others(&leader);
            let (old, new) = (if leader_leaves { &leader } else { &others[0] }, &others[2]);
            let dies = [&leader, &others[0], &others[1], new][dies];
            let death = async {
                tokio::time::sleep(Duration::from_millis(moment)).await;
                cluster.stop(dies.id).await;
            };
            let (answer, ()) = tokio::join!(leader.replace(old.id, new.id), death);
            let last = cluster.write_among(&cluster.others(dies)).await;
            let voters = last.voters().await;
            let votes = (voters.contains(&old.id), voters.contains(&new.id));
            let at = format!("{moment} ms, {} dies, {answer:?}: {voters:?}", dies.id);
            match answer {
                Ok(()) => assert_eq!(votes, (false, true), "{at}"),
                Err(error) if error.outcome() == Outcome::NotApplied => {
                    assert_eq!(votes, (true, false), "{at}");
                }
                Err(_) => assert_eq!(dies.id, leader.id, "{at}"),
            }
            cluster.close().await;
        }
    }
}

/// Kills a server at each moment of a promotion. Whichever dies, the others take writes.
#[tokio::test(start_paused = true)]
async fn promotion_survives_any_death() {
    for (moment, dies) in (0..30).flat_map(|moment| (0..4).map(move |dies| (moment, dies))) {
        let cluster = Cluster::start(3, 1);
        cluster.set_latency(Duration::from_millis(2));
        let leader = cluster.leader().await;
        let others = cluster.others(&leader);
        let dies = [&leader, &others[0], &others[1], &others[2]][dies];
        let death = async {
            tokio::time::sleep(Duration::from_millis(moment)).await;
            cluster.stop(dies.id).await;
        };
        let (answer, ()) = tokio::join!(leader.promote(4), death);
        let last = cluster.write_among(&cluster.others(dies)).await;
        let votes = last.voters().await.contains(&4);
        let at = format!("{moment} ms, {} dies, {answer:?}", dies.id);
        match answer {
            Ok(()) => assert!(votes, "{at}"),
            Err(error) if error.outcome() == Outcome::NotApplied => assert!(!votes, "{at}"),
            Err(_) => assert_eq!(dies.id, leader.id, "{at}"),
        }
        cluster.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn promotion_ends_its_own_joint_configuration() {
    let cluster = Cluster::start(3, 2);
    let leader = cluster.leader().await;
    let promotion = change_of(&[(4, ConfChangeType::AddNode)]);
    leader.enter_joint(promotion).await;
    leader.promote(4).await.unwrap();
    assert_eq!(leader.voters().await, [1, 2, 3, 4]);
    assert_eq!(leader.view().await.change, None);
    let promotion = change_of(&[(5, ConfChangeType::AddNode)]);
    leader.enter_joint(promotion).await;
    // The joint configuration of another server's promotion.
    let (answer, after) = (leader.remove(4).await, leader.view().await);
    not_applied(
        answer,
        |kind| matches!(kind, ErrorKind::Conflict { actual, .. } if *actual == after.version),
    );
    assert_eq!(leader.voters().await, [1, 2, 3, 4, 5]);
    cluster.close().await;
}

/// A joint configuration in which the fifth server has taken a follower's place, and that
/// nobody leaves.
async fn half_replaced() -> (Cluster, Server, Server) {
    let cluster = Cluster::start(4, 1);
    let leader = cluster.leader().await;
    let old = cluster.others(&leader).remove(0);
    let add = (5, ConfChangeType::AddNode);
    let change = change_of(&[(old.id, ConfChangeType::RemoveNode), add]);
    leader.enter_joint(change).await;
    (cluster, leader, old)
}

#[tokio::test(start_paused = true)]
async fn replacement_ends_its_own_joint_configuration() {
    let (cluster, leader, old) = half_replaced().await;
    leader.replace(old.id, 5).await.unwrap();
    let voters: Vec<_> = (1..=5).filter(|id| *id != old.id).collect();
    assert_eq!(leader.voters().await, voters);
    assert_eq!(leader.view().await.change, None);
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn removal_ends_replacement_of_same_server() {
    let (cluster, leader, old) = half_replaced().await;
    leader.remove(old.id).await.unwrap();
    assert!(!leader.voters().await.contains(&old.id));
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn other_replacement_ends_it_and_conflicts() {
    let (cluster, leader, old) = half_replaced().await;
    let other = cluster.others(&leader).remove(1);
    let before = leader.view().await.version;
    let answer = leader.replace(other.id, 5).await;
    let after = leader.view().await;
    let (expected, actual) = (before, after.version);
    not_applied(answer, |kind| {
        *kind == ErrorKind::Conflict { expected, actual }
    });
    assert_eq!(after.change, None);
    let voters: Vec<_> = (1..=5).filter(|id| *id != old.id).collect();
    assert_eq!(leader.voters().await, voters);
    cluster.close().await;
}
