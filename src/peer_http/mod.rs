//! Servers that reach each other over HTTP.
//!
//! [`HttpPeers`] sends the envelopes that a server forwards, to the leader or to
//! another datacenter, and [`PeerHttp`] answers on the other side:
//!
//! ```
//! # #[cfg(feature = "mock")]
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! use cluster_operator::mock::MockRaft;
//! use cluster_operator::peer_http::{AddressBook, HttpPeers, PEER_PATHS, PeerHttp, SharedSecret};
//! use cluster_operator::raft::Consistency;
//! use cluster_operator::service::Caller;
//! use cluster_operator::{AllowAll, OperatorService};
//!
//! let secret = SharedSecret::new("3f8a0c6e51d94b7e9a2c")?;
//!
//! // A server of dc2 answers the others, on a listener of its own.
//! let dave = OperatorService::builder("dc2")
//!     .raft(MockRaft::voters(["dave"]))
//!     .authorizer(AllowAll)
//!     .build()?;
//! let peers = PeerHttp::new(dave).with_shared_secret(&secret);
//! let mut app = axum::Router::new();
//! for path in PEER_PATHS {
//!     app = app.route_service(path, peers.clone());
//! }
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let uri = format!("http://{}", listener.local_addr()?);
//! tokio::spawn(async { axum::serve(listener, app).await });
//!
//! // A server of dc1 reaches it.
//! let book = AddressBook::new().with_datacenter("dc2", [uri.as_str()])?;
//! let alice = OperatorService::builder("dc1")
//!     .raft(MockRaft::voters(["alice"]))
//!     .authorizer(AllowAll)
//!     .peers(HttpPeers::new(book).with_shared_secret(secret))
//!     .build()?;
//! let there = Caller::anonymous().in_datacenter("dc2");
//! let configuration = alice.raft_configuration(&there, Consistency::Default).await?;
//! assert_eq!(configuration.servers[0].id, "dave");
//! # Ok(()) }
//! # #[cfg(feature = "mock")]
//! # tokio::runtime::Runtime::new().unwrap().block_on(doc()).unwrap();
//! ```

mod directory;
mod receiver;
mod secret;
mod sender;

pub use directory::{AddressBook, Directory};
pub use receiver::{PEER_PATH, PEER_PATHS, PeerHttp};
pub use secret::{InvalidSecret, SharedSecret};
pub use sender::HttpPeers;

pub use crate::transport::{InvalidServerUri, ServerUri, Transport};
