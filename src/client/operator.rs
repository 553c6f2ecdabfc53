//! The client, and how it writes its requests.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::answer::{empty, read};
use super::error::ClientError;
use super::servers::Member;
use super::texts::Asked;
use crate::acl::{Resource, Token};
use crate::consul::PRECISE_NAME;
use crate::consul::body::{Configuration, LAST_LOG};
use crate::diagnosis::Diagnosis;
use crate::error::{ErrorKind, Outcome};
use crate::keyring::RelayFactor;
use crate::operation::{KeyringAction, KeyringScope, Operation};
use crate::peers::write_wiped;
use crate::raft::{
    ConfigVersion, Consistency, LogPosition, PeerSelector, RaftConfiguration, RemovalPlan,
};
use crate::transport::{JSON, ServerUri, Transport, media_type, sensitive};
use crate::types::{DatacenterName, ServerId};

/// A client of Consul's operator endpoints: of servers with this library, in any
/// dialect, and of Consul itself from 0.7 on.
///
/// Cheap to clone; clones share the connections. The token travels in a header,
/// never in the URL, so that no log of URLs shows it. Nothing is sent twice.
///
/// ```no_run
/// use cluster_operator::client::OperatorClient;
/// use cluster_operator::raft::{Consistency, PeerSelector};
/// use cluster_operator::{Outcome, Token};
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
/// # Gossip keys
/// A ring is the nodes that its servers believe to be alive. Consul does not count a
/// member that gossip has declared failed: with two of three nodes dead, a change is
/// `Ok` once the third has made it, and a dead node comes back with its old keys. So
/// check that all members are alive before you change the primary key.
///
/// # Errors
/// All methods fail with a [`ClientError`], whose
/// [outcome](ClientError::outcome) says whether something has changed.
///
/// # Cancel safety
/// Dropping a future leaves the outcome of a write unknown.
///
/// It has to be used inside a tokio runtime with time and I/O enabled.
#[derive(Clone)]
pub struct OperatorClient {
    server: ServerUri,
    transport: Transport,
    token: Option<HeaderValue>,
    datacenter: Option<DatacenterName>,
    pub(super) relay_factor: RelayFactor,
    deadline: Duration,
    answer_limit: usize,
}

/// A token that a header cannot carry: it is empty, begins or ends in a space, or
/// has a control character. Trim what was read from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header cannot carry the token: trim it, and leave out control characters")]
pub struct UnsendableToken;

impl OperatorClient {
    /// Creates a client of this server, over TCP without TLS and without a token.
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
    /// [`UnsendableToken`] for one that would not arrive unchanged.
    pub fn with_token(mut self, token: &Token) -> Result<Self, UnsendableToken> {
        let text = token.expose();
        if text.is_empty() || text.trim_matches([' ', '\t']) != text {
            return Err(UnsendableToken);
        }
        self.token = Some(sensitive(text.to_owned()).map_err(|_| UnsendableToken)?);
        Ok(self)
    }

    /// Sets the datacenter whose Raft is operated. Keyring operations concern all
    /// datacenters.
    #[must_use]
    pub fn in_datacenter(mut self, datacenter: impl Into<DatacenterName>) -> Self {
        self.datacenter = Some(datacenter.into());
        self
    }

    /// The same client for the server's own datacenter.
    pub(super) fn in_own_datacenter(&self) -> Self {
        OperatorClient {
            datacenter: None,
            ..self.clone()
        }
    }

    /// Sets how many other nodes relay each gossip node's answer as well. Consul 0.7
    /// ignores it.
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

