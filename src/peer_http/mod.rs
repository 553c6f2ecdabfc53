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

mod receiver;
mod sender;

use std::collections::{BTreeMap, HashMap};

use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderMap, HeaderValue};

use crate::acl::Token;
use crate::peers::Target;
use crate::transport::sensitive;
use crate::types::{DatacenterName, ServerId};

pub use crate::transport::{InvalidServerUri, ServerUri, Transport};
pub use receiver::{PEER_PATH, PEER_PATHS, PeerHttp};
pub use sender::HttpPeers;

/// Knows where the other servers listen: the URIs under which their
/// [`PeerHttp`] is mounted.
///
/// [`HttpPeers`] asks it for every request, so it can follow the
/// gossip members. An [`AddressBook`] is a directory that does not change.
///
/// # Contract
/// - Both methods are cheap and do not block.
/// - They may name servers that are down.
///
/// ```
/// use cluster_operator::peer_http::{Directory, ServerUri};
/// use cluster_operator::peers::Target;
/// use cluster_operator::DatacenterName;
///
/// /// Every server listens on port 8501 of the host that it has for Raft, and a
/// /// load balancer stands in front of each datacenter.
/// struct ByConvention;
///
/// impl Directory for ByConvention {
///     fn datacenters(&self) -> Vec<DatacenterName> {
///         vec!["dc1".into(), "dc2".into()]
///     }
///
///     fn uris(&self, target: &Target) -> Vec<ServerUri> {
///         let host = match target {
///             Target::Server(leader) => match leader.address.as_str().rsplit_once(':') {
///                 Some((host, _port)) => host.to_owned(),
///                 None => return Vec::new(),
///             },
///             Target::Datacenter(datacenter) => format!("consul.{datacenter}.example.com"),
///         };
///         format!("https://{host}:8501").parse().into_iter().collect()
///     }
/// }
/// # use cluster_operator::raft::LeaderHint;
/// # let leader = LeaderHint { id: "a".into(), address: "10.0.0.1:8300".into() };
/// # let uris = ByConvention.uris(&Target::Server(leader));
/// # assert_eq!(uris[0].to_string(), "https://10.0.0.1:8501");
/// ```
pub trait Directory: Send + Sync {
    /// Returns the known datacenters, in any order, with or without the local one.
    fn datacenters(&self) -> Vec<DatacenterName>;

    /// Returns the URIs of a target; none if they are not known.
    ///
    /// For a datacenter, one URI for each of its servers: each can serve it, and
    /// they are tried in this order, beginning with the one that answered last.
    /// For a server, its own URIs only.
    fn uris(&self, target: &Target) -> Vec<ServerUri>;
}

/// A [`Directory`] that does not change.
///
/// ```
/// use cluster_operator::peer_http::AddressBook;
///
/// let book = AddressBook::new()
///     .with_server("8c2562c7", "http://10.0.0.1:8501")?
///     .with_server("5fa2ae1d", "http://10.0.0.2:8501")?
///     .with_datacenter("dc2", ["http://10.2.0.1:8501", "http://10.2.0.2:8501"])?;
/// # Ok::<(), cluster_operator::peer_http::InvalidServerUri>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct AddressBook {
    servers: HashMap<ServerId, ServerUri>,
    datacenters: BTreeMap<DatacenterName, Vec<ServerUri>>,
}

impl AddressBook {
    /// Creates an empty address book.
    pub fn new() -> Self {
        AddressBook::default()
    }

    /// Sets where a server of the own datacenter listens. The id is the one that
    /// [`Leadership::Remote`](crate::raft::Leadership::Remote) names when it leads.
    ///
    /// # Errors
    /// The URI is malformed.
    pub fn with_server(
        mut self,
        id: impl Into<ServerId>,
        uri: impl AsRef<str>,
    ) -> Result<Self, InvalidServerUri> {
        self.servers.insert(id.into(), uri.as_ref().parse()?);
        Ok(self)
    }

    /// Sets where the servers of another datacenter listen, in the order in which
    /// they are tried.
    ///
    /// # Errors
    /// One of the URIs is malformed.
    pub fn with_datacenter(
        mut self,
        datacenter: impl Into<DatacenterName>,
        uris: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, InvalidServerUri> {
        let uris: Result<_, _> = uris.into_iter().map(|uri| uri.as_ref().parse()).collect();
        self.datacenters.insert(datacenter.into(), uris?);
        Ok(self)
    }
}

impl Directory for AddressBook {
    fn datacenters(&self) -> Vec<DatacenterName> {
        self.datacenters.keys().cloned().collect()
    }

