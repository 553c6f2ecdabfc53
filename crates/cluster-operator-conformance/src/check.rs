//! A check, the macros that write a suite, and its run.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use futures_util::future::FutureExt;

use crate::fixture::{Fixture, NotSupported, Stop, Trial, Verdict};
use crate::report::{CheckResult, Checked, Report};
use crate::secret::with_key_numbers;

/// A check in progress.
pub(crate) type Checking<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// A rule that a backend has to keep, and the test of it.
///
/// `W` describes the fixture that the test needs, and `F` is that fixture's trait.
pub struct Check<W, F: ?Sized> {
    /// The name: what the check shows, in snake case.
    pub name: &'static str,
    /// The rule in words.
    pub rule: &'static str,
    /// The source of the rule: a system that keeps it, or a report of what happened
    /// where it was broken.
    pub source: &'static str,
    /// The fixture that the check needs.
    pub wanted: W,
    /// Waits until the fixture is what was wanted.
    pub(crate) ready: for<'a> fn(W, Trial<'a, F>) -> Checking<'a>,
    pub(crate) run: for<'a> fn(Trial<'a, F>) -> Checking<'a>,
}

/// Writes a suite: how it is run, and each check once, with the rule as its doc comment,
/// the source of the rule, what the check needs, and the check itself. Generates the
/// functions that run all checks and one, the list `CHECKS`, and the macro `$tests`.
///
/// The first argument is a `$`.
macro_rules! suite {
    (
        ($d:tt) $tests:ident;
        $(#[$docs:meta])*
        suite $module:ident::$suite:ident($trait:ident, $fixture:ident, $wants:ty);
        $(
            $(#[doc = $rule:literal])+
            #[source($source:literal)]
            $(#[needs($wanted:expr)])?
            async fn $name:ident($trial:ident: $given:ty) -> $verdict:ty $body:block
        )+
    ) => {
        $(#[$docs])*
        ///
        /// The factory answers [`NotSupported`](crate::NotSupported) where it cannot make
        /// such a fixture, and the check is skipped. It has to bound its own waiting; what
        /// follows is bounded by the fixture's [deadline](crate::Fixture::deadline).
        pub async fn $suite<F: $fixture + 'static>(
            factory: impl AsyncFn($wants) -> Result<F, $crate::NotSupported>,
        ) -> $crate::Report {
            run_all(CHECKS, factory).await
        }

        /// Runs one check.
        pub async fn run<F: $fixture + 'static>(
            check: &$crate::Check<$wants, dyn $fixture>,
            factory: impl AsyncFn($wants) -> Result<F, $crate::NotSupported>,
        ) -> $crate::Report {
            run_all(std::slice::from_ref(check), factory).await
        }

        async fn run_all<F: $fixture + 'static>(
            checks: &[$crate::Check<$wants, dyn $fixture>],
            factory: impl AsyncFn($wants) -> Result<F, $crate::NotSupported>,
        ) -> $crate::Report {
            let boxed = |fixture| Box::new(fixture) as Box<dyn $fixture>;
            let make = async |wanted| factory(wanted).await.map(boxed);
            $crate::check::run_all(stringify!($trait), checks, make).await
        }

        $(async fn $name($trial: $given) -> $verdict $body)+

        /// Every check of the suite, in the order in which it runs them.
        pub const CHECKS: &[$crate::Check<$wants, dyn $fixture>] = &[$(by_name::$name),+];

        #[doc(hidden)]
        #[allow(missing_docs, non_upper_case_globals, unused_parens)]
        pub mod by_name {
            use super::*;
            $(pub const $name: $crate::Check<$wants, dyn $fixture> = $crate::Check {
                name: stringify!($name),
                rule: concat!($($rule),+).trim_ascii(),
                source: $source,
                wanted: ($($wanted)?),
                ready: |wanted, trial| Box::pin(ready(wanted, trial)),
                run: |trial| Box::pin(super::$name(trial)),
            };)+
        }

        /// Generates one `#[test]` for each check, as
        /// [the crate](crate#one-test-for-each-check) shows.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $tests {
            ($d($d arguments:tt)*) => {
                $crate::__conformance_tests! {
                    ($d) $module [$($name)+] $d($d arguments)*
                }
            };
        }
        #[doc(hidden)]
        pub use $tests as tests;
    };
}
pub(crate) use suite;

/// Generates one `#[test]` for each check of a suite. The suites' own macros call it
/// with `$`, the suite's module, and the names of its checks.
///
/// A name under `skip` that no check has does not compile:
/// ```compile_fail
/// # async fn made(_: cluster_operator_conformance::acl::Acl) {}
/// cluster_operator_conformance::acl_tests! {
///     factory = made,
///     block_on = futures_executor::block_on,
///     skip = { no_such_check: "there is none" },
/// }
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (
        ($d:tt) $suite:ident [$($name:ident)+]
        factory = $factory:expr,
        block_on = $block_on:expr
        $(, skip = { $($skipped:ident : $reason:literal),* $(,)? })? $(,)?
    ) => {
        macro_rules! __conformance_test {
            $($((@ $skipped) => {
                #[test]
                #[ignore = $reason]
                fn $skipped() {
                    __conformance_test!(run $skipped)
                }
            };)*)?
            (@ $d name:ident) => {
                #[test]
                fn $d name() {
                    __conformance_test!(run $d name)
                }
            };
            (run $d name:ident) => {{
                let check = $crate::$suite::by_name::$d name;
                ($block_on)($crate::$suite::run(&check, $factory)).assert_complete();
            }};
        }
        $(__conformance_test! { @ $name })+
        $($(const _: &str = $crate::$suite::by_name::$skipped.name;)*)?
    };
}

