//! The state of the servers.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::AutopilotReport;
use crate::types::{NodeName, ServerAddress, ServerId, count};

/// The state of all servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotState {
    /// True if all servers are healthy, apart from those that are
    /// [joining](ServerHealth::Joining).
    pub healthy: bool,
    /// The number of servers that can fail without a loss of quorum.
    pub failure_tolerance: u64,
    /// The same number, provided that the non-voters become voters in time.
    pub optimistic_failure_tolerance: u64,
    /// The servers, ordered by id.
    pub servers: Vec<AutopilotServer>,
    /// The leader, if there is one.
    pub leader: Option<ServerId>,
    /// The voters.
    pub voters: Vec<ServerId>,
    /// What the leader's [autopilot](crate::service::Autopilot) reports; `None` if none runs
    /// there, or if the server does not tell. The service adds it: a backend leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autopilot: Option<AutopilotReport>,
}

impl AutopilotState {
    /// Creates the state of these servers. It is healthy if one of them is, and each of the
    /// others is or is joining.
    pub fn new(mut servers: Vec<AutopilotServer>) -> Self {
        servers.sort_by(|a, b| a.id.cmp(&b.id));
        let mut voters: Vec<_> = servers.iter().collect();
        voters.retain(|server| server.role != RaftRole::Nonvoter);
        // As in Consul, the leader comes first.
        voters.sort_by_key(|voter| voter.role != RaftRole::Leader);
        let leader = voters
            .first()
            .filter(|first| first.role == RaftRole::Leader);
        AutopilotState {
            healthy: servers.iter().any(|server| server.healthy)
                && servers
                    .iter()
                    .all(|server| server.healthy || server.health == Some(ServerHealth::Joining)),
            failure_tolerance: tolerance(voters.iter().copied()),
            optimistic_failure_tolerance: tolerance(servers.iter()),
            leader: leader.map(|leader| leader.id.clone()),
            voters: voters.iter().map(|voter| voter.id.clone()).collect(),
            servers,
            autopilot: None,
        }
    }
}

/// Returns how many more of these servers may fail, if all of them vote.
fn tolerance<'a>(voters: impl Iterator<Item = &'a AutopilotServer>) -> u64 {
    let voters = voters.map(|voter| (&voter.id, Some(voter.healthy)));
    count(voters, true).failure_tolerance as u64
}

/// The last whole second of jiff's time stamps, on December 30 of the year 9999: RFC 3339
/// ends with that year, in every time zone.
const LATEST: Duration = Duration::from_secs(253_402_207_200);

impl AutopilotState {
    /// Returns true if RFC 3339 can express all times, also rounded to seconds.
    pub(crate) fn has_valid_times(&self) -> bool {
        let valid = UNIX_EPOCH..=UNIX_EPOCH + LATEST;
        let servers = self.servers.iter().map(|server| &server.stable_since);
        let report = self.autopilot.iter().flat_map(AutopilotReport::times);
        servers.chain(report).all(|time| valid.contains(time))
    }

    /// Moves times that RFC 3339 cannot express to the nearest ones that it can.
    pub(crate) fn limit_times(&mut self) {
        for server in &mut self.servers {
            server.stable_since = limited(server.stable_since);
        }
    }
}

/// Returns the time, or the nearest one that RFC 3339 can express.
pub(crate) fn limited(time: SystemTime) -> SystemTime {
    time.clamp(UNIX_EPOCH, UNIX_EPOCH + LATEST)
}

/// The state of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotServer {
    /// The server's id.
    pub id: ServerId,
    /// Its node name.
    pub name: NodeName,
    /// Its Raft address.
    pub address: ServerAddress,
    /// Its gossip status: `alive`, `failed`, `left` or `none`.
    pub node_status: String,
    /// The version of its software.
    pub version: String,
    /// The time since the leader's last contact with it; zero for the leader.
    pub last_contact: Duration,
    /// The term of its last log entry.
    pub last_term: u64,
    /// The index of its last log entry.
    pub last_index: u64,
    /// True if it is healthy.
    pub healthy: bool,
    /// The time of the last change of `healthy`, in the years 1970 to 9999. The service
    /// moves other times to the nearest end of this range.
    pub stable_since: SystemTime,
    /// Its role in Raft.
    pub role: RaftRole,
    /// The metadata of its node.
    pub meta: BTreeMap<String, String>,
    /// Its health in more detail than `healthy`; `None` if the backend does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ServerHealth>,
}

/// The health of a server. It serializes to its name in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServerHealth {
    /// It is healthy.
    Healthy,
    /// It has failed or left, has not answered for too long, or lags behind.
    Unhealthy,
    /// It has no vote, and was never healthy under this leader. It does not count for the
    /// health of the cluster.
    Joining,
    /// Its health is not known, as there is no data: it never answered this leader, or its
    /// log is unknown. It is not healthy.
    #[serde(other)]
    Unknown,
}

impl ServerHealth {
    /// Returns the name that it serializes to.
    pub fn name(self) -> &'static str {
        match self {
            ServerHealth::Healthy => "healthy",
            ServerHealth::Unhealthy => "unhealthy",
            ServerHealth::Joining => "joining",
            ServerHealth::Unknown => "unknown",
        }
    }
}

/// A server's role in Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RaftRole {
    /// The leader, which is also a voter.
    Leader,
    /// A voter.
    Voter,
    /// A server without a vote.
    Nonvoter,
}
