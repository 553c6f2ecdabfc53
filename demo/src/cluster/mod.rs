//! A cluster without the library: Raft (openraft) with its log on disk and its calls
//! over HTTP, and two encrypted gossip pools (serf).
//!
//! It stands for the server that embeds the library, and uses little of it: the gossip key,
//! the secret that servers share, autopilot's configuration in the replicated state, the
//! record of Raft's contacts, leadership transfer, and the start of a gossip agent.
//!
//! | file | content |
//! |---|---|
//! | `server.rs` | [`Server`]: starts, forms or joins a cluster, and stops |
//! | `recovery.rs` | what to do when a majority is lost for good |
//! | `settings.rs` | the settings of a server, and its start errors |
//! | `types.rs` | the types that Raft replicates |
//! | `store.rs` | the database for the log and the snapshot |
//! | `log.rs` | Raft's log and vote |
//! | `machine.rs` | the replicated state and its snapshots |
//! | `network.rs` | Raft's calls to other servers |
//! | `routes.rs` | the routes that answer them |
//! | `transfer.rs` | leadership transfer: its calls, and the gate for writes |
//! | `gossip.rs` | a gossip pool and its members |

pub mod gossip;
pub mod log;
pub mod machine;
pub mod network;
pub mod recovery;
pub mod routes;
mod server;
mod settings;
pub mod store;
pub mod transfer;
mod types;

pub use gossip::{Gossip, Pool};
pub use server::{ELECTION_TIMEOUT, Server};
pub use settings::{Ports, Settings, StartError};
pub use types::{Node, NodeId, Raft, Reply, Request, TypeConfig};
