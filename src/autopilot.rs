//! Autopilot: its configuration, which controls how dead servers are removed and new
//! servers become voters, and the health of the servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::OperatorError;
use crate::types::{NodeName, ServerAddress, ServerId};

/// The autopilot of the server that the service runs in. It is optional: without one,
/// the autopilot endpoints answer that they are not supported.
///
/// # Contract
/// The service calls it on the leader, and for stale reads on any server. A change is
/// replicated before the method returns; the outcome of an error says whether the
/// change may still take effect.
#[async_trait]
pub trait AutopilotBackend: Send + Sync {
    /// Returns the current configuration.
    ///
    /// # Errors
    /// The configuration cannot be read.
    ///
    /// # Cancel safety
    /// The call only reads; the future can be dropped.
    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError>;

    /// Replaces the configuration and returns true. The indexes of `configuration` are
    /// ignored. If `expected_index` is given and the configuration was last changed at
    /// another index, changes nothing and returns false.
    ///
    /// # Errors
    /// The change cannot be replicated.
    ///
    /// # Cancel safety
    /// Dropping the future leaves either the old or the new configuration.
    async fn set_configuration(
        &self,
        configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError>;

    /// Returns the state of the servers.
    ///
    /// # Errors
    /// The state cannot be read.
    ///
    /// # Cancel safety
    /// The call only reads; the future can be dropped.
    async fn state(&self) -> Result<AutopilotState, OperatorError>;
}

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        #[async_trait]
        impl<A: AutopilotBackend + ?Sized> AutopilotBackend for $pointer<A> {
            async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
                (**self).configuration().await
            }

            async fn set_configuration(
                &self,
                configuration: AutopilotConfiguration,
                expected_index: Option<u64>,
            ) -> Result<bool, OperatorError> {
                (**self).set_configuration(configuration, expected_index).await
            }

            async fn state(&self) -> Result<AutopilotState, OperatorError> {
                (**self).state().await
            }
        }
    )+};
}

forward!(Arc, Box);

/// The configuration of autopilot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotConfiguration {
    /// Remove dead servers automatically.
    pub cleanup_dead_servers: bool,
    /// The longest time that a healthy server may be without contact to the leader.
    pub last_contact_threshold: Duration,
    /// The largest number of log entries by which a healthy server may lag behind.
    pub max_trailing_logs: u64,
    /// The number of servers below which none is removed.
    pub min_quorum: u64,
    /// The time for which a new server has to be healthy before it becomes a voter.
    pub server_stabilization_time: Duration,
    /// The node tag that holds a server's redundancy zone.
    pub redundancy_zone_tag: String,
    /// Disable automatic upgrades.
    pub disable_upgrade_migration: bool,
    /// The node tag that holds a server's version for upgrades.
    pub upgrade_version_tag: String,
    /// The log index at which the configuration was created.
    pub create_index: u64,
    /// The log index of its last change.
    pub modify_index: u64,
}

/// Consul's defaults, at index 0.
impl Default for AutopilotConfiguration {
    fn default() -> Self {
        AutopilotConfiguration {
            cleanup_dead_servers: true,
            last_contact_threshold: Duration::from_millis(200),
            max_trailing_logs: 250,
            min_quorum: 0,
            server_stabilization_time: Duration::from_secs(10),
            redundancy_zone_tag: String::new(),
            disable_upgrade_migration: false,
            upgrade_version_tag: String::new(),
            create_index: 0,
            modify_index: 0,
        }
    }
}

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
