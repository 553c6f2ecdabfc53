//! One Raft cluster: what is in its log, who leads, and what each server knows.

use std::sync::{Arc, Mutex};

use super::{lock, unreachable};
use crate::autopilot::AutopilotConfiguration;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::name::ServerId;
use crate::raft::{LeaderHint, Leadership, PeerSelector, RaftConfiguration, RaftServer};

/// The cluster that its servers share.
pub(super) type SharedCluster = Arc<Mutex<Cluster>>;

/// Elections, replication and commits happen at once, as soon as a majority of
/// the voters is up.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Every server that there is, whether or not the configuration holds it.
    members: Vec<Member>,
    /// The latest one. Of `alive` and `last_index` it matters only whether they
    /// are to be told; `leader` is never set.
    configuration: RaftConfiguration,
    leader: Option<ServerId>,
    term: u64,
    /// The index of the last log entry.
    log: u64,
    autopilot: AutopilotConfiguration,
}

#[derive(Debug)]
struct Member {
    id: ServerId,
    up: bool,
    /// The index of the last log entry that it holds.
    last_index: u64,
    /// The configuration in its own log.
    configuration: RaftConfiguration,
    /// Who leads, as far as it knows.
    leader: Option<ServerId>,
}

impl Cluster {
    /// The first server that is marked as the leader leads, else the first live
    /// voter.
    pub(super) fn new(mut servers: Vec<RaftServer>) -> SharedCluster {
        let marked = servers.iter().find(|server| server.leader);
        let marked = marked.map(|server| server.id.clone());
        let mut members = Vec::new();
        for server in &mut servers {
            server.leader = false;
            members.push(Member {
                id: server.id.clone(),
                up: server.alive != Some(false),
                last_index: 0,
                configuration: RaftConfiguration::default(),
                leader: None,
            });
        }
        let mut cluster = Cluster {
            members,
            configuration: RaftConfiguration { servers, index: 0 },
            leader: None,
            term: 1,
            log: 0,
            autopilot: AutopilotConfiguration::default(),
        };
        cluster.start_at(1);
        cluster.leader = marked
            .filter(|marked| cluster.can_lead(marked))
            .or_else(|| cluster.first_candidate());
        cluster.settle();
        Arc::new(Mutex::new(cluster))
    }

    /// Moves the beginning of the log: the configuration stands at this index,
    /// then come the first leader's own entry and autopilot's configuration.
    pub(super) fn start_at(&mut self, index: u64) {
        self.configuration.index = index;
        self.log = index + 2;
        self.autopilot.create_index = self.log;
        self.autopilot.modify_index = self.log;
        for member in &mut self.members {
            member.configuration = self.configuration.clone();
            member.last_index = self.log;
        }
    }

    /// Adds a server that is in nobody's configuration, if there is none of this
    /// id.
    pub(super) fn admit(&mut self, id: &ServerId) {
        if self.member(id).is_none() {
            self.members.push(Member {
                id: id.clone(),
                up: true,
                last_index: 0,
                configuration: RaftConfiguration::default(),
                leader: None,
            });
        }
    }

