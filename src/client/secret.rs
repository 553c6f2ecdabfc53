//! The secret that servers share.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::header::InvalidHeaderValue;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

const SCHEME: &str = "Bearer ";

/// A secret that the servers share, by which [`PeerHttp`](super::PeerHttp) knows
/// [`HttpPeers`](super::HttpPeers).
///
/// It travels as a bearer token ([RFC 6750]) in `Authorization`, so the listener
/// needs TLS or a private network. It is wiped when the last clone is dropped,
/// and its `Debug` shows nothing of it.
///
/// ```
/// use cluster_operator::client::SharedSecret;
///
/// let secret = SharedSecret::new("3f8a0c6e51d94b7e9a2c")?;
/// assert_eq!(format!("{secret:?}"), "SharedSecret(..)");
/// assert!(SharedSecret::new("letmein").is_err());
/// # Ok::<(), cluster_operator::client::InvalidSecret>(())
/// ```
///
/// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
#[derive(Clone)]
pub struct SharedSecret {
    text: Arc<Zeroizing<String>>,
}

/// Why a text cannot be a [`SharedSecret`]. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// It could be guessed.
    #[error("the shared secret has {characters} characters: give it at least 16, at random")]
    TooShort {
        /// Their number.
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
        let text = Zeroizing::new(secret.into());
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidSecret::Characters);
        }
        if text.len() < 16 {
            let characters = text.len();
            return Err(InvalidSecret::TooShort { characters });
        }
        Ok(SharedSecret {
            text: Arc::new(text),
        })
    }

    /// The value of `Authorization`.
    pub(super) fn header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        sensitive(format!("{SCHEME}{}", **self.text))
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }
}

/// Wiped when the last copy that is not on its way is dropped, and left out of
/// `Debug`.
pub(super) fn sensitive(text: String) -> Result<HeaderValue, InvalidHeaderValue> {
    let bytes = Bytes::from_owner(Zeroizing::new(text.into_bytes()));
    let mut value = HeaderValue::from_maybe_shared(bytes)?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

/// The secrets that are accepted: none means that everyone is.
#[derive(Clone, Default)]
pub(super) struct Accepted {
    digests: Vec<[u8; 32]>,
}

impl Accepted {
    pub(super) fn add(&mut self, secret: &SharedSecret) {
        self.digests.push(secret.digest());
    }

    /// Checks that `Authorization` presents one of them. What is presented is hashed
    /// to a fixed length first, and compared with all of them in constant time.
    pub(super) fn admits(&self, authorization: Option<&HeaderValue>) -> bool {
        if self.digests.is_empty() {
            return true;
        }
        let Some(presented) = authorization.and_then(|value| bearer(value.as_bytes())) else {
            return false;
        };
        let presented = Sha256::digest(presented);
        let equal = self
            .digests
            .iter()
            .fold(Choice::from(0), |equal, accepted| {
                equal | accepted.as_slice().ct_eq(presented.as_slice())
            });
        equal.into()
    }
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = authorization.split_at_checked(SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME.as_bytes())
        .then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef";
    const NEW: &str = "fedcba9876543210";

    fn secret(text: &str) -> SharedSecret {
        SharedSecret::new(text).unwrap()
    }

    #[test]
    fn secret_has_to_be_long_and_fit_into_a_header() {
        let refused = |text: &str| SharedSecret::new(text).unwrap_err();
        assert_eq!(
            refused("0123456789abcde"),
            InvalidSecret::TooShort { characters: 15 }
        );
        assert_eq!(refused(""), InvalidSecret::TooShort { characters: 0 });
        assert_eq!(refused("0123456789abcdef\n"), InvalidSecret::Characters);
        assert_eq!(refused("0123456789 abcdef"), InvalidSecret::Characters);
        assert_eq!(refused("0123456789abcdéf"), InvalidSecret::Characters);
    }

    #[test]
    fn each_of_several_secrets_is_admitted_and_nothing_else() {
        let mut accepted = Accepted::default();
        accepted.add(&secret(OLD));
        accepted.add(&secret(NEW));
        let admits = |value: &str| accepted.admits(Some(&HeaderValue::from_str(value).unwrap()));
        assert!(admits(&format!("Bearer {OLD}")));
        assert!(admits(&format!("bearer {NEW}")));
        assert!(!admits(&format!("Bearer {NEW}0")));
        assert!(!admits(&format!("Bearer {}", &NEW[1..])));
        assert!(!admits(&format!("Basic {NEW}")));
        assert!(!admits("Bearer "));
        assert!(!admits("Bearer"));
        assert!(!accepted.admits(None));
    }

    #[test]
    fn sent_secret_is_admitted() {
        let mut accepted = Accepted::default();
        accepted.add(&secret(NEW));
        assert!(accepted.admits(Some(&secret(NEW).header().unwrap())));
        assert!(!accepted.admits(Some(&secret(OLD).header().unwrap())));
        assert!(!format!("{:?}", secret(NEW).header().unwrap()).contains(NEW));
    }

    #[test]
    fn without_a_secret_everyone_is_admitted() {
        assert!(Accepted::default().admits(None));
    }
}
