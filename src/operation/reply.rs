//! What the service answers.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::autopilot::{AutopilotConfiguration, AutopilotState};
use crate::error::KeyringReply;
use crate::raft::RaftConfiguration;

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
