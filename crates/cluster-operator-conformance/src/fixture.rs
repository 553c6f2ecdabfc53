//! What a check runs against.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use cluster_operator::timer::Timer;

/// What every suite's fixture has: time, and an end.
///
/// A fixture is what the author of a backend builds around it for one check: a
/// small cluster, a ring, an authorizer that knows some tokens. Each check gets
/// a fresh one.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The clock by which the checks wait.
    fn timer(&self) -> &dyn Timer;

    /// How long one check may take, by the [timer](Fixture::timer), before it
    /// counts as one that hangs. A condition that takes time to come true, such
    /// as an election, gets half of it. Default: 60 seconds.
    fn deadline(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Ends what the fixture has started. Called after every check, however that
    /// has ended, with the same deadline; then the fixture is dropped. Default:
    /// nothing.
    ///
    /// # Panics
    /// May panic if something cannot be ended, as `Drop` may. The check has then
    /// failed, also if it was skipped.
    async fn close(&self) {}
}

/// Something that a fixture cannot do, and why. The checks that need it are
/// skipped, and the [`Report`](super::Report) says so.
///
/// ```
/// use cluster_operator_conformance::NotSupported;
///
/// let reason = NotSupported::new("this engine has no members without a vote");
/// assert_eq!(reason.to_string(), "this engine has no members without a vote");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSupported {
    reason: String,
}

impl NotSupported {
    /// For this reason, for the reader of the report.
    pub fn new(reason: impl Into<String>) -> Self {
        NotSupported {
            reason: reason.into(),
        }
    }
}

impl fmt::Display for NotSupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for NotSupported {}
