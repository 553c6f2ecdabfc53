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
//!
//! # Example
//! Nodes of one process, whose rings are in memory.
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # mod example {
//! use std::sync::{Arc, Mutex};
//!
//! use async_trait::async_trait;
//! use cluster_operator::conformance::keyring::{KeyringFixture, Node, Rings};
//! use cluster_operator::conformance::{self, Fixture, NotSupported};
//! use cluster_operator::keyring::*;
//! use cluster_operator::{NodeName, OperatorError, Timer, TokioTimer};
//!
//! struct Member {
//!     name: NodeName,
//!     ring: Option<Keyring>,
//!     up: bool,
//!     known_dead: bool,
//! }
//!
//! /// The backend, as it runs in the member of this number.
//! #[derive(Clone)]
//! struct MyGossip {
//!     me: usize,
//!     members: Arc<Mutex<Vec<Member>>>,
//! }
//!
//! impl MyGossip {
//!     /// Asks all members; `act` is what each of them does.
//!     fn ask(
//!         &self,
//!         act: impl Fn(&mut Keyring, &mut RingReport) -> Result<(), NodeFailure>,
//!     ) -> Result<RingReport, OperatorError> {
//!         let mut members = self.members.lock().unwrap();
//!         if !members[self.me].up {
//!             return Err(OperatorError::backend("this node is stopped"));
//!         }
//!         let nodes = members.iter().filter(|member| !member.known_dead).count();
//!         let mut report = RingReport::new(nodes);
//!         for member in members.iter_mut().filter(|member| member.up) {
//!             let done = match &mut member.ring {
//!                 Some(ring) => act(ring, &mut report),
//!                 None => Err(NodeFailure::EncryptionOff),
//!             };
//!             report.answered(member.name.clone(), done);
//!         }
//!         Ok(report)
//!     }
//! }
//!
//! type Answer = Result<RingReport, OperatorError>;
//!
//! #[async_trait]
//! impl KeyringBackend for MyGossip {
//!     fn pool(&self) -> Pool {
//!         Pool::Lan
//!     }
//!
//!     async fn list(&self, _: RelayFactor) -> Answer {
//!         self.ask(|ring, report| {
//!             report.primary_keys.add(ring.primary());
//!             ring.keys().iter().for_each(|key| report.keys.add(key));
//!             Ok(())
//!         })
//!     }
//!
//!     async fn install(&self, key: &GossipKey, _: RelayFactor) -> Answer {
//!         self.ask(|ring, _| {
//!             ring.install(key.clone());
//!             Ok(())
//!         })
//!     }
//!
//!     async fn use_key(&self, key: &GossipKey, _: RelayFactor) -> Answer {
//!         self.ask(|ring, _| ring.use_key(key))
//!     }
//!
//!     async fn remove(&self, key: &GossipKey, _: RelayFactor) -> Answer {
//!         self.ask(|ring, _| ring.remove(key).map(|_| ()))
//!     }
//! }
//!
//! /// The fixture: the pool, and what a check has to be able to do to it.
//! struct MyPool(MyGossip);
//!
//! impl MyPool {
//!     fn with<T>(&self, name: &NodeName, act: impl FnOnce(&mut Member) -> T) -> T {
//!         let mut members = self.0.members.lock().unwrap();
//!         act(members.iter_mut().find(|member| member.name == *name).unwrap())
//!     }
//! }
//!
//! #[async_trait]
//! impl Fixture for MyPool {
//!     fn timer(&self) -> &dyn Timer {
//!         &TokioTimer
//!     }
//! }
//!
//! #[async_trait]
//! impl KeyringFixture for MyPool {
//!     fn nodes(&self) -> Vec<Node> {
//!         let members = self.0.members.lock().unwrap();
//!         let node = |(me, member): (usize, &Member)| {
//!             Node::new(member.name.clone(), MyGossip { me, ..self.0.clone() })
//!         };
//!         members.iter().enumerate().map(node).collect()
//!     }
//!
//!     async fn ring(&self, node: &NodeName) -> Result<Vec<GossipKey>, NotSupported> {
//!         let keys = |member: &mut Member| member.ring.as_ref().map(|ring| ring.keys().to_vec());
//!         Ok(self.with(node, keys).unwrap_or_default())
//!     }
//!
//!     async fn stop(&self, node: &NodeName) -> Result<(), NotSupported> {
//!         self.with(node, |member| member.up = false);
//!         Ok(())
//!     }
//!
//!     async fn noticed(&self, node: &NodeName) -> Result<(), NotSupported> {
//!         self.with(node, |member| member.known_dead = true);
//!         Ok(())
//!     }
//! }
//!
//! /// As many nodes as a check wants, each with the ring that it wants.
//! async fn my_pool(wanted: Rings) -> Result<MyPool, NotSupported> {
//!     let member = |(number, keys): (usize, Vec<GossipKey>)| {
//!         let mut keys = keys.into_iter();
//!         let mut ring = keys.next().map(Keyring::new);
//!         for key in keys {
//!             ring.as_mut().unwrap().install(key);
//!         }
//!         Member { name: format!("node-{number}").into(), ring, up: true, known_dead: false }
//!     };
//!     let members = wanted.rings().into_iter().enumerate().map(member).collect();
//!     Ok(MyPool(MyGossip { me: 0, members: Arc::new(Mutex::new(members)) }))
//! }
//!
//! // In a test of yours, with `#[tokio::test(start_paused = true)]`:
//! pub async fn my_gossip_keeps_the_rules() {
//!     let report = conformance::keyring_backend(my_pool).await;
//!     report.assert();
//!     let skipped: Vec<_> = report.skipped().map(|check| check.name).collect();
//!     assert_eq!(
//!         skipped,
//!         [
//!             "the_members_are_the_nodes", // it does not name its members
//!             "a_dead_node_is_no_member",
//!             "a_late_node_is_counted_or_silent", // no node is late
//!         ],
//!     );
//! }
//! # }
//! # #[cfg(feature = "tokio")]
//! # tokio::runtime::Builder::new_current_thread()
//! #     .enable_time()
//! #     .start_paused(true)
//! #     .build()
//! #     .unwrap()
//! #     .block_on(example::my_gossip_keeps_the_rules());
//! ```

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
