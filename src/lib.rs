//! Consul's operator endpoints for any Rust server: inspect the Raft
//! configuration, remove a Raft peer, and list, install, use and remove gossip
//! encryption keys, under access control.
//!
//! Link it in, implement two small traits over the Raft and the gossip that your
//! server already has, pick an authorizer, and mount one service. From then on
//! Consul's own command line, its SDKs and curl operate your cluster.
//!
//! ```
//! # #[cfg(all(feature = "http", feature = "mock", feature = "tokio"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use cluster_operator::server::OperatorHttp;
//! use cluster_operator::{AllowAll, OperatorService};
//! # use cluster_operator::Pool;
//! # use cluster_operator::mock::{MockKeyring, MockRaft};
//! # let key = "0eK8RjnsGC/+I1fJErQsBA==".parse::<cluster_operator::GossipKey>()?;
//! # let my_raft = MockRaft::voters(["alice", "bob", "carol"]);
//! # let my_gossip = MockKeyring::new(Pool::Lan, key, ["alice", "bob", "carol"]);
//!
//! let service = OperatorService::builder("dc1")
//!     .raft(my_raft) // implements RaftBackend
//!     .keyring(my_gossip) // implements KeyringBackend
//!     .authorizer(AllowAll) // or a TokenStore, or your own
//!     .build()?;
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "the rest of your server" }))
//!     .fallback_service(OperatorHttp::new(service));
//! # Ok(()) }
//! # #[cfg(not(all(feature = "http", feature = "mock", feature = "tokio")))]
//! # fn main() {}
//! ```
//!
//! Without the feature `http`, [`consul::Wire`] serves requests that are plain values.
//!
//! # Where to start
//! - **Server authors** build an [`OperatorService`] and mount it, over HTTP with
//!   `server::OperatorHttp` or over their own RPC: an [`Envelope`] carries a request to
//!   another server, and [`OperatorService::answer`] answers it there.
//! - **Backend authors** implement [`RaftBackend`], [`KeyringBackend`],
//!   [`AclAuthorizer`] or [`Peers`]. The documentation of each trait is its contract,
//!   and the crate `cluster-operator-conformance` has a suite that checks it. The crates
//!   `cluster-operator-openraft` and `cluster-operator-serf` are backends over these
//!   engines.
//! - **Authors of programs** that operate a cluster use `client::OperatorClient`.
//! - **Test authors** use `mock`: a federation in memory, whose servers and links fail
//!   as the test decides.
//!
//! # Modules
//! | module | content |
//! |---|---|
//! | [`service`] | the service, its builder and its callers |
//! | [`observer`] | observers of operations, for audits, traces and metrics |
//! | [`operation`] | operations, requests and replies |
//! | [`error`] | the error, its kinds, and what each ring did |
//! | [`raft`] | the Raft configuration, the quorum guard, and the backend's trait |
//! | [`keyring`] | keys, rings, reports, and the backend's trait |
//! | [`autopilot`] | autopilot's configuration, the health of the servers, and the backend's trait |
//! | [`acl`] | tokens, policies, token files, and the authorizer's trait |
//! | [`peers`] | the transport between servers |
//! | [`timer`] | the clock of the service |
//! | [`types`] | names and other small values |
//! | [`rotation`] | the replacement of a federation's gossip key |
//! | [`diagnosis`] | the state of a federation, and what is wrong with it |
//! | [`consul`] | Consul's HTTP API on plain values, in four dialects |
//! | `server` (feature `http`) | the same API as a tower service |
//! | `peer_http` (feature `peer-http`) | servers that reach each other over HTTP |
//! | `client` (feature `client`) | a client for programs |
//! | `mock` (feature `mock`) | a simulated federation |
//! | [`guide`] | how to embed the library, with whole programs |
//!
//! The path of a request: HTTP → [`consul::Wire::decode`] → [`OperatorRequest`] →
//! [`OperatorService::call`] → [`OperatorReply`] or [`OperatorError`] →
//! [`consul::Wire::encode`] → HTTP.
//!
//! # Features
//! | feature | adds | default |
//! |---|---|---|
//! | `tokio` | [`TokioTimer`](timer), the clock that the builder uses by default | yes |
//! | `http` | `server::OperatorHttp`, a tower service | no |
//! | `client` | `client::OperatorClient`, for programs, over hyper without TLS | no |
//! | `peer-http` | `peer_http::HttpPeers` and `PeerHttp`, for servers that reach each other over HTTP | no |
//! | `tracing` | `observer::TracingObserver`: a span for each operation, and an audit event for each attempted write | no |
//! | `metrics` | `observer::MetricsObserver`: counters and histograms through the `metrics` facade | no |
//! | `hcl` | policies and token files in HCL; JSON is always read | no |
//! | `mock` | `mock`, a simulated federation for tests | no |
//!
//! Without features, the dependencies include no async runtime, HTTP stack or engine.
//!
//! # Differences from Consul
//! The default dialect, [`Precise`](consul::Dialect::Precise), keeps Consul's paths,
//! parameters and JSON, and answers with the right status: an unknown server is a 404
//! and not a 500, a misspelt parameter a 400, and a missing leader a 503 at once and not
//! a 500 after seven seconds. A keyring operation reports the outcome of every ring,
//! whichever failed. A removal that would cost the quorum is rejected. The Consul
//! dialects answer as those servers do, byte for byte.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod acl;
pub mod autopilot;
#[cfg(feature = "http")]
mod body;
#[cfg(feature = "client")]
pub mod client;
pub mod consul;
pub mod diagnosis;
pub mod error;
// Its programs are tested by the demo, since some need an engine.
#[cfg(not(doctest))]
#[doc = include_str!("../docs/embedding.md")]
pub mod guide {
    #[doc = include_str!("../docs/autopilot.md")]
    pub mod autopilot {}
}
pub mod keyring;
#[cfg(feature = "mock")]
pub mod mock;
pub mod observer;
pub mod operation;
#[cfg(feature = "peer-http")]
pub mod peer_http;
pub mod peers;
pub mod raft;
pub mod rotation;
#[cfg(feature = "http")]
pub mod server;
pub mod service;
pub mod timer;
#[cfg(any(feature = "client", feature = "peer-http"))]
mod transport;
pub mod types;

pub use acl::{AclAuthorizer, AllowAll, Token, TokenStore};
pub use autopilot::AutopilotBackend;
pub use error::{ErrorKind, OperatorError, Outcome};
pub use keyring::KeyringBackend;
pub use operation::{Operation, OperatorReply, OperatorRequest};
pub use peers::{Envelope, Peers};
pub use raft::RaftBackend;
pub use service::{OperatorService, OperatorServiceBuilder};
pub use timer::Timer;
#[cfg(feature = "tokio")]
pub use timer::TokioTimer;
pub use types::{DatacenterName, GossipKey, NodeName, Pool, ServerAddress, ServerId};
