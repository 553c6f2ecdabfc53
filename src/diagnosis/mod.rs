//! The diagnosis of a federation: its servers, its gossip rings, and what is wrong.
//!
//! A service asks every known server for its own view of Raft and every ring for its
//! keys ([`OperatorService::diagnose`](crate::OperatorService::diagnose)); with the
//! feature `client`, `client::Servers` does the same over HTTP, also for Consul. The
//! disagreements are [`Finding`]s, worst first, each with a next step.
//!
//! A diagnosis contains no key: keys are named by their
//! [fingerprints](crate::GossipKey::fingerprint).
//!
//! `GET /v1/operator/diagnosis` answers with it as JSON:
//!
//! ```json
//! {
//!     "Findings": [{
//!         "Severity": "critical",
//!         "Kind": "dead-voter",
//!         "Datacenter": "dc1",
//!         "Subject": "8c2562c7-df78-bf89-3010-e31384d0b5f2",
//!         "Message": "voter carol at 10.0.0.3:8300 has failed",
//!         "NextStep": "start it, or remove it as raft/removal-plan shows: that would leave 2 of 2 voters up, of which 0 may fail"
//!     }],
//!     "Datacenters": [{
//!         "Name": "dc1",
//!         "Leader": "5fa2ae1d-7f6f-4d0c-8b53-2a1b4f0ad23c",
//!         "Voters": 3,
//!         "Quorum": 2,
//!         "FailureTolerance": 0,
//!         "Servers": [{
//!             "ID": "8c2562c7-df78-bf89-3010-e31384d0b5f2",
//!             "Name": "carol",
//!             "Address": "10.0.0.3:8300",
//!             "Leader": false,
//!             "Voter": true,
//!             "Health": "failed",
//!             "Answered": false,
//!             "LastContactMs": 6200,
//!             "LastLog": {"Term": 3, "Index": 1041},
//!             "Lag": 12
//!         }],
//!         "Error": null
//!     }],
//!     "Rings": [{
//!         "Datacenter": "dc1",
//!         "Pool": "LAN",
//!         "Nodes": 2,
//!         "Responses": 2,
//!         "Silent": [],
//!         "Failed": ["carol"],
//!         "Keys": [{"Fingerprint": "6c0ed429", "Nodes": 2, "Primary": 2}],
//!         "Error": null
//!     }]
//! }
//! ```
//!
//! What is not known is `null`. A program has to accept kinds of findings that it does
//! not know.

mod autopilot;
mod examine;
mod raft;
mod rings;
mod servers;
mod view;

use serde::{Deserialize, Serialize};

use crate::raft::LogPosition;
use crate::types::{DatacenterName, NodeName, ServerAddress, ServerId};

pub(crate) use examine::{Observations, ObservedDatacenter};
pub use view::{AskedServer, SeenServer, ServerView};

/// The state of a federation, and what is wrong with it.
///
/// It serializes to the JSON of `GET /v1/operator/diagnosis`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Diagnosis {
    /// The findings, worst first.
    pub findings: Vec<Finding>,
    /// The datacenters, that of the asked server first.
    pub datacenters: Vec<DatacenterState>,
    /// The gossip rings: the WAN first, then those of each datacenter.
    pub rings: Vec<RingKeys>,
}

impl Diagnosis {
    /// Returns true if nothing is wrong. Findings that only inform do not count.
    pub fn is_healthy(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.all(|finding| finding.severity == Severity::Info)
    }
}

/// Something that is wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// The kind, for programs.
    pub kind: FindingKind,
    /// The datacenter; `None` for the whole federation.
    pub datacenter: Option<DatacenterName>,
    /// The id of the server, the name of the node, or the fingerprint of the key that
    /// it is about, if it is about a single one.
    pub subject: Option<String>,
    /// A sentence for people.
    pub message: String,
    /// The next step.
    pub next_step: String,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work.
    Critical,
    /// Something will not work after the next failure, or could not be examined.
    Warning,
    /// Something is not as usual.
    Info,
}

