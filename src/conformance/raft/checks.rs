//! The list of the Raft checks.

use super::{RaftCheck, Servers, refusals};
use crate::conformance::check::check;

/// Every check of the suite, in the order in which it runs them.
pub const CHECKS: &[RaftCheck] = &[
    check!(
        refusals::an_unknown_id_is_an_unknown_server,
        Servers::voters(3),
        "A removal of an id that the configuration does not hold is `UnknownServer`, never a \
         quiet success, and changes nothing.",
        "Consul's operator API; vault#9318",
    ),
    check!(
        refusals::an_unknown_address_is_an_unknown_server,
        Servers::voters(3),
        "A removal of an address that the configuration does not hold is `UnknownServer`, never \
         a quiet success, and changes nothing.",
        "Consul's operator API; vault#9318",
    ),
    check!(
        refusals::the_last_voter_is_never_removed,
        Servers::voters(1),
        "A removal that would leave no voter is `LastVoter`, and changes nothing.",
        "hashicorp/raft, checkConfiguration",
    ),
];

/// Hands each name in [`CHECKS`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_raft_names {
    ($each:ident) => {
        $each! { @ an_unknown_id_is_an_unknown_server }
        $each! { @ an_unknown_address_is_an_unknown_server }
        $each! { @ the_last_voter_is_never_removed }
    };
}
