//! The suite for [`RaftBackend`](crate::RaftBackend).

mod checks;
mod cluster;
mod fixture;
mod leads;
mod races;
mod reads;
mod refusals;
mod removals;

pub use checks::CHECKS;
pub use fixture::{Member, RaftFixture, Servers};

use super::check::run_all;
use super::{Check, NotSupported, Report};

/// A check of this suite.
pub type RaftCheck = Check<Servers, dyn RaftFixture>;

/// Runs the whole suite: each check on a cluster of its own, which `factory`
/// makes of the servers that the check wants.
///
/// A factory that cannot make such a cluster says so, and the check is skipped.
/// It has to bound its own waiting; everything after it is bounded by the
/// fixture's [deadline](super::Fixture::deadline).
pub async fn raft_backend<F, M>(factory: M) -> Report
where
    F: RaftFixture + 'static,
    M: AsyncFn(Servers) -> Result<F, NotSupported>,
{
    run_all("RaftBackend", CHECKS, async |wanted| {
        boxed(factory(wanted).await)
    })
    .await
}

/// Runs one check alone.
pub async fn run<F, M>(check: &'static RaftCheck, factory: M) -> Report
where
    F: RaftFixture + 'static,
    M: AsyncFn(Servers) -> Result<F, NotSupported>,
{
    run_all("RaftBackend", [check], async |wanted| {
        boxed(factory(wanted).await)
    })
    .await
}

fn boxed<F: RaftFixture + 'static>(
    made: Result<F, NotSupported>,
) -> Result<Box<dyn RaftFixture>, NotSupported> {
    made.map(|fixture| Box::new(fixture) as _)
}

/// Generates one `#[test]` for each check of this suite, under the name of the
/// check, in the module that it is called in.
///
/// ```text
/// conformance::raft_tests! {
///     factory = async |wanted| Ok(...), // as the suite's
///     block_on = futures_executor::block_on,  // or a closure
///     skip = { name_of_a_check: "why", },     // may be left out
/// }
/// ```
///
/// What is given for `factory` and `block_on` is evaluated in each test. A check
/// named under `skip` is an ignored test; a check that is skipped otherwise
/// fails.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_raft_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_raft_names raft $($arguments)* }
    };
}

#[cfg(test)]
mod tests {
    use super::CHECKS;

    #[test]
    fn the_names_for_the_tests_are_those_of_the_checks() {
        let mut names = Vec::new();
        macro_rules! push {
            (@ $name:ident) => {
                names.push(stringify!($name));
            };
        }
        crate::__conformance_raft_names! { push }
        let checks: Vec<_> = CHECKS.iter().map(|check| check.name()).collect();
        assert_eq!(names, checks);
    }
}
