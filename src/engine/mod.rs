//! Backends over engines that other crates provide.
//!
//! | module | feature | what it is |
//! |---|---|---|
//! | `openraft` | `openraft` | a [`RaftBackend`](crate::RaftBackend) over a server of openraft |
//! | `serf` | `serf` | a [`KeyringBackend`](crate::KeyringBackend) over a pool of the serf crate |

#[cfg(feature = "openraft")]
pub mod openraft;
#[cfg(feature = "serf")]
pub mod serf;
