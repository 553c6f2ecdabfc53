//! Removals at the same time, and removals that are given up.

use futures_util::future::join;

use super::cluster::{
    Answer, by_address, by_id, holds, latest, leader, leader_among, others, standings,
};
use super::{Member, RaftFixture};
use crate::conformance::poll::{given_up, overdue};
use crate::conformance::verdict::{Stop, Verdict, ensure, same, until};
use crate::error::{ErrorKind, Outcome};
use crate::raft::{Consistency, RaftConfiguration};

pub(super) async fn removals_of_one_server_at_once_succeed_once(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let victim = &others(raft, &leader)[0];
    let (id, address) = (by_id(victim), by_address(victim));
    let answers = join(
        leader.backend.remove_server(&id, None),
        leader.backend.remove_server(&address, None),
    )
    .await;
    let answers = [answers.0, answers.1];
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    ensure(done == 1, "one success and one error", &answers)?;
    let untrue = |error: &crate::OperatorError| error.outcome() == Outcome::Applied;
    let untrue = answers
        .iter()
        .any(|answer| answer.as_ref().is_err_and(untrue));
    ensure(
        !untrue,
        "the error not to say that it was applied",
        &answers,
    )?;
    let after = latest(&leader).await?;
    let expected = format_args!("no {}", victim.id);
    ensure(!holds(&after, victim), expected, standings(&after))
}

pub(super) async fn removals_of_two_servers_at_once_do_what_they_answer(
    raft: &dyn RaftFixture,
) -> Verdict {
    let leader = leader(raft).await?;
    let others = others(raft, &leader);
    let (one, two) = (by_id(&others[0]), by_id(&others[1]));
    let answers = join(
        leader.backend.remove_server(&one, None),
        leader.backend.remove_server(&two, None),
    )
    .await;
    let after = settled(raft, &leader).await?;
    happened_as_told(&after, &others[0], &answers.0)?;
    happened_as_told(&after, &others[1], &answers.1)?;
    let expected = "at least one of them to succeed";
    ensure(answers.0.is_ok() || answers.1.is_ok(), expected, &answers)?;
    let kept = others[2..]
        .iter()
        .chain([&leader])
        .all(|member| holds(&after, member));
    ensure(kept, "the other servers", standings(&after))
}

/// The configuration once a removal that may have changed the lead is over.
async fn settled(raft: &dyn RaftFixture, leader: &Member) -> Result<RaftConfiguration, Stop> {
    leader_among(raft, std::slice::from_ref(leader)).await?;
    latest(leader).await
}

fn happened_as_told(after: &RaftConfiguration, victim: &Member, answer: &Answer<()>) -> Verdict {
    let is_there = holds(after, victim);
    let id = &victim.id;
    match answer {
        Ok(()) => ensure(!is_there, format_args!("no {id}, which was removed"), after),
        Err(error) if error.outcome() == Outcome::NotApplied => {
            let expected = format_args!("{id} still there after {error:?}");
            ensure(is_there, expected, after)
        }
        Err(_) => Ok(()),
    }
}

pub(super) async fn removals_at_the_same_index_succeed_once(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let others = others(raft, &leader);
    let before = latest(&leader).await?;
    let (one, two) = (by_id(&others[0]), by_id(&others[1]));
    let answers = join(
        leader.backend.remove_server(&one, Some(before.index)),
        leader.backend.remove_server(&two, Some(before.index)),
    )
    .await;
    let after = settled(raft, &leader).await?;
    let removed = before.servers.len() - after.servers.len();
    same("servers removed", &1, &removed)?;
    happened_as_told(&after, &others[0], &answers.0)?;
    happened_as_told(&after, &others[1], &answers.1)?;
    let expected = "one success and one error";
    ensure(answers.0.is_ok() != answers.1.is_ok(), expected, &answers)
}

pub(super) async fn removals_at_once_leave_a_voter(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let other = &others(raft, &leader)[0];
    let (one, two) = (by_id(other), by_id(&leader));
    let both = join(
        leader.backend.remove_server(&one, None),
        leader.backend.remove_server(&two, None),
    );
    let answers = overdue(raft, both).await;
    let both = matches!(&answers, Some((Ok(()), Ok(()))));
    ensure(!both, "one of the last two voters to be kept", &answers)?;
    for member in [&leader, other] {
        let read = member.backend.configuration(Consistency::Stale).await;
        if let Ok(read) = read {
            let kept = read.servers.iter().any(|server| server.is_voter());
            ensure(kept, "a voter in the configuration", read)?;
        }
    }
    Ok(())
}

pub(super) async fn a_dropped_removal_happens_whole_or_not_at_all(
    raft: &dyn RaftFixture,
) -> Verdict {
    let leader = leader(raft).await?;
    let before = latest(&leader).await?;
    let mut gone: Vec<&str> = Vec::new();
    let others = others(raft, &leader);
    for (polls, victim) in others.iter().take(3).enumerate() {
        let server = by_id(victim);
        given_up(raft, polls, leader.backend.remove_server(&server, None)).await;
        let now = latest(&leader).await?;
        let mut kept = standings(&before);
        kept.retain(|(id, _, _)| !gone.contains(id));
        gone.push(victim.id.as_str());
        let mut less = kept.clone();
        less.retain(|(id, _, _)| *id != victim.id.as_str());
        let whole = [&kept, &less].contains(&&standings(&now));
        let expected = format!("{kept:?}, or that without {}", victim.id);
        ensure(whole, expected, standings(&now))?;
        removable(raft, &leader, victim).await?;
    }
    Ok(())
}

/// That a removal that was given up does not stand in the way of another one.
async fn removable(raft: &dyn RaftFixture, leader: &Member, victim: &Member) -> Verdict {
    let server = by_id(victim);
    let expected = format!("{server} to be removed, or to be unknown");
    until(raft, &expected, || async {
        match leader.backend.remove_server(&server, None).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::UnknownServer(_)) => Ok(()),
            Err(error) => Err(format!("{error:?}")),
        }
    })
    .await?;
    let after = latest(leader).await?;
    let expected = format_args!("no {}", victim.id);
    ensure(!holds(&after, victim), expected, standings(&after))
}

pub(super) async fn a_dropped_read_leaves_the_next_one_alone(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let before = latest(&leader).await?;
    for consistency in [
        Consistency::Default,
        Consistency::Consistent,
        Consistency::Stale,
    ] {
        for polls in 0..3 {
            given_up(raft, polls, leader.backend.configuration(consistency)).await;
            let again = super::cluster::read(&leader, consistency).await?;
            same("the servers", &standings(&before), &standings(&again))?;
        }
    }
    Ok(())
}
