//! The secret that servers share.

use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderMap, HeaderValue};

use crate::acl::Token;
use crate::transport::sensitive;

const SCHEME: &str = "Bearer ";

/// A secret that the servers share, by which [`PeerHttp`](super::PeerHttp)
/// recognizes [`HttpPeers`](super::HttpPeers). It can protect your own calls between
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
