//! The examples' cluster with Consul's operator endpoints, in one process or as
//! several.
//!
//! | file | what is there |
//! |---|---|
//! | `operator.rs` | [`Operator`]: all that embedding the library comes to |
//! | `view.rs` | what gossip knows: who is up, and where other datacenters are |
//! | `member.rs` | [`Member`]: the flags of one server of several |
//! | `process.rs` | [`Process`]: such a server, started and killed by a program |

// A program that takes this in uses a part of it, and is no library whose
// public items could be reached from outside.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod member;
mod operator;
mod process;
mod view;

pub use member::{HTTP_PORT, Member, PUBLISHED_KEY, gossip_key, peer_secret};
pub use operator::Operator;
pub use process::{Process, serve_if_started_by_another};
