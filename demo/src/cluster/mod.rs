//! A real cluster for the example servers to embed the library into: a Raft
//! (openraft) with its log on disk and its calls over HTTP, and two encrypted
//! gossip pools (serf).
//!
//! Nothing here knows of `cluster_operator` but for the type of the gossip key.
//! It stands for what a server has anyway; a program takes it in with
//! `#[path = "cluster/mod.rs"] mod cluster;`.
//!
//! | file | what is there |
//! |---|---|
//! | `server.rs` | [`Server`]: starts the parts, forms and joins a cluster, stops |
//! | `settings.rs` | how it is started, and why it may not be |
//! | `types.rs` | what Raft replicates, and how it names a server |
//! | `store.rs` | the database that log and snapshot lie in |
//! | `log.rs` | Raft's log and vote |
//! | `machine.rs` | the replicated key-value table, and its snapshots |
//! | `network.rs` | Raft's calls to other servers |
//! | `routes.rs` | the answers to them |
//! | `gossip.rs` | a gossip pool, and who is in it |
//! | `keyring.rs` | a pool's keys, on disk |

// A program that takes this in uses a part of it, and is no library whose
// public items could be reached from outside.
#![allow(dead_code, unreachable_pub, unused_imports)]

pub mod gossip;
pub mod keyring;
pub mod log;
pub mod machine;
pub mod network;
pub mod routes;
mod server;
mod settings;
pub mod store;
mod types;

pub use gossip::{Gossip, Pool};
pub use server::{ELECTION_TIMEOUT, Server};
pub use settings::{Ports, Settings, StartError};
pub use types::{Node, NodeId, Raft, Reply, Request, TypeConfig};
