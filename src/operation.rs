//! The operations of the service, their requests and replies.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::acl::{Access, Resource, Token};
use crate::autopilot::{AutopilotConfiguration, AutopilotState, DriverChange};
use crate::diagnosis::{AskedServer, Diagnosis, ServerView};
use crate::error::{OperatorError, Outcome};
use crate::keyring::{GossipKey, RelayFactor};
use crate::raft::{ConfigVersion, Consistency, PeerSelector, RaftConfiguration, RemovalPlan};
use crate::types::{DatacenterName, ServerId};

pub use crate::error::{KeyringReply, RingOutcome};

/// A request: an operation, the caller's token, and the datacenter.
///
/// ```
/// use cluster_operator::raft::Consistency;
/// use cluster_operator::{Operation, OperatorRequest, Token};
///
/// let request = OperatorRequest::new(Operation::RaftConfiguration(Consistency::Stale))
///     .with_token(Token::new("b852fbe7"))
///     .in_datacenter("dc2");
/// assert_eq!(request.datacenter.unwrap(), "dc2");
/// ```
///
/// It serializes with its token and keys in clear, so the channel has to be as private
/// as the one that the request arrived on. Between servers an
/// [`Envelope`](crate::Envelope) carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperatorRequest {
    /// The operation.
    pub operation: Operation,
    /// The datacenter; `None` for that of the server that receives the request.
    /// Keyring operations apply to all datacenters and ignore it.
    #[serde(default)]
    pub datacenter: Option<DatacenterName>,
    /// The token to authorize the request with; `None` for the anonymous token.
    #[serde(with = "crate::acl::token::exposed", default)]
    pub token: Option<Token>,
    /// The id of the request in the logs and audits of all servers that it passes. The
    /// service generates one if it forwards a request without an id.
    #[serde(default)]
    pub request_id: Option<RequestId>,
}

impl OperatorRequest {
    /// Creates a request without a token, for the datacenter of the server that
    /// receives it.
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

/// The id of a request across all servers that it passes: 1 to 128 letters, digits
/// and `-`, `_`, `.`, `:`.
///
/// ```
/// use cluster_operator::operation::RequestId;
///
/// let id: RequestId = "7f3a-01".parse()?;
/// assert_eq!(id.as_str(), "7f3a-01");
/// assert!("two words".parse::<RequestId>().is_err());
/// # Ok::<(), cluster_operator::operation::InvalidRequestId>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(Arc<str>);

/// The error for a text that is not a [`RequestId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request id has 1 to 128 letters, digits and - _ . :")]
pub struct InvalidRequestId;

impl RequestId {
    /// Generates a unique id: 32 hexadecimal digits from the seed that the standard
    /// library takes from the operating system for its hash maps.
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

/// An operation of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Operation {
    /// Read the Raft configuration.
    RaftConfiguration(Consistency),
    /// Remove a server from the Raft configuration.
    RemovePeer {
        /// The server to remove.
        server: PeerSelector,
        /// The index that the configuration must have, if any.
        expected_index: Option<u64>,
    },
    /// Transfer leadership to another voter.
    TransferLeadership {
        /// The new leader; `None` for the most suitable voter.
        to: Option<ServerId>,
    },
    /// List or change the keys of the gossip rings.
    Keyring {
        /// The listing or the change.
        action: KeyringAction,
        /// The rings that it applies to.
        scope: KeyringScope,
        /// The number of nodes through which each answer is sent as well.
        relay_factor: RelayFactor,
    },
    /// Read autopilot's configuration, with the settings in force on the server that answers:
    /// the leader, unless the read is stale.
    AutopilotConfiguration(Consistency),
    /// Replace Consul's settings of autopilot's configuration, and keep those that Consul
    /// lacks.
    SetAutopilotConfiguration {
        /// The new configuration. Its indexes and its settings that Consul lacks are ignored.
        configuration: AutopilotConfiguration,
        /// The index of the old configuration's last change, if it has to match.
        expected_index: Option<u64>,
    },
    /// Read autopilot's state of the servers.
    AutopilotState(Consistency),
    /// Read the own view of the server that receives the request.
    OwnView,
    /// Read the own view of every server of the datacenter.
    ServerViews,
    /// Diagnose all datacenters and rings. It needs to read the keyring too.
    Diagnose,
    /// Plan the removal of a server: show what it would do, and change nothing.
    PlanRemoval {
        /// The server.
        server: PeerSelector,
    },
    /// Remove a server as planned: only from the configuration that the plan was made
    /// for.
    RemovePlanned {
        /// The server to remove.
        id: ServerId,
        /// The version that the configuration must have.
        version: ConfigVersion,
    },
    /// Remove a server whatever the quorum guard says. The leader still proves that a
    /// majority of the voters that stay is alive.
    ForceRemoval {
        /// The server to remove.
        id: ServerId,
    },
    /// Replace a voter with a server that has no vote, in one change.
    ReplacePeer {
        /// The voter to remove.
        id: ServerId,
        /// The server that becomes a voter in its place.
        with: ServerId,
    },
    /// Replace Consul's settings of autopilot's configuration, and change those that Consul
    /// lacks. A server that does not know them refuses it.
    ChangeAutopilot {
        /// The new configuration. Its indexes and its settings that Consul lacks are ignored.
        configuration: Box<AutopilotConfiguration>,
        /// The change of the settings that Consul lacks.
        change: DriverChange,
        /// The index of the old configuration's last change, if it has to match.
        expected_index: Option<u64>,
    },
}

impl Operation {
    /// Returns the change of autopilot's configuration, in the form that more servers know.
    pub(crate) fn set_autopilot(
        configuration: AutopilotConfiguration,
        change: DriverChange,
        expected_index: Option<u64>,
    ) -> Self {
        if change.keeps_all() {
            Operation::SetAutopilotConfiguration {
                configuration,
                expected_index,
            }
        } else {
            Operation::ChangeAutopilot {
                configuration: configuration.into(),
                change,
                expected_index,
            }
        }
    }

