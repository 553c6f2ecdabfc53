//! The side that asks.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use tokio::time::Instant;

use super::preference::Preference;
use super::protocol::{self, JSON, PEER_PATH};
use super::secret::SharedSecret;
use super::transport::Transport;
use super::trouble::{self, Trouble};
use super::{Directory, ServerUri};
use crate::acl::Access;
use crate::error::{ErrorKind, OperatorError};
use crate::name::DatacenterName;
use crate::peers::{Peers, Target};
use crate::reply::OperatorReply;
use crate::request::OperatorRequest;

/// [`Peers`] for servers that reach each other over HTTP. The others answer with
/// [`PeerHttp`](super::PeerHttp).
///
/// ```
/// # use cluster_operator::{AllowAll, OperatorService, OperatorServiceBuilder};
/// use cluster_operator::client::{AddressBook, HttpPeers, SharedSecret};
///
/// # fn build(builder: OperatorServiceBuilder) -> Result<(), Box<dyn std::error::Error>> {
/// let book = AddressBook::new()
///     .with_server("8c2562c7", "http://10.0.0.1:8501")?
///     .with_datacenter("dc2", ["http://10.2.0.1:8501", "http://10.2.0.2:8501"])?;
/// let secret = SharedSecret::new(std::env::var("PEER_SECRET")?)?;
/// let service = builder // of raft, keyring and authorizer
///     .peers(HttpPeers::new(book).with_shared_secret(secret))
///     .build()?;
/// # Ok(()) }
/// ```
///
/// # Once, or again
/// A datacenter is any of its servers. The one that answered last is asked, and
/// the next one only if the request has certainly not reached it, because there
/// was no connection or a 4xx answer said so, or if it only reads. A write that
/// may have arrived is sent to nobody else: its error says that the outcome is
/// unknown.
///
/// # Errors
/// Those of the other server are handed on as they are. Its own are
/// - [`NoPathToDatacenter`](ErrorKind::NoPathToDatacenter) for a datacenter that
///   the [`Directory`] does not know,
/// - [`Unreachable`](ErrorKind::Unreachable) if the connection failed or what
///   answered is no `PeerHttp`, and names the servers that were tried,
/// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded),
/// - [`Backend`](ErrorKind::Backend) for an answer that is too large or cannot be
///   read.
///
/// It has to be used inside a tokio runtime with time and I/O enabled.
pub struct HttpPeers {
    directory: Box<dyn Directory>,
    transport: Transport,
    secret: Option<SharedSecret>,
    reply_limit: usize,
    preference: Preference,
}

impl HttpPeers {
    /// Peers over TCP without TLS, without a shared secret.
    pub fn new(directory: impl Directory + 'static) -> Self {
        HttpPeers {
            directory: Box::new(directory),
            transport: Transport::tcp(),
            secret: None,
            reply_limit: 8 * 1024 * 1024,
            preference: Preference::default(),
        }
    }

    /// Sets the connections, for TLS.
    #[must_use]
    pub fn with_transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Sets the secret that the other servers want to see.
    #[must_use]
    pub fn with_shared_secret(mut self, secret: SharedSecret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Sets the largest answer that is read, in bytes. Default: 8 MiB, which is
    /// what the listing of some 50,000 nodes takes if each has something to say.
    #[must_use]
    pub fn with_reply_limit(mut self, bytes: usize) -> Self {
        self.reply_limit = bytes;
        self
    }

    async fn ask(
        &self,
        uri: &ServerUri,
        request: &OperatorRequest,
        deadline: Duration,
    ) -> Result<Result<OperatorReply, OperatorError>, Trouble> {
        let request = self.write(uri, request).map_err(Trouble::unwritten)?;
        let answer = self
            .transport
            .exchange(request, self.reply_limit, deadline)
            .await?;
        trouble::read(&answer)
    }

    fn write(
        &self,
        uri: &ServerUri,
        request: &OperatorRequest,
    ) -> Result<Request<Bytes>, Box<dyn Error + Send + Sync>> {
        let mut written = Request::new(protocol::write(request)?);
        *written.method_mut() = Method::POST;
        *written.uri_mut() = uri.join(PEER_PATH)?;
        let headers = written.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        if let Some(secret) = &self.secret {
            headers.insert(AUTHORIZATION, secret.header()?);
        }
        Ok(written)
    }

    fn unknown(&self, target: &Target) -> OperatorError {
        let kind = match target {
            Target::Datacenter(datacenter) if !self.datacenters().contains(datacenter) => {
                ErrorKind::NoPathToDatacenter {
                    datacenter: datacenter.clone(),
                }
            }
            target => ErrorKind::Unreachable {
                target: trouble::name(target),
                reason: "the directory does not know where it listens".into(),
            },
        };
        kind.into()
    }
}

#[async_trait]
impl Peers for HttpPeers {
    fn datacenters(&self) -> Vec<DatacenterName> {
        self.directory.datacenters()
    }

    async fn send(
        &self,
        target: &Target,
        mut request: OperatorRequest,
        deadline: Duration,
    ) -> Result<OperatorReply, OperatorError> {
        let known = self.directory.uris(target);
        if known.is_empty() {
            return Err(self.unknown(target));
        }
        let begin = Instant::now();
        let writes = request.operation.permission().1 == Access::Write;
        let uris = self.preference.order(target, known);
        let mut tried = Vec::new();
        for (at, uri) in uris.iter().enumerate() {
            let left = deadline.saturating_sub(begin.elapsed());
            if at > 0 {
                // Some of the time that the service counted on has gone, and the
                // other side has to be done before this one gives up.
                let share = left - left / 10;
                let patience = request.patience.unwrap_or(share);
                request.patience = Some(patience.min(share));
            }
            let attempt = self.preference.attempt(target, &uris, at);
            match self.ask(uri, &request, left).await {
                Ok(answer) => {
                    attempt.answered();
                    return answer;
                }
                Err(trouble) => {
                    drop(attempt);
                    let last = (trouble.arrived && writes) || trouble.is_late();
                    tried.push((uri, trouble));
                    if last {
                        break;
                    }
                }
            }
        }
        Err(trouble::failed(target, tried, writes, deadline))
    }
}

impl fmt::Debug for HttpPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPeers")
            .field("datacenters", &self.datacenters())
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
