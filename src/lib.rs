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
//! # For whom
//! - **Authors of servers** build an [`OperatorService`] and mount it, over HTTP
//!   with `server::OperatorHttp` or over their own RPC: between servers an
//!   [`Envelope`] carries a request, and [`OperatorService::answer`] takes one.
//! - **Authors of backends** implement [`RaftBackend`], [`KeyringBackend`],
//!   [`AclAuthorizer`] or [`Peers`]. The documentation of each trait is the
//!   contract, and the crate `cluster-operator-conformance` has a suite that shows
//!   whether it is kept.
//! - **Authors of programs** that operate a cluster use `client::OperatorClient`.
//! - **Authors of tests** use `mock`: a whole federation in
//!   memory, with servers that can be stopped.
//!
//! # Map
//! | module | what is there |
//! |---|---|
//! | [`raft`] | the Raft configuration, and the trait behind it |
//! | [`keyring`] | keys, rings, reports, and the trait behind them |
//! | [`acl`] | tokens and their rules, and who decides what they allow |
//! | [`autopilot`] | autopilot's configuration, and the health of the servers |
//! | [`service`] | the service, its builder and its callers |
//! | [`rotation`] | replacing the gossip key of a whole federation |
//! | [`consul`] | Consul's HTTP API as plain values, in three dialects |
//! | `server` | the same as a tower service |
//! | `peer_http` | servers that reach each other over HTTP |
//! | `client` | a client for programs |
//! | `mock` | a simulated federation |
//! | [`guide`] | how to embed it, with whole programs |
//!
//! Beside it stand crates of their own: `cluster-operator-openraft` and
//! `cluster-operator-serf`, the backends over these engines, and
//! `cluster-operator-conformance`, the suites for backends.
//!
//! A request takes one way through them: HTTP bytes → [`consul::Wire::decode`] →
//! [`OperatorRequest`] → [`OperatorService::call`] → [`OperatorReply`] or
//! [`OperatorError`] → [`consul::Wire::encode`] → HTTP bytes.
//!
//! # Features
//! | feature | what it adds | default |
//! |---|---|---|
//! | `tokio` | `TokioTimer`, the clock that the builder takes by itself | yes |
//! | `http` | `server::OperatorHttp`, a tower service | no |
//! | `client` | `client::OperatorClient`, a client for programs, over hyper without TLS | no |
//! | `peer-http` | `peer_http::HttpPeers` and `PeerHttp`, for servers that reach each other over HTTP | no |
//! | `hcl` | rules and token files in HCL; JSON is always read | no |
//! | `mock` | `mock`, a simulated federation for tests | no |
//!
//! Without features there is no runtime, no HTTP and no engine among the
//! dependencies.
//!
//! # What differs from Consul
//! The default dialect, [`Precise`](consul::Dialect::Precise), keeps paths,
//! parameters and JSON and says what went wrong in the status: an unknown server
//! is a 404 and not a 500, a typo is a 400, no leader is a 503 at once and not a
//! 500 after seven seconds. A keyring operation answers with every ring's
//! outcome, whichever failed. A removal that would cost the quorum is refused.
//! The Consul dialects answer as those servers do, byte for byte.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod acl;
pub mod autopilot;
#[cfg(feature = "http")]
mod body;
#[cfg(feature = "client")]
pub mod client;
pub mod consul;
pub mod error;
// Its programs are tested by the demo, since some need an engine.
#[cfg(not(doctest))]
#[doc = include_str!("../docs/embedding.md")]
pub mod guide {}
pub mod keyring;
#[cfg(feature = "mock")]
pub mod mock;
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

pub use acl::{
    Access, AccessorId, AclAuthorizer, AclError, AllowAll, DefaultPolicy, Identity, LoadError,
    Resource, Rule, Rules, RulesError, Token, TokenDefinition, TokenSnapshot, TokenStore,
    TokenStoreBuilder,
};
pub use autopilot::{
    AutopilotBackend, AutopilotConfiguration, AutopilotServer, AutopilotState, RaftRole,
};
pub use error::{ErrorKind, OperatorError, Outcome};
pub use keyring::{
    GossipKey, GossipQuery, InvalidKey, KeyChange, KeyringBackend, NodeFailure, NodeKeys,
    NodeMessage, Pool, RelayFactor, RingReport,
};
pub use operation::{
    InvalidRequestId, KeyringAction, KeyringReply, KeyringScope, Operation, OperatorReply,
    OperatorRequest, RequestId, RingOutcome,
};
pub use peers::{Envelope, EnvelopeReply, Peers, SendError, SendFailure, Target};
pub use raft::{
    ConfigVersion, Consistency, LeaderHint, Leadership, LogPosition, Membership, PeerSelector,
    PendingChange, Proof, QuorumGuard, RaftBackend, RaftConfiguration, RaftMember, RaftServer,
    RaftView, Removal, ServerStatus, Suffrage,
};
pub use service::{BuildError, Caller, OperatorService, OperatorServiceBuilder};
#[cfg(feature = "tokio")]
pub use timer::TokioTimer;
pub use timer::{Sleep, Timer};
pub use types::{DatacenterName, NodeName, ProtocolVersion, SegmentName, ServerAddress, ServerId};
