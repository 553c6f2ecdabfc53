//! Changes of a Raft cluster: who is removed, who comes back, and who is handed
//! the lead.

use std::time::Duration;

use super::RaftChange;
use super::cluster::Cluster;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::raft::{ConfigVersion, PeerSelector, PendingChange, Proof, Removal};
use crate::types::ServerId;

impl Cluster {
    /// As the leader, which the caller has made sure of.
    pub(super) fn remove(&mut self, removal: &Removal) -> Result<(), OperatorError> {
        let (expected, actual) = (removal.term, self.term);
        if expected != actual {
            return Err(ErrorKind::TermChanged { expected, actual }.into());
        }
        let (expected, actual) = (removal.version, self.version());
        if expected != actual {
            return Err(ErrorKind::Conflict { expected, actual }.into());
        }
        match self.mishaps.unfinished.clone() {
            Some((_, _, PendingChange::Uncommitted)) => {
                return Err(ErrorKind::ChangeInProgress.into());
            }
            Some((fault, joint, _)) => {
                self.prove(&joint, removal)?;
                self.mishaps.forget(fault);
                self.commit_removal(&joint)?;
                let actual = self.version();
                return match joint == removal.id {
                    true => Ok(()),
                    false => Err(ErrorKind::Conflict { expected, actual }.into()),
                };
            }
            None => {}
        }
        let servers = &self.configuration.servers;
        let removed = servers.iter().find(|server| server.id == removal.id);
        let is_voter = removed
            .ok_or_else(|| ErrorKind::UnknownServer(PeerSelector::Id(removal.id.clone())))?
            .is_voter();
        if is_voter && self.voters().count() == 1 {
            return Err(ErrorKind::LastVoter.into());
        }
        self.prove(&removal.id, removal)?;
        let mishap = self.mishaps.failed_removals.pop_front();
        let failed =
            |outcome| Err(OperatorError::backend("the test lets it fail").with_outcome(outcome));
        match mishap {
            Some((_, Outcome::NotApplied)) => failed(Outcome::NotApplied),
            Some((_, outcome)) => {
                // The test says how it ends.
                self.commit_removal(&removal.id).ok();
                failed(outcome)
            }
            None => self.commit_removal(&removal.id),
        }
    }

    /// Appends a removal, of a server that is there, and commits it if the voters
    /// that stay are still a majority.
    fn commit_removal(&mut self, id: &ServerId) -> Result<(), OperatorError> {
        let lost = || {
            Err(OperatorError::backend(
                "leadership lost while committing log",
            ))
        };
        let leader = self.leader.clone();
        self.mishaps.lose_servers();
        if self.mishaps.is_lost(leader.as_ref()) {
            // Nobody else has the entry, so the next leader overwrites it.
            self.settle();
            return lost();
        }
        let before = self.told(&self.configuration, leader.as_ref(), leader.as_ref());
        self.configuration.servers.retain(|server| server.id != *id);
        self.log += 1;
        self.configuration.index = self.log;
        self.written_in = self.term;
        let after = self.told(&self.configuration, leader.as_ref(), leader.as_ref());
        self.changes.push(RaftChange {
            removed: id.clone(),
            before,
            after,
        });
        // Also the one that is removed gets the entry by which it is.
        let committed = leader.is_some_and(|leader| {
            self.replicate(&leader, Some(id.clone()));
            self.has_majority(&leader)
        });
        self.settle();
        match committed && self.leader.is_some() {
            true => Ok(()),
            false => lost(),
        }
    }

    /// Adds a server that was removed, as it was at the beginning. Says whether
    /// it is in the configuration now.
    pub(super) fn join(&mut self, id: &ServerId) -> bool {
        if self.holds(id) {
            return true;
        }
        let first = self.member(id).and_then(|member| member.first.clone());
        let (Some(server), true) = (first, self.leader.is_some()) else {
            return false;
        };
        self.configuration.servers.push(server);
        self.log += 1;
        self.configuration.index = self.log;
        self.written_in = self.term;
        if let Some(leader) = self.leader.clone() {
            self.replicate(&leader, None);
        }
        self.settle();
        true
    }

    /// Removes the dead servers from the configuration, as autopilot does: not
    /// without a leader, and not below its minimum of servers.
    pub(super) fn cleanup_dead_servers(&mut self) -> Vec<ServerId> {
        let mut removed = Vec::new();
        if !self.autopilot.cleanup_dead_servers || self.leader.is_none() {
            return removed;
        }
        let servers = &self.configuration.servers;
        let dead: Vec<_> = servers
            .iter()
            .filter(|server| !self.is_up(&server.id))
            .map(|server| server.id.clone())
            .collect();
        for id in dead {
            let enough = self.configuration.servers.len() as u64 > self.autopilot.min_quorum;
            let removal = Removal {
                id: id.clone(),
                term: self.term,
                version: self.version(),
                proof: Proof::Majority,
                timeout: Duration::MAX,
            };
            if enough && self.remove(&removal).is_ok() {
                removed.push(id);
            }
        }
        removed
    }

