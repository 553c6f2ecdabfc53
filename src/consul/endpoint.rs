//! Which paths and methods there are, and what an answer's form depends on.

use super::dialect::Rules;
use super::malformed_key::MalformedKey;
use crate::acl::{Access, Resource};

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

/// The path under which all endpoints stand.
pub(super) const PREFIX: &str = "/v1/operator/";

impl Endpoint {
    /// Finds the endpoint at a decoded, clean path.
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

    /// The methods, in the order of the header `Allow`.
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

    /// Tells whether the body of such a request is read.
    pub(super) fn wants_body(self, method: &str) -> bool {
        match self {
            Endpoint::Keyring => matches!(method, "POST" | "PUT" | "DELETE"),
            Endpoint::AutopilotConfiguration => method == "PUT",
            _ => false,
        }
    }

    /// What a token has to allow for one of the methods.
    pub(super) fn permission(self, method: &str) -> (Resource, Access) {
        let resource = match self {
            Endpoint::Keyring => Resource::Keyring,
            _ => Resource::Operator,
        };
        match method {
            "GET" => (resource, Access::Read),
            _ => (resource, Access::Write),
        }
    }
}

/// What the form of an error depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// Errors are to be `application/problem+json`.
    pub(super) problem: bool,
    /// The body is not to be sent.
    pub(super) head: bool,
}

/// What the form of an answer depends on.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub(super) endpoint: Endpoint,
    pub(super) access: Access,
    /// The key of the change for which the rings are listed.
    pub(super) malformed_key: Option<MalformedKey>,
    pub(super) pretty: bool,
    pub(super) form: Form,
}
