//! The rules of Go's standard library that show on the wire.
//!
//! Consul hands many of Go's error texts to its clients and leans on Go's parsing of
//! numbers and durations. A client that was written against Consul may depend on any
//! of them.

use std::fmt::{self, Write};
use std::num::{IntErrorKind, ParseIntError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// The largest duration in nanoseconds. Its negation is the smallest one that Go
/// parses.
const LONGEST: u64 = i64::MAX as u64;

/// A duration in nanoseconds, which servers show as a text such as `"200ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GoDuration(pub(super) i64);

impl GoDuration {
    /// Returns the duration; a negative one is zero.
    pub(crate) fn get(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(|error| de::Error::custom(error.go(&text)))
    }
}

/// Writes `0s`, `200ms`, `1.5s`, `1m30s` or `1h0m0s`, as `Duration.String`.
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_char('-')?;
        }
        match self.0.unsigned_abs() {
            0 => f.write_str("0s"),
            value @ 1..MICROSECOND => write!(f, "{value}ns"),
            value @ MICROSECOND..MILLISECOND => decimal(f, value, MICROSECOND, "µs"),
            value @ MILLISECOND..SECOND => decimal(f, value, MILLISECOND, "ms"),
            value => {
                let minutes = value / SECOND / 60;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                decimal(f, value - minutes * 60 * SECOND, SECOND, "s")
            }
        }
    }
}

/// Writes `value / scale` exactly, without trailing zeros. The scale is a power of
/// ten.
fn decimal(f: &mut fmt::Formatter<'_>, value: u64, scale: u64, unit: &str) -> fmt::Result {
    let digits = scale.ilog10() as usize;
    let number = format!("{}.{:0digits$}", value / scale, value % scale);
    let number = number.trim_end_matches('0').trim_end_matches('.');
    write!(f, "{number}{unit}")
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        GoDuration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DurationError {
    Malformed,
    MissingUnit,
    UnknownUnit(String),
    TooLong,
}

impl DurationError {
    /// Go's words for it.
    pub(super) fn go(&self, text: &str) -> String {
        let text = told(" ", text);
        match self {
            DurationError::Malformed | DurationError::TooLong => {
                format!("time: invalid duration{text}")
            }
            DurationError::MissingUnit => format!("time: missing unit in duration{text}"),
            DurationError::UnknownUnit(_) if text.is_empty() => {
                "time: unknown unit in duration".into()
            }
            DurationError::UnknownUnit(unit) => {
                format!("time: unknown unit {} in duration{text}", quote(unit))
            }
        }
    }
}

/// Reads a duration as `time.ParseDuration`.
pub(super) fn parse_duration(text: &str) -> Result<GoDuration, DurationError> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // A lone zero is the one number that needs no unit.
    if rest == "0" {
        return Ok(GoDuration(0));
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let (whole, after) = split_while(rest, |c| c.is_ascii_digit());
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_while(after, |c| c.is_ascii_digit()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(DurationError::Malformed);
        }
        let (unit, after) = split_while(after, |c| c != '.' && !c.is_ascii_digit());
        let scale = match unit {
            "" => return Err(DurationError::MissingUnit),
            "ns" => 1,
            // U+00B5, the micro sign, and U+03BC, the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            unit => return Err(DurationError::UnknownUnit(unit.to_owned())),
        };
        // Go takes the fraction in floating point, too.
        let fraction = format!("0.{fraction}0").parse().unwrap_or(0.0) * scale as f64;
        let whole = if whole.is_empty() {
            Ok(0)
        } else {
            whole.parse()
        };
        total = whole
            .ok()
            .and_then(|whole: u64| whole.checked_mul(scale))
            .and_then(|value| value.checked_add(fraction as u64))
            .and_then(|value| value.checked_add(total))
            .filter(|total| *total <= LONGEST)
            .ok_or(DurationError::TooLong)?;
        rest = after;
    }
    // The total is at most `LONGEST`, so this is exact.
    let total = total as i64;
    Ok(GoDuration(if negative { -total } else { total }))
}

fn split_while(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !wanted(c)).unwrap_or(text.len()))
}

/// Reads a decimal number with an optional sign, as `strconv.Atoi`.
///
/// # Errors
/// Go's words.
pub(super) fn atoi(text: &str) -> Result<i64, String> {
    let number = text.parse();
    number.map_err(|error| failure("Atoi", text, reason(&error)))
}

/// Reads digits, as `strconv.ParseUint` in base 10.
///
/// # Errors
/// Go's words.
pub(super) fn parse_uint(text: &str) -> Result<u64, String> {
    let number = if text.starts_with('+') {
        Err(SYNTAX)
    } else {
        text.parse().map_err(|error| reason(&error))
    };
    number.map_err(|reason| failure("ParseUint", text, reason))
}

