//! The keys of the checks, and parts of secrets in texts.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use cluster_operator::keyring::GossipKey;
use sha2::{Digest, Sha256};

use crate::fixture::{Verdict, ensure};

/// So many bytes of a secret in a row are a part of it. Fewer can be in a text by chance.
const PART: usize = 8;

/// How many letters of base64 depend on a part alone, at least.
const LETTERS: usize = 10;

/// The key of this number, of 32 bytes, as the checks use it. A report calls it `key 1`.
pub fn key(number: u8) -> GossipKey {
    sized_key(number, 32)
}

/// The key of this number, of so many bytes.
///
/// # Panics
/// Unless they are 16, 24 or 32.
pub(crate) fn sized_key(number: u8, bytes: usize) -> GossipKey {
    // A hash, since no other text looks like it.
    let hash = Sha256::digest([b"conformance", &[number][..]].concat());
    match GossipKey::from_bytes(&hash[..bytes]) {
        Ok(key) => key,
        Err(error) => panic!("{error}"),
    }
}

/// The text with the number of each key of the checks in place of its fingerprint.
pub(crate) fn with_key_numbers(mut text: String) -> String {
    if text.contains("GossipKey") {
        for number in (1..=40).chain(100..=110) {
            for bytes in [16, 24, 32] {
                let fingerprint = format!("{:?}", sized_key(number, bytes));
                text = text.replace(&fingerprint, &format!("key {number}"));
            }
        }
    }
    text
}

/// Checks that the text contains no part of the secret, which a failure does not show.
pub(crate) fn hides(what: &str, text: &str, secret: &[u8]) -> Verdict {
    let expected = format!("{what} without {PART} bytes of the secret in a row");
    ensure(
        !tells_part(text, secret),
        expected,
        format_args!("a part of it"),
    )
}

/// Returns whether the text contains a part of the secret: as it is, in base64, in
/// hexadecimal digits or as numbers, with any separators.
fn tells_part(text: &str, secret: &[u8]) -> bool {
    let base64 = text.replace('-', "+").replace('_', "/");
    let is_base64 = |letter: &char| letter.is_ascii_alphanumeric() || "+/".contains(*letter);
    let base64: String = base64.chars().filter(is_base64).collect();
    let lower = text.to_ascii_lowercase();
    // The prefix is not a digit of its own.
    let bare = lower.replace("0x", " ");
    let digits: String = bare.chars().filter(char::is_ascii_hexdigit).collect();
    let hex = spaced(&bare, |letter| letter.is_ascii_hexdigit());
    let numbers = spaced(&lower, |letter| letter.is_ascii_digit());
    let shows = |part: &[u8]| {
        let joined = |byte_text: fn(&u8) -> String| part.iter().map(byte_text).collect::<String>();
        let mut bytes = lower.as_bytes().windows(PART);
        bytes.any(|bytes| bytes.eq_ignore_ascii_case(part))
            || lower.contains(&part.escape_ascii().to_string().to_ascii_lowercase())
            || digits.contains(&joined(|byte| format!("{byte:02x}")))
            || hex.contains(&format!(" {}", joined(|byte| format!("{byte:x} "))))
            || numbers.contains(&format!(" {}", joined(|byte| format!("{byte} "))))
            || in_base64(part).any(|letters| base64.contains(&letters))
    };
    secret.windows(PART).any(shows)
}

/// All texts of an error and of its sources.
pub(crate) fn words(error: &(dyn Error + 'static)) -> String {
    let mut words = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        words += &format!("{error}\n{error:?}\n");
        cause = error.source();
    }
    words
}

/// The words of these letters, each between spaces.
fn spaced(text: &str, is_letter: fn(char) -> bool) -> String {
    let words = text.split(|letter| !is_letter(letter));
    words
        .filter(|word| !word.is_empty())
        .fold(String::from(" "), |spaced, word| spaced + word + " ")
}

/// The letters of base64 that depend on the part alone, for each of its positions among
/// the bytes that were encoded.
fn in_base64(part: &[u8]) -> impl Iterator<Item = String> {
    // The bytes before it, and how many letters depend on them.
    [(0, 0), (1, 2), (2, 3)]
        .into_iter()
        .map(|(before, letters)| {
            let text = STANDARD_NO_PAD.encode([&[0; 2][..before], part].concat());
            text[letters..letters + LETTERS].to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 16] = [
        0x3a, 0x04, 0xff, 0x61, 0x7e, 0xc8, 0x22, 0x90, 0x0b, 0xd5, 0x5f, 0xe1, 0x47, 0xbe, 0xaa,
        0x1c,
    ];

    fn notations(bytes: &[u8]) -> Vec<String> {
        let joined = |between: &str| {
            let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            digits.join(between)
        };
        let base64 = STANDARD_NO_PAD.encode(bytes);
        vec![
            joined(""),
            joined("").to_uppercase(),
            joined(":"),
            joined("\\x"),
            joined(", 0x"),
            format!("{bytes:02x?}"),
            format!("{bytes:x?}"),
            format!("{bytes:#X?}"),
            format!("{bytes:?}"),
            format!("b\"{}\"", bytes.escape_ascii()),
            base64.replace('+', "-").replace('/', "_"),
            format!("{}\n{}", &base64[..7], &base64[7..]),
            base64,
            STANDARD_NO_PAD.encode([b"a", bytes].concat()),
            STANDARD_NO_PAD.encode([b"ab", bytes].concat()),
        ]
    }

    #[test]
    fn part_is_found_in_every_notation() {
        for from in 0..SECRET.len() - PART {
            // With one more byte, as base64 may share its last letter.
            for text in notations(&SECRET[from..=from + PART]) {
                for text in [text.clone(), format!("cannot keep {text} (os error 28)")] {
                    assert!(tells_part(&text, &SECRET), "{text}");
                }
            }
        }
        let secret = b"b852fbe7-Secret-0";
        assert!(tells_part("unknown: \"B852FBE7-SECRET\"", secret));
        assert!(tells_part("e7-secret", secret));
    }

    #[test]
    fn less_than_a_part_is_accepted() {
        assert!(!tells_part("b852fbe", b"b852fbe7-Secret-0"));
        for text in notations(&SECRET[..PART - 1]) {
            assert!(!tells_part(&text, &SECRET), "{text}");
        }
        for text in ["", "GossipKey(f8425e02)", "127.0.0.1:8300", "58 4 255 97"] {
            assert!(!tells_part(text, &SECRET), "{text}");
        }
    }
}
