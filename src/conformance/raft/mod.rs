//! The suite for [`RaftBackend`](crate::RaftBackend).

mod checks;
mod cluster;
mod fixture;
mod leads;
mod losses;
mod races;
mod reads;
mod ready;
mod refusals;
mod removals;

pub use checks::CHECKS;
pub use fixture::{Member, RaftFixture, Servers};

use super::Check;
use super::suite::suite;

/// A check of this suite.
pub type RaftCheck = Check<Servers, dyn RaftFixture>;

suite! {
    ($)
    /// Runs the whole suite: each check on a cluster of its own, which `factory`
    /// makes of the servers that the check wants.
    raft_backend of "RaftBackend",
    checks: RaftCheck,
    fixture: RaftFixture,
    factory: (wanted: Servers),
    names: __conformance_raft_names,
}

/// Generates one `#[test]` for each check of this suite, as
/// [the module](crate::conformance#one-test-for-each-check) tells.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_raft_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_raft_names raft $($arguments)* }
    };
}
