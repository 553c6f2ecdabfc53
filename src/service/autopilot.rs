//! Autopilot's operations on the server that serves them.

use super::Inner;
use super::raft::{Progress, unchanged};
use crate::autopilot::{AutopilotBackend, AutopilotConfiguration, DriverChange};
use crate::error::{ErrorKind, OperatorError};
use crate::operation::OperatorReply;
use crate::raft::RaftView;

/// The largest number of attempts of a change that keeps a setting, while others change the
/// configuration.
const SET_ATTEMPTS: usize = 4;

impl Inner {
    pub(super) fn autopilot(&self) -> Result<&dyn AutopilotBackend, OperatorError> {
        self.autopilot
            .as_deref()
            .ok_or_else(|| OperatorError::unsupported("autopilot"))
    }

    /// Returns the configuration, with the settings of this server's driver in force.
    pub(super) async fn autopilot_configuration(&self) -> Result<OperatorReply, OperatorError> {
        let configuration = self.autopilot()?.configuration().await?;
        let configuration = match self.driver.settings() {
            Some(settings) => settings.fill(configuration),
            // They have no effect here.
            None => AutopilotConfiguration {
                failed_hold: None,
                intended_size: None,
                dry_run: None,
                ..configuration
            },
        };
        Ok(OperatorReply::AutopilotConfiguration(configuration))
    }

    /// Replaces Consul's settings, and changes the others.
    pub(super) async fn set_autopilot_configuration(
        &self,
        configuration: &AutopilotConfiguration,
        change: &DriverChange,
        expected_index: Option<u64>,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        let autopilot = self.autopilot()?;
        let ignored = configuration.ignored(&self.autopilot_defaults, |setting| {
            autopilot.acts_on(setting)
        });
        if !ignored.is_empty() {
            let settings = ignored.iter();
            let settings: Vec<_> = settings
                .map(|(setting, only)| format!("{setting} other than {only}"))
                .collect();
            return Err(OperatorError::unsupported(format!(
                "an autopilot with {}",
                settings.join(" or ")
            )));
        }
        let settings = self.driver.settings();
        if settings.is_none() && !change.keeps_all() {
            return Err(OperatorError::invalid_request(
                "no autopilot runs on the leader, so FailedHold, IntendedSize and DryRun would \
                 have no effect: leave them out, or run one",
            ));
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let current = autopilot.configuration().await.map_err(unchanged)?;
            let changed = change.clone().applied(configuration.clone(), &current);
            let of_driver = settings.is_some() || !DriverChange::from(&changed).keeps_all();
            let mut expected = expected_index;
            if of_driver {
                if expected.is_some_and(|expected| expected != current.modify_index) {
                    return Ok(OperatorReply::AutopilotConfigurationSet(false));
                }
                // Nobody may change what is kept in the meantime.
                expected = Some(current.modify_index);
            }
            if let Some(settings) = &settings {
                let settings = settings.clone().with_configuration(changed.clone());
                settings.map_err(|error| OperatorError::invalid_request(error.to_string()))?;
            }
            progress.begin();
            let result = autopilot.set_configuration(changed, expected).await;
            progress.note(&result);
            let replaced = result?;
            if !replaced {
                progress.undo();
            }
            if replaced || expected_index.is_some() {
                return Ok(OperatorReply::AutopilotConfigurationSet(replaced));
            }
            // Clients that sent no index take any answer for success.
            if attempts == SET_ATTEMPTS {
                let reason = format!(
                    "others changed autopilot's configuration at the same time, {attempts} \
                     times: repeat it"
                );
                let error = OperatorError::new(ErrorKind::Unavailable { reason });
                return Err(unchanged(error));
            }
        }
    }

    /// `view` is the leader's view, and `None` for a stale read, whose answer does not need
    /// one: without it, there is no report.
    pub(super) async fn autopilot_state(
        &self,
        view: Option<RaftView>,
    ) -> Result<OperatorReply, OperatorError> {
        let mut state = self.autopilot()?.state().await?;
        state.limit_times();
        let view = match (view, self.raft()) {
            (None, Ok(raft)) if self.driver.settings().is_some() => raft.view().await.ok(),
            (view, _) => view,
        };
        state.autopilot = view.and_then(|view| self.report(&view));
        Ok(OperatorReply::AutopilotState(state))
    }
}
