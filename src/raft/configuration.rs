//! The Raft configuration as it is shown to operators.

use std::iter;

use serde::{Deserialize, Serialize};

use super::{RaftMember, RaftView, ServerStatus};
use crate::types::{LogPosition, NodeName, ProtocolVersion, ServerAddress, ServerId, Suffrage};

/// The Raft configuration as it is shown to operators.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RaftConfiguration {
    /// The servers, in the order of the configuration.
    pub servers: Vec<RaftServer>,
    /// The log index of the latest configuration, committed or not.
    pub index: u64,
    /// The last log entry of the server that answered a stale read, if it knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_log: Option<LogPosition>,
}

impl RaftConfiguration {
    /// Creates the configuration of these servers.
    pub fn new(servers: impl IntoIterator<Item = RaftServer>, index: u64) -> Self {
        RaftConfiguration {
            servers: servers.into_iter().collect(),
            index,
            last_log: None,
        }
    }

    /// Sets the last log entry of the server that answered a stale read.
    #[must_use]
    pub fn with_last_log(mut self, position: LogPosition) -> Self {
        self.last_log = Some(position);
        self
    }
}

/// Shows the last index of all servers, or of none if that of one is unknown: clients take a
/// missing one for 0, which looks far behind the others.
impl From<RaftView> for RaftConfiguration {
    fn from(mut view: RaftView) -> Self {
        let is_known =
            |status: Option<&ServerStatus>| status.is_some_and(|it| it.last_log.is_some());
        let all_known = view.servers().all(|(_, status)| is_known(status));
        let status = std::mem::take(&mut view.status);
        let status = status
            .into_iter()
            .chain(iter::repeat_with(Default::default));
        let leader = view.leader();
        let server = |(member, status): (&RaftMember, ServerStatus)| RaftServer {
            id: member.id.clone(),
            name: status.name,
            address: member.address.clone(),
            leader: leader == Some(&member.id),
            suffrage: member.suffrage,
            protocol_version: status.protocol_version,
            last_index: status
                .last_log
                .filter(|_| all_known)
                .map(|position| position.index),
            alive: status.alive,
        };
        let servers = view.membership.servers.iter().zip(status).map(server);
        RaftConfiguration::new(servers, view.version.index)
    }
}

/// One server of a Raft configuration.
///
/// ```
/// use cluster_operator::raft::{RaftServer, Suffrage};
///
/// let server = RaftServer::voter("127.0.0.1:8300", "127.0.0.1:8300").with_name("alice");
/// assert_eq!(server.suffrage, Suffrage::Voter);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RaftServer {
    /// The server's id.
    pub id: ServerId,
    /// Its node name in gossip, if known.
    pub name: Option<NodeName>,
    /// Its Raft address.
    pub address: ServerAddress,
    /// True if it is the leader in the view of the server that answers.
    pub leader: bool,
    /// Its right to vote.
    pub suffrage: Suffrage,
    /// The Raft protocol version that it speaks, if known.
    pub protocol_version: Option<ProtocolVersion>,
    /// The index of the last log entry that it is known to hold. A server shows it for all
    /// servers or for none.
    pub last_index: Option<u64>,
    /// True if it is alive, if known. Consul's HTTP API does not show it.
    pub alive: Option<bool>,
}

impl RaftServer {
    /// Creates a voter with nothing else known about it.
    pub fn voter(id: impl Into<ServerId>, address: impl Into<ServerAddress>) -> Self {
        RaftServer {
            id: id.into(),
            name: None,
            address: address.into(),
            leader: false,
            suffrage: Suffrage::Voter,
            protocol_version: None,
            last_index: None,
            alive: None,
        }
    }

    /// Creates a non-voter with nothing else known about it.
    pub fn nonvoter(id: impl Into<ServerId>, address: impl Into<ServerAddress>) -> Self {
        RaftServer::voter(id, address).with_suffrage(Suffrage::Nonvoter)
    }

    /// Sets the right to vote.
    #[must_use]
    pub fn with_suffrage(mut self, suffrage: Suffrage) -> Self {
        self.suffrage = suffrage;
        self
    }

    /// Sets the name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<NodeName>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets whether it is the leader.
    #[must_use]
    pub fn with_leader(mut self, leader: bool) -> Self {
        self.leader = leader;
        self
    }

    /// Sets the protocol version.
    #[must_use]
    pub fn with_protocol_version(mut self, version: impl Into<ProtocolVersion>) -> Self {
        self.protocol_version = Some(version.into());
        self
    }

    /// Sets the index of its last log entry.
    #[must_use]
    pub fn with_last_index(mut self, index: u64) -> Self {
        self.last_index = Some(index);
        self
    }

    /// Sets whether it is alive.
    #[must_use]
    pub fn with_alive(mut self, alive: bool) -> Self {
        self.alive = Some(alive);
        self
    }

    /// Returns true if it is a voter.
    pub fn is_voter(&self) -> bool {
        self.suffrage == Suffrage::Voter
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::raft::Membership;

    #[test]
    fn last_index_is_shown_for_all_servers_or_none() {
        let servers = ["a", "b"].map(|id| RaftMember::voter(id, id));
        let mut view = RaftView::new("a", Arc::new(Membership::new(servers)));
        let shown = |view: &RaftView| {
            let servers = RaftConfiguration::from(view.clone()).servers;
            let indexes = servers.iter().map(|server| server.last_index);
            indexes.collect::<Vec<_>>()
        };
        let at = |index| ServerStatus::unknown().with_last_log(LogPosition { term: 1, index });
        view.status = vec![at(7), at(0)];
        assert_eq!(shown(&view), [Some(7), Some(0)]);
        view.status[1].last_log = None;
        assert_eq!(shown(&view), [None, None]);
        view.status.truncate(1);
        assert_eq!(shown(&view), [None, None]);
    }
}