    /// Reads the Raft configuration.
    ///
    /// Consul from 1.10 on reports index 0 for every configuration, and 0.7 a server's
    /// address as its id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn raft_configuration(
        &self,
        consistency: Consistency,
    ) -> Result<RaftConfiguration, ClientError> {
        self.configuration(consistency, Instant::now()).await
    }

    async fn configuration(
        &self,
        consistency: Consistency,
        begin: Instant,
    ) -> Result<RaftConfiguration, ClientError> {
        let operation = Operation::RaftConfiguration(consistency);
        let call = Call::new(Method::GET, "raft/configuration", operation);
        let call = match consistency {
            Consistency::Default => call,
            Consistency::Consistent => call.with("consistent", ""),
            Consistency::Stale => call.with("stale", ""),
        };
        let answer = self.send(&call, begin).await?;
        let body: Configuration<'_> = read(&answer, &call.operation)?;
        let mut configuration = RaftConfiguration::from(body);
        let last_log = answer.headers().get(LAST_LOG);
        configuration.last_log = last_log.and_then(|text| LogPosition::parse(text.to_str().ok()?));
        Ok(configuration)
    }

    /// Removes a server from the Raft configuration. Consul 0.7 knows addresses
    /// only.
    ///
    /// With `expected_index`, only if that is the configuration's index. Consul
    /// does not know this condition and would remove the server whatever the
    /// index, so the client reads the configuration first and compares. This
    /// library's servers compare again when they remove it. Consul from 1.10 on
    /// reports index 0 for every configuration; it is not asked then.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_peer(
        &self,
        server: &PeerSelector,
        expected_index: Option<u64>,
    ) -> Result<(), ClientError> {
        let begin = Instant::now();
        let operation = Operation::RemovePeer {
            server: server.clone(),
            expected_index,
        };
        let mut call = Call::new(Method::DELETE, "raft/peer", operation).with_server(server);
        if let Some(expected) = expected_index {
            let configuration = self.configuration(Consistency::Default, begin).await?;
            check_index(&call.operation, expected, configuration.index)?;
            call = call.with("cas", &expected.to_string());
        }
        self.execute(&call, begin).await
    }

    /// Plans the removal of a server: returns what it would do, and changes nothing.
    /// Consul cannot do it, and neither can this library's servers in a Consul dialect.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn plan_removal(&self, server: &PeerSelector) -> Result<RemovalPlan, ClientError> {
        let operation = Operation::PlanRemoval {
            server: server.clone(),
        };
        let call = Call::new(Method::GET, "raft/removal-plan", operation).with_server(server);
        self.read(&call, Instant::now()).await
    }

    /// Removes a server as [planned](OperatorClient::plan_removal). If the configuration
    /// has changed since, the error is a [`Conflict`](ErrorKind::Conflict), and nothing
    /// changes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_planned(&self, plan: &RemovalPlan) -> Result<(), ClientError> {
        let (id, version) = (plan.id(), plan.version());
        let operation = Operation::RemovePlanned {
            id: id.clone(),
            version,
        };
        let call = Call::new(Method::POST, "raft/planned-removal", operation)
            .with("id", id.as_str())
            .with("version", &version.to_string());
        self.execute(&call, Instant::now()).await
    }

    /// Removes a server whatever the quorum guard of the servers says. The leader still
    /// proves that a majority of the voters that stay is alive. Consul cannot do it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn force_removal(&self, id: &ServerId) -> Result<(), ClientError> {
        let operation = Operation::ForceRemoval { id: id.clone() };
        let call = Call::new(Method::POST, "raft/forced-removal", operation);
        let call = call.with("id", id.as_str());
        self.execute(&call, Instant::now()).await
    }

    /// Replaces a voter with a server that has no vote and the whole log, in one change.
    /// Consul cannot do it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn replace_peer(&self, id: &ServerId, with: &ServerId) -> Result<(), ClientError> {
        let operation = Operation::ReplacePeer {
            id: id.clone(),
            with: with.clone(),
        };
        let call = Call::new(Method::POST, "raft/replacement", operation)
            .with("id", id.as_str())
            .with("with", with.as_str());
        self.execute(&call, Instant::now()).await
    }

    /// Transfers the leadership to this voter, or to the best suited one. Consul
    /// before 1.17 cannot do it.
    ///
    /// Consul ignores the [datacenter](OperatorClient::in_datacenter) and would
    /// transfer the leadership of the server's own one. So the client asks first what the
    /// server is, and refuses to send it unless the server answers in
    /// [`Precise`](crate::consul::Dialect::Precise) or is in that datacenter itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn transfer_leadership(&self, to: Option<&ServerId>) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Transferred {
            success: bool,
        }

        let begin = Instant::now();
        let operation = Operation::TransferLeadership { to: to.cloned() };
        let mut call = Call::new(Method::POST, "raft/transfer-leader", operation);
        if let Some(id) = to {
            call = call.with("id", id.as_str());
        }
        if self.datacenter.is_some() {
            self.check_datacenter(&call.operation, begin).await?;
        }
        let transferred: Transferred = self.read(&call, begin).await?;
        if transferred.success {
            return Ok(());
        }
        let message = "the server reports that the leadership was not transferred".into();
        Err(
            ClientError::new(ErrorKind::Backend { message }, &call.operation)
                .with_status(StatusCode::OK)
                .with_outcome(Outcome::Unknown),
        )
    }

    /// Returns true if the server says that it answers in `Precise`.
    pub(super) async fn asks_precise_server(&self, begin: Instant) -> bool {
        /// The list of endpoints, which only this library has.
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Index {
            dialect: String,
        }

        let operation = Operation::RaftConfiguration(Consistency::Stale);
        let call = Call::new(Method::GET, "", operation);
        let index: Result<Index, _> = self.read(&call, begin).await;
        index.is_ok_and(|index| index.dialect == PRECISE_NAME)
    }

    /// Fails if a server that ignores the datacenter could transfer the leadership of
    /// its own one instead.
    async fn check_datacenter(
        &self,
        operation: &Operation,
        begin: Instant,
    ) -> Result<(), ClientError> {
        let local = self.in_own_datacenter();
        if local.asks_precise_server(begin).await {
            return Ok(());
        }
        // Ids alone may repeat across datacenters, such as 1, 2 and 3.
        let servers = |configuration: RaftConfiguration| {
            let servers = configuration.servers.into_iter();
            let servers = servers.map(|server| (server.id, server.address));
            servers.collect::<BTreeSet<_>>()
        };
        let here = servers(local.configuration(Consistency::Default, begin).await?);
        let there = servers(self.configuration(Consistency::Default, begin).await?);
        if here == there {
            return Ok(());
        }
        let reason = "the server is not known to honour the datacenter, and may transfer the \
                      leadership of its own one: ask a server of that datacenter";
        let kind = ErrorKind::InvalidRequest {
            reason: reason.into(),
        };
        Err(ClientError::new(kind, operation).complete(reason.into()))
    }

    /// Reads the diagnosis that the server makes of the federation. Only
    /// [`Precise`](crate::consul::Dialect::Precise) servers make one; for the others,
    /// [`Servers::diagnose`](super::Servers::diagnose) does it here.
    ///
    /// # Errors
    /// [`ClientError`]; of the kind [`Unsupported`](ErrorKind::Unsupported) for a server
    /// that makes none.
    pub async fn diagnosis(&self) -> Result<Diagnosis, ClientError> {
        let call = Call::new(Method::GET, "diagnosis", Operation::Diagnose);
        self.read(&call, Instant::now()).await
    }

    /// Reads the members of the LAN or of the WAN that a Consul agent knows.
    pub(super) async fn agent_members(&self, wan: bool) -> Result<Vec<Member>, ClientError> {
        // The listing of a ring's nodes, for the text of an error.
        let scope = KeyringScope::LocalOnly;
        let mut call = self.keyring(Method::GET, KeyringAction::List, scope);
        call.path = "/v1/agent/members".into();
        call.query = if wan { "?wan=1" } else { "" }.into();
        let members: Option<Vec<Member>> = self.read(&call, Instant::now()).await?;
        Ok(members.unwrap_or_default())
    }

    /// Returns the server's address.
    pub(super) fn server(&self) -> &ServerUri {
        &self.server
    }

    /// Sends an operation that has a result.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        call: &Call,
        begin: Instant,
    ) -> Result<T, ClientError> {
        read(&self.send(call, begin).await?, &call.operation)
    }

    /// Sends an operation that has no result.
    pub(super) async fn execute(&self, call: &Call, begin: Instant) -> Result<(), ClientError> {
        empty(&self.send(call, begin).await?, &call.operation)
    }

    /// Returns the answer to an operation that began then, if it is a success.
    pub(super) async fn send(
        &self,
        call: &Call,
        begin: Instant,
    ) -> Result<Response<Bytes>, ClientError> {
        let token = self.token.as_ref().map(HeaderValue::as_bytes);
        let asked = Asked {
            operation: &call.operation,
            endpoint: format!("{} {}", call.method, call.path),
            server: &self.server,
            datacenter: self.datacenter(call),
            token: token.and_then(|token| std::str::from_utf8(token).ok()),
            begin: Instant::now(),
        };
        let request = self.request(call);
        let request = request.map_err(|error| not_written(error, &call.operation))?;
        let left = self.deadline.saturating_sub(begin.elapsed());
        let answer = self
            .transport
            .exchange(request, self.answer_limit, left)
            .await
            .map_err(|failure| asked.unanswered(failure))?;
        let accepted = || media_type(answer.headers()) == JSON;
        if answer.status().is_success() || call.accepts == Some(answer.status()) && accepted() {
            Ok(answer)
        } else {
            Err(asked.refused(&answer))
        }
    }

    /// Returns the datacenter that the operation is for; keyring operations are for all.
    fn datacenter(&self, call: &Call) -> Option<&DatacenterName> {
        let (resource, _) = call.operation.permission();
        let datacenter = self.datacenter.as_ref();
        datacenter.filter(|_| resource == Resource::Operator)
    }

    fn request(&self, call: &Call) -> Result<Request<Bytes>, http::Error> {
        let mut target = format!("{}{}", call.path, call.query);
        if let Some(datacenter) = self.datacenter(call) {
            push(&mut target, "dc", datacenter.as_str());
        }
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(self.server.join(&target)?)
            // This library's servers say more in a problem document; Consul ignores
            // the header.
            .header(ACCEPT, "application/json, application/problem+json");
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, JSON);
        }
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        request.body(call.body.clone())
    }
}

