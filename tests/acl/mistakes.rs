//! Mistakes in token files: each error names the place and what to do.

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use cluster_operator::acl::{
    Access, AclError, LoadError, LoadErrorKind, LoadWarning, Resource, SecretFault, SyntaxProblem,
};
use cluster_operator::{Token, TokenStore};

use crate::token_file::TokenFile;

fn refused(file: &TokenFile) -> LoadError {
    TokenStore::load_file(file).expect_err("the file is refused")
}

/// The error's text without the path, and with its causes.
fn message(file: &TokenFile) -> String {
    let error = refused(file);
    let path = AsRef::<Path>::as_ref(file);
    assert_eq!(error.path(), Some(path));
    let text = error.to_string();
    let prefix = format!("cannot load {}: ", path.display());
    let text = text.strip_prefix(&prefix).expect("the path is named");
    match error.source() {
        Some(source) => format!("{text}: {source}"),
        None => text.to_owned(),
    }
}

fn json(text: &str) -> String {
    message(&TokenFile::json(text))
}

#[test]
fn mistakes_in_json_say_where_and_what_to_do() {
    const USE_FILE: &str = "use default_policy, anonymous, policy or token";
    const USE_TOKEN: &str = "use secret, description, policies, management or expires";
    const TIME: &str = "expires needs a time such as \"2030-01-01T00:00:00Z\", or null";
    for (text, expected) in [
        (
            "[]",
            "line 1, column 1: expected an object in braces".to_owned(),
        ),
        (
            "",
            "line 1, column 1: expected an object in braces".to_owned(),
        ),
        (
            "{\"anonymous\": [],}",
            "line 1, column 18: expected a name or a value in double quotes".to_owned(),
        ),
        (
            "{}{}",
            "line 1, column 3: the text goes on behind its last brace: remove that".to_owned(),
        ),
        (
            "{\n \"tokens\": {}}",
            "line 2, column 2: \"tokens\" is no attribute here: use token".to_owned(),
        ),
        (
            "{\"acl\": {}}",
            format!("line 1, column 2: \"acl\" is no attribute here: {USE_FILE}"),
        ),
        (
            "{\"default_policy\": \"DENY\"}",
            "line 1, column 20: default_policy needs \"allow\" or \"deny\"".to_owned(),
        ),
        (
            "{\"default_policy\": true}",
            "line 1, column 20: default_policy needs \"allow\" or \"deny\"".to_owned(),
        ),
        (
            "{\"anonymous\": \"read\"}",
            "line 1, column 15: anonymous needs a list of policy names".to_owned(),
        ),
        (
            "{\"anonymous\": [1]}",
            "line 1, column 16: anonymous needs a list of policy names".to_owned(),
        ),
        (
            "{\"anonymous\": [\"a\",]}",
            "line 1, column 20: the value is missing: write one in quotes".to_owned(),
        ),
        (
            "{\"anonymous\": [\"raed\"]}",
            "line 1, column 16: the policy is not defined: define it or correct the name"
                .to_owned(),
        ),
        (
            "{\"policy\": []}",
            "line 1, column 2: policy needs a name and a block of rules".to_owned(),
        ),
        (
            "{\"policy\": {\"a\": 1}}",
            "line 1, column 18: policy needs a block of rules or a text of them".to_owned(),
        ),
        (
            "{\"policy\": {\"a\": {}},\n\"policy\": {\"a\": {}}}",
            "line 2, column 12: a second policy has this name: rename or remove it".to_owned(),
        ),
        (
            "{\"token\": []}",
            "line 1, column 2: token needs an accessor id and a block".to_owned(),
        ),
        (
            "{\"token\": {\"a\": \"s\"}}",
            "line 1, column 17: token needs an accessor id and a block".to_owned(),
        ),
        (
            "{\"token\": {\"a\": {\n\"secret\": \"s1\", \"descripton\": \"x\"}}}",
            "line 2, column 17: \"descripton\" is no attribute here: use description".to_owned(),
        ),
        (
            "{\"token\": {\"a\": {\"SecretID\": \"s1\"}}}",
            "line 1, column 18: \"SecretID\" is no attribute here: use secret".to_owned(),
        ),
        (
            "{\"token\": {\"a\": {\"secret\": \"s1\", \"ExpirationTTL\": 1}}}",
            format!("line 1, column 34: \"ExpirationTTL\" is no attribute here: {USE_TOKEN}"),
        ),
        (
            "{\"token\": {\"a\": {\"s3cr3t-in-the-wrong-place\": 1}}}",
            format!("line 1, column 18: this is no attribute here: {USE_TOKEN}"),
        ),
        (
            "{\"token\": {\"a\": {\"secret\": 1}}}",
            "line 1, column 28: secret needs a text".to_owned(),
        ),
        (
            "{\"token\": {\"a\": {\"secret\": \"\\ud800\"}}}",
            "line 1, column 28: secret needs a text".to_owned(),
        ),
        (
            "{\"token\": {\"a\": {\"policies\": {}}}}",
            "line 1, column 30: policies needs a list of policy names".to_owned(),
        ),
        (
            "{\"token\": {\"a\": {\"management\": 1}}}",
            "line 1, column 32: management needs true or false".to_owned(),
        ),
        (
            "{\"token\": {\"a\": {\"expires\": \"soon\"}}}",
            format!("line 1, column 29: {TIME}"),
        ),
        (
            "{\"token\": {\"a\": {\"expires\": \"\"}}}",
            format!("line 1, column 29: {TIME}"),
        ),
        (
            "{\"token\": {\"a\": {\"secret\": \"s1\", \"secret\": \"t1\"}}}",
            "line 1, column 34: secret is given twice: give it once".to_owned(),
        ),
        (
            "{\"default_policy\": \"deny\", \"default_policy\": \"deny\"}",
            "line 1, column 28: default_policy is given twice: give it once".to_owned(),
        ),
        (
            "{\"anonymous\": [], \"anonymous\": []}",
            "line 1, column 19: anonymous is given twice: give it once".to_owned(),
        ),
        (
            "{\"token\": {\"a\": {}}}",
            "line 1, column 12: the token has no secret: give it one that nobody can guess"
                .to_owned(),
        ),
        (
            "{\"token\": {\"\": {\"secret\": \"s1\"}}}",
            "line 1, column 12: the token has an empty accessor id: give it one, by which logs \
             name it"
                .to_owned(),
        ),
        (
            "{\"token\": {\"a\": {\"secret\": \"s1\"},\n\"b\": {\"secret\": \"s1\"}}}",
            "line 2, column 1: a second token has this secret: give each its own".to_owned(),
        ),
        (
            "{\"token\": {\"a\": {\"secret\": \"s1\"},\n\"a\": {\"secret\": \"s2\"}}}",
            "line 2, column 1: a second token has this accessor id: give each its own".to_owned(),
        ),
        (
            "{\"token\": {\"a\": {\"secret\": \"s1\", \"policies\": [\n\"raed\"]}}}",
            "line 2, column 1: the policy is not defined: define it or correct the name".to_owned(),
        ),
        (
            "{\"policy\": {\"p\": {}}, \"token\":\n{\"a\": {\"secret\": \"s1\", \"policies\": \
             [\"p\"], \"management\": true}}}",
            "line 2, column 2: the management token has policies: it may do everything, so \
             remove them"
                .to_owned(),
        ),
        (
            "{\"policy\": {\"p\":\n{\"operator\": \"hunter2\"}}}",
            "line 2, column 1: the policy has invalid rules: line 2, column 14: invalid operator \
             policy: write \"read\", \"write\" or \"deny\""
                .to_owned(),
        ),
        (
            "{\"policy\": {\"p\":\n\"{\\\"operator\\\": \\\"hunter2\\\"}\"}}",
            "line 2, column 1: the policy has invalid rules: line 1, column 14: invalid operator \
             policy: write \"read\", \"write\" or \"deny\""
                .to_owned(),
        ),
        (
            "{\"policy\": {\"p\": {\"operater\": \"read\"}}}",
            "line 1, column 18: the policy has invalid rules: line 1, column 19: Consul has no \
             resource \"operater\": did you mean \"operator\""
                .to_owned(),
        ),
        (
            "{\"policy\": {\"p\": {\"frobnicate\": \"read\"}}}",
            "line 1, column 18: the policy has invalid rules: line 1, column 19: Consul has no \
             resource of this name: remove the rule"
                .to_owned(),
        ),
    ] {
        assert_eq!(json(text), expected, "{text}");
    }
}

