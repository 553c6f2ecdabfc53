//! A JSON writer that writes what Go's `encoding/json` writes.
//!
//! Consul's replies are compact, or indented by four spaces for `?pretty`, and
//! escape what could be taken for HTML. serde_json does neither of the last two
//! by itself, and the Consul dialects have to agree to the byte.

const INDENT: &[u8] = b"    ";

/// Writes one JSON value to the end of a buffer.
///
/// The caller sees to it that brackets are balanced and that each member of an
/// object is a key and one value; commas, colons and white space come by
/// themselves.
pub(crate) struct JsonWriter<'a> {
    out: &'a mut Vec<u8>,
    pretty: bool,
    depth: usize,
    /// What stands right before the next thing to be written.
    last: Last,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing, or an opening bracket.
    Opening,
    Key,
    Value,
}

impl<'a> JsonWriter<'a> {
    /// Writes without white space as `json.Marshal` does, or pretty as
    /// `json.MarshalIndent` with four spaces. Neither adds a newline at the end.
    pub(crate) fn new(out: &'a mut Vec<u8>, pretty: bool) -> Self {
        JsonWriter {
            out,
            pretty,
            depth: 0,
            last: Last::Opening,
        }
    }

    pub(crate) fn begin_object(&mut self) {
        self.begin(b'{');
    }

    pub(crate) fn end_object(&mut self) {
        self.end(b'}');
    }

    pub(crate) fn begin_array(&mut self) {
        self.begin(b'[');
    }

    pub(crate) fn end_array(&mut self) {
        self.end(b']');
    }

    /// Begins a member of an object; its value is written next. The name is one
    /// that needs no escapes, as those of fields are.
    #[inline]
    pub(crate) fn field(&mut self, name: &'static str) {
        debug_assert!(is_plain(name.as_bytes()), "{name:?} needs escapes");
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'"');
        self.colon();
    }

    /// Begins a member with any name.
    pub(crate) fn key(&mut self, name: &str) {
        self.separate();
        self.quoted(name);
        self.colon();
    }

    #[inline]
    fn colon(&mut self) {
        self.out.push(b':');
        if self.pretty {
            self.out.push(b' ');
        }
        self.last = Last::Key;
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.separate();
        self.quoted(text);
        self.last = Last::Value;
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.literal(if value { b"true" } else { b"false" });
    }

    pub(crate) fn null(&mut self) {
        self.literal(b"null");
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.literal(itoa::Buffer::new().format(value).as_bytes());
    }

    fn literal(&mut self, text: &[u8]) {
        self.separate();
        self.out.extend_from_slice(text);
        self.last = Last::Value;
    }

    fn begin(&mut self, bracket: u8) {
        self.separate();
        self.out.push(bracket);
        self.depth += 1;
        self.last = Last::Opening;
    }

    fn end(&mut self, bracket: u8) {
        self.depth = self.depth.saturating_sub(1);
        if self.pretty && self.last != Last::Opening {
            self.new_line();
        }
        self.out.push(bracket);
        self.last = Last::Value;
    }

    /// Writes what belongs between the last thing and the next one.
    #[inline]
    fn separate(&mut self) {
        if self.last == Last::Value {
            self.out.push(b',');
        }
        if self.pretty && self.last != Last::Key && self.depth > 0 {
            self.new_line();
        }
    }

    #[cold]
    fn new_line(&mut self) {
        self.out.push(b'\n');
        for _ in 0..self.depth {
            self.out.extend_from_slice(INDENT);
        }
    }

    fn quoted(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.out.reserve(bytes.len() + 2);
        self.out.push(b'"');
        if is_plain(bytes) {
            self.out.extend_from_slice(bytes);
        } else {
            self.escaped(bytes);
        }
        self.out.push(b'"');
    }

    fn escaped(&mut self, bytes: &[u8]) {
        // Everything before this has been written.
        let mut written = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if !NEEDS_CARE[usize::from(*byte)] {
                continue;
            }
            let Some((escape, length)) = escape(&bytes[at..]) else {
                continue;
            };
            self.out.extend_from_slice(&bytes[written..at]);
            match escape {
                Escape::Short(letter) => self.out.extend_from_slice(&[b'\\', letter]),
                Escape::Unicode(unit) => self.unicode(unit),
            }
            written = at + length;
        }
        self.out.extend_from_slice(&bytes[written..]);
    }

    fn unicode(&mut self, unit: u16) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |shift: u16| DIGITS[usize::from(unit >> shift & 0xf)];
        self.out
            .extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
    }
}

enum Escape {
    /// A backslash and this letter.
    Short(u8),
    /// `\uXXXX`
    Unicode(u16),
}

/// Whether a text is ASCII that is written as it is, as nearly every one is.
///
/// Eight bytes at once, because the compiler turns that into a few instructions;
/// the last eight overlap the ones before.
fn is_plain(text: &[u8]) -> bool {
    let (eights, rest) = text.as_chunks::<8>();
    match text.last_chunk::<8>() {
        Some(last) => eights.iter().all(are_plain) && are_plain(last),
        None => rest
            .iter()
            .all(|byte| byte.is_ascii() && !NEEDS_CARE[usize::from(*byte)]),
    }
}

fn are_plain(bytes: &[u8; 8]) -> bool {
    let care = |byte: u8| {
        // Controls and, as negative numbers, all that is not ASCII.
        ((byte as i8) < 0x20)
            | (byte == b'"')
            | (byte == b'\\')
            | (byte == b'&')
            | (byte == b'<')
            | (byte == b'>')
    };
    !bytes.iter().fold(false, |found, byte| found | care(*byte))
}

