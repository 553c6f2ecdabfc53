//! The scanner of Go's `encoding/json`, with its error texts.
//!
//! They show behind `Request decode failed: `. Consul reads a body as a stream
//! and takes its first value, so what follows that value is not looked at.
//!
//! The scanner keeps containers on a stack of its own rather than recursing, so
//! that no body can overflow the thread's.

use super::quote::quote_byte;
use super::token::{Cursor, FALSE, NULL, Stop, TRUE};

/// How deep Go lets arrays and objects nest.
const MAX_DEPTH: usize = 10_000;

/// The first value of an input, checked and cut out.
pub(super) struct Scan<'a> {
    pub(super) value: &'a [u8],
    /// The members of the value, if it is an object, in order.
    pub(super) members: Vec<Member<'a>>,
    /// Whether something other than white space follows the value.
    pub(super) trailing: bool,
    /// The first number anywhere in the value that a `float64` cannot hold.
    pub(super) oversized_number: Option<&'a str>,
}

/// A member of the outermost object: what stands between the quotes of its
/// name, and the text of its value.
pub(super) struct Member<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

/// Scans the first value of `input`, or says what Go's decoder would say.
pub(super) fn scan(input: &[u8]) -> Result<Scan<'_>, String> {
    let mut scanner = Scanner {
        cursor: Cursor { input, at: 0 },
        open: Vec::new(),
        member_start: 0,
        members: Vec::new(),
        oversized_number: None,
    };
    scanner.cursor.skip_space();
    let start = scanner.cursor.at;
    if start == input.len() {
        return Err("EOF".to_owned());
    }
    scanner.value().map_err(|stop| match stop {
        Stop::End => "unexpected EOF".to_owned(),
        Stop::Invalid(byte, context) => {
            format!("invalid character {} {context}", quote_byte(byte))
        }
    })?;
    let value = &input[start..scanner.cursor.at];
    scanner.cursor.skip_space();
    Ok(Scan {
        value,
        trailing: scanner.cursor.at < input.len(),
        members: scanner.members,
        oversized_number: scanner.oversized_number,
    })
}

#[derive(Clone, Copy)]
enum Container {
    Array,
    Object,
}

struct Scanner<'a> {
    cursor: Cursor<'a>,
    open: Vec<Container>,
    /// Where the value of the latest outermost member begins.
    member_start: usize,
    members: Vec<Member<'a>>,
    oversized_number: Option<&'a str>,
}

