//! The limits within which autopilot acts.

use std::time::Duration;

use crate::autopilot::AutopilotConfiguration;

/// The default [hold](Settings::with_hold): three minutes.
const HOLD: Duration = Duration::from_secs(180);

/// The default [window](Settings::with_window): one hour.
const WINDOW: Duration = Duration::from_secs(3600);

/// The default [pause](Settings::with_pause): ten seconds.
const PAUSE: Duration = Duration::from_secs(10);

/// The limits within which [`decide`](super::decide) acts: Consul's configuration, and
/// what Consul lacks.
///
/// New settings are a dry run: the decision names the action, the memory does not count
/// it, and the caller must not execute it.
///
/// ```
/// use std::time::Duration;
///
/// use cluster_operator::autopilot::{AutopilotConfiguration, InvalidSettings, Settings};
///
/// let mut configuration = AutopilotConfiguration::default();
/// let settings = Settings::new(5, configuration.clone())?.with_hold(Duration::from_secs(60))?;
/// assert!(settings.is_dry_run());
/// assert_eq!(settings.min_quorum(), 4);
/// assert_eq!(settings.removal_limit(), 2);
///
/// configuration.min_quorum = 6;
/// let refused = Settings::new(5, configuration).unwrap_err();
/// assert_eq!(refused.to_string(), "MinQuorum 6 is above the intended size 5: lower it");
/// # Ok::<(), InvalidSettings>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    intended: usize,
    pub(super) configuration: AutopilotConfiguration,
    pub(super) hold: Duration,
    pub(super) window: Duration,
    pub(super) pause: Duration,
    dry_run: bool,
}

impl Settings {
    /// The shortest hold: ten seconds. A process may be frozen for longer than a shorter
    /// one.
    pub const SHORTEST_HOLD: Duration = Duration::from_secs(10);

    /// Creates the settings of a cluster that is meant to have this number of voters:
    /// a dry run with a hold of three minutes, a window of one hour and a pause of ten
    /// seconds.
    ///
    /// # Errors
    /// [`InvalidSettings`] if the number is zero, or below the configuration's
    /// [`min_quorum`](AutopilotConfiguration::min_quorum), or if a setting of the
    /// configuration that Consul lacks is not valid.
    pub fn new(
        intended: usize,
        configuration: AutopilotConfiguration,
    ) -> Result<Self, InvalidSettings> {
        let settings = Settings {
            intended,
            configuration: AutopilotConfiguration::default(),
            hold: HOLD,
            window: WINDOW,
            pause: PAUSE,
            dry_run: true,
        };
        settings.with_configuration(configuration)
    }

    /// Sets the configuration. Its [hold](AutopilotConfiguration::failed_hold),
    /// [intended size](AutopilotConfiguration::intended_size) and
    /// [dry run](AutopilotConfiguration::dry_run) replace these settings' own where it has
    /// them.
    ///
    /// # Errors
    /// [`InvalidSettings`] if the settings contradict each other then.
    pub fn with_configuration(
        mut self,
        configuration: AutopilotConfiguration,
    ) -> Result<Self, InvalidSettings> {
        self.hold = configuration.failed_hold.unwrap_or(self.hold);
        if let Some(size) = configuration.intended_size {
            self.intended = usize::try_from(size).unwrap_or(usize::MAX);
        }
        self.dry_run = configuration.dry_run.unwrap_or(self.dry_run);
        self.configuration = configuration;
        self.checked()
    }

    /// Sets the time for which a server has to have failed before it is removed.
    ///
    /// # Errors
    /// [`InvalidSettings`] if it is below [`SHORTEST_HOLD`](Settings::SHORTEST_HOLD) or
    /// above the window.
    pub fn with_hold(mut self, hold: Duration) -> Result<Self, InvalidSettings> {
        self.hold = hold;
        self.checked()
    }

    /// Sets the time in which no more than [`removal_limit`](Settings::removal_limit)
    /// voters are removed, and after which an earlier failure of a server does not
    /// lengthen its hold any more.
    ///
    /// # Errors
    /// [`InvalidSettings`] if it is below the hold.
    pub fn with_window(mut self, window: Duration) -> Result<Self, InvalidSettings> {
        self.window = window;
        self.checked()
    }

    /// Sets the time without action after an election, after a start and after an action.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Ends the dry run: the caller executes what is decided.
    #[must_use]
    pub fn acting(mut self) -> Self {
        self.dry_run = false;
        self
    }

    /// Returns the time for which a server has to have failed before it is removed.
    pub fn hold(&self) -> Duration {
        self.hold
    }

    /// Returns the time without action after an election, after a start and after an
    /// action.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Returns true if nothing is executed.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Returns the number of voters that the cluster is meant to have.
    pub fn intended(&self) -> usize {
        self.intended
    }

