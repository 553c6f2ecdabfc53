//! Serializes a [`GossipKey`] in clear, for those who say so.
//!
//! A key has no `Serialize` of its own, so that none slips into a log or a file
//! with a larger struct. Where it has to travel, name this module:
//!
//! ```
//! use cluster_operator::GossipKey;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Install {
//!     #[serde(with = "cluster_operator::keyring::exposed")]
//!     key: GossipKey,
//! }
//!
//! let key = GossipKey::from_base64("3lg9DxVfKNzI8O+IQ5Ek+Q==")?;
//! let json = serde_json::to_string(&Install { key })?;
//! assert_eq!(json, r#"{"key":"3lg9DxVfKNzI8O+IQ5Ek+Q=="}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

use super::GossipKey;

/// Writes the key's base64 text.
///
/// # Errors
/// What the serializer refuses.
pub fn serialize<S: Serializer>(key: &GossipKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.as_base64())
}

/// Reads a key from its base64 text.
///
/// # Errors
/// A text that is no key. The error does not contain the text.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GossipKey, D::Error> {
    struct Base64;

    impl Visitor<'_> for Base64 {
        type Value = GossipKey;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a gossip key in base64")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<GossipKey, E> {
            GossipKey::from_base64(text).map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Base64)
}