impl<'a> Scanner<'a> {
    /// Reads one value with all that it holds. Each turn begins where a value
    /// has to begin.
    fn value(&mut self) -> Result<(), Stop> {
        loop {
            self.cursor.skip_space();
            self.mark_member_start();
            match self.cursor.next()? {
                b'{' => {
                    self.enter(Container::Object, b'{')?;
                    if !self.leave_if_empty(b'}')? {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.enter(Container::Array, b'[')?;
                    if !self.leave_if_empty(b']')? {
                        continue;
                    }
                }
                b'"' => self.cursor.string()?,
                first @ (b'-' | b'0'..=b'9') => self.number(first)?,
                b't' => self.cursor.word(TRUE)?,
                b'f' => self.cursor.word(FALSE)?,
                b'n' => self.cursor.word(NULL)?,
                byte => return Err(Stop::Invalid(byte, "looking for beginning of value")),
            }
            if self.end_of_value()? {
                return Ok(());
            }
        }
    }

    /// Goes on after a value, outwards through every container that ends here.
    /// Says whether the outermost value is complete.
    fn end_of_value(&mut self) -> Result<bool, Stop> {
        loop {
            let Some(container) = self.open.last().copied() else {
                return Ok(true);
            };
            self.mark_member_end();
            self.cursor.skip_space();
            match (container, self.cursor.next()?) {
                (Container::Object, b',') => {
                    self.key()?;
                    return Ok(false);
                }
                (Container::Array, b',') => return Ok(false),
                (Container::Object, b'}') | (Container::Array, b']') => {
                    self.open.pop();
                }
                (Container::Object, byte) => {
                    return Err(Stop::Invalid(byte, "after object key:value pair"));
                }
                (Container::Array, byte) => {
                    return Err(Stop::Invalid(byte, "after array element"));
                }
            }
        }
    }

    fn enter(&mut self, container: Container, bracket: u8) -> Result<(), Stop> {
        self.open.push(container);
        if self.open.len() > MAX_DEPTH {
            return Err(Stop::Invalid(bracket, "exceeded max depth"));
        }
        Ok(())
    }

    fn leave_if_empty(&mut self, bracket: u8) -> Result<bool, Stop> {
        self.cursor.skip_space();
        let empty = self.cursor.peek()? == bracket;
        if empty {
            self.cursor.at += 1;
            self.open.pop();
        }
        Ok(empty)
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Result<(), Stop> {
        self.cursor.skip_space();
        match self.cursor.next()? {
            b'"' => {}
            byte => {
                let context = "looking for beginning of object key string";
                return Err(Stop::Invalid(byte, context));
            }
        }
        let start = self.cursor.at;
        self.cursor.string()?;
        if self.open.len() == 1 {
            self.members.push(Member {
                name: &self.cursor.input[start..self.cursor.at - 1],
                value: &[],
            });
        }
        self.cursor.skip_space();
        match self.cursor.next()? {
            b':' => Ok(()),
            byte => Err(Stop::Invalid(byte, "after object key")),
        }
    }

    fn mark_member_start(&mut self) {
        if self.open.len() == 1 {
            self.member_start = self.cursor.at;
        }
    }

    fn mark_member_end(&mut self) {
        if self.open.len() == 1
            && let Some(member) = self.members.last_mut()
        {
            member.value = &self.cursor.input[self.member_start..self.cursor.at];
        }
    }

    /// Reads the rest of a number, and looks whether a float64 could hold it.
    fn number(&mut self, first: u8) -> Result<(), Stop> {
        let start = self.cursor.at - 1;
        self.cursor.number(first)?;
        let text = &self.cursor.input[start..self.cursor.at];
        // A number of up to three hundred digits and no exponent always fits.
        let may_not_fit = text.len() > 300 || text.iter().any(|byte| matches!(byte, b'e' | b'E'));
        if may_not_fit && self.oversized_number.is_none() {
            self.oversized_number = std::str::from_utf8(text)
                .ok()
                .filter(|text| text.parse::<f64>().is_ok_and(f64::is_infinite));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::scan;
    use proptest::prelude::{any, prop, prop_assert, proptest};

    fn error(input: &str) -> String {
        scan(input.as_bytes()).err().unwrap_or_default()
    }

    fn invalid(byte: &str, context: &str) -> String {
        format!("invalid character {byte} {context}")
    }

    #[test]
    fn an_empty_body_is_an_end_and_a_cut_one_is_unexpected() {
        for input in ["", " ", "\t\r\n "] {
            assert_eq!(error(input), "EOF", "{input:?}");
        }
        for input in [
            "{",
            "{\"",
            "{\"Key\"",
            "{\"Key\":",
            "{\"Key\":1",
            "{\"Key\":1,",
            "[",
            "[1",
            "[1,",
            "\"",
            "\"\\",
            "\"\\u00",
            "-",
            "1.",
            "1e",
            "1e+",
            "t",
            "fals",
            "nul",
            "[[]",
        ] {
            assert_eq!(error(input), "unexpected EOF", "{input:?}");
        }
    }

    #[test]
    fn a_misplaced_byte_is_named_with_its_place() {
        for (input, byte, context) in [
            ("x", "'x'", "looking for beginning of value"),
            (" '", r"'\''", "looking for beginning of value"),
            ("[1,]", "']'", "looking for beginning of value"),
            ("{\"a\":}", "'}'", "looking for beginning of value"),
            ("é", "'Ã'", "looking for beginning of value"),
            ("{1", "'1'", "looking for beginning of object key string"),
            (
                "{\"a\":1,}",
                "'}'",
                "looking for beginning of object key string",
            ),
            ("{\"a\" 1", "'1'", "after object key"),
            ("{\"a\":1 \"", "'\"'", "after object key:value pair"),
            ("{\"a\":1]", "']'", "after object key:value pair"),
            ("[1}", "'}'", "after array element"),
            ("[1 2", "'2'", "after array element"),
            ("\"\n", r"'\n'", "in string literal"),
            ("{\"\u{0}", r"'\x00'", "in string literal"),
            ("\"\\x", "'x'", "in string escape code"),
            ("\"\\u00g", "'g'", r"in \u hexadecimal character escape"),
            ("fa\\", r"'\\'", "in literal false (expecting 'l')"),
            ("[01]", "'1'", "after array element"),
            ("[1.5.2]", "'.'", "after array element"),
        ] {
            assert_eq!(error(input), invalid(byte, context), "{input:?}");
        }
    }

    #[test]
    fn nesting_ends_at_gos_limit() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(error(&nested(10_000)), "");
        assert_eq!(error(&nested(10_001)), invalid("'['", "exceeded max depth"));
        assert_eq!(
            error(&"[".repeat(65_536)),
            invalid("'['", "exceeded max depth")
        );
        assert_eq!(
            error(&"{\"\":".repeat(65_536)),
            invalid("'{'", "exceeded max depth"),
        );
    }

    #[test]
    fn the_first_value_ends_where_go_ends_it() {
        for (input, value, trailing) in [
            ("12x", "12", true),
            ("01", "0", true),
            ("-1.5e-3,", "-1.5e-3", true),
            ("null null", "null", true),
            ("\"s\"x", "\"s\"", true),
            (" {\"a\":[{}]} garbage", "{\"a\":[{}]}", true),
            ("[]]", "[]", true),
            ("{} \n", "{}", false),
            ("7", "7", false),
        ] {
            let scan = scan(input.as_bytes()).ok();
            let got = scan.map(|scan| (scan.value, scan.trailing));
            assert_eq!(got, Some((value.as_bytes(), trailing)), "{input:?}");
        }
    }

    #[test]
    fn only_outermost_members_are_kept_in_order_with_duplicates() {
        let input = br#" { "a" : 1 , "b":{"c":[2]},"a": [ "x" ] ,"\u0064":"}" } "#;
        let members = scan(input)
            .ok()
            .map(|scan| scan.members)
            .unwrap_or_default();
        let pairs: Vec<_> = members
            .iter()
            .map(|member| (member.name, member.value))
            .collect();
        let want: [(&[u8], &[u8]); 4] = [
            (b"a", b"1"),
            (b"b", br#"{"c":[2]}"#),
            (b"a", br#"[ "x" ]"#),
            (br"\u0064", br#""}""#),
        ];
        assert_eq!(pairs, want);
    }

    #[test]
    fn an_object_inside_an_array_has_no_outermost_members() {
        let scan = scan(br#"[{"a":1}]"#).ok();
        assert!(scan.is_some_and(|scan| scan.members.is_empty()));
    }

    #[test]
    fn the_first_oversized_number_is_remembered_however_deep() {
        let long = format!("{{\"a\":{}}}", "9".repeat(400));
        for (input, want) in [
            (r#"{"a":[1e308,-1e999,2e999]}"#, Some("-1e999")),
            (r#"{"a":1e-999}"#, None),
            (&long, Some(&long[5..405])),
        ] {
            let got = scan(input.as_bytes()).ok();
            assert_eq!(got.and_then(|scan| scan.oversized_number), want);
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(input in any::<Vec<u8>>()) {
            let _ = scan(&input);
        }

        #[test]
        fn a_scanned_value_scans_to_itself(input in "[\\[\\]{}:, 01.e\"atrue\\\\-]{0,24}") {
            if let Ok(first) = scan(input.as_bytes()) {
                let again = scan(first.value).ok();
                prop_assert!(again.is_some_and(|again| again.value == first.value && !again.trailing));
            }
        }

        #[test]
        fn a_value_cut_short_is_never_malformed(items in prop::collection::vec("[a-z\"\\\\]{0,4}", 0..4), cut in 0usize..40) {
            let text = format!("{{\"k\":{items:?}}}");
            if cut < text.len() {
                let got = error(&text[..cut]);
                prop_assert!(got == "unexpected EOF" || (cut == 0 && got == "EOF"));
            }
        }
    }
}
