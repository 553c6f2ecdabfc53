//! A federation in memory, for the tests of those who use or extend this crate.
//!
//! [`MockFederation`] wires servers of several datacenters together: each has an
//! [`OperatorService`](crate::OperatorService) of its own, a Raft that elects,
//! commits and refuses, and gossip pools in which every node holds a real
//! keyring. Its parts can be had one by one: [`MockRaft`], [`MockKeyring`],
//! [`MockAutopilot`], [`MockAcl`], and [`MockPeers`].
//!
//! There is no socket, no thread, and no chance but that of a seed: a test runs
//! in the same way each time.
//!
//! What goes wrong is a [`Fault`] that the test
//! [injects](MockFederation::inject) and [heals](MockFederation::heal); what has
//! gone between servers is in a [`Transcript`].
//!
//! ```
//! use cluster_operator::mock::MockFederation;
//! use cluster_operator::{Caller, Consistency, ErrorKind};
//!
//! # futures_executor::block_on(async {
//! let federation = MockFederation::builder()
//!     .datacenter("dc1", ["alice", "bob", "carol"])
//!     .datacenter("dc2", ["dave"])
//!     .build();
//! let bob = federation.service("bob");
//! let caller = Caller::anonymous();
//!
//! // Bob follows, and hands it on to alice, who leads.
//! let servers = bob.raft_configuration(&caller, Consistency::Default).await?.servers;
//! assert_eq!(servers.len(), 3);
//!
//! federation.stop("alice");
//! assert_eq!(federation.leader("dc1"), Some("bob".into()));
//! federation.stop("carol");
//! let error = bob.raft_configuration(&caller, Consistency::Default).await.unwrap_err();
//! assert_eq!(error.kind(), &ErrorKind::NoLeader);
//! # Ok::<(), cluster_operator::OperatorError>(())
//! # }).unwrap();
//! ```
//!
//! # Time
//! What a server does takes no time, but for [faults](Fault) that say so and for
//! the services' own deadlines and waits. These need a clock:
//!
//! | the federation has | the test | what takes time |
//! |---|---|---|
//! | [a `MockClock`](MockFederationBuilder::clock) | runs futures with [`MockClock::run`], without a runtime | takes none in fact: the clock jumps. A runtime that awaits them would wait for ever |
//! | none, and there is the feature `tokio` | runs on tokio | takes tokio's time, which can be paused. Faults that take time themselves are refused |
//! | none, and there is no such feature | runs futures as it likes | stands still: what waits, waits for ever |

mod acl;
mod autopilot;
mod builder;
mod calls;
mod clock;
mod cluster;
mod fault;
mod federation;
mod gate;
mod gossip;
mod inject;
mod keyring;
mod link;
mod membership;
mod mishap;
mod network;
mod peers;
mod raft;
mod runner;
mod server;
#[cfg(not(feature = "tokio"))]
mod standstill;
mod transcript;
mod wiring;
mod wording;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use acl::{Grant, MockAcl, MockToken};
pub use autopilot::MockAutopilot;
pub use builder::MockFederationBuilder;
pub use calls::Calls;
pub use clock::MockClock;
pub use fault::{Fault, NodeFault};
pub use federation::MockFederation;
pub use inject::FaultId;
pub use keyring::MockKeyring;
pub use mishap::RaftChange;
pub use peers::{MockPeers, Sent};
pub use raft::MockRaft;
pub use server::MockServer;
pub use transcript::{Call, CallEnd, Entry, Transcript};

use crate::error::{ErrorKind, OperatorError};

/// A test that has failed while it held the lock has said why; the others are
/// not to fail of the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unreachable(target: impl ToString, reason: &str) -> OperatorError {
    OperatorError::new(ErrorKind::Unreachable {
        target: target.to_string(),
        reason: reason.into(),
    })
}
