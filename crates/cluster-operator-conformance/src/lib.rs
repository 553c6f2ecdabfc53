//! Suites that show whether a backend keeps its contract.
//!
//! Whoever implements [`RaftBackend`](cluster_operator::RaftBackend),
//! [`KeyringBackend`](cluster_operator::KeyringBackend),
//! [`AclAuthorizer`](cluster_operator::AclAuthorizer) or [`Peers`](cluster_operator::Peers) runs the
//! suite for that trait. It consists of checks: each holds the backend to one
//! rule, has the rule as its name, and tells where the rule comes from. They
//! need no runtime, since the fixture brings the clock, and the executor is the
//! author's choice.
//!
//! | trait | suite | its checks | one test for each check |
//! |---|---|---|---|
//! | `RaftBackend` | [`raft_backend`] | [`raft::CHECKS`] | [`raft_tests`] |
//! | `KeyringBackend` | [`keyring_backend`] | [`keyring::CHECKS`] | [`keyring_tests`] |
//! | `AclAuthorizer` | [`acl_authorizer`] | [`acl::CHECKS`] | [`acl_tests`] |
//! | `Peers` | [`peers()`] | [`peers::CHECKS`] | [`peers_tests`] |
//!
//! # How to run one
//! A suite gets a *factory*, an async closure that makes a *fixture*: the
//! backend, and around it what a check has to be able to do, such as to stop a
//! server. Every check has a fixture of its own, made as the check wants it.
//!
//! What the factory or the fixture cannot do, they answer with [`NotSupported`].
//! The check is then *skipped*, and the [`Report`] says so and why.
//!
//! The documentation of [`keyring`] and of [`acl`] has an example of its own. A
//! suite is awaited where it is made: its future cannot be spawned, and where
//! that is wanted, `spawn_blocking` and `Handle::block_on` of tokio run it.
//!
//! ```
//! # mod example {
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use async_trait::async_trait;
//! use cluster_operator_conformance::raft::{Member, RaftFixture, Servers};
//! use cluster_operator_conformance::{Fixture, NotSupported};
//! use cluster_operator::raft::*;
//! use cluster_operator::{ErrorKind, OperatorError, Timer, TokioTimer};
//!
//! /// A Raft of one server.
//! struct MyRaft;
//!
//! #[async_trait]
//! impl RaftBackend for MyRaft {
//!     async fn view(&self) -> Result<RaftView, OperatorError> {
//!         let me = RaftMember::voter("my-id", "127.0.0.1:8300");
//!         let mut view = RaftView::new("my-id", Arc::new(Membership::new([me])));
//!         view.leadership = Leadership::Local;
//!         view.term = 1;
//!         view.version = ConfigVersion { term: 1, index: 1 };
//!         Ok(view)
//!     }
//!
//!     async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
//!         self.view().await // it is a majority by itself
//!     }
//!
//!     async fn remove_server(&self, _: &Removal) -> Result<(), OperatorError> {
//!         Err(ErrorKind::LastVoter.into())
//!     }
//! }
//!
//! struct MyCluster;
//!
//! #[async_trait]
//! impl Fixture for MyCluster {
//!     fn timer(&self) -> &dyn Timer {
//!         &TokioTimer
//!     }
//! }
//!
//! #[async_trait]
//! impl RaftFixture for MyCluster {
//!     fn members(&self) -> Vec<Member> {
//!         vec![Member::new("my-id", "127.0.0.1:8300", MyRaft)]
//!     }
//!     // With more servers: `stop`, `isolate` and the others.
//! }
//!
//! async fn my_cluster(wanted: Servers) -> Result<MyCluster, NotSupported> {
//!     if wanted != Servers::voters(1) {
//!         return Err(NotSupported::new("there is one server only"));
//!     }
//!     Ok(MyCluster)
//! }
//!
//! // In a test of yours, with `#[tokio::test]`:
//! pub async fn my_raft_keeps_the_rules() {
//!     let report = cluster_operator_conformance::raft_backend(my_cluster).await;
//!     report.assert(); // panics with all that failed
//!     assert_eq!(report.passed().count(), 1);
//!     println!("{report}"); // tells what was skipped, and why
//! }
//! # }
//! # tokio::runtime::Builder::new_current_thread()
//! #     .enable_time()
//! #     .build()
//! #     .unwrap()
//! #     .block_on(example::my_raft_keeps_the_rules());
//! ```
//!
//! # One test for each check
//! The macros generate a `#[test]` for each check, under the name of the check, in
//! the module that they are called in, so that a test runner shows them one by
//! one. What is given for `factory`, as the suite's, and `block_on`, a function or
//! a closure, is evaluated in each test; `skip` may be left out.
//!
//! Here a skip has to be declared: a check that cannot run, and is not named
//! under `skip`, fails. One that is named there is an ignored test with that
//! reason.
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
//! # What fails
//! A check fails where the backend breaks the rule, where something panics, be it
//! the fixture on its way out, and where the check is not over by the fixture's
//! [deadline](Fixture::deadline): none of that ends the suite. What blocks its
//! thread, though, blocks the suite as well. And if the first fixture that the
//! factory makes is never what was wanted, that fails, and the rest is skipped.
//!
//! A check polls all its calls in one task. Where calls are made at the same
//! time, they meet at the points where they wait, and nowhere else: a backend
//! that reads and writes back without waiting between is not seen to lose what
//! another thread has written.
//!
//! An engine that elects, replicates and forgets in its own time passes: where a
//! rule says "in time", the check looks again and again until it is so. The rest
//! has to be so at once.
//!
//! # Time
//! Some checks wait for what does not answer, and take seconds of the fixture's
//! time to see it. A backend in memory need not wait with them: give its fixture
//! `MockClock` of the feature `mock`, whose time jumps to the next sleep, or
//! `TokioTimer` in a `#[tokio::test(start_paused = true)]`.
//!
//! # Names
//! The names of the checks are part of the interface of this crate. New ones
//! come with minor versions, so a backend that passes today may fail after an
//! update, of a rule that it has broken all along.

pub mod acl;
mod check;
mod fixture;
pub mod keyring;
mod macros;
pub mod peers;
mod poll;
pub mod raft;
mod report;
mod steps;
mod suite;
mod traces;
mod verdict;
mod wanted;

pub use acl::acl_authorizer;
pub use check::Check;
#[doc(hidden)]
pub use check::{is_listed, named};
pub use fixture::{Fixture, NotSupported};
pub use keyring::keyring_backend;
pub use peers::peers;
pub use raft::raft_backend;
pub use report::{CheckResult, Checked, Report};

#[doc(inline)]
pub use crate::__conformance_acl_tests as acl_tests;
#[doc(inline)]
pub use crate::__conformance_keyring_tests as keyring_tests;
#[doc(inline)]
pub use crate::__conformance_peers_tests as peers_tests;
#[doc(inline)]
pub use crate::__conformance_raft_tests as raft_tests;
