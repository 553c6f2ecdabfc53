//! The suite for [`KeyringBackend`](crate::KeyringBackend).
//!
//! It fits a pool of real nodes on the loopback device as well as one in memory.
//! Gossip may lose a question or an answer, and a report says so: where no node
//! is meant to be silent, a call is made up to three times before one counts as
//! silent. How the engine is set up is the fixture's choice; let it gossip often,
//! and give up on a silent node within a few seconds.
//!
//! Of a backend that leaves [`primary_keys`](crate::RingReport::primary_keys)
//! empty because it cannot tell, or whose `members` is unsupported, the checks
//! of just that are skipped.

mod ask;
mod changes;
mod checks;
mod drops;
mod faults;
mod fixture;
mod lists;
mod races;
mod reports;
mod secrets;

pub use checks::CHECKS;
pub use fixture::{KeyringFixture, Node, Rings, key};

use super::check::run_all;
use super::{Check, NotSupported, Report};

/// A check of this suite.
pub type KeyringCheck = Check<Rings, dyn KeyringFixture>;

/// Runs the whole suite: each check on a pool of its own, which `factory` makes
/// of nodes with the rings that the check wants.
///
/// A factory that cannot make such a pool says so, and the check is skipped.
/// It has to bound its own waiting; everything after it is bounded by the
/// fixture's [deadline](super::Fixture::deadline).
pub async fn keyring_backend<F, M>(factory: M) -> Report
where
    F: KeyringFixture + 'static,
    M: AsyncFn(Rings) -> Result<F, NotSupported>,
{
    run_all("KeyringBackend", CHECKS, async |wanted| {
        boxed(factory(wanted).await)
    })
    .await
}

/// Runs one check alone.
pub async fn run<F, M>(check: &'static KeyringCheck, factory: M) -> Report
where
    F: KeyringFixture + 'static,
    M: AsyncFn(Rings) -> Result<F, NotSupported>,
{
    run_all("KeyringBackend", [check], async |wanted| {
        boxed(factory(wanted).await)
    })
    .await
}

fn boxed<F: KeyringFixture + 'static>(
    made: Result<F, NotSupported>,
) -> Result<Box<dyn KeyringFixture>, NotSupported> {
    made.map(|fixture| Box::new(fixture) as _)
}

/// Generates one `#[test]` for each check of this suite, under the name of the
/// check, in the module that it is called in.
///
/// ```text
/// conformance::keyring_tests! {
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
macro_rules! __conformance_keyring_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_keyring_names keyring $($arguments)* }
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
        crate::__conformance_keyring_names! { push }
        let checks: Vec<_> = CHECKS.iter().map(|check| check.name()).collect();
        assert_eq!(names, checks);
    }
}
