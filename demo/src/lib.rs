//! A cluster of real servers with Consul's operator endpoints, for the examples
//! `server` and `federation`.
//!
//! | module | content |
//! |---|---|
//! | [`cluster`] | a server without the library: Raft with its log on disk, and gossip |
//! | [`serving`] | the listeners, the log and the metrics of a server program |
//! | [`operated`] | the library embedded in this server, in one or in several processes |

pub mod cluster;
pub mod operated;
pub mod serving;

/// Compiles and runs the programs in the guides. They are tested here because some
/// need an engine, and the library depends on none.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
#[doc = include_str!("../../docs/autopilot.md")]
#[doc = include_str!("../../docs/testing.md")]
struct Guides;
