//! One server's view of its Raft cluster, and the changes that are bound to it.

use std::sync::Arc;
use std::time::Duration;

use crate::types::{
    ConfigVersion, LeaderHint, LogPosition, NodeName, PeerSelector, ProtocolVersion, ServerAddress,
    ServerId, Suffrage,
};

/// Who leads, in the view of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// This server leads.
    Local,
    /// Another server leads.
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
    /// The latest configuration is a joint one and committed: the entry that ends
    /// it is missing.
    Joint,
}

/// The servers of a Raft configuration, in its order.
///
/// A backend builds it once for each configuration and shares it in every view.
///
/// ```
/// use cluster_operator::{Membership, RaftMember};
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
    /// The servers, in the order in which the configuration holds them.
    pub servers: Vec<RaftMember>,
}

/// One server of a [`Membership`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftMember {
    /// The server's id.
    pub id: ServerId,
    /// The address at which Raft reaches it.
    pub address: ServerAddress,
    /// Its right to vote.
    pub suffrage: Suffrage,
}

impl RaftMember {
    /// A server that votes.
    pub fn voter(id: impl Into<ServerId>, address: impl Into<ServerAddress>) -> Self {
        RaftMember {
            id: id.into(),
            address: address.into(),
            suffrage: Suffrage::Voter,
        }
    }

    /// A server that does not vote.
    pub fn nonvoter(id: impl Into<ServerId>, address: impl Into<ServerAddress>) -> Self {
        RaftMember {
            suffrage: Suffrage::Nonvoter,
            ..RaftMember::voter(id, address)
        }
    }

    /// Whether it votes.
    pub fn is_voter(&self) -> bool {
        self.suffrage == Suffrage::Voter
    }

    /// Whether the selector names this server.
    pub fn is_named_by(&self, selector: &PeerSelector) -> bool {
        match selector {
            PeerSelector::Id(id) => self.id == *id,
            PeerSelector::Address(address) => self.address == *address,
        }
    }
}

impl Membership {
    /// A configuration of these servers.
    pub fn new(servers: impl IntoIterator<Item = RaftMember>) -> Self {
        Membership {
            servers: servers.into_iter().collect(),
        }
    }

    /// The server with this id.
    pub fn get(&self, id: &ServerId) -> Option<&RaftMember> {
        self.servers.iter().find(|server| server.id == *id)
    }

    /// The servers that vote.
    pub fn voters(&self) -> impl Iterator<Item = &RaftMember> {
        self.servers.iter().filter(|server| server.is_voter())
    }
}

/// What is known of one server beside its place in the configuration. Nothing has
/// to be known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// The name under which gossip knows it.
    pub name: Option<NodeName>,
    /// The Raft protocol version that it speaks.
    pub protocol_version: Option<ProtocolVersion>,
    /// The last log entry that it is known to hold.
    pub last_log: Option<LogPosition>,
    /// How long ago it last answered, which is also the age of `last_log`. Zero
    /// for the server that has the view.
    pub last_contact: Option<Duration>,
    /// Whether it is up. The quorum guard counts a server of which this is not
    /// known as up.
    pub alive: Option<bool>,
}

impl ServerStatus {
    /// Nothing is known.
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

    /// Sets the last log entry that it holds.
    #[must_use]
    pub fn with_last_log(mut self, position: LogPosition) -> Self {
        self.last_log = Some(position);
        self
    }

    /// Sets how long ago it last answered.
    #[must_use]
    pub fn with_last_contact(mut self, ago: Duration) -> Self {
        self.last_contact = Some(ago);
        self
    }

    /// Says whether it is up.
    #[must_use]
    pub fn with_alive(mut self, alive: bool) -> Self {
        self.alive = Some(alive);
        self
    }
}

/// One server's own view of its cluster, taken at one moment.
///
/// Of a Raft that has not started, or that belongs to no cluster yet, it is what
/// [`RaftView::new`] makes of an empty membership.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RaftView {
    /// The server that has this view.
    pub id: ServerId,
    /// Who leads.
    pub leadership: Leadership,
    /// The term that the server is in.
    pub term: u64,
    /// How long this server has led, if it does and knows it.
    pub leading_for: Option<Duration>,
    /// The version of the latest configuration, committed or not.
    pub version: ConfigVersion,
    /// What is unfinished about the latest configuration.
    pub change: Option<PendingChange>,
    /// The latest configuration, committed or not.
    pub membership: Arc<Membership>,
    /// What is known of the servers, in the order of `membership`. Entries that
    /// are missing at the end count as unknown.
    pub status: Vec<ServerStatus>,
}

impl RaftView {
    /// The view of a server that knows of no leader: term 0, version 0-0, and no
    /// change pending. Set the fields that are known.
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

    /// The leader's id, if a leader is known.
    pub fn leader(&self) -> Option<&ServerId> {
        match &self.leadership {
            Leadership::Local => Some(&self.id),
            Leadership::Remote(hint) => Some(&hint.id),
            Leadership::Unknown => None,
        }
    }

    /// The servers, each with its status if there is one.
    pub fn servers(&self) -> impl Iterator<Item = (&RaftMember, Option<&ServerStatus>)> {
        let status = self.status.iter().map(Some).chain(std::iter::repeat(None));
        self.membership.servers.iter().zip(status)
    }
}

/// What a backend has to prove before it appends a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Proof {
    /// A majority of the voters that stay holds an entry that was written after
    /// the request arrived.
    #[default]
    Majority,
    /// One voter more than a majority of those that stay does, so that the cluster
    /// survives one more death at any moment of the change.
    Margin,
}

impl Proof {
    /// How many of so many voters that stay have to hold the entry.
    ///
    /// ```
    /// use cluster_operator::Proof;
    ///
    /// assert_eq!(Proof::Majority.needed(4), 3);
    /// assert_eq!(Proof::Margin.needed(4), 4);
    /// // Two voters cannot have the margin.
    /// assert_eq!(Proof::Margin.needed(2), 3);
    /// ```
    pub fn needed(self, stayers: usize) -> usize {
        let majority = stayers / 2 + 1;
        match self {
            Proof::Majority => majority,
            Proof::Margin => majority + 1,
        }
    }
}

/// A removal of one server, bound to the view that it was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removal {
    /// The server to remove.
    pub id: ServerId,
    /// The leader's term in that view.
    pub term: u64,
    /// The configuration's version in that view.
    pub version: ConfigVersion,
    /// What has to be proven before the change is appended.
    pub proof: Proof,
    /// How long the whole call may take.
    pub timeout: Duration,
}

impl Removal {
    /// The removal of a server from the cluster as this view shows it, with the
    /// proof of a majority.
    pub fn new(id: impl Into<ServerId>, view: &RaftView, timeout: Duration) -> Self {
        Removal {
            id: id.into(),
            term: view.term,
            version: view.version,
            proof: Proof::default(),
            timeout,
        }
    }

    /// Asks for another proof.
    #[must_use]
    pub fn with_proof(mut self, proof: Proof) -> Self {
        self.proof = proof;
        self
    }
}
