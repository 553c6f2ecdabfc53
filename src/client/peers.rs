//! The sending side of server calls.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use tokio::time::Instant;

use super::peer_http::PEER_PATH;
use super::secret::SharedSecret;
use super::transport::{Answer, Cause, Failure, JSON, Transport};
use super::{Directory, ServerUri};
use crate::peers::{Envelope, EnvelopeReply, Peers, SendError, SendFailure, Target};
use crate::types::DatacenterName;

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
/// # Several servers
/// Any server of a datacenter can serve it. The one that answered last is asked
/// first. The next one is asked only if the envelope has certainly not reached the
/// service of the one before, because there was no connection or a 4xx answer said
/// so, or if it only reads. A write that may have arrived is sent to nobody else:
/// it is [`Lost`](SendError::Lost).
///
/// # Errors
/// - [`NoPath`](SendError::NoPath) for a target that the [`Directory`] does not
///   know.
/// - [`NotSent`](SendError::NotSent) if no connection was made, or a 4xx answer
///   refused the envelope. A 404 means that the other server is too old, or that
///   its `PeerHttp` is not mounted.
/// - [`Lost`](SendError::Lost) if the connection broke, the timeout was over, or
///   something else than a `PeerHttp` answered.
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

    /// Sets the secret that the other servers ask for.
    #[must_use]
    pub fn with_shared_secret(mut self, secret: SharedSecret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Sets the largest reply that is read, in bytes. Default: 8 MiB, which is
    /// what the listing of some 50,000 nodes takes if each has something to say.
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
    ) -> Result<EnvelopeReply, Unanswered> {
        let request = self
            .request(uri, envelope)
            .map_err(Unanswered::not_written)?;
        let answer = self
            .transport
            .exchange(request, self.reply_limit, timeout)
            .await?;
        reply(answer)
    }

    fn request(&self, uri: &ServerUri, envelope: &Envelope) -> Result<Request<Bytes>, http::Error> {
        let mut request = Request::new(envelope.as_bytes().clone());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.join(PEER_PATH)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        if let Some(secret) = &self.secret {
            headers.insert(AUTHORIZATION, secret.header()?);
        }
        Ok(request)
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
                // side has to be done before this one gives up.
                envelope = envelope.with_timeout(left - left / 10);
            }
            let attempt = self.preference.attempt(target, &uris, at);
            match self.send_to(uri, &envelope, left).await {
                Ok(reply) => {
                    attempt.answered();
                    return Ok(reply);
                }
                Err(unanswered) => {
                    drop(attempt);
                    let last = unanswered.timed_out || (unanswered.arrived && envelope.is_write());
                    tried.push((uri, unanswered));
                    if last {
                        break;
                    }
                }
            }
        }
        Err(failed(tried, timeout))
    }
}

