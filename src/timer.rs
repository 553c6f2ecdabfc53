//! Timers and deadlines.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};

/// The future of [`Timer::sleep`].
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source of time.
///
/// The library has no runtime and no clock of its own and uses this trait instead.
/// The feature `tokio` provides `TokioTimer`; the feature `mock` has a clock that a
/// test advances.
pub trait Timer: Send + Sync {
    /// Returns a future that is ready once the duration has passed since this call.
    fn sleep(&self, duration: Duration) -> Sleep;

    /// Returns the current time. Override it if `sleep` does not take real time, so
    /// that both use the same clock.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl<T: Timer + ?Sized> Timer for Arc<T> {
    fn sleep(&self, duration: Duration) -> Sleep {
        (**self).sleep(duration)
    }

    fn now(&self) -> Instant {
        (**self).now()
    }
}

impl<T: Timer + ?Sized> Timer for Box<T> {
    fn sleep(&self, duration: Duration) -> Sleep {
        (**self).sleep(duration)
    }

    fn now(&self) -> Instant {
        (**self).now()
    }
}

/// A [`Timer`] on tokio's clock. Its sleeps have to be awaited inside a tokio
/// runtime with time enabled.
#[cfg(feature = "tokio")]
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioTimer;

#[cfg(feature = "tokio")]
impl Timer for TokioTimer {
    /// # Panics
    /// Outside a tokio runtime, or in one without time enabled.
    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(::tokio::time::sleep(duration))
    }

    fn now(&self) -> Instant {
        ::tokio::time::Instant::now().into_std()
    }
}

/// The time limit of a call.
#[derive(Clone, Copy)]
pub(crate) struct Budget<'a> {
    timer: &'a dyn Timer,
    whole: Duration,
    began: Instant,
}

impl<'a> Budget<'a> {
    /// Starts a budget now.
    pub(crate) fn new(timer: &'a dyn Timer, whole: Duration) -> Self {
        Budget {
            timer,
            whole,
            began: timer.now(),
        }
    }

    pub(crate) fn whole(&self) -> Duration {
        self.whole
    }

    /// Returns the time that is left. Only whole milliseconds are deducted, so that
    /// errors show round numbers.
    pub(crate) fn left(&self) -> Duration {
        let passed = self.timer.now().saturating_duration_since(self.began);
        let passed = passed - Duration::from_nanos(u64::from(passed.subsec_nanos() % 1_000_000));
        self.whole.saturating_sub(passed)
    }

    /// Returns the time for a backend or the next server: nine tenths of what is left,
    /// so that its answer arrives before this server gives up.
    pub(crate) fn share(&self) -> Duration {
        let left = self.left();
        left - left / 10
    }

    /// Returns a deadline of the whole budget, for work that starts with it.
    pub(crate) fn deadline(&self) -> Deadline<'a> {
        Deadline::new(self.timer, self.whole)
    }
}

/// A time limit for futures.
///
/// Its timer starts with the first future that is not ready at once, so futures that
/// are ready cost no timer. A future that is ready at the same moment as the timer is
/// in time.
pub(crate) struct Deadline<'a> {
    timer: &'a dyn Timer,
    after: Duration,
    sleep: Option<Sleep>,
}

impl<'a> Deadline<'a> {
    pub(crate) fn new(timer: &'a dyn Timer, after: Duration) -> Self {
        Deadline {
            timer,
            after,
            sleep: None,
        }
    }

    /// Returns the future's output, or `None` if it takes too long.
    pub(crate) async fn bound<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll(context).map(|()| None),
        })
        .await
    }

    /// Runs the futures at once and returns their outputs in order, with `None` for
    /// each one that takes too long.
    pub(crate) async fn bound_all<F: Future>(
        &mut self,
        works: impl Iterator<Item = F>,
    ) -> Vec<Option<F::Output>> {
        let mut outputs = Vec::new();
        let mut running: FuturesUnordered<_> = works
            .enumerate()
            .map(|(number, work)| {
                outputs.push(None);
                async move { (number, work.await) }
            })
            .collect();
        std::future::poll_fn(|context| {
            while let Poll::Ready(next) = running.poll_next_unpin(context) {
                match next {
                    Some((number, output)) => outputs[number] = Some(output),
                    None => return Poll::Ready(()),
                }
            }
            self.poll(context)
        })
        .await;
        outputs
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.sleep
            .get_or_insert_with(|| self.timer.sleep(self.after))
            .as_mut()
            .poll(context)
    }
}