    /// Hands the lead to this server.
    pub(super) fn transfer(&mut self, to: &ServerId) -> Result<(), OperatorError> {
        if self.elect(to) {
            return Ok(());
        }
        let refused = OperatorError::backend(format!(
            "server {to} cannot lead now: check that it is up and has a vote"
        ));
        Err(refused.with_outcome(Outcome::NotApplied))
    }

    fn version(&self) -> ConfigVersion {
        ConfigVersion {
            term: self.written_in,
            index: self.configuration.index,
        }
    }

    /// Counts the voters that stay and take part. Nothing takes time here, so an
    /// entry that they would confirm need not be written.
    fn prove(&self, removed: &ServerId, removal: &Removal) -> Result<(), OperatorError> {
        let stayers = self.voters().filter(|voter| voter.id != *removed);
        let reached = |id: &ServerId| {
            let leader = self.leader.as_ref();
            leader.is_some_and(|leader| self.reaches(leader, id)) && self.is_up(id)
        };
        let confirmed = stayers.clone().filter(|voter| reached(&voter.id)).count();
        let needed = removal.proof.needed(stayers.count());
        if confirmed < needed {
            return Err(ErrorKind::QuorumUnproven {
                confirmed,
                needed,
                after: removal.timeout / 4,
            }
            .into());
        }
        Ok(())
    }

    /// Sends the latest configuration to everyone whom the leader reaches and
    /// who is in it, or has just been.
    fn replicate(&mut self, leader: &ServerId, removed: Option<ServerId>) {
        for at in 0..self.members.len() {
            let id = &self.members[at].id;
            let concerned = self.holds(id) || removed.as_ref() == Some(id);
            if concerned && self.members[at].up && self.reaches(leader, id) {
                self.members[at].configuration = self.configuration.clone();
                self.members[at].written_in = self.written_in;
                self.members[at].term = self.term;
                self.members[at].last_index = self.log;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::mock::{Fault, MockFederation};
    use crate::raft::{RaftBackend, RaftView};

    fn three() -> MockFederation {
        MockFederation::builder()
            .datacenter("dc1", ["alice", "bob", "carol"])
            .build()
    }

    fn view(federation: &MockFederation, at: &str) -> RaftView {
        block_on(federation.raft(at).view()).unwrap()
    }

    /// Removes a server at alice, and gives the outcome of the error.
    fn remove(federation: &MockFederation, server: &str) -> Result<(), Outcome> {
        let id = federation.raft(server).id().clone();
        let removal = Removal::new(id, &view(federation, "alice"), Duration::from_secs(4));
        let removed = block_on(federation.raft("alice").remove_server(&removal));
        removed.map_err(|error| error.outcome())
    }

    #[test]
    fn removal_that_loses_a_voter_is_done_once_it_is_back() {
        let federation = three();
        let lost = federation.inject(Fault::lose_at_removal("carol"));
        assert_eq!(remove(&federation, "bob"), Err(Outcome::Unknown));
        assert_eq!(federation.leader("dc1"), None);
        assert_eq!(view(&federation, "carol").membership.servers.len(), 3);
        federation.heal(lost);
        assert_eq!(federation.leader("dc1"), Some("alice".into()));
        assert_eq!(view(&federation, "carol").membership.servers.len(), 2);
    }

    #[test]
    fn removal_that_loses_the_leader_does_not_happen() {
        let federation = three();
        let lost = federation.inject(Fault::lose_at_removal("alice"));
        assert_eq!(remove(&federation, "carol"), Err(Outcome::Unknown));
        assert_eq!(federation.leader("dc1"), Some("bob".into()));
        federation.heal(lost);
        assert_eq!(view(&federation, "alice").membership.servers.len(), 3);
        assert!(federation.raft("alice").changes().is_empty());
    }

    #[test]
    fn server_that_leaves_is_not_missed_when_it_is_lost() {
        let federation = three();
        federation.inject(Fault::lose_at_removal("bob"));
        assert_eq!(remove(&federation, "bob"), Ok(()));
        assert_eq!(view(&federation, "bob").membership.servers.len(), 3);
    }

    #[test]
    fn unfinished_removal_ends_with_its_fault() {
        let federation = three();
        let uncommitted = Fault::unfinished_removal("bob", PendingChange::Uncommitted);
        let uncommitted = federation.inject(uncommitted);
        assert_eq!(remove(&federation, "carol"), Err(Outcome::NotApplied));
        federation.heal(uncommitted);
        assert_eq!(view(&federation, "alice").change, None);
        assert_eq!(remove(&federation, "carol"), Ok(()));
        assert_eq!(view(&federation, "alice").membership.servers.len(), 2);
    }
}
