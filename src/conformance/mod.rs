//! Suites that show whether a backend keeps its contract.

pub mod acl;
mod check;
mod fixture;
#[doc(hidden)]
mod macros;
pub mod peers;
mod poll;
pub mod raft;
mod report;
mod verdict;

#[doc(hidden)]
pub use check::named;

pub use acl::acl_authorizer;
pub use check::Check;
pub use fixture::{Fixture, NotSupported};
pub use peers::peers;
pub use raft::raft_backend;
pub use report::{CheckResult, Checked, Report};

#[doc(inline)]
pub use crate::__conformance_acl_tests as acl_tests;
#[doc(inline)]
pub use crate::__conformance_peers_tests as peers_tests;
#[doc(inline)]
pub use crate::__conformance_raft_tests as raft_tests;
