//! The operations of the service, their requests and replies.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::acl::{Access, Resource, Token};
use crate::autopilot::{AutopilotConfiguration, AutopilotState};
use crate::error::Outcome;
use crate::keyring::{GossipKey, RelayFactor};
use crate::raft::{Consistency, PeerSelector, RaftConfiguration};
use crate::types::{DatacenterName, ServerId};

pub use crate::error::{KeyringReply, RingOutcome};

/// An operation, who asks for it, and where.
///
/// ```
/// use cluster_operator::{Consistency, Operation, OperatorRequest, Token};
///
/// let request = OperatorRequest::new(Operation::RaftConfiguration(Consistency::Stale))
///     .with_token(Token::new("b852fbe7"))
///     .in_datacenter("dc2");
/// assert_eq!(request.datacenter.unwrap(), "dc2");
/// ```
///
/// It serializes with its token and keys in clear: the channel has to be as private
/// as the one that the request came by. Between servers an
/// [`Envelope`](crate::Envelope) carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperatorRequest {
    /// The operation.
    pub operation: Operation,
    /// The datacenter; `None` for that of the server that is asked. Keyring
    /// operations concern all datacenters and ignore it.
    #[serde(default)]
    pub datacenter: Option<DatacenterName>,
    /// The token to authorize it with; `None` for the anonymous one.
    #[serde(with = "crate::acl::token::exposed", default)]
    pub token: Option<Token>,
    /// Names the request in logs and audits of all servers that it passes. The
    /// service makes one if it forwards a request without.
    #[serde(default)]
    pub request_id: Option<RequestId>,
}

impl OperatorRequest {
    /// The operation in the datacenter of the server that is asked, without a
    /// token.
    pub fn new(operation: Operation) -> Self {
        OperatorRequest {
            operation,
            datacenter: None,
            token: None,
            request_id: None,
        }
    }

    /// Sets the token.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Sets the datacenter.
    #[must_use]
    pub fn in_datacenter(mut self, datacenter: impl Into<DatacenterName>) -> Self {
        self.datacenter = Some(datacenter.into());
        self
    }

    /// Sets the request id.
    #[must_use]
    pub fn with_request_id(mut self, id: RequestId) -> Self {
        self.request_id = Some(id);
        self
    }
}

/// Names one request across all servers that it passes: 1 to 128 letters, digits
/// and `-`, `_`, `.`, `:`.
///
/// ```
/// use cluster_operator::RequestId;
///
/// let id: RequestId = "7f3a-01".parse()?;
/// assert_eq!(id.as_str(), "7f3a-01");
/// assert!("two words".parse::<RequestId>().is_err());
/// # Ok::<(), cluster_operator::InvalidRequestId>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(Arc<str>);

/// A text that is not a [`RequestId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request id has 1 to 128 letters, digits and - _ . :")]
pub struct InvalidRequestId;

impl RequestId {
    /// A new id, which no other request has: 32 hexadecimal digits from the seed
    /// that the standard library takes from the operating system for its hash maps.
    pub fn generate() -> Self {
        let half = || RandomState::new().hash_one(0);
        RequestId(format!("{:016x}{:016x}", half(), half()).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, InvalidRequestId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if matches!(text.len(), 1..=128) && text.bytes().all(allowed) {
            Ok(RequestId(text.into()))
        } else {
            Err(InvalidRequestId)
        }
    }
}

impl TryFrom<String> for RequestId {
    type Error = InvalidRequestId;

    fn try_from(text: String) -> Result<Self, InvalidRequestId> {
        text.parse()
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> String {
        id.as_str().to_owned()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

/// The answer to an [`Operation`](crate::Operation), one for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OperatorReply {
    /// The Raft configuration.
    RaftConfiguration(RaftConfiguration),
    /// The server is no longer in the Raft configuration.
    PeerRemoved,
    /// The server that was named leads, or another one if none was.
    LeadershipTransferred,
    /// What the rings answered.
    Keyring(KeyringReply),
    /// Autopilot's rules.
    AutopilotConfiguration(AutopilotConfiguration),
    /// Whether autopilot's rules were replaced.
    AutopilotConfigurationSet(bool),
    /// Autopilot's view of the servers.
    AutopilotState(AutopilotState),
}

impl OperatorReply {
    /// Whether this is an answer to the operation at all.
    pub(crate) fn answers(&self, operation: &Operation) -> bool {
        use OperatorReply as Reply;
        matches!(
            (operation, self),
            (Operation::RaftConfiguration(_), Reply::RaftConfiguration(_))
                | (Operation::RemovePeer { .. }, Reply::PeerRemoved)
                | (
                    Operation::TransferLeadership { .. },
                    Reply::LeadershipTransferred
                )
                | (Operation::Keyring { .. }, Reply::Keyring(_))
                | (
                    Operation::AutopilotConfiguration(_),
                    Reply::AutopilotConfiguration(_)
                )
                | (
                    Operation::SetAutopilotConfiguration { .. },
                    Reply::AutopilotConfigurationSet(_)
                )
                | (Operation::AutopilotState(_), Reply::AutopilotState(_))
        )
    }
}