#[cfg(feature = "hcl")]
#[test]
fn mistakes_in_hcl_say_where_and_what_to_do() {
    for (text, expected) in [
        (
            "token \"a\" {\n secret = \"x1\"\n secret = \"y1\"\n}",
            "line 3, column 2: secret is given twice: give it once",
        ),
        (
            "token = {\n a = { secret = \"x1\", \"secret\" = \"y1\" }\n}",
            "line 2, column 23: secret is given twice: give it once",
        ),
        (
            "token \"a\" {\n secret = \"x1\"\n descripton = \"x\"\n}",
            "line 3, column 2: \"descripton\" is no attribute here: use description",
        ),
        (
            "default_policy = \"deny\"\ndefault_policy = \"deny\"",
            "line 2, column 1: default_policy is given twice: give it once",
        ),
        (
            "default_policy = var.policy",
            "line 1, column 18: nothing is evaluated: put the value in quotes",
        ),
        (
            "default_policy \"x\" { }",
            "line 1, column 16: default_policy needs no label",
        ),
        (
            "token {\n secret = \"x1\"\n}",
            "line 2, column 11: token needs an accessor id and a block",
        ),
        (
            "token \"a\" \"b\" {\n}",
            "line 1, column 1: token needs an accessor id and a block",
        ),
        (
            "token \"a\" {\n secret \"b\" {}\n}",
            "line 2, column 9: secret needs no label",
        ),
        (
            "token \"a\" {\n secret = <<E\ns3cret\nE\n}",
            "line 1, column 7: the secret has white space: trim it, or take one without",
        ),
        (
            "token \"a\" {\n secret = \"x1\"\n}\ntoken \"a\" {\n secret = \"y1\"\n}",
            "line 4, column 7: a second token has this accessor id: give each its own",
        ),
        (
            "policy \"a\" {\n}\npolicy \"a\" {\n}",
            "line 3, column 8: a second policy has this name: rename or remove it",
        ),
        (
            "policy \"p\" {\n name = \"ops\"\n rules = \"operator = \\\"deny\\\"\"\n}",
            "line 1, column 12: the policy has invalid rules: line 3, column 2: the rules stand \
             in the text `rules`: give the content of that text as the policy",
        ),
        (
            "policy \"p\" {\n operator { policy = \"write\" }\n}",
            "line 1, column 12: the policy has invalid rules: line 2, column 11: invalid operator \
             policy of a block: write operator = \"read\", \"write\" or \"deny\"",
        ),
    ] {
        assert_eq!(message(&TokenFile::new("hcl", text)), expected, "{text}");
    }
}

