//! The configuration of autopilot, and its settings one by one.

use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// The configuration of autopilot: Consul's, and three settings that Consul lacks.
///
/// The three act on a [`service::Autopilot`](crate::service::Autopilot). `None` is what the
/// embedder's [`Settings`](super::Settings) say, which a server shows instead.
///
/// A format such as JSON leaves out those of the three that are `None`; a format without
/// names, such as postcard, has all fields.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
    /// The time for which a server has to have failed before it is removed.
    #[serde(default)]
    pub failed_hold: Option<Duration>,
    /// The number of voters that the cluster is meant to have.
    #[serde(default)]
    pub intended_size: Option<u64>,
    /// Decide, and execute nothing.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

impl Serialize for AutopilotConfiguration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Serializes one of the settings that Consul lacks, and tells how many fields
        /// there are.
        fn extra<S: SerializeStruct, T: Serialize>(
            fields: &mut S,
            name: &'static str,
            value: &Option<T>,
            all: bool,
        ) -> Result<(), S::Error> {
            match value {
                None if !all => fields.skip_field(name),
                value => fields.serialize_field(name, value),
            }
        }
        let all = !serializer.is_human_readable();
        let given = [
            self.failed_hold.is_some(),
            self.intended_size.is_some(),
            self.dry_run.is_some(),
        ];
        let extras = given.iter().filter(|given| all || **given).count();
        let mut fields = serializer.serialize_struct("AutopilotConfiguration", 10 + extras)?;
        fields.serialize_field("cleanup_dead_servers", &self.cleanup_dead_servers)?;
        fields.serialize_field("last_contact_threshold", &self.last_contact_threshold)?;
        fields.serialize_field("max_trailing_logs", &self.max_trailing_logs)?;
        fields.serialize_field("min_quorum", &self.min_quorum)?;
        fields.serialize_field("server_stabilization_time", &self.server_stabilization_time)?;
        fields.serialize_field("redundancy_zone_tag", &self.redundancy_zone_tag)?;
        fields.serialize_field("disable_upgrade_migration", &self.disable_upgrade_migration)?;
        fields.serialize_field("upgrade_version_tag", &self.upgrade_version_tag)?;
        fields.serialize_field("create_index", &self.create_index)?;
        fields.serialize_field("modify_index", &self.modify_index)?;
        extra(&mut fields, "failed_hold", &self.failed_hold, all)?;
        extra(&mut fields, "intended_size", &self.intended_size, all)?;
        extra(&mut fields, "dry_run", &self.dry_run, all)?;
        fields.end()
    }
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
            failed_hold: None,
            intended_size: None,
            dry_run: None,
        }
    }
}

/// What a change of the configuration does to one of the settings that Consul lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueChange<T> {
    /// Keeps it.
    #[default]
    Keep,
    /// Returns it to what the embedder's [`Settings`](super::Settings) say.
    Reset,
    /// Sets it.
    Set(T),
}

impl<T> ValueChange<T> {
    fn apply(self, current: Option<T>) -> Option<T> {
        match self {
            ValueChange::Keep => current,
            ValueChange::Reset => None,
            ValueChange::Set(value) => Some(value),
        }
    }
}

/// Sets `Some` value, and keeps the current one for `None`.
impl<T> From<Option<T>> for ValueChange<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(ValueChange::Keep, ValueChange::Set)
    }
}

/// A change of the settings that Consul lacks. The default keeps all of them, as a change
/// by a program that was made for Consul does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriverChange {
    /// The change of [`AutopilotConfiguration::failed_hold`].
    pub failed_hold: ValueChange<Duration>,
    /// The change of [`AutopilotConfiguration::intended_size`].
    pub intended_size: ValueChange<u64>,
    /// The change of [`AutopilotConfiguration::dry_run`].
    pub dry_run: ValueChange<bool>,
}

impl DriverChange {
    /// Returns true if all settings are kept.
    pub(crate) fn keeps_all(&self) -> bool {
        *self == DriverChange::default()
    }

    /// Returns `configuration` with the three settings of `current`, changed.
    #[must_use]
    pub(crate) fn applied(
        self,
        configuration: AutopilotConfiguration,
        current: &AutopilotConfiguration,
    ) -> AutopilotConfiguration {
        AutopilotConfiguration {
            failed_hold: self.failed_hold.apply(current.failed_hold),
            intended_size: self.intended_size.apply(current.intended_size),
            dry_run: self.dry_run.apply(current.dry_run),
            ..configuration
        }
    }
}

/// Sets those of the three settings that the configuration has, and keeps the others.
impl From<&AutopilotConfiguration> for DriverChange {
    fn from(configuration: &AutopilotConfiguration) -> Self {
        DriverChange {
            failed_hold: configuration.failed_hold.into(),
            intended_size: configuration.intended_size.into(),
            dry_run: configuration.dry_run.into(),
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

/// A setting of the [`AutopilotConfiguration`] that Consul has.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_configuration_of_an_older_version_is_read() {
        let old = AutopilotConfiguration::default();
        let json = serde_json::to_string(&old).unwrap();
        assert!(!json.contains("failed_hold") && !json.contains("dry_run"));
        assert_eq!(
            serde_json::from_str::<AutopilotConfiguration>(&json).unwrap(),
            old
        );
        let new = AutopilotConfiguration {
            failed_hold: Some(Duration::from_secs(60)),
            intended_size: Some(5),
            dry_run: Some(false),
            ..old
        };
        let json = serde_json::to_string(&new).unwrap();
        assert_eq!(
            serde_json::from_str::<AutopilotConfiguration>(&json).unwrap(),
            new
        );
    }

    /// Fields that are `None` are left out of formats for humans only.
    #[test]
    fn binary_format_has_all_fields() {
        let configuration = AutopilotConfiguration::default();
        let binary = ciborium::Value::serialized(&configuration).unwrap();
        let fields = binary.as_map().unwrap().iter();
        let names: Vec<_> = fields.filter_map(|(name, _)| name.as_text()).collect();
        assert_eq!(names.len(), 13);
        assert_eq!(names[10..], ["failed_hold", "intended_size", "dry_run"]);
        let read: AutopilotConfiguration = binary.deserialized().unwrap();
        assert_eq!(read, configuration);
    }

    #[test]
    fn change_keeps_resets_and_sets() {
        let current = AutopilotConfiguration {
            failed_hold: Some(Duration::from_secs(60)),
            intended_size: Some(5),
            dry_run: Some(true),
            ..AutopilotConfiguration::default()
        };
        let change = DriverChange {
            failed_hold: ValueChange::Keep,
            intended_size: ValueChange::Reset,
            dry_run: ValueChange::Set(false),
        };
        let changed = change.applied(AutopilotConfiguration::default(), &current);
        assert_eq!(changed.failed_hold, current.failed_hold);
        assert_eq!(
            (changed.intended_size, changed.dry_run),
            (None, Some(false))
        );
    }
}
