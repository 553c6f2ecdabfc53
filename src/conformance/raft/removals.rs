//! What a removal does.

use super::cluster::{
    by_address, by_id, forgotten, holds, latest, leader, leader_among, others, remove, standing,
    standings, without,
};
use super::{Member, RaftFixture};
use crate::conformance::verdict::{Stop, Verdict, ensure, same, until};
use crate::error::Outcome;
use crate::raft::{Consistency, Leadership, PeerSelector};

pub(super) async fn a_voter_is_removed_by_its_id(raft: &dyn RaftFixture) -> Verdict {
    other_removed(raft, by_id).await
}

pub(super) async fn a_voter_is_removed_by_its_address(raft: &dyn RaftFixture) -> Verdict {
    other_removed(raft, by_address).await
}

async fn other_removed(raft: &dyn RaftFixture, selector: fn(&Member) -> PeerSelector) -> Verdict {
    let leader = leader(raft).await?;
    let victim = &others(raft, &leader)[0];
    remove(&leader, &selector(victim)).await?;
    forgotten(raft, &leader, victim).await.map(|_| ())
}

pub(super) async fn a_nonvoter_is_removed_by_its_id_or_address(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let mut nonvoters = raft.members().into_iter().rev();
    for selector in [by_id, by_address] {
        if let Some(victim) = nonvoters.next() {
            remove(&leader, &selector(&victim)).await?;
            forgotten(raft, &leader, &victim).await?;
        }
    }
    Ok(())
}

pub(super) async fn a_removed_voter_does_not_stay_as_a_nonvoter(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let victim = &others(raft, &leader)[0];
    remove(&leader, &by_id(victim)).await?;
    let after = latest(&leader).await?;
    let expected = format_args!("a configuration without {}", victim.id);
    ensure(!holds(&after, victim), expected, standings(&after))
}

pub(super) async fn a_removal_has_happened_when_it_returns(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let victim = &others(raft, &leader)[0];
    remove(&leader, &by_id(victim)).await?;
    for consistency in [
        Consistency::Default,
        Consistency::Consistent,
        Consistency::Stale,
    ] {
        let read = leader.backend.configuration(consistency).await;
        let done = matches!(&read, Ok(read) if !holds(read, victim));
        let expected = format!("a {consistency:?} read without {} at once", victim.id);
        ensure(done, expected, read)?;
    }
    Ok(())
}

pub(super) async fn a_removal_reaches_the_followers(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let others = others(raft, &leader);
    remove(&leader, &by_id(&others[0])).await?;
    for follower in &others[1..] {
        forgotten(raft, follower, &others[0]).await?;
    }
    Ok(())
}

pub(super) async fn a_removal_leaves_the_others_as_they_were(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let victim = &others(raft, &leader)[0];
    let before = latest(&leader).await?;
    remove(&leader, &by_id(victim)).await?;
    let after = latest(&leader).await?;
    let mut expected = standings(&before);
    expected.retain(|(id, _, _)| *id != victim.id.as_str());
    same("the other servers", &expected, &standings(&after))
}

pub(super) async fn the_leader_can_be_removed(raft: &dyn RaftFixture) -> Verdict {
    let old = leader(raft).await?;
    remove(&old, &by_id(&old)).await?;
    let rest = others(raft, &old);
    for member in &rest {
        forgotten(raft, member, &old).await?;
    }
    let new = leader_among(raft, &rest).await?;
    let after = latest(&new).await?;
    let expected = "a configuration of the other servers";
    ensure(
        after.servers.len() == rest.len(),
        expected,
        standings(&after),
    )
}

/// Removes the leader, and brings it, once it knows that it does not lead, and the
/// one that leads then.
async fn removed_leader(raft: &dyn RaftFixture) -> Result<(Member, Member), Stop> {
    let old = leader(raft).await?;
    remove(&old, &by_id(&old)).await?;
    let new = leader_among(raft, &others(raft, &old)).await?;
    let expected = format!("{}, which was removed, not to lead", old.id);
    until(raft, &expected, || async {
        match old.backend.leadership() {
            Leadership::Local => Err("Local".into()),
            Leadership::Elsewhere(_) | Leadership::None => Ok(()),
        }
    })
    .await?;
    Ok((old, new))
}

pub(super) async fn a_removed_leader_leads_no_more(raft: &dyn RaftFixture) -> Verdict {
    removed_leader(raft).await.map(|_| ())
}

pub(super) async fn a_removed_leader_answers_no_read(raft: &dyn RaftFixture) -> Verdict {
    let (old, _) = removed_leader(raft).await?;
    for consistency in [Consistency::Default, Consistency::Consistent] {
        // With what error is left to the engine: some stop with the removal.
        let read = old.backend.configuration(consistency).await;
        let expected = format!("an error to a {consistency:?} read of {}", old.id);
        ensure(read.is_err(), expected, read)?;
    }
    Ok(())
}

pub(super) async fn a_removed_leader_removes_nothing(raft: &dyn RaftFixture) -> Verdict {
    let (old, new) = removed_leader(raft).await?;
    for victim in without(others(raft, &old), &new) {
        let before = latest(&new).await?;
        let removal = old.backend.remove_server(&by_id(&victim), None).await;
        let is_refused = match &removal {
            Ok(()) => false,
            Err(error) => error.outcome() != Outcome::Applied,
        };
        let expected = format!("an error to a removal at {}", old.id);
        ensure(is_refused, expected, removal)?;
        let after = latest(&new).await?;
        let what = format!("the servers after a removal at {}, as before", old.id);
        same(&what, &standings(&before), &standings(&after))?;
    }
    Ok(())
}

pub(super) async fn a_removed_server_is_unknown_from_then_on(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let victim = &others(raft, &leader)[0];
    remove(&leader, &by_id(victim)).await?;
    super::refusals::unknown(&leader, by_id(victim)).await?;
    super::refusals::unknown(&leader, by_address(victim)).await
}

pub(super) async fn the_index_grows_with_each_removal(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let mut last = latest(&leader).await?.index;
    for victim in others(raft, &leader) {
        remove(&leader, &by_id(&victim)).await?;
        let index = latest(&leader).await?.index;
        ensure(index > last, format_args!("an index above {last}"), index)?;
        last = index;
    }
    Ok(())
}

pub(super) async fn a_removal_at_the_latest_index_is_done(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    for victim in others(raft, &leader) {
        let before = latest(&leader).await?;
        let server = by_id(&victim);
        let removal = leader
            .backend
            .remove_server(&server, Some(before.index))
            .await;
        let expected = format!("{server} to be removed at index {}", before.index);
        ensure(removal.is_ok(), expected, removal)?;
        let after = latest(&leader).await?;
        let gone = !after
            .servers
            .iter()
            .any(|server| standing(server).0 == victim.id.as_str());
        ensure(gone, format_args!("no {}", victim.id), standings(&after))?;
    }
    Ok(())
}

pub(super) async fn a_removal_goes_on_without_a_minority(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let dead = &others(raft, &leader)[0];
    raft.stop(&dead.id).await?;
    remove(&leader, &by_id(dead)).await?;
    let live = without(raft.members(), dead);
    for member in &live {
        forgotten(raft, member, dead).await?;
    }
    Ok(())
}