/// The kind of a finding. It serializes to its name in kebab case, such as `no-leader`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// No server leads.
    NoLeader,
    /// Two servers lead, or are followed as leaders.
    TwoLeaders,
    /// A server follows another leader than the others, or none.
    LeaderDisputed,
    /// The servers with the longest log, if there is no quorum.
    LongestLog,
    /// A voter has failed.
    DeadVoter,
    /// A server without a vote has failed.
    DeadServer,
    /// No more voter may fail.
    NoFailureTolerance,
    /// A server answers, but its leader does not reach it.
    ServerCutOff,
    /// A server could not be reached.
    ServerUnreachable,
    /// A server is too old to answer for itself.
    ServerTooOld,
    /// A server did not allow the request.
    ServerDenied,
    /// A server answered with another error.
    ServerFailed,
    /// A server has another Raft configuration than the leader.
    ConfigurationDiffers,
    /// A change of the Raft configuration is not finished.
    ChangeUnfinished,
    /// It is not known which servers are up.
    HealthUnknown,
    /// A server is in Raft and not in gossip.
    RaftNotInGossip,
    /// A server is in gossip and not in Raft.
    GossipNotInRaft,
    /// The servers of a datacenter could not be asked.
    DatacenterUnreachable,
    /// A ring could not be asked, or the call failed after all nodes had answered.
    RingUnreachable,
    /// Nodes of a ring did not answer.
    NodeSilent,
    /// Nodes of a ring answered with an error.
    NodeError,
    /// Gossip has declared nodes of a ring failed.
    NodeFailed,
    /// A ring gossips in clear text.
    EncryptionOff,
    /// A key is not on all nodes of a ring.
    KeyNotEverywhere,
    /// The nodes of a ring do not all use the same key.
    PrimaryDiffers,
    /// Nodes listed only some of their keys.
    RingTruncated,
    /// An autopilot is in a dry run, and would change something.
    AutopilotDryRun,
    /// An autopilot cannot act, because of its settings or of what it reads, or because its
    /// action fails.
    AutopilotStopped,
    /// A rule of autopilot keeps it from a change for now.
    AutopilotWaits,
    /// A voter has failed, and autopilot has no spare for its place.
    NoSpare,
    /// Autopilot does not touch a server, since its failure detector does not know it, or
    /// says something else than its Raft.
    DetectorDisputed,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

/// The Raft of a datacenter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct DatacenterState {
    /// The datacenter.
    pub name: DatacenterName,
    /// The leader, if there is one.
    pub leader: Option<ServerId>,
    /// The number of voters.
    pub voters: usize,
    /// The number of voters that are a majority.
    pub quorum: usize,
    /// The number of voters that may fail now without a loss of the quorum.
    pub failure_tolerance: usize,
    /// The servers, in the order of the Raft configuration.
    pub servers: Vec<ServerState>,
    /// The reason why the datacenter could not be asked. The rest is empty then.
    pub error: Option<String>,
}

/// A server of a Raft configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ServerState {
    /// The server's id.
    #[serde(rename = "ID")]
    pub id: ServerId,
    /// Its node name in gossip, if it is known.
    pub name: Option<NodeName>,
    /// Its Raft address.
    pub address: ServerAddress,
    /// True if it is the leader.
    pub leader: bool,
    /// True if it has a vote.
    pub voter: bool,
    /// Its health.
    pub health: Health,
    /// True if it has answered for itself.
    pub answered: bool,
    /// The time since the leader's last contact with it, in milliseconds.
    pub last_contact_ms: Option<u64>,
    /// The last entry of its log.
    #[serde(with = "position")]
    pub last_log: Option<LogPosition>,
    /// The number of entries that the leader's log is longer.
    pub lag: Option<u64>,
}

/// The health of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It is up.
    Healthy,
    /// It is down, or the leader does not reach it.
    Failed,
    /// It is not known.
    Unknown,
}

/// The keys of a gossip ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct RingKeys {
    /// The ring's datacenter; for the WAN, that of the server that asked it.
    pub datacenter: DatacenterName,
    /// The pool: `WAN`, `LAN`, or `segment NAME`.
    pub pool: String,
    /// The number of nodes that gossip does not declare failed.
    pub nodes: usize,
    /// The number of nodes that answered.
    pub responses: usize,
    /// The nodes that did not answer, a hundred of them at most.
    pub silent: Vec<NodeName>,
    /// The members that gossip has declared failed, a hundred of them at most.
    pub failed: Vec<NodeName>,
    /// The keys.
    pub keys: Vec<KeyShare>,
    /// The error of the call to the ring.
    pub error: Option<String>,
}

/// A key of a ring, by its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct KeyShare {
    /// The [fingerprint](crate::GossipKey::fingerprint).
    pub fingerprint: String,
    /// The number of nodes that have the key.
    pub nodes: usize,
    /// The number of nodes that use it; `None` if the ring does not show it.
    pub primary: Option<usize>,
}

/// Writes a log position as the other fields.
mod position {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::raft::LogPosition;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Written {
        term: u64,
        index: u64,
    }

    pub(super) fn serialize<S: Serializer>(
        position: &Option<LogPosition>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let written = position.map(|LogPosition { term, index }| Written { term, index });
        written.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<LogPosition>, D::Error> {
        let written = Option::<Written>::deserialize(deserializer)?;
        Ok(written.map(|Written { term, index }| LogPosition { term, index }))
    }
}