    pub(super) fn set_up(&mut self, id: &ServerId, up: bool) {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == *id) {
            member.up = up;
        }
        self.settle();
    }

    pub(super) fn is_up(&self, id: &ServerId) -> bool {
        self.member(id).is_some_and(|member| member.up)
    }

    pub(super) fn leader(&self) -> Option<&ServerId> {
        self.leader.as_ref()
    }

    /// The latest configuration as everyone together knows it.
    pub(super) fn latest(&self) -> RaftConfiguration {
        self.told(&self.configuration, self.leader.as_ref())
    }

    /// The configuration as this server knows it.
    pub(super) fn view(&self, id: &ServerId) -> Result<RaftConfiguration, OperatorError> {
        let member = self.live(id)?;
        Ok(self.told(&member.configuration, member.leader.as_ref()))
    }

    /// Who leads as this server knows it.
    pub(super) fn leadership(&self, id: &ServerId) -> Leadership {
        let Ok(member) = self.live(id) else {
            // Its own service alone asks this of a stopped server, and then goes
            // where the lead is: to this server, which refuses as unreachable.
            return Leadership::Local;
        };
        match member.leader_hint() {
            Some(leader) if leader.id == *id => Leadership::Local,
            Some(leader) => Leadership::Elsewhere(leader),
            None => Leadership::None,
        }
    }

    /// Refuses unless this server leads.
    pub(super) fn check_leads(&self, id: &ServerId) -> Result<(), OperatorError> {
        let member = self.live(id)?;
        match member.leader_hint() {
            Some(leader) if leader.id == *id => Ok(()),
            Some(leader) => Err(ErrorKind::NotLeader {
                leader: Some(leader),
            }
            .into()),
            None => Err(ErrorKind::NoLeader.into()),
        }
    }

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
        let before = self.configuration.clone();
        self.configuration.servers.remove(at);
        self.log += 1;
        self.configuration.index = self.log;
        // Also the one that is removed gets the entry by which it is.
        for member in self.members.iter_mut().filter(|member| member.up) {
            if before.servers.iter().any(|server| server.id == member.id) {
                member.configuration = self.configuration.clone();
                member.last_index = self.log;
            }
        }
        self.settle();
        if self.leader.is_none() {
            return Err(OperatorError::backend(
                "leadership lost while committing log",
            ));
        }
        Ok(())
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

    /// Makes this server the leader. Says whether it is now.
    pub(super) fn elect(&mut self, id: &ServerId) -> bool {
        if self.can_lead(id) && self.leader.as_ref() != Some(id) {
            self.lead(id.clone());
            self.settle();
        }
        self.leader.as_ref() == Some(id)
    }

    pub(super) fn autopilot(&self) -> &AutopilotConfiguration {
        &self.autopilot
    }

    pub(super) fn set_autopilot(
        &mut self,
        mut configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> bool {
        let current = self.autopilot.modify_index;
        if expected_index.is_some_and(|expected| expected != current) {
            return false;
        }
        self.log += 1;
        configuration.create_index = self.autopilot.create_index;
        configuration.modify_index = self.log;
        self.autopilot = configuration;
        self.settle();
        true
    }

    pub(super) fn term(&self) -> u64 {
        self.term
    }

    /// The index of the last log entry that this server holds.
    pub(super) fn last_index(&self, id: &ServerId) -> u64 {
        self.member(id).map_or(0, |member| member.last_index)
    }

    fn member(&self, id: &ServerId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == *id)
    }

    fn live(&self, id: &ServerId) -> Result<&Member, OperatorError> {
        self.member(id)
            .filter(|member| member.up)
            .ok_or_else(|| unreachable(format!("server {id}"), "it is stopped"))
    }

    fn voters(&self) -> impl Iterator<Item = &RaftServer> {
        let servers = self.configuration.servers.iter();
        servers.filter(|server| server.is_voter())
    }

    fn can_lead(&self, id: &ServerId) -> bool {
        self.has_majority() && self.is_up(id) && self.voters().any(|voter| voter.id == *id)
    }

    fn first_candidate(&self) -> Option<ServerId> {
        let mut voters = self.voters().map(|voter| &voter.id);
        voters.find(|id| self.can_lead(id)).cloned()
    }

    fn has_majority(&self) -> bool {
        let up = self.voters().filter(|voter| self.is_up(&voter.id)).count();
        up > self.voters().count() / 2
    }

    fn lead(&mut self, id: ServerId) {
        self.leader = Some(id);
        self.term += 1;
        self.log += 1;
    }

    /// Elects where that is needed and possible, and brings every server that
    /// the leader reaches up to date. A server without a leader keeps the
    /// configuration that it has.
    fn settle(&mut self) {
        if let Some(leader) = self.leader.take().filter(|leader| self.can_lead(leader)) {
            self.leader = Some(leader);
        } else if let Some(first) = self.first_candidate() {
            self.lead(first);
        }
        for member in self.members.iter_mut().filter(|member| member.up) {
            let mut servers = self.configuration.servers.iter();
            let reached = servers.any(|server| server.id == member.id);
            member.leader = self.leader.clone().filter(|_| reached);
            if member.leader.is_some() {
                member.configuration = self.configuration.clone();
                member.last_index = self.log;
            }
        }
    }

    /// A configuration with what is known of its servers at this moment.
    fn told(
        &self,
        configuration: &RaftConfiguration,
        leader: Option<&ServerId>,
    ) -> RaftConfiguration {
        let mut told = configuration.clone();
        for server in &mut told.servers {
            server.leader = leader == Some(&server.id);
            server.alive = server.alive.map(|_| self.is_up(&server.id));
            server.last_index = server.last_index.map(|_| self.last_index(&server.id));
        }
        told
    }
}

impl Member {
    fn leader_hint(&self) -> Option<LeaderHint> {
        let leader = self.leader.as_ref()?;
        let servers = &self.configuration.servers;
        let leader = servers.iter().find(|server| server.id == *leader)?;
        Some(LeaderHint {
            id: leader.id.clone(),
            address: leader.address.clone(),
        })
    }
}

/// Lets `visit` see the cluster, or change it.
pub(super) fn with<T>(cluster: &SharedCluster, visit: impl FnOnce(&mut Cluster) -> T) -> T {
    visit(&mut lock(cluster))
}
