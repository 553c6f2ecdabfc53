//! Calls that nobody waits for to the end.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use super::Fixture;
use cluster_operator::Timer;
use futures_util::future::{Either, select};

/// The answer, if it comes within a fraction of the deadline. Where something is
/// missing, some engines answer nothing.
pub(super) async fn soon<F: Fixture + ?Sized, T>(
    fixture: &F,
    call: impl Future<Output = T>,
) -> Option<T> {
    within(fixture, patience(fixture), call).await
}

/// The answer, if it comes within a third of the deadline: for a call that may
/// never be answered, but whose answer counts also if it takes its time. Two
/// elections have to fit in beside it.
pub(super) async fn overdue<F: Fixture + ?Sized, T>(
    fixture: &F,
    call: impl Future<Output = T>,
) -> Option<T> {
    within(fixture, fixture.deadline() / 3, call).await
}

/// A fraction of the deadline, in which a call is answered that is answered at all.
pub(super) fn patience<F: Fixture + ?Sized>(fixture: &F) -> Duration {
    fixture.deadline() / 12
}

/// The answer, if it comes within this time.
pub(super) async fn within<F: Fixture + ?Sized, T>(
    fixture: &F,
    patience: Duration,
    call: impl Future<Output = T>,
) -> Option<T> {
    bounded(fixture.timer(), patience, call).await
}

/// The output of work that ends within this time.
pub(super) async fn bounded<F: Future>(
    timer: &dyn Timer,
    time: Duration,
    work: F,
) -> Option<F::Output> {
    match select(std::pin::pin!(work), timer.sleep(time)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// Polls a call this often, and then drops it unless it is over; also if nothing
/// wakes it up any more.
pub(super) async fn given_up<F: Fixture + ?Sized, T>(
    fixture: &F,
    polls: usize,
    call: impl Future<Output = T>,
) {
    let mut call = std::pin::pin!(call);
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
    soon(fixture, polled).await;
}
