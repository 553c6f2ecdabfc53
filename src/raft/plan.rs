//! How a plan is made from a view, and what the guard says to it.

use super::{PeerSelector, Proof, RaftView, selected};
use crate::error::{ErrorKind, OperatorError};
use crate::types::{QuorumGuard, RemovalPlan, RemovalVerdict};

impl RemovalPlan {
    /// Plans the removal of a server from the cluster in this view.
    ///
    /// The server that the view belongs to is alive, because it has made the view.
    ///
    /// # Errors
    /// - [`UnknownServer`](ErrorKind::UnknownServer) if the view has no such server
    /// - [`InvalidRequest`](ErrorKind::InvalidRequest) if it has several
    pub fn new(
        view: &RaftView,
        server: &PeerSelector,
        guard: QuorumGuard,
    ) -> Result<Self, OperatorError> {
        let target = selected(view, server)?;
        let mut plan = RemovalPlan {
            id: target.id.clone(),
            address: target.address.clone(),
            leads: view.leader() == Some(&target.id),
            version: view.version,
            term: view.term,
            guard,
            healthy: Vec::new(),
            unhealthy: Vec::new(),
            unknown: Vec::new(),
            replacements: Vec::new(),
        };
        for (server, status) in view.servers() {
            let alive = match status.and_then(|status| status.alive) {
                None if server.id == view.id => Some(true),
                alive => alive,
            };
            let list = match alive {
                _ if !server.is_voter() => {
                    if target.is_voter() && alive != Some(false) {
                        plan.replacements.push(server.id.clone());
                    }
                    continue;
                }
                Some(true) => &mut plan.healthy,
                Some(false) => &mut plan.unhealthy,
                None => &mut plan.unknown,
            };
            list.push(server.id.clone());
        }
        Ok(plan)
    }

