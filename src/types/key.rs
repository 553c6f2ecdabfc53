//! Gossip encryption keys.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Go's `base64.StdEncoding`: padded, and the unused bits of the last letter are
/// ignored.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The longest text of a key: 32 bytes in base64.
const MAX_TEXT: usize = 44;

/// A gossip encryption key of 16, 24 or 32 bytes (AES-128, AES-192, AES-256).
///
/// The bytes are wiped when the key is dropped. A key implements neither `Display`
/// nor `Serialize`, and its [`Debug`] shows a
/// [fingerprint](GossipKey::fingerprint). To send a key, serialize it with
/// [`exposed`](crate::keyring::exposed).
///
/// Equality takes constant time. The order is that of the base64 texts, in which
/// Consul lists keys; comparing by order takes a time that depends on the keys.
///
/// ```
/// use cluster_operator::GossipKey;
///
/// let key: GossipKey = "3lg9DxVfKNzI8O+IQ5Ek+Q==".parse()?;
/// assert_eq!(key.as_bytes().len(), 16);
/// assert!(!format!("{key:?}").contains("3lg9"));
/// assert!("dG9vIHNob3J0".parse::<GossipKey>().is_err());
/// # Ok::<(), cluster_operator::keyring::InvalidKey>(())
/// ```
#[derive(Clone)]
pub struct GossipKey {
    /// Zero after `len`.
    bytes: Zeroizing<[u8; 32]>,
    len: u8,
    /// The key in base64, zero after its end. Kept because listings are written and
    /// sorted by it, and because merging the rings of many nodes compares it often.
    text: Zeroizing<[u8; MAX_TEXT]>,
}

/// The reason why a text or bytes are not a [`GossipKey`].
///
/// It holds a position or a size and no part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The text is not padded standard base64.
    #[error("illegal base64 data at input byte {offset}")]
    Base64 {
        /// The position at which Go's decoder stops, in bytes from the start.
        offset: usize,
    },
    /// The key's size is not 16, 24 or 32 bytes.
    #[error("key size must be 16, 24 or 32 bytes")]
    Size {
        /// The key's size.
        bytes: usize,
    },
}

impl GossipKey {
    /// Creates a key from its bytes.
    ///
    /// # Errors
    /// [`InvalidKey::Size`] unless there are 16, 24 or 32 bytes.
    pub fn from_bytes(key: &[u8]) -> Result<Self, InvalidKey> {
        if !matches!(key.len(), 16 | 24 | 32) {
            return Err(InvalidKey::Size { bytes: key.len() });
        }
        let mut valid = GossipKey {
            bytes: Zeroizing::new([0; 32]),
            len: key.len() as u8,
            text: Zeroizing::new([0; MAX_TEXT]),
        };
        valid.bytes[..key.len()].copy_from_slice(key);
        BASE64
            .encode_slice(key, &mut valid.text[..])
            .expect("a key of 32 bytes makes 44 letters");
        Ok(valid)
    }

    /// Decodes a key from padded standard base64. CR and LF are ignored anywhere in
    /// the text, as in Go's decoder.
    ///
    /// # Errors
    /// [`InvalidKey`] if the text is not base64 or the key has a wrong size.
    pub fn from_base64(text: &str) -> Result<Self, InvalidKey> {
        let letters = letters(text).map_err(|offset| InvalidKey::Base64 { offset })?;
        let bytes = BASE64
            .decode(&*letters)
            .map(Zeroizing::new)
            .map_err(|_| InvalidKey::Base64 { offset: text.len() })?;
        GossipKey::from_bytes(&bytes)
    }

    /// Returns the key's bytes. They are secret.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Returns the key as padded standard base64, which is wiped when it is dropped.
    /// The text is secret.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(self.as_base64().to_owned())
    }

    /// Returns the key as padded standard base64, borrowed.
    pub(crate) fn as_base64(&self) -> &str {
        let length = usize::from(self.len).div_ceil(3) * 4;
        std::str::from_utf8(&self.text[..length]).unwrap_or_default()
    }

    /// Returns eight hexadecimal digits that distinguish keys in a log.
    ///
    /// They are the start of a SHA-256 hash: too short to confirm a guess of a random
    /// key, and they reveal none of its bytes.
    pub fn fingerprint(&self) -> String {
        let hash = Sha256::new()
            .chain_update(b"cluster-operator gossip key")
            .chain_update(self.as_bytes())
            .finalize();
        hash.iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Returns the base64 letters of `text` without CR and LF.
///
/// # Errors
/// The position at which Go's decoder rejects the text.
fn letters(text: &str) -> Result<Zeroizing<Vec<u8>>, usize> {
    let mut letters = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text
        .bytes()
        .enumerate()
        .filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    while let Some((at, byte)) = bytes.next() {
        let filled = letters.len() % 4;
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => letters.push(byte),
            b'=' if filled == 3 => {
                letters.push(b'=');
                return bytes
                    .next()
                    .map_or(Ok(letters), |(garbage, _)| Err(garbage));
            }
            b'=' if filled == 2 => {
                match bytes.next() {
                    Some((_, b'=')) => letters.extend_from_slice(b"=="),
                    // Go reports the byte before the wrong one.
                    Some((wrong, _)) => return Err(wrong - 1),
                    None => return Err(text.len()),
                }
                return bytes
                    .next()
                    .map_or(Ok(letters), |(garbage, _)| Err(garbage));
            }
            _ => return Err(at),
        }
    }
    match letters.len() % 4 {
        0 => Ok(letters),
        started => Err(text.len() - started),
    }
}

