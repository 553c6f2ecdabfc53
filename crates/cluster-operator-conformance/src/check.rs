//! A check, the macros that list checks, and the run of a suite.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::future::FutureExt;

use crate::fixture::{Fixture, NotSupported, Steps, Stop, Trial, Verdict};
use crate::report::{CheckResult, Checked, Report};

/// A check in progress.
pub(crate) type Checking<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// A rule that a backend has to keep, and the test of it.
///
/// `W` describes the fixture that the test needs, and `F` is that fixture's trait.
pub struct Check<W, F: ?Sized> {
    pub(crate) name: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) source: &'static str,
    pub(crate) wanted: W,
    /// Waits until the fixture is what was wanted.
    pub(crate) ready: for<'a> fn(W, Trial<'a, F>) -> Checking<'a>,
    pub(crate) run: for<'a> fn(Trial<'a, F>) -> Checking<'a>,
}

/// Writes each check of a suite once: the rule as its doc comment, the source of the
/// rule, what the check needs, and the check itself. Generates the functions, the list
/// `CHECKS`, and a hidden macro `$names` that hands each name to another macro.
///
/// The first argument is a `$`.
macro_rules! checks {
    (
        ($d:tt) $names:ident, $check:ty;
        $(
            $(#[doc = $rule:literal])+
            #[source($source:literal)]
            $(#[needs($wanted:expr)])?
            async fn $name:ident($trial:ident: $given:ty) -> $verdict:ty $body:block
        )+
    ) => {
        $(async fn $name($trial: $given) -> $verdict $body)+

        /// Every check of the suite, in the order in which it runs them.
        pub const CHECKS: &[$check] = &[$(by_name::$name),+];

        #[doc(hidden)]
        #[allow(missing_docs, non_upper_case_globals, unused_parens)]
        pub mod by_name {
            use super::*;
            $(pub const $name: $check = $crate::Check {
                name: stringify!($name),
                rule: concat!($($rule),+).trim_ascii(),
                source: $source,
                wanted: ($($wanted)?),
                ready: |wanted, trial| Box::pin(ready(wanted, trial)),
                run: |trial| Box::pin(super::$name(trial)),
            };)+
        }

        #[doc(hidden)]
        #[macro_export]
        macro_rules! $names {
            ($d each:ident) => { $($d each! { @ $name })+ };
        }
    };
}
pub(crate) use checks;

/// Generates the two ways to run a suite: `$suite` runs all its checks, `run` one.
macro_rules! suite {
    ($(#[$docs:meta])* $suite:ident of $trait:literal, $fixture:ident, $wanted:ty) => {
        $(#[$docs])*
        ///
        /// The factory answers [`NotSupported`](crate::NotSupported) where it cannot make
        /// such a fixture, and the check is skipped. It has to bound its own waiting; what
        /// follows is bounded by the fixture's [deadline](crate::Fixture::deadline).
        pub async fn $suite<F: $fixture + 'static>(
            factory: impl AsyncFn($wanted) -> Result<F, $crate::NotSupported>,
        ) -> $crate::Report {
            run_all(CHECKS, factory).await
        }

        /// Runs one check.
        pub async fn run<F: $fixture + 'static>(
            check: &$crate::Check<$wanted, dyn $fixture>,
            factory: impl AsyncFn($wanted) -> Result<F, $crate::NotSupported>,
        ) -> $crate::Report {
            run_all(std::slice::from_ref(check), factory).await
        }

        async fn run_all<F: $fixture + 'static>(
            checks: &[$crate::Check<$wanted, dyn $fixture>],
            factory: impl AsyncFn($wanted) -> Result<F, $crate::NotSupported>,
        ) -> $crate::Report {
            let boxed = |fixture| Box::new(fixture) as Box<dyn $fixture>;
            let make = async |wanted| factory(wanted).await.map(boxed);
            $crate::check::run_all($trait, checks, make).await
        }
    };
}
pub(crate) use suite;

/// Generates one `#[test]` for each check of a suite. The suites' own macros call it
/// with `$`, the macro that lists the names, and the suite's module.
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
/// With a name that a check has, the same compiles:
/// ```
/// # async fn made(_: cluster_operator_conformance::acl::Acl) {}
/// cluster_operator_conformance::acl_tests! {
///     factory = made,
///     block_on = futures_executor::block_on,
///     skip = { odd_tokens_are_unknown: "there is one" },
/// }
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (
        ($d:tt) $names:ident $suite:ident
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
        $crate::$names! { __conformance_test }
        $($(const _: &str = $crate::$suite::by_name::$skipped.name();)*)?
    };
}

impl<W, F: ?Sized> Check<W, F> {
    /// The name: what the check shows, in snake case.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The rule in words.
    pub const fn rule(&self) -> &'static str {
        self.rule
    }

    /// The source of the rule: a system that keeps it, or a report of what happened
    /// where it was broken.
    pub const fn source(&self) -> &'static str {
        self.source
    }

    /// The fixture that the check needs.
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

/// How far a check has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// There was no fixture.
    Nothing,
    /// There was a fixture, and it never became what was wanted.
    Fixture,
    /// The rule was tested.
    Rule,
}

impl<W: Copy, F: Fixture + ?Sized> Check<W, F> {
    /// Runs the check on the fixture that `make` returns.
    async fn run(
        &self,
        make: impl Future<Output = Result<Box<F>, NotSupported>>,
    ) -> (Reached, Checked) {
        let steps = Steps::default();
        let mut reached = Reached::Nothing;
        let verdict = self.verdict(make, &steps, &mut reached).await;
        let result = match verdict {
            Ok(()) => CheckResult::Passed,
            Err(Stop::Failed { expected, seen }) => CheckResult::Failed {
                expected: steps.reworded(expected),
                seen: steps.reworded(seen),
            },
            Err(Stop::Skipped { reason }) => CheckResult::Skipped { reason },
        };
        let mut taken = steps.take();
        if let CheckResult::Failed { .. } = result {
            taken = taken.into_iter().map(|step| steps.reworded(step)).collect();
        }
        (reached, self.ended_with(result, taken))
    }

    async fn verdict(
        &self,
        make: impl Future<Output = Result<Box<F>, NotSupported>>,
        steps: &Steps,
        reached: &mut Reached,
    ) -> Verdict {
        let fixture = caught("the fixture to be made", make).await??;
        *reached = Reached::Fixture;
        let trial = Trial {
            fixture: &*fixture,
            steps,
        };
        let ready = async { (self.ready)(self.wanted, trial).await };
        let mut verdict = ended(trial, "the fixture's preparation", ready).await;
        if verdict.is_ok() {
            *reached = Reached::Rule;
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
    let mut checks = checks.iter();
    let mut tested = false;
    for check in &mut checks {
        let (reached, checked) = check.run(async { make(check.wanted).await }).await;
        report.push(checked);
        tested |= reached == Reached::Rule;
        if reached == Reached::Fixture && !tested {
            let skipped = CheckResult::Skipped {
                reason: format!("no rule could be tested: see {}", check.name),
            };
            report.extend(checks.map(|check| check.ended_with(skipped.clone(), Vec::new())));
            break;
        }
    }
    Report {
        suite,
        checks: report,
    }
}