#[test]
fn unusable_secrets_are_refused_with_a_hint() {
    use SecretFault::{Blank, Control, Placeholder, Published, TooShort, Whitespace};

    for (secret, fault) in [
        ("", Blank),
        (" \\n", Blank),
        ("\\ufeff", Blank),
        ("s3cret\\n", Whitespace),
        ("\\ts3cret", Whitespace),
        ("s3 cret", Whitespace),
        ("s3\\u00a0cret", Whitespace),
        ("\\ufeffs3cret", Whitespace),
        ("s3\\u0000cret", Control),
        ("s3\\u001bcret", Control),
        ("s3\\u0080cret", Control),
        ("s", TooShort),
        ("\\u00e9", TooShort),
        ("${TOKEN}", Placeholder),
        ("{{token}}", Placeholder),
        ("b1gs33cr3t", Published),
        ("527347d3-9653-07dc-adc0-598b8f2b0f4d", Published),
        ("527347D3-9653-07DC-ADC0-598B8F2B0F4D", Published),
        ("anonymous", Published),
    ] {
        let text = format!("{{\"token\": {{\"a\": {{\"secret\": \"{secret}\"}}}}}}");
        let error = refused(&TokenFile::json(&text));
        assert!(
            matches!(error.kind(), LoadErrorKind::UnusableSecret(found) if *found == fault),
            "{secret}: {error}"
        );
        assert_eq!(error.position().unwrap().column, 12);
    }
}

#[test]
fn accessor_that_is_a_secret_is_refused_and_hidden() {
    for text in [
        r#"{"token": {"s3cr3t-1": {"secret": "s3cr3t-1"}}}"#,
        r#"{"token": {"s3cr3t-1": {"secret": "x1"}, "a": {"secret": "s3cr3t-1"}}}"#,
    ] {
        let error = refused(&TokenFile::json(text));
        assert!(matches!(error.kind(), LoadErrorKind::AccessorIsSecret));
        assert!(!format!("{error} {error:?}").contains("s3cr3t"));
    }
    let text = r#"{"token": {"b852fbe7-fba0-1ebe-cae4-8553c5cf703c": {"policies": []}}}"#;
    let error = refused(&TokenFile::json(text));
    assert!(!format!("{error} {error:?}").contains("b852fbe7"));
}

