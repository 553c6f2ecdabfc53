//! Whether a server can be removed without stopping the cluster.

use super::{PeerSelector, RaftConfiguration};
use crate::error::{ErrorKind, OperatorError};

/// Whether the service refuses removals after which the voters that are left
/// have no live majority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum QuorumGuard {
    /// It does. A dead voter can always be removed, and so can a live one if
    /// there is no live majority to lose.
    #[default]
    On,
    /// It does not: only the last voter is kept.
    Off,
}

/// Checks a removal against a configuration.
///
/// A server of which nothing is known counts as live: a guard that takes it for
/// dead would refuse every removal of a backend without failure detection.
///
/// # Errors
/// - [`UnknownServer`](ErrorKind::UnknownServer) if it is not there
/// - [`LastVoter`](ErrorKind::LastVoter) if no voter would be left
/// - [`QuorumLoss`](ErrorKind::QuorumLoss) as [`QuorumGuard::On`] says
pub(crate) fn check(
    configuration: &RaftConfiguration,
    selector: &PeerSelector,
    guard: QuorumGuard,
) -> Result<(), OperatorError> {
    let removed = configuration
        .servers
        .iter()
        .find(|server| selector.matches(server))
        .ok_or_else(|| ErrorKind::UnknownServer(selector.clone()))?;
    if !removed.is_voter() {
        return Ok(());
    }
    let voters = || {
        configuration
            .servers
            .iter()
            .filter(|server| server.is_voter())
    };
    let count = voters().count();
    if count == 1 {
        return Err(ErrorKind::LastVoter.into());
    }
    let is_alive = |alive: Option<bool>| alive.unwrap_or(true);
    let alive = voters().filter(|server| is_alive(server.alive)).count();
    let has_quorum = |alive: usize, voters: usize| alive > voters / 2;
    if guard == QuorumGuard::On
        && is_alive(removed.alive)
        && has_quorum(alive, count)
        && !has_quorum(alive - 1, count - 1)
    {
        return Err(ErrorKind::QuorumLoss {
            voters: count - 1,
            alive: alive - 1,
        }
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::RaftServer;

    /// Voters a, b, c, ...: live, dead, or unknown.
    fn voters(alive: &[Option<bool>]) -> RaftConfiguration {
        let names = ["a", "b", "c", "d", "e"];
        RaftConfiguration {
            servers: std::iter::zip(names, alive)
                .map(|(name, alive)| {
                    let mut server = RaftServer::voter(name, name);
                    server.alive = *alive;
                    server
                })
                .collect(),
            index: 1,
        }
    }

    fn remove(configuration: &RaftConfiguration, id: &str) -> Result<(), ErrorKind> {
        check(configuration, &PeerSelector::Id(id.into()), QuorumGuard::On)
            .map_err(|error| error.kind().clone())
    }

    const UP: Option<bool> = Some(true);
    const DOWN: Option<bool> = Some(false);

    #[test]
    fn a_live_voter_stays_where_its_removal_would_lose_the_quorum() {
        let three = voters(&[UP, UP, DOWN]);
        assert_eq!(
            remove(&three, "a"),
            Err(ErrorKind::QuorumLoss {
                voters: 2,
                alive: 1
            })
        );
        assert_eq!(remove(&voters(&[UP, UP, UP]), "a"), Ok(()));
        assert_eq!(remove(&voters(&[UP, UP]), "a"), Ok(()));
        assert_eq!(remove(&voters(&[UP, UP, UP, DOWN]), "a"), Ok(()));
    }

    #[test]
    fn a_dead_voter_can_always_go() {
        assert_eq!(remove(&voters(&[UP, UP, DOWN]), "c"), Ok(()));
        assert_eq!(remove(&voters(&[UP, DOWN, DOWN]), "c"), Ok(()));
    }

    #[test]
    fn a_guard_does_not_protect_a_quorum_that_is_gone() {
        assert_eq!(remove(&voters(&[UP, DOWN, DOWN]), "a"), Ok(()));
    }

    #[test]
    fn a_voter_of_which_nothing_is_known_counts_as_live() {
        assert_eq!(remove(&voters(&[None, None, None]), "a"), Ok(()));
        assert_eq!(
            remove(&voters(&[None, None, DOWN]), "a"),
            Err(ErrorKind::QuorumLoss {
                voters: 2,
                alive: 1
            })
        );
    }

    #[test]
    fn the_last_voter_stays_dead_or_alive_and_guarded_or_not() {
        for alive in [UP, DOWN, None] {
            let mut one = voters(&[alive]);
            one.servers.push(RaftServer::nonvoter("n", "n"));
            for guard in [QuorumGuard::On, QuorumGuard::Off] {
                let result = check(&one, &PeerSelector::Id("a".into()), guard);
                assert_eq!(result.unwrap_err().kind(), &ErrorKind::LastVoter);
            }
        }
    }

    #[test]
    fn a_nonvoter_can_go_whatever_the_quorum() {
        let mut one = voters(&[UP, DOWN]);
        one.servers.push(RaftServer::nonvoter("n", "n"));
        assert_eq!(remove(&one, "n"), Ok(()));
    }

    #[test]
    fn without_the_guard_the_quorum_may_go() {
        let three = voters(&[UP, UP, DOWN]);
        let by_address = PeerSelector::Address("a".into());
        assert!(check(&three, &by_address, QuorumGuard::Off).is_ok());
    }
}
