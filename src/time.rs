//! Time, kept out of the core.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{FutureExt, Shared};

/// A future that a [`Timer`] makes.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Lets time pass.
///
/// The core has no runtime and no clock of its own; it gets them through this.
/// Feature `tokio` has [`TokioTimer`](crate::TokioTimer); a test can advance
/// time by hand.
pub trait Timer: Send + Sync {
    /// A future that is ready once the duration has passed since this call.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// A point in time by which several pieces of work have to end together.
///
/// It has no clock, so it begins with the first work that is not ready at once;
/// work that is costs no timer.
pub(crate) struct Deadline<'a> {
    timer: &'a dyn Timer,
    after: Duration,
    sleep: OnceLock<Shared<Sleep>>,
}

impl<'a> Deadline<'a> {
    pub(crate) fn new(timer: &'a dyn Timer, after: Duration) -> Self {
        Deadline {
            timer,
            after,
            sleep: OnceLock::new(),
        }
    }

    /// How long it leaves in all.
    pub(crate) fn after(&self) -> Duration {
        self.after
    }

    /// The work's output, or `None` if it takes longer. Work that is ready
    /// together with the timer counts as in time.
    pub(crate) async fn bound<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = std::pin::pin!(work);
        let mut sleep: Option<Shared<Sleep>> = None;
        std::future::poll_fn(|context| {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let begin = || self.timer.sleep(self.after).shared();
            sleep
                .get_or_insert_with(|| self.sleep.get_or_init(begin).clone())
                .poll_unpin(context)
                .map(|()| None)
        })
        .await
    }
}
