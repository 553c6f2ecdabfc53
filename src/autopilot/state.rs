//! The state of the servers.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::types::{NodeName, ServerAddress, ServerId, majority};

/// The state of all servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotState {
    /// True if all servers are healthy.
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
}

impl AutopilotState {
    /// Creates the state of these servers. It is healthy if all of them are and there is
    /// one at least.
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
            healthy: !servers.is_empty() && servers.iter().all(|server| server.healthy),
            failure_tolerance: tolerance(voters.iter().copied()),
            optimistic_failure_tolerance: tolerance(servers.iter()),
            leader: leader.map(|leader| leader.id.clone()),
            voters: voters.iter().map(|voter| voter.id.clone()).collect(),
            servers,
        }
    }
}

/// Returns how many more of these servers may fail, if all of them vote.
fn tolerance<'a>(voters: impl Iterator<Item = &'a AutopilotServer> + Clone) -> u64 {
    let healthy = voters.clone().filter(|voter| voter.healthy).count();
    healthy.saturating_sub(majority(voters.count())) as u64
}

/// The last whole second of jiff's time stamps, on December 30 of the year 9999: RFC 3339
/// ends with that year, in every time zone.
const LATEST: Duration = Duration::from_secs(253_402_207_200);

impl AutopilotState {
    /// Returns true if RFC 3339 can express all times, also rounded to seconds.
    pub(crate) fn has_valid_times(&self) -> bool {
        let valid = UNIX_EPOCH..=UNIX_EPOCH + LATEST;
        let mut servers = self.servers.iter();
        servers.all(|server| valid.contains(&server.stable_since))
    }

    /// Moves times that RFC 3339 cannot express to the nearest ones that it can.
    pub(crate) fn limit_times(&mut self) {
        for server in &mut self.servers {
            let time = &mut server.stable_since;
            *time = (*time).clamp(UNIX_EPOCH, UNIX_EPOCH + LATEST);
        }
    }
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
