//! The suite for [`AclAuthorizer`](crate::AclAuthorizer).
//!
//! Of an authorizer whose denials never name an
//! [accessor id](crate::AccessorId), the checks of just that are skipped.

mod ask;
mod checks;
mod fixture;
mod ready;
mod rules;
mod secrets;
mod steadiness;

pub use checks::CHECKS;
pub use fixture::{Acl, AclFixture, TokenRules};

use super::Check;
use super::suite::suite;

/// A check of this suite.
pub type AclCheck = Check<Acl, dyn AclFixture>;

suite! {
    ($)
    /// Runs the whole suite: each check on an authorizer of its own, which
    /// `factory` makes with the tokens that the check wants.
    acl_authorizer of "AclAuthorizer",
    checks: AclCheck,
    fixture: AclFixture,
    factory: (wanted: Acl),
    names: __conformance_acl_names,
}

/// Generates one `#[test]` for each check of this suite, as
/// [the module](crate::conformance#one-test-for-each-check) tells.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_acl_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_acl_names acl $($arguments)* }
    };
}
