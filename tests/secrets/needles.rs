//! The secrets, and the search for them.

use std::collections::HashSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use cluster_operator::{GossipKey, Token};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// The bytes of a key whose base64 text has every letter that encodings differ
/// in, and whose raw form is printable in part.
const KEY: [u8; 32] =
    *b"\xfb\xef\xbe\xff\xfe?>kEy-mAtErIaL\xfb\xff\xbf~\x01\x80\x90\xa0\xb0\xc0\xd0\xe1\xf2";

/// The secret of a token.
pub(crate) const TOKEN: &str = "b852fbe7+9d1c/4a6b&Zq==xQvRw-kJ7pLm";

/// How much of a text gives it away. A quoted letter does not.
const TELLING: usize = 6;

pub(crate) fn key() -> GossipKey {
    GossipKey::from_bytes(&KEY).unwrap()
}

pub(crate) fn key_text() -> String {
    key().to_base64().to_string()
}

pub(crate) fn token() -> Token {
    Token::new(TOKEN)
}

/// A text as it stands in a query.
pub(crate) fn escaped(text: &str) -> String {
    percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string()
}

/// Every way in which bytes could be written down.
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
        // Once more, as in a query, in a JSON text or in another base64.
        texts.push(escaped(&text));
        texts.push(escaped(&text).to_lowercase());
        texts.push(text.replace('=', "\\u003d"));
        texts.push(STANDARD.encode(&text));
    }
    let texts = texts.into_iter().map(String::into_bytes);
    texts.chain([secret.to_vec()]).collect()
}

fn needles() -> Vec<Vec<u8>> {
    [&KEY[..], key_text().as_bytes(), TOKEN.as_bytes()]
        .into_iter()
        .flat_map(encodings)
        .collect()
}

/// Every part of every secret that gives it away.
static TELLING_PARTS: LazyLock<HashSet<Vec<u8>>> = LazyLock::new(|| {
    let needles = needles();
    let parts = needles.iter().flat_map(|needle| needle.windows(TELLING));
    // A run of one byte is no secret.
    parts
        .filter(|part| part.iter().any(|byte| *byte != part[0]))
        .map(<[u8]>::to_vec)
        .collect()
});

/// The part of a secret that the text gives away.
pub(crate) fn found_in(haystack: impl AsRef<[u8]>) -> Option<String> {
    let mut parts = haystack.as_ref().windows(TELLING);
    parts
        .find(|part| TELLING_PARTS.contains(*part))
        .map(|part| String::from_utf8_lossy(part).into_owned())
}

#[track_caller]
pub(crate) fn assert_silent(text: impl AsRef<[u8]>) {
    if let Some(part) = found_in(&text) {
        let text = String::from_utf8_lossy(text.as_ref()).into_owned();
        panic!("{part:?} is a part of a secret, and stands in: {text}");
    }
}

#[test]
fn the_search_finds_a_secret_however_it_is_written() {
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
    assert_silent("the gossip key of the token, in 32 bytes: [0, 0, 0, 0]");
}
