//! What is decided of a change before a backend is asked for it.

use super::{PeerSelector, Proof, RaftMember, RaftView, ServerStatus};
use crate::error::{ErrorKind, OperatorError};
use crate::types::ServerId;

/// Which removals of a voter the service refuses, beside that of the last one.
///
/// A server of which nothing is known counts as up: a guard that took it for down
/// would refuse every removal of a backend without failure detection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuorumGuard {
    /// None. The backend still proves that a majority of the voters that stay is
    /// alive.
    Off,
    /// Those of a voter that is up, where the voters that stay would lose the
    /// majority that there is now.
    #[default]
    Quorum,
    /// Those after which the death of one more voter would cost the majority. The
    /// backend proves the same. With three voters or fewer that is every removal.
    Margin,
}

impl QuorumGuard {
    /// The proof to ask the backend for when this server is removed.
    ///
    /// # Errors
    /// - [`LastVoter`](ErrorKind::LastVoter) if no voter would be left
    /// - [`QuorumLoss`](ErrorKind::QuorumLoss)
    pub(crate) fn check(
        self,
        view: &RaftView,
        removed: &RaftMember,
    ) -> Result<Proof, OperatorError> {
        if !removed.is_voter() {
            return Ok(Proof::Majority);
        }
        let is_up = |status: Option<&ServerStatus>| status.and_then(|s| s.alive) != Some(false);
        let voters = || view.servers().filter(|(server, _)| server.is_voter());
        let count = voters().count();
        if count == 1 {
            return Err(ErrorKind::LastVoter.into());
        }
        let up = voters().filter(|(_, status)| is_up(*status)).count();
        let was_up = voters().any(|(server, status)| server.id == removed.id && is_up(status));
        let (left, left_up) = (count - 1, up - usize::from(was_up));
        let (refused, proof) = match self {
            QuorumGuard::Off => (false, Proof::Majority),
            QuorumGuard::Quorum => {
                let had_quorum = up >= Proof::Majority.needed(count);
                let loses_it = left_up < Proof::Majority.needed(left);
                (was_up && had_quorum && loses_it, Proof::Majority)
            }
            QuorumGuard::Margin => (left_up < Proof::Margin.needed(left), Proof::Margin),
        };
        if refused {
            return Err(ErrorKind::QuorumLoss {
                voters: left,
                alive: left_up,
                needed: proof.needed(left),
            }
            .into());
        }
        Ok(proof)
    }
}

/// The one server that a request names.
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

/// The voter that gets the lead: the one that is named, or the one that is up and
/// has the longest log.
///
/// # Errors
/// - [`UnknownServer`](ErrorKind::UnknownServer)
/// - [`AlreadyLeader`](ErrorKind::AlreadyLeader)
/// - [`NotVoter`](ErrorKind::NotVoter)
/// - [`NoTransferTarget`](ErrorKind::NoTransferTarget) if no other voter is up
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
    // Of equals the first one: a later one has to be better.
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

