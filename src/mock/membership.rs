//! The changes of a simulated Raft cluster: removals, joins and transfers.

use std::time::Duration;

use super::cluster::{Active, Cluster, RaftChange};
use super::fault::RaftFault;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::raft::{ConfigVersion, PeerSelector, PendingChange, Proof, Removal};
use crate::types::ServerId;

impl Cluster {
    /// Executes a removal. The caller has checked that its server leads.
    pub(super) fn remove(&mut self, removal: &Removal) -> Result<(), OperatorError> {
        let (expected, actual) = (removal.term, self.log.term);
        if expected != actual {
            return Err(ErrorKind::TermChanged { expected, actual }.into());
        }
        let (expected, actual) = (removal.version, self.version());
        if expected != actual {
            return Err(ErrorKind::Conflict { expected, actual }.into());
        }
        match self.unfinished() {
            Some((_, _, PendingChange::Uncommitted)) => {
                return Err(ErrorKind::ChangeInProgress.into());
            }
            Some((fault, joint, _)) => {
                self.prove(&joint, removal)?;
                self.faults.retain(|active| active.by != fault);
                self.commit_removal(&joint)?;
                let actual = self.version();
                return if joint == removal.id {
                    Ok(())
                } else {
                    Err(ErrorKind::Conflict { expected, actual }.into())
                };
            }
            None => {}
        }
        let servers = &self.log.configuration.servers;
        let removed = servers.iter().find(|server| server.id == removal.id);
        let is_voter = removed
            .ok_or_else(|| ErrorKind::UnknownServer(PeerSelector::Id(removal.id.clone())))?
            .is_voter();
        if is_voter && self.voters().count() == 1 {
            return Err(ErrorKind::LastVoter.into());
        }
        self.prove(&removal.id, removal)?;
        let fails = |active: &Active| matches!(active.fault, RaftFault::FailRemoval(_));
        let failed = self.faults.iter().position(fails);
        let failed = failed.map(|at| self.faults.remove(at).fault);
        let Some(RaftFault::FailRemoval(outcome)) = failed else {
            return self.commit_removal(&removal.id);
        };
        if outcome != Outcome::NotApplied {
            // The fault decides the outcome.
            self.commit_removal(&removal.id).ok();
        }
        Err(OperatorError::backend("a fault of the test").with_outcome(outcome))
    }

    /// Appends a removal and commits it, if the voters that stay are still a
    /// majority.
    fn commit_removal(&mut self, id: &ServerId) -> Result<(), OperatorError> {
        for active in &mut self.faults {
            if active.fault == RaftFault::LoseAtRemoval {
                active.fault = RaftFault::Lost;
            }
        }
        let leader = self.leader.clone().filter(|leader| !self.is_lost(leader));
        let mut committed = false;
        // If the leader is lost, nobody else has the entry, and the next leader
        // overwrites it.
        if let Some(leader) = leader {
            let before = self.known_to(&leader)?;
            let servers = &mut self.log.configuration.servers;
            servers.retain(|server| server.id != *id);
            self.append_configuration();
            self.replicate(&leader, Some(id));
            let after = self.known_to(&leader)?;
            self.changes.push(RaftChange {
                removed: id.clone(),
                before,
                after,
            });
            committed = self.has_majority(&leader);
        }
        self.settle();
        match committed && self.leader.is_some() {
            true => Ok(()),
            false => Err(OperatorError::backend(
                "leadership lost while committing log",
            )),
        }
    }

    /// Adds a removed server again, as it was at first. Returns whether the
    /// configuration contains it now.
    pub(super) fn join(&mut self, id: &ServerId) -> bool {
        if self.contains(id) {
            return true;
        }
        let first = self.member(id).and_then(|member| member.first.clone());
        let (Some(server), Some(leader)) = (first, self.leader.clone()) else {
            return false;
        };
        self.log.configuration.servers.push(server);
        self.append_configuration();
        self.replicate(&leader, None);
        self.settle();
        true
    }

    fn append_configuration(&mut self) {
        self.log.last_index += 1;
        self.log.configuration.index = self.log.last_index;
        self.log.written_in = self.log.term;
    }

    /// Removes the dead servers, as autopilot does: only with a leader, and not
    /// below its minimum of servers. Returns those removed.
    pub(super) fn cleanup_dead_servers(&mut self) -> Vec<ServerId> {
        if !self.autopilot.cleanup_dead_servers || self.leader.is_none() {
            return Vec::new();
        }
        let servers = self.log.configuration.servers.iter();
        let mut dead: Vec<_> = servers
            .map(|server| server.id.clone())
            .filter(|id| !self.is_up(id))
            .collect();
        dead.retain(|id| {
            let removal = Removal {
                id: id.clone(),
                term: self.log.term,
                version: self.version(),
                proof: Proof::Majority,
                timeout: Duration::MAX,
            };
            let count = self.log.configuration.servers.len() as u64;
            count > self.autopilot.min_quorum && self.remove(&removal).is_ok()
        });
        dead
    }

    /// Transfers the leadership to a server.
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
            term: self.log.written_in,
            index: self.log.configuration.index,
        }
    }

    /// Counts the voters that stay and that the leader reaches. Replication takes no
    /// time here, so that no entry has to be written for the proof.
    fn prove(&self, removed: &ServerId, removal: &Removal) -> Result<(), OperatorError> {
        let stayers = self.voters().filter(|voter| voter.id != *removed);
        let leader = self.leader.as_ref();
        let confirmed = stayers
            .clone()
            .filter(|voter| leader.is_some_and(|leader| self.hears(leader, &voter.id)))
            .count();
        let needed = removal.proof.needed(stayers.count());
        if confirmed < needed {
            let after = removal.timeout / 4;
            let unproven = ErrorKind::QuorumUnproven {
                confirmed,
                needed,
                after,
            };
            return Err(unproven.into());
        }
        Ok(())
    }
}
