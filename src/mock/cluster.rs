//! One simulated Raft cluster: its log, its leader, and what each server knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::clock::MockClock;
use super::fault::{FaultId, RaftFault};
use crate::autopilot::AutopilotConfiguration;
use crate::error::{ErrorKind, OperatorError};
use crate::raft::{
    ConfigVersion, LeaderHint, Leadership, LogPosition, Membership, PendingChange,
    RaftConfiguration, RaftMember, RaftServer, RaftView, ServerStatus,
};
use crate::types::ServerId;

/// A removal, a replacement or a promotion that was made, with the configuration before
/// and after it. Each shows which servers the leader saw alive at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RaftChange {
    /// The server that was removed or replaced.
    pub removed: Option<ServerId>,
    /// The server that became a voter: the one that was promoted, or that took the place
    /// of the removed one.
    pub added: Option<ServerId>,
    /// The configuration before.
    pub before: RaftConfiguration,
    /// The configuration after.
    pub after: RaftConfiguration,
}

/// A Raft cluster in which elections, replication and commits happen at once, as
/// soon as a majority of the voters is up.
#[derive(Debug)]
pub(super) struct Cluster {
    /// All servers, in the configuration or not.
    pub(super) members: Vec<Member>,
    pub(super) leader: Option<ServerId>,
    /// The log that the leader has, or the last leader had.
    pub(super) log: Log,
    pub(super) autopilot: AutopilotConfiguration,
    pub(super) changes: Vec<RaftChange>,
    pub(super) faults: Vec<Active>,
    /// The pairs of servers that a partition separates, in both orders.
    pub(super) cuts: BTreeSet<(ServerId, ServerId)>,
    /// `None` if nothing measures time.
    contacts: Option<Contacts>,
}

/// What a leader measures: how long it has led, and when others answered it.
#[derive(Debug)]
struct Contacts {
    clock: MockClock,
    /// The leader, its term, and since when it leads.
    leader: Option<(ServerId, u64, Duration)>,
    /// The servers that it hears.
    heard: BTreeSet<ServerId>,
    /// The last answers of those that it heard before.
    last: BTreeMap<ServerId, Duration>,
}

/// The parts of a log that matter here.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    /// The latest configuration. `leader` is never set in it, and for `alive` and
    /// `last_index` it only matters whether they are.
    pub(super) configuration: RaftConfiguration,
    /// The term in which the configuration was written.
    pub(super) written_in: u64,
    pub(super) term: u64,
    pub(super) last_index: u64,
}

#[derive(Debug)]
pub(super) struct Member {
    id: ServerId,
    /// Its entry in the first configuration, if there was one.
    pub(super) first: Option<RaftServer>,
    pub(super) up: bool,
    /// The server's own log.
    pub(super) log: Log,
    /// The leader that the server knows.
    leader: Option<ServerId>,
}

/// A fault that has not had its effect yet, or whose effect lasts.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) by: FaultId,
    /// The server that has the fault, unless the whole cluster has it.
    pub(super) at: ServerId,
    pub(super) fault: RaftFault,
}

impl Cluster {
    /// Starts a cluster. Its leader is the first server that is marked as such, if
    /// it can lead, else the first voter that can.
    pub(super) fn new(mut servers: Vec<RaftServer>) -> Self {
        let marked = servers.iter().find(|server| server.leader);
        let marked = marked.map(|server| server.id.clone());
        let mut members = Vec::new();
        for server in &mut servers {
            server.leader = false;
            members.push(Member {
                first: Some(server.clone()),
                up: server.alive != Some(false),
                ..Member::new(server.id.clone())
            });
        }
        let mut cluster = Cluster {
            members,
            leader: None,
            log: Log {
                configuration: RaftConfiguration::new(servers, 0),
                written_in: 1,
                term: 1,
                last_index: 0,
            },
            autopilot: AutopilotConfiguration::default(),
            changes: Vec::new(),
            faults: Vec::new(),
            cuts: BTreeSet::new(),
            contacts: None,
        };
        cluster.start_at(1);
        cluster.leader = marked
            .filter(|marked| cluster.can_lead(marked))
            .or_else(|| cluster.first_candidate());
        cluster.settle();
        cluster
    }

