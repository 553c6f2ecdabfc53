//! A simulated clock, and an executor that runs futures on it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::{FutureExt, Shared};

use crate::timer::{Sleep, Timer};

/// Locks a mutex even if another test thread panicked while it held the lock:
/// that test has failed already, and the others should not fail with it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A [`Timer`] that advances only when the test says so. Clones share the time.
///
/// Most tests need only [`run`](MockClock::run): it polls a future, and whenever
/// nothing can make progress, the clock jumps to the end of the next sleep. Hours
/// pass at once, without a runtime.
///
/// ```
/// use std::time::Duration;
/// use cluster_operator::Timer;
/// use cluster_operator::mock::MockClock;
///
/// let clock = MockClock::new();
/// clock.run(clock.sleep(Duration::from_secs(3600)));
/// assert_eq!(clock.now(), Duration::from_secs(3600));
/// ```
#[derive(Clone, Default)]
pub struct MockClock {
    time: Arc<Mutex<Time>>,
    /// Futures that run although nobody awaits them, such as a request whose
    /// sender has given up.
    detached: Arc<Mutex<VecDeque<Task<dyn Future<Output = ()> + Send>>>>,
}

#[derive(Default)]
struct Time {
    now: Duration,
    /// How many sleeps have begun.
    slept: u64,
    /// The wakers by the time to wake at, then by which sleep began first.
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

impl MockClock {
    /// Creates a clock at zero.
    pub fn new() -> Self {
        MockClock::default()
    }

    /// Returns the time since the clock was created.
    pub fn now(&self) -> Duration {
        lock(&self.time).now
    }

    /// Runs a future to completion. Whenever nothing can make progress, the clock
    /// jumps to the end of the next sleep.
    ///
    /// # Panics
    /// If the future waits for something that no sleep will bring, such as a lost
    /// answer when nothing has a deadline.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut task = Task::new(Box::pin(future));
        loop {
            if !task.woken.is_set() {
                self.make_progress();
            } else if let Poll::Ready(output) = task.poll() {
                return output;
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
        let futures = futures.into_iter().enumerate();
        let mut tasks: Vec<_> = futures
            .map(|(at, future)| (at, Task::new(Box::pin(future))))
            .collect();
        let mut outputs: Vec<_> = tasks.iter().map(|_| None).collect();
        while !tasks.is_empty() {
            let ready = (0..tasks.len()).filter(|next| tasks[*next].1.woken.is_set());
            let Some(next) = rng.choice(ready.collect::<Vec<_>>()) else {
                self.make_progress();
                continue;
            };
            let (at, task) = &mut tasks[next];
            if let Poll::Ready(output) = task.poll() {
                outputs[*at] = Some(output);
                tasks.remove(next);
            }
        }
        outputs.into_iter().flatten().collect()
    }

    /// Advances the clock, and delivers what is in transit between servers. Does
    /// not poll the test's own futures.
    pub fn advance(&self, duration: Duration) {
        let end = self.now().saturating_add(duration);
        while self.poll_detached() || self.jump(end) {}
        let mut time = lock(&self.time);
        time.now = time.now.max(end);
    }

    /// Advances the clock until nothing is in transit between servers, except to
    /// paused ones, and nothing sleeps. Sleeps of futures that the test has
    /// polled and still holds count too.
    pub fn settle(&self) {
        while self.poll_detached() || self.jump(Duration::MAX) {}
    }

    /// Runs a future even if the returned one is dropped.
    pub(super) fn detach<T: Clone + Send + Sync + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Shared<Pin<Box<dyn Future<Output = T> + Send>>> {
        let future = future.boxed().shared();
        let task = Task::new(future.clone().map(drop).boxed());
        lock(&self.detached).push_back(task);
        future
    }

    /// Polls the detached futures that are ready, or else jumps to the end of the
    /// next sleep.
    fn make_progress(&self) {
        assert!(
            self.poll_detached() || self.jump(Duration::MAX),
            "at {:?} the future waits for something that no sleep will bring",
            self.now()
        );
    }

    /// Polls every detached future that is ready. Returns whether there was one.
    fn poll_detached(&self) -> bool {
        let mut polled = false;
        let count = lock(&self.detached).len();
        for _ in 0..count {
            // A future may detach others or use the clock, so the lock is released
            // while it is polled; and if it panics, the others are kept.
            let Some(mut task) = lock(&self.detached).pop_front() else {
                break;
            };
            if task.woken.is_set() {
                polled = true;
                if task.poll().is_ready() {
                    continue;
                }
            }
            lock(&self.detached).push_back(task);
        }
        polled
    }

    /// Jumps to the end of the next sleep, if that is not after `latest`. Returns
    /// whether it did.
    fn jump(&self, latest: Duration) -> bool {
        let mut time = lock(&self.time);
        let Some(&(at, _)) = time.sleepers.keys().next().filter(|next| next.0 <= latest) else {
            return false;
        };
        time.now = time.now.max(at);
        let later = time.sleepers.split_off(&(at, u64::MAX));
        let due = std::mem::replace(&mut time.sleepers, later);
        drop(time);
        due.into_values().for_each(Waker::wake);
        true
    }
}

impl Timer for MockClock {
    fn sleep(&self, duration: Duration) -> Sleep {
        let mut time = lock(&self.time);
        time.slept += 1;
        Box::pin(MockSleep {
            time: Arc::clone(&self.time),
            until: (time.now.saturating_add(duration), time.slept),
        })
    }

