//! HTTP exchanges with a server, for the client and for the calls between servers.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, InvalidHeaderValue};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use zeroize::Zeroizing;

use crate::body::{Unread, read};

/// The media type of server calls and of most answers.
pub(crate) const JSON: &str = "application/json";

/// The base URI of a server, such as `http://10.0.0.1:8501`.
///
/// It has a scheme and an authority, and may have a path under which a proxy
/// serves the server. It has no user, no password and no query: secrets do not
/// belong in an address.
///
/// ```
/// # #[cfg(feature = "client")]
/// use cluster_operator::client::ServerUri;
/// # #[cfg(not(feature = "client"))]
/// # use cluster_operator::peer_http::ServerUri;
///
/// let uri: ServerUri = "https://consul.example.com/dc1/".parse()?;
/// assert_eq!(uri.to_string(), "https://consul.example.com/dc1");
/// assert!("10.0.0.1:8501".parse::<ServerUri>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerUri(Uri);

/// A text that is not a [`ServerUri`]. The error does not repeat the text, which may
/// hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidServerUri(&'static str);

impl ServerUri {
    /// Appends a path that begins with a slash, and its query.
    pub(crate) fn join(&self, path: &str) -> Result<Uri, http::Error> {
        let prefix = self.0.path().trim_end_matches('/');
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = Some(format!("{prefix}{path}").parse()?);
        Ok(Uri::from_parts(parts)?)
    }
}

impl FromStr for ServerUri {
    type Err = InvalidServerUri;

    fn from_str(text: &str) -> Result<Self, InvalidServerUri> {
        let invalid = |reason| Err(InvalidServerUri(reason));
        let Ok(uri) = text.parse::<Uri>() else {
            return invalid("the server's address is not a URI: write it as http://host:port");
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return invalid("the server's URI has to begin with http:// or https://");
        }
        if uri.authority().is_none_or(|it| it.as_str().contains('@')) {
            return invalid("the server's URI has a user: give a token or a shared secret instead");
        }
        if uri.query().is_some() {
            return invalid("the server's URI has a query: leave it out");
        }
        Ok(ServerUri(uri))
    }
}

impl fmt::Display for ServerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

impl fmt::Debug for ServerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUri({self})")
    }
}

/// Connections to servers over HTTP/1.1, kept open and reused.
///
/// Cheap to clone; clones share the connections. `HttpPeers` and `OperatorClient`
/// have one each unless they are given one.
///
/// A request is never sent twice. One that was given to a kept connection which
/// closes before the request's first byte is sent over another connection.
///
/// # TLS
/// There is none by default, so that this crate chooses no TLS library. Pass a
/// connector that speaks it, such as `hyper-rustls`' `HttpsConnector`, with client
/// certificates if the servers authenticate each other by them.
///
/// # Secrets
/// A request is wiped once it is sent, and a reply to a server call once it is
/// read. The buffers of a connection are not.
#[derive(Clone)]
pub struct Transport {
    connections: Arc<dyn Connections>,
    connect_timeout: Duration,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct Failure {
    /// A part of the request may have arrived.
    pub(crate) sent: bool,
    pub(crate) cause: Cause,
    #[source]
    pub(crate) source: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cause {
    #[error("no connection within {} ms", .0.as_millis())]
    NoConnection(Duration),
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Failed(String),
}

impl Transport {
    /// Connections over TCP, without TLS.
    pub fn tcp() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // Notices on idle connections that a server is gone.
        connector.set_keepalive(Some(Duration::from_secs(15)));
        Transport::over(connector)
    }

    /// Connections that this connector makes: a [`tower_service::Service`] from
    /// [`http::Uri`] to a stream, as in `hyper-util`.
    pub fn over<C>(connector: C) -> Self
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Shorter than the idle timeout of a usual server: a write that meets the
            // closing of its connection is lost.
            .pool_idle_timeout(Duration::from_secs(4))
            .pool_max_idle_per_host(4)
            // Only what no connection has taken yet; `Sending` enforces it.
            .retry_canceled_requests(true)
            .build(connector);
        Transport {
            connections: Arc::new(client),
            connect_timeout: Duration::from_secs(2),
        }
    }

