//! Autopilot: its configuration, by which dead servers are removed and new ones get
//! to vote, and the health of the servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::OperatorError;
use crate::types::{NodeName, ServerAddress, ServerId};

/// The autopilot of the server that the service runs in. A server without one
/// leaves it out; its autopilot endpoints then say that they are unsupported.
///
/// # Contract
/// The service calls it on the leader only. A change is replicated before the
/// method returns; an error says in its outcome whether it may yet be.
#[async_trait]
pub trait AutopilotBackend: Send + Sync {
    /// The rules in force.
    ///
    /// # Errors
    /// What keeps it from knowing.
    ///
    /// # Cancel safety
    /// It reads only; the future can be dropped.
    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError>;

    /// Replaces the rules; the indexes of `configuration` are ignored. With
    /// `expected_index`, only if they were last changed at that index, else
    /// nothing changes and the answer is `false`.
    ///
    /// # Errors
    /// What keeps it from replicating the change.
    ///
    /// # Cancel safety
    /// Dropping the future leaves either the old or the new rules.
    async fn set_configuration(
        &self,
        configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError>;

    /// What it knows of the servers.
    ///
    /// # Errors
    /// What keeps it from knowing.
    ///
    /// # Cancel safety
    /// It reads only; the future can be dropped.
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

/// How autopilot looks after the servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotConfiguration {
    /// Whether dead servers are removed when a new one joins.
    pub cleanup_dead_servers: bool,
    /// How long a healthy server may go without contact to the leader.
    pub last_contact_threshold: Duration,
    /// How many log entries a healthy server may lag behind.
    pub max_trailing_logs: u64,
    /// The number of servers below which none is removed.
    pub min_quorum: u64,
    /// How long a new server has to be healthy before it votes.
    pub server_stabilization_time: Duration,
    /// The node tag that names redundancy zones.
    pub redundancy_zone_tag: String,
    /// Whether automatic upgrades are off.
    pub disable_upgrade_migration: bool,
    /// The node tag that names the version for upgrades.
    pub upgrade_version_tag: String,
    /// The log index at which the configuration came to be.
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

/// What autopilot knows of the servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotState {
    /// Whether all servers are healthy.
    pub healthy: bool,
    /// How many servers can be lost without losing the quorum.
    pub failure_tolerance: u64,
    /// The same, if the non-voters were made voters in time.
    pub optimistic_failure_tolerance: u64,
    /// The servers, in the order of their ids.
    pub servers: Vec<AutopilotServer>,
    /// The leader, if there is one.
    pub leader: Option<ServerId>,
    /// The voters.
    pub voters: Vec<ServerId>,
}

/// What autopilot knows of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotServer {
    /// The server's id.
    pub id: ServerId,
    /// Its node name.
    pub name: NodeName,
    /// Its Raft address.
    pub address: ServerAddress,
    /// What gossip says of it: `alive`, `failed`, `left` or `none`.
    pub node_status: String,
    /// The version of its software.
    pub version: String,
    /// How long ago the leader heard of it; zero for the leader.
    pub last_contact: Duration,
    /// The term of its last log entry.
    pub last_term: u64,
    /// The index of its last log entry.
    pub last_index: u64,
    /// Whether it is healthy.
    pub healthy: bool,
    /// Since when its health is what it is.
    pub stable_since: SystemTime,
    /// What it is to Raft.
    pub role: RaftRole,
    /// What its node says of itself.
    pub meta: BTreeMap<String, String>,
}

/// What a server is to Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RaftRole {
    /// It leads, and votes.
    Leader,
    /// It votes.
    Voter,
    /// It does not vote.
    Nonvoter,
}
