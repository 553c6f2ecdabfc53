//! The suite for [`KeyringBackend`](crate::KeyringBackend).
//!
//! It fits a pool of real nodes on the loopback device as well as one in memory.
//! Gossip may lose a question or an answer, and a report says so: where no node
//! is meant to be silent, a call is made up to three times before one counts as
//! silent. How the engine is set up is the fixture's choice; let it gossip often,
//! and give up on a silent node within a few seconds.
//!
//! Before each check the suite waits until the pool is whole. If the first pool
//! never is, that is the one failure, and the rest is not tried. Reports call keys
//! by their [numbers](key).
//!
//! Of a backend that leaves [`primary_keys`](crate::RingReport::primary_keys)
//! empty because it cannot tell, or whose `members` is unsupported, the checks
//! of just that are skipped. That a pool has the primary that it should is then
//! seen by its refusal to remove the key; that single nodes have theirs is not
//! looked at, beside what else those checks are about. A backend that has told
//! primaries once has to go on telling them.
//!
//! Calls at the same time are polled by one task, so they can only meet where
//! they wait. What threads may do to each other between two such points, the
//! suite does not see.

mod ask;
mod changes;
mod checks;
mod drops;
mod faults;
mod fixture;
mod lists;
mod races;
mod ready;
mod reports;
mod secrets;

pub use checks::CHECKS;
pub use fixture::{KeyringFixture, Node, Rings, key};

use super::Check;
use super::suite::suite;

/// A check of this suite.
pub type KeyringCheck = Check<Rings, dyn KeyringFixture>;

suite! {
    ($)
    /// Runs the whole suite: each check on a pool of its own, which `factory` makes
    /// of nodes with the rings that the check wants.
    keyring_backend of "KeyringBackend",
    checks: KeyringCheck,
    fixture: KeyringFixture,
    factory: (wanted: Rings),
    names: __conformance_keyring_names,
}

/// Generates one `#[test]` for each check of this suite, as
/// [the module](crate::conformance#one-test-for-each-check) tells.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_keyring_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_keyring_names keyring $($arguments)* }
    };
}
