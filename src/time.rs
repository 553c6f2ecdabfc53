//! Time, kept out of the core.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

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

/// The work's output, or `None` if it takes longer than the deadline.
///
/// Work that is ready at once costs no timer. Work and timer that are ready
/// together count as in time.
pub(crate) async fn within<F: Future>(
    timer: &dyn Timer,
    deadline: Duration,
    work: F,
) -> Option<F::Output> {
    let mut work = std::pin::pin!(work);
    let mut sleep: Option<Sleep> = None;
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = work.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        sleep
            .get_or_insert_with(|| timer.sleep(deadline))
            .as_mut()
            .poll(context)
            .map(|()| None)
    })
    .await
}