#[test]
fn zero_time_and_null_are_no_expiry() {
    for expires in [
        "null",
        "\"0001-01-01T00:00:00Z\"",
        "\"0001-01-01T00:00:00+00:00\"",
        "\"9999-12-31T23:59:59Z\"",
    ] {
        let text =
            format!("{{\"token\": {{\"a\": {{\"secret\": \"s1\", \"expires\": {expires}}}}}}}");
        let store = TokenStore::load_file(TokenFile::json(&text)).unwrap();
        let decision = store.check(Some(&Token::new("s1")), Resource::Operator, Access::Read);
        assert!(
            matches!(decision, Err(AclError::Denied { .. })),
            "{expires}"
        );
    }
    for expires in [
        "0001-01-01T00:00:01Z",
        "1969-12-31T00:00:00Z",
        "2020-01-01T00:00:00Z",
    ] {
        let text =
            format!("{{\"token\": {{\"a\": {{\"secret\": \"s1\", \"expires\": \"{expires}\"}}}}}}");
        let store = TokenStore::load_file(TokenFile::json(&text)).unwrap();
        let decision = store.check(Some(&Token::new("s1")), Resource::Operator, Access::Read);
        assert_eq!(decision, Err(AclError::UnknownToken), "{expires}");
    }
}

#[test]
fn null_means_that_an_attribute_is_left_out() {
    let text = r#"{
        "default_policy": null, "anonymous": null, "policy": null,
        "token": {"a": {"secret": "s1", "description": null, "policies": null, "management": null}}
    }"#;
    let store = TokenStore::load_file(TokenFile::json(text)).unwrap();
    assert_eq!(store.snapshot().tokens(), 1);
    let error = refused(&TokenFile::json(r#"{"token": {"a": {"secret": null}}}"#));
    assert!(matches!(error.kind(), LoadErrorKind::NoSecret));
}

#[test]
fn byte_order_mark_is_read_over() {
    for extension in ["json", if cfg!(feature = "hcl") { "hcl" } else { "json" }] {
        let text = match extension {
            "json" => "\u{feff}{\"token\": {\"a\": {\"secret\": \"s1\"}}}",
            _ => "\u{feff}token \"a\" { secret = \"s1\" }",
        };
        let store = TokenStore::load_file(TokenFile::new(extension, text)).unwrap();
        assert_eq!(store.snapshot().tokens(), 1);
    }
}

#[test]
fn other_encodings_are_named() {
    let text = "{\"token\": {}}";
    let utf16 =
        |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> { text.encode_utf16().flat_map(bytes).collect() };
    let little = utf16(u16::to_le_bytes);
    let big = utf16(u16::to_be_bytes);
    for bytes in [
        [&[0xff, 0xfe], &little[..]].concat(),
        [&[0xfe, 0xff], &big[..]].concat(),
        little,
        big,
    ] {
        assert_eq!(
            message(&TokenFile::new("json", bytes)),
            "the file is in UTF-16 or UTF-32: save it as UTF-8"
        );
    }
    for extension in ["json", "hcl"] {
        assert_eq!(
            message(&TokenFile::new(extension, b"# \n\xc3\xa9 \xff\n")),
            "line 2, column 3: this is not UTF-8: save the file as UTF-8"
        );
    }
}

#[test]
fn depth_and_size_of_a_file_are_bounded() {
    let nested = |depth: usize| {
        let (open, close) = ("{\"a\":".repeat(depth - 4), "}".repeat(depth - 1));
        format!("{{\"token\": {{\"a\": {{\"secret\": \"s1\", \"description\": {open}{{}}{close}")
    };
    assert!(TokenStore::load_file(TokenFile::json(&nested(64))).is_ok());
    let error = refused(&TokenFile::json(&nested(65)));
    assert!(
        matches!(error.kind(), LoadErrorKind::Syntax(SyntaxProblem::TooDeep)),
        "{error}"
    );

    let file = TokenFile::json("");
    let mut text = vec![b' '; TokenStore::MAX_FILE_BYTES];
    text[..2].copy_from_slice(b"{}");
    file.write(&text);
    assert!(TokenStore::load_file(&file).is_ok());
    let handle = File::options().write(true).open(&file).unwrap();
    handle
        .set_len(TokenStore::MAX_FILE_BYTES as u64 + 1)
        .unwrap();
    assert_eq!(
        message(&file),
        "a token file has at most 33554432 bytes: split it"
    );
}

#[cfg(feature = "hcl")]
#[test]
fn labels_in_a_file_are_bounded() {
    let text = format!("token{} {{}}", " b".repeat(20_000));
    let error = refused(&TokenFile::new("hcl", text));
    assert!(matches!(
        error.kind(),
        LoadErrorKind::Syntax(SyntaxProblem::TooManyLabels)
    ));
}

#[test]
fn file_that_cannot_be_read_is_named_with_the_reason() {
    let missing = std::env::temp_dir().join("cluster-operator-acl-missing.json");
    let error = TokenStore::load_file(&missing).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot load {}: the file cannot be read", missing.display())
    );
    assert!(error.source().is_some());
    let directory = TokenStore::load_file(std::env::temp_dir()).unwrap_err();
    assert!(matches!(directory.kind(), LoadErrorKind::NotAFile));
}

