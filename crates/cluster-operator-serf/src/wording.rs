//! Turns the texts of a node into values.
//!
//! The crate's texts differ from those of Serf in Go.

use cluster_operator::keyring::NodeFailure;

/// The letters of the shortest key, 16 bytes, in base64 without padding.
const SHORTEST_KEY: usize = 22;

/// The bytes of the shortest key.
const SHORTEST_KEY_BYTES: usize = 16;

/// The failure that a text stands for.
pub(super) fn failure(words: &str) -> NodeFailure {
    match words {
        "secret key is not in the keyring" => NodeFailure::KeyNotInstalled,
        "removing the primary key is not allowed" => NodeFailure::PrimaryKey,
        "encryption is not enabled" | "encryption enabled but keyring is empty" => {
            NodeFailure::EncryptionOff
        }
        // The answer of a node that cannot read the request.
        "" => NodeFailure::Other("the node gave no reason".into()),
        words => NodeFailure::Other(without_keys(words)),
    }
}

/// The number of keys of a node that lists only some of them.
pub(super) fn truncated(words: &str) -> Option<usize> {
    let (_, total) = words
        .strip_prefix("truncated key list response, showing first ")?
        .split_once(" of ")?;
    total.strip_suffix(" keys")?.parse().ok()
}

/// The text, unless a key may be in it.
pub(super) fn without_keys(words: &str) -> String {
    if may_hold_key(words) {
        "the node's message is withheld, since a key may be in it: see that node's log".into()
    } else {
        words.into()
    }
}

/// Whether the text contains a run of letters that could be a key in base64 or in
/// hexadecimal digits, as many numbers as a key has bytes, half as many pairs of digits
/// in a row, or escaped bytes. This finds any key, not only those of the request.
fn may_hold_key(words: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "+/-_".contains(c);
    let longest = words.split(|c| !is_letter(c)).map(str::len).max();
    let numbers = words
        .split(|c: char| !c.is_ascii_digit())
        .filter(|number| !number.is_empty())
        .count();
    longest.unwrap_or(0) >= SHORTEST_KEY
        || numbers >= SHORTEST_KEY_BYTES
        || bytes_in_a_row(words) >= SHORTEST_KEY_BYTES / 2
        || words.matches("\\x").count() >= SHORTEST_KEY_BYTES / 4
}

/// The longest row of bytes, each written in one or two hexadecimal digits. Other words
/// are longer, and rarely are two short ones side by side.
fn bytes_in_a_row(words: &str) -> usize {
    let is_byte = |word: &str| {
        let digits = word.trim_start_matches("0x").trim_start_matches("0X");
        let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        hex && (1..=2).contains(&digits.len())
    };
    let words = words.split(|letter: char| !letter.is_ascii_alphanumeric());
    let mut longest = 0;
    let mut row = 0;
    for word in words.filter(|word| !word.is_empty()) {
        row = if is_byte(word) { row + 1 } else { 0 };
        longest = longest.max(row);
    }
    longest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use cluster_operator::keyring::GossipKey;

    #[test]
    fn known_texts_have_their_failures() {
        for (words, expected) in [
            (
                "secret key is not in the keyring",
                NodeFailure::KeyNotInstalled,
            ),
            (
                "removing the primary key is not allowed",
                NodeFailure::PrimaryKey,
            ),
            ("encryption is not enabled", NodeFailure::EncryptionOff),
            (
                "encryption enabled but keyring is empty",
                NodeFailure::EncryptionOff,
            ),
            ("", NodeFailure::Other("the node gave no reason".into())),
            (
                "No space left on device (os error 28)",
                NodeFailure::Other("No space left on device (os error 28)".into()),
            ),
        ] {
            assert_eq!(failure(words), expected);
        }
    }

    #[test]
    fn truncated_listing_has_its_total() {
        let words = "truncated key list response, showing first 21 of 40 keys";
        assert_eq!(truncated(words), Some(40));
        assert_eq!(truncated("truncated key list response"), None);
    }

    #[test]
    fn escaped_bytes_are_withheld() {
        let words = r#"cannot keep b"\xd3A\x12\xfe7q\x90\x0b\xe1Z\xbe\xaa,\x1c""#;
        assert!(without_keys(words).contains("withheld"));
    }

    #[test]
    fn texts_without_a_key_are_passed_on() {
        for words in [
            "No space left on device (os error 28)",
            "cannot reach 10.0.0.21:8301 by 2024-05-01 10:21:07",
            "member a, b, c, d, e is dead",
        ] {
            assert_eq!(without_keys(words), words);
        }
    }

    proptest! {
        #[test]
        fn no_key_passes_in_any_notation(
            bytes in any::<[u8; 32]>(),
            size in prop_oneof![Just(16), Just(24), Just(32)],
            before in "[a-z:=\" (]{0,9}",
            after in "[a-z:=\" )]{0,9}",
        ) {
            let bytes = &bytes[..size];
            let base64 = GossipKey::from_bytes(bytes).unwrap().to_base64();
            let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let hex = pairs.concat();
            for key in [
                base64.to_string(),
                base64.trim_end_matches('=').to_owned(),
                base64.replace('+', "-").replace('/', "_"),
                hex.to_uppercase(),
                hex,
                format!("{bytes:?}"),
                format!("{bytes:02x?}"),
                format!("{bytes:#04X?}"),
                pairs.join(":"),
                pairs.join(", 0x"),
            ] {
                let shown = without_keys(&format!("{before}{key}{after}"));
                prop_assert!(!shown.contains(&key), "{}", shown);
            }
        }
    }
}