    /// All simulated clocks start at the same instant.
    fn now(&self) -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        let start = *START.get_or_init(Instant::now);
        start.checked_add(MockClock::now(self)).unwrap_or(start)
    }
}

impl fmt::Debug for MockClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockClock")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

struct MockSleep {
    time: Arc<Mutex<Time>>,
    until: (Duration, u64),
}

impl Future for MockSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut time = lock(&self.time);
        if time.now >= self.until.0 {
            time.sleepers.remove(&self.until);
            return Poll::Ready(());
        }
        time.sleepers.insert(self.until, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for MockSleep {
    fn drop(&mut self) {
        lock(&self.time).sleepers.remove(&self.until);
    }
}

struct Task<F: ?Sized> {
    woken: Arc<Woken>,
    future: Pin<Box<F>>,
}

impl<F: Future + ?Sized> Task<F> {
    fn new(future: Pin<Box<F>>) -> Self {
        Task {
            woken: Arc::new(Woken(AtomicBool::new(true))),
            future,
        }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        self.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Whether a future has asked to be polled.
struct Woken(AtomicBool);

impl Woken {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets futures wait while a server is paused. Clones share the state.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    state: Arc<Mutex<GateState>>,
}

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
    }

    pub(super) fn open(&self) {
        let GateState { waiting, .. } = std::mem::take(&mut *lock(&self.state));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until the gate is open.
    pub(super) async fn pass(&self) {
        poll_fn(|context| {
            let mut state = lock(&self.state);
            if !state.closed {
                return Poll::Ready(());
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let times = clock.run_all(1, [5, 2, 9, 2].map(sleeper));
        assert_eq!(times, [5, 2, 9, 2].map(|seconds| SECOND * seconds));
        assert_eq!(*lock(&ended), [2, 2, 5, 9]);
    }

    #[test]
    fn order_of_ready_futures_depends_on_the_seed_alone() {
        let order = |seed| {
            let done = Mutex::new(Vec::new());
            let done = &done;
            let work = |at: usize| async move { lock(done).push(at) };
            MockClock::new().run_all(seed, (0..8).map(work));
            lock(done).clone()
        };
        assert_eq!(order(3), order(3));
        assert!((0..20).any(|seed| order(seed) != order(3)));
    }

    #[test]
    fn detached_future_runs_without_being_awaited() {
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
    fn panic_in_a_detached_future_spares_the_others() {
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
    fn future_that_nothing_wakes_panics_instead_of_hanging() {
        MockClock::new().run(std::future::pending::<()>());
    }
}
