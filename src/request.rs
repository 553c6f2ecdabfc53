//! What can be asked of the service.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::acl::{Access, Resource, Token};
use crate::autopilot::AutopilotConfiguration;
use crate::error::Outcome;
use crate::keyring::{GossipKey, InvalidKey, RelayFactor};
use crate::name::{DatacenterName, ServerId};
use crate::raft::{Consistency, PeerSelector};

/// An operation, by whom, and where.
///
/// It serializes for a server's own RPC, token and keys included: that channel
/// has to be as private as the one that the request came by.
///
/// ```
/// use cluster_operator::{Consistency, Operation, OperatorRequest, Token};
///
/// let request = OperatorRequest::new(Operation::RaftConfiguration(Consistency::Stale))
///     .with_token(Token::new("b852fbe7"))
///     .in_datacenter("dc2");
/// let json = serde_json::to_string(&request)?;
/// assert_eq!(serde_json::from_str::<OperatorRequest>(&json)?, request);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperatorRequest {
    /// What is to be done.
    pub operation: Operation,
    /// In which datacenter; `None` for the one that is asked. Keyring
    /// operations concern all datacenters and ignore it.
    pub datacenter: Option<DatacenterName>,
    /// The token to authorize it with; `None` for the anonymous one.
    #[serde(with = "crate::acl::token::exposed", default)]
    pub token: Option<Token>,
    /// How many servers have handed it on.
    pub forwards: u8,
    /// Whether it was handed to this server because that is said to lead. Such a
    /// server does not wait for a leader: whoever handed it on does, and asks
    /// again.
    #[serde(default)]
    pub to_leader: bool,
    /// How long the server that handed it on waits. Keyring operations answer
    /// with what they have shortly before.
    pub patience: Option<Duration>,
}

impl OperatorRequest {
    /// The operation in the datacenter that is asked, without a token.
    pub fn new(operation: Operation) -> Self {
        OperatorRequest {
            operation,
            datacenter: None,
            token: None,
            forwards: 0,
            to_leader: false,
            patience: None,
        }
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// The same in a datacenter.
    #[must_use]
    pub fn in_datacenter(mut self, datacenter: impl Into<DatacenterName>) -> Self {
        self.datacenter = Some(datacenter.into());
        self
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Operation {
    /// Read the Raft configuration.
    RaftConfiguration(Consistency),
    /// Remove a server from the Raft configuration.
    RemovePeer {
        /// Which one.
        server: PeerSelector,
        /// Only if the configuration is at this index.
        expected_index: Option<u64>,
    },
    /// Hand the lead to another voter.
    TransferLeadership {
        /// To which one; `None` for the best suited.
        to: Option<ServerId>,
    },
    /// Ask the gossip rings.
    Keyring {
        /// What of them.
        action: KeyringAction,
        /// Which ones.
        scope: KeyringScope,
        /// How often each answer is sent.
        relay_factor: RelayFactor,
    },
    /// Read autopilot's rules.
    AutopilotConfiguration(Consistency),
    /// Replace autopilot's rules.
    SetAutopilotConfiguration {
        /// The new ones; their indexes are ignored.
        configuration: AutopilotConfiguration,
        /// Only if the old ones were last changed at this index.
        expected_index: Option<u64>,
    },
    /// Read autopilot's view of the servers.
    AutopilotState(Consistency),
}

impl Operation {
    /// What a token has to allow for it.
    pub fn permission(&self) -> (Resource, Access) {
        match self {
            Operation::RaftConfiguration(_)
            | Operation::AutopilotConfiguration(_)
            | Operation::AutopilotState(_) => (Resource::Operator, Access::Read),
            Operation::RemovePeer { .. }
            | Operation::TransferLeadership { .. }
            | Operation::SetAutopilotConfiguration { .. } => (Resource::Operator, Access::Write),
            Operation::Keyring { action, .. } => (
                Resource::Keyring,
                match action {
                    KeyringAction::List => Access::Read,
                    _ => Access::Write,
                },
            ),
        }
    }

    /// The outcome where it was sent and not answered.
    pub(crate) fn unanswered(&self) -> Outcome {
        match self.permission().1 {
            Access::Read => Outcome::NotApplied,
            Access::Write => Outcome::Unknown,
        }
    }
}

/// What is asked of the rings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyringAction {
    /// Which keys there are.
    List,
    /// To add a key.
    Install(#[serde(with = "crate::keyring::exposed")] GossipKey),
    /// To make a key the primary.
    Use(#[serde(with = "crate::keyring::exposed")] GossipKey),
    /// To remove a key.
    Remove(#[serde(with = "crate::keyring::exposed")] GossipKey),
    /// Nothing: what was given is no key. No ring is changed; each reports what
    /// its nodes would have answered, because a client written against Consul
    /// expects to see that.
    Rehearse {
        /// What was to be done with it.
        write: KeyringWrite,
        /// Why it is no key.
        fault: KeyFault,
    },
}

/// A change to a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyringWrite {
    /// Add a key.
    Install,
    /// Make a key the primary.
    Use,
    /// Remove a key.
    Remove,
}

/// Why what was given cannot go to a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum KeyFault {
    /// It is no key.
    #[error(transparent)]
    Invalid(#[from] InvalidKey),
    /// It is too long for a gossip query.
    #[error("query exceeds limit of {limit} bytes")]
    TooLong {
        /// The longest query in bytes.
        limit: usize,
    },
}

/// Which rings are asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyringScope {
    /// Those of this datacenter, the WAN's among them, and the other
    /// datacenters' own.
    #[default]
    Federation,
    /// This datacenter's own, without the WAN's.
    LocalOnly,
    /// This datacenter's own, asked for by another one.
    Remote,
}