    /// Sets the index of the first configuration. The first leader's own entry and
    /// the configuration of autopilot follow it.
    pub(super) fn start_at(&mut self, index: u64) {
        self.log.configuration.index = index;
        self.log.last_index = index + 2;
        self.autopilot.create_index = self.log.last_index;
        self.autopilot.modify_index = self.log.last_index;
        for member in &mut self.members {
            member.log = self.log.clone();
        }
    }

    /// Finds a server, or adds it outside the configuration.
    pub(super) fn admit(&mut self, id: &ServerId) -> &mut Member {
        let known = self.members.iter().position(|member| member.id == *id);
        let at = known.unwrap_or(self.members.len());
        if known.is_none() {
            self.members.push(Member::new(id.clone()));
        }
        &mut self.members[at]
    }

    /// Makes a server the leader, if it can lead. Returns whether it leads now.
    pub(super) fn elect(&mut self, id: &ServerId) -> bool {
        if self.can_lead(id) && self.leader.as_ref() != Some(id) {
            self.lead(id.clone());
            self.settle();
        }
        self.leader.as_ref() == Some(id)
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
        self.log.last_index += 1;
        configuration.create_index = self.autopilot.create_index;
        configuration.modify_index = self.log.last_index;
        self.autopilot = configuration;
        self.settle();
        true
    }

    /// The view of one server. Counts as a call of its Raft.
    pub(super) fn view(&mut self, id: &ServerId) -> Result<RaftView, OperatorError> {
        self.count_call(id);
        let known = self.known_to(id)?;
        let member = self.live(id)?;
        let servers = known.servers.iter().map(|server| RaftMember {
            id: server.id.clone(),
            address: server.address.clone(),
            suffrage: server.suffrage,
        });
        let mut view = RaftView::new(id.clone(), Arc::new(Membership::new(servers)));
        view.leadership = self.leadership(member);
        view.term = member.log.term;
        if member.leader.is_some() {
            view.change = self.unfinished().map(|(_, _, at)| at);
        }
        view.version = ConfigVersion {
            term: member.log.written_in,
            index: known.index,
        };
        let status = known.servers.iter().map(|server| {
            let mut status = ServerStatus::default();
            status.name.clone_from(&server.name);
            status.protocol_version.clone_from(&server.protocol_version);
            status.alive = server.alive;
            let term = self.member(&server.id).map_or(0, |member| member.log.term);
            status.last_log = server.last_index.map(|index| LogPosition { term, index });
            status
        });
        view.status = status.collect();
        self.show_contacts(&mut view);
        Ok(view)
    }

    /// Lets leaders measure time.
    pub(super) fn measure(&mut self, clock: &MockClock) {
        self.contacts = Some(Contacts {
            clock: clock.clone(),
            leader: None,
            heard: BTreeSet::new(),
            last: BTreeMap::new(),
        });
        self.note_contacts();
    }

    /// Notes whom the leader hears from now on, after any change.
    fn note_contacts(&mut self) {
        let Some(mut contacts) = self.contacts.take() else {
            return;
        };
        let now = contacts.clock.now();
        let known = contacts.leader.take();
        let leader = self.leader.clone().map(|leader| (leader, self.log.term));
        contacts.leader = leader.map(|(leader, term)| match known {
            Some(known) if known.0 == leader && known.1 == term => known,
            _ => {
                contacts.heard.clear();
                contacts.last.clear();
                (leader, term, now)
            }
        });
        for heard in std::mem::take(&mut contacts.heard) {
            contacts.last.insert(heard, now);
        }
        if let Some((leader, ..)) = &contacts.leader {
            let ids = self.members.iter().map(|member| &member.id);
            let heard = ids.filter(|id| self.hears(leader, id));
            contacts.heard = heard.cloned().collect();
        }
        self.contacts = Some(contacts);
    }

