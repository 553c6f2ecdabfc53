//! A server's own view of its Raft, as servers send it to each other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::autopilot::AutopilotReport;
use crate::error::OperatorError;
use crate::raft::{ConfigVersion, LogPosition, RaftConfiguration, RaftServer, RaftView};
use crate::types::{ServerAddress, ServerId, cut_name};

/// The largest number of servers that is accepted from another server.
const SERVERS: usize = 256;

/// A server's own view of its Raft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerView {
    /// The server; `None` if it does not tell, as over Consul's HTTP API.
    pub id: Option<ServerId>,
    /// The leader that it follows, which may be itself.
    pub leader: Option<ServerId>,
    /// The term.
    pub term: u64,
    /// The version of the latest configuration that it knows.
    pub version: ConfigVersion,
    /// True if a change of the configuration is not finished.
    pub unfinished_change: bool,
    /// The servers of that configuration.
    pub servers: Vec<SeenServer>,
    /// What its autopilot reports, while it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autopilot: Option<AutopilotReport>,
}

/// A server of the Raft configuration, as another server or itself sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SeenServer {
    /// The server.
    pub server: RaftServer,
    /// The last entry of its log that is known.
    pub last_log: Option<LogPosition>,
    /// The time since the last contact with it.
    pub last_contact: Option<Duration>,
}

/// A server that was asked for its view, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AskedServer {
    /// The server's id, if it was known before.
    pub id: Option<ServerId>,
    /// The address at which it was asked.
    pub address: ServerAddress,
    /// Its own view, or why it has none.
    pub view: Result<ServerView, OperatorError>,
}

impl From<RaftView> for ServerView {
    fn from(view: RaftView) -> Self {
        let (id, leader) = (view.id.clone(), view.leader().cloned());
        let (term, version) = (view.term, view.version);
        let unfinished_change = view.change.is_some();
        let status = view.status.clone().into_iter();
        let status = status.chain(std::iter::repeat_with(Default::default));
        let servers = RaftConfiguration::from(view).servers.into_iter();
        let servers = servers.zip(status).map(|(server, status)| SeenServer {
            server,
            last_log: status.last_log,
            last_contact: status.last_contact,
        });
        ServerView {
            id: Some(id),
            leader,
            term,
            version,
            unfinished_change,
            servers: servers.collect(),
            autopilot: None,
        }
    }
}

/// What Consul's HTTP API shows of a server's view.
impl From<RaftConfiguration> for ServerView {
    fn from(configuration: RaftConfiguration) -> Self {
        let index = configuration.index;
        let servers = configuration.servers;
        let leader = servers.iter().find(|server| server.leader);
        let leader = leader.map(|server| server.id.clone());
        let seen = servers.into_iter().map(|server| SeenServer {
            server,
            last_log: None,
            last_contact: None,
        });
        ServerView {
            id: None,
            leader,
            term: 0,
            version: ConfigVersion { term: 0, index },
            unfinished_change: false,
            servers: seen.collect(),
            autopilot: None,
        }
    }
}

impl ServerView {
    /// Returns what this view shows of a server.
    pub(super) fn get(&self, id: &ServerId) -> Option<&SeenServer> {
        self.servers.iter().find(|seen| seen.server.id == *id)
    }

    /// Returns true if the server leads in its own view.
    pub(super) fn leads(&self) -> bool {
        self.id.is_some() && self.id == self.leader
    }

    /// Limits the size of the view of another server.
    pub(crate) fn bounded(mut self) -> Self {
        self.id = self.id.map(cut_name);
        self.leader = self.leader.map(cut_name);
        self.servers.truncate(SERVERS);
        for SeenServer { server, .. } in &mut self.servers {
            server.id = cut_name(server.id.clone());
            server.address = cut_name(server.address.clone());
            server.name = server.name.take().map(cut_name);
            server.protocol_version = server.protocol_version.take().map(cut_name);
        }
        self.autopilot = self.autopilot.map(|report| report.bounded(SERVERS));
        self
    }
}

impl AskedServer {
    /// Creates a server's answer.
    pub(crate) fn new(
        id: Option<ServerId>,
        address: ServerAddress,
        view: Result<ServerView, OperatorError>,
    ) -> Self {
        AskedServer { id, address, view }
    }

    /// Limits the size of what another server reports of the servers that it asked.
    pub(crate) fn bounded(mut asked: Vec<Self>) -> Vec<Self> {
        asked.truncate(SERVERS);
        let asked = asked.into_iter().map(|asked| AskedServer {
            id: asked.id.map(cut_name),
            address: cut_name(asked.address),
            view: match asked.view {
                Ok(view) => Ok(view.bounded()),
                Err(error) => Err(error.bounded()),
            },
        });
        asked.collect()
    }
}

/// The name of a server in a sentence: its node name if it is known.
pub(super) fn title(seen: &RaftServer) -> &str {
    match &seen.name {
        Some(name) => name.as_str(),
        None => seen.id.as_str(),
    }
}