/// The longest log first, then the latest contact; what is not known comes last.
fn rank(status: Option<&ServerStatus>) -> impl PartialOrd {
    let last_contact = status.and_then(|status| status.last_contact);
    (
        status.and_then(|status| status.last_log),
        last_contact.map(std::cmp::Reverse),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::raft::{LeaderHint, Leadership, LogPosition, Membership};

    const UP: Option<bool> = Some(true);
    const DOWN: Option<bool> = Some(false);

    /// Voters a, b, c, ...: up, down, or unknown. The first one leads.
    fn voters(alive: &[Option<bool>]) -> RaftView {
        let names = ["a", "b", "c", "d", "e"];
        let servers = names.iter().take(alive.len());
        let membership = Membership::new(servers.map(|name| RaftMember::voter(*name, *name)));
        let mut view = RaftView::new("a", Arc::new(membership));
        view.leadership = Leadership::Local;
        let status = |alive: &Option<bool>| ServerStatus {
            alive: *alive,
            ..ServerStatus::default()
        };
        view.status = alive.iter().map(status).collect();
        view
    }

    fn check(guard: QuorumGuard, view: &RaftView, id: &str) -> Result<Proof, ErrorKind> {
        let removed = view.membership.get(&id.into()).unwrap();
        guard
            .check(view, removed)
            .map_err(|error| error.kind().clone())
    }

    fn remove(view: &RaftView, id: &str) -> Result<(), ErrorKind> {
        check(QuorumGuard::Quorum, view, id).map(|proof| assert_eq!(proof, Proof::Majority))
    }

    fn loss(voters: usize, alive: usize, needed: usize) -> ErrorKind {
        ErrorKind::QuorumLoss {
            voters,
            alive,
            needed,
        }
    }

    #[test]
    fn live_voter_stays_if_its_removal_loses_the_quorum() {
        let three = voters(&[UP, UP, DOWN]);
        assert_eq!(remove(&three, "a"), Err(loss(2, 1, 2)));
        assert_eq!(remove(&voters(&[UP, UP, UP]), "a"), Ok(()));
        assert_eq!(remove(&voters(&[UP, UP]), "a"), Ok(()));
        assert_eq!(remove(&voters(&[UP, UP, UP, DOWN]), "a"), Ok(()));
    }

    #[test]
    fn dead_voter_can_always_be_removed() {
        assert_eq!(remove(&voters(&[UP, UP, DOWN]), "c"), Ok(()));
        assert_eq!(remove(&voters(&[UP, DOWN, DOWN]), "c"), Ok(()));
    }

    #[test]
    fn quorum_guard_does_not_protect_a_lost_quorum() {
        assert_eq!(remove(&voters(&[UP, DOWN, DOWN]), "a"), Ok(()));
    }

    #[test]
    fn unknown_voter_counts_as_up() {
        assert_eq!(remove(&voters(&[None, None, None]), "a"), Ok(()));
        assert_eq!(
            remove(&voters(&[None, None, DOWN]), "a"),
            Err(loss(2, 1, 2))
        );
        let mut silent = voters(&[UP, UP, UP]);
        silent.status.clear();
        assert_eq!(remove(&silent, "a"), Ok(()));
    }

    #[test]
    fn margin_guard_keeps_one_voter_more_than_a_majority() {
        let margin = |view: &RaftView, id| check(QuorumGuard::Margin, view, id);
        assert_eq!(margin(&voters(&[UP, UP, UP]), "c"), Err(loss(2, 2, 3)));
        assert_eq!(margin(&voters(&[UP, UP, DOWN]), "c"), Err(loss(2, 2, 3)));
        assert_eq!(margin(&voters(&[UP, UP, UP, UP]), "d"), Ok(Proof::Margin));
        let five = voters(&[UP, UP, UP, UP, DOWN]);
        assert_eq!(margin(&five, "e"), Ok(Proof::Margin));
        assert_eq!(margin(&five, "a"), Err(loss(4, 3, 4)));
    }

    #[test]
    fn last_voter_is_kept_by_every_guard() {
        for alive in [UP, DOWN, None] {
            let mut one = voters(&[alive]);
            let with_nonvoter = [RaftMember::voter("a", "a"), RaftMember::nonvoter("n", "n")];
            one.membership = Arc::new(Membership::new(with_nonvoter));
            for guard in [QuorumGuard::Off, QuorumGuard::Quorum, QuorumGuard::Margin] {
                assert_eq!(check(guard, &one, "a"), Err(ErrorKind::LastVoter));
                assert_eq!(check(guard, &one, "n"), Ok(Proof::Majority));
            }
        }
    }

    #[test]
    fn guard_that_is_off_refuses_no_live_voter() {
        let three = voters(&[UP, UP, DOWN]);
        assert_eq!(check(QuorumGuard::Off, &three, "a"), Ok(Proof::Majority));
    }

    #[test]
    fn selector_that_names_several_servers_is_refused() {
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
    fn transfer_goes_to_the_longest_log_that_is_up() {
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
    fn transfer_to_whom_cannot_lead_is_refused() {
        let mut view = voters(&[UP, DOWN]);
        assert_eq!(target(&view, None), Err(ErrorKind::NoTransferTarget));
        // Who names a server knows better than the failure detector.
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
}
