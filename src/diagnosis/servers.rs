//! The servers of a datacenter, put together from their own views.

use std::collections::BTreeMap;

use super::examine::is_unreachable;
use super::view::{SeenServer, ServerView, title};
use super::{AskedServer, Health, ServerState};
use crate::raft::{LogPosition, Proof};
use crate::types::{DatacenterName, QuorumGuard, RemovalPlan, ServerId, VoterCount, count};

/// The Raft of a datacenter as its servers see it.
pub(super) struct Raft<'a> {
    pub(super) name: &'a DatacenterName,
    pub(super) asked: &'a [AskedServer],
    guard: QuorumGuard,
    /// The views of the servers that answered.
    pub(super) views: Vec<&'a ServerView>,
    /// The view that decides which servers there are.
    pub(super) reference: &'a ServerView,
    /// The leader. More than one if they are disputed, the one in the latest term first.
    pub(super) leaders: Vec<ServerId>,
    pub(super) servers: Vec<ServerState>,
}

impl<'a> Raft<'a> {
    /// Returns `None` if no server has shown its view.
    pub(super) fn new(
        name: &'a DatacenterName,
        asked: &'a [AskedServer],
        guard: QuorumGuard,
    ) -> Option<Self> {
        let views = asked.iter().filter_map(|it| it.view.as_ref().ok());
        let views: Vec<_> = views.collect();
        let leaders = leaders(&views);
        let reference = reference(&views, &leaders)?;
        let mut raft = Raft {
            name,
            asked,
            guard,
            views,
            reference,
            leaders,
            servers: Vec::new(),
        };
        let seen = reference.servers.iter();
        raft.servers = seen.map(|seen| raft.server(seen)).collect();
        Some(raft)
    }

    pub(super) fn leader(&self) -> Option<&ServerId> {
        self.leaders.first()
    }

    fn answer(&self, id: &ServerId) -> Option<&AskedServer> {
        let mut asked = self.asked.iter();
        asked.find(|asked| asked.id.as_ref() == Some(id))
    }

    pub(super) fn own_view(&self, id: &ServerId) -> Option<&ServerView> {
        let mut views = self.views.iter();
        views.find(|view| view.id.as_ref() == Some(id)).copied()
    }

    /// Returns the last log position that a server itself, else the reference, shows.
    fn last_log(&self, id: &ServerId) -> Option<LogPosition> {
        let own = self.own_view(id).and_then(|view| view.get(id)?.last_log);
        own.or_else(|| self.reference.get(id)?.last_log)
    }

    fn server(&self, seen: &SeenServer) -> ServerState {
        let server = &seen.server;
        let answered = self.own_view(&server.id).is_some();
        let lost = self.answer(&server.id).is_some_and(|asked| {
            let error = asked.view.as_ref().err();
            error.is_some_and(is_unreachable)
        });
        let leads = self.leader() == Some(&server.id);
        let health = match (server.alive, answered) {
            _ if leads && answered => Health::Healthy,
            // The others follow it, so that it may only be out of this server's reach.
            _ if leads && lost => Health::Unknown,
            // Followers of openraft and of Consul do not know who is up.
            (Some(alive), _) if self.reference.leads() || self.reference.id.is_none() => {
                if alive {
                    Health::Healthy
                } else {
                    Health::Failed
                }
            }
            (_, true) => Health::Healthy,
            (_, false) if lost => Health::Failed,
            _ => Health::Unknown,
        };
        let last_log = self.last_log(&server.id);
        let index = last_log.map(|position| position.index);
        let index = index.or(server.last_index);
        let leader = self.leader().and_then(|leader| self.last_log(leader));
        ServerState {
            id: server.id.clone(),
            name: server.name.clone(),
            address: server.address.clone(),
            leader: leads,
            voter: server.is_voter(),
            health,
            answered,
            last_contact_ms: seen
                .last_contact
                .map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
            last_log,
            lag: leader
                .zip(index)
                .map(|(leader, index)| leader.index.saturating_sub(index)),
        }
    }

