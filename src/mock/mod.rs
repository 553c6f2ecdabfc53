//! A simulated federation in memory, for tests.
//!
//! [`MockFederation`] connects servers of several datacenters. Each has an
//! [`OperatorService`](crate::OperatorService), a Raft with elections and commits,
//! and gossip pools in which every node holds a keyring of its own. The parts can
//! also be used alone: [`MockRaft`], [`MockKeyring`], [`MockAutopilot`], [`MockAcl`]
//! and [`MockPeers`].
//!
//! There are no sockets and no threads, and randomness comes from a seed: a test runs
//! the same way each time.
//!
//! A test [injects](MockFederation::inject) a [`Fault`] and
//! [heals](MockFederation::heal) it; the calls between servers are in a
//! [`Transcript`].
//!
//! ```
//! use cluster_operator::mock::MockFederation;
//! use cluster_operator::raft::Consistency;
//! use cluster_operator::service::Caller;
//! use cluster_operator::ErrorKind;
//!
//! # futures_executor::block_on(async {
//! let federation = MockFederation::builder()
//!     .datacenter("dc1", ["alice", "bob", "carol"])
//!     .datacenter("dc2", ["dave"])
//!     .build();
//! let bob = federation.service("bob");
//! let caller = Caller::anonymous();
//!
//! // Bob is a follower and forwards the request to alice, the leader.
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
//! Servers work instantly, except for [faults](Fault) that take time and for the
//! services' deadlines and waits. Those need a clock:
//!
//! | clock of the federation | how the test runs | what happens to waits |
//! |---|---|---|
//! | [a `MockClock`](MockFederationBuilder::clock) | with [`MockClock::run`], without a runtime | the clock jumps, and no time passes. Awaited in a runtime, they never end |
//! | none, with the feature `tokio` | on tokio | they use tokio's time, which can be paused. Faults that take time are refused |
//! | none, without that feature | in any way | they never end |

mod acl;
mod autopilot;
mod builder;
mod clock;
mod cluster;
mod connect;
mod fault;
mod federation;
mod gossip;
mod keyring;
mod membership;
mod network;
mod peers;
mod raft;
mod transcript;

pub use acl::{Grant, MockAcl, MockToken};
pub use autopilot::MockAutopilot;
pub use builder::MockFederationBuilder;
pub use clock::MockClock;
pub use cluster::RaftChange;
pub use fault::{Calls, Fault, FaultId, NodeFault};
pub use federation::MockFederation;
pub use keyring::MockKeyring;
pub use peers::{MockPeers, Sent};
pub use raft::MockRaft;
pub use transcript::{Call, CallEnd, Entry, Transcript};
