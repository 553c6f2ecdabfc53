//! Changes of a Raft cluster: who is removed, who comes back, and who is handed
//! the lead.

use super::RaftChange;
use super::cluster::Cluster;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::name::ServerId;
use crate::raft::PeerSelector;

impl Cluster {
    pub(super) fn remove(
        &mut self,
        selector: &PeerSelector,
        expected_index: Option<u64>,
    ) -> Result<(), OperatorError> {
        let actual = self.configuration.index;
        if let Some(expected) = expected_index.filter(|expected| *expected != actual) {
            return Err(ErrorKind::Conflict { expected, actual }.into());
        }
        let servers = &self.configuration.servers;
        let at = servers
            .iter()
            .position(|server| selector.matches(server))
            .ok_or_else(|| ErrorKind::UnknownServer(selector.clone()))?;
        if servers[at].is_voter() && self.voters().count() == 1 {
            return Err(ErrorKind::LastVoter.into());
        }
        let mishap = self.mishaps.failed_removals.pop_front();
        let mishap = mishap.map(|(_, outcome)| outcome);
        if mishap == Some(Outcome::NotApplied) {
            return Err(
                OperatorError::backend("the test lets it fail").with_outcome(Outcome::NotApplied)
            );
        }
        let leader = self.leader.clone();
        let before = self.told(&self.configuration, leader.as_ref(), leader.as_ref());
        let removed = self.configuration.servers.remove(at);
        self.log += 1;
        self.configuration.index = self.log;
        let after = self.told(&self.configuration, leader.as_ref(), leader.as_ref());
        self.changes.push(RaftChange {
            removed: removed.id.clone(),
            before,
            after,
        });
        // Also the one that is removed gets the entry by which it is.
        let committed = match &leader {
            Some(leader) => {
                self.replicate(leader, Some(removed.id));
                self.has_majority(leader)
            }
            None => false,
        };
        self.settle();
        match mishap {
            Some(outcome) => {
                Err(OperatorError::backend("the test lets it fail").with_outcome(outcome))
            }
            None if committed && self.leader.is_some() => Ok(()),
            None => Err(OperatorError::backend(
                "leadership lost while committing log",
            )),
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
            if enough && self.remove(&PeerSelector::Id(id.clone()), None).is_ok() {
                removed.push(id);
            }
        }
        removed
    }

    /// Hands the lead to this server, or to the next voter that is up.
    pub(super) fn transfer(&mut self, to: Option<&ServerId>) -> Result<(), OperatorError> {
        let refused =
            |why: &str| Err(OperatorError::backend(why).with_outcome(Outcome::NotApplied));
        let to = match to {
            Some(id) => {
                let servers = &self.configuration.servers;
                if !servers.iter().any(|server| server.id == *id) {
                    return Err(ErrorKind::UnknownServer(PeerSelector::Id(id.clone())).into());
                }
                if self.leader.as_ref() == Some(id) {
                    return refused("cannot transfer leadership to itself");
                }
                id.clone()
            }
            None => {
                let others = self.voters().map(|server| &server.id);
                let mut others = others.filter(|id| self.leader.as_ref() != Some(id));
                match others.find(|id| self.is_up(id)) {
                    Some(id) => id.clone(),
                    None => return refused("there is no other live voter"),
                }
            }
        };
        if self.elect(&to) {
            Ok(())
        } else {
            refused("the server is no live voter")
        }
    }

    /// Sends the latest configuration to everyone whom the leader reaches and
    /// who is in it, or has just been.
    fn replicate(&mut self, leader: &ServerId, removed: Option<ServerId>) {
        for at in 0..self.members.len() {
            let id = &self.members[at].id;
            let concerned = self.holds(id) || removed.as_ref() == Some(id);
            if concerned && self.members[at].up && self.reaches(leader, id) {
                self.members[at].configuration = self.configuration.clone();
                self.members[at].last_index = self.log;
            }
        }
    }
}
