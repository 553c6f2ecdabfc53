//! The rule language in JSON, and what both syntaxes share.

use cluster_operator::{Resource, Rule, Rules, RulesError};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Rules, RulesError> {
    text.parse()
}

fn message(text: &str) -> String {
    parse(text).expect_err("the text is refused").to_string()
}

#[test]
fn a_policy_that_consul_uses_loads_as_it_is() {
    let text = r#"{
      "acl": "read",
      "agent_prefix": {"": {"policy": "write"}},
      "key": {"foo/bar": {"policy": "read"}, "foo/private/": {"policy": "deny"}},
      "key_prefix": [{"": {"policy": "write", "sentinel": {"code": "main = rule { true }"}}}],
      "keyring": "write",
      "node_prefix": {"": {"policy": "read"}},
      "operator": "read",
      "service": {"web": {"policy": "write", "intentions": "READ"}}
    }"#;
    let expected = Rules::new()
        .with(Resource::Operator, Rule::Read)
        .with(Resource::Keyring, Rule::Write);
    assert_eq!(parse(text), Ok(expected));
}

#[test]
fn what_says_nothing_says_nothing() {
    for text in [
        "",
        " \n\t",
        "{}",
        r#"{"operator": "", "keyring": ""}"#,
        r#"{"key": 1}"#,
    ] {
        assert_eq!(parse(text), Ok(Rules::new()), "{text:?}");
    }
}

#[test]
fn a_value_that_is_none_of_the_three_is_named_with_its_place() {
    for (text, words) in [
        (
            "{\n  \"operator\": \"x\"\n}",
            "Invalid operator policy: \"x\" at line 2, column 17",
        ),
        (
            "{\"keyring\": \"list\"}",
            "Invalid keyring policy: \"list\" at line 1, column 18",
        ),
        (
            "{\"keyring\": 1}",
            "Invalid keyring policy: \"1\" at line 1, column 13",
        ),
        (
            "{\"keyring\": -1}",
            "Invalid keyring policy: \"-1\" at line 1, column 14",
        ),
        (
            "{\"keyring\": 1.5}",
            "Invalid keyring policy: \"1.5\" at line 1, column 15",
        ),
        (
            "{\"keyring\": true}",
            "Invalid keyring policy: \"true\" at line 1, column 16",
        ),
        (
            "{\"keyring\": null}",
            "Invalid keyring policy: null at line 1, column 16",
        ),
        (
            "{\"keyring\": []}",
            "Invalid keyring policy: a list at line 1, column 14",
        ),
        (
            "{\"keyring\": {}}",
            "Invalid keyring policy: a block at line 1, column 14",
        ),
        (
            "{\"keyring\": \"a text of thirty-two letters, so\"}",
            "Invalid keyring policy: \"a text of thirty-two letters, so\" at line 1, column 46",
        ),
        (
            "{\"keyring\": \"a text of thirty-three letters so\"}",
            "Invalid keyring policy: a longer text at line 1, column 47",
        ),
    ] {
        let expected = format!("{words}: give \"read\", \"write\" or \"deny\"");
        assert_eq!(message(text), expected);
    }
}

#[test]
fn a_rule_that_is_given_twice_is_refused_even_if_it_says_the_same() {
    for text in [
        r#"{"operator": "deny", "operator": "write"}"#,
        r#"{"operator": "read", "operator": "read"}"#,
        r#"{"operator": "", "operator": "read"}"#,
        r#"{"operator": "read", "Operator": "deny"}"#,
        r#"{"operator": "read", "oper\u0061tor": "deny"}"#,
    ] {
        let error = parse(text).unwrap_err();
        let RulesError::DuplicateRule { resource, position } = error else {
            panic!("{error:?}");
        };
        assert_eq!((resource, position.line), (Resource::Operator, 1));
    }
    assert_eq!(
        message("{\"keyring\": \"read\",\n\"keyring\": \"read\"}"),
        "duplicate rule at line 2, column 9: give one rule about keyring"
    );
}

#[test]
fn a_rules_name_counts_in_any_case_because_consul_would_deny_by_it() {
    for name in ["operator", "Operator", "OPERATOR"] {
        let text = format!("{{\"{name}\": \"deny\"}}");
        let expected = Rules::new().with(Resource::Operator, Rule::Deny);
        assert_eq!(parse(&text), Ok(expected));
    }
    // The Kelvin sign is a k to Go.
    let text = "{\"\u{212a}eyring\": \"deny\"}";
    assert_eq!(
        parse(text),
        Ok(Rules::new().with(Resource::Keyring, Rule::Deny))
    );
    for name in ["operator_prefix", " operator", "operators", "opérator"] {
        assert_eq!(
            parse(&format!("{{\"{name}\": \"deny\"}}")),
            Ok(Rules::new())
        );
    }
}

#[test]
fn a_text_that_does_not_parse_says_where() {
    for (text, expected) in [
        (
            "{",
            "Failed to parse ACL rules: line 1, column 1: EOF while parsing an object",
        ),
        (
            "{\"operator\": \"read\",}",
            "Failed to parse ACL rules: line 1, column 21: trailing comma",
        ),
        (
            "{} {}",
            "Failed to parse ACL rules: line 1, column 4: trailing characters",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
    let RulesError::Syntax { position, problem } = Rules::from_json("[\"operator\"]").unwrap_err()
    else {
        panic!("a list is no set of rules");
    };
    assert_eq!(position.line, 1);
    assert_eq!(problem, "expected rules, as in {\"operator\": \"read\"}");
}

/// Not for rules that say nothing: then the default would hold.
#[cfg(not(feature = "hcl"))]
#[test]
fn rules_in_hcl_are_refused_where_hcl_is_not_compiled_in() {
    assert_eq!(parse("operator = \"deny\""), Err(RulesError::HclDisabled));
}

fn rule() -> impl Strategy<Value = Option<Rule>> {
    proptest::sample::select(vec![
        None,
        Some(Rule::Read),
        Some(Rule::Write),
        Some(Rule::Deny),
    ])
}

proptest! {
    #[test]
    fn any_text_is_rules_or_an_error(text in ".*") {
        let _ = text.parse::<Rules>();
        let _ = Rules::from_json(&text);
    }

    #[test]
    fn any_text_like_rules_is_rules_or_an_error(
        text in r#"[{}\[\]:,"\\ \n=#a-z0-9é]{0,40}|(\{|"operator"|"keyring"|:|"read"|"deny"|,|\}|1| ){0,12}"#,
    ) {
        if let Ok(rules) = text.parse::<Rules>() {
            prop_assert_eq!(rules.to_string().parse::<Rules>(), Ok(rules));
        }
        let _ = Rules::from_json(&text);
    }

    #[test]
    fn rules_parse_back_from_what_they_are_written_as(
        operator in rule(),
        keyring in rule(),
        swapped in any::<bool>(),
        space in "[ \n\t]{0,3}",
    ) {
        let mut expected = Rules::new();
        let mut members = Vec::new();
        for (resource, rule) in [(Resource::Operator, operator), (Resource::Keyring, keyring)] {
            if let Some(rule) = rule {
                expected = expected.with(resource, rule);
                members.push(format!("{space}\"{resource}\"{space}:{space}\"{rule}\"{space}"));
            }
        }
        if swapped {
            members.reverse();
        }
        let text = format!("{{{}}}", members.join(","));
        prop_assert_eq!(text.parse::<Rules>(), Ok(expected));
        prop_assert_eq!(expected.to_string().parse::<Rules>(), Ok(expected));
    }
}
