//! Time that a test moves.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::lock;
use super::runner::Task;
use crate::timer::{Sleep, Timer};

/// A [`Timer`] whose time passes only when the test lets it. Clones share the
/// time.
///
/// [`run`](MockClock::run) is all that most tests need: it polls a future, and
/// whenever nothing can go on, time jumps to the next sleep. Hours pass at once,
/// without a runtime.
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
    /// What goes on although nobody waits for it.
    pub(super) tasks: Arc<Mutex<VecDeque<Task>>>,
}

#[derive(Default)]
struct Time {
    now: Duration,
    slept: u64,
    /// By the time to wake at, and among equals by who began first.
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

impl MockClock {
    /// A clock at zero.
    pub fn new() -> Self {
        MockClock::default()
    }

    /// How much time has passed since the clock was made.
    pub fn now(&self) -> Duration {
        lock(&self.time).now
    }

    /// Moves the time to the next sleep that someone waits for. Says whether
    /// there was one.
    pub(super) fn jump(&self, latest: Duration) -> bool {
        let mut time = lock(&self.time);
        let Some(&(at, _)) = time.sleepers.keys().next() else {
            return false;
        };
        if at > latest {
            return false;
        }
        time.now = time.now.max(at);
        let later = time.sleepers.split_off(&(at, u64::MAX));
        let due = std::mem::replace(&mut time.sleepers, later);
        drop(time);
        due.into_values().for_each(Waker::wake);
        true
    }

    pub(super) fn move_to(&self, at: Duration) {
        let mut time = lock(&self.time);
        time.now = time.now.max(at);
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

    fn now(&self) -> Instant {
        instant(MockClock::now(self))
    }
}

/// A time of a simulated clock: all begin at one instant.
pub(super) fn instant(passed: Duration) -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(Instant::now);
    origin.checked_add(passed).unwrap_or(origin)
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
        let waker = context.waker().clone();
        time.sleepers.insert(self.until, waker);
        Poll::Pending
    }
}

impl Drop for MockSleep {
    fn drop(&mut self) {
        lock(&self.time).sleepers.remove(&self.until);
    }
}
