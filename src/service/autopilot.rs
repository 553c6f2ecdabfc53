//! Autopilot operations on the server that serves them.

use super::Inner;
use crate::autopilot::{AutopilotBackend, AutopilotConfiguration};
use crate::error::OperatorError;
use crate::operation::OperatorReply;

impl Inner {
    fn autopilot(&self) -> Result<&dyn AutopilotBackend, OperatorError> {
        self.autopilot
            .as_deref()
            .ok_or_else(|| OperatorError::unsupported("autopilot"))
    }

    pub(super) async fn autopilot_configuration(&self) -> Result<OperatorReply, OperatorError> {
        let configuration = self.autopilot()?.configuration().await?;
        Ok(OperatorReply::AutopilotConfiguration(configuration))
    }

    pub(super) async fn set_autopilot_configuration(
        &self,
        configuration: &AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<OperatorReply, OperatorError> {
        self.autopilot()?
            .set_configuration(configuration.clone(), expected_index)
            .await
            .map(OperatorReply::AutopilotConfigurationSet)
    }

    pub(super) async fn autopilot_state(&self) -> Result<OperatorReply, OperatorError> {
        let state = self.autopilot()?.state().await?;
        Ok(OperatorReply::AutopilotState(state))
    }
}
