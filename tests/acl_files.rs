//! Token files: what loads, and what does not.

mod token_file;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use cluster_operator::{
    Access, AccessorId, AclAuthorizer, AclError, DefaultPolicy, LoadError, Resource, Rule, Rules,
    RulesError, Token, TokenDefinition, TokenStore,
};
use token_file::TokenFile;

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
fn the_sample_token_file_loads() {
    assert_sample("tokens.json");
}

/// What the problem with a file is, and where.
fn problem(text: &str) -> (usize, String) {
    match TokenStore::load_file(TokenFile::json(text)).expect_err("the file is refused") {
        LoadError::Syntax {
            position, problem, ..
        } => (position.line, problem),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_file_of_another_form_says_what_is_expected_instead() {
    const FILE: &str = "expected a block with default_policy, anonymous, policy and token";
    const TOKEN: &str =
        "expected a block with secret, description, policies, management and expires";
    const TIME: &str = "expected a time, as in \"2030-01-01T00:00:00Z\"";
    for (text, expected) in [
        ("[]", FILE),
        ("{\"tokens\": {}}", FILE),
        (
            "{\"default_policy\": \"DENY\"}",
            "expected \"allow\" or \"deny\"",
        ),
        (
            "{\"default_policy\": true}",
            "expected \"allow\" or \"deny\"",
        ),
        (
            "{\"anonymous\": \"read\"}",
            "expected a list of policy names",
        ),
        ("{\"anonymous\": [1]}", "expected a list of policy names"),
        ("{\"policy\": []}", "expected policies by name"),
        (
            "{\"policy\": {\"a\": 1}}",
            "expected a block of rules or a text of them",
        ),
        ("{\"token\": []}", "expected tokens by accessor id"),
        ("{\"token\": {\"a\": \"s\"}}", TOKEN),
        (
            "{\"token\": {\"a\": {\"secret\": \"s\", \"ttl\": 1}}}",
            TOKEN,
        ),
        (
            "{\"token\": {\"a\": {\"secret\": 1}}}",
            "expected a secret, which is a text",
        ),
        (
            "{\"token\": {\"a\": {\"policies\": {}}}}",
            "expected a list of policy names",
        ),
        (
            "{\"token\": {\"a\": {\"management\": 1}}}",
            "expected true or false",
        ),
        ("{\"token\": {\"a\": {\"expires\": \"soon\"}}}", TIME),
        ("{\"token\": {\"a\": {\"expires\": null}}}", TIME),
        (
            "{\"token\": {\"a\": {\"secret\": \"s\", \"secret\": \"t\"}}}",
            "secret is given twice: give it once",
        ),
        (
            "{\"default_policy\": \"deny\", \"default_policy\": \"deny\"}",
            "default_policy is given twice: give it once",
        ),
        (
            "{\"anonymous\": [], \"anonymous\": []}",
            "anonymous is given twice: give it once",
        ),
        ("{", "EOF while parsing an object"),
        ("", "EOF while parsing a value"),
        ("{}{}", "trailing characters"),
    ] {
        assert_eq!(problem(text), (1, expected.to_owned()), "{text}");
    }
    assert_eq!(problem("{\n\n\"a\": 1}").0, 3);
}

#[test]
fn a_policy_in_a_file_is_a_block_of_rules_or_a_text_of_them() {
    let store = TokenStore::load_file(TokenFile::json(
        r#"{
          "token": {"a": {"secret": "x", "policies": ["block", "text"]}},
          "policy": {
            "block": {"operator": "read", "key": {"": {"policy": "deny"}}},
            "text": "{\"keyring\": \"write\"}"
          }
        }"#,
    ))
    .unwrap();
    assert_eq!(decisions(&store, Some("x")), [true, false, true, true]);
}

#[test]
fn invalid_rules_in_a_file_name_the_policy_and_the_place_and_no_value() {
    for (text, rules, place) in [
        (
            "{\"policy\": {\"p\":\n{\"operator\": \"hunter2\"}}}",
            "Invalid operator policy at line 2, column 22: give \"read\", \"write\" or \"deny\"",
            2,
        ),
        (
            "{\"policy\": {\"p\": \"{\\\"operator\\\": \\\"hunter2\\\"}\"}}",
            "Invalid operator policy at line 1, column 22: give \"read\", \"write\" or \"deny\"",
            1,
        ),
    ] {
        let error = TokenStore::load_file(TokenFile::json(text)).unwrap_err();
        assert_eq!(error.to_string(), "the policy \"p\" has no valid rules");
        assert_eq!(error.source().unwrap().to_string(), rules);
        let LoadError::InvalidRules {
            source: RulesError::InvalidRule {
                position, value, ..
            },
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((position.line, value), (place, None));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let missing = std::env::temp_dir().join("cluster-operator-acl-missing.json");
    let error = TokenStore::load_file(&missing).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot read {}", missing.display())
    );
    assert!(error.source().is_some());
    let directory = TokenStore::load_file(std::env::temp_dir()).unwrap_err();
    assert!(matches!(directory, LoadError::Read { .. }), "{directory:?}");
}

#[test]
fn the_default_is_what_the_file_says() {
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
fn a_file_and_code_make_one_store() {
    let keyring = Rules::new().with(Resource::Keyring, Rule::Read);
    let code = || {
        TokenStore::builder()
            .policy("code", keyring)
            .anonymous_policy("code")
            .token(TokenDefinition::management(
                AccessorId::new("root"),
                Token::new("root"),
            ))
    };
    let file = TokenFile::json(
        r#"{
          "default_policy": "deny",
          "anonymous": ["file"],
          "policy": {"file": {"operator": "read"}},
          "token": {"a": {"secret": "x", "policies": ["code"]}}
        }"#,
    );
    let store = code().load_file(&file).unwrap();
    assert_eq!(decisions(&store, None), [true, false, true, false]);
    assert_eq!(decisions(&store, Some("x")), [false, false, true, false]);
    assert_eq!(decisions(&store, Some("root")), [true; 4]);

    file.write(r#"{"token": {"b": {"secret": "y", "policies": ["code"]}}}"#);
    store.reload_file(&file).unwrap();
    assert_eq!(decisions(&store, None), [false, false, true, false]);
    assert_eq!(decisions(&store, Some("x")), [false; 4]);
    assert_eq!(decisions(&store, Some("y")), [false, false, true, false]);
    assert_eq!(decisions(&store, Some("root")), [true; 4]);

    file.write(r#"{"default_policy": "allow"}"#);
    let twice = code().default_policy(DefaultPolicy::Deny).load_file(&file);
    assert!(matches!(twice, Err(LoadError::Syntax { .. })), "{twice:?}");
    file.write(r#"{"token": {"root": {"secret": "x"}}}"#);
    let twins = code().load_file(&file);
    assert!(matches!(twins, Err(LoadError::DuplicateAccessor { .. })));
    file.write(r#"{"token": {"a": {"secret": "root"}}}"#);
    let twins = code().load_file(&file);
    assert!(matches!(twins, Err(LoadError::DuplicateSecret { .. })));
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    let file = TokenFile::json(r#"{"token": {"a": {"secret": "x", "management": true}}}"#);
    let store = TokenStore::load_file(&file).unwrap();
    for text in [
        "",
        r#"{"token": {"b": {"secret": "y", "management": true}}"#,
        r#"{"token": {"b": {"secret": "y", "policies": ["none"]}}}"#,
    ] {
        file.write(text);
        assert!(store.reload_file(&file).is_err());
        assert_eq!(decisions(&store, Some("x")), [true; 4]);
        let stranger = store.check(Some(&Token::new("y")), Resource::Keyring, Access::Read);
        assert_eq!(stranger, Err(AclError::UnknownToken));
    }
    fs::remove_file(&file).unwrap();
    assert!(matches!(
        store.reload_file(&file),
        Err(LoadError::Read { .. })
    ));
    let nonsense = TokenStore::builder().anonymous_policy("none");
    assert!(store.replace(nonsense).is_err());
    assert_eq!(decisions(&store, Some("x")), [true; 4]);
}

#[cfg(feature = "hcl")]
mod hcl {
    use super::*;

    #[test]
    fn the_sample_token_file_in_hcl_loads() {
        assert_sample("tokens.hcl");
    }

    #[test]
    fn what_hcl_repeats_or_refers_to_is_refused() {
        for (text, line) in [
            ("token \"a\" {\n secret = \"x\"\n secret = \"y\"\n}", 3),
            (
                "token = {\n a = { secret = \"x\", \"secret\" = \"y\" }\n}",
                2,
            ),
            ("default_policy = \"deny\"\ndefault_policy = \"deny\"", 2),
            ("default_policy = var.policy", 1),
            ("token \"a\" {\n secret = \"${x}\"\n}", 2),
            ("token {\n secret = \"x\"\n}", 2),
        ] {
            let error = TokenStore::load_file(TokenFile::new("hcl", text)).unwrap_err();
            let LoadError::Syntax { position, .. } = &error else {
                panic!("{text}: {error:?}");
            };
            assert_eq!(position.line, line, "{error}");
        }
        for text in [
            "token \"a\" {\n secret = \"x\"\n}\ntoken \"a\" {\n secret = \"y\"\n}",
            "policy \"a\" {\n}\npolicy \"a\" {\n}",
        ] {
            let error = TokenStore::load_file(TokenFile::new("hcl", text)).unwrap_err();
            assert!(matches!(
                error,
                LoadError::DuplicateAccessor { .. } | LoadError::DuplicatePolicy { .. }
            ));
        }
    }

    #[test]
    fn an_hcl_file_that_is_not_utf8_says_in_which_line() {
        let file = TokenFile::new("hcl", b"anonymous = []\n# \xff\n");
        let error = TokenStore::load_file(&file).unwrap_err();
        let LoadError::Syntax { position, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(position.line, 2);
    }
}

#[cfg(not(feature = "hcl"))]
#[test]
fn an_hcl_file_says_that_hcl_is_not_compiled_in() {
    let error = TokenStore::load_file(sample("tokens.hcl")).unwrap_err();
    assert!(matches!(error, LoadError::HclDisabled { .. }), "{error:?}");
}