    /// Returns the name of the operation, for logs and metrics. Names do not change.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::RaftConfiguration(_) => "raft-configuration",
            Operation::RemovePeer { .. } => "remove-peer",
            Operation::TransferLeadership { .. } => "transfer-leadership",
            Operation::Keyring { action, .. } => match action {
                KeyringAction::List => "list-keys",
                KeyringAction::Install(_) => "install-key",
                KeyringAction::Use(_) => "use-key",
                KeyringAction::Remove(_) => "remove-key",
            },
            Operation::AutopilotConfiguration(_) => "autopilot-configuration",
            Operation::SetAutopilotConfiguration { .. } | Operation::ChangeAutopilot { .. } => {
                "set-autopilot-configuration"
            }
            Operation::AutopilotState(_) => "autopilot-state",
            Operation::Diagnose => "diagnose",
            Operation::OwnView => "own-view",
            Operation::ServerViews => "server-views",
            Operation::PlanRemoval { .. } => "plan-removal",
            Operation::RemovePlanned { .. } => "remove-planned",
            Operation::ForceRemoval { .. } => "force-removal",
            Operation::ReplacePeer { .. } => "replace-peer",
        }
    }

    /// Returns the server that the operation is about, for audits.
    pub(crate) fn subject(&self) -> Option<PeerSelector> {
        match self {
            Operation::RemovePeer { server, .. } | Operation::PlanRemoval { server } => {
                Some(server.clone())
            }
            Operation::RemovePlanned { id, .. }
            | Operation::ForceRemoval { id }
            | Operation::ReplacePeer { id, .. } => Some(PeerSelector::Id(id.clone())),
            Operation::TransferLeadership { to } => to.clone().map(PeerSelector::Id),
            _ => None,
        }
    }

    /// Returns the server that takes the subject's place, for audits.
    pub(crate) fn with(&self) -> Option<&ServerId> {
        match self {
            Operation::ReplacePeer { with, .. } => Some(with),
            _ => None,
        }
    }

    /// Returns the resource and the access that the operation needs.
    /// [`Diagnose`](Operation::Diagnose) needs to read the keyring as well.
    pub fn permission(&self) -> (Resource, Access) {
        match self {
            Operation::RaftConfiguration(_)
            | Operation::AutopilotConfiguration(_)
            | Operation::AutopilotState(_)
            | Operation::OwnView
            | Operation::ServerViews
            | Operation::Diagnose
            | Operation::PlanRemoval { .. } => (Resource::Operator, Access::Read),
            Operation::RemovePeer { .. }
            | Operation::RemovePlanned { .. }
            | Operation::ForceRemoval { .. }
            | Operation::ReplacePeer { .. }
            | Operation::TransferLeadership { .. }
            | Operation::SetAutopilotConfiguration { .. }
            | Operation::ChangeAutopilot { .. } => (Resource::Operator, Access::Write),
            Operation::Keyring { action, .. } => (
                Resource::Keyring,
                match action {
                    KeyringAction::List => Access::Read,
                    _ => Access::Write,
                },
            ),
        }
    }

    /// Returns the outcome of the operation if it was sent and not answered.
    pub(crate) fn unanswered(&self) -> Outcome {
        match self.permission().1 {
            Access::Read => Outcome::NotApplied,
            Access::Write => Outcome::Unknown,
        }
    }
}

