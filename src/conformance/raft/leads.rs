//! Who leads, what happens when nobody does, and how the lead is handed on.

use super::cluster::{
    NOBODY, latest, leader, leader_among, not_applied, others, read, refused, standings,
};
use super::losses::{names_nobody, refuses_reads, refuses_removals};
use super::reads::does_not_lead;
use super::{Member, RaftFixture};
use crate::conformance::verdict::{Stop, Verdict, ensure, same, until};
use crate::error::ErrorKind;
use crate::raft::{Consistency, LeaderHint, Leadership, PeerSelector};

pub(super) async fn one_server_leads_and_the_others_follow(raft: &dyn RaftFixture) -> Verdict {
    leader(raft).await.map(|_| ())
}

pub(super) async fn a_hint_is_the_leaders_id_and_address(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let hint = LeaderHint {
        id: leader.id.clone(),
        address: leader.address.clone(),
    };
    for follower in others(raft, &leader) {
        let expected = Leadership::Elsewhere(hint.clone());
        same("the leadership", &expected, &follower.backend.leadership())?;
        let read = follower.backend.configuration(Consistency::Default).await;
        if let Err(error) = read
            && let ErrorKind::NotLeader {
                leader: Some(named),
            } = error.kind()
        {
            same("the leader in NotLeader", &hint, named)?;
        }
    }
    Ok(())
}

pub(super) async fn another_server_leads_once_the_leader_stops(raft: &dyn RaftFixture) -> Verdict {
    let old = leader(raft).await?;
    let before = latest(&old).await?;
    raft.stop(&old.id).await?;
    let new = leader_among(raft, &others(raft, &old)).await?;
    let after = latest(&new).await?;
    let what = "the servers: one that is down is not removed by itself";
    same(what, &standings(&before), &standings(&after))
}

/// Stops a majority, and brings the follower that is left once it knows.
async fn survivor(raft: &dyn RaftFixture) -> Result<Member, Stop> {
    let leader = leader(raft).await?;
    let mut others = others(raft, &leader);
    let Some(survivor) = others.pop() else {
        return Err(Stop::failed("two servers at least", "one"));
    };
    for member in others.iter().chain([&leader]) {
        raft.stop(&member.id).await?;
    }
    names_nobody(raft, &survivor).await?;
    Ok(survivor)
}

pub(super) async fn without_a_majority_nobody_leads(raft: &dyn RaftFixture) -> Verdict {
    survivor(raft).await.map(|_| ())
}

pub(super) async fn without_a_leader_a_read_is_refused(raft: &dyn RaftFixture) -> Verdict {
    refuses_reads(&survivor(raft).await?).await
}

pub(super) async fn without_a_leader_a_stale_read_is_answered(raft: &dyn RaftFixture) -> Verdict {
    let survivor = survivor(raft).await?;
    let view = read(&survivor, Consistency::Stale).await?;
    same("servers", &raft.members().len(), &view.servers.len())?;
    until(raft, "no server marked as the leader", || async {
        match survivor.backend.configuration(Consistency::Stale).await {
            Ok(view) if view.servers.iter().all(|server| !server.leader) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

pub(super) async fn without_a_leader_nothing_is_removed(raft: &dyn RaftFixture) -> Verdict {
    refuses_removals(raft, &survivor(raft).await?).await
}

/// Skips the check if the backend has no such thing. A transfer that cannot be is
/// asked for, so one that is done would have moved the lead away from the check.
async fn transferable(member: &Member) -> Verdict {
    let nobody = NOBODY.into();
    let transfer = member.backend.transfer_leadership(Some(&nobody)).await;
    match transfer {
        Ok(()) => Err(Stop::failed(
            format!("a transfer to {NOBODY}, which no server is, to be refused"),
            "Ok(())",
        )),
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => Err(Stop::Skipped {
            reason: "the backend has no leadership transfer".into(),
        }),
        Err(_) => Ok(()),
    }
}

pub(super) async fn the_lead_is_not_handed_to_an_unknown_server(raft: &dyn RaftFixture) -> Verdict {
    let old = leader(raft).await?;
    transferable(&old).await?;
    for nobody in [NOBODY, "", "no such server"] {
        let nobody = nobody.into();
        let unknown = ErrorKind::UnknownServer(PeerSelector::Id(nobody));
        let ErrorKind::UnknownServer(PeerSelector::Id(nobody)) = &unknown else {
            continue;
        };
        let transfer = old.backend.transfer_leadership(Some(nobody));
        let is_it = |kind: &ErrorKind| *kind == unknown;
        refused(&old, &format!("{unknown:?}"), transfer, is_it).await?;
    }
    let now = leader(raft).await?;
    same("the leader", &old.id, &now.id)
}

pub(super) async fn the_lead_is_not_handed_to_a_nonvoter(raft: &dyn RaftFixture) -> Verdict {
    let old = leader(raft).await?;
    transferable(&old).await?;
    let members = raft.members();
    let Some(nonvoter) = members.last() else {
        return Ok(());
    };
    let transfer = old.backend.transfer_leadership(Some(&nonvoter.id)).await;
    not_applied("an error", transfer, |_| true)?;
    let now = leader(raft).await?;
    ensure(now.id != nonvoter.id, "a voter as the leader", now.id)
}

pub(super) async fn the_lead_is_handed_to_the_server_that_is_named(
    raft: &dyn RaftFixture,
) -> Verdict {
    let old = leader(raft).await?;
    transferable(&old).await?;
    for heir in others(raft, &old) {
        let now = leader(raft).await?;
        let transfer = now.backend.transfer_leadership(Some(&heir.id)).await;
        let expected = format!("the lead to be handed to {}", heir.id);
        ensure(transfer.is_ok(), expected, transfer)?;
        let expected = format!("{} to lead", heir.id);
        until(raft, &expected, || async {
            match heir.backend.leadership() {
                Leadership::Local => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
    }
    Ok(())
}

pub(super) async fn the_lead_is_handed_on_where_nobody_is_named(raft: &dyn RaftFixture) -> Verdict {
    let old = leader(raft).await?;
    transferable(&old).await?;
    let before = latest(&old).await?;
    let transfer = old.backend.transfer_leadership(None).await;
    ensure(transfer.is_ok(), "the lead to be handed on", transfer)?;
    let expected = format!("another leader than {}", old.id);
    until(raft, &expected, || async {
        match old.backend.leadership() {
            Leadership::Elsewhere(hint) if hint.id != old.id => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    let new = leader(raft).await?;
    let after = latest(&new).await?;
    same("the servers", &standings(&before), &standings(&after))
}

pub(super) async fn a_follower_hands_no_lead_on(raft: &dyn RaftFixture) -> Verdict {
    let old = leader(raft).await?;
    transferable(&old).await?;
    for follower in others(raft, &old) {
        for to in [None, Some(&follower.id)] {
            let transfer = follower.backend.transfer_leadership(to);
            refused(&old, "NotLeader", transfer, does_not_lead).await?;
        }
    }
    let now = leader(raft).await?;
    same("the leader", &old.id, &now.id)
}