/// The bytes at which a character that Go escapes may begin.
const NEEDS_CARE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'<' as usize] = true;
    table[b'>' as usize] = true;
    table[b'&' as usize] = true;
    // The first byte of U+2028 and U+2029, and of many that are not escaped.
    table[0xe2] = true;
    table
};

/// How the character that `text` begins with is escaped, and its length in
/// bytes; `None` if it is written as it is.
fn escape(text: &[u8]) -> Option<(Escape, usize)> {
    Some(match text {
        // Two line ends to JavaScript, which JSON allows in a string.
        [0xe2, 0x80, 0xa8, ..] => (Escape::Unicode(0x2028), 3),
        [0xe2, 0x80, 0xa9, ..] => (Escape::Unicode(0x2029), 3),
        [byte @ (b'"' | b'\\'), ..] => (Escape::Short(*byte), 1),
        [b'\n', ..] => (Escape::Short(b'n'), 1),
        [b'\r', ..] => (Escape::Short(b'r'), 1),
        [b'\t', ..] => (Escape::Short(b't'), 1),
        [byte @ (b'<' | b'>' | b'&' | ..0x20), ..] => (Escape::Unicode(u16::from(*byte)), 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::JsonWriter;
    use crate::consul::go::json::{Document, Value};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn written(pretty: bool, write: impl FnOnce(&mut JsonWriter<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut JsonWriter::new(&mut out, pretty));
        String::from_utf8(out).unwrap()
    }

    fn string(text: &str) -> String {
        written(false, |json| json.string(text))
    }

    fn configuration(json: &mut JsonWriter<'_>) {
        json.begin_object();
        json.key("Servers");
        json.begin_array();
        json.begin_object();
        json.key("Node");
        json.string("alice");
        json.key("Leader");
        json.bool(true);
        json.end_object();
        json.null();
        json.end_array();
        json.key("None");
        json.begin_array();
        json.end_array();
        json.key("Nothing");
        json.begin_object();
        json.end_object();
        json.key("Index");
        json.u64(0);
        json.end_object();
    }

    #[test]
    fn compact_json_has_no_white_space() {
        assert_eq!(
            written(false, configuration),
            r#"{"Servers":[{"Node":"alice","Leader":true},null],"None":[],"Nothing":{},"Index":0}"#,
        );
    }

    #[test]
    fn pretty_json_is_indented_by_four_spaces_and_keeps_empty_brackets_together() {
        let want = [
            "{",
            "    \"Servers\": [",
            "        {",
            "            \"Node\": \"alice\",",
            "            \"Leader\": true",
            "        },",
            "        null",
            "    ],",
            "    \"None\": [],",
            "    \"Nothing\": {},",
            "    \"Index\": 0",
            "}",
        ];
        assert_eq!(written(true, configuration), want.join("\n"));
    }

    #[test]
    fn a_lone_value_stands_alone() {
        assert_eq!(written(true, |json| json.bool(false)), "false");
        assert_eq!(written(true, |json| json.null()), "null");
        assert_eq!(written(true, |json| json.string("")), r#""""#);
        let empty = |json: &mut JsonWriter<'_>| {
            json.begin_array();
            json.end_array();
        };
        assert_eq!(written(true, empty), "[]");
    }

    #[test]
    fn integers_are_written_in_full() {
        for value in [0, 1, 9, 10, 12_345, u64::MAX] {
            assert_eq!(written(false, |json| json.u64(value)), value.to_string());
        }
    }

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        assert_eq!(string("plain é 日 😀 \u{7f}"), "\"plain é 日 😀 \u{7f}\"");
        assert_eq!(string("a\"b\\c/"), r#""a\"b\\c/""#);
        assert_eq!(string("<a href='x'>&"), r#""\u003ca href='x'\u003e\u0026""#);
        assert_eq!(
            string("\0\x01\x08\t\n\x0b\x0c\r\x1f"),
            r#""\u0000\u0001\u0008\t\n\u000b\u000c\r\u001f""#,
        );
        assert_eq!(
            string("a\u{2027}\u{2028}\u{2029}\u{202a}€"),
            "\"a\u{2027}\\u2028\\u2029\u{202a}€\"",
        );
    }

    #[test]
    fn a_character_is_escaped_wherever_it_stands_in_texts_of_any_length() {
        for c in [
            '"', '\\', '&', '<', '>', '\0', '\x1f', '\u{2028}', ' ', '\x7f', 'é',
        ] {
            let alone = string(&c.to_string());
            let escaped = &alone[1..alone.len() - 1];
            for length in 0..20 {
                for at in 0..=length {
                    let (before, after) = ("a".repeat(at), "b".repeat(length - at));
                    assert_eq!(
                        string(&format!("{before}{c}{after}")),
                        format!("\"{before}{escaped}{after}\""),
                    );
                }
            }
        }
    }

    #[test]
    fn keys_are_escaped_too() {
        let member = |json: &mut JsonWriter<'_>| {
            json.begin_object();
            json.key("a<b");
            json.u64(5);
            json.end_object();
        };
        assert_eq!(written(false, member), r#"{"a\u003cb":5}"#);
    }

    proptest! {
        #[test]
        fn every_string_is_read_back(text in any::<String>()) {
            let json = string(&text);
            let document = Document::decode(json.as_bytes());
            prop_assert!(document.is_ok());
            if let Ok(document) = document
                && let Value::String(literal) = document.value()
            {
                prop_assert_eq!(literal.text(), text);
            }
        }
    }
}