/// Reads one of Go's twelve spellings, as `strconv.ParseBool`.
///
/// # Errors
/// Go's words.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(failure("ParseBool", text, SYNTAX)),
    }
}

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

fn reason(error: &ParseIntError) -> &'static str {
    match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => RANGE,
        _ => SYNTAX,
    }
}

fn failure(function: &str, text: &str, reason: &str) -> String {
    format!("strconv.{function}: parsing{}: {reason}", told(" ", text))
}

/// Quotes a text as `strconv.Quote`, which is also what `%q` prints. It need not be UTF-8.
pub(super) fn quote(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut out, c, '"');
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

/// Tells whether `http.DetectContentType` takes a text for binary data: it looks for control
/// characters in the first 512 bytes.
pub(super) fn is_binary(text: &str) -> bool {
    text.bytes()
        .take(512)
        .any(|byte| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f))
}

/// Quotes a byte as `encoding/json` does in its errors: as the character of that
/// number.
pub(super) fn quote_byte(byte: u8) -> String {
    let mut out = String::from('\'');
    push_escaped(&mut out, char::from(byte), '\'');
    out.push('\'');
    out
}

/// Quotes a text of the request behind `before`, or leaves out both if the text might be a
/// secret. One that looks like a name or a number and is shorter than a key of 16 bytes, in
/// hexadecimal digits or base64, is none.
pub(super) fn told(before: &str, text: &str) -> String {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    if text.len() <= 20 && text.trim().bytes().all(is_name) {
        format!("{before}{}", quote(text))
    } else {
        String::new()
    }
}

fn push_escaped(out: &mut String, c: char, delimiter: char) {
    // Writing to a String cannot fail.
    let _ = match c {
        '\\' => out.write_str(r"\\"),
        '\x07' => out.write_str(r"\a"),
        '\x08' => out.write_str(r"\b"),
        '\x0c' => out.write_str(r"\f"),
        '\n' => out.write_str(r"\n"),
        '\r' => out.write_str(r"\r"),
        '\t' => out.write_str(r"\t"),
        '\x0b' => out.write_str(r"\v"),
        _ if c == delimiter => write!(out, "\\{c}"),
        _ if is_print(c) => out.write_char(c),
        _ if c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c)),
        _ if c <= '\u{ffff}' => write!(out, "\\u{:04x}", u32::from(c)),
        _ => write!(out, "\\U{:08x}", u32::from(c)),
    };
}

/// Tells whether Go's `unicode.IsPrint` takes a character: letters, marks, numbers,
/// punctuation, symbols and the ASCII space.
pub(super) fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    // `escape_debug` has the same table, but escapes a mark that would join the
    // character before it. It does so only at the start of a text.
    let pair: String = ['a', c].iter().collect();
    pair.escape_debug().nth(1) == Some(c)
}