impl HttpPeers {
    fn unknown(&self, target: &Target) -> SendError {
        match target {
            Target::Datacenter(datacenter) if self.datacenters().contains(datacenter) => {
                SendError::not_sent("the directory knows no server of it")
            }
            _ => SendError::NoPath,
        }
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

/// Why one server has not answered.
struct Unanswered {
    /// Its service may have got the envelope.
    arrived: bool,
    timed_out: bool,
    reason: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Unanswered {
    fn new(arrived: bool, reason: impl Into<String>) -> Self {
        Unanswered {
            arrived,
            timed_out: false,
            reason: reason.into(),
            source: None,
        }
    }

    fn not_written(error: http::Error) -> Self {
        let reason = format!("the request cannot be written: {error}");
        Unanswered {
            source: Some(Box::new(error)),
            ..Unanswered::new(false, reason)
        }
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Unanswered {
            arrived: failure.sent,
            timed_out: matches!(failure.cause, Cause::TimedOut(_)),
            reason: failure.cause.to_string(),
            source: failure.source,
        }
    }
}

/// The other service's reply, if the answer is one.
fn reply(answer: Answer) -> Result<EnvelopeReply, Unanswered> {
    if answer.status != StatusCode::OK {
        // A 4xx says that the service has not got the envelope, also if a proxy
        // says it.
        let arrived = !answer.status.is_client_error();
        return Err(Unanswered::new(arrived, refusal(answer.status)));
    }
    if answer.content_type != JSON {
        let reason = "the answer does not come from a PeerHttp: check the address, and what is \
                      between the servers";
        return Err(Unanswered::new(true, reason));
    }
    Ok(EnvelopeReply::from_bytes(answer.body))
}

/// The status, and what to do about it. The answer's text is left out: it may come
/// from anyone, and repeat anything.
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

/// The error of all servers that were tried.
fn failed(tried: Vec<(&ServerUri, Unanswered)>, timeout: Duration) -> SendError {
    let arrived = tried.iter().any(|(_, unanswered)| unanswered.arrived);
    let reasons: Vec<_> = tried
        .iter()
        .map(|(uri, unanswered)| format!("{uri}: {}", unanswered.reason))
        .collect();
    let mut failure = SendFailure::new(reasons.join("; "));
    if let Some((_, last)) = tried.into_iter().next_back() {
        if last.timed_out {
            failure = failure.timed_out(timeout);
        }
        failure.source = last.source;
    }
    match arrived {
        true => SendError::Lost(failure),
        false => SendError::NotSent(failure),
    }
}

/// Which server of each datacenter answered last, so that a dead one costs its connect
/// timeout once and not with each request.
#[derive(Default)]
struct Preference {
    first: Mutex<HashMap<DatacenterName, ServerUri>>,
}

impl Preference {
    /// The same servers in the order in which to ask them: from the preferred one
    /// on, and around.
    fn order(&self, target: &Target, mut uris: Vec<ServerUri>) -> Vec<ServerUri> {
        if let Target::Datacenter(datacenter) = target
            && let Some(first) = self.lock().get(datacenter)
            && let Some(at) = uris.iter().position(|uri| uri == first)
        {
            uris.rotate_left(at);
        }
        uris
    }

    /// An attempt at the server at this place.
    fn attempt<'a>(&'a self, target: &'a Target, uris: &'a [ServerUri], at: usize) -> Attempt<'a> {
        Attempt {
            preference: self,
            target,
            uris,
            at,
            answered: false,
        }
    }

    /// Puts this server first from now on. Only a choice is remembered, so there
    /// are no more entries than datacenters with several servers.
    fn prefer(&self, target: &Target, uris: &[ServerUri], uri: &ServerUri) {
        if let Target::Datacenter(datacenter) = target
            && uris.len() > 1
        {
            let mut first = self.lock();
            if first.get(datacenter) != Some(uri) {
                first.insert(datacenter.clone(), uri.clone());
            }
        }
    }

    /// The map is whole after each statement.
    fn lock(&self) -> MutexGuard<'_, HashMap<DatacenterName, ServerUri>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt at one server. If it is dropped without an answer, also because the
/// caller gave up, the next server is preferred.
struct Attempt<'a> {
    preference: &'a Preference,
    target: &'a Target,
    uris: &'a [ServerUri],
    at: usize,
    answered: bool,
}

impl Attempt<'_> {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let next = if self.answered { self.at } else { self.at + 1 };
        let next = &self.uris[next % self.uris.len()];
        self.preference.prefer(self.target, self.uris, next);
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
    fn preferred_server_comes_first_and_the_rest_follow_around() {
        let preference = Preference::default();
        let target = Target::Datacenter("dc2".into());
        let all = uris(&["a", "b", "c"]);
        assert_eq!(preference.order(&target, all.clone()), all);
        preference.attempt(&target, &all, 1).answered();
        assert_eq!(
            preference.order(&target, all.clone()),
            uris(&["b", "c", "a"])
        );
        drop(preference.attempt(&target, &all, 2));
        assert_eq!(preference.order(&target, all.clone()), all);
        preference.attempt(&target, &all, 1).answered();
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
