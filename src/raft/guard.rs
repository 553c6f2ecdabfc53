//! The checks of a change before the backend makes it: the quorum guard and the
//! selection of servers.

use super::{PeerSelector, Proof, RaftMember, RaftView, ServerStatus};
use crate::error::{ErrorKind, OperatorError};
use crate::types::ServerId;

/// The rule by which the service rejects removals of voters. The removal of the last
/// voter is always rejected.
///
/// A server whose state is unknown counts as alive. Otherwise a backend without
/// failure detection could remove no voter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuorumGuard {
    /// Rejects no removal. The backend still proves that a majority of the voters that
    /// stay is alive.
    Off,
    /// Rejects the removal of a live voter if the cluster has a majority now and would
    /// lose it.
    #[default]
    Quorum,
    /// Rejects a removal if the failure of one more voter would then cost the
    /// majority. The backend proves the same. With three voters or fewer, it rejects
    /// every removal.
    Margin,
}

impl QuorumGuard {
    /// Checks the removal of a server and returns the proof that the backend has to
    /// make.
    ///
    /// # Errors
    /// - [`LastVoter`](ErrorKind::LastVoter) if no voter would stay
    /// - [`QuorumLoss`](ErrorKind::QuorumLoss)
    pub(crate) fn check(
        self,
        view: &RaftView,
        removed: &RaftMember,
    ) -> Result<Proof, OperatorError> {
        if !removed.is_voter() {
            return Ok(Proof::Majority);
        }
        let is_alive = |status: Option<&ServerStatus>| status.and_then(|s| s.alive) != Some(false);
        let voters = || view.servers().filter(|(server, _)| server.is_voter());
        let count = voters().count();
        if count == 1 {
            return Err(ErrorKind::LastVoter.into());
        }
        let alive = voters().filter(|(_, status)| is_alive(*status)).count();
        let removes_live =
            voters().any(|(server, status)| server.id == removed.id && is_alive(status));
        let (stay, stay_alive) = (count - 1, alive - usize::from(removes_live));
        let (rejected, proof) = match self {
            QuorumGuard::Off => (false, Proof::Majority),
            QuorumGuard::Quorum => {
                let has_quorum = alive >= Proof::Majority.needed(count);
                let loses_it = stay_alive < Proof::Majority.needed(stay);
                (removes_live && has_quorum && loses_it, Proof::Majority)
            }
            QuorumGuard::Margin => (stay_alive < Proof::Margin.needed(stay), Proof::Margin),
        };
        if rejected {
            return Err(ErrorKind::QuorumLoss {
                voters: stay,
                alive: stay_alive,
                needed: proof.needed(stay),
            }
            .into());
        }
        Ok(proof)
    }
}

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
    fn removal_of_live_voter_that_loses_quorum_is_rejected() {
        let three = voters(&[UP, UP, DOWN]);
        assert_eq!(remove(&three, "a"), Err(loss(2, 1, 2)));
        assert_eq!(remove(&voters(&[UP, UP, UP]), "a"), Ok(()));
        assert_eq!(remove(&voters(&[UP, UP]), "a"), Ok(()));
        assert_eq!(remove(&voters(&[UP, UP, UP, DOWN]), "a"), Ok(()));
    }

    #[test]
    fn dead_voter_can_be_removed() {
        assert_eq!(remove(&voters(&[UP, UP, DOWN]), "c"), Ok(()));
        assert_eq!(remove(&voters(&[UP, DOWN, DOWN]), "c"), Ok(()));
    }

    #[test]
    fn quorum_guard_ignores_quorum_that_is_already_lost() {
        assert_eq!(remove(&voters(&[UP, DOWN, DOWN]), "a"), Ok(()));
    }

    #[test]
    fn voter_of_unknown_state_counts_as_alive() {
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
    fn margin_guard_keeps_one_voter_more_than_majority() {
        let margin = |view: &RaftView, id| check(QuorumGuard::Margin, view, id);
        assert_eq!(margin(&voters(&[UP, UP, UP]), "c"), Err(loss(2, 2, 3)));
        assert_eq!(margin(&voters(&[UP, UP, DOWN]), "c"), Err(loss(2, 2, 3)));
        assert_eq!(margin(&voters(&[UP, UP, UP, UP]), "d"), Ok(Proof::Margin));
        let five = voters(&[UP, UP, UP, UP, DOWN]);
        assert_eq!(margin(&five, "e"), Ok(Proof::Margin));
        assert_eq!(margin(&five, "a"), Err(loss(4, 3, 4)));
    }

    #[test]
    fn every_guard_rejects_removal_of_last_voter() {
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
    fn disabled_guard_allows_removal_of_live_voter() {
        let three = voters(&[UP, UP, DOWN]);
        assert_eq!(check(QuorumGuard::Off, &three, "a"), Ok(Proof::Majority));
    }

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
}
