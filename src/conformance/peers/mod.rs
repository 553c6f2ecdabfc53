//! The suite for [`Peers`](crate::Peers).

mod checks;
mod delivery;
mod far;
mod fixture;
mod messages;
mod samples;

pub use checks::CHECKS;
pub use fixture::{PeersFixture, Place};

use super::check::run_all;
use super::{Check, NotSupported, Report};

/// A check of this suite.
pub type PeersCheck = Check<(), dyn PeersFixture>;

/// Runs the whole suite: each check on servers of its own, which `factory`
/// makes.
///
/// A factory that cannot make them says so, and the check is skipped.
/// It has to bound its own waiting; everything after it is bounded by the
/// fixture's [deadline](super::Fixture::deadline).
pub async fn peers<F, M>(factory: M) -> Report
where
    F: PeersFixture + 'static,
    M: AsyncFn() -> Result<F, NotSupported>,
{
    run_all("Peers", CHECKS, async |()| boxed(factory().await)).await
}

/// Runs one check alone.
pub async fn run<F, M>(check: &'static PeersCheck, factory: M) -> Report
where
    F: PeersFixture + 'static,
    M: AsyncFn() -> Result<F, NotSupported>,
{
    run_all("Peers", [check], async |()| boxed(factory().await)).await
}

fn boxed<F: PeersFixture + 'static>(
    made: Result<F, NotSupported>,
) -> Result<Box<dyn PeersFixture>, NotSupported> {
    made.map(|fixture| Box::new(fixture) as _)
}

/// Generates one `#[test]` for each check of this suite, under the name of the
/// check, in the module that it is called in.
///
/// ```text
/// conformance::peers_tests! {
///     factory = async || Ok(...), // as the suite's
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
macro_rules! __conformance_peers_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_peers_names peers $($arguments)* }
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
        crate::__conformance_peers_names! { push }
        let checks: Vec<_> = CHECKS.iter().map(|check| check.name()).collect();
        assert_eq!(names, checks);
    }
}
