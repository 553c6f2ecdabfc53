//! An error about a token file shows none of its secrets.

use std::error::Error;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use cluster_operator::TokenStore;
use cluster_operator::acl::LoadError;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::token_file::TokenFile;

const SECRET: &str = "hunter2/+~?&\u{e9}-0f9b1c2d-3e4f";

fn assert_hidden(error: &LoadError, context: &str) {
    let mut shown = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        shown.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    let shown = shown.to_lowercase();
    let bytes = SECRET.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let escaped = SECRET.escape_default().to_string();
    let percent = percent_encode(bytes, NON_ALPHANUMERIC).to_string();
    for form in [
        SECRET,
        "hunter2",
        "0f9b1c2d",
        &escaped,
        &STANDARD_NO_PAD.encode(bytes),
        &URL_SAFE_NO_PAD.encode(bytes),
        &hex,
        &percent,
    ] {
        let form = form.to_lowercase();
        assert!(!shown.contains(&form), "{form} in {shown}\nof {context}");
    }
}

/// Loads the text cut and broken at every place.
fn assert_hidden_however_broken(extension: &str, text: &str) {
    let file = TokenFile::new(extension, text);
    TokenStore::load_file(&file).expect("whole, it loads");
    let mut failures = 0;
    let mut load = |bytes: &[u8]| {
        file.write(bytes);
        if let Err(error) = TokenStore::load_file(&file) {
            failures += 1;
            assert_hidden(&error, &String::from_utf8_lossy(bytes));
        }
    };
    for at in 0..text.len() {
        load(&text.as_bytes()[..at]);
        for byte in [b'!', b'"', b'1', b'\n', b'}', b'\\', 0xff] {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = byte;
            load(&bytes);
        }
    }
    assert!(failures > text.len());
}

#[test]
fn broken_json_file_shows_no_secret() {
    assert_hidden_however_broken(
        "json",
        &format!(
            "{{\"policy\": {{\"p\": {{\"operator\": \"read\"}}}},\n\"token\": {{\"a\": {{\"secret\": \
             \"{SECRET}\", \"policies\": [\"p\"]}}, \"b\": {{\"secret\": \"x1\"}}}}}}"
        ),
    );
}

#[test]
fn secret_in_the_wrong_place_is_not_shown() {
    for text in [
        format!("\"{SECRET}\""),
        format!("[\"{SECRET}\"]"),
        SECRET.to_owned(),
        format!("{{\"{SECRET}\": 1}}"),
        format!("{{\"default_policy\": \"{SECRET}\"}}"),
        format!("{{\"anonymous\": \"{SECRET}\"}}"),
        format!("{{\"policy\": \"{SECRET}\"}}"),
        format!("{{\"policy\": {{\"p\": \"{SECRET}\"}}}}"),
        format!("{{\"policy\": {{\"p\": [\"{SECRET}\"]}}}}"),
        format!("{{\"policy\": {{\"p\": {{\"operator\": \"{SECRET}\"}}}}}}"),
        format!("{{\"policy\": {{\"p\": \"{{\\\"keyring\\\": \\\"{SECRET}\\\"}}\"}}}}"),
        format!("{{\"token\": \"{SECRET}\"}}"),
        format!("{{\"token\": {{\"a\": \"{SECRET}\"}}}}"),
        format!("{{\"token\": {{\"a\": {{\"{SECRET}\": 1}}}}}}"),
        format!("{{\"token\": {{\"a\": {{\"secret\": [\"{SECRET}\"]}}}}}}"),
        format!("{{\"token\": {{\"{SECRET}\": {{\"policies\": []}}}}}}"),
        format!("{{\"token\": {{\"{SECRET}\": {{\"secret\": \"\"}}}}}}"),
        format!("{{\"token\": {{\"{SECRET}\": {{\"secret\": \"{SECRET}\"}}}}}}"),
        format!("{{\"token\": {{\"{SECRET}\": 1}}}}"),
        format!("{{\"token\": {{\"a\": {{\"secret\": \" {SECRET}\"}}}}}}"),
        format!(
            "{{\"token\": {{\"a\": {{\"secret\": \"{SECRET}\"}}, \"b\": {{\"secret\": \
             \"{SECRET}\"}}}}}}"
        ),
        format!("{{\"token\": {{\"a\": {{\"secret\": \"x1\", \"policies\": [\"{SECRET}\"]}}}}}}"),
        format!("{{\"anonymous\": [\"{SECRET}\"]}}"),
        format!("{{\"policy\": {{\"{SECRET}\": {{}}}}, \"policy\": {{\"{SECRET}\": {{}}}}}}"),
        format!("{{\"policy\": {{\"p\": {{\"{SECRET}\": \"read\"}}}}}}"),
        format!("{{\"policy\": {{\"p\": {{\"acl\": \"{SECRET}\"}}}}}}"),
        format!("{{\"policy\": {{\"p\": \"{{\\\"{SECRET}\\\": \\\"read\\\"}}\"}}}}"),
        format!("{{\"token\": {{\"a\": {{\"policies\": \"{SECRET}\"}}}}}}"),
        format!("{{\"token\": {{\"a\": {{\"management\": \"{SECRET}\"}}}}}}"),
        format!("{{\"token\": {{\"a\": {{\"expires\": \"{SECRET}\"}}}}}}"),
    ] {
        let error = TokenStore::load_file(TokenFile::json(&text)).unwrap_err();
        assert_hidden(&error, &text);
        #[cfg(feature = "hcl")]
        for text in [&text[1..text.len() - 1], text.as_str()] {
            let text = text.replace("\": ", "\" = ");
            let error = TokenStore::load_file(TokenFile::new("hcl", &text)).unwrap_err();
            assert_hidden(&error, &text);
        }
    }
}

#[cfg(feature = "hcl")]
mod hcl {
    use super::*;

    #[test]
    fn broken_hcl_file_shows_no_secret() {
        assert_hidden_however_broken(
            "hcl",
            &format!(
                "policy \"p\" {{\n operator = \"read\"\n}}\ntoken \"a\" {{\n secret = \
                 \"{SECRET}\"\n policies = [\"p\"]\n}}\ntoken \"b\" {{ secret = \"x1\" }}\n"
            ),
        );
    }
}
