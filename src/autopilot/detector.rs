//! The trait for a failure detector, and what it says about a server.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::OperatorError;
use crate::types::NodeName;

/// The failure detector of the server that the service runs in, such as its member of the
/// gossip pool. Autopilot removes no server that it does not know, or that it calls alive.
///
/// # Contract
/// - It tells what this server's own detector has seen, not what another server reports.
/// - [`Detection::lasted`] begins anew with each change of the status, and when this server
///   starts. A time that is too short delays a removal; one that is too long removes a
///   server that is alive.
/// - A node is named as in [`ServerStatus::name`](crate::raft::ServerStatus::name).
#[async_trait]
pub trait FailureDetector: Send + Sync {
    /// Returns the status of each node that it knows.
    ///
    /// # Errors
    /// The detector cannot be read.
    ///
    /// # Cancel safety
    /// The call only reads; the future can be dropped.
    async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError>;
}

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        #[async_trait]
        impl<D: FailureDetector + ?Sized> FailureDetector for $pointer<D> {
            async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
                (**self).detect().await
            }
        }
    )+};
}

forward!(Arc, Box);

/// The status of a server in a failure detector, such as gossip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Detected {
    /// It answers.
    Alive,
    /// It stopped answering without notice.
    Failed,
    /// It announced that it leaves for good.
    Left,
}

/// Writes `alive`, `failed` or `left`, as Consul does.
impl fmt::Display for Detected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Detected::Alive => "alive",
            Detected::Failed => "failed",
            Detected::Left => "left",
        })
    }
}

/// The status of a server, and for how long it has had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Detection {
    /// The status.
    pub status: Detected,
    /// The time for which this server's own detector has seen the status without a break.
    pub lasted: Duration,
}
