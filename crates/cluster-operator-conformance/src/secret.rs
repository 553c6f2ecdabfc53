//! Finds parts of a secret in a text.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// So many bytes of a secret in a row are a part of it. Fewer can be in a text by chance.
pub(crate) const PART: usize = 8;

/// How many letters of base64 depend on a part alone, at least.
const LETTERS: usize = 10;

/// Returns whether the text contains a part of the secret: as it is, in base64, in
/// hexadecimal digits or as numbers, with any separators.
pub(crate) fn tells_part(text: &str, secret: &[u8]) -> bool {
    let text = Readings::of(text);
    secret.windows(PART).any(|part| text.show(part))
}

/// All texts of an error and of its sources.
pub(crate) fn words(error: &(dyn Error + 'static)) -> String {
    let mut words = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        words += &format!("{error}\n{error:?}\n");
        cause = error.source();
    }
    words
}

/// A text, prepared for each notation of bytes.
struct Readings {
    lower: String,
    base64: String,
    digits: String,
    hex: String,
    numbers: String,
}

impl Readings {
    fn of(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        // The prefix is not a digit of its own.
        let bare = lower.replace("0x", " ");
        let base64 = text.replace('-', "+").replace('_', "/");
        let is_base64 = |letter: &char| letter.is_ascii_alphanumeric() || "+/".contains(*letter);
        Readings {
            base64: base64.chars().filter(is_base64).collect(),
            digits: bare.chars().filter(char::is_ascii_hexdigit).collect(),
            hex: spaced(&bare, |letter| letter.is_ascii_hexdigit()),
            numbers: spaced(&lower, |letter| letter.is_ascii_digit()),
            lower,
        }
    }

    fn show(&self, part: &[u8]) -> bool {
        let digits: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex: String = part.iter().map(|byte| format!("{byte:x} ")).collect();
        let numbers: String = part.iter().map(|byte| format!("{byte} ")).collect();
        let escaped = part.escape_ascii().to_string().to_ascii_lowercase();
        let mut lower = self.lower.as_bytes().windows(PART);
        lower.any(|text| text.eq_ignore_ascii_case(part))
            || self.lower.contains(&escaped)
            || self.digits.contains(&digits)
            || self.hex.contains(&format!(" {hex}"))
            || self.numbers.contains(&format!(" {numbers}"))
            || in_base64(part).any(|letters| self.base64.contains(&letters))
    }
}

/// The words of these letters, each between spaces.
fn spaced(text: &str, is_letter: impl Fn(char) -> bool) -> String {
    let words = text.split(|letter| !is_letter(letter));
    words
        .filter(|word| !word.is_empty())
        .fold(String::from(" "), |spaced, word| spaced + word + " ")
}

/// The letters of base64 that depend on the part alone, for each of its positions among
/// the bytes that were encoded.
fn in_base64(part: &[u8]) -> impl Iterator<Item = String> {
    // The bytes before it, and how many letters depend on them.
    [(0, 0), (1, 2), (2, 3)]
        .into_iter()
        .map(|(before, letters)| {
            let text = STANDARD_NO_PAD.encode([&[0; 2][..before], part].concat());
            text[letters..letters + LETTERS].to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 16] = [
        0x3a, 0x04, 0xff, 0x61, 0x7e, 0xc8, 0x22, 0x90, 0x0b, 0xd5, 0x5f, 0xe1, 0x47, 0xbe, 0xaa,
        0x1c,
    ];

    fn notations(bytes: &[u8]) -> Vec<String> {
        let joined = |between: &str| {
            let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            digits.join(between)
        };
        let base64 = STANDARD_NO_PAD.encode(bytes);
        vec![
            joined(""),
            joined("").to_uppercase(),
            joined(":"),
            joined("\\x"),
            joined(", 0x"),
            format!("{bytes:02x?}"),
            format!("{bytes:x?}"),
            format!("{bytes:#X?}"),
            format!("{bytes:?}"),
            format!("b\"{}\"", bytes.escape_ascii()),
            base64.replace('+', "-").replace('/', "_"),
            format!("{}\n{}", &base64[..7], &base64[7..]),
            base64,
            STANDARD_NO_PAD.encode([b"a", bytes].concat()),
            STANDARD_NO_PAD.encode([b"ab", bytes].concat()),
        ]
    }

    #[test]
    fn part_is_found_in_every_notation() {
        for from in 0..SECRET.len() - PART {
            // With one more byte, as base64 may share its last letter.
            for text in notations(&SECRET[from..=from + PART]) {
                for text in [text.clone(), format!("cannot keep {text} (os error 28)")] {
                    assert!(tells_part(&text, &SECRET), "{text}");
                }
            }
        }
        let secret = b"b852fbe7-Secret-0";
        assert!(tells_part("unknown: \"B852FBE7-SECRET\"", secret));
        assert!(tells_part("e7-secret", secret));
    }

    #[test]
    fn less_than_a_part_is_accepted() {
        assert!(!tells_part("b852fbe", b"b852fbe7-Secret-0"));
        for text in notations(&SECRET[..PART - 1]) {
            assert!(!tells_part(&text, &SECRET), "{text}");
        }
        for text in ["", "GossipKey(f8425e02)", "127.0.0.1:8300", "58 4 255 97"] {
            assert!(!tells_part(text, &SECRET), "{text}");
        }
    }
}