    fn uris(&self, target: &Target) -> Vec<ServerUri> {
        match target {
            Target::Server(leader) => self.servers.get(&leader.id).cloned().into_iter().collect(),
            Target::Datacenter(name) => self.datacenters.get(name).cloned().unwrap_or_default(),
        }
    }
}

const SCHEME: &str = "Bearer ";

/// A secret that the servers share, by which [`PeerHttp`]
/// recognizes [`HttpPeers`]. It can protect your own calls between
/// servers too, such as those of your Raft.
///
/// It travels as a bearer token ([RFC 6750]) in `Authorization`, so the listener
/// needs TLS or a private network. It is wiped when dropped, its `Debug` shows
/// nothing of it, and comparing it takes constant time.
///
/// ```
/// use cluster_operator::peer_http::SharedSecret;
///
/// let secret = SharedSecret::new("3f8a0c6e51d94b7e9a2c")?;
/// assert_eq!(format!("{secret:?}"), "SharedSecret(Token(..))");
/// assert!(SharedSecret::new("letmein").is_err());
///
/// // The calling server sends the secret, and the other one checks it.
/// let call = http::Request::post("/raft/append")
///     .header(http::header::AUTHORIZATION, secret.authorization()?)
///     .body(())?;
/// assert!(secret.is_presented_in(call.headers()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedSecret(Token);

/// Why a text cannot be a [`SharedSecret`]. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// It is short enough to be guessed.
    #[error("the shared secret has {characters} characters: give it at least 16, at random")]
    TooShort {
        /// The number of its characters.
        characters: usize,
    },
    /// A header cannot carry it.
    #[error(
        "the shared secret has a space, a line break or a letter beyond ASCII: \
         write random bytes in hexadecimal or base64, and trim what was read from a file"
    )]
    Characters,
}

impl SharedSecret {
    /// Takes a secret of at least 16 visible ASCII characters.
    ///
    /// # Errors
    /// [`InvalidSecret`] for a shorter one, or one with other characters.
    pub fn new(secret: impl Into<String>) -> Result<Self, InvalidSecret> {
        let secret = Token::new(secret);
        let text = secret.expose();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidSecret::Characters);
        }
        if text.len() < 16 {
            let characters = text.len();
            return Err(InvalidSecret::TooShort { characters });
        }
        Ok(SharedSecret(secret))
    }

    /// Returns the value of `Authorization` that presents this secret. `Debug` does not
    /// show it.
    ///
    /// # Errors
    /// None in practice, because a header can carry every secret.
    pub fn authorization(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        sensitive([SCHEME, self.0.expose()].concat())
    }

    /// Returns true if `Authorization` presents this secret. The comparison takes
    /// constant time.
    pub fn is_presented_in(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(AUTHORIZATION).and_then(presented);
        presented.as_ref() == Some(self)
    }
}

/// Returns the secret of a value of `Authorization`.
fn presented(authorization: &HeaderValue) -> Option<SharedSecret> {
    let (scheme, secret) = authorization
        .to_str()
        .ok()?
        .split_at_checked(SCHEME.len())?;
    let bearer = scheme.eq_ignore_ascii_case(SCHEME);
    bearer.then(|| SharedSecret(Token::new(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "fedcba9876543210";

    #[test]
    fn secret_has_to_be_long_and_fit_into_a_header() {
        let refused = |text: &str| SharedSecret::new(text).unwrap_err();
        let short = |characters| InvalidSecret::TooShort { characters };
        assert_eq!(refused("0123456789abcde"), short(15));
        assert_eq!(refused(""), short(0));
        assert_eq!(refused("0123456789abcdef\n"), InvalidSecret::Characters);
        assert_eq!(refused("0123456789 abcdef"), InvalidSecret::Characters);
        assert_eq!(refused("0123456789abcdéf"), InvalidSecret::Characters);
    }

    #[test]
    fn only_the_same_secret_as_a_bearer_token_is_equal() {
        let secret = SharedSecret::new(SECRET).unwrap();
        let presents = |value: HeaderValue| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            secret.is_presented_in(&headers)
        };
        let equal = |value: &str| presents(HeaderValue::from_str(value).unwrap());
        assert!(equal(&format!("Bearer {SECRET}")));
        assert!(equal(&format!("bearer {SECRET}")));
        assert!(!equal(&format!("Bearer {SECRET}0")));
        assert!(!equal(&format!("Bearer {}", &SECRET[1..])));
        assert!(!equal(&format!("Basic  {SECRET}")));
        assert!(!equal("Bearer "));
        assert!(!equal("Bearer"));
        assert!(!presents(HeaderValue::from_bytes(b"Bearer \xff").unwrap()));
        assert!(!secret.is_presented_in(&HeaderMap::new()));
        let sent = secret.authorization().unwrap();
        assert!(!format!("{sent:?}").contains(SECRET));
        assert!(presents(sent));
    }
}
