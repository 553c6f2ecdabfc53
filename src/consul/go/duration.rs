//! Go's `time.ParseDuration` and `Duration.String`.
//!
//! They decide what `?wait=` and `?max_stale=` accept, and they read and print
//! the durations of the autopilot configuration, where the error text reaches
//! the client: `time: invalid duration "abc"`.

use std::fmt::Write;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// The largest duration that Go 1.16 parses. Its negation is the smallest one:
/// that version reads the digits first and looks at the sign afterwards.
const LARGEST: u64 = i64::MAX as u64;

/// `time.ParseDuration`, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    parse_duration_bytes(text.as_bytes())
}

/// [`parse_duration`] of bytes that may not be UTF-8.
pub(super) fn parse_duration_bytes(text: &[u8]) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    // A lone zero is the one number that needs no unit.
    if rest == b"0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after {
            [b'.', after @ ..] => split_digits(after),
            _ => (&[][..], after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        // Go reads the number before it looks for a unit, so a number that does
        // not fit is what it complains about first.
        let whole = whole_number(whole).ok_or_else(invalid)?;
        let unit_length = after
            .iter()
            .position(|byte| *byte == b'.' || byte.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let scale = scale(unit).ok_or_else(|| {
            format!(
                "time: unknown unit {} in duration {}",
                quote(unit),
                quote(text),
            )
        })?;
        total = whole
            .checked_mul(scale)
            .and_then(|value| value.checked_add(fraction_of(fraction, scale)))
            .and_then(|value| value.checked_add(total))
            .filter(|value| *value <= LARGEST)
            .ok_or_else(invalid)?;
        rest = after;
    }
    // `total` is at most LARGEST, so both conversions are exact.
    Ok(if negative {
        -(total as i64)
    } else {
        total as i64
    })
}

/// `Duration.String`: `0s`, `200ms`, `1.5s`, `1m30s`, `1h0m0s`.
pub(crate) fn format_duration(nanoseconds: i64) -> String {
    let mut out = String::new();
    if nanoseconds < 0 {
        out.push('-');
    }
    let magnitude = nanoseconds.unsigned_abs();
    match magnitude {
        0 => out.push_str("0s"),
        1..MICROSECOND => push_decimal(&mut out, magnitude, 1, "ns"),
        MICROSECOND..MILLISECOND => push_decimal(&mut out, magnitude, MICROSECOND, "µs"),
        MILLISECOND..SECOND => push_decimal(&mut out, magnitude, MILLISECOND, "ms"),
        _ => {
            let minutes = magnitude / SECOND / 60;
            // Writing to a String cannot fail.
            if minutes >= 60 {
                let _ = write!(out, "{}h", minutes / 60);
            }
            if minutes > 0 {
                let _ = write!(out, "{}m", minutes % 60);
            }
            push_decimal(&mut out, magnitude - minutes * 60 * SECOND, SECOND, "s");
        }
    }
    out
}

/// Writes `value / scale` exactly, without trailing zeros. `scale` is a power
/// of ten.
fn push_decimal(out: &mut String, value: u64, scale: u64, unit: &str) {
    let _ = write!(out, "{}", value / scale);
    let mut fraction = value % scale;
    if fraction > 0 {
        let mut digits = scale.ilog10() as usize;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            digits -= 1;
        }
        let _ = write!(out, ".{fraction:0digits$}");
    }
    out.push_str(unit);
}

fn scale(unit: &[u8]) -> Option<u64> {
    Some(match std::str::from_utf8(unit).ok()? {
        "ns" => 1,
        // U+00B5, the micro sign, and U+03BC, the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        _ => return None,
    })
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn push_digit(value: u64, digit: u8) -> Option<u64> {
    value
        .checked_mul(10)?
        .checked_add(u64::from(digit - b'0'))
        .filter(|value| *value <= LARGEST)
}

fn whole_number(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0, |value, digit| push_digit(value, *digit))
}

/// The part after the decimal point, in nanoseconds. Digits beyond what fits
/// are dropped, and the product is taken in floating point, both as Go does it.
fn fraction_of(digits: &[u8], unit: u64) -> u64 {
    let mut value = 0;
    let mut scale = 1.0;
    for digit in digits {
        let Some(longer) = push_digit(value, *digit) else {
            break;
        };
        value = longer;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// Package `time` has a quoting of its own, plainer than `strconv.Quote`: every
/// byte of a control or non-ASCII character is `\xNN`.
fn quote(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            b' '..=0x7f => out.push(char::from(*byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::{format_duration, parse_duration};

    #[test]
    fn every_unit_is_read() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5ns", 5),
            ("5us", 5_000),
            ("5\u{b5}s", 5_000),
            ("5\u{3bc}s", 5_000),
            ("200ms", 200_000_000),
            ("10s", 10_000_000_000),
            ("-10s", -10_000_000_000),
            ("+1m", 60_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("0.000000001s", 1),
            ("1.1h0.1s", 3_960_100_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("0.100000000000000000000h", 360_000_000_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775807ns", -i64::MAX),
        ] {
            assert_eq!(parse_duration(text), Ok(nanoseconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_in_gos_words() {
        for text in [
            "", "abc", "-", "+", "s", ".", "-.", ".s", "+.s", "--1s", "3000000h",
        ] {
            assert_eq!(
                parse_duration(text),
                Err(format!("time: invalid duration \"{text}\"")),
            );
        }
        for text in [
            "9223372036854775808ns",
            "9223372036854775.808us",
            "9223372036854ms775us808ns",
        ] {
            assert_eq!(
                parse_duration(text),
                Err(format!("time: invalid duration \"{text}\"")),
            );
        }
    }

    #[test]
    fn a_missing_and_an_unknown_unit_are_told_apart() {
        assert_eq!(
            parse_duration("10").unwrap_err(),
            "time: missing unit in duration \"10\"",
        );
        assert_eq!(
            parse_duration("1x").unwrap_err(),
            "time: unknown unit \"x\" in duration \"1x\"",
        );
        assert_eq!(
            parse_duration("1 s").unwrap_err(),
            "time: unknown unit \" s\" in duration \"1 s\"",
        );
    }

    #[test]
    fn errors_quote_as_package_time_does() {
        assert_eq!(
            parse_duration("é\n\"\\").unwrap_err(),
            r#"time: invalid duration "\xc3\xa9\x0a\"\\""#,
        );
    }

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (200_000_000, "200ms"),
            (10_000_000_000, "10s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (-1_500_000, "-1.5ms"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format_duration(nanoseconds), text);
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for nanoseconds in [
            1,
            999,
            1_001,
            999_999_999,
            3_599_999_999_999,
            -90_061_000_000_007,
        ] {
            assert_eq!(
                parse_duration(&format_duration(nanoseconds)),
                Ok(nanoseconds),
            );
        }
    }
}
