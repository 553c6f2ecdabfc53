//! What a test says of a server that it wants.

use crate::raft::{RaftServer, Suffrage};
use crate::types::{NodeName, ServerAddress, ServerId};

/// A server to be wired into a [`MockFederation`](super::MockFederation). Its
/// name alone will do.
///
/// ```
/// use cluster_operator::mock::{MockFederation, MockServer};
///
/// let federation = MockFederation::builder()
///     .datacenter("dc1", [
///         MockServer::new("alice").with_id("8c2562c7-df78-bf89-3010-e31384d0b5f2"),
///         MockServer::new("bob").with_address("10.0.0.2:8300").nonvoter(),
///     ])
///     .build();
/// let servers = federation.configuration("dc1").servers;
/// assert_eq!(servers[0].id, "8c2562c7-df78-bf89-3010-e31384d0b5f2");
/// assert!(!servers[1].is_voter());
/// ```
#[derive(Debug, Clone)]
pub struct MockServer {
    pub(super) name: NodeName,
    id: Option<ServerId>,
    address: Option<ServerAddress>,
    pub(super) suffrage: Suffrage,
    named: bool,
}

impl MockServer {
    /// A server that votes.
    pub fn new(name: impl Into<NodeName>) -> Self {
        MockServer {
            name: name.into(),
            id: None,
            address: None,
            suffrage: Suffrage::Voter,
            named: true,
        }
    }

    /// Sets the id. Default: a UUID with the server's number in the federation.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<ServerId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the Raft address. Default: port 8300 of 127.0.0.1 for the first
    /// server of the federation, 127.0.0.2 for the second, and so on.
    #[must_use]
    pub fn with_address(mut self, address: impl Into<ServerAddress>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Takes the vote from it.
    #[must_use]
    pub fn nonvoter(mut self) -> Self {
        self.suffrage = Suffrage::Nonvoter;
        self
    }

    /// Hides its name from Raft, as if gossip did not know the address.
    #[must_use]
    pub fn unnamed(mut self) -> Self {
        self.named = false;
        self
    }

    /// The server as Raft knows it, which is the federation's `number`th.
    pub(super) fn raft_server(&self, number: u32) -> RaftServer {
        let id = self.id.clone();
        let id = id.unwrap_or_else(|| format!("{number:08x}-0000-4000-8000-{number:012x}").into());
        let address = self.address.clone();
        let address = address.unwrap_or_else(|| {
            let [_, second, third, fourth] = number.to_be_bytes();
            format!("127.{second}.{third}.{fourth}:8300").into()
        });
        let mut server = RaftServer::voter(id, address).with_suffrage(self.suffrage);
        server.name = Some(self.name.clone()).filter(|_| self.named);
        server
    }
}

impl From<&str> for MockServer {
    fn from(name: &str) -> Self {
        MockServer::new(name)
    }
}

impl From<String> for MockServer {
    fn from(name: String) -> Self {
        MockServer::new(name)
    }
}
