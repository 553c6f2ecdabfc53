//! A [`RaftBackend`](cluster_operator::RaftBackend) over raft-rs, the `raft` crate 0.7.
//!
//! It proves that the trait fits a Raft in the manner of etcd, and shows how. The
//! suite runs on it with no check skipped. It is not published: [`Node`] keeps its
//! log in memory, never compacts it, and trusts its [`Transport`], since raft-rs
//! panics on messages that no server sends.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//!
//! use cluster_operator::{Leadership, RaftBackend};
//! use cluster_operator_raft_rs::{Node, NodeConfig, RaftRsBackend, Transport};
//! use raft::eraftpb::Message;
//!
//! struct Nowhere;
//!
//! impl Transport for Nowhere {
//!     fn send(&self, _: Message) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = NodeConfig {
//!     id: 1,
//!     voters: vec![1],
//!     learners: vec![],
//!     addresses: BTreeMap::from([(1, "10.0.0.1:8300".into())]),
//!     tick: Duration::from_millis(5),
//! };
//! let node = Node::start(config, Nowhere, |write| println!("{write:?}"))?;
//! node.state().wait_for(|state| state.leads()).await?;
//! let backend = RaftRsBackend::new(node);
//! assert_eq!(backend.view().await?.leadership, Leadership::Local);
//! # Ok(())
//! # }
//! ```
//!
//! # The recipe
//! What a server has to do about a Raft in the manner of etcd:
//!
//! 1. Turn `check_quorum` and `pre_vote` on. Otherwise a leader that is cut off
//!    leads for good in its own view.
//! 2. Let one loop own the `RawNode`, and publish after each turn what a view needs:
//!    role, term, commit index, configuration, and each server's `matched`. A view
//!    reads that, and a call that compares and appends runs on the loop.
//! 3. Keep the position of the entry beside the `ConfState` that it has brought into
//!    force, on disk and in snapshots: it is the version. While an entry of a change
//!    is in the log and not applied, the view's change is `Uncommitted`; while
//!    `voters_outgoing` is not empty, it is `Joint`. `has_pending_conf` alone says
//!    too much after an election.
//! 4. To confirm a view, wait until an entry of this term is committed, since a
//!    `read_index` before that is dropped without a word. Then ask with
//!    `ReadOnlyOption::Safe`, and wait for the read state in the same term.
//! 5. To prove that voters are alive, propose an empty entry, and wait until it is
//!    committed and `matched` of enough voters that stay has reached it.
//! 6. Append a change only while `has_pending_conf` is false, and look whether
//!    `pending_conf_index` is its index: otherwise raft has appended an empty entry
//!    in its place and returned no error.
//! 7. A removal has succeeded when it is applied *and* `matched` of a majority of the
//!    voters that stay has reached its entry. The old majority commits it, and may
//!    need the voter that leaves for that.
//! 8. End an explicit joint configuration with an empty `ConfChangeV2`. One with
//!    `auto_leave` is ended by whoever leads.
//! 9. Make a leader that was removed step down: it never does by itself, and blocks
//!    all writes. Propose nothing behind its removal; once `committed_index` of a
//!    majority has reached that, call `send_timeout_now` for one of them and
//!    `become_follower`. Step down at once if there is an uncommitted entry behind the
//!    removal, which raft panics on.
//! 10. Stop a follower that was removed from outside, too: nobody sends it the entry
//!     that says so.
//! 11. Before `transfer_leader`, let the target prove that it is up: raft drops all
//!     writes until it leads or an election timeout has passed.

mod backend;
mod node;

pub use backend::RaftRsBackend;
pub use node::{Configuration, Node, NodeConfig, NodeState, Progress, Transport};
