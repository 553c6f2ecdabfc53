//! Servers that a majority does not hear: none of them leads, whoever has led.

use super::cluster::{
    by_id, holds, latest, leader, leader_among, not_applied, others, read, standings, without,
};
use super::{Member, RaftFixture};
use crate::conformance::poll::overdue;
use crate::conformance::verdict::{Stop, Verdict, ensure, same, until};
use crate::error::{ErrorKind, Outcome};
use crate::raft::{Consistency, Leadership};

/// Waits until a server names no leader, not even itself.
pub(super) async fn names_nobody(raft: &dyn RaftFixture, member: &Member) -> Verdict {
    let expected = format!("no leader in the view of {} without a majority", member.id);
    until(raft, &expected, || async {
        match member.backend.leadership() {
            Leadership::None => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// That a server that names no leader answers no read but a stale one.
pub(super) async fn refuses_reads(member: &Member) -> Verdict {
    for consistency in [Consistency::Default, Consistency::Consistent] {
        let read = member.backend.configuration(consistency).await;
        let expected = format!("NoLeader to a {consistency:?} read of {}", member.id);
        let is_it = |kind: &ErrorKind| *kind == ErrorKind::NoLeader;
        not_applied(&expected, read, is_it)?;
    }
    Ok(())
}

/// That a server that names no leader removes nobody, also not from its own view.
pub(super) async fn refuses_removals(raft: &dyn RaftFixture, member: &Member) -> Verdict {
    let before = read(member, Consistency::Stale).await?;
    for victim in raft.members() {
        let server = by_id(&victim);
        let removal = member.backend.remove_server(&server, None).await;
        let expected = format!("NoLeader to a removal at {}", member.id);
        let is_it = |kind: &ErrorKind| *kind == ErrorKind::NoLeader;
        not_applied(&expected, removal, is_it)?;
    }
    let after = read(member, Consistency::Stale).await?;
    same("the servers", &standings(&before), &standings(&after))?;
    same("the index", &before.index, &after.index)
}

/// Stops all followers, and brings the one that has led once it knows.
async fn left_alone(raft: &dyn RaftFixture) -> Result<Member, Stop> {
    let leader = leader(raft).await?;
    for follower in others(raft, &leader) {
        raft.stop(&follower.id).await?;
    }
    names_nobody(raft, &leader).await?;
    Ok(leader)
}

pub(super) async fn a_leader_without_a_majority_leads_no_more(raft: &dyn RaftFixture) -> Verdict {
    left_alone(raft).await.map(|_| ())
}

pub(super) async fn a_leader_without_a_majority_answers_no_read(raft: &dyn RaftFixture) -> Verdict {
    refuses_reads(&left_alone(raft).await?).await
}

pub(super) async fn a_leader_without_a_majority_removes_nothing(raft: &dyn RaftFixture) -> Verdict {
    refuses_removals(raft, &left_alone(raft).await?).await
}

/// Cuts the leader off, and brings it and the one that the others have elected.
async fn deposed(raft: &dyn RaftFixture) -> Result<(Member, Member), Stop> {
    let old = leader(raft).await?;
    raft.isolate(&old.id).await?;
    let new = leader_among(raft, &others(raft, &old)).await?;
    Ok((old, new))
}

pub(super) async fn a_leader_that_is_cut_off_answers_no_consistent_read(
    raft: &dyn RaftFixture,
) -> Verdict {
    let (old, _) = deposed(raft).await?;
    let read = old.backend.configuration(Consistency::Consistent);
    let read = overdue(raft, read).await;
    let expected = "an error or no answer from a server that another one has replaced";
    ensure(!matches!(read, Some(Ok(_))), expected, read)
}

pub(super) async fn a_leader_that_is_cut_off_removes_nothing(raft: &dyn RaftFixture) -> Verdict {
    let (old, new) = deposed(raft).await?;
    let others = others(raft, &old);
    let Some(victim) = others.last() else {
        return Ok(());
    };
    let server = by_id(victim);
    let removal = overdue(raft, old.backend.remove_server(&server, None)).await;
    let claimed = match &removal {
        Some(Ok(())) => true,
        Some(Err(error)) => error.outcome() == Outcome::Applied,
        None => false,
    };
    let expected = "an error or no answer, since no majority hears of it";
    ensure(!claimed, expected, &removal)?;
    let after = latest(&new).await?;
    let expected = format_args!("{} in the others' configuration", victim.id);
    ensure(holds(&after, victim), expected, standings(&after))
}

pub(super) async fn a_leader_that_is_cut_off_leads_no_more(raft: &dyn RaftFixture) -> Verdict {
    let (old, _) = deposed(raft).await?;
    names_nobody(raft, &old).await?;
    refuses_reads(&old).await?;
    refuses_removals(raft, &old).await
}

pub(super) async fn not_applied_is_said_only_of_what_did_not_happen(
    raft: &dyn RaftFixture,
) -> Verdict {
    let leader = leader(raft).await?;
    let others = others(raft, &leader);
    let (dead, victim) = (&others[0], &others[1]);
    raft.stop(&dead.id).await?;
    leader_among(raft, &without(raft.members(), dead)).await?;
    // What is left has no majority, so the change cannot be committed.
    let server = by_id(victim);
    let removal = overdue(raft, leader.backend.remove_server(&server, None)).await;
    if let Some(Err(error)) = &removal
        && error.outcome() == Outcome::NotApplied
    {
        let view = read(&leader, Consistency::Stale).await?;
        let expected = format_args!("{} still there, after {error:?}", victim.id);
        return ensure(holds(&view, victim), expected, standings(&view));
    }
    let expected = "no success of what a majority of the rest has not confirmed";
    ensure(!matches!(removal, Some(Ok(()))), expected, removal)
}
