//! Go's `strconv.Quote`, which is also what `%q` prints.
//!
//! It shows wherever Consul names what it was sent: `address "x" was not found
//! in the Raft configuration`, `json: unknown field "x"`, and the text of every
//! failed number.

use std::fmt::Write;

/// Quotes `text` as Go's `%q` does.
pub(crate) fn quote(text: &str) -> String {
    quote_bytes(text.as_bytes())
}

/// Quotes text that may not be UTF-8, as a Go string may not be: each byte that
/// is part of no character becomes `\xNN`.
pub(super) fn quote_bytes(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut out, c, '"');
        }
        for byte in chunk.invalid() {
            push_hex(&mut out, 'x', 2, u32::from(*byte));
        }
    }
    out.push('"');
    out
}

/// Quotes one byte as the scanner of Go's `encoding/json` does in its errors.
/// That scanner looks at bytes, so a byte of a longer character is shown as the
/// character that has the byte's number.
pub(super) fn quote_byte(byte: u8) -> String {
    let mut out = String::from('\'');
    push_escaped(&mut out, char::from(byte), '\'');
    out.push('\'');
    out
}

/// Go's `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols and the
/// ASCII space.
pub(crate) fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    // std has the same table behind `escape_debug`, but there a mark that would
    // join the character before it is escaped as well, and Go prints it. std
    // does so only at the start of a string, so one ASCII letter goes in front.
    let mut buffer = [b'a'; 5];
    let end = 1 + c.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..end]).is_ok_and(|pair| pair.escape_debug().nth(1) == Some(c))
}

fn push_escaped(out: &mut String, c: char, delimiter: char) {
    match c {
        '\\' => out.push_str(r"\\"),
        '\x07' => out.push_str(r"\a"),
        '\x08' => out.push_str(r"\b"),
        '\x0c' => out.push_str(r"\f"),
        '\n' => out.push_str(r"\n"),
        '\r' => out.push_str(r"\r"),
        '\t' => out.push_str(r"\t"),
        '\x0b' => out.push_str(r"\v"),
        _ if c == delimiter => out.extend(['\\', c]),
        _ if is_print(c) => out.push(c),
        _ if c.is_ascii() => push_hex(out, 'x', 2, u32::from(c)),
        _ if c <= '\u{ffff}' => push_hex(out, 'u', 4, u32::from(c)),
        _ => push_hex(out, 'U', 8, u32::from(c)),
    }
}

fn push_hex(out: &mut String, letter: char, digits: usize, value: u32) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\{letter}{value:0digits$x}");
}

#[cfg(test)]
mod tests {
    use super::{is_print, quote, quote_byte, quote_bytes};

    #[test]
    fn plain_text_only_gains_its_quotes() {
        assert_eq!(quote(""), r#""""#);
        assert_eq!(quote("127.0.0.9:8300"), r#""127.0.0.9:8300""#);
        assert_eq!(quote("it's"), r#""it's""#);
    }

    #[test]
    fn quotes_backslashes_and_controls_are_escaped() {
        assert_eq!(quote("a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(quote("\x07\x08\x0c\n\r\t\x0b"), r#""\a\b\f\n\r\t\v""#,);
        assert_eq!(quote("\0\x1b\x1f\x7f"), r#""\x00\x1b\x1f\x7f""#);
    }

    #[test]
    fn what_go_cannot_print_is_escaped_by_its_code_point() {
        assert_eq!(quote("\u{80}\u{a0}\u{ad}"), r#""\u0080\u00a0\u00ad""#);
        assert_eq!(quote("\u{200b}\u{2028}\u{3000}"), r#""\u200b\u2028\u3000""#);
        assert_eq!(quote("\u{feff}\u{e000}"), r#""\ufeff\ue000""#);
        assert_eq!(quote("\u{e0001}\u{10ffff}"), r#""\U000e0001\U0010ffff""#);
    }

    #[test]
    fn letters_symbols_and_joining_marks_are_printed() {
        for text in ["é", "日本", "€", "😀", "e\u{301}", "\u{301}", "\u{fffd}"] {
            assert_eq!(quote(text), format!("\"{text}\""));
        }
    }

    #[test]
    fn bytes_that_are_no_character_are_escaped_one_by_one() {
        assert_eq!(quote_bytes(b"a\xff\xe2\x82b"), r#""a\xff\xe2\x82b""#);
    }

    #[test]
    fn a_byte_in_a_json_error_stands_between_single_quotes() {
        assert_eq!(quote_byte(b'x'), "'x'");
        assert_eq!(quote_byte(b'\''), r"'\''");
        assert_eq!(quote_byte(b'"'), "'\"'");
        assert_eq!(quote_byte(b'\\'), r"'\\'");
        assert_eq!(quote_byte(b'\n'), r"'\n'");
        assert_eq!(quote_byte(0), r"'\x00'");
        assert_eq!(quote_byte(0xc3), "'Ã'");
        assert_eq!(quote_byte(0x80), r"'\u0080'");
    }

    #[test]
    fn only_the_ascii_space_is_a_printable_space() {
        assert!(is_print(' '));
        assert!(!is_print('\u{a0}'));
        assert!(!is_print('\t'));
        assert!(!is_print('\u{7f}'));
        assert!(!is_print('\u{200c}'));
    }
}
