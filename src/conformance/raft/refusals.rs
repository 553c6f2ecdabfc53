//! What is refused, and changes nothing.

use super::RaftFixture;
use super::cluster::{by_address, by_id, leader, refused};
use crate::conformance::verdict::Verdict;
use crate::error::ErrorKind;
use crate::raft::PeerSelector;

/// An id that no server has; a number, since some engines' ids are.
const NOBODY: &str = "4611686018427387904";

pub(super) async fn an_unknown_id_is_an_unknown_server(raft: &dyn RaftFixture) -> Verdict {
    unknown(raft, PeerSelector::Id(NOBODY.into())).await
}

pub(super) async fn an_unknown_address_is_an_unknown_server(raft: &dyn RaftFixture) -> Verdict {
    unknown(raft, PeerSelector::Address("192.0.2.1:1".into())).await
}

async fn unknown(raft: &dyn RaftFixture, server: PeerSelector) -> Verdict {
    let leader = leader(raft).await?;
    let removal = leader.backend.remove_server(&server, None);
    let expected = format!("UnknownServer({server})");
    let is_it = |kind: &ErrorKind| *kind == ErrorKind::UnknownServer(server.clone());
    refused(&leader, &expected, removal, is_it).await
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