    /// Sets how long connecting may take, TLS included. Default: 2 s, which is
    /// enough to repeat one lost packet.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sends a request once, and reads an answer of at most `limit` bytes. It has
    /// to be awaited inside a tokio runtime.
    pub(crate) async fn exchange(
        &self,
        request: Request<Bytes>,
        limit: usize,
        timeout: Duration,
    ) -> Result<Response<Bytes>, Failure> {
        let sending = Sending::default();
        let request = request.map(|bytes| Outgoing {
            bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            sending: sending.clone(),
        });
        let fail = |cause, source| Failure {
            sent: !sending.prevent(),
            cause,
            source,
        };
        let broken =
            |error: Box<dyn Error + Send + Sync>| fail(Cause::Failed(chain(&*error)), Some(error));
        let mut answer = std::pin::pin!(async {
            let response = self.connections.send(request).await;
            let (head, body) = response.map_err(|error| broken(error.into()))?.into_parts();
            match read(body, limit).await {
                Ok(body) => Ok(Response::from_parts(head, body)),
                Err(Unread::TooLarge) => Err(fail(Cause::TooLarge(limit), None)),
                Err(Unread::Broken(error)) => Err(broken(error)),
            }
        });
        let connecting = self.connect_timeout.min(timeout);
        if let Ok(answer) = tokio::time::timeout(connecting, &mut answer).await {
            return answer;
        }
        if connecting < timeout && sending.prevent() {
            return Err(fail(Cause::NoConnection(connecting), None));
        }
        tokio::time::timeout(timeout - connecting, answer)
            .await
            .unwrap_or_else(|_| Err(fail(Cause::TimedOut(timeout), None)))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// Hides the connector's type.
trait Connections: Send + Sync {
    fn send(&self, request: Request<Outgoing>) -> ResponseFuture;
}

impl<C> Connections for Client<C, Outgoing>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    fn send(&self, request: Request<Outgoing>) -> ResponseFuture {
        self.request(request)
    }
}

/// Whether a request is sent: decided once, by the connection that begins to send
/// it or by the caller that gives it up, whichever comes first.
///
/// A connection inspects the body before it writes the first byte of a request. So
/// a request whose body was never inspected was not sent, whatever went wrong, and
/// one that was prevented before is never sent.
#[derive(Clone, Default)]
struct Sending(Arc<OnceLock<bool>>);

impl Sending {
    /// Begins to send. Returns false if the caller has given the request up.
    fn begin(&self) -> bool {
        *self.0.get_or_init(|| true)
    }

    /// Gives the request up. Returns false if it may have been sent.
    fn prevent(&self) -> bool {
        !*self.0.get_or_init(|| false)
    }
}

/// The body of a request, which notices that it begins to be sent.
struct Outgoing {
    bytes: Option<Bytes>,
    sending: Sending,
}

/// The error of a body whose request was given up.
#[derive(Debug, thiserror::Error)]
#[error("the request was given up before it was sent")]
struct GivenUp;

impl Body for Outgoing {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        Poll::Ready(if self.sending.begin() {
            self.bytes.take().map(|bytes| Ok(Frame::data(bytes)))
        } else {
            Some(Err(GivenUp))
        })
    }

    /// A body that was given up has no end: a connection that is about to send it asks
    /// for a frame, and gets an error.
    fn is_end_stream(&self) -> bool {
        self.sending.begin() && self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.sending.begin() {
            SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
        } else {
            SizeHint::default()
        }
    }
}

/// Returns an error's text with those of its sources: hyper's own says little.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Some repeat their source.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// Returns the media type of a message without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok());
    let media_type = text.and_then(|text| text.split(';').next());
    media_type.unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns a header value that is left out of `Debug`, and wiped when the last copy
/// that no connection holds is dropped.
pub(crate) fn sensitive(text: String) -> Result<HeaderValue, InvalidHeaderValue> {
    let bytes = Bytes::from_owner(Zeroizing::new(text.into_bytes()));
    let mut value = HeaderValue::from_maybe_shared(bytes)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;
    use http_body_util::BodyExt;

    use super::*;

    fn outgoing(text: &'static str) -> (Outgoing, Sending) {
        let sending = Sending::default();
        let bytes = Some(Bytes::from(text)).filter(|bytes| !bytes.is_empty());
        let body = Outgoing {
            bytes,
            sending: sending.clone(),
        };
        (body, sending)
    }

    #[test]
    fn inspecting_a_body_begins_to_send_it() {
        let inspections: [fn(&mut Outgoing); 3] = [
            |body| _ = body.is_end_stream(),
            |body| _ = body.size_hint(),
            |body| drop(block_on(body.frame())),
        ];
        for text in ["", "{}"] {
            for inspect in inspections {
                let (mut body, sending) = outgoing(text);
                inspect(&mut body);
                assert!(!sending.prevent());
                inspect(&mut body);
            }
        }
    }

    #[test]
    fn body_given_up_cannot_be_sent_even_if_empty() {
        for text in ["", "{}"] {
            let (mut body, sending) = outgoing(text);
            assert!(sending.prevent());
            assert!(!body.is_end_stream());
            assert_eq!(body.size_hint().exact(), None);
            assert!(block_on(body.frame()).unwrap().is_err());
            assert!(sending.prevent());
        }
    }

    #[test]
    fn path_is_appended_to_the_base_uri() {
        let joined = |base: &str| {
            let base: ServerUri = base.parse().unwrap();
            base.join("/v1/x?y=z").unwrap().to_string()
        };
        assert_eq!(joined("http://a:1"), "http://a:1/v1/x?y=z");
        assert_eq!(joined("http://a:1/"), "http://a:1/v1/x?y=z");
        assert_eq!(joined("https://a/b/c/"), "https://a/b/c/v1/x?y=z");
        assert_eq!(joined("http://[::1]:8501"), "http://[::1]:8501/v1/x?y=z");
    }

    #[test]
    fn malformed_uri_is_rejected_without_being_repeated() {
        for (text, reason) in [
            ("", "is not a URI"),
            ("http://", "is not a URI"),
            ("http:// a", "is not a URI"),
            ("a.example.com", "begin with http://"),
            ("10.0.0.1:8501", "begin with http://"),
            ("ftp://a", "begin with http://"),
            ("http://me:hunter2@a", "has a user"),
            ("http://a?token=hunter2", "has a query"),
        ] {
            let error = text.parse::<ServerUri>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("hunter2"));
        }
    }
}