impl ZeroizeOnDrop for GossipKey {}

impl FromStr for GossipKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        GossipKey::from_base64(text)
    }
}

impl TryFrom<&[u8]> for GossipKey {
    type Error = InvalidKey;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidKey> {
        GossipKey::from_bytes(bytes)
    }
}

impl fmt::Debug for GossipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GossipKey({})", self.fingerprint())
    }
}

impl PartialEq for GossipKey {
    fn eq(&self, other: &Self) -> bool {
        (self.len.ct_eq(&other.len) & self.bytes.ct_eq(&*other.bytes)).into()
    }
}

impl Eq for GossipKey {}

impl PartialOrd for GossipKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for GossipKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

pub mod exposed {
    //! Serializes a [`GossipKey`] in clear.
    //!
    //! A key does not implement `Serialize`, so that it cannot reach a log or a file
    //! by accident as part of a larger struct. To serialize it, name this module:
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
    /// The serializer's error.
    pub fn serialize<S: Serializer>(key: &GossipKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(key.as_base64())
    }

    /// Reads a key from its base64 text.
    ///
    /// # Errors
    /// The text is not a key. The error does not contain the text.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offset(text: &str) -> usize {
        match GossipKey::from_base64(text) {
            Err(InvalidKey::Base64 { offset }) => offset,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn base64_error_has_the_offset_that_go_reports() {
        assert_eq!(offset("!!!"), 0);
        assert_eq!(offset("AAA"), 0);
        assert_eq!(offset("AAAAAA"), 4);
        assert_eq!(offset("AA=A"), 2);
        assert_eq!(offset("AA="), 3);
        assert_eq!(offset("A==="), 1);
        assert_eq!(offset("===="), 0);
        assert_eq!(offset("AAA=="), 4);
        assert_eq!(offset("AA==B"), 4);
        assert_eq!(offset("AAAA-_AA"), 4);
    }

    #[test]
    fn line_breaks_and_unused_bits_are_ignored() {
        let key = GossipKey::from_base64("3lg9DxVfKNzI8O+I\r\nQ5Ek+Q=\n=\n").unwrap();
        assert_eq!(&*key.to_base64(), "3lg9DxVfKNzI8O+IQ5Ek+Q==");
        let same = GossipKey::from_base64("3lg9DxVfKNzI8O+IQ5Ek+R==").unwrap();
        assert_eq!(key, same);
    }

    #[test]
    fn keys_of_other_sizes_are_rejected() {
        for bytes in (0..=40).filter(|bytes| ![16, 24, 32].contains(bytes)) {
            assert_eq!(
                GossipKey::from_bytes(&vec![0; bytes]),
                Err(InvalidKey::Size { bytes })
            );
        }
    }

    #[test]
    fn short_key_differs_from_itself_padded_with_zeros() {
        let short = GossipKey::from_bytes(&[0; 16]).unwrap();
        let long = GossipKey::from_bytes(&[0; 32]).unwrap();
        assert_ne!(short, long);
    }

    #[test]
    fn fingerprint_is_stable_and_distinguishes_keys() {
        let print = |bytes: &[u8]| GossipKey::from_bytes(bytes).unwrap().fingerprint();
        assert_eq!(print(&[7; 32]), "6c0ed429");
        assert_ne!(print(&[7; 32]), print(&[7; 16]));
        assert_ne!(print(&[7; 32]), print(&[8; 32]));
    }

    #[test]
    fn debug_shows_a_fingerprint_only() {
        let key = GossipKey::from_bytes(&[7; 32]).unwrap();
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("GossipKey({})", key.fingerprint()));
        assert!(!shown.contains(&*key.to_base64()));
        assert!(!shown.contains("07070707"));
    }

    proptest! {
        #[test]
        fn base64_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = BASE64.encode(&bytes);
            match GossipKey::from_base64(&text) {
                Ok(key) => {
                    prop_assert_eq!(key.as_bytes(), &bytes[..]);
                    prop_assert_eq!(&*key.to_base64(), &text);
                }
                Err(error) => prop_assert_eq!(error, InvalidKey::Size { bytes: bytes.len() }),
            }
        }

        #[test]
        fn error_offset_is_inside_the_text(text in "[A-Za-z0-9+/=\r\n!é]{0,50}") {
            if let Err(InvalidKey::Base64 { offset }) = GossipKey::from_base64(&text) {
                prop_assert!(offset <= text.len());
            }
        }

        #[test]
        fn accepted_letters_are_valid_base64(text in "[A-Za-z0-9+/]{0,9}[=\n]{0,3}[A-Z]{0,1}") {
            if let Ok(letters) = letters(&text) {
                prop_assert!(BASE64.decode(&*letters).is_ok());
            }
        }

        #[test]
        fn keys_are_ordered_by_their_base64_texts(
            a in any::<[u8; 32]>(),
            b in any::<[u8; 32]>(),
            common in 0..=32usize,
            sizes in proptest::sample::subsequence(vec![16, 24, 32, 16, 24, 32], 2),
        ) {
            let mut b = b;
            b[..common].copy_from_slice(&a[..common]);
            let a = GossipKey::from_bytes(&a[..sizes[0]]).unwrap();
            let b = GossipKey::from_bytes(&b[..sizes[1]]).unwrap();
            prop_assert_eq!(a.cmp(&b), a.to_base64().cmp(&b.to_base64()));
        }
    }
}