    /// Adds to the leader's view what it has measured.
    fn show_contacts(&self, view: &mut RaftView) {
        let Some((contacts, (leader, _, since))) = self
            .contacts
            .as_ref()
            .and_then(|it| Some((it, it.leader.as_ref()?)))
        else {
            return;
        };
        if *leader != view.id {
            return;
        }
        let now = contacts.clock.now();
        view.leading_for = Some(now - *since);
        for (member, status) in view.membership.servers.iter().zip(&mut view.status) {
            status.last_contact = match contacts.heard.contains(&member.id) {
                true => Some(Duration::ZERO),
                false => contacts.last.get(&member.id).map(|last| now - *last),
            };
        }
    }

    /// What a server believes about the leader.
    fn leadership(&self, member: &Member) -> Leadership {
        let mut latest = self.faults.iter().rev();
        let stale = latest.find_map(|active| match &active.fault {
            RaftFault::StaleHint(leader) if active.at == member.id => Some(leader),
            _ => None,
        });
        match stale.or(member.leader.as_ref()) {
            Some(leader) if *leader == member.id => Leadership::Local,
            Some(leader) => Leadership::Remote(self.hint(leader)),
            None => Leadership::Unknown,
        }
    }

    fn hint(&self, leader: &ServerId) -> LeaderHint {
        let first = self.member(leader).and_then(|member| member.first.as_ref());
        LeaderHint {
            id: leader.clone(),
            address: first.map_or_else(|| "nowhere".into(), |first| first.address.clone()),
        }
    }

    /// Fails unless this server leads. Counts as a call of its Raft.
    pub(super) fn check_leads(&mut self, id: &ServerId) -> Result<(), OperatorError> {
        self.count_call(id);
        match &self.live(id)?.leader {
            Some(leader) if leader == id => Ok(()),
            Some(leader) => {
                let leader = Some(self.hint(leader));
                Err(ErrorKind::NotLeader { leader }.into())
            }
            None => Err(ErrorKind::NoLeader.into()),
        }
    }

    fn count_call(&mut self, id: &ServerId) {
        if self.leader.as_ref() != Some(id) || !self.is_up(id) {
            return;
        }
        let before = self.faults.len();
        self.faults.retain_mut(|active| match &mut active.fault {
            RaftFault::LoseLeadIn(calls) => {
                *calls -= 1;
                *calls > 0
            }
            _ => true,
        });
        if self.faults.len() < before {
            let is_next = |voter: &&RaftServer| voter.id != *id && self.can_lead(&voter.id);
            let next = self.voters().find(is_next).map(|voter| voter.id.clone());
            if let Some(next) = next {
                self.elect(&next);
            }
        }
    }

    /// The latest unfinished removal: its fault, the server, and how far it is.
    pub(super) fn unfinished(&self) -> Option<(FaultId, ServerId, PendingChange)> {
        let mut latest = self.faults.iter().rev();
        latest.find_map(|active| match active.fault {
            RaftFault::Unfinished(change) => Some((active.by, active.at.clone(), change)),
            _ => None,
        })
    }

