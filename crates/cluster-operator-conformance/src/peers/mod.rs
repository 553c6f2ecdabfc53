//! The suite for [`Peers`](cluster_operator::Peers).
//!
//! A check that failed lists what it sent where and how that ended.

mod checks;
mod fixture;
mod transport;

pub use checks::{CHECKS, by_name};
pub use fixture::{PeersFixture, Place};

use crate::check::{Check, suite};

/// A check of this suite.
pub type PeersCheck = Check<(), dyn PeersFixture>;

suite! {
    /// Runs the whole suite: each check on servers of its own, which `factory`
    /// makes.
    peers of "Peers", PeersFixture, ()
}

/// Generates one `#[test]` for each check of this suite, as
/// [the module](crate#one-test-for-each-check) tells.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_peers_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_peers_names peers $($arguments)* }
    };
}
