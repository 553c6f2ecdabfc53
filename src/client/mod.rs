//! Servers that reach each other over HTTP, and a client for programs.
//!
//! # Servers
//! [`HttpPeers`] sends what a server has to hand on, to the leader or to another
//! datacenter, and [`PeerHttp`] answers on the other side:
//!
//! ```
//! # #[cfg(feature = "mock")]
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! use cluster_operator::client::{AddressBook, HttpPeers, PEER_PATH, PeerHttp, SharedSecret};
//! use cluster_operator::mock::MockRaft;
//! use cluster_operator::{AllowAll, Caller, Consistency, OperatorService};
//!
//! let secret = SharedSecret::new("3f8a0c6e51d94b7e9a2c")?;
//!
//! // A server of dc2 lets the others in, on a listener of its own.
//! let dave = OperatorService::builder("dc2")
//!     .raft(MockRaft::voters(["dave"]))
//!     .authorizer(AllowAll)
//!     .build()?;
//! let peers = PeerHttp::new(dave).with_shared_secret(&secret);
//! let app = axum::Router::new().route_service(PEER_PATH, peers);
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
//!
//! # Programs
//! [`OperatorClient`] asks any server that speaks Consul's operator API, Consul
//! included.

mod call;
mod configuration;
mod directory;
mod error;
mod operator;
mod outgoing;
mod peer_http;
mod peers;
mod preference;
mod protocol;
mod ring;
mod secret;
mod transport;
mod trouble;
mod uri;
mod verdict;

pub use directory::{AddressBook, Directory};
pub use error::{ClientError, ClientErrorKind};
pub use operator::{OperatorClient, UnsendableToken};
pub use peer_http::PeerHttp;
pub use peers::HttpPeers;
pub use protocol::PEER_PATH;
pub use ring::KeyRing;
pub use secret::{InvalidSecret, SharedSecret};
pub use transport::Transport;
pub use uri::{InvalidServerUri, ServerUri};
