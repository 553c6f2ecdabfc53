//! How Go's `encoding/json` reads the inside of a string literal.
//!
//! It never fails: half a surrogate pair, and each byte that is part of no
//! character, becomes U+FFFD.

use std::borrow::Cow;

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Decodes what stands between the quotes of a literal that the scanner let
/// through. A literal with nothing to decode is borrowed.
pub(super) fn unescape(literal: &[u8]) -> Cow<'_, str> {
    if !literal.contains(&b'\\')
        && let Ok(text) = std::str::from_utf8(literal)
    {
        return Cow::Borrowed(text);
    }
    // Decoding well-formed text never lengthens it, so this one allocation is
    // the only copy of what may be a secret.
    let mut out = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(backslash) = rest.iter().position(|byte| *byte == b'\\') {
        push_text(&mut out, &rest[..backslash]);
        let (decoded, length) = escape(&rest[backslash..]);
        out.push(decoded);
        rest = &rest[backslash + length..];
    }
    push_text(&mut out, rest);
    Cow::Owned(out)
}

fn push_text(out: &mut String, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        // Go replaces byte by byte, where std replaces run by run.
        out.extend(chunk.invalid().iter().map(|_| REPLACEMENT));
    }
}

/// The character that an escape stands for, and the length of the escape, which
/// is two characters for a surrogate pair. `text` begins with the backslash.
fn escape(text: &[u8]) -> (char, usize) {
    let decoded = match text.get(1) {
        Some(b'b') => '\x08',
        Some(b'f') => '\x0c',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(text),
        Some(other) => char::from(*other),
        // The scanner lets no literal end in a backslash.
        None => return (REPLACEMENT, 1),
    };
    (decoded, 2)
}

fn unicode_escape(text: &[u8]) -> (char, usize) {
    let Some(unit) = code_unit(text) else {
        return (REPLACEMENT, text.len().min(6));
    };
    let low = || text.get(6..).and_then(code_unit);
    match unit {
        0xd800..=0xdbff => match low() {
            Some(low @ 0xdc00..=0xdfff) => {
                let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                (char::from_u32(code).unwrap_or(REPLACEMENT), 12)
            }
            // What follows half a pair is decoded for itself.
            _ => (REPLACEMENT, 6),
        },
        _ => (char::from_u32(unit).unwrap_or(REPLACEMENT), 6),
    }
}

/// The number in `\uXXXX`, if that is what `text` begins with.
fn code_unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    digits.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::unescape;
    use std::borrow::Cow;

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(
            unescape("Key é".as_bytes()),
            Cow::Borrowed("Key é")
        ));
    }

    #[test]
    fn every_escape_is_decoded() {
        assert_eq!(
            unescape(br#"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC-"#),
            "\"\\/\x08\x0c\n\r\tAé€-",
        );
        assert_eq!(unescape(br"\ud83d\ude00"), "😀");
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced_and_what_follows_is_kept() {
        assert_eq!(unescape(br"\ud800"), "\u{fffd}");
        assert_eq!(unescape(br"\ud800x"), "\u{fffd}x");
        assert_eq!(unescape(br"\udc00\u0041"), "\u{fffd}A");
        assert_eq!(unescape(br"\ud800\u0041"), "\u{fffd}A");
        assert_eq!(unescape(br"\ud800\ud83d\ude00"), "\u{fffd}😀");
        assert_eq!(unescape(br"\ud800\n"), "\u{fffd}\n");
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced_one_by_one() {
        assert_eq!(unescape(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(unescape(b"\xe2\x82"), "\u{fffd}\u{fffd}");
        assert_eq!(unescape(b"\xed\xa0\x80\\n"), "\u{fffd}\u{fffd}\u{fffd}\n");
    }

    #[test]
    fn a_literal_that_the_scanner_would_refuse_does_no_harm() {
        for literal in [
            &br"\"[..],
            br"\u",
            br"\u12",
            br"\u12\",
            br"\uzzzz",
            br"\ud800\u",
        ] {
            unescape(literal);
        }
    }
}
