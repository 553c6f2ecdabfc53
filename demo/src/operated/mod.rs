//! The cluster with Consul's operator endpoints, in one process or in several.
//!
//! | file | content |
//! |---|---|
//! | `operator.rs` | [`Operator`]: the library embedded in a server |
//! | `view.rs` | the servers and datacenters that gossip knows |
//! | `member.rs` | [`Member`]: the flags of one server of several processes |
//! | `secrets.rs` | the secrets that the servers share |
//! | `process.rs` | [`Process`]: a server process that a program starts and kills |

mod member;
mod operator;
mod process;
pub mod secrets;
mod view;

pub use member::{HTTP_PORT, Member};
pub use operator::Operator;
pub use process::{Process, serve_if_started_by_another};
