//! Go's `strconv`: `Atoi`, `ParseUint`, `ParseBool` and `ParseFloat`, with their
//! error texts.
//!
//! They show behind `Error parsing relay factor: `, `Error parsing local-only: `
//! and `Error parsing cas value: `, and decide which numbers of a JSON body fit
//! their field.

use super::quote::quote_bytes;

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// `strconv.Atoi` on a 64-bit machine: decimal, with an optional sign.
pub(crate) fn atoi(text: &str) -> Result<i64, String> {
    let fail = |reason| failure("Atoi", text.as_bytes(), reason);
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let magnitude = decimal(digits).map_err(fail)?;
    let value = if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    };
    value.ok_or_else(|| fail(RANGE))
}

/// `strconv.ParseUint` in base 10: digits only, no sign and no underscore.
pub(crate) fn parse_uint(text: &str) -> Result<u64, String> {
    decimal(text.as_bytes()).map_err(|reason| failure("ParseUint", text.as_bytes(), reason))
}

/// `strconv.ParseBool`: the twelve spellings that Go takes, and no other.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(failure("ParseBool", text.as_bytes(), SYNTAX)),
    }
}

/// `strconv.ParseFloat` for decimal texts. Go's hexadecimal floats are refused:
/// no JSON number is one, and JSON is where this is used.
/// The bytes need not be UTF-8.
pub(super) fn parse_float(text: &[u8]) -> Result<f64, String> {
    let fail = |reason| failure("ParseFloat", text, reason);
    let value: f64 = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| fail(SYNTAX))?;
    // Rust turns digits that are too large into infinity; Go says so.
    if value.is_infinite() && text.iter().any(u8::is_ascii_digit) {
        return Err(fail(RANGE));
    }
    Ok(value)
}

fn decimal(digits: &[u8]) -> Result<u64, &'static str> {
    if digits.is_empty() {
        return Err(SYNTAX);
    }
    // Left to right, as Go goes: a number that overflows before its first bad
    // digit is out of range, not malformed.
    digits.iter().try_fold(0u64, |value, byte| {
        if !byte.is_ascii_digit() {
            return Err(SYNTAX);
        }
        value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(byte - b'0')))
            .ok_or(RANGE)
    })
}

fn failure(function: &str, text: &[u8], reason: &str) -> String {
    format!(
        "strconv.{function}: parsing {}: {reason}",
        quote_bytes(text)
    )
}

#[cfg(test)]
mod tests {
    use super::{atoi, parse_bool, parse_float, parse_uint};

    #[test]
    fn atoi_takes_a_sign_and_digits() {
        assert_eq!(atoi("0"), Ok(0));
        assert_eq!(atoi("+5"), Ok(5));
        assert_eq!(atoi("-0007"), Ok(-7));
        assert_eq!(atoi("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(atoi("-9223372036854775808"), Ok(i64::MIN));
    }

    #[test]
    fn atoi_refuses_everything_else_in_gos_words() {
        for text in ["", "x", "+", "-", "1_000", " 1", "1.0", "0x1", "--1", "١"] {
            assert_eq!(
                atoi(text),
                Err(format!("strconv.Atoi: parsing \"{text}\": invalid syntax")),
            );
        }
        assert_eq!(
            atoi("a\"b").unwrap_err(),
            r#"strconv.Atoi: parsing "a\"b": invalid syntax"#,
        );
        for text in ["9223372036854775808", "-9223372036854775809"] {
            assert_eq!(
                atoi(text),
                Err(format!(
                    "strconv.Atoi: parsing \"{text}\": value out of range"
                )),
            );
        }
    }

    #[test]
    fn a_number_that_overflows_before_its_bad_digit_is_out_of_range() {
        assert_eq!(
            parse_uint("99999999999999999999999x").unwrap_err(),
            "strconv.ParseUint: parsing \"99999999999999999999999x\": value out of range",
        );
    }

    #[test]
    fn parse_uint_takes_digits_only() {
        assert_eq!(parse_uint("18446744073709551615"), Ok(u64::MAX));
        for text in ["", "+1", "-1", "x", "1e3", "1_0"] {
            assert_eq!(
                parse_uint(text),
                Err(format!(
                    "strconv.ParseUint: parsing \"{text}\": invalid syntax"
                )),
            );
        }
    }

    #[test]
    fn parse_bool_takes_gos_twelve_spellings() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(text), Ok(true));
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(text), Ok(false));
        }
        for text in ["", "yes", "tRUE", "on"] {
            assert_eq!(
                parse_bool(text),
                Err(format!(
                    "strconv.ParseBool: parsing \"{text}\": invalid syntax"
                )),
            );
        }
    }

    #[test]
    fn parse_float_reads_json_numbers_and_names_what_it_cannot_read() {
        assert_eq!(parse_float(b"200000000"), Ok(2e8));
        assert_eq!(parse_float(b"-1.5e3"), Ok(-1500.0));
        assert_eq!(
            parse_float(b"true").unwrap_err(),
            "strconv.ParseFloat: parsing \"true\": invalid syntax",
        );
        assert_eq!(
            parse_float(b"{\"a\":1}").unwrap_err(),
            r#"strconv.ParseFloat: parsing "{\"a\":1}": invalid syntax"#,
        );
        assert_eq!(
            parse_float(b"1e999").unwrap_err(),
            "strconv.ParseFloat: parsing \"1e999\": value out of range",
        );
    }
}
