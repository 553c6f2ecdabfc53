//! Go's `strings.EqualFold`, by which a JSON member finds its struct field.
//!
//! That is why Consul takes `{"kEY": "..."}`.

/// Whether `text` is the ASCII `name` but for case.
pub(super) fn equal_fold(text: &str, name: &str) -> bool {
    text.chars().map(fold).eq(name.chars().map(fold))
}

/// Beside the ASCII letters, Unicode folds just two characters onto ASCII: the
/// Kelvin sign and the long s.
fn fold(c: char) -> char {
    match c {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        _ => c.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::equal_fold;

    #[test]
    fn case_does_not_count() {
        assert!(equal_fold("kEY", "Key"));
        assert!(equal_fold("LOCALONLY", "LocalOnly"));
        assert!(!equal_fold("Keys", "Key"));
        assert!(!equal_fold("Ke", "Key"));
        assert!(!equal_fold("", "Key"));
    }

    #[test]
    fn the_kelvin_sign_and_the_long_s_are_folded_as_go_folds_them() {
        assert!(equal_fold("\u{212a}ey", "Key"));
        assert!(equal_fold("Relay\u{17f}", "relayS"));
        assert!(!equal_fold("Kéy", "Key"));
    }
}
