//! The token of a request.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// The secret of an ACL token.
///
/// It is wiped when dropped, has no `Display`, and its `Debug` shows nothing of it. The time of a
/// comparison depends on the lengths only. To serialize it, name [`exposed`].
///
/// ```
/// use cluster_operator::Token;
///
/// let token = Token::new("b852fbe7");
/// assert_eq!(format!("{token:?}"), "Token(..)");
/// assert_eq!(token.expose(), "b852fbe7");
/// ```
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Creates a token from its secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Token(Zeroizing::new(secret.into()))
    }

    /// The secret. It must not reach logs or errors.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl ZeroizeOnDrop for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        // Slices of different lengths compare in no time, so both are hashed first.
        let digest = |token: &Token| Sha256::digest(token.0.as_bytes());
        digest(self)
            .as_slice()
            .ct_eq(digest(other).as_slice())
            .into()
    }
}

impl Eq for Token {}

/// Serializes an optional token in clear, for `#[serde(with = ...)]`, where it is forwarded.
pub mod exposed {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Token};

    /// Writes the secret.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        token: &Option<Token>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        token.as_ref().map(Token::expose).serialize(serializer)
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// Those of the deserializer, and one for what is no string.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Token>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Token::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", Token::new("b852fbe7")), "Token(..)");
    }

    #[test]
    fn tokens_are_equal_if_their_secrets_are() {
        assert_eq!(Token::new("a"), Token::new("a"));
        assert_ne!(Token::new("a"), Token::new("b"));
        assert_ne!(Token::new("a"), Token::new("aa"));
    }
}