    /// Returns the number of voters below which none is removed: the configuration's
    /// [`min_quorum`](AutopilotConfiguration::min_quorum), or if that is 0 the intended
    /// size, less one from four voters on.
    pub fn min_quorum(&self) -> usize {
        match usize::try_from(self.configuration.min_quorum) {
            Ok(0) => self.intended - usize::from(self.intended >= 4),
            Ok(least) => least,
            Err(_) => usize::MAX,
        }
    }

    /// Returns the largest number of voters that are removed in a window: the number of
    /// failures that the intended size tolerates.
    pub fn removal_limit(&self) -> usize {
        (self.intended - 1) / 2
    }

    /// Returns the configuration with these settings where it has none of its own.
    pub(crate) fn fill(&self, configuration: AutopilotConfiguration) -> AutopilotConfiguration {
        AutopilotConfiguration {
            failed_hold: configuration.failed_hold.or(Some(self.hold)),
            intended_size: configuration.intended_size.or(Some(self.intended as u64)),
            dry_run: configuration.dry_run.or(Some(self.dry_run)),
            ..configuration
        }
    }

    fn checked(self) -> Result<Self, InvalidSettings> {
        let (hold, window, intended) = (self.hold, self.window, self.intended);
        let min_quorum = self.configuration.min_quorum;
        if intended == 0 {
            return Err(InvalidSettings::NoVoters);
        }
        if usize::try_from(min_quorum).map_or(true, |least| least > intended) {
            return Err(InvalidSettings::MinQuorumAboveSize {
                min_quorum,
                intended,
            });
        }
        if hold < Settings::SHORTEST_HOLD {
            return Err(InvalidSettings::HoldTooShort { hold });
        }
        if hold > window {
            return Err(InvalidSettings::HoldAboveWindow { hold, window });
        }
        Ok(self)
    }
}

/// The error for settings that contradict each other or are not safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// The intended size is zero.
    #[error("the intended size is 0: give the number of voters that the cluster should have")]
    NoVoters,
    /// MinQuorum is above the intended size, so that nothing could ever be removed.
    #[error("MinQuorum {min_quorum} is above the intended size {intended}: lower it")]
    MinQuorumAboveSize {
        /// The least number of voters.
        min_quorum: u64,
        /// The intended number of voters.
        intended: usize,
    },
    /// The hold is too short to tell a dead process from a frozen one.
    #[error("a hold of {hold:?} is too short: give 10 s at least")]
    HoldTooShort {
        /// The hold.
        hold: Duration,
    },
    /// The hold is longer than the window.
    #[error("the hold of {hold:?} is longer than the window of {window:?}: shorten the hold")]
    HoldAboveWindow {
        /// The hold.
        hold: Duration,
        /// The window.
        window: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_beats_the_embedders_settings() {
        let embedders = Settings::new(5, AutopilotConfiguration::default()).unwrap();
        let configuration = AutopilotConfiguration {
            failed_hold: Some(Duration::from_secs(60)),
            intended_size: Some(3),
            dry_run: Some(false),
            ..AutopilotConfiguration::default()
        };
        let settings = embedders.clone().with_configuration(configuration).unwrap();
        assert_eq!(settings.hold(), Duration::from_secs(60));
        assert_eq!((settings.intended(), settings.is_dry_run()), (3, false));
        let unset = embedders
            .clone()
            .with_configuration(AutopilotConfiguration::default());
        assert_eq!(unset.unwrap(), embedders);
    }

    #[test]
    fn contradictory_configuration_is_refused_with_a_way_out() {
        type Spoil = fn(&mut AutopilotConfiguration);
        let spoil: [(Spoil, &str); 4] = [
            (
                |it| it.intended_size = Some(0),
                "the intended size is 0: give the number of voters that the cluster should have",
            ),
            (
                |it| (it.intended_size, it.min_quorum) = (Some(3), 4),
                "MinQuorum 4 is above the intended size 3: lower it",
            ),
            (
                |it| it.failed_hold = Some(Duration::from_secs(9)),
                "a hold of 9s is too short: give 10 s at least",
            ),
            (
                |it| it.failed_hold = Some(Duration::from_secs(7200)),
                "the hold of 7200s is longer than the window of 3600s: shorten the hold",
            ),
        ];
        let embedders = Settings::new(5, AutopilotConfiguration::default()).unwrap();
        for (spoil, text) in spoil {
            let mut configuration = AutopilotConfiguration::default();
            spoil(&mut configuration);
            let refused = embedders.clone().with_configuration(configuration);
            assert_eq!(refused.unwrap_err().to_string(), text);
        }
    }
}