/// The characters that RFC 3986 does not reserve in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An operation as an HTTP request.
pub(super) struct Call {
    pub(super) operation: Operation,
    method: Method,
    path: String,
    query: String,
    body: Bytes,
    /// A status that is an answer if it has JSON, beside those of success.
    pub(super) accepts: Option<StatusCode>,
}

impl Call {
    pub(super) fn new(method: Method, path: &str, operation: Operation) -> Self {
        Call {
            operation,
            method,
            path: format!("/v1/operator/{path}"),
            query: String::new(),
            body: Bytes::new(),
            accepts: None,
        }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        push(&mut self.query, name, value);
        self
    }

    /// Sets the body. It is wiped after use.
    pub(super) fn with_body(mut self, body: &impl Serialize) -> Result<Self, ClientError> {
        self.body = write_wiped(body).map_err(|error| not_written(error, &self.operation))?;
        Ok(self)
    }

    fn with_server(self, server: &PeerSelector) -> Self {
        match server {
            PeerSelector::Id(id) => self.with("id", id.as_str()),
            PeerSelector::Address(address) => self.with("address", address.as_str()),
        }
    }
}

/// Adds a parameter to a query; a flag has an empty value.
fn push(query: &mut String, name: &str, value: &str) {
    query.push(if query.contains('?') { '&' } else { '?' });
    query.push_str(name);
    if !value.is_empty() {
        query.push('=');
        query.extend(utf8_percent_encode(value, QUERY));
    }
}

/// Compares the index of a removal's condition with that of the configuration.
fn check_index(operation: &Operation, expected: u64, actual: u64) -> Result<(), ClientError> {
    if actual == 0 {
        let what = "a removal on a condition".into();
        let advice = "it reports index 0 for every configuration: remove without a condition";
        let error = ClientError::new(ErrorKind::Unsupported { what }, operation);
        return Err(error.with_advice(Some(advice)));
    }
    if actual != expected {
        // The term is not on the wire.
        let version = |index| ConfigVersion { term: 0, index };
        let kind = ErrorKind::Conflict {
            expected: version(expected),
            actual: version(actual),
        };
        let message = kind.to_string();
        return Err(ClientError::new(kind, operation).complete(message));
    }
    Ok(())
}

fn not_written(
    error: impl std::error::Error + Send + Sync + 'static,
    operation: &Operation,
) -> ClientError {
    let reason = format!("the request cannot be written: {error}");
    let error: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
    ClientError::new(ErrorKind::InvalidRequest { reason }, operation).with_source(Some(error))
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