/// An operation on gossip rings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyringAction {
    /// List the keys.
    List,
    /// Add a key.
    Install(#[serde(with = "crate::keyring::exposed")] GossipKey),
    /// Make a key the primary.
    Use(#[serde(with = "crate::keyring::exposed")] GossipKey),
    /// Remove a key.
    Remove(#[serde(with = "crate::keyring::exposed")] GossipKey),
}

/// The rings that a keyring operation applies to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyringScope {
    /// The WAN ring and the rings of all datacenters.
    #[default]
    Federation,
    /// The rings of this datacenter, without the WAN ring. Only for listings.
    LocalOnly,
    /// The rings of this datacenter, at the request of another datacenter.
    Remote,
}

/// Returns whether an operation changed anything. A read changes nothing.
pub(crate) fn outcome(access: Access, answer: &Result<OperatorReply, OperatorError>) -> Outcome {
    match answer {
        _ if access == Access::Read => Outcome::NotApplied,
        Ok(OperatorReply::AutopilotConfigurationSet(false)) => Outcome::NotApplied,
        Ok(_) => Outcome::Applied,
        Err(error) => error.outcome(),
    }
}

/// The reply to an [`Operation`]. All removals have the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OperatorReply {
    /// The Raft configuration.
    RaftConfiguration(RaftConfiguration),
    /// The server was removed from the Raft configuration.
    PeerRemoved,
    /// The named server, or another one if none was named, is the leader.
    LeadershipTransferred,
    /// The outcomes of the rings.
    Keyring(KeyringReply),
    /// Autopilot's configuration.
    AutopilotConfiguration(AutopilotConfiguration),
    /// True if autopilot's configuration was replaced, false if the index did not
    /// match.
    AutopilotConfigurationSet(bool),
    /// Autopilot's state of the servers.
    AutopilotState(AutopilotState),
    /// The server's own view of its Raft.
    OwnView(ServerView),
    /// The servers of the datacenter, each with its own view.
    ServerViews(Vec<AskedServer>),
    /// The state of the federation, and what is wrong with it.
    Diagnosis(Diagnosis),
    /// The plan of a removal.
    RemovalPlan(RemovalPlan),
    /// The voter was replaced in the Raft configuration.
    PeerReplaced,
}

impl OperatorReply {
    /// Returns true if the reply belongs to the operation.
    pub(crate) fn answers(&self, operation: &Operation) -> bool {
        use OperatorReply as Reply;
        matches!(
            (operation, self),
            (Operation::RaftConfiguration(_), Reply::RaftConfiguration(_))
                | (
                    Operation::RemovePeer { .. }
                        | Operation::RemovePlanned { .. }
                        | Operation::ForceRemoval { .. },
                    Reply::PeerRemoved
                )
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
                    Operation::SetAutopilotConfiguration { .. } | Operation::ChangeAutopilot { .. },
                    Reply::AutopilotConfigurationSet(_)
                )
                | (Operation::AutopilotState(_), Reply::AutopilotState(_))
                | (Operation::OwnView, Reply::OwnView(_))
                | (Operation::ServerViews, Reply::ServerViews(_))
                | (Operation::Diagnose, Reply::Diagnosis(_))
                | (Operation::PlanRemoval { .. }, Reply::RemovalPlan(_))
                | (Operation::ReplacePeer { .. }, Reply::PeerReplaced)
        )
    }
}