/// Tells whether each `%` is followed by two hexadecimal digits. Go refuses the whole
/// text otherwise.
pub(super) fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|piece| {
        let digits = piece.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Writes a time in UTC as `time.RFC3339Nano`, with as many digits of the second as
/// it has. A time before 1970 is written as the beginning of 1970.
pub(super) fn rfc3339_nano(time: SystemTime) -> String {
    timestamp(time).to_string()
}

/// Writes a time rounded to seconds; half a second is rounded up.
pub(super) fn rfc3339_rounded(time: SystemTime) -> String {
    let time = timestamp(time);
    time.round(Unit::Second).unwrap_or(time).to_string()
}

/// Reads a time; what is not one is the beginning of 1970.
#[cfg(feature = "client")]
pub(crate) fn read_rfc3339(text: &str) -> SystemTime {
    let time = text.parse::<Timestamp>().ok();
    let since = time.and_then(|time| Duration::try_from(time.as_duration()).ok());
    UNIX_EPOCH + since.unwrap_or_default()
}

/// A time after the year 9999 becomes the last one that jiff can express.
fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX);
    Timestamp::from_duration(since).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("5ns", 5),
            ("5us", 5_000),
            ("5\u{b5}s", 5_000),
            ("5\u{3bc}s", 5_000),
            ("200ms", 200_000_000),
            ("-10s", -10_000_000_000),
            ("+1m", 60_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("0.000000001s", 1),
            ("1.1h0.1s", 3_960_100_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775807ns", -i64::MAX),
        ] {
            assert_eq!(parse_duration(text), Ok(GoDuration(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn malformed_duration_is_refused_in_gos_words() {
        for text in [
            "",
            "abc",
            "-",
            "+",
            "s",
            ".",
            "-.",
            ".s",
            "+.s",
            "--1s",
            "3000000h",
            "9223372036854775808ns",
            "99999999999999999999s",
            "9223372036854775.808us",
        ] {
            let error = parse_duration(text).unwrap_err();
            assert_eq!(
                error.go(text),
                format!("time: invalid duration{}", told(" ", text))
            );
        }
        for (text, error) in [
            ("10", "time: missing unit in duration \"10\""),
            ("1x", "time: unknown unit \"x\" in duration \"1x\""),
            ("1 s", "time: unknown unit in duration"),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().go(text), error);
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
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
            (480_000_000_001, "8m0.000000001s"),
            (-1_500_000, "-1.5ms"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(GoDuration(nanoseconds).to_string(), text);
        }
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        assert_eq!(atoi("+5"), Ok(5));
        assert_eq!(atoi("-0007"), Ok(-7));
        assert_eq!(atoi("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_uint("18446744073709551615"), Ok(u64::MAX));
        for text in ["", "x", "+", "-", "1_000", " 1", "1.0", "0x1", "--1", "١"] {
            let error = format!("strconv.Atoi: parsing{}: invalid syntax", told(" ", text));
            assert_eq!(atoi(text), Err(error));
        }
        for text in ["9223372036854775808", "-9223372036854775809"] {
            let error = format!("strconv.Atoi: parsing \"{text}\": value out of range");
            assert_eq!(atoi(text), Err(error));
        }
        for text in ["", "+1", "-1", "x", "1e3", "1_0"] {
            let error = format!(
                "strconv.ParseUint: parsing{}: invalid syntax",
                told(" ", text)
            );
            assert_eq!(parse_uint(text), Err(error));
        }
        assert!(
            parse_uint("99999999999999999999x")
                .unwrap_err()
                .ends_with(RANGE)
        );
    }

    #[test]
    fn text_is_told_only_if_it_looks_like_a_name() {
        for text in ["", "peer-id", "1.5s", "Max_Stale", "+1", " true"] {
            assert_eq!(told(" ", text), format!(" {text:?}"));
        }
        for text in [
            "a b",
            "a=",
            "é",
            "b852fbe78b5c4d2fa7a33f",
            "z90lFx3sZZLtTOkutXcwYg",
        ] {
            assert_eq!(told(" ", text), "");
        }
    }

    #[test]
    fn flags_have_gos_twelve_spellings() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(text), Ok(true));
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(text), Ok(false));
        }
        for text in ["", "yes", "tRUE", "on"] {
            let error = format!(
                "strconv.ParseBool: parsing{}: invalid syntax",
                told(" ", text)
            );
            assert_eq!(parse_bool(text), Err(error));
        }
    }

    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        for (text, quoted) in [
            ("", r#""""#),
            ("it's é 日本 € 😀 e\u{301}", "\"it's é 日本 € 😀 e\u{301}\""),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("\0\x1b\x1f\x7f", r#""\x00\x1b\x1f\x7f""#),
            ("\u{80}\u{a0}\u{ad}", r#""\u0080\u00a0\u00ad""#),
            (
                "\u{200b}\u{2028}\u{3000}\u{feff}",
                r#""\u200b\u2028\u3000\ufeff""#,
            ),
            ("\u{e0001}\u{10ffff}", r#""\U000e0001\U0010ffff""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
        assert_eq!(quote_byte(b'\''), r"'\''");
        assert_eq!(quote_byte(b'"'), "'\"'");
        assert_eq!(quote_byte(0), r"'\x00'");
        assert_eq!(quote_byte(0xef), "'ï'");
    }

    #[test]
    fn escape_needs_two_hexadecimal_digits() {
        for text in ["", "abc", "%20", "a%2Fb%2f", "%25zz", "é%c3%A9"] {
            assert!(escapes_are_whole(text), "{text}");
        }
        for text in ["%", "%2", "%zz", "%2z", "a%", "%20%", "%%20", "%é"] {
            assert!(!escapes_are_whole(text), "{text}");
        }
    }

    fn at(seconds: u64, nanoseconds: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (time, text) in [
            (at(0, 0), "1970-01-01T00:00:00Z"),
            (at(951_782_400, 0), "2000-02-29T00:00:00Z"),
            (
                at(1_795_450_509, 347_133_090),
                "2026-11-23T16:15:09.34713309Z",
            ),
            (at(4_107_542_399, 1), "2100-02-28T23:59:59.000000001Z"),
            (at(4_107_542_400, 0), "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339_nano(time), text);
        }
        assert_eq!(rfc3339_rounded(at(1, 500_000_000)), "1970-01-01T00:00:02Z");
        assert_eq!(rfc3339_rounded(at(1, 499_999_999)), "1970-01-01T00:00:01Z");
    }

    #[test]
    fn time_out_of_range_is_the_nearest_one() {
        let latest = at(i64::MAX as u64, 999_999_999);
        assert_eq!(rfc3339_nano(latest), "9999-12-30T22:00:00.999999999Z");
        assert!(rfc3339_rounded(latest).starts_with("9999-12-30T22:00:0"));
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc3339_nano(before), "1970-01-01T00:00:00Z");
    }
}
