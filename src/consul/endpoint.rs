//! Paths, methods and parameters, and the form of an answer.

use super::dialect::Rules;
use super::malformed_key::MalformedKey;
use crate::acl::{Access, Resource};

/// A path of the API.
///
/// ```
/// use cluster_operator::consul::Endpoint;
///
/// let endpoint = Endpoint::of("DELETE", "/v1/operator/raft/peer");
/// assert_eq!(endpoint, Some(Endpoint::RaftPeer));
/// assert_eq!(Endpoint::RaftPeer.label(), "raft/peer");
/// assert_eq!(Endpoint::of("GET", "/v1/operator/raft/peer"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// The list of endpoints.
    Index,
    /// The OpenAPI document, which is [switched on](super::Wire::with_openapi).
    OpenApi,
    /// The Raft configuration.
    RaftConfiguration,
    /// The removal of a server from the Raft configuration.
    RaftPeer,
    /// The transfer of leadership.
    TransferLeader,
    /// The plan of a removal.
    RemovalPlan,
    /// The removal of a server as planned.
    PlannedRemoval,
    /// The removal of a server past the quorum guard.
    ForcedRemoval,
    /// The replacement of a voter.
    Replacement,
    /// The gossip keys.
    Keyring,
    /// Autopilot's configuration.
    AutopilotConfiguration,
    /// The health of the servers.
    AutopilotHealth,
    /// Autopilot's state of the servers.
    AutopilotState,
    /// The diagnosis of the federation.
    Diagnosis,
}

/// Endpoints that the same dialects and backends have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// What the server is and knows, which Consul does not show.
    Description,
    Raft,
    Transfer,
    /// Changes of Raft that Consul does not have.
    RaftAddition,
    Keyring,
    Autopilot,
}

/// What a listener offers of a dialect's endpoints: the switches of a
/// [`Wire`](super::Wire).
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    /// One bit for each endpoint that is switched off.
    off: u64,
    /// Only methods that read are offered.
    pub(super) read_only: bool,
}

/// Everything but the OpenAPI document.
impl Default for Offer {
    fn default() -> Self {
        Offer {
            off: 1 << Endpoint::OpenApi as u64,
            read_only: false,
        }
    }
}

impl Offer {
    pub(super) fn with(self, endpoint: Endpoint) -> Self {
        Offer {
            off: self.off & !(1 << endpoint as u64),
            ..self
        }
    }

    pub(super) fn without(self, endpoint: Endpoint) -> Self {
        Offer {
            off: self.off | 1 << endpoint as u64,
            ..self
        }
    }

    fn has(self, endpoint: Endpoint) -> bool {
        self.off & (1 << endpoint as u64) == 0
    }

    /// The methods that are offered, in the order of the header `Allow`.
    pub(super) fn methods(self, endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
        let methods = endpoint.methods().iter().copied();
        methods
            .filter(move |method| !self.read_only || endpoint.permission(method).1 == Access::Read)
    }
}

/// The common prefix of all paths.
pub(super) const PREFIX: &str = "/v1/operator/";

/// The query parameters that Consul's clients send to any endpoint.
pub(super) const COMMON_PARAMETERS: [&str; 18] = [
    "cached",
    "consistent",
    "datacenter",
    "dc",
    "filter",
    "hash",
    "index",
    "max_stale",
    "near",
    "node-meta",
    "ns",
    "partition",
    "peer",
    "pretty",
    "sg",
    "stale",
    "token",
    "wait",
];

/// The parameters that every endpoint obeys, and then those of reading from the Raft leader.
const EFFECTIVE: [&str; 7] = [
    "datacenter",
    "dc",
    "pretty",
    "token",
    "consistent",
    "max_stale",
    "stale",
];

impl Endpoint {
    const ALL: [Self; 14] = [
        Endpoint::Index,
        Endpoint::OpenApi,
        Endpoint::RaftConfiguration,
        Endpoint::RaftPeer,
        Endpoint::TransferLeader,
        Endpoint::RemovalPlan,
        Endpoint::PlannedRemoval,
        Endpoint::ForcedRemoval,
        Endpoint::Replacement,
        Endpoint::Keyring,
        Endpoint::AutopilotConfiguration,
        Endpoint::AutopilotHealth,
        Endpoint::AutopilotState,
        Endpoint::Diagnosis,
    ];

    /// Returns the endpoint of a request, of any dialect. `path` is that of the request,
    /// as it is written. Another path, or a method that the endpoint does not have, has
    /// none; `HEAD` counts as `GET`.
    pub fn of(method: &str, path: &str) -> Option<Self> {
        let method = if method == "HEAD" { "GET" } else { method };
        let name = path.strip_prefix(PREFIX)?;
        let mut all = Self::ALL.into_iter();
        let endpoint = all.find(|endpoint| endpoint.name() == name)?;
        endpoint.methods().contains(&method).then_some(endpoint)
    }

