#![doc = include_str!("../README.md")]
//!
//! # One test for each check
//! The macros generate a `#[test]` for each check, under its name, in the module that
//! calls them. `factory` and `block_on`, a function or a closure, are evaluated in each
//! test. A check that cannot run fails, unless it is named under `skip`, which may be
//! left out: it is then an ignored test with that reason.
//!
//! ```
//! # use cluster_operator_conformance::{NotSupported, acl::{Acl, AclFixture}};
//! # async fn my_tokens(_: Acl) -> Result<Mine, NotSupported> { Ok(Mine) }
//! # struct Mine;
//! # impl cluster_operator_conformance::Fixture for Mine {
//! #     fn timer(&self) -> &dyn cluster_operator::Timer { unimplemented!() }
//! # }
//! # impl AclFixture for Mine {
//! #     fn authorizer(&self) -> std::sync::Arc<dyn cluster_operator::AclAuthorizer> {
//! #         std::sync::Arc::new(cluster_operator::AllowAll)
//! #     }
//! #     fn tokens(&self) -> Vec<cluster_operator::Token> { vec![] }
//! # }
//! cluster_operator_conformance::acl_tests! {
//!     factory = my_tokens,
//!     block_on = futures_executor::block_on,
//!     skip = {
//!         lost_source_is_unavailable: "my tokens are in memory",
//!     },
//! }
//! ```
//!
//! # Failures
//! A check fails if the backend breaks the rule, if anything panics, even the fixture in
//! its `Drop`, or if the check takes longer than the fixture's
//! [deadline](Fixture::deadline). None of that ends the suite; code that blocks its
//! thread does block it. If the first fixture never is what was wanted, that is the one
//! failure, and the other checks are skipped. A failed check shows the steps that it
//! took.
//!
//! # Time and tasks
//! The suites need no runtime: the fixture brings the clock, and you choose the executor.
//! A suite's future is not `Send`; tokio's `spawn_blocking` with `Handle::block_on` runs
//! it elsewhere.
//!
//! Where a rule says "in time", the check probes again and again, so that an engine may
//! elect and replicate at its own pace. Some checks wait for a node that does not answer.
//! For a backend in memory let the fixture's clock be `MockClock` of the feature `mock`,
//! or `TokioTimer` in a `#[tokio::test(start_paused = true)]`.
//!
//! A check polls all its calls in one task: calls at the same time meet only where they
//! wait. A race between two threads is not seen.

pub mod acl;
mod check;
mod fixture;
pub mod keyring;
pub mod peers;
pub mod raft;
mod report;
mod secret;

#[doc(inline)]
pub use acl::{acl_authorizer, tests as acl_tests};
pub use check::Check;
pub use fixture::{Fixture, NotSupported};
#[doc(inline)]
pub use keyring::{keyring_backend, tests as keyring_tests};
#[doc(inline)]
pub use peers::{peers, tests as peers_tests};
#[doc(inline)]
pub use raft::{raft_backend, tests as raft_tests};
pub use report::{CheckResult, Checked, Report};