    pub(super) fn is_lost(&self, server: &ServerId) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|active| active.fault == RaftFault::Lost && active.at == *server)
    }

    /// How long each call takes.
    pub(super) fn delay(&self) -> Duration {
        let delays = self.faults.iter().filter_map(|active| match active.fault {
            RaftFault::Slow(delay) => Some(delay),
            _ => None,
        });
        delays.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// The latest configuration, with the true state of its servers.
    pub(super) fn latest(&self) -> RaftConfiguration {
        self.describe(&self.log.configuration, self.leader.as_ref(), None)
    }

    /// The configuration that a server knows, with what it sees of the others.
    pub(super) fn known_to(&self, id: &ServerId) -> Result<RaftConfiguration, OperatorError> {
        let member = self.live(id)?;
        Ok(self.describe(&member.log.configuration, member.leader.as_ref(), Some(id)))
    }

    /// Fills in the leader, and which servers are up, as `observer` sees them, if
    /// there is one.
    fn describe(
        &self,
        configuration: &RaftConfiguration,
        leader: Option<&ServerId>,
        observer: Option<&ServerId>,
    ) -> RaftConfiguration {
        let mut described = configuration.clone();
        for server in &mut described.servers {
            let id = &server.id;
            let seen = observer.is_none_or(|observer| self.reaches(observer, id));
            server.leader = leader == Some(id);
            server.alive = server.alive.map(|_| self.is_up(id) && seen);
            server.last_index = server.last_index.map(|_| self.last_index(id));
        }
        described
    }

    pub(super) fn member(&self, id: &ServerId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == *id)
    }

    fn live(&self, id: &ServerId) -> Result<&Member, OperatorError> {
        let member = self.member(id).filter(|member| member.up);
        member.ok_or_else(|| {
            OperatorError::new(ErrorKind::Unreachable {
                target: format!("server {id}"),
                reason: "it is stopped".into(),
            })
        })
    }

    pub(super) fn is_up(&self, id: &ServerId) -> bool {
        self.member(id).is_some_and(|member| member.up)
    }

    pub(super) fn last_index(&self, id: &ServerId) -> u64 {
        self.member(id).map_or(0, |member| member.log.last_index)
    }

    pub(super) fn voters(&self) -> impl Iterator<Item = &RaftServer> + Clone {
        let servers = self.log.configuration.servers.iter();
        servers.filter(|server| server.is_voter())
    }

    /// Returns whether the latest configuration contains a server.
    pub(super) fn contains(&self, id: &ServerId) -> bool {
        let mut servers = self.log.configuration.servers.iter();
        servers.any(|server| server.id == *id)
    }

    pub(super) fn reaches(&self, from: &ServerId, to: &ServerId) -> bool {
        let is_cut = !self.cuts.is_empty() && self.cuts.contains(&(from.clone(), to.clone()));
        from == to || !(is_cut || self.is_lost(from) || self.is_lost(to))
    }

    /// Returns whether a server is up and reached by another one.
    pub(super) fn hears(&self, from: &ServerId, to: &ServerId) -> bool {
        self.is_up(to) && self.reaches(from, to)
    }

    /// Returns whether a server can be elected. As in Raft, it needs the latest
    /// configuration.
    fn can_lead(&self, id: &ServerId) -> bool {
        let is_current = |member: &Member| {
            member.up && member.log.configuration.index == self.log.configuration.index
        };
        self.member(id).is_some_and(is_current)
            && self.voters().any(|voter| voter.id == *id)
            && self.has_majority(id)
    }

    fn first_candidate(&self) -> Option<ServerId> {
        let mut voters = self.voters().map(|voter| &voter.id);
        voters.find(|id| self.can_lead(id)).cloned()
    }

    /// Returns whether a server reaches a majority of the voters.
    pub(super) fn has_majority(&self, id: &ServerId) -> bool {
        let reached = self.voters().filter(|voter| self.hears(id, &voter.id));
        reached.count() > self.voters().count() / 2
    }

    fn lead(&mut self, id: ServerId) {
        self.leader = Some(id);
        self.log.term += 1;
        self.log.last_index += 1;
    }

    /// Elects a leader if one is needed and possible, and replicates the log to
    /// every server that it reaches. A server without a leader keeps its log.
    pub(super) fn settle(&mut self) {
        if let Some(leader) = self.leader.take().filter(|leader| self.can_lead(leader)) {
            self.leader = Some(leader);
        } else if let Some(first) = self.first_candidate() {
            self.lead(first);
        }
        for at in 0..self.members.len() {
            let Member { id, up: true, .. } = &self.members[at] else {
                continue;
            };
            let leader = self.leader.clone();
            let leader = leader.filter(|leader| self.contains(id) && self.reaches(leader, id));
            let member = &mut self.members[at];
            if leader.is_some() {
                member.log = self.log.clone();
            }
            member.leader = leader;
        }
        self.note_contacts();
    }

    /// Sends the log to every server that the leader reaches and that is in the
    /// configuration, or has just been removed from it.
    pub(super) fn replicate(&mut self, leader: &ServerId, removed: Option<&ServerId>) {
        for at in 0..self.members.len() {
            let id = &self.members[at].id;
            if (self.contains(id) || removed == Some(id)) && self.hears(leader, id) {
                self.members[at].log = self.log.clone();
            }
        }
    }
}

impl Member {
    /// A server that is up, knows nothing and follows nobody.
    fn new(id: ServerId) -> Self {
        Member {
            id,
            first: None,
            up: true,
            log: Log::default(),
            leader: None,
        }
    }
}
