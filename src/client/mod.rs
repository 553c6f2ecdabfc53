//! Servers that reach each other over HTTP.
mod body;
mod directory;
mod peer_http;
mod peers;
mod preference;
mod protocol;
mod secret;
mod transport;
mod trouble;
mod uri;

pub use directory::{AddressBook, Directory};
pub use peer_http::PeerHttp;
pub use peers::HttpPeers;
pub use protocol::PEER_PATH;
pub use secret::{InvalidSecret, SharedSecret};
pub use transport::Transport;
pub use uri::{InvalidServerUri, ServerUri};
