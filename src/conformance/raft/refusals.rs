//! What is refused, and changes nothing.

use super::cluster::{NOBODY, by_address, by_id, latest, leader, others, refused, remove};
use super::{Member, RaftFixture};
use crate::conformance::verdict::Verdict;
use crate::error::ErrorKind;
use crate::raft::PeerSelector;

pub(super) async fn an_unknown_id_is_an_unknown_server(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    unknown(&leader, PeerSelector::Id(NOBODY.into())).await
}

pub(super) async fn an_unknown_address_is_an_unknown_server(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    unknown(&leader, PeerSelector::Address("192.0.2.1:1".into())).await
}

/// That the configuration does not hold such a server.
pub(super) async fn unknown(leader: &Member, server: PeerSelector) -> Verdict {
    let removal = leader.backend.remove_server(&server, None);
    let expected = format!("UnknownServer({server})");
    let is_it = |kind: &ErrorKind| *kind == ErrorKind::UnknownServer(server.clone());
    refused(leader, &expected, removal, is_it).await
}

pub(super) async fn a_server_is_matched_byte_for_byte(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let members = raft.members();
    let ids: Vec<_> = members.iter().map(|member| member.id.as_str()).collect();
    let addresses = members.iter().map(|member| member.address.as_str());
    let addresses: Vec<_> = addresses.collect();
    for like in ids.iter().flat_map(|id| alike(id)) {
        if !ids.contains(&like.as_str()) {
            unknown(&leader, PeerSelector::Id(like.into())).await?;
        }
    }
    for like in addresses.iter().flat_map(|address| alike(address)) {
        if !addresses.contains(&like.as_str()) {
            unknown(&leader, PeerSelector::Address(like.into())).await?;
        }
    }
    Ok(())
}

/// Texts that a lenient comparison would take for this one.
fn alike(text: &str) -> Vec<String> {
    let shorter = text.char_indices().next_back();
    vec![
        format!(" {text}"),
        format!("{text} "),
        format!("{text}\n"),
        format!("0{text}"),
        format!("+{text}"),
        format!("{text}0"),
        text.to_uppercase(),
        text.to_lowercase(),
        shorter.map_or("", |(end, _)| &text[..end]).into(),
    ]
}

pub(super) async fn an_id_is_not_taken_for_an_address(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let members = raft.members();
    for member in &members {
        if !members
            .iter()
            .any(|other| other.address == *member.id.as_str())
        {
            unknown(&leader, PeerSelector::Address(member.id.as_str().into())).await?;
        }
        if !members
            .iter()
            .any(|other| other.id == *member.address.as_str())
        {
            unknown(&leader, PeerSelector::Id(member.address.as_str().into())).await?;
        }
    }
    Ok(())
}

pub(super) async fn odd_names_are_unknown_servers(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let long = "9".repeat(100_000);
    let odd = [
        "",
        " ",
        "-1",
        "1.5",
        "18446744073709551616",
        "\0",
        "a\r\nb",
        "\"'{}%s",
        "*",
        "🦀",
        "[::1",
        "..",
        &long,
    ];
    for name in odd {
        unknown(&leader, PeerSelector::Id(name.into())).await?;
        unknown(&leader, PeerSelector::Address(name.into())).await?;
    }
    Ok(())
}

pub(super) async fn the_last_voter_is_never_removed(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    for server in [by_id(&leader), by_address(&leader)] {
        let removal = leader.backend.remove_server(&server, None);
        let is_it = |kind: &ErrorKind| *kind == ErrorKind::LastVoter;
        refused(&leader, "LastVoter", removal, is_it).await?;
    }
    Ok(())
}

pub(super) async fn nonvoters_do_not_make_the_last_voter_removable(
    raft: &dyn RaftFixture,
) -> Verdict {
    the_last_voter_is_never_removed(raft).await
}

pub(super) async fn a_removal_at_another_index_is_a_conflict(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let server = by_id(&others(raft, &leader)[0]);
    let actual = latest(&leader).await?.index;
    let expected = [actual.wrapping_sub(1), actual.wrapping_add(1), 0, u64::MAX];
    for expected in expected.into_iter().filter(|index| *index != actual) {
        conflict(&leader, &server, expected, actual).await?;
    }
    Ok(())
}

pub(super) async fn an_index_that_has_moved_on_is_a_conflict(raft: &dyn RaftFixture) -> Verdict {
    let leader = leader(raft).await?;
    let others = others(raft, &leader);
    let expected = latest(&leader).await?.index;
    remove(&leader, &by_id(&others[0])).await?;
    let actual = latest(&leader).await?.index;
    conflict(&leader, &by_id(&others[1]), expected, actual).await
}

async fn conflict(leader: &Member, server: &PeerSelector, expected: u64, actual: u64) -> Verdict {
    let conflict = ErrorKind::Conflict { expected, actual };
    let removal = leader.backend.remove_server(server, Some(expected));
    let is_it = |kind: &ErrorKind| *kind == conflict;
    refused(leader, &format!("{conflict:?}"), removal, is_it).await
}
