//! The configuration of autopilot, and its settings one by one.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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

/// A change of the configuration, as a command for a replicated state machine.
///
/// ```
/// use cluster_operator::autopilot::{AutopilotChange, AutopilotConfiguration};
///
/// let mut current = None;
/// let change = |expected_index| AutopilotChange {
///     configuration: AutopilotConfiguration::default(),
///     expected_index,
/// };
/// assert!(change(Some(0)).apply(&mut current, 7));
/// assert!(!change(Some(0)).apply(&mut current, 8));
/// assert!(change(Some(7)).apply(&mut current, 9));
/// let current = current.unwrap();
/// assert_eq!((current.create_index, current.modify_index), (7, 9));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotChange {
    /// The new configuration. Its indexes are ignored.
    pub configuration: AutopilotConfiguration,
    /// The index of the old configuration's last change, if it has to match; 0 before the
    /// first change.
    pub expected_index: Option<u64>,
}

impl AutopilotChange {
    /// Applies the change as the log entry with this index, which counts from 1. Returns
    /// false, and changes nothing, if the current configuration does not have the expected
    /// index. `None` is the state before the first change.
    pub fn apply(self, current: &mut Option<AutopilotConfiguration>, index: u64) -> bool {
        let modified = current.as_ref().map_or(0, |current| current.modify_index);
        if self
            .expected_index
            .is_some_and(|expected| expected != modified)
        {
            return false;
        }
        let created = current.as_ref().map(|current| current.create_index);
        *current = Some(AutopilotConfiguration {
            create_index: created.unwrap_or(index),
            modify_index: index,
            ..self.configuration
        });
        true
    }
}

/// A setting of the [`AutopilotConfiguration`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AutopilotSetting {
    /// [`AutopilotConfiguration::cleanup_dead_servers`]
    CleanupDeadServers,
    /// [`AutopilotConfiguration::last_contact_threshold`]
    LastContactThreshold,
    /// [`AutopilotConfiguration::max_trailing_logs`]
    MaxTrailingLogs,
    /// [`AutopilotConfiguration::min_quorum`]
    MinQuorum,
    /// [`AutopilotConfiguration::server_stabilization_time`]
    ServerStabilizationTime,
    /// [`AutopilotConfiguration::redundancy_zone_tag`]
    RedundancyZoneTag,
    /// [`AutopilotConfiguration::disable_upgrade_migration`]
    DisableUpgradeMigration,
    /// [`AutopilotConfiguration::upgrade_version_tag`]
    UpgradeVersionTag,
}

impl AutopilotSetting {
    /// All settings, in the order of Consul's JSON.
    pub const ALL: [Self; 8] = [
        AutopilotSetting::CleanupDeadServers,
        AutopilotSetting::LastContactThreshold,
        AutopilotSetting::MaxTrailingLogs,
        AutopilotSetting::MinQuorum,
        AutopilotSetting::ServerStabilizationTime,
        AutopilotSetting::RedundancyZoneTag,
        AutopilotSetting::DisableUpgradeMigration,
        AutopilotSetting::UpgradeVersionTag,
    ];

    /// Returns the value of the setting as text.
    fn value(self, of: &AutopilotConfiguration) -> String {
        let duration = |value: Duration| match value {
            Duration::ZERO => "0s".into(),
            value => format!("{value:?}"),
        };
        match self {
            AutopilotSetting::CleanupDeadServers => of.cleanup_dead_servers.to_string(),
            AutopilotSetting::LastContactThreshold => duration(of.last_contact_threshold),
            AutopilotSetting::MaxTrailingLogs => of.max_trailing_logs.to_string(),
            AutopilotSetting::MinQuorum => of.min_quorum.to_string(),
            AutopilotSetting::ServerStabilizationTime => duration(of.server_stabilization_time),
            AutopilotSetting::RedundancyZoneTag => format!("{:?}", of.redundancy_zone_tag),
            AutopilotSetting::DisableUpgradeMigration => of.disable_upgrade_migration.to_string(),
            AutopilotSetting::UpgradeVersionTag => format!("{:?}", of.upgrade_version_tag),
        }
    }
}

/// Writes the name of the setting in Consul's JSON.
impl fmt::Display for AutopilotSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl AutopilotConfiguration {
    /// Returns the settings that differ from `defaults` although the backend does not act
    /// on them, each with its only value.
    pub(crate) fn ignored(
        &self,
        defaults: &AutopilotConfiguration,
        acts_on: impl Fn(AutopilotSetting) -> bool,
    ) -> Vec<(AutopilotSetting, String)> {
        let inert = AutopilotSetting::ALL
            .into_iter()
            .filter(|setting| !acts_on(*setting));
        inert
            .map(|setting| (setting, setting.value(defaults)))
            .filter(|(setting, only)| setting.value(self) != *only)
            .collect()
    }
}
