//! One rule, and how a backend is tried against it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::future::FutureExt;

use super::steps::Steps;
use super::verdict::{Stop, Verdict};
use super::wanted::Wanted;
use super::{CheckResult, Checked, Fixture, NotSupported, Report};
use crate::poll::bounded;

/// A check on its way.
pub(super) type Checking<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// How far a check has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// There was no fixture.
    Nothing,
    /// There was one, and it was never what was wanted.
    Fixture,
    /// The rule was tried.
    Rule,
}

/// A rule that a backend has to keep, and the test of it.
///
/// `W` says what the test needs, and `F` is the fixture that it is given. Each
/// suite has a list of its checks.
pub struct Check<W, F: ?Sized> {
    pub(super) name: &'static str,
    pub(super) rule: &'static str,
    pub(super) source: &'static str,
    pub(super) wanted: W,
    pub(super) run: for<'a> fn(&'a F, &'a Steps) -> Checking<'a>,
}

/// Checks, each written once: the rule as its doc comment, where the rule comes
/// from, what the check needs, if anything, and the check itself. Generates the
/// functions, the list `CHECKS`, and a macro that hands each name to another one,
/// which the suite's `#[test]`s are made with.
///
/// `$context::new(fixture, steps)` is what a check is given. The first argument
/// is a `$`.
macro_rules! checks {
    (
        ($d:tt) $names:ident, $check:ty, $context:ident;
        $(
            $(#[doc = $rule:literal])+
            #[source($source:literal)]
            $(#[needs($wanted:expr)])?
            async fn $name:ident($cluster:ident: $given:ty) -> $verdict:ty $body:block
        )+
    ) => {
        $(async fn $name($cluster: $given) -> $verdict $body)+

        /// Every check of the suite, in the order in which it runs them.
        // They are the whole of what a check needs that needs nothing.
        #[allow(unused_parens)]
        pub const CHECKS: &[$check] = &[$($crate::Check {
            name: stringify!($name),
            rule: concat!($($rule),+).trim_ascii(),
            source: $source,
            wanted: ($($wanted)?),
            run: |fixture, steps| Box::pin($name($context::new(fixture, steps))),
        },)+];

        /// Hands each name in [`CHECKS`] to a macro.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $names {
            ($d each:ident) => { $($d each! { @ $name })+ };
        }
    };
}
pub(super) use checks;

impl<W, F: ?Sized> Check<W, F> {
    /// Its name: what it shows, in snake case.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The rule in words.
    pub const fn rule(&self) -> &'static str {
        self.rule
    }

    /// Where the rule comes from: a system that keeps it, or a report of what
    /// happened where it was not kept.
    pub const fn source(&self) -> &'static str {
        self.source
    }

    /// What the fixture has to consist of.
    pub const fn wanted(&self) -> &W {
        &self.wanted
    }

    fn ended_with(&self, result: CheckResult, steps: Vec<String>) -> Checked {
        Checked {
            name: self.name,
            rule: self.rule,
            source: self.source,
            result,
            steps,
        }
    }
}

impl<W, F: Fixture + ?Sized> Check<W, F> {
    /// Runs it on the fixture that `make` brings. Whatever panics or hangs after
    /// the fixture is there is a failure of the check.
    pub(super) async fn run(
        &self,
        make: impl Future<Output = Result<Box<F>, NotSupported>>,
    ) -> (Reached, Checked)
    where
        W: Wanted<F>,
    {
        let mut reached = Reached::Nothing;
        let steps = Steps::default();
        let result = match self.judge(make, &steps, &mut reached).await {
            Ok(()) => CheckResult::Passed,
            Err(Stop::Failed { expected, seen }) => CheckResult::Failed {
                expected: W::reworded(expected),
                seen: W::reworded(seen),
            },
            Err(Stop::Skipped { reason }) => CheckResult::Skipped { reason },
        };
        let mut steps = steps.take();
        if let CheckResult::Failed { .. } = result {
            steps = steps.into_iter().map(W::reworded).collect();
        }
        (reached, self.ended_with(result, steps))
    }

