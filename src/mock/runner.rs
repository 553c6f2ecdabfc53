//! Runs futures on a simulated clock.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::{FutureExt, Shared};

use super::{MockClock, lock};

/// Something that goes on although nobody waits for it, such as a request that
/// was sent by a server which has given up since.
pub(super) struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    woken: Arc<Woken>,
}

/// Whether a future has asked to be polled.
struct Woken(AtomicBool);

impl Woken {
    fn new() -> Arc<Self> {
        Arc::new(Woken(AtomicBool::new(true)))
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl MockClock {
    /// Runs a future to its end. Whenever nothing can go on, time jumps to the
    /// next sleep.
    ///
    /// # Panics
    /// If the future waits for something that no sleep will bring, such as an
    /// answer that is lost while nothing has a deadline.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cluster_operator::mock::{Fault, MockClock, MockFederation};
    /// use cluster_operator::{Caller, Consistency, ErrorKind};
    ///
    /// let clock = MockClock::new();
    /// let federation = MockFederation::builder()
    ///     .datacenter("dc1", ["alice"])
    ///     .datacenter("dc2", ["bob"])
    ///     .clock(&clock)
    ///     .build();
    /// federation.inject(Fault::silent_datacenter("dc2"));
    ///
    /// let alice = federation.service("alice");
    /// let there = Caller::anonymous().in_datacenter("dc2");
    /// let read = alice.raft_configuration(&there, Consistency::Default);
    /// let error = clock.run(read).unwrap_err();
    /// assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }));
    /// assert_eq!(clock.now(), Duration::from_secs(10));
    /// ```
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let woken = Woken::new();
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            if woken.take()
                && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return output;
            }
            if !woken.is_set() && !self.poll_tasks() {
                self.jump_or_panic();
            }
        }
    }

    /// Runs several futures to completion, concurrently: the seed decides which
    /// of those that can make progress is polled next. The outputs are in the
    /// order of the futures.
    ///
    /// # Panics
    /// As [`run`](MockClock::run).
    ///
    /// ```
    /// use std::time::Duration;
    /// use cluster_operator::Timer;
    /// use cluster_operator::mock::MockClock;
    ///
    /// let clock = MockClock::new();
    /// let sleeps = [3, 1, 2].map(|seconds| clock.sleep(Duration::from_secs(seconds)));
    /// clock.run_all(17, sleeps);
    /// assert_eq!(clock.now(), Duration::from_secs(3));
    /// ```
    pub fn run_all<F: Future>(
        &self,
        seed: u64,
        futures: impl IntoIterator<Item = F>,
    ) -> Vec<F::Output> {
        let mut rng = Rng::with_seed(seed);
        let mut running: Vec<_> = futures
            .into_iter()
            .map(|future| (Some(Box::pin(future)), Woken::new()))
            .collect();
        let mut outputs: Vec<_> = running.iter().map(|_| None).collect();
        while outputs.iter().any(Option::is_none) {
            let ready: Vec<_> = (0..running.len())
                .filter(|at| running[*at].0.is_some() && running[*at].1.is_set())
                .collect();
            let Some(at) = rng.choice(ready) else {
                if !self.poll_tasks() {
                    self.jump_or_panic();
                }
                continue;
            };
            let (future, woken) = &mut running[at];
            woken.take();
            let waker = Waker::from(Arc::clone(woken));
            if let Some(Poll::Ready(output)) = future
                .as_mut()
                .map(|future| future.as_mut().poll(&mut Context::from_waker(&waker)))
            {
                outputs[at] = Some(output);
                *future = None;
            }
        }
        outputs.into_iter().flatten().collect()
    }

    /// Lets this much time pass, and what is on its way between servers go on.
    /// It does not poll the test's own futures.
    pub fn advance(&self, duration: Duration) {
        let end = self.now().saturating_add(duration);
        while self.poll_tasks() || self.jump(end) {}
        self.move_to(end);
    }

    /// Lets time pass until nothing is on its way between servers, except to
    /// those that are paused, and nobody sleeps any more: futures that the test
    /// has polled and still holds count, too.
    pub fn settle(&self) {
        while self.poll_tasks() || self.jump(Duration::MAX) {}
    }

    /// Goes on with something even if the future that is returned is dropped.
    pub(super) fn detach<T: Clone + Send + Sync + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Shared<Pin<Box<dyn Future<Output = T> + Send>>> {
        let work: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(work);
        let work = work.shared();
        lock(&self.tasks).push_back(Task {
            future: Box::pin(work.clone().map(drop)),
            woken: Woken::new(),
        });
        work
    }

    /// Polls every task that can go on. Says whether there was one.
    fn poll_tasks(&self) -> bool {
        let mut polled = false;
        let count = lock(&self.tasks).len();
        for _ in 0..count {
            // A task may start others or move the clock, so the list is not
            // locked while one is polled; and if that panics, the rest is kept.
            let Some(mut task) = lock(&self.tasks).pop_front() else {
                break;
            };
            if task.woken.take() {
                polled = true;
                let waker = Waker::from(Arc::clone(&task.woken));
                let mut context = Context::from_waker(&waker);
                if task.future.as_mut().poll(&mut context).is_ready() {
                    continue;
                }
            }
            lock(&self.tasks).push_back(task);
        }
        polled
    }

    fn jump_or_panic(&self) {
        assert!(
            self.jump(Duration::MAX),
            "at {:?} the future waits for something that no sleep will bring",
            self.now()
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::timer::Timer;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn sleeps_end_in_the_order_of_their_times() {
        let clock = MockClock::new();
        let ended = Mutex::new(Vec::new());
        let sleeper = |seconds: u32| {
            let (clock, ended) = (clock.clone(), &ended);
            async move {
                clock.sleep(SECOND * seconds).await;
                lock(ended).push(seconds);
                clock.now()
            }
        };
        let sleepers = [5, 2, 9, 2].map(sleeper);
        let times = clock.run_all(1, sleepers);
        assert_eq!(times, [5, 2, 9, 2].map(|seconds| SECOND * seconds));
        assert_eq!(*lock(&ended), [2, 2, 5, 9]);
    }

    #[test]
    fn the_order_of_what_is_ready_depends_on_the_seed_alone() {
        let order = |seed| {
            let done = Mutex::new(Vec::new());
            let work = |at: usize| {
                let done = &done;
                async move { lock(done).push(at) }
            };
            MockClock::new().run_all(seed, (0..8).map(work));
            done.into_inner().unwrap()
        };
        assert_eq!(order(3), order(3));
        assert!((0..20).any(|seed| order(seed) != order(3)));
    }

    #[test]
    fn what_is_detached_goes_on_without_anyone_waiting() {
        let clock = MockClock::new();
        let done = Arc::new(AtomicBool::new(false));
        let (sleep, flag) = (clock.sleep(SECOND * 5), Arc::clone(&done));
        drop(clock.detach(async move {
            sleep.await;
            flag.store(true, Ordering::Relaxed);
        }));
        clock.advance(SECOND * 4);
        assert!(!done.load(Ordering::Relaxed));
        assert_eq!(clock.now(), SECOND * 4);
        clock.settle();
        assert!(done.load(Ordering::Relaxed));
        assert_eq!(clock.now(), SECOND * 5);
    }

    #[test]
    fn a_task_that_panics_takes_no_other_along() {
        let clock = MockClock::new();
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        drop(clock.detach(async { panic!("in its task") }));
        drop(clock.detach(async move { flag.store(true, Ordering::Relaxed) }));
        let settle = std::panic::AssertUnwindSafe(|| clock.settle());
        assert!(std::panic::catch_unwind(settle).is_err());
        clock.settle();
        assert!(done.load(Ordering::Relaxed));
    }

    #[test]
    #[should_panic(expected = "waits for something that no sleep will bring")]
    fn a_future_that_nothing_wakes_is_a_failure_and_not_a_hang() {
        MockClock::new().run(std::future::pending::<()>());
    }
}
