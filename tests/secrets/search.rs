//! The secrets of the tests, and the search for them in texts.

use std::collections::HashSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use cluster_operator::{GossipKey, Token};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// The bytes of a key. Its base64 text has all letters that differ between encodings,
/// and some of its bytes are printable.
const KEY: [u8; 32] =
    *b"\xfb\xef\xbe\xff\xfe?>kEy-mAtErIaL\xfb\xff\xbf~\x01\x80\x90\xa0\xb0\xc0\xd0\xe1\xf2";

/// The secret of a token.
pub(crate) const TOKEN: &str = "b852fbe7+9d1c/4a6b&Zq==xQvRw-kJ7pLm";

/// The length of the shortest part of a secret that must not appear. A single quoted
/// letter is allowed.
const PART: usize = 6;

pub(crate) fn key() -> GossipKey {
    GossipKey::from_bytes(&KEY).unwrap()
}

pub(crate) fn key_text() -> String {
    key().to_base64().to_string()
}

pub(crate) fn token() -> Token {
    Token::new(TOKEN)
}

/// Returns the text percent-encoded for a query.
pub(crate) fn escaped(text: &str) -> String {
    percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string()
}

/// Returns the bytes in all encodings in which a text could contain them.
fn encodings(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex = |byte: &u8| format!("{byte:02x}");
    let spaced = |separator: &str| secret.iter().map(hex).collect::<Vec<_>>().join(separator);
    let numbers: Vec<_> = secret.iter().map(u8::to_string).collect();
    let mut texts = vec![
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        spaced(""),
        spaced(" "),
        spaced(":"),
        spaced("").to_uppercase(),
        spaced(", "),
        spaced(", ").to_uppercase(),
        numbers.join(", "),
        numbers.join(","),
        percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        secret.escape_ascii().to_string(),
    ];
    for text in texts.clone() {
        // Encoded again, for a query, for JSON and in base64.
        texts.push(escaped(&text));
        texts.push(escaped(&text).to_lowercase());
        texts.push(text.replace('=', "\\u003d"));
        texts.push(STANDARD.encode(&text));
    }
    let texts = texts.into_iter().map(String::into_bytes);
    texts.chain([secret.to_vec()]).collect()
}

fn encoded_secrets() -> Vec<Vec<u8>> {
    [&KEY[..], key_text().as_bytes(), TOKEN.as_bytes()]
        .into_iter()
        .flat_map(encodings)
        .collect()
}

/// All parts of all encoded secrets.
static PARTS: LazyLock<HashSet<Vec<u8>>> = LazyLock::new(|| {
    let secrets = encoded_secrets();
    let parts = secrets.iter().flat_map(|secret| secret.windows(PART));
    // A run of one byte is not secret.
    parts
        .filter(|part| part.iter().any(|byte| *byte != part[0]))
        .map(<[u8]>::to_vec)
        .collect()
});

/// Returns a part of a secret in the text, if there is one.
pub(crate) fn found_in(text: impl AsRef<[u8]>) -> Option<String> {
    let mut parts = text.as_ref().windows(PART);
    parts
        .find(|part| PARTS.contains(*part))
        .map(|part| String::from_utf8_lossy(part).into_owned())
}

#[track_caller]
pub(crate) fn assert_no_secret(text: impl AsRef<[u8]>) {
    if let Some(part) = found_in(&text) {
        let text = String::from_utf8_lossy(text.as_ref()).into_owned();
        panic!("the text contains {part:?}, which is a part of a secret: {text}");
    }
}

#[test]
fn search_finds_secret_in_any_encoding() {
    for secret in [&KEY[..], TOKEN.as_bytes()] {
        for text in [
            secret.to_vec(),
            format!("x {:?}", secret).into_bytes(),
            format!("{:02X?}", secret).replace(", ", "").into_bytes(),
            escaped(&STANDARD.encode(secret)).into_bytes(),
            URL_SAFE.encode(secret)[10..20].into(),
        ] {
            assert!(found_in(&text).is_some(), "{text:?}");
        }
    }
    assert_no_secret("the gossip key of the token, in 32 bytes: [0, 0, 0, 0]");
}