    async fn judge(
        &self,
        make: impl Future<Output = Result<Box<F>, NotSupported>>,
        steps: &Steps,
        reached: &mut Reached,
    ) -> Verdict
    where
        W: Wanted<F>,
    {
        let fixture = caught("the fixture to be made", make).await??;
        *reached = Reached::Fixture;
        let verdict = self.try_on(&*fixture, steps, reached).await;
        let closed = ended(&*fixture, "the fixture's `close`", async {
            fixture.close().await;
            Ok(())
        });
        let closed = closed.await;
        let dropped = caught("the fixture to be dropped", async { drop(fixture) }).await;
        unless_failed(verdict, closed.and(dropped))
    }

    async fn try_on(&self, fixture: &F, steps: &Steps, reached: &mut Reached) -> Verdict
    where
        W: Wanted<F>,
    {
        let ready = async { self.wanted.ready(fixture).await };
        ended(fixture, "the fixture's preparation", ready).await?;
        *reached = Reached::Rule;
        ended(fixture, "the check", async {
            (self.run)(fixture, steps).await
        })
        .await
    }
}

/// A check that has failed stays so. One that was skipped or has passed fails if
/// its fixture does not end.
fn unless_failed(verdict: Verdict, end: Verdict) -> Verdict {
    match verdict {
        Err(Stop::Failed { .. }) => verdict,
        _ => end.and(verdict),
    }
}

/// The verdict of work that neither panics nor takes longer than it may.
async fn ended<F: Fixture + ?Sized>(
    fixture: &F,
    what: &str,
    work: impl Future<Output = Verdict>,
) -> Verdict {
    let expected = format!("{what} to end");
    let bounded = async { bounded(fixture.timer(), fixture.deadline(), work).await };
    match caught(&expected, bounded).await? {
        Some(verdict) => verdict,
        None => Err(Stop::failed(
            expected,
            format!("no end within {:?}: a call hangs", fixture.deadline()),
        )),
    }
}

async fn caught<T>(expected: &str, work: impl Future<Output = T>) -> Result<T, Stop> {
    let panicked = |payload| Stop::failed(expected, format!("a panic: {}", words(payload)));
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(panicked)
}

/// What a panic says.
fn words(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast::<&str>() {
            Ok(text) => (*text).into(),
            Err(_) => "(no words)".into(),
        },
    }
}

/// Runs checks one after another, each on a fixture of its own.
///
/// Where the first fixture is never what was wanted, and no other will be either,
/// waiting for each of them takes long and tells nothing more.
pub(super) async fn run_all<W, F>(
    suite: &'static str,
    checks: impl IntoIterator<Item = &'static Check<W, F>>,
    make: impl AsyncFn(W) -> Result<Box<F>, NotSupported>,
) -> Report
where
    W: Wanted<F> + Clone + 'static,
    F: Fixture + ?Sized + 'static,
{
    let mut report = Vec::new();
    let mut checks = checks.into_iter();
    let mut tried = false;
    for check in &mut checks {
        let made = async { make(check.wanted.clone()).await };
        let (reached, checked) = check.run(made).await;
        report.push(checked);
        tried |= reached == Reached::Rule;
        if reached == Reached::Fixture && !tried {
            let reason = format!("no rule could be tried: see {}", check.name);
            let skipped = || CheckResult::Skipped {
                reason: reason.clone(),
            };
            report.extend(checks.map(|check| check.ended_with(skipped(), Vec::new())));
            break;
        }
    }
    Report::new(suite, report)
}

/// The check of this name.
///
/// # Panics
/// If there is none.
#[doc(hidden)]
pub fn named<W, F: ?Sized>(checks: &'static [Check<W, F>], name: &str) -> &'static Check<W, F> {
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("there is no check {name}"))
}

