//! A client for programs.

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, Method};
use serde::Deserialize;
use tokio::time::Instant;

use super::ServerUri;
use super::answer::{Asked, empty, read};
use super::error::ClientError;
use super::replies::{Configuration, RingListing};
use super::request::Call;
use super::secret::sensitive;
use super::transport::{Answer, Transport};
use crate::acl::{Resource, Token};
use crate::error::{ErrorKind, Outcome};
use crate::keyring::{GossipKey, RelayFactor};
use crate::raft::{ConfigVersion, Consistency, PeerSelector, RaftConfiguration};
use crate::types::{DatacenterName, ServerId};

/// A client of Consul's operator endpoints, for programs: of servers with this
/// library, in any dialect, and of Consul itself from 0.7 on.
///
/// Cheap to clone; clones share the connections. The token travels in a header,
/// never in the URL, so that no log of URLs shows it. Nothing is sent twice.
///
/// ```no_run
/// use cluster_operator::client::OperatorClient;
/// use cluster_operator::{Consistency, Outcome, PeerSelector, Token};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let client = OperatorClient::new("http://127.0.0.1:8500".parse()?)
///     .with_token(&Token::new(std::env::var("CONSUL_HTTP_TOKEN")?))?;
///
/// let configuration = client.raft_configuration(Consistency::Default).await?;
/// for server in &configuration.servers {
///     println!("{} at {}", server.id, server.address);
/// }
///
/// let carol = PeerSelector::Address("10.0.0.3:8300".into());
/// match client.remove_peer(&carol, None).await {
///     Ok(()) => println!("removed"),
///     Err(error) if error.outcome() == Outcome::NotApplied => println!("not removed: {error}"),
///     // Look before you send it again.
///     Err(error) => println!("removed, perhaps: {error}"),
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// All methods fail with a [`ClientError`], whose
/// [outcome](ClientError::outcome) says whether something has changed.
///
/// # Cancel safety
/// A future can be dropped; a write that was on its way may then happen or not.
///
/// It has to be used inside a tokio runtime with time and I/O enabled.
#[derive(Clone)]
pub struct OperatorClient {
    server: ServerUri,
    transport: Transport,
    token: Option<HeaderValue>,
    datacenter: Option<DatacenterName>,
    relay_factor: RelayFactor,
    deadline: Duration,
    answer_limit: usize,
}

/// A token that a header cannot carry: it is empty, begins or ends in a space, or
/// has a control character. What was read from a file wants trimming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header cannot carry the token: trim it, and leave out control characters")]
pub struct UnsendableToken;

impl OperatorClient {
    /// A client of this server, over TCP without TLS and without a token.
    pub fn new(server: ServerUri) -> Self {
        OperatorClient {
            server,
            transport: Transport::tcp(),
            token: None,
            datacenter: None,
            relay_factor: RelayFactor::default(),
            deadline: Duration::from_secs(30),
            answer_limit: 8 * 1024 * 1024,
        }
    }

    /// Sets the connections, for TLS.
    #[must_use]
    pub fn with_transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Sets the token.
    ///
    /// # Errors
    /// [`UnsendableToken`] for one that does not arrive as it is.
    pub fn with_token(mut self, token: &Token) -> Result<Self, UnsendableToken> {
        let text = token.expose();
        if text.is_empty() || text.trim_matches([' ', '\t']) != text {
            return Err(UnsendableToken);
        }
        self.token = Some(sensitive(text.to_owned()).map_err(|_| UnsendableToken)?);
        Ok(self)
    }

    /// The same client for the Raft of another datacenter. Keyring operations
    /// concern all datacenters whatever is set here.
    #[must_use]
    pub fn in_datacenter(mut self, datacenter: impl Into<DatacenterName>) -> Self {
        self.datacenter = Some(datacenter.into());
        self
    }

    /// Sets through how many other nodes each gossip node sends its answer as
    /// well. Consul 0.7 ignores it.
    #[must_use]
    pub fn with_relay_factor(mut self, factor: RelayFactor) -> Self {
        self.relay_factor = factor;
        self
    }

    /// Sets how long an operation may take. Default: 30 s. Consul waits up to 7 s
    /// for a leader, and longer for the rings of thousands of nodes.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the largest answer that is read, in bytes. Default: 8 MiB.
    #[must_use]
    pub fn with_answer_limit(mut self, bytes: usize) -> Self {
        self.answer_limit = bytes;
        self
    }

