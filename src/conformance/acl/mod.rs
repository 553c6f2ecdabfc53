//! The suite for [`AclAuthorizer`](crate::AclAuthorizer).

mod ask;
mod checks;
mod fixture;
mod rules;
mod secrets;
mod steadiness;

pub use checks::CHECKS;
pub use fixture::{Acl, AclFixture, TokenRules};

use super::check::run_all;
use super::{Check, NotSupported, Report};

/// A check of this suite.
pub type AclCheck = Check<Acl, dyn AclFixture>;

/// Runs the whole suite: each check on an authorizer of its own, which
/// `factory` makes with the tokens that the check wants.
///
/// A factory that cannot make such a one says so, and the check is skipped.
/// It has to bound its own waiting; everything after it is bounded by the
/// fixture's [deadline](super::Fixture::deadline).
pub async fn acl_authorizer<F, M>(factory: M) -> Report
where
    F: AclFixture + 'static,
    M: AsyncFn(Acl) -> Result<F, NotSupported>,
{
    run_all("AclAuthorizer", CHECKS, async |wanted| {
        boxed(factory(wanted).await)
    })
    .await
}

/// Runs one check alone.
pub async fn run<F, M>(check: &'static AclCheck, factory: M) -> Report
where
    F: AclFixture + 'static,
    M: AsyncFn(Acl) -> Result<F, NotSupported>,
{
    run_all("AclAuthorizer", [check], async |wanted| {
        boxed(factory(wanted).await)
    })
    .await
}

fn boxed<F: AclFixture + 'static>(
    made: Result<F, NotSupported>,
) -> Result<Box<dyn AclFixture>, NotSupported> {
    made.map(|fixture| Box::new(fixture) as _)
}

/// Generates one `#[test]` for each check of this suite, under the name of the
/// check, in the module that it is called in.
///
/// ```text
/// conformance::acl_tests! {
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
macro_rules! __conformance_acl_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_acl_names acl $($arguments)* }
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
        crate::__conformance_acl_names! { push }
        let checks: Vec<_> = CHECKS.iter().map(|check| check.name()).collect();
        assert_eq!(names, checks);
    }
}
