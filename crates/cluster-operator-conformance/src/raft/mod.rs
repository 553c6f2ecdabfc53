//! The suite for [`RaftBackend`](cluster_operator::RaftBackend).
//!
//! Each check has a rule of the trait's contract as its name. A check that failed
//! lists the steps that it took: what it did to the cluster, what it asked, and
//! what was answered.
//!
//! A fixture has a few abilities beside its servers, such as to
//! [stop](RaftFixture::stop) one or to [lose](RaftFixture::lose_at_change) one in
//! the middle of a change. What it cannot do is skipped, and shown as skipped.

mod checks;
mod cluster;
mod fixture;

pub use checks::{CHECKS, by_name};
pub use fixture::{Member, RaftFixture, Servers};

use crate::check::{Check, suite};

/// A check of this suite.
pub type RaftCheck = Check<Servers, dyn RaftFixture>;

suite! {
    /// Runs the whole suite: each check on a cluster of its own, which `factory`
    /// makes of the servers that the check wants.
    raft_backend of "RaftBackend", RaftFixture, Servers
}

/// Generates one `#[test]` for each check of this suite, as
/// [the module](crate#one-test-for-each-check) tells.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_raft_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_raft_names raft $($arguments)* }
    };
}
