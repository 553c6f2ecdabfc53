//! What a server's autopilot has to be able to do.

use std::sync::Arc;

use async_trait::async_trait;

use super::{AutopilotConfiguration, AutopilotState};
use crate::error::OperatorError;

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
