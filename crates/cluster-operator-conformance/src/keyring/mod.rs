//! The suite for [`KeyringBackend`](cluster_operator::KeyringBackend).
//!
//! It fits a pool of real nodes on the loopback device as well as one in memory. Each
//! call is given a timeout of a twelfth of the fixture's
//! [deadline](super::Fixture::deadline); let the engine gossip often enough that an
//! answer takes far less. Gossip may lose a question or an answer, and a report says
//! so: where no node is meant to be silent, a call is made up to three times before
//! one counts as silent.
//!
//! Before each check the suite waits until the pool is whole. If the first pool
//! never is, that is the one failure, and the rest is not tried. A check that failed
//! lists the steps that it took. Reports call keys by their [numbers](key).
//!
//! Of a backend that tells no primaries, the checks of just that are skipped. That a
//! pool has the right primary is then seen by its refusal to remove the key; the
//! primaries of single nodes are not looked at. A backend that has told primaries once
//! has to go on telling them.
//!
//! Calls at the same time are polled by one task, so they can only meet where
//! they wait. What threads may do to each other between two such points, the
//! suite does not see.
//!
//! # Example
//! Nodes of one process, whose rings are in memory.
//!
//! ```
//! # mod example {
//! use std::sync::{Arc, Mutex};
//!
//! use async_trait::async_trait;
//! use cluster_operator_conformance::keyring::{KeyringFixture, Node, Rings};
//! use cluster_operator_conformance::{Fixture, NotSupported};
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
//!         query: &GossipQuery,
//!         act: impl Fn(&mut Keyring) -> Result<NodeKeys, NodeFailure>,
//!     ) -> Result<(), OperatorError> {
//!         let mut members = self.members.lock().unwrap();
//!         if !members[self.me].up {
//!             return Err(OperatorError::backend("this node is stopped"));
//!         }
//!         let living = members.iter().filter(|member| !member.known_dead);
//!         query.answers.asking(living.map(|member| member.name.clone()));
//!         for member in members.iter_mut().filter(|member| member.up) {
//!             let answer = match &mut member.ring {
//!                 Some(ring) => act(ring),
//!                 None => Err(NodeFailure::EncryptionOff),
//!             };
//!             query.answers.answered(&member.name, answer);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! #[async_trait]
//! impl KeyringBackend for MyGossip {
//!     fn pool(&self) -> &Pool {
//!         &Pool::Lan
//!     }
//!
//!     async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
//!         self.ask(query, |ring| Ok(NodeKeys::ring(ring.keys().iter().cloned())))
//!     }
//!
//!     async fn change(&self, change: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
//!         self.ask(query, |ring| {
//!             match change {
//!                 KeyChange::Install(key) => _ = ring.install(key.clone()),
//!                 KeyChange::Use(key) => ring.use_key(key)?,
//!                 KeyChange::Remove(key) => _ = ring.remove(key)?,
//!             }
//!             Ok(NodeKeys::done())
//!         })
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
//!     let report = cluster_operator_conformance::keyring_backend(my_pool).await;
//!     report.assert();
//!     let skipped: Vec<_> = report.skipped().map(|check| check.name).collect();
//!     // Its nodes cannot be slowed down.
//!     assert_eq!(
//!         skipped,
//!         [
//!             "late_node_is_counted_or_silent",
//!             "answers_arrive_while_a_listing_runs",
//!             "answers_arrive_while_a_change_runs",
//!         ],
//!     );
//! }
//! # }
//! # tokio::runtime::Builder::new_current_thread()
//! #     .enable_time()
//! #     .start_paused(true)
//! #     .build()
//! #     .unwrap()
//! #     .block_on(example::my_gossip_keeps_the_rules());
//! ```

mod checks;
mod fixture;
mod gossip;

pub use checks::{CHECKS, by_name};
pub use fixture::{KeyringFixture, Node, Rings, key};

use crate::check::{Check, suite};

/// A check of this suite.
pub type KeyringCheck = Check<Rings, dyn KeyringFixture>;

suite! {
    /// Runs the whole suite: each check on a pool of its own, which `factory` makes
    /// of nodes with the rings that the check wants.
    keyring_backend of "KeyringBackend", KeyringFixture, Rings
}

/// Generates one `#[test]` for each check of this suite, as
/// [the module](crate#one-test-for-each-check) tells.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_keyring_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_keyring_names keyring $($arguments)* }
    };
}
