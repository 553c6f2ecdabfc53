//! What a check runs against, and what every check does with it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::timer::Timer;
use futures_util::future::{Either, select};

/// What the author of a backend builds around it for one check: a small cluster, a
/// pool, an authorizer that knows some tokens. Each check gets a fresh one.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The clock of the checks' timeouts.
    fn timer(&self) -> &dyn Timer;

    /// The time that one check may take, by the [timer](Fixture::timer); one that takes
    /// longer fails. A condition that takes time, such as an election, gets half of it,
    /// and a call a twelfth. Default: 60 seconds.
    fn deadline(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Stops what the fixture has started. Called after every check, whatever its
    /// result, with the same deadline; then the fixture is dropped. Default: nothing.
    ///
    /// # Panics
    /// May panic if something cannot be stopped, as `Drop` may. The check then fails,
    /// even if it was skipped.
    async fn close(&self) {}
}

/// Something that a fixture cannot do, and why. The checks that need it are skipped,
/// and the [`Report`](super::Report) says so.
///
/// ```
/// use cluster_operator_conformance::NotSupported;
///
/// let reason = NotSupported::new("this engine has no non-voters");
/// assert_eq!(reason.to_string(), "this engine has no non-voters");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSupported(String);

impl NotSupported {
    /// Makes one with this reason, for the reader of the report.
    pub fn new(reason: impl Into<String>) -> Self {
        NotSupported(reason.into())
    }

    /// The answer of a fixture that cannot do this.
    pub(crate) fn cannot<T>(act: &str) -> Result<T, Self> {
        Err(NotSupported(format!("the fixture cannot {act}")))
    }
}

impl fmt::Display for NotSupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotSupported {}

/// Why a check does not go on.
#[derive(Debug)]
pub(crate) enum Stop {
    Failed { expected: String, seen: String },
    Skipped { reason: String },
}

/// The result of a check, or of a part of one.
pub(crate) type Verdict = Result<(), Stop>;

impl Stop {
    pub(crate) fn failed(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Stop::Failed {
            expected: expected.into(),
            seen: seen.into(),
        }
    }
}

impl From<NotSupported> for Stop {
    fn from(NotSupported(reason): NotSupported) -> Self {
        Stop::Skipped { reason }
    }
}

/// Fails unless the condition holds.
pub(crate) fn ensure(holds: bool, expected: impl fmt::Display, seen: impl fmt::Debug) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(Stop::failed(expected.to_string(), format!("{seen:?}")))
    }
}

/// Fails unless both are equal. `what` names them.
pub(crate) fn same<T: PartialEq + fmt::Debug>(what: &str, expected: &T, seen: &T) -> Verdict {
    ensure(seen == expected, format_args!("{what}: {expected:?}"), seen)
}

/// So many items, as the check wanted them.
pub(crate) fn exactly<T, const N: usize>(
    what: &str,
    items: impl Iterator<Item = T>,
) -> Result<[T; N], Stop> {
    let items: Vec<_> = items.collect();
    let other = |items: Vec<_>| Stop::failed(format!("{N} {what}"), items.len().to_string());
    items.try_into().map_err(other)
}

/// A check in progress: its fixture, and the steps that it has taken.
pub(crate) struct Trial<'a, F: ?Sized> {
    pub(crate) fixture: &'a F,
    /// For the reader of a failure.
    pub(crate) steps: &'a Mutex<Vec<String>>,
}

impl<F: ?Sized> Clone for Trial<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: ?Sized> Copy for Trial<'_, F> {}

impl<F: Fixture + ?Sized> Trial<'_, F> {
    /// Records a step.
    pub(crate) fn step(&self, step: impl Into<String>) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(step.into());
    }

    /// The timeout of a call: a twelfth of the deadline.
    pub(crate) fn timeout(&self) -> Duration {
        self.fixture.deadline() / 12
    }

    /// The output of the call, if it ends within this time.
    pub(crate) async fn within<T>(
        &self,
        time: Duration,
        call: impl Future<Output = T>,
    ) -> Option<T> {
        match select(pin!(call), self.fixture.timer().sleep(time)).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }

    /// The answer to a call, which has to come within this time, recorded as a step.
    pub(crate) async fn answer<T: fmt::Debug>(
        &self,
        what: &str,
        time: Duration,
        call: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        let answer = self.within(time, call).await;
        match &answer {
            Some(answer) => self.step(format!("{what}: {answer:?}")),
            None => self.step(format!("{what}: no answer within {time:?}")),
        }
        let expected = || Stop::failed(format!("an answer within {time:?}: {what}"), "none");
        answer.ok_or_else(expected)
    }

    /// The output of the call, if it ends within a third of the deadline: more than it
    /// is told, since an error that it returns at its timeout counts.
    pub(crate) async fn overdue<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        self.within(self.fixture.deadline() / 3, call).await
    }

    /// Polls the call this often, and then drops it. It may also end before, or never
    /// be woken again.
    pub(crate) async fn dropped<T>(&self, polls: usize, call: impl Future<Output = T>) {
        let mut call = pin!(call);
        let mut left = polls;
        let polled = poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            match call.as_mut().poll(context) {
                Poll::Pending if left > 0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        });
        self.within(self.timeout(), polled).await;
    }

    /// Probes again and again until it finds what is expected, for half of the deadline.
    /// Until then the probe says what it has seen. Records a step if it is found.
    pub(crate) async fn until<T, Found>(
        &self,
        expected: &str,
        mut probe: impl FnMut() -> Found,
    ) -> Result<T, Stop>
    where
        Found: Future<Output = Result<T, String>>,
    {
        let limit = self.fixture.deadline() / 2;
        let mut seen = String::from("nothing");
        let mut asking = false;
        let found = async {
            loop {
                asking = true;
                match probe().await {
                    Ok(found) => return found,
                    Err(other) => seen = other,
                }
                asking = false;
                self.fixture.timer().sleep(PAUSE).await;
            }
        };
        match self.within(limit, found).await {
            Some(found) => {
                self.step(format!("found: {expected}"));
                Ok(found)
            }
            None => {
                let call = if asking {
                    "no answer to a call, and before it "
                } else {
                    ""
                };
                Err(Stop::failed(
                    format!("{expected}, within {limit:?}"),
                    format!("{call}{seen}"),
                ))
            }
        }
    }
}

/// The time between two probes.
const PAUSE: Duration = Duration::from_millis(20);
