//! The selection of the servers that a change concerns.

use super::{PeerSelector, RaftMember, RaftView, ServerStatus};
use crate::error::{ErrorKind, OperatorError};
use crate::types::ServerId;

/// Returns the server that a request names.
///
/// # Errors
/// - [`UnknownServer`](ErrorKind::UnknownServer) if there is none
/// - [`InvalidRequest`](ErrorKind::InvalidRequest) if there are several
pub(crate) fn selected<'a>(
    view: &'a RaftView,
    selector: &PeerSelector,
) -> Result<&'a RaftMember, OperatorError> {
    let servers = view.membership.servers.iter();
    let mut named = servers.filter(|server| server.is_named_by(selector));
    match (named.next(), named.next()) {
        (Some(server), None) => Ok(server),
        (None, _) => Err(ErrorKind::UnknownServer(selector.clone()).into()),
        (Some(one), Some(other)) => Err(OperatorError::invalid_request(format!(
            "the servers {} at {} and {} at {} both have the {selector}: name the server by the \
             other of id and address",
            one.id, one.address, other.id, other.address
        ))),
    }
}

/// Returns the voter that becomes the leader: the one that is named, or the live one
/// with the longest log.
///
/// # Errors
/// - [`UnknownServer`](ErrorKind::UnknownServer)
/// - [`AlreadyLeader`](ErrorKind::AlreadyLeader)
/// - [`NotVoter`](ErrorKind::NotVoter)
/// - [`NoTransferTarget`](ErrorKind::NoTransferTarget) if no other voter is alive
pub(crate) fn transfer_target(
    view: &RaftView,
    to: Option<&ServerId>,
) -> Result<ServerId, OperatorError> {
    if let Some(id) = to {
        let target = selected(view, &PeerSelector::Id(id.clone()))?;
        return if view.leader() == Some(id) {
            Err(ErrorKind::AlreadyLeader { id: id.clone() }.into())
        } else if !target.is_voter() {
            Err(ErrorKind::NotVoter { id: id.clone() }.into())
        } else {
            Ok(id.clone())
        };
    }
    let candidates = view.servers().filter(|(server, status)| {
        let down = status.is_some_and(|status| status.alive == Some(false));
        server.is_voter() && view.leader() != Some(&server.id) && !down
    });
    // Among equals, the first one wins.
    let best = candidates.reduce(|best, next| {
        if rank(next.1) > rank(best.1) {
            next
        } else {
            best
        }
    });
    match best {
        Some((server, _)) => Ok(server.id.clone()),
        None => Err(ErrorKind::NoTransferTarget.into()),
    }
}

/// The rank of a transfer target: the longest log, then the latest contact. Unknown
/// values rank lowest.
fn rank(status: Option<&ServerStatus>) -> impl PartialOrd {
    let last_contact = status.and_then(|status| status.last_contact);
    (
        status.and_then(|status| status.last_log),
        last_contact.map(std::cmp::Reverse),
    )
}

