//! The cluster with Consul's operator endpoints, in one process or in several.
//!
//! | file | content |
//! |---|---|
//! | `operator.rs` | [`Operator`]: the library embedded in a server |
//! | `autopilot.rs` | [`Autopilot`]: the flags of autopilot, and its task |
//! | `view.rs` | the servers and datacenters that gossip knows |
//! | `member.rs` | [`Member`]: the flags of one server of several processes |
//! | `place.rs` | [`Place`]: the address and the ports of a server in a flag |
//! | `secrets.rs` | the secrets that the servers share |
//! | `process.rs` | [`Process`]: a server process that a program starts and kills |

mod autopilot;
mod member;
mod operator;
mod place;
mod process;
pub mod secrets;
mod view;

pub use autopilot::Autopilot;
pub use member::Member;
pub use operator::{DEADLINE, Operator, endpoints};
pub use place::{HTTP_PORT, Peer, Place};
pub use process::{Process, memory, serve_if_started_by_another};
