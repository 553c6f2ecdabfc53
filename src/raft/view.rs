//! A server's view of its Raft cluster.

use std::sync::Arc;
use std::time::Duration;

use crate::types::{
    ConfigVersion, LeaderHint, LogPosition, NodeName, PeerSelector, ProtocolVersion, ServerAddress,
    ServerId, Suffrage,
};

/// The leader in the view of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// This server is the leader.
    Local,
    /// Another server is the leader.
    Remote(LeaderHint),
    /// No leader is known.
    Unknown,
}

/// A configuration change that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PendingChange {
    /// The latest configuration is not known to be committed.
    Uncommitted,
    /// The latest configuration is a committed joint configuration: the entry that
    /// ends it is missing.
    Joint,
}

/// The servers of a Raft configuration.
///
/// A backend builds it once for each configuration and shares it among views.
///
/// ```
/// use cluster_operator::raft::{Membership, RaftMember};
///
/// let membership = Membership::new([
///     RaftMember::voter("1", "10.0.0.1:8300"),
///     RaftMember::nonvoter("2", "10.0.0.2:8300"),
/// ]);
/// assert_eq!(membership.voters().count(), 1);
/// assert!(membership.get(&"2".into()).is_some());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// The servers, in the order of the configuration.
    pub servers: Vec<RaftMember>,
}

/// One server of a [`Membership`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftMember {
    /// The server's id.
    pub id: ServerId,
    /// Its Raft address.
    pub address: ServerAddress,
    /// Its right to vote.
    pub suffrage: Suffrage,
}

impl RaftMember {
    /// Creates a voter.
    pub fn voter(id: impl Into<ServerId>, address: impl Into<ServerAddress>) -> Self {
        RaftMember {
            id: id.into(),
            address: address.into(),
            suffrage: Suffrage::Voter,
        }
    }

    /// Creates a non-voter.
    pub fn nonvoter(id: impl Into<ServerId>, address: impl Into<ServerAddress>) -> Self {
        RaftMember {
            suffrage: Suffrage::Nonvoter,
            ..RaftMember::voter(id, address)
        }
    }

    /// Returns true if it is a voter.
    pub fn is_voter(&self) -> bool {
        self.suffrage == Suffrage::Voter
    }

    /// Returns true if the selector names this server.
    pub fn is_named_by(&self, selector: &PeerSelector) -> bool {
        match selector {
            PeerSelector::Id(id) => self.id == *id,
            PeerSelector::Address(address) => self.address == *address,
        }
    }
}

impl Membership {
    /// Creates a configuration of these servers.
    pub fn new(servers: impl IntoIterator<Item = RaftMember>) -> Self {
        Membership {
            servers: servers.into_iter().collect(),
        }
    }

    /// Returns the server with this id.
    pub fn get(&self, id: &ServerId) -> Option<&RaftMember> {
        self.servers.iter().find(|server| server.id == *id)
    }

    /// Returns the voters.
    pub fn voters(&self) -> impl Iterator<Item = &RaftMember> {
        self.servers.iter().filter(|server| server.is_voter())
    }
}

/// The status of one server. Every part of it may be unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its node name in gossip.
    pub name: Option<NodeName>,
    /// The Raft protocol version that it speaks.
    pub protocol_version: Option<ProtocolVersion>,
    /// The last log entry that it is known to hold.
    pub last_log: Option<LogPosition>,
    /// The time since it last answered, which is also the age of `last_log`. Zero for
    /// the server that the view belongs to.
    pub last_contact: Option<Duration>,
    /// True if it is alive. The quorum guard counts a server as alive if this is
    /// unknown.
    pub alive: Option<bool>,
    /// True if it has left gossip on purpose.
    pub left: bool,
    /// The version of its software.
    pub software_version: Option<Arc<str>>,
}

impl ServerStatus {
    /// Creates a status of which nothing is known.
    pub fn unknown() -> Self {
        ServerStatus::default()
    }

