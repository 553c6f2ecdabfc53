//! Token files: what loads, and what does not.

use std::fs;
use std::path::{Path, PathBuf};

use cluster_operator::acl::{
    Access, AccessorId, AclError, DefaultPolicy, LoadErrorKind, Resource, Rule, Rules,
    TokenDefinition,
};
use cluster_operator::{AclAuthorizer, Token, TokenStore};

use crate::token_file::TokenFile;

/// The decisions about operator read and write, keyring read and write.
fn decisions(store: &TokenStore, secret: Option<&str>) -> [bool; 4] {
    let token = secret.map(Token::new);
    [
        (Resource::Operator, Access::Read),
        (Resource::Operator, Access::Write),
        (Resource::Keyring, Access::Read),
        (Resource::Keyring, Access::Write),
    ]
    .map(|(resource, access)| store.check(token.as_ref(), resource, access).is_ok())
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/policies")
        .join(name)
}

fn assert_sample(name: &str) {
    let store = TokenStore::load_file(sample(name)).expect("the sample loads");
    assert_eq!(store.default_policy(), DefaultPolicy::Deny);
    assert_eq!(store.snapshot().tokens(), 4);
    for (secret, expected) in [
        (None, [false; 4]),
        (
            Some("replace-me-6f0c9d8e-dashboard"),
            [true, false, true, false],
        ),
        (
            Some("replace-me-1b7e42aa-on-call"),
            [true, true, true, false],
        ),
        (
            Some("replace-me-93c5d0f4-key-rotation"),
            [false, false, true, true],
        ),
        (Some("replace-me-e05d77b1-break-glass"), [true; 4]),
        (Some("replace-me"), [false; 4]),
    ] {
        assert_eq!(decisions(&store, secret), expected, "{name}: {secret:?}");
    }
}

#[test]
fn sample_token_file_loads() {
    assert_sample("tokens.json");
}

#[test]
fn policy_is_a_block_of_rules_or_a_text_of_them() {
    let store = TokenStore::load_file(TokenFile::json(
        r#"{
          "token": {"a": {"secret": "x1", "policies": ["block", "text"]}},
          "policy": {
            "block": {"operator": "read", "key": {"": {"policy": "deny"}}},
            "text": "{\"keyring\": \"write\"}"
          }
        }"#,
    ))
    .unwrap();
    assert_eq!(decisions(&store, Some("x1")), [true, false, true, true]);
}

#[test]
fn escapes_in_a_file_are_decoded() {
    let name = "\u{8}\u{c}\n\r\t\"\\/\u{e9}\u{1f600}\u{10000}\u{10ffff}.";
    let escaped = r#"\b\f\n\r\t\"\\\/\u00e9\ud83d\ude00\ud800\udc00\udbff\udfff."#;
    let file =
        format!("{{\"token\": {{\"a\": {{\"secret\": \"x1\", \"policies\": [\"{escaped}\"]}}}}}}");
    let read = Rules::new().with(Resource::Operator, Rule::Read);
    let builder = TokenStore::builder().policy(name, read);
    let store = builder.load_file(TokenFile::json(&file)).unwrap();
    assert_eq!(decisions(&store, Some("x1")), [true, false, false, false]);
    for unpaired in [r"\ud800", r"\ud800\u0061", r"\udc00", r"\ud800x\udc00"] {
        let file = format!("{{\"policy\": {{\"{unpaired}\": {{}}}}}}");
        let error = TokenStore::load_file(TokenFile::json(&file)).unwrap_err();
        assert!(matches!(
            error.kind(),
            LoadErrorKind::InvalidAttribute {
                attribute: "policy",
                ..
            }
        ));
    }
}

