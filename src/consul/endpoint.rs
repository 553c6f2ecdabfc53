//! Which paths and methods there are.

use super::dialect::Rules;

/// A path that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    RaftConfiguration,
    RaftPeer,
    TransferLeader,
    Keyring,
    AutopilotConfiguration,
    AutopilotHealth,
    AutopilotState,
}

/// The path under which everything stands.
pub(super) const PREFIX: &str = "/v1/operator/";

impl Endpoint {
    /// The endpoint at a decoded, clean path.
    pub(super) fn at(path: &str, rules: &Rules) -> Option<Self> {
        let endpoint = match path.strip_prefix(PREFIX)? {
            "raft/configuration" => Endpoint::RaftConfiguration,
            "raft/peer" => Endpoint::RaftPeer,
            "keyring" => Endpoint::Keyring,
            "raft/transfer-leader" if rules.leadership_transfer => Endpoint::TransferLeader,
            "autopilot/configuration" if rules.autopilot => Endpoint::AutopilotConfiguration,
            "autopilot/health" if rules.autopilot => Endpoint::AutopilotHealth,
            "autopilot/state" if rules.autopilot => Endpoint::AutopilotState,
            _ => return None,
        };
        Some(endpoint)
    }

    pub(super) fn methods(self) -> &'static [&'static str] {
        match self {
            Endpoint::RaftConfiguration | Endpoint::AutopilotHealth | Endpoint::AutopilotState => {
                &["GET"]
            }
            Endpoint::RaftPeer => &["DELETE"],
            Endpoint::TransferLeader => &["POST"],
            Endpoint::Keyring => &["GET", "POST", "PUT", "DELETE"],
            Endpoint::AutopilotConfiguration => &["GET", "PUT"],
        }
    }

    /// Whether the body of such a request is read.
    pub(super) fn wants_body(self, method: &str) -> bool {
        match self {
            Endpoint::Keyring => matches!(method, "POST" | "PUT" | "DELETE"),
            Endpoint::AutopilotConfiguration => method == "PUT",
            _ => false,
        }
    }
}