    /// Returns the name of the endpoint for logs and metrics: the path behind
    /// `/v1/operator/`, such as `raft/peer`, and `index` for the list of endpoints.
    pub fn label(self) -> &'static str {
        match self {
            Endpoint::Index => "index",
            endpoint => endpoint.name(),
        }
    }

    /// The endpoints that are offered of a dialect.
    pub(super) fn served(rules: &Rules, offer: Offer) -> impl Iterator<Item = Self> {
        let offered = Self::ALL
            .into_iter()
            .filter(move |endpoint| offer.has(*endpoint));
        offered.filter(|endpoint| match endpoint.group() {
            Group::Description | Group::RaftAddition => rules.additions,
            Group::Raft | Group::Keyring => true,
            Group::Transfer => rules.leadership_transfer,
            Group::Autopilot => rules.autopilot,
        })
    }

    /// Finds the endpoint at a decoded, clean path.
    pub(super) fn at(path: &str, rules: &Rules, offer: Offer) -> Option<Self> {
        let name = path.strip_prefix(PREFIX)?;
        Self::served(rules, offer).find(|endpoint| endpoint.name() == name)
    }

    /// The path behind the [prefix](PREFIX), the methods in the order of the header `Allow`,
    /// and the group.
    fn row(self) -> (&'static str, &'static [&'static str], Group) {
        use Group::{Autopilot, Description, Keyring, Raft, RaftAddition, Transfer};

        match self {
            Endpoint::Index => ("", &["GET"], Description),
            Endpoint::OpenApi => ("openapi.json", &["GET"], Description),
            Endpoint::Diagnosis => ("diagnosis", &["GET"], Description),
            Endpoint::RaftConfiguration => ("raft/configuration", &["GET"], Raft),
            Endpoint::RaftPeer => ("raft/peer", &["DELETE"], Raft),
            Endpoint::TransferLeader => ("raft/transfer-leader", &["POST"], Transfer),
            Endpoint::RemovalPlan => ("raft/removal-plan", &["GET"], RaftAddition),
            Endpoint::PlannedRemoval => ("raft/planned-removal", &["POST"], RaftAddition),
            Endpoint::ForcedRemoval => ("raft/forced-removal", &["POST"], RaftAddition),
            Endpoint::Replacement => ("raft/replacement", &["POST"], RaftAddition),
            Endpoint::Keyring => ("keyring", &["GET", "POST", "PUT", "DELETE"], Keyring),
            Endpoint::AutopilotConfiguration => {
                ("autopilot/configuration", &["GET", "PUT"], Autopilot)
            }
            Endpoint::AutopilotHealth => ("autopilot/health", &["GET"], Autopilot),
            Endpoint::AutopilotState => ("autopilot/state", &["GET"], Autopilot),
        }
    }

    /// The path behind the [prefix](PREFIX).
    pub(super) fn name(self) -> &'static str {
        self.row().0
    }

    /// The methods, in the order of the header `Allow`.
    pub(super) fn methods(self) -> &'static [&'static str] {
        self.row().1
    }

    pub(super) fn group(self) -> Group {
        self.row().2
    }

    /// Tells whether the body of a request is read.
    pub(super) fn wants_body(self, method: &str) -> bool {
        match self {
            Endpoint::Keyring => matches!(method, "POST" | "PUT" | "DELETE"),
            Endpoint::AutopilotConfiguration => method == "PUT",
            _ => false,
        }
    }

    /// Returns true for a change that reads no body, and is rejected if it has one.
    pub(super) fn rejects_body(self, method: &str) -> bool {
        method != "GET" && !self.wants_body(method)
    }

    /// The query parameters of a method, beside the [common ones](COMMON_PARAMETERS).
    pub(super) fn parameters(self, method: &str) -> &'static [&'static str] {
        match (self, method) {
            (Endpoint::RaftPeer, _) => &["id", "address", "cas"],
            (Endpoint::RemovalPlan, _) => &["id", "address"],
            (Endpoint::PlannedRemoval, _) => &["id", "version"],
            (Endpoint::TransferLeader | Endpoint::ForcedRemoval, _) => &["id"],
            (Endpoint::Replacement, _) => &["id", "with"],
            (Endpoint::Keyring, _) => &["relay-factor", "local-only"],
            (Endpoint::AutopilotConfiguration, "PUT") => &["cas"],
            _ => &[],
        }
    }

    /// The [common parameters](COMMON_PARAMETERS) that have an effect.
    pub(super) fn effective(self, method: &str) -> &'static [&'static str] {
        match (self.group(), method) {
            (Group::Raft | Group::Autopilot, "GET") => &EFFECTIVE,
            _ => &EFFECTIVE[..4],
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

/// The form of an error, as far as the request chooses it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// Errors are to be `application/problem+json`.
    pub(super) problem: bool,
    /// Failures of rings are to be JSON.
    pub(super) json: bool,
    /// The body is not to be sent.
    pub(super) head: bool,
}

/// The form of an answer, as far as the request chooses it.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) endpoint: Endpoint,
    pub(super) access: Access,
    /// The malformed key for which the rings are listed.
    pub(super) malformed_key: Option<MalformedKey>,
    /// The name of the server that was asked for, if it is not UTF-8.
    pub(super) broken_name: Option<Box<[u8]>>,
    pub(super) pretty: bool,
    /// The caller may know where other servers listen.
    pub(super) addresses: bool,
    pub(super) form: Form,
}

impl View {
    /// Shows addresses of other servers in errors, for an authorized caller. An error of
    /// routing comes before the authorization.
    #[must_use]
    pub fn with_addresses(mut self) -> Self {
        self.addresses = true;
        self
    }
}