#[test]
fn file_sets_the_default_policy() {
    for (text, default, allowed) in [
        (r#"{"default_policy": "allow"}"#, DefaultPolicy::Allow, true),
        (r#"{"default_policy": "deny"}"#, DefaultPolicy::Deny, false),
        ("{}", DefaultPolicy::Deny, false),
    ] {
        let store = TokenStore::load_file(TokenFile::json(text)).unwrap();
        assert_eq!(store.default_policy(), default, "{text}");
        assert_eq!(decisions(&store, None), [allowed; 4], "{text}");
    }
}

#[test]
fn file_and_code_make_one_store() {
    let keyring = Rules::new().with(Resource::Keyring, Rule::Read);
    let code = || {
        TokenStore::builder()
            .policy("code", keyring)
            .anonymous_policy("code")
            .token(TokenDefinition::management(
                AccessorId::new("root"),
                Token::new("root-secret"),
            ))
    };
    let file = TokenFile::json(
        r#"{
          "default_policy": "deny",
          "anonymous": ["file"],
          "policy": {"file": {"operator": "read"}},
          "token": {"a": {"secret": "x1", "policies": ["code"]}}
        }"#,
    );
    let store = code().load_file(&file).unwrap();
    assert_eq!(decisions(&store, None), [true, false, true, false]);
    assert_eq!(decisions(&store, Some("x1")), [false, false, true, false]);
    assert_eq!(decisions(&store, Some("root-secret")), [true; 4]);

    file.write(r#"{"token": {"b": {"secret": "y1", "policies": ["code"]}}}"#);
    store.reload_file(&file).unwrap();
    assert_eq!(decisions(&store, None), [false, false, true, false]);
    assert_eq!(decisions(&store, Some("x1")), [false; 4]);
    assert_eq!(decisions(&store, Some("y1")), [false, false, true, false]);
    assert_eq!(decisions(&store, Some("root-secret")), [true; 4]);

    file.write(r#"{"default_policy": "allow"}"#);
    let twice = code().default_policy(DefaultPolicy::Deny).load_file(&file);
    assert!(matches!(
        twice.unwrap_err().kind(),
        LoadErrorKind::RepeatedAttribute {
            attribute: "default_policy"
        }
    ));
    file.write(r#"{"token": {"root": {"secret": "x1"}}}"#);
    let twins = code().load_file(&file);
    assert!(matches!(
        twins.unwrap_err().kind(),
        LoadErrorKind::DuplicateAccessor
    ));
    file.write(r#"{"token": {"a": {"secret": "root-secret"}}}"#);
    let twins = code().load_file(&file);
    assert!(matches!(
        twins.unwrap_err().kind(),
        LoadErrorKind::DuplicateSecret
    ));
}

#[test]
fn failed_reload_changes_nothing() {
    let file = TokenFile::json(r#"{"token": {"a": {"secret": "x1", "management": true}}}"#);
    let store = TokenStore::load_file(&file).unwrap();
    for text in [
        "",
        r#"{"token": {"b": {"secret": "y1", "management": true}}"#,
        r#"{"token": {"b": {"secret": "y1", "policies": ["none"]}}}"#,
    ] {
        file.write(text);
        assert!(store.reload_file(&file).is_err());
        assert_eq!(decisions(&store, Some("x1")), [true; 4]);
        let unknown = store.check(Some(&Token::new("y1")), Resource::Keyring, Access::Read);
        assert_eq!(unknown, Err(AclError::UnknownToken));
    }
    fs::remove_file(&file).unwrap();
    let missing = store.reload_file(&file).unwrap_err();
    assert!(matches!(missing.kind(), LoadErrorKind::Read(_)));
    let nonsense = TokenStore::builder().anonymous_policy("none");
    assert!(store.replace(nonsense).is_err());
    assert_eq!(decisions(&store, Some("x1")), [true; 4]);
}

#[cfg(feature = "hcl")]
#[test]
fn sample_token_file_in_hcl_loads() {
    assert_sample("tokens.hcl");
}

#[cfg(feature = "hcl")]
#[test]
fn names_in_hcl_are_labels_or_stand_in_a_block() {
    let text = "policy = { \"p\" { operator = \"read\" } q = { keyring = \"read\" } }\n\
                token { \"a\" { secret = \"x1\", policies = [\"p\", \"q\"] } }\n\
                token b { secret = \"y1\" policies = [\"q\",] }";
    let store = TokenStore::load_file(TokenFile::new("hcl", text)).unwrap();
    assert_eq!(decisions(&store, Some("x1")), [true, false, true, false]);
    assert_eq!(decisions(&store, Some("y1")), [false, false, true, false]);
}

#[cfg(not(feature = "hcl"))]
#[test]
fn hcl_file_is_refused_if_hcl_is_not_compiled_in() {
    let error = TokenStore::load_file(sample("tokens.hcl")).unwrap_err();
    assert!(matches!(error.kind(), LoadErrorKind::HclDisabled));
}
