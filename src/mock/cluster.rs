//! One Raft cluster: what is in its log, who leads, and what each server knows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::mishap::Mishaps;
use super::{RaftChange, lock, unreachable};
use crate::autopilot::AutopilotConfiguration;
use crate::error::{ErrorKind, OperatorError};
use crate::raft::{
    ConfigVersion, LeaderHint, Leadership, LogPosition, Membership, RaftConfiguration, RaftMember,
    RaftServer, RaftView, ServerStatus,
};
use crate::types::ServerId;

/// The cluster that its servers share.
pub(super) type SharedCluster = Arc<Mutex<Cluster>>;

/// Elections, replication and commits happen at once, as soon as a majority of
/// the voters is up.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Every server that there is, whether or not the configuration holds it.
    pub(super) members: Vec<Member>,
    /// The latest one. Of `alive` and `last_index` it matters only whether they
    /// are to be told; `leader` is never set.
    pub(super) configuration: RaftConfiguration,
    /// The term in which it was written.
    pub(super) written_in: u64,
    pub(super) leader: Option<ServerId>,
    pub(super) term: u64,
    /// The index of the last log entry.
    pub(super) log: u64,
    pub(super) autopilot: AutopilotConfiguration,
    /// Who does not reach whom; both ways.
    cuts: BTreeSet<(ServerId, ServerId)>,
    pub(super) mishaps: Mishaps,
    pub(super) changes: Vec<RaftChange>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: ServerId,
    /// How it stood in the first configuration, if it did.
    pub(super) first: Option<RaftServer>,
    pub(super) up: bool,
    /// The index of the last log entry that it holds.
    pub(super) last_index: u64,
    /// The configuration in its own log.
    pub(super) configuration: RaftConfiguration,
    pub(super) written_in: u64,
    /// The term that it is in.
    pub(super) term: u64,
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
                first: Some(server.clone()),
                up: server.alive != Some(false),
                last_index: 0,
                configuration: RaftConfiguration::default(),
                written_in: 0,
                term: 0,
                leader: None,
            });
        }
        let mut cluster = Cluster {
            members,
            configuration: RaftConfiguration { servers, index: 0 },
            written_in: 1,
            leader: None,
            term: 1,
            log: 0,
            autopilot: AutopilotConfiguration::default(),
            cuts: BTreeSet::new(),
            mishaps: Mishaps::default(),
            changes: Vec::new(),
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
            member.written_in = self.written_in;
            member.term = self.term;
            member.last_index = self.log;
        }
    }

    /// Adds a server that is in nobody's configuration, if there is none of this
    /// id.
    pub(super) fn admit(&mut self, id: &ServerId) {
        if self.member(id).is_none() {
            self.members.push(Member {
                id: id.clone(),
                first: None,
                up: true,
                last_index: 0,
                configuration: RaftConfiguration::default(),
                written_in: 0,
                term: 0,
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
        self.told(&self.configuration, self.leader.as_ref(), None)
    }

    /// The configuration as this server knows it.
    pub(super) fn known_to(&self, id: &ServerId) -> Result<RaftConfiguration, OperatorError> {
        let member = self.live(id)?;
        Ok(self.told(&member.configuration, member.leader.as_ref(), Some(id)))
    }

    /// This server's own view. It may lose the lead just now, if that is what the
    /// test has asked for.
    pub(super) fn view(&mut self, id: &ServerId) -> Result<RaftView, OperatorError> {
        self.lose_lead_if_told(id);
        let known = self.known_to(id)?;
        let member = self.live(id)?;
        let servers = known.servers.iter().map(|server| RaftMember {
            id: server.id.clone(),
            address: server.address.clone(),
            suffrage: server.suffrage,
        });
        let mut view = RaftView::new(id.clone(), Arc::new(Membership::new(servers)));
        view.leadership = self.leadership(member);
        view.term = member.term;
        if member.leader.is_some() {
            view.change = self.mishaps.unfinished.as_ref().map(|(_, _, at)| *at);
        }
        view.version = ConfigVersion {
            term: member.written_in,
            index: known.index,
        };
        let status = known.servers.iter().map(|server| {
            let mut status = ServerStatus::default();
            status.name.clone_from(&server.name);
            status.protocol_version.clone_from(&server.protocol_version);
            status.alive = server.alive;
            let term = self.member(&server.id).map_or(0, |member| member.term);
            status.last_log = server.last_index.map(|index| LogPosition { term, index });
            status
        });
        view.status = status.collect();
        Ok(view)
    }

    fn leadership(&self, member: &Member) -> Leadership {
        if let Some(leader) = self.mishaps.stale_hints.get(&member.id) {
            return match *leader == member.id {
                true => Leadership::Local,
                false => Leadership::Remote(self.hint(leader)),
            };
        }
        match member.leader_hint() {
            Some(leader) if leader.id == member.id => Leadership::Local,
            Some(leader) => Leadership::Remote(leader),
            None => Leadership::Unknown,
        }
    }

    fn lose_lead_if_told(&mut self, id: &ServerId) {
        if self.leader.as_ref() == Some(id) && self.is_up(id) && self.mishaps.loses_lead() {
            let others = self.voters().map(|voter| voter.id.clone());
            let others: Vec<_> = others.filter(|other| other != id).collect();
            if let Some(next) = others.iter().find(|other| self.can_lead(other)) {
                self.elect(next);
            }
        }
    }

    /// Refuses unless this server leads. It may lose the lead just now, if that
    /// is what the test has asked for.
    pub(super) fn check_leads(&mut self, id: &ServerId) -> Result<(), OperatorError> {
        self.lose_lead_if_told(id);
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

    pub(super) fn set_cuts(&mut self, cuts: BTreeSet<(ServerId, ServerId)>) {
        if self.cuts != cuts {
            self.cuts = cuts;
            self.settle();
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

    pub(super) fn member(&self, id: &ServerId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == *id)
    }

    fn live(&self, id: &ServerId) -> Result<&Member, OperatorError> {
        self.member(id)
            .filter(|member| member.up)
            .ok_or_else(|| unreachable(format!("server {id}"), "it is stopped"))
    }

    pub(super) fn voters(&self) -> impl Iterator<Item = &RaftServer> + Clone {
        let servers = self.configuration.servers.iter();
        servers.filter(|server| server.is_voter())
    }

    /// Whether the latest configuration has this server.
    pub(super) fn holds(&self, id: &ServerId) -> bool {
        let mut servers = self.configuration.servers.iter();
        servers.any(|server| server.id == *id)
    }

    pub(super) fn reaches(&self, from: &ServerId, to: &ServerId) -> bool {
        let is_cut = !self.cuts.is_empty() && self.cuts.contains(&(from.clone(), to.clone()));
        let is_lost = |id| self.mishaps.is_lost(Some(id));
        from == to || !(is_cut || is_lost(from) || is_lost(to))
    }

    /// As in Raft, nobody is elected who lacks the latest configuration.
    fn can_lead(&self, id: &ServerId) -> bool {
        let index = |member: &Member| member.configuration.index;
        self.is_up(id)
            && self.voters().any(|voter| voter.id == *id)
            && self.member(id).map(index) == Some(self.configuration.index)
            && self.has_majority(id)
    }

    fn first_candidate(&self) -> Option<ServerId> {
        let mut voters = self.voters().map(|voter| &voter.id);
        voters.find(|id| self.can_lead(id)).cloned()
    }

    /// Whether this server reaches a majority of the voters.
    pub(super) fn has_majority(&self, id: &ServerId) -> bool {
        let reached = |voter: &&RaftServer| self.is_up(&voter.id) && self.reaches(id, &voter.id);
        let up = self.voters().filter(reached).count();
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
    pub(super) fn settle(&mut self) {
        if let Some(leader) = self.leader.take().filter(|leader| self.can_lead(leader)) {
            self.leader = Some(leader);
        } else if let Some(first) = self.first_candidate() {
            self.lead(first);
        }
        let leader = self.leader.clone();
        for at in 0..self.members.len() {
            let id = self.members[at].id.clone();
            let led = leader
                .clone()
                .filter(|leader| self.holds(&id) && self.reaches(leader, &id));
            let member = &mut self.members[at];
            if !member.up {
                continue;
            }
            member.leader = led;
            if member.leader.is_some() {
                member.configuration = self.configuration.clone();
                member.written_in = self.written_in;
                member.term = self.term;
                member.last_index = self.log;
            }
        }
    }

    fn hint(&self, id: &ServerId) -> LeaderHint {
        let first = self.member(id).and_then(|member| member.first.as_ref());
        LeaderHint {
            id: id.clone(),
            address: first.map_or_else(|| "nowhere".into(), |first| first.address.clone()),
        }
    }

    /// A configuration with what this server, or everyone together, knows of its
    /// servers at this moment.
    pub(super) fn told(
        &self,
        configuration: &RaftConfiguration,
        leader: Option<&ServerId>,
        teller: Option<&ServerId>,
    ) -> RaftConfiguration {
        let seen = |id| teller.is_none_or(|teller| self.reaches(teller, id));
        let mut told = configuration.clone();
        for server in &mut told.servers {
            server.leader = leader == Some(&server.id);
            server.alive = server
                .alive
                .map(|_| self.is_up(&server.id) && seen(&server.id));
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
