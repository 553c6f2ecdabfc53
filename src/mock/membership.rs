//! The changes of a simulated Raft cluster: removals, replacements, promotions, joins and
//! transfers.

use super::cluster::{Active, Cluster, RaftChange};
use super::fault::RaftFault;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::raft::{
    Change, ChangeKind, ConfigVersion, PeerSelector, PendingChange, RaftServer, Suffrage,
};
use crate::types::ServerId;

impl Cluster {
    /// Executes a change. The caller has checked that its server leads.
    pub(super) fn execute(&mut self, change: &Change) -> Result<(), OperatorError> {
        let (removed, added) = match &change.kind {
            ChangeKind::Remove { id } => (Some(id), None),
            ChangeKind::Replace { id, with } => (Some(id), Some(with)),
            ChangeKind::Promote { id } => (None, Some(id)),
        };
        let (expected, actual) = (change.term, self.log.term);
        if expected != actual {
            return Err(ErrorKind::TermChanged { expected, actual }.into());
        }
        let (expected, actual) = (change.version, self.version());
        if expected != actual {
            return Err(ErrorKind::Conflict { expected, actual }.into());
        }
        match self.unfinished() {
            Some((_, _, PendingChange::Uncommitted)) => {
                return Err(ErrorKind::ChangeInProgress.into());
            }
            Some((fault, joint, _)) => {
                self.prove(change, Some(&joint), None)?;
                self.faults.retain(|active| active.by != fault);
                self.commit(Some(&joint), None)?;
                let actual = self.version();
                return if (removed, added) == (Some(&joint), None) {
                    Ok(())
                } else {
                    Err(ErrorKind::Conflict { expected, actual }.into())
                };
            }
            None => {}
        }
        self.check_servers(removed, added)?;
        self.prove(change, removed, added)?;
        let fails = |active: &Active| matches!(active.fault, RaftFault::FailChange(_));
        let failed = self.faults.iter().position(fails);
        let failed = failed.map(|at| self.faults.remove(at).fault);
        let Some(RaftFault::FailChange(outcome)) = failed else {
            return self.commit(removed, added);
        };
        if outcome != Outcome::NotApplied {
            // The fault decides the outcome.
            self.commit(removed, added).ok();
        }
        Err(OperatorError::backend("a fault of the test").with_outcome(outcome))
    }

    fn check_servers(
        &self,
        removed: Option<&ServerId>,
        added: Option<&ServerId>,
    ) -> Result<(), OperatorError> {
        let is_voter = |id: &ServerId| {
            let mut servers = self.log.configuration.servers.iter();
            let server = servers.find(|server| server.id == *id);
            server.map(RaftServer::is_voter).ok_or_else(|| {
                OperatorError::from(ErrorKind::UnknownServer(PeerSelector::Id(id.clone())))
            })
        };
        if let Some(id) = removed {
            match (is_voter(id)?, added) {
                (true, None) if self.voters().count() == 1 => {
                    return Err(ErrorKind::LastVoter.into());
                }
                (false, Some(_)) => {
                    return Err(ErrorKind::NothingToReplace { id: id.clone() }.into());
                }
                _ => {}
            }
        }
        match added {
            Some(id) if is_voter(id)? => Err(ErrorKind::AlreadyVoter { id: id.clone() }.into()),
            _ => Ok(()),
        }
    }

    /// Appends a change and commits it, if the voters after it that the leader reaches
    /// are still a majority.
    fn commit(
        &mut self,
        removed: Option<&ServerId>,
        added: Option<&ServerId>,
    ) -> Result<(), OperatorError> {
        for active in &mut self.faults {
            if active.fault == RaftFault::LoseAtChange {
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
            servers.retain(|server| Some(&server.id) != removed);
            for server in servers {
                if added == Some(&server.id) {
                    server.suffrage = Suffrage::Voter;
                }
            }
            self.append_configuration();
            self.replicate(&leader, removed);
            let after = self.known_to(&leader)?;
            self.changes.push(RaftChange {
                removed: removed.cloned(),
                added: added.cloned(),
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

    /// Adds a removed server again, as it was at first, or with another suffrage. Returns
    /// whether the configuration contains it now.
    pub(super) fn join(&mut self, id: &ServerId, suffrage: Option<Suffrage>) -> bool {
        if self.contains(id) {
            return true;
        }
        let first = self.member(id).and_then(|member| member.first.clone());
        let (Some(mut server), Some(leader)) = (first, self.leader.clone()) else {
            return false;
        };
        server.suffrage = suffrage.unwrap_or(server.suffrage);
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

    /// Counts the voters after the change that the leader reaches. Replication takes no
    /// time here, so that no entry has to be written for the proof.
    fn prove(
        &self,
        change: &Change,
        removed: Option<&ServerId>,
        added: Option<&ServerId>,
    ) -> Result<(), OperatorError> {
        let leader = self.leader.as_ref();
        let confirms = |id: &ServerId| leader.is_some_and(|leader| self.hears(leader, id));
        let stayers = self.voters().map(|voter| &voter.id);
        let voters = stayers.filter(|id| Some(*id) != removed).chain(added);
        let confirmed = voters.clone().filter(|id| confirms(id)).count();
        let needed = change.proof.needed(voters.count());
        let after = change.timeout / 4;
        if confirmed < needed {
            let unproven = ErrorKind::QuorumUnproven {
                confirmed,
                needed,
                after,
            };
            return Err(unproven.into());
        }
        match added.cloned() {
            Some(id) if !confirms(&id) => Err(ErrorKind::NotCaughtUp { id, after }.into()),
            _ => Ok(()),
        }
    }
}
