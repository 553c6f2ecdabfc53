//! What Go's `net/url` takes for a percent escape, in paths and in queries.

/// Whether each `%` is followed by two hexadecimal digits. Go refuses the whole
/// text otherwise, where most parsers keep such a `%` as it is.
pub(super) fn escapes_are_whole(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::escapes_are_whole;

    #[test]
    fn an_escape_needs_two_hexadecimal_digits() {
        for text in ["", "abc", "%20", "a%2Fb%2f", "%25zz", "é%c3%A9"] {
            assert!(escapes_are_whole(text), "{text}");
        }
        for text in ["%", "%2", "%zz", "%2z", "a%", "%20%", "%%20", "%é"] {
            assert!(!escapes_are_whole(text), "{text}");
        }
    }
}