    /// Sets the name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<NodeName>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the protocol version.
    #[must_use]
    pub fn with_protocol_version(mut self, version: impl Into<ProtocolVersion>) -> Self {
        self.protocol_version = Some(version.into());
        self
    }

    /// Sets the position of the last log entry.
    #[must_use]
    pub fn with_last_log(mut self, position: LogPosition) -> Self {
        self.last_log = Some(position);
        self
    }

    /// Sets the time since it last answered.
    #[must_use]
    pub fn with_last_contact(mut self, ago: Duration) -> Self {
        self.last_contact = Some(ago);
        self
    }

    /// Sets whether it is alive.
    #[must_use]
    pub fn with_alive(mut self, alive: bool) -> Self {
        self.alive = Some(alive);
        self
    }

    /// Sets whether it has left gossip on purpose.
    #[must_use]
    pub fn with_left(mut self, left: bool) -> Self {
        self.left = left;
        self
    }

    /// Sets the version of its software.
    #[must_use]
    pub fn with_software_version(mut self, version: impl Into<Arc<str>>) -> Self {
        self.software_version = Some(version.into());
        self
    }
}

/// A server's own view of its cluster at one moment.
///
/// The view of a Raft that has not started, or that does not belong to a cluster yet,
/// is [`RaftView::new`] with an empty membership.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RaftView {
    /// The server that the view belongs to.
    pub id: ServerId,
    /// The leader.
    pub leadership: Leadership,
    /// The server's current term.
    pub term: u64,
    /// The time for which this server has been the leader, if it is and that is known.
    pub leading_for: Option<Duration>,
    /// The version of the latest configuration, committed or not.
    pub version: ConfigVersion,
    /// The unfinished change of the latest configuration, if there is one.
    pub change: Option<PendingChange>,
    /// The latest configuration, committed or not.
    pub membership: Arc<Membership>,
    /// The status of the servers, in the order of `membership`. Missing entries at the
    /// end are unknown.
    pub status: Vec<ServerStatus>,
}

impl RaftView {
    /// Creates a view without a leader, with term 0, version 0-0 and no pending change.
    /// Set the fields that are known.
    pub fn new(id: impl Into<ServerId>, membership: Arc<Membership>) -> Self {
        RaftView {
            id: id.into(),
            leadership: Leadership::Unknown,
            term: 0,
            leading_for: None,
            version: ConfigVersion::default(),
            change: None,
            membership,
            status: Vec::new(),
        }
    }

    /// Returns the leader's id, if a leader is known.
    pub fn leader(&self) -> Option<&ServerId> {
        match &self.leadership {
            Leadership::Local => Some(&self.id),
            Leadership::Remote(hint) => Some(&hint.id),
            Leadership::Unknown => None,
        }
    }

    /// Returns the status of the server that the view belongs to, if there is one.
    pub fn own_status(&self) -> Option<&ServerStatus> {
        let mut servers = self.servers();
        servers.find(|(member, _)| member.id == self.id)?.1
    }

    /// Returns the servers, each with its status if there is one.
    pub fn servers(&self) -> impl Iterator<Item = (&RaftMember, Option<&ServerStatus>)> {
        let status = self.status.iter().map(Some).chain(std::iter::repeat(None));
        self.membership.servers.iter().zip(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_what_is_set() {
        let last_log = LogPosition { term: 1, index: 2 };
        let last_contact = Duration::from_secs(3);
        let status = ServerStatus::unknown()
            .with_name("alice")
            .with_protocol_version("3")
            .with_last_log(last_log)
            .with_last_contact(last_contact)
            .with_alive(false)
            .with_left(true)
            .with_software_version("1.0.0");
        assert_eq!(
            status,
            ServerStatus {
                name: Some("alice".into()),
                protocol_version: Some("3".into()),
                last_log: Some(last_log),
                last_contact: Some(last_contact),
                alive: Some(false),
                left: true,
                software_version: Some("1.0.0".into()),
            }
        );
    }
}