/// A test that fails hangs: nobody writes into the pipe.
#[cfg(unix)]
#[test]
fn pipe_or_device_is_refused_without_waiting() {
    let file = TokenFile::json("{}");
    let store = TokenStore::load_file(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(file.as_ref())
        .status()
        .unwrap();
    assert!(made.success());
    for error in [
        TokenStore::load_file(&file).unwrap_err(),
        store.reload_file(&file).unwrap_err(),
        TokenStore::load_file("/dev/zero").unwrap_err(),
    ] {
        assert!(matches!(error.kind(), LoadErrorKind::NotAFile), "{error}");
        assert!(error.to_string().contains("not a regular file"));
    }
}

#[cfg(unix)]
#[test]
fn file_that_everyone_may_read_loads_with_a_warning() {
    let file = TokenFile::json("{}");
    let path = AsRef::<Path>::as_ref(&file).to_owned();
    let warning = LoadWarning::OpenToAll(path);
    for (mode, warned) in [
        (0o600, false),
        (0o640, false),
        (0o644, true),
        (0o604, true),
        (0o602, true),
    ] {
        file.set_mode(mode);
        let store = TokenStore::load_file(&file).unwrap();
        assert_eq!(store.warnings().contains(&warning), warned, "{mode:o}");
    }
    assert!(warning.to_string().contains("chmod o-rwx"));
    // A reload replaces the warnings as well.
    file.set_mode(0o644);
    let store = TokenStore::load_file(&file).unwrap();
    file.set_mode(0o600);
    assert_eq!(store.warnings().len(), 1);
    store.reload_file(&file).unwrap();
    assert!(store.warnings().is_empty());
}

#[test]
fn secret_of_the_example_loads_with_a_warning() {
    let text = "{\"token\": {\"a\": {\n\"secret\": \"replace-me-6f0c9d8e-dashboard\"}}}";
    let store = TokenStore::load_file(TokenFile::json(text)).unwrap();
    let warnings = store.warnings();
    let [warning @ LoadWarning::ExampleSecret(_, position)] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    assert_eq!(position.line, 2);
    assert!(!warning.to_string().contains("6f0c9d8e"));
}

/// The seconds since 1970 at which a token with this expiry becomes unknown.
fn expiry(text: &str) -> Option<u64> {
    let now = Arc::new(AtomicU64::new(0));
    let clock = now.clone();
    let file = format!("{{\"token\": {{\"a\": {{\"secret\": \"s1\", \"expires\": \"{text}\"}}}}}}");
    let store = TokenStore::builder()
        .clock(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed)))
        .load_file(TokenFile::json(&file))
        .ok()?;
    let token = Token::new("s1");
    let (mut known, mut unknown) = (0, 1 << 40);
    while known < unknown {
        let middle = (known + unknown) / 2;
        now.store(middle, Ordering::Relaxed);
        match store.check(Some(&token), Resource::Operator, Access::Read) {
            Err(AclError::UnknownToken) => unknown = middle,
            _ => known = middle + 1,
        }
    }
    Some(unknown)
}

#[test]
fn expiry_is_a_time_as_consul_writes_it() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59Z", 0),
        ("1970-01-01T00:00:00-00:01", 60),
        ("2000-02-29T12:00:00z", 951_825_600),
        ("2000-03-01 00:00:00Z", 951_868_800),
        ("2018-10-24T12:25:06.921933-04:00", 1_540_398_306),
        ("2038-01-19T03:14:08Z", 2_147_483_648),
        ("2100-03-01T00:00:00+05:30", 4_107_522_600),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ] {
        assert_eq!(expiry(text), Some(seconds), "{text}");
    }
    for text in [
        "2030-01-01",
        "2030-01-01T00:00:00",
        "2030-1-01T00:00:00Z",
        "2030-02-29T00:00:00Z",
        "2030-13-01T00:00:00Z",
        "2030-01-01T25:00:00Z",
        "2030-01-01T00:60:00Z",
        "2030-01-01T00:00:00.Z",
        "2030-01-01T00:00:00Zx",
        "2030-01-01T00:00:00+00:60",
        "2030-01-01T00:00:00+01:00[Europe/Paris]",
        "2030-01-01T00:00:00\u{661}Z",
        "tomorrow",
    ] {
        assert_eq!(expiry(text), None, "{text}");
    }
}
