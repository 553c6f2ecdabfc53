//! The trait for a server's autopilot.

use std::sync::Arc;

use async_trait::async_trait;

use super::{AutopilotConfiguration, AutopilotSetting, AutopilotState};
use crate::error::OperatorError;

/// The autopilot of the server that the service runs in. It is optional: without one,
/// the autopilot endpoints answer that they are not supported.
///
/// # Contract
/// - The service calls it on the leader, and for stale reads on any server.
/// - A change is replicated before the method returns; the outcome of an error says
///   whether the change may still take effect.
/// - No setting is accepted and then ignored: the service rejects a value of a setting that
///   the backend does not [act on](AutopilotBackend::acts_on), unless it is the
///   [default](AutopilotBackend::defaults).
/// - All fields of a configuration are stored and returned, also those that Consul lacks. The
///   service fills in what a [`service::Autopilot`](crate::service::Autopilot) has in force
///   before it shows them, and keeps or changes them as a request says.
/// - The defaults of all servers of a cluster are the same.
#[async_trait]
pub trait AutopilotBackend: Send + Sync {
    /// Returns the configuration before the first change. A change over HTTP takes
    /// from it the fields that it omits. Called once, when the service is built.
    /// Default: Consul's.
    fn defaults(&self) -> AutopilotConfiguration {
        AutopilotConfiguration::default()
    }

    /// Returns true if a change of this setting has an effect. Default: true for all.
    fn acts_on(&self, setting: AutopilotSetting) -> bool {
        let _ = setting;
        true
    }

    /// Returns the current configuration: the [defaults](AutopilotBackend::defaults), at
    /// index 0, before the first change.
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
            fn defaults(&self) -> AutopilotConfiguration {
                (**self).defaults()
            }

            fn acts_on(&self, setting: AutopilotSetting) -> bool {
                (**self).acts_on(setting)
            }

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
