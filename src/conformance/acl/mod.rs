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

/// Generates one `#[test]` for each check of the [ACL suite](mod@self), so that a
/// test runner shows them one by one.
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