/// Checks that one server can take another one's place.
///
/// # Errors
/// - [`UnknownServer`](ErrorKind::UnknownServer), [`InvalidRequest`](ErrorKind::InvalidRequest)
/// - [`NothingToReplace`](ErrorKind::NothingToReplace) if the first one has no vote
/// - [`AlreadyVoter`](ErrorKind::AlreadyVoter) if the second one has a vote
pub(crate) fn check_replacement(
    view: &RaftView,
    id: &ServerId,
    with: &ServerId,
) -> Result<(), OperatorError> {
    let is_voter =
        |id: &ServerId| selected(view, &PeerSelector::Id(id.clone())).map(RaftMember::is_voter);
    if !is_voter(id)? {
        return Err(ErrorKind::NothingToReplace { id: id.clone() }.into());
    }
    if is_voter(with)? {
        return Err(ErrorKind::AlreadyVoter { id: with.clone() }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::raft::plan::tests::{DOWN, UP, voters};
    use crate::raft::{LeaderHint, Leadership, LogPosition, Membership};

    #[test]
    fn ambiguous_selector_is_rejected() {
        let twins = [
            RaftMember::voter("a", "nowhere"),
            RaftMember::voter("b", "nowhere"),
        ];
        let view = RaftView::new("a", Arc::new(Membership::new(twins)));
        let refused = selected(&view, &PeerSelector::Address("nowhere".into())).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::InvalidRequest { .. }));
        let named = selected(&view, &PeerSelector::Id("b".into())).unwrap();
        assert_eq!(named.id, "b");
    }

    fn target(view: &RaftView, to: Option<&str>) -> Result<ServerId, ErrorKind> {
        transfer_target(view, to.map(ServerId::from).as_ref()).map_err(|error| error.kind().clone())
    }

    #[test]
    fn transfer_goes_to_live_voter_with_longest_log() {
        let mut view = voters(&[UP, UP, UP, DOWN]);
        assert_eq!(target(&view, None), Ok("b".into()));
        let log = |index| Some(LogPosition { term: 2, index });
        for (status, index) in view.status.iter_mut().zip([9, 7, 8, 9]) {
            status.last_log = log(index);
        }
        assert_eq!(target(&view, None), Ok("c".into()));
        view.status[1].last_log = log(8);
        assert_eq!(target(&view, None), Ok("b".into()));
        view.status[2].last_contact = Some(Duration::ZERO);
        assert_eq!(target(&view, None), Ok("c".into()));
        view.status[1].last_contact = Some(Duration::ZERO);
        assert_eq!(target(&view, None), Ok("b".into()));
    }

    #[test]
    fn transfer_to_unsuitable_server_is_rejected() {
        let mut view = voters(&[UP, DOWN]);
        assert_eq!(target(&view, None), Err(ErrorKind::NoTransferTarget));
        // A named server is accepted even if the failure detector reports it dead.
        assert_eq!(target(&view, Some("b")), Ok("b".into()));
        let id = "a".into();
        assert_eq!(
            target(&view, Some("a")),
            Err(ErrorKind::AlreadyLeader { id })
        );
        let unknown = ErrorKind::UnknownServer(PeerSelector::Id("z".into()));
        assert_eq!(target(&view, Some("z")), Err(unknown));
        let servers = [RaftMember::voter("a", "a"), RaftMember::nonvoter("n", "n")];
        view.membership = Arc::new(Membership::new(servers));
        let id = "n".into();
        assert_eq!(target(&view, Some("n")), Err(ErrorKind::NotVoter { id }));
        assert_eq!(target(&view, None), Err(ErrorKind::NoTransferTarget));
        view.leadership = Leadership::Remote(LeaderHint {
            id: "n".into(),
            address: "n".into(),
        });
        assert_eq!(target(&view, None), Ok("a".into()));
    }

    #[test]
    fn only_nonvoter_replaces_only_voter() {
        let mut view = voters(&[UP, UP]);
        let mut servers = view.membership.servers.clone();
        servers.push(RaftMember::nonvoter("n", "n"));
        view.membership = Arc::new(Membership::new(servers));
        let check = |id: &str, with: &str| {
            let checked = check_replacement(&view, &id.into(), &with.into());
            checked.map_err(|error| error.kind().clone())
        };
        assert_eq!(check("a", "n"), Ok(()));
        let id = "n".into();
        assert_eq!(check("n", "b"), Err(ErrorKind::NothingToReplace { id }));
        for with in ["a", "b"] {
            let id = with.into();
            assert_eq!(check("a", with), Err(ErrorKind::AlreadyVoter { id }));
        }
        let unknown = ErrorKind::UnknownServer(PeerSelector::Id("z".into()));
        assert_eq!(check("z", "n"), Err(unknown.clone()));
        assert_eq!(check("a", "z"), Err(unknown));
    }
}
