//! What a read tells.

use std::collections::BTreeSet;

use super::RaftFixture;
use super::cluster::{by_id, latest, leader, others, read, refused, remove, standings};
use crate::conformance::verdict::{Verdict, ensure, same, until};
use crate::error::ErrorKind;
use crate::raft::{Consistency, RaftServer, Suffrage};

pub(super) async fn the_configuration_holds_the_servers_there_are(
    raft: &dyn RaftFixture,
) -> Verdict {
    let leader = leader(raft).await?;
    let configuration = latest(&leader).await?;
    let key = |server: &RaftServer| (server.id.to_string(), server.address.to_string());
    let told: BTreeSet<_> = configuration.servers.iter().map(key).collect();
    let members = raft.members();
    let members = members.iter();
    let there = members.map(|member| (member.id.to_string(), member.address.to_string()));
    same("ids and addresses", &there.collect(), &told)
}

pub(super) async fn ids_and_addresses_are_unique(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let configuration = latest(&leader).await?;
    let servers = &configuration.servers;
    let ids: BTreeSet<_> = servers.iter().map(|server| &server.id).collect();
    let addresses: BTreeSet<_> = servers.iter().map(|server| &server.address).collect();
    let unique = ids.len() == servers.len() && addresses.len() == servers.len();
    ensure(
        unique,
        "each id and each address once",
        standings(&configuration),
    )
}

pub(super) async fn a_server_without_a_vote_is_told_to_have_none(
    raft: &dyn RaftFixture,
) -> Verdict {
    let leader = leader(raft).await?;
    let configuration = latest(&leader).await?;
    let members = raft.members();
    let Some(nonvoter) = members.last() else {
        return Ok(());
    };
    for server in &configuration.servers {
        let expected = match server.id == nonvoter.id {
            true => [Suffrage::Nonvoter, Suffrage::Staging],
            false => [Suffrage::Voter; 2],
        };
        let expected_text = format!("{} to be one of {expected:?}", server.id);
        let holds = expected.contains(&server.suffrage);
        ensure(holds, expected_text, server.suffrage)?;
    }
    Ok(())
}

pub(super) async fn the_leader_alone_is_marked_as_the_leader(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    for consistency in [Consistency::Default, Consistency::Consistent] {
        let configuration = read(&leader, consistency).await?;
        let marked = configuration.servers.iter().filter(|server| server.leader);
        let marked: Vec<_> = marked.map(|server| server.id.as_str()).collect();
        same("the leader", &vec![leader.id.as_str()], &marked)?;
    }
    Ok(())
}

pub(super) async fn a_read_changes_nothing(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let first = latest(&leader).await?;
    for consistency in [
        Consistency::Stale,
        Consistency::Consistent,
        Consistency::Default,
    ] {
        let again = read(&leader, consistency).await?;
        same("the servers", &standings(&first), &standings(&again))?;
        same("the index", &first.index, &again.index)?;
    }
    Ok(())
}

pub(super) async fn the_leader_answers_a_consistent_read(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let plain = latest(&leader).await?;
    let consistent = read(&leader, Consistency::Consistent).await?;
    same("the servers", &standings(&plain), &standings(&consistent))
}

pub(super) async fn a_follower_answers_a_stale_read(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let latest = latest(&leader).await?;
    for follower in others(raft, &leader) {
        let expected = format!("{} to know the configuration", follower.id);
        until(raft, &expected, || async {
            match follower.backend.configuration(Consistency::Stale).await {
                Ok(view) if standings(&view) == standings(&latest) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
    }
    Ok(())
}

pub(super) async fn a_follower_answers_no_other_read(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    for follower in others(raft, &leader) {
        for consistency in [Consistency::Default, Consistency::Consistent] {
            let read = follower.backend.configuration(consistency);
            let expected = format!("NotLeader to a {consistency:?} read");
            refused(&leader, &expected, read, does_not_lead).await?;
        }
    }
    Ok(())
}

pub(super) fn does_not_lead(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotLeader { .. } | ErrorKind::NoLeader)
}

pub(super) async fn a_follower_removes_nothing(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let others = others(raft, &leader);
    for victim in [&others[0], &others[1], &leader] {
        let server = by_id(victim);
        let removal = others[0].backend.remove_server(&server, None);
        refused(&leader, "NotLeader", removal, does_not_lead).await?;
    }
    Ok(())
}

pub(super) async fn a_consistent_read_sees_what_was_removed(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    for victim in others(raft, &leader) {
        let before = read(&leader, Consistency::Consistent).await?;
        remove(&leader, &by_id(&victim)).await?;
        let after = read(&leader, Consistency::Consistent).await?;
        let expected = before.servers.len() - 1;
        same("servers left", &expected, &after.servers.len())?;
    }
    Ok(())
}