    /// The Raft configuration.
    ///
    /// Consul 1.10 says that every configuration is at index 0, and 0.7 that a
    /// server's address is its id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn raft_configuration(
        &self,
        consistency: Consistency,
    ) -> Result<RaftConfiguration, ClientError> {
        self.configuration(consistency, self.deadline).await
    }

    /// Removes a server from the Raft configuration. Consul 0.7 knows addresses
    /// only.
    ///
    /// With `expected_index`, only if that is the configuration's index. Consul
    /// does not know this condition and would remove the server whatever the
    /// index, so the client reads the configuration first and compares. This
    /// library's servers compare once more, at the moment of the removal.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_peer(
        &self,
        server: &PeerSelector,
        expected_index: Option<u64>,
    ) -> Result<(), ClientError> {
        let begin = Instant::now();
        if let Some(expected) = expected_index {
            let actual = self
                .configuration(Consistency::Default, self.deadline)
                .await?
                .index;
            if actual != expected {
                // The term is not on the wire.
                let version = |index| ConfigVersion { term: 0, index };
                let mut error = ClientError::new(ErrorKind::Conflict {
                    expected: version(expected),
                    actual: version(actual),
                });
                error.complete = true;
                return Err(error);
            }
        }
        let mut call = self.raft(Method::DELETE, "raft/peer");
        call.about(server.clone());
        if let Some(index) = expected_index {
            call.parameter("cas", &index.to_string());
        }
        let left = self.deadline.saturating_sub(begin.elapsed());
        empty(&self.send(call, left).await?)
    }

    /// Transfers the leadership to this voter, or to the best suited. Consul 1.10
    /// cannot do it yet.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn transfer_leadership(&self, to: Option<&ServerId>) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Transferred {
            success: bool,
        }

        let mut call = self.raft(Method::POST, "raft/transfer-leader");
        if let Some(id) = to {
            call.about(PeerSelector::Id(id.clone()));
        }
        let answer = self.send(call, self.deadline).await?;
        let transferred: Transferred = read(&answer, Outcome::Unknown)?;
        if transferred.success {
            return Ok(());
        }
        let message = "the server says that the lead was not transferred".into();
        let mut error = ClientError::new(ErrorKind::Backend { message });
        error.status = Some(answer.status.as_u16());
        Err(error.with_outcome(Outcome::Unknown))
    }

    /// The gossip keys of all rings, in the order of the server's answer.
    ///
    /// If some rings fail, a [`Precise`](crate::consul::Dialect::Precise) server
    /// answers with what it has: look at their [`error`](RingListing::error). Consul
    /// fails then.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_keys(&self) -> Result<Vec<RingListing>, ClientError> {
        self.list(Call::new(Method::GET, "keyring", Resource::Keyring))
            .await
    }

    /// The gossip keys of the rings of the server's own datacenter, without the
    /// WAN's. Consul 0.7 lists all rings.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_local_keys(&self) -> Result<Vec<RingListing>, ClientError> {
        let mut call = Call::new(Method::GET, "keyring", Resource::Keyring);
        call.parameter("local-only", "true");
        self.list(call).await
    }

    /// Adds a key to every ring of every datacenter.
    ///
    /// # Errors
    /// [`ClientError`], unless every ring confirmed it.
    pub async fn install_key(&self, key: &GossipKey) -> Result<(), ClientError> {
        self.change(Method::POST, key).await
    }

    /// Makes a key the primary of every ring of every datacenter.
    ///
    /// # Errors
    /// [`ClientError`], unless every ring confirmed it.
    pub async fn use_key(&self, key: &GossipKey) -> Result<(), ClientError> {
        self.change(Method::PUT, key).await
    }

    /// Removes a key from every ring of every datacenter.
    ///
    /// # Errors
    /// [`ClientError`], unless every ring confirmed it.
    pub async fn remove_key(&self, key: &GossipKey) -> Result<(), ClientError> {
        self.change(Method::DELETE, key).await
    }

    async fn configuration(
        &self,
        consistency: Consistency,
        deadline: Duration,
    ) -> Result<RaftConfiguration, ClientError> {
        let mut call = self.raft(Method::GET, "raft/configuration");
        match consistency {
            Consistency::Default => {}
            Consistency::Consistent => call.flag("consistent"),
            Consistency::Stale => call.flag("stale"),
        }
        let answer = self.send(call, deadline).await?;
        let configuration: Configuration = read(&answer, Outcome::NotApplied)?;
        Ok(configuration.into())
    }

    async fn list(&self, call: Call) -> Result<Vec<RingListing>, ClientError> {
        let answer = self.send(self.relayed(call), self.deadline);
        let rings: Option<Vec<RingListing>> = read(&answer.await?, Outcome::NotApplied)?;
        Ok(rings.unwrap_or_default())
    }

    async fn change(&self, method: Method, key: &GossipKey) -> Result<(), ClientError> {
        let mut call = self.relayed(Call::new(method, "keyring", Resource::Keyring));
        call.carry(key)?;
        empty(&self.send(call, self.deadline).await?)
    }

    fn raft(&self, method: Method, path: &str) -> Call {
        let mut call = Call::new(method, path, Resource::Operator);
        if let Some(datacenter) = &self.datacenter {
            call.parameter("dc", datacenter.as_str());
            call.datacenter = Some(datacenter.clone());
        }
        call
    }

    fn relayed(&self, mut call: Call) -> Call {
        if self.relay_factor != RelayFactor::default() {
            call.parameter("relay-factor", &self.relay_factor.get().to_string());
        }
        call
    }

    /// The answer, if it is a success.
    async fn send(&self, call: Call, deadline: Duration) -> Result<Answer, ClientError> {
        let token = self.token.as_ref().map(HeaderValue::as_bytes);
        let asked = Asked {
            call: &call,
            uri: &self.server,
            token: token.and_then(|token| std::str::from_utf8(token).ok()),
        };
        let request = call.request(&self.server, self.token.as_ref())?;
        let answer = self
            .transport
            .exchange(request, self.answer_limit, deadline)
            .await
            .map_err(|failure| asked.unanswered(failure))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(asked.refused(&answer))
    }
}

impl fmt::Debug for OperatorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorClient")
            .field("server", &self.server)
            .field("datacenter", &self.datacenter)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
