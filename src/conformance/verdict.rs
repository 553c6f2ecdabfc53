//! How a check says what it has found.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::{Fixture, NotSupported};
use crate::time::Deadline;

/// Passed, or why not.
pub(super) type Verdict = Result<(), Stop>;

/// Why a check goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    Failed { expected: String, seen: String },
    Skipped { reason: String },
}

impl Stop {
    pub(super) fn failed(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Stop::Failed {
            expected: expected.into(),
            seen: seen.into(),
        }
    }
}

/// What the fixture cannot do, the check does not ask for.
impl From<NotSupported> for Stop {
    fn from(not_supported: NotSupported) -> Self {
        Stop::Skipped {
            reason: not_supported.to_string(),
        }
    }
}

/// Goes on if it is so.
pub(super) fn ensure(holds: bool, expected: impl fmt::Display, seen: impl fmt::Debug) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(Stop::failed(expected.to_string(), format!("{seen:?}")))
    }
}

/// Goes on if both are the same. `what` says of what they are.
pub(super) fn same<T: PartialEq + fmt::Debug>(what: &str, expected: &T, seen: &T) -> Verdict {
    ensure(seen == expected, format_args!("{what}: {expected:?}"), seen)
}

/// How long a condition is left alone before it is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `probe` finds what is expected; until then it says what it has
/// seen.
pub(super) async fn until<F, T, Probe, Found>(
    fixture: &F,
    expected: &str,
    mut probe: Probe,
) -> Result<T, Stop>
where
    F: Fixture + ?Sized,
    Probe: FnMut() -> Found,
    Found: Future<Output = Result<T, String>>,
{
    let patience = fixture.deadline() / 2;
    let mut seen = String::from("nothing");
    let found = async {
        loop {
            match probe().await {
                Ok(found) => return found,
                Err(other) => seen = other,
            }
            fixture.timer().sleep(PAUSE).await;
        }
    };
    match Deadline::new(fixture.timer(), patience).bound(found).await {
        Some(found) => Ok(found),
        None => Err(Stop::failed(
            format!("{expected}, within {patience:?}"),
            seen,
        )),
    }
}
