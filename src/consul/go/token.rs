//! The words of the scanner of Go's `encoding/json`: strings, numbers, `true`,
//! `false` and `null`, with what Go says of one that is misspelt.

/// Why a scan ended early.
pub(super) enum Stop {
    /// The input ran out.
    End,
    /// A byte that does not belong, and where it does not.
    Invalid(u8, &'static str),
}

/// A place in an input, from where it is read byte by byte.
pub(super) struct Cursor<'a> {
    pub(super) input: &'a [u8],
    pub(super) at: usize,
}

impl Cursor<'_> {
    /// Reads a string up to its closing quote; the opening one is behind us.
    pub(super) fn string(&mut self) -> Result<(), Stop> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                byte @ ..0x20 => return Err(Stop::Invalid(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), Stop> {
        match self.next()? {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    let byte = self.next()?;
                    if !byte.is_ascii_hexdigit() {
                        return Err(Stop::Invalid(byte, r"in \u hexadecimal character escape"));
                    }
                }
                Ok(())
            }
            byte => Err(Stop::Invalid(byte, "in string escape code")),
        }
    }

    /// Reads the rest of a number. It ends before the first byte that cannot be
    /// part of it, and the end of the input ends it too.
    pub(super) fn number(&mut self, first: u8) -> Result<(), Stop> {
        let mut digit = first;
        if first == b'-' {
            digit = self.digit("in numeric literal")?;
        }
        if digit != b'0' {
            self.digits();
        }
        if self.take(b".") {
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if self.take(b"eE") {
            self.take(b"+-");
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digit(&mut self, context: &'static str) -> Result<u8, Stop> {
        match self.next()? {
            byte @ b'0'..=b'9' => Ok(byte),
            byte => Err(Stop::Invalid(byte, context)),
        }
    }

    fn digits(&mut self) {
        while self.take(b"0123456789") {}
    }

    /// Reads the rest of `true`, `false` or `null`, whose first letter is behind
    /// us.
    pub(super) fn word(&mut self, rest: &[(u8, &'static str)]) -> Result<(), Stop> {
        for (letter, context) in rest {
            let byte = self.next()?;
            if byte != *letter {
                return Err(Stop::Invalid(byte, context));
            }
        }
        Ok(())
    }

    pub(super) fn skip_space(&mut self) {
        while self.take(b" \t\r\n") {}
    }

    fn take(&mut self, bytes: &[u8]) -> bool {
        let found = self
            .input
            .get(self.at)
            .is_some_and(|byte| bytes.contains(byte));
        self.at += usize::from(found);
        found
    }

    pub(super) fn peek(&self) -> Result<u8, Stop> {
        self.input.get(self.at).copied().ok_or(Stop::End)
    }

    pub(super) fn next(&mut self) -> Result<u8, Stop> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }
}

/// What follows the `t` of `true`, and what Go says where it does not.
pub(super) const TRUE: &[(u8, &str)] = &[
    (b'r', "in literal true (expecting 'r')"),
    (b'u', "in literal true (expecting 'u')"),
    (b'e', "in literal true (expecting 'e')"),
];

/// What follows the `f` of `false`.
pub(super) const FALSE: &[(u8, &str)] = &[
    (b'a', "in literal false (expecting 'a')"),
    (b'l', "in literal false (expecting 'l')"),
    (b's', "in literal false (expecting 's')"),
    (b'e', "in literal false (expecting 'e')"),
];

/// What follows the `n` of `null`.
pub(super) const NULL: &[(u8, &str)] = &[
    (b'u', "in literal null (expecting 'u')"),
    (b'l', "in literal null (expecting 'l')"),
    (b'l', "in literal null (expecting 'l')"),
];

#[cfg(test)]
mod tests {
    use super::{Cursor, FALSE, NULL, Stop, TRUE};

    /// Reads `input` from its second byte on: what is left of it, or the
    /// misplaced byte and its place.
    fn read(input: &str, rule: impl Fn(&mut Cursor<'_>) -> Result<(), Stop>) -> String {
        let mut cursor = Cursor {
            input: input.as_bytes(),
            at: 1,
        };
        match rule(&mut cursor) {
            Ok(()) => format!("rest {}", &input[cursor.at..]),
            Err(Stop::End) => "end".to_owned(),
            Err(Stop::Invalid(byte, context)) => format!("{} {context}", char::from(byte)),
        }
    }

    fn number(input: &str) -> String {
        let first = input.as_bytes()[0];
        read(input, |cursor| cursor.number(first))
    }

    fn string(input: &str) -> String {
        read(input, |cursor| cursor.string())
    }

    #[test]
    fn a_number_ends_before_the_first_byte_that_cannot_be_part_of_it() {
        for (input, rest) in [
            ("0", ""),
            ("01", "1"),
            ("-0.50e+07x", "x"),
            ("12,", ","),
            ("1.5.2", ".2"),
            ("1E5e", "e"),
            ("1+", "+"),
        ] {
            assert_eq!(number(input), format!("rest {rest}"));
        }
        for input in ["-", "1.", "1e", "1e-"] {
            assert_eq!(number(input), "end");
        }
    }

    #[test]
    fn a_misspelt_number_is_refused_in_gos_words() {
        for (input, error) in [
            ("-x", "x in numeric literal"),
            ("-.5", ". in numeric literal"),
            ("1.x", "x after decimal point in numeric literal"),
            ("1.e5", "e after decimal point in numeric literal"),
            ("1ex", "x in exponent of numeric literal"),
            ("1e+-", "- in exponent of numeric literal"),
        ] {
            assert_eq!(number(input), error);
        }
    }

    #[test]
    fn a_string_ends_at_its_quote() {
        assert_eq!(string(r#""""#), "rest ");
        assert_eq!(string(r#""a\"b\\" c"#), "rest  c");
        assert_eq!(string("\"é\u{7f}\"x"), "rest x");
        for input in ["\"", "\"a\\", "\"\\\"", "\"\\u00e"] {
            assert_eq!(string(input), "end");
        }
    }

    #[test]
    fn a_misspelt_string_is_refused_in_gos_words() {
        assert_eq!(string("\"\n"), "\n in string literal");
        assert_eq!(string("\"\u{1f}"), "\u{1f} in string literal");
        assert_eq!(string(r#""\x"#), "x in string escape code");
        assert_eq!(string(r#""\'"#), "' in string escape code");
        assert_eq!(string(r#""\u00g"#), r"g in \u hexadecimal character escape",);
    }

    #[test]
    fn a_misspelt_word_is_refused_with_the_letter_that_belongs_there() {
        for (input, word, want) in [
            ("truex", TRUE, "rest x"),
            ("tru", TRUE, "end"),
            ("tx", TRUE, "x in literal true (expecting 'r')"),
            ("trx", TRUE, "x in literal true (expecting 'u')"),
            ("truE", TRUE, "E in literal true (expecting 'e')"),
            ("fx", FALSE, "x in literal false (expecting 'a')"),
            ("fax", FALSE, "x in literal false (expecting 'l')"),
            ("falx", FALSE, "x in literal false (expecting 's')"),
            ("falsx", FALSE, "x in literal false (expecting 'e')"),
            ("nx", NULL, "x in literal null (expecting 'u')"),
            ("nux", NULL, "x in literal null (expecting 'l')"),
            ("nulx", NULL, "x in literal null (expecting 'l')"),
        ] {
            assert_eq!(read(input, |cursor| cursor.word(word)), want);
        }
    }
}
