//! A cluster as its leader sees it, second by second.

use std::time::Duration;

use cluster_operator::autopilot::{
    Action, AutopilotConfiguration, Decision, Detected, Detection, Memory, Reason, Settings,
    Snapshot, decide,
};
#[cfg(feature = "mock")]
use cluster_operator::mock::MockRaft;
#[cfg(feature = "mock")]
use cluster_operator::raft::RaftServer;
use cluster_operator::raft::{
    Leadership, LogPosition, Membership, PendingChange, RaftMember, RaftView, ServerStatus,
    Suffrage,
};

/// What the leader sees of one server.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) suffrage: Suffrage,
    /// The second of its last answer to the leader; `None` while it answers.
    pub(crate) silent_since: Option<u64>,
    pub(crate) detected: Option<(Detected, u64)>,
    pub(crate) log: Option<LogPosition>,
}

/// The cluster, its autopilot, and the clock.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) second: u64,
    pub(crate) term: u64,
    pub(crate) leads: bool,
    pub(crate) elected: u64,
    pub(crate) change: Option<PendingChange>,
    pub(crate) can_replace: bool,
    pub(crate) can_promote: bool,
    pub(crate) servers: Vec<Seen>,
    pub(crate) settings: Settings,
    pub(crate) memory: Memory,
}

pub(crate) const HOLD: u64 = 180;
pub(crate) const PAUSE: u64 = 10;

/// A simulated cluster that the first of these voters leads, with spares.
#[cfg(feature = "mock")]
pub(crate) fn raft(voters: &str, spares: &str) -> MockRaft {
    let server = |name: char| {
        let name = name.to_string();
        RaftServer::voter(name.as_str(), name.as_str())
            .with_name(name.as_str())
            .with_alive(true)
            .with_last_index(0)
    };
    let spare = |name| server(name).with_suffrage(Suffrage::Nonvoter);
    MockRaft::new(voters.chars().map(server).chain(spares.chars().map(spare)))
}

/// The settings of a cluster that is meant to have this many voters.
pub(crate) fn settings(intended: usize, min_quorum: u64) -> Settings {
    let configuration = AutopilotConfiguration {
        min_quorum,
        ..AutopilotConfiguration::default()
    };
    let settings = Settings::new(intended, configuration);
    settings.expect("the settings are valid").acting()
}

const LOG: LogPosition = LogPosition {
    term: 2,
    index: 900,
};

impl World {
    /// Healthy voters of these names, of which the first one leads, at second 1000, after
    /// a decision at second 900.
    pub(crate) fn new(voters: &str) -> Self {
        let settings = settings(voters.len(), 0);
        let mut world = World {
            second: 900,
            term: 2,
            leads: true,
            elected: 100,
            change: None,
            can_replace: true,
            can_promote: true,
            servers: Vec::new(),
            settings,
            memory: Memory::default(),
        };
        for name in voters.chars() {
            world.join(&name.to_string(), Suffrage::Voter);
        }
        assert_eq!(world.tick(), None);
        world.second = 1000;
        world
    }

    pub(crate) fn join(&mut self, id: &str, suffrage: Suffrage) {
        self.servers.push(Seen {
            id: id.into(),
            suffrage,
            silent_since: None,
            detected: Some((Detected::Alive, self.second)),
            log: Some(LOG),
        });
    }

    pub(crate) fn server(&mut self, id: &str) -> &mut Seen {
        let mut servers = self.servers.iter_mut();
        let server = servers.find(|server| server.id == id);
        server.expect("the server exists")
    }

    pub(crate) fn kill(&mut self, ids: &str) {
        self.gone(ids, Detected::Failed);
    }

    pub(crate) fn gone(&mut self, ids: &str, status: Detected) {
        let second = self.second;
        for id in ids.chars() {
            let server = self.server(&id.to_string());
            server.silent_since = Some(second - 1);
            server.detected = Some((status, second));
        }
    }

    pub(crate) fn revive(&mut self, id: &str) {
        let second = self.second;
        let server = self.server(id);
        server.silent_since = None;
        server.detected = Some((Detected::Alive, second));
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let seconds = |since: u64| Duration::from_secs(self.second.saturating_sub(since));
        let members = self.servers.iter().map(|server| {
            let mut member = RaftMember::voter(server.id.as_str(), server.id.as_str());
            member.suffrage = server.suffrage;
            member
        });
        let leader = self.servers[0].id.as_str();
        let mut view = RaftView::new(leader, Membership::new(members).into());
        view.leadership = if self.leads {
            Leadership::Local
        } else {
            Leadership::Unknown
        };
        view.term = self.term;
        view.leading_for = Some(seconds(self.elected));
        view.change = self.change;
        let status = self.servers.iter().map(|server| {
            let mut status = ServerStatus::unknown();
            status.last_contact = Some(server.silent_since.map_or(Duration::ZERO, seconds));
            status.last_log = server.log;
            status
        });
        view.status = status.collect();
        let mut snapshot = Snapshot::new(Duration::from_secs(self.second), view);
        snapshot.can_replace = self.can_replace;
        snapshot.can_promote = self.can_promote;
        for server in &self.servers {
            if let Some((status, since)) = server.detected {
                let lasted = seconds(since);
                let detection = Detection { status, lasted };
                snapshot
                    .detected
                    .insert(server.id.as_str().into(), detection);
            }
        }
        snapshot
    }

    pub(crate) fn decide(&mut self) -> Decision {
        let memory = std::mem::take(&mut self.memory);
        let decision = decide(&self.snapshot(), &self.settings, memory);
        self.memory = decision.memory.clone();
        decision
    }

    /// Decides, and executes what is decided.
    pub(crate) fn tick(&mut self) -> Option<String> {
        let action = self.decide().action?;
        if !self.settings.is_dry_run() {
            self.execute(&action);
        }
        Some(action.to_string())
    }

    pub(crate) fn execute(&mut self, action: &Action) {
        match action {
            Action::Replace { with, .. } => {
                self.server(with.as_ref()).suffrage = Suffrage::Voter;
            }
            Action::Promote { id, .. } => self.server(id.as_ref()).suffrage = Suffrage::Voter,
            _ => {}
        }
        if action.removes() {
            self.servers
                .retain(|server| *action.id() != *server.id.as_str());
        }
    }

    /// Decides every ten seconds from now on, and returns what was done, and when. Ends ten
    /// seconds after the last decision.
    pub(crate) fn run(&mut self, seconds: u64) -> Vec<(u64, String)> {
        let mut done = Vec::new();
        for _ in 0..=seconds / 10 {
            done.extend(self.tick().map(|action| (self.second, action)));
            self.second += 10;
        }
        done
    }

    /// The rules that block now: those of all servers, or of the whole cluster (``).
    pub(crate) fn blocks(&mut self) -> Vec<(String, Reason)> {
        let refusals = self.decide().refusals.into_iter();
        let named = refusals.map(|refusal| {
            let server = refusal.server.map(|id| id.to_string());
            (server.unwrap_or_default(), refusal.reason)
        });
        named.collect()
    }

    /// The names of the rules that block now.
    pub(crate) fn rules(&mut self) -> Vec<(String, &'static str)> {
        let blocks = self.blocks().into_iter();
        blocks
            .map(|(server, reason)| (server, reason.rule()))
            .collect()
    }
}