/// Whether there is a check of this name, while compiling.
#[doc(hidden)]
pub const fn is_listed<W, F: ?Sized>(checks: &[Check<W, F>], name: &str) -> bool {
    let mut at = 0;
    while at < checks.len() {
        if is_same(checks[at].name.as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

impl<W: fmt::Debug, F: ?Sized> fmt::Debug for Check<W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("rule", &self.rule)
            .field("source", &self.source)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use futures_executor::block_on;

    use super::*;
    use cluster_operator::timer::{Sleep, Timer};

    /// A clock on which every sleep is over at once.
    struct Rushed;

    impl Timer for Rushed {
        fn sleep(&self, _: Duration) -> Sleep {
            Box::pin(ready(()))
        }
    }

    struct Bare {
        closed: &'static AtomicBool,
        ends: Ends,
    }

    /// How a fixture ends.
    #[derive(Clone, Copy, PartialEq)]
    enum Ends {
        Well,
        InClose,
        InDrop,
    }

    #[async_trait]
    impl Fixture for Bare {
        fn timer(&self) -> &dyn Timer {
            &Rushed
        }

        async fn close(&self) {
            self.closed.store(true, Ordering::Relaxed);
            assert!(self.ends != Ends::InClose, "cannot stop");
        }
    }

    impl Drop for Bare {
        fn drop(&mut self) {
            assert!(self.ends != Ends::InDrop, "cannot go");
        }
    }

    type Run = for<'a> fn(&'a dyn Fixture, &'a Steps) -> Checking<'a>;

    fn run(run: Run, ends: Ends) -> (CheckResult, bool) {
        // A check's fixture type is 'static, as it is boxed behind a trait.
        let closed: &'static AtomicBool = Box::leak(Box::default());
        let check: Check<(), dyn Fixture> = Check {
            name: "n",
            rule: "r",
            source: "s",
            wanted: (),
            run,
        };
        let made: Box<dyn Fixture> = Box::new(Bare { closed, ends });
        let (_, checked) = block_on(check.run(ready(Ok(made))));
        (checked.result, closed.load(Ordering::Relaxed))
    }

    fn seen(result: CheckResult) -> String {
        match result {
            CheckResult::Failed { seen, .. } => seen,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_panic_is_the_failure_of_one_check_and_the_fixture_is_closed() {
        let (result, closed) = run(
            |_, _| Box::pin(async { panic!("number {}", 7) }),
            Ends::Well,
        );
        assert_eq!(seen(result), "a panic: number 7");
        assert!(closed);
        let (result, closed) = run(|_, _| panic!("before any poll"), Ends::Well);
        assert_eq!(seen(result), "a panic: before any poll");
        assert!(closed);
    }

    #[test]
    fn what_hangs_fails_and_the_fixture_is_closed() {
        let (result, closed) = run(|_, _| Box::pin(pending()), Ends::Well);
        assert_eq!(seen(result), "no end within 60s: a call hangs");
        assert!(closed);
    }

    fn skips<'a>(_: &'a dyn Fixture, _: &'a Steps) -> Checking<'a> {
        Box::pin(async { Err(NotSupported::new("cannot").into()) })
    }

    #[test]
    fn a_fixture_that_does_not_end_fails_the_check() {
        let passes: Run = |_, _| Box::pin(ready(Ok(())));
        for tried in [passes, skips] {
            let (result, _) = run(tried, Ends::InClose);
            assert_eq!(seen(result), "a panic: cannot stop");
            let (result, closed) = run(tried, Ends::InDrop);
            assert_eq!(seen(result), "a panic: cannot go");
            assert!(closed);
        }
        let (result, _) = run(skips, Ends::Well);
        assert!(matches!(result, CheckResult::Skipped { .. }));
        let (result, _) = run(passes, Ends::Well);
        assert_eq!(result, CheckResult::Passed);
    }

    #[test]
    fn what_a_check_has_found_is_told_though_its_fixture_does_not_end() {
        for ends in [Ends::InClose, Ends::InDrop] {
            let (result, _) = run(|_, _| Box::pin(async { panic!("first") }), ends);
            assert_eq!(seen(result), "a panic: first");
        }
    }

    #[test]
    fn a_fixture_that_cannot_be_made_skips_the_check() {
        let check: Check<(), dyn Fixture> = Check {
            name: "n",
            rule: "r",
            source: "s",
            wanted: (),
            run: |_, _| Box::pin(ready(Ok(()))),
        };
        let (_, checked) = block_on(check.run(ready(Err(NotSupported::new("one server only")))));
        let reason = "one server only".into();
        assert_eq!(checked.result, CheckResult::Skipped { reason });
        let (_, checked) = block_on(check.run(async { panic!("no port") }));
        assert_eq!(seen(checked.result), "a panic: no port");
    }
}