    /// Returns the proof that the backend has to make.
    ///
    /// # Errors
    /// [`LastVoter`](ErrorKind::LastVoter) and [`QuorumLoss`](ErrorKind::QuorumLoss),
    /// with the plan.
    pub(crate) fn proof(&self) -> Result<Proof, OperatorError> {
        if self.is_allowed() {
            return Ok(match self.guard() {
                QuorumGuard::Margin if self.is_voter() => Proof::Margin,
                _ => Proof::Majority,
            });
        }
        let after = self.after();
        let rejected = match self.verdict() {
            RemovalVerdict::LastVoter => ErrorKind::LastVoter,
            _ => ErrorKind::QuorumLoss {
                voters: after.voters,
                alive: after.alive,
                needed: self.needed_alive(),
            },
        };
        Err(OperatorError::new(rejected).with_plan(self.clone()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::raft::{Leadership, Membership, RaftMember, ServerStatus};

    pub(in crate::raft) const UP: Option<bool> = Some(true);
    pub(in crate::raft) const DOWN: Option<bool> = Some(false);

    /// Voters a, b, c, ...: up, down, or unknown. The first one leads.
    pub(in crate::raft) fn voters(alive: &[Option<bool>]) -> RaftView {
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

    fn plan(guard: QuorumGuard, view: &RaftView, id: &str) -> RemovalPlan {
        RemovalPlan::new(view, &PeerSelector::Id(id.into()), guard).unwrap()
    }

    fn check(guard: QuorumGuard, view: &RaftView, id: &str) -> Result<Proof, ErrorKind> {
        let plan = plan(guard, view, id);
        let proof = plan.proof();
        assert_eq!(plan.is_allowed(), proof.is_ok());
        proof.map_err(|error| {
            assert_eq!(error.plan(), Some(&plan));
            error.kind().clone()
        })
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

    fn verdict(alive: &[Option<bool>], id: &str) -> RemovalVerdict {
        plan(QuorumGuard::Off, &voters(alive), id).verdict()
    }

    #[test]
    fn verdict_compares_tolerance_before_and_after() {
        use RemovalVerdict::{LastVoter, LosesQuorum, ReducesTolerance, Safe};

        for (alive, id, expected) in [
            (&[UP][..], "a", LastVoter),
            (&[UP, UP], "b", Safe),
            (&[UP, DOWN], "b", Safe),
            (&[UP, UP, UP], "c", ReducesTolerance),
            (&[UP, UP, DOWN], "c", Safe),
            (&[UP, UP, DOWN], "b", LosesQuorum),
            (&[UP, UP, UP, UP], "d", Safe),
            (&[UP, UP, UP, UP, UP], "e", ReducesTolerance),
            (&[UP, UP, UP, UP, DOWN], "e", Safe),
            (&[UP, UP, UP, DOWN, DOWN], "a", LosesQuorum),
        ] {
            assert_eq!(verdict(alive, id), expected, "{alive:?} without {id}");
        }
    }

    #[test]
    fn verdict_is_unknown_where_it_depends_on_unknown_voters() {
        use RemovalVerdict::{LosesQuorum, ReducesTolerance, Safe, UnknownHealth};

        assert_eq!(verdict(&[UP, None, None], "c"), UnknownHealth);
        assert_eq!(verdict(&[UP, None, DOWN], "c"), UnknownHealth);
        // Even if the unknown one is alive.
        assert_eq!(verdict(&[UP, None, DOWN], "a"), LosesQuorum);
        assert_eq!(verdict(&[UP, UP, UP, UP, None], "a"), ReducesTolerance);
        assert_eq!(verdict(&[UP, UP, UP, None], "c"), Safe);
        assert_eq!(verdict(&[UP, UP, UP, UP, None], "e"), UnknownHealth);
        assert_eq!(verdict(&[UP, UP, UP, UP, DOWN], "e"), Safe);
    }

    #[test]
    fn server_that_makes_the_view_is_alive() {
        let view = voters(&[None, None]);
        let of_b = plan(QuorumGuard::Quorum, &view, "b");
        assert_eq!(of_b.healthy(), ["a"]);
        assert_eq!(of_b.unknown(), ["b"]);
        assert!(!of_b.leads());
        assert!(plan(QuorumGuard::Quorum, &view, "a").leads());
    }

    #[test]
    fn plan_names_live_nonvoters_as_replacements_of_voter() {
        let mut view = voters(&[UP, UP, UP]);
        let mut servers = view.membership.servers.clone();
        for name in ["m", "n", "o"] {
            servers.push(RaftMember::nonvoter(name, name));
        }
        view.membership = Arc::new(Membership::new(servers));
        view.status.push(ServerStatus::unknown().with_alive(false));
        view.status.push(ServerStatus::unknown().with_alive(true));
        let replacements = |id| plan(QuorumGuard::Margin, &view, id).replacements().to_vec();
        assert_eq!(replacements("c"), ["n", "o"]);
        assert_eq!(replacements("m"), [""; 0]);
        let nonvoter = plan(QuorumGuard::Margin, &view, "n");
        assert!(!nonvoter.is_voter() && nonvoter.is_allowed());
        assert_eq!(nonvoter.verdict(), RemovalVerdict::Safe);
        let error = plan(QuorumGuard::Margin, &view, "c").proof().unwrap_err();
        let text = error.to_string();
        assert!(
            text.ends_with(
                "; or replace it with n in one change, or force the removal past the quorum guard"
            ),
            "{text}"
        );
    }

    #[test]
    fn plan_survives_serialization() {
        for guard in [QuorumGuard::Off, QuorumGuard::Quorum, QuorumGuard::Margin] {
            let mut view = voters(&[UP, None, DOWN, UP, None]);
            view.version = "7-22".parse().unwrap();
            view.term = 9;
            let plan = plan(guard, &view, "d");
            let json = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<RemovalPlan>(&json).unwrap(), plan);
        }
    }

    #[test]
    fn what_another_server_counted_is_counted_again() {
        let json = r#"{"ID":"a","Address":"a","Voter":false,"Leader":true,"Version":"1-2","Term":3,
            "Verdict":"safe","QuorumGuard":"off","Allowed":true,"Before":{"Voters":9},
            "After":7,"Healthy":["a"],"Unhealthy":[],"Unknown":[],"Replacements":[]}"#;
        let plan: RemovalPlan = serde_json::from_str(json).unwrap();
        assert_eq!(plan.verdict(), RemovalVerdict::LastVoter);
        assert_eq!((plan.before().voters, plan.after().voters), (1, 0));
        assert!(plan.is_voter() && !plan.is_allowed());
    }
}
