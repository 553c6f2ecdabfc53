//! The sending side of server calls.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use tokio::time::Instant;

use super::receiver::PEER_PATH;
use super::{Directory, SharedSecret};
use crate::peers::{Envelope, EnvelopeReply, Peers, SendError, SendFailure, Target};
use crate::transport::{Cause, Failure, JSON, ServerUri, Transport, media_type};
use crate::types::DatacenterName;

/// [`Peers`] for servers that reach each other over HTTP. The others answer with
/// [`PeerHttp`](super::PeerHttp).
///
/// ```
/// # use cluster_operator::{AllowAll, OperatorService, OperatorServiceBuilder};
/// use cluster_operator::peer_http::{AddressBook, HttpPeers, SharedSecret};
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
/// # Several servers
/// Any server of a datacenter can serve it. The one that answered last is asked
/// first. The next one is asked only if the envelope has certainly not reached the
/// service of the one before, because there was no connection or a 4xx answer said
/// so, or if it only reads. A write that may have arrived is sent to no other
/// server: it is [`Lost`](SendError::Lost).
///
/// # Errors
/// - [`NoPath`](SendError::NoPath) for a target that the [`Directory`] does not
///   know.
/// - [`NotSent`](SendError::NotSent) if no connection was made, or a 4xx answer
///   refused the envelope. A 404 means that the other server is too old, or that
///   its `PeerHttp` is not mounted.
/// - [`Lost`](SendError::Lost) if the connection broke, the timeout was over, or
///   the answer does not come from a `PeerHttp`.
///
/// They name the servers that were tried.
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
    /// Creates peers over TCP without TLS, without a shared secret.
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

    /// Sets the secret that the other servers require.
    #[must_use]
    pub fn with_shared_secret(mut self, secret: SharedSecret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Sets the largest reply that is read, in bytes. Default: 8 MiB, the size of a
    /// listing with messages of some 50,000 nodes.
    #[must_use]
    pub fn with_reply_limit(mut self, bytes: usize) -> Self {
        self.reply_limit = bytes;
        self
    }

    /// Sends the envelope to one server.
    async fn send_to(
        &self,
        uri: &ServerUri,
        envelope: &Envelope,
        timeout: Duration,
    ) -> Result<EnvelopeReply, Failure> {
        let request = self.request(uri, envelope).map_err(|error| Failure {
            sent: false,
            cause: Cause::Failed(format!("the request cannot be written: {error}")),
            source: Some(error.into()),
        })?;
        let limit = self.reply_limit;
        reply(self.transport.exchange(request, limit, timeout).await?)
    }

    fn request(&self, uri: &ServerUri, envelope: &Envelope) -> Result<Request<Bytes>, http::Error> {
        let mut request = Request::post(uri.join(PEER_PATH)?).header(CONTENT_TYPE, JSON);
        if let Some(secret) = &self.secret {
            request = request.header(AUTHORIZATION, secret.authorization()?);
        }
        request.body(envelope.as_bytes().clone())
    }

    fn unknown(&self, target: &Target) -> SendError {
        match target {
            Target::Datacenter(datacenter) if self.datacenters().contains(datacenter) => {
                SendError::not_sent("the directory has no server of it")
            }
            _ => SendError::NoPath,
        }
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
        mut envelope: Envelope,
        timeout: Duration,
    ) -> Result<EnvelopeReply, SendError> {
        let known = self.directory.uris(target);
        if known.is_empty() {
            return Err(self.unknown(target));
        }
        let begin = Instant::now();
        let uris = self.preference.order(target, known);
        let mut tried = Vec::new();
        for (at, uri) in uris.iter().enumerate() {
            let left = timeout.saturating_sub(begin.elapsed());
            if at > 0 {
                // The server before has used up some of the time, and the other
                // side has to finish before this one gives up.
                envelope = envelope.with_timeout(left - left / 10);
            }
            let mut attempt = self.preference.attempt(target, &uris, at);
            match self.send_to(uri, &envelope, left).await {
                Ok(reply) => {
                    attempt.preferred = uri;
                    return Ok(reply);
                }
                Err(failure) => {
                    let last = matches!(failure.cause, Cause::TimedOut(_))
                        || (failure.sent && envelope.is_write());
                    tried.push((uri, failure));
                    if last {
                        break;
                    }
                }
            }
        }
        Err(failed(tried, timeout))
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

/// Returns the other service's reply, if the answer is one.
fn reply(answer: Response<Bytes>) -> Result<EnvelopeReply, Failure> {
    let status = answer.status();
    let reason = if status != StatusCode::OK {
        refusal(status)
    } else if media_type(answer.headers()) != JSON {
        "the answer does not come from a PeerHttp: check the address, and what is between the \
         servers"
            .into()
    } else {
        return Ok(EnvelopeReply::from_bytes(answer.into_body()));
    };
    Err(Failure {
        // A 4xx says that the service has not received the envelope, also if it
        // comes from a proxy.
        sent: !status.is_client_error(),
        cause: Cause::Failed(reason),
        source: None,
    })
}

/// Returns the status and what to do about it. The answer's text is left out: it may
/// come from anyone, and repeat anything.
fn refusal(status: StatusCode) -> String {
    let advice = match status {
        StatusCode::UNAUTHORIZED => "give both servers the same shared secret",
        StatusCode::NOT_FOUND => {
            "the server is too old for version 2 of the server call, or its PeerHttp is not \
             mounted: upgrade it, or mount PeerHttp there"
        }
        StatusCode::PAYLOAD_TOO_LARGE => "raise PeerHttp::with_body_limit there",
        _ => "check what is between the servers",
    };
    format!("HTTP {} at {PEER_PATH}: {advice}", status.as_u16())
}

/// Returns the error of all servers that were tried.
fn failed(tried: Vec<(&ServerUri, Failure)>, timeout: Duration) -> SendError {
    let sent = tried.iter().any(|(_, failure)| failure.sent);
    let reasons: Vec<_> = tried
        .iter()
        .map(|(uri, failure)| format!("{uri}: {failure}"))
        .collect();
    let mut error = SendFailure::new(reasons.join("; "));
    if let Some((_, last)) = tried.into_iter().next_back() {
        if matches!(last.cause, Cause::TimedOut(_)) {
            error = error.timed_out(timeout);
        }
        error.source = last.source;
    }
    if sent {
        SendError::Lost(error)
    } else {
        SendError::NotSent(error)
    }
}

/// The server of each datacenter that answered last, so that a dead one costs its
/// connect timeout once and not with each request.
#[derive(Default)]
struct Preference(Mutex<HashMap<DatacenterName, ServerUri>>);

impl Preference {
    /// Rotates the servers so that the preferred one comes first.
    fn order(&self, target: &Target, mut uris: Vec<ServerUri>) -> Vec<ServerUri> {
        if let Target::Datacenter(datacenter) = target
            && let Some(preferred) = self.lock().get(datacenter)
            && let Some(at) = uris.iter().position(|uri| uri == preferred)
        {
            uris.rotate_left(at);
        }
        uris
    }

    /// Begins an attempt at the server at this place.
    fn attempt<'a>(&'a self, target: &'a Target, uris: &'a [ServerUri], at: usize) -> Attempt<'a> {
        Attempt {
            preference: self,
            // Without a choice there is nothing to remember.
            datacenter: match target {
                Target::Datacenter(datacenter) if uris.len() > 1 => Some(datacenter),
                _ => None,
            },
            preferred: &uris[(at + 1) % uris.len()],
        }
    }

    /// The map is complete after each statement.
    fn lock(&self) -> MutexGuard<'_, HashMap<DatacenterName, ServerUri>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt at one server, which remembers the preferred one when it is dropped:
/// the next server, also if the caller gives up, unless this one has answered.
struct Attempt<'a> {
    preference: &'a Preference,
    datacenter: Option<&'a DatacenterName>,
    preferred: &'a ServerUri,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(datacenter) = self.datacenter {
            let mut preferred = self.preference.lock();
            if preferred.get(datacenter) != Some(self.preferred) {
                preferred.insert(datacenter.clone(), self.preferred.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::LeaderHint;

    fn uris(names: &[&str]) -> Vec<ServerUri> {
        let uri = |name: &&str| format!("http://{name}").parse().unwrap();
        names.iter().map(uri).collect()
    }

    #[test]
    fn preferred_server_comes_first_and_the_rest_follow() {
        let preference = Preference::default();
        let target = Target::Datacenter("dc2".into());
        let all = uris(&["a", "b", "c"]);
        let order = || preference.order(&target, all.clone());
        assert_eq!(order(), all);
        preference.attempt(&target, &all, 1).preferred = &all[1];
        assert_eq!(order(), uris(&["b", "c", "a"]));
        drop(preference.attempt(&target, &all, 2));
        assert_eq!(order(), all);
        preference.attempt(&target, &all, 1).preferred = &all[1];
        // The preferred one may have left.
        let left = uris(&["a", "c"]);
        assert_eq!(preference.order(&target, left.clone()), left);
    }

    #[test]
    fn nothing_is_remembered_without_a_choice() {
        let preference = Preference::default();
        let one = uris(&["a"]);
        let target = Target::Datacenter("dc2".into());
        drop(preference.attempt(&target, &one, 0));
        let leader = LeaderHint {
            id: "a".into(),
            address: "a".into(),
        };
        let two = uris(&["a", "b"]);
        drop(preference.attempt(&Target::Server(leader), &two, 0));
        assert!(preference.lock().is_empty());
    }
}
