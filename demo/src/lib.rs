//! A cluster of real servers, and Consul's operator endpoints over it: what the
//! examples `server` and `federation` run.
//!
//! | module | what is there |
//! |---|---|
//! | [`cluster`] | what a server has anyway: a Raft with its log on disk, and gossip |
//! | [`operated`] | the library embedded into it, in one process or as several |

pub mod cluster;
pub mod operated;

/// The programs of the guides compile and run. They are here because some need an
/// engine, and the library has none.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
#[doc = include_str!("../../docs/testing.md")]
struct Guides;