    /// Counts the voters. One of unknown health counts as up.
    pub(super) fn voters(&self) -> VoterCount {
        let voters = self.servers.iter().filter(|server| server.voter);
        count(
            voters.map(|server| (&server.id, server.health.alive())),
            true,
        )
    }

    /// Plans the removal of a server, as the service would if all servers were as healthy
    /// as they seem.
    pub(super) fn plan(&self, server: &ServerState) -> RemovalPlan {
        let ids = |voter, alive: &[Option<bool>]| {
            let servers = self.servers.iter().filter(|it| it.voter == voter);
            let servers = servers.filter(|it| alive.contains(&it.health.alive()));
            servers.map(|it| it.id.clone()).collect::<Vec<_>>()
        };
        RemovalPlan {
            id: server.id.clone(),
            address: server.address.clone(),
            leads: server.leader,
            version: self.reference.version,
            term: self.reference.term,
            guard: self.guard,
            healthy: ids(true, &[Some(true)]),
            unhealthy: ids(true, &[Some(false)]),
            unknown: ids(true, &[None]),
            // Consul cannot replace servers.
            replacements: match self.reference.id {
                Some(_) => ids(false, &[Some(true), None]),
                None => Vec::new(),
            },
        }
    }

    pub(super) fn title<'b>(&'b self, id: &'b ServerId) -> &'b str {
        match self.reference.get(id) {
            Some(seen) => title(&seen.server),
            None => id.as_str(),
        }
    }
}

impl Health {
    fn alive(self) -> Option<bool> {
        match self {
            Health::Healthy => Some(true),
            Health::Failed => Some(false),
            Health::Unknown => None,
        }
    }
}

/// Returns the servers that lead in their own view, the one in the latest term first. A
/// view whose server is not known counts for the leader that it shows. Without any, the
/// leader that most servers follow.
fn leaders(views: &[&ServerView]) -> Vec<ServerId> {
    let claims = |view: &&ServerView| view.leads() || view.id.is_none();
    let mut claimed: Vec<(u64, &ServerId)> = Vec::new();
    for view in views.iter().filter(|view| claims(view)) {
        if let Some(leader) = &view.leader
            && !claimed.iter().any(|(_, known)| *known == leader)
        {
            claimed.push((view.term, leader));
        }
    }
    claimed.sort_by_key(|(term, _)| std::cmp::Reverse(*term));
    if !claimed.is_empty() {
        return claimed.into_iter().map(|(_, id)| id.clone()).collect();
    }
    let mut followed: BTreeMap<&ServerId, usize> = BTreeMap::new();
    for leader in views.iter().filter_map(|view| view.leader.as_ref()) {
        *followed.entry(leader).or_default() += 1;
    }
    let most = followed.into_iter().max_by_key(|(_, followers)| *followers);
    // A minority may follow a leader that has died.
    let needed = views.first().map_or(1, |view| {
        let voters = view.servers.iter().filter(|seen| seen.server.is_voter());
        Proof::Majority.needed(voters.count()).saturating_sub(1)
    });
    let most = most.filter(|(_, followers)| *followers >= needed.max(1));
    most.map(|(id, _)| id.clone()).into_iter().collect()
}

/// Returns the view of the leader, else the one with the latest configuration.
fn reference<'a>(views: &[&'a ServerView], leaders: &[ServerId]) -> Option<&'a ServerView> {
    let leads = |view: &&&ServerView| view.leads() && view.leader.as_ref() == leaders.first();
    let leading = views.iter().find(leads);
    let latest = || views.iter().max_by_key(|view| (view.version, view.term));
    leading.or_else(latest).copied()
}

/// Orders positions as Raft compares logs.
pub(super) fn order(position: &LogPosition) -> (u64, u64) {
    (position.term, position.index)
}