impl<W: fmt::Debug, F: ?Sized> fmt::Debug for Check<W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Check { name, wanted, .. } = self;
        let mut shown = f.debug_struct("Check");
        shown.field("name", name).field("wanted", wanted);
        shown.finish_non_exhaustive()
    }
}

impl<W: Copy, F: Fixture + ?Sized> Check<W, F> {
    fn ended_with(&self, result: CheckResult, steps: Vec<String>) -> Checked {
        Checked {
            name: self.name,
            rule: self.rule,
            source: self.source,
            result,
            steps,
        }
    }

    /// Runs the check on the fixture that `make` returns. Sets `tested` once the fixture
    /// is what was wanted.
    async fn run(
        &self,
        make: impl Future<Output = Result<Box<F>, NotSupported>>,
        tested: &mut bool,
    ) -> Checked {
        let steps = Mutex::default();
        let result = match self.verdict(make, &steps, tested).await {
            Ok(()) => CheckResult::Passed,
            Err(Stop::Failed { expected, seen }) => CheckResult::Failed {
                expected: with_key_numbers(expected),
                seen: with_key_numbers(seen),
            },
            Err(Stop::Skipped { reason }) => CheckResult::Skipped { reason },
        };
        let mut steps = steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let CheckResult::Failed { .. } = result {
            steps = steps.into_iter().map(with_key_numbers).collect();
        }
        self.ended_with(result, steps)
    }

    async fn verdict(
        &self,
        make: impl Future<Output = Result<Box<F>, NotSupported>>,
        steps: &Mutex<Vec<String>>,
        tested: &mut bool,
    ) -> Verdict {
        let fixture = caught("the fixture to be made", make).await??;
        let trial = Trial {
            fixture: &*fixture,
            steps,
        };
        let ready = async { (self.ready)(self.wanted, trial).await };
        let mut verdict = ended(trial, "the fixture's preparation", ready).await;
        if verdict.is_ok() {
            *tested = true;
            let run = async { (self.run)(trial).await };
            verdict = ended(trial, "the check", run).await;
        }
        let close = async {
            fixture.close().await;
            Ok(())
        };
        let closed = ended(trial, "the fixture's `close`", close).await;
        let dropped = caught("the fixture to be dropped", async { drop(fixture) }).await;
        match verdict {
            Err(Stop::Failed { .. }) => verdict,
            // Also a check that passed or was skipped fails if its fixture does not end.
            _ => closed.and(dropped).and(verdict),
        }
    }
}

/// The verdict of work, which fails if it panics or takes longer than the deadline.
async fn ended<F: Fixture + ?Sized>(
    trial: Trial<'_, F>,
    what: &str,
    work: impl Future<Output = Verdict>,
) -> Verdict {
    let expected = format!("{what} to end");
    let deadline = trial.fixture.deadline();
    let bounded = async { trial.within(deadline, work).await };
    caught(&expected, bounded).await?.unwrap_or_else(|| {
        let seen = format!("no end within {deadline:?}: a call hangs");
        Err(Stop::failed(expected, seen))
    })
}

/// The output of work, which fails if it panics.
async fn caught<T>(expected: &str, work: impl Future<Output = T>) -> Result<T, Stop> {
    let panicked = |payload: Box<dyn Any + Send>| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let text = text.unwrap_or("(no text)");
        Stop::failed(expected, format!("a panic: {text}"))
    };
    let caught = AssertUnwindSafe(work).catch_unwind().await;
    caught.map_err(panicked)
}

/// Runs checks one after another, each on a fixture of its own.
///
/// If the first fixture never becomes what was wanted, others will not either, and
/// waiting for each of them takes long: the other checks are skipped.
pub(crate) async fn run_all<W: Copy, F: Fixture + ?Sized>(
    suite: &'static str,
    checks: &[Check<W, F>],
    make: impl AsyncFn(W) -> Result<Box<F>, NotSupported>,
) -> Report {
    let mut report = Vec::new();
    let mut tested = false;
    let mut checks_left = checks.iter();
    for check in &mut checks_left {
        let checked = check.run(make(check.wanted), &mut tested).await;
        let failed = matches!(checked.result, CheckResult::Failed { .. });
        report.push(checked);
        if failed && !tested {
            let reason = format!("no rule could be tested: see {}", check.name);
            let skipped = CheckResult::Skipped { reason };
            report.extend(checks_left.map(|it| it.ended_with(skipped.clone(), Vec::new())));
            break;
        }
    }
    Report {
        suite,
        checks: report,
    }
}
