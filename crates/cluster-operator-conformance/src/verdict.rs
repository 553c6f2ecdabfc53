//! How a check says what it has found.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::poll::{patience, soon, within};
use super::{Fixture, NotSupported};

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
    let limit = fixture.deadline() / 2;
    let mut seen = String::from("nothing");
    let found = async {
        loop {
            let mut call = std::pin::pin!(probe());
            let answer = match soon(fixture, call.as_mut()).await {
                Some(answer) => answer,
                None => {
                    // It may be slow only, so it is waited for all the same.
                    seen = format!(
                        "a call hangs: no answer within {:?}, and before it {seen}",
                        patience(fixture)
                    );
                    call.await
                }
            };
            match answer {
                Ok(found) => return found,
                Err(other) => seen = other,
            }
            fixture.timer().sleep(PAUSE).await;
        }
    };
    match within(fixture, limit, found).await {
        Some(found) => Ok(found),
        None => Err(Stop::failed(format!("{expected}, within {limit:?}"), seen)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_executor::block_on;

    use super::*;
    use cluster_operator::timer::{Sleep, Timer};

    /// A fixture on whose clock every sleep is over at once.
    struct Rushed;

    impl Timer for Rushed {
        fn sleep(&self, _: Duration) -> Sleep {
            Box::pin(ready(()))
        }
    }

    impl Fixture for Rushed {
        fn timer(&self) -> &dyn Timer {
            self
        }
    }

    fn seen(found: Result<(), Stop>) -> String {
        match found {
            Err(Stop::Failed { seen, .. }) => seen,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_hangs_is_said_to_hang_and_not_to_be_seen_as_nothing() {
        let found = until(&Rushed, "an end", pending::<Result<(), String>>);
        assert_eq!(
            seen(block_on(found)),
            "a call hangs: no answer within 5s, and before it nothing"
        );
        let mut answers = vec![Err("chaos".to_string())];
        let found = until(&Rushed, "order", || {
            let answer = answers.pop();
            async move {
                match answer {
                    Some(answer) => answer,
                    None => pending::<Result<(), String>>().await,
                }
            }
        });
        assert_eq!(
            seen(block_on(found)),
            "a call hangs: no answer within 5s, and before it chaos"
        );
    }
}
