//! Backends over engines that other crates provide.
//!
//! | module | feature | what it is |
//! |---|---|---|
//! | `serf` | `serf` | a [`KeyringBackend`](crate::KeyringBackend) over a pool of the serf crate |

#[cfg(feature = "serf")]
pub mod serf;
