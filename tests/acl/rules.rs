//! Policies in JSON, and what both languages share.

use cluster_operator::acl::{
    Access, DefaultPolicy, Resource, Rule, Rules, RulesError, RulesErrorKind, SyntaxProblem,
};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Rules, RulesError> {
    text.parse()
}

fn message(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn policy_in_use_with_consul_loads() {
    let text = r#"{
      "acl": "read",
      "agent_prefix": {"": {"policy": "write"}},
      "key": {"foo/bar": {"policy": "read"}, "foo/private/": {"policy": "deny"}},
      "key_prefix": [{"": {"policy": "list", "sentinel": {"code": "main = rule { true }"}}}],
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
fn blank_policy_has_no_rules() {
    for text in [
        "",
        " \n\t",
        "{}",
        r#"{"operator": "", "keyring": null}"#,
        r#"{"key": []}"#,
    ] {
        assert_eq!(parse(text), Ok(Rules::new()), "{text:?}");
    }
}

#[test]
fn invalid_value_is_named_with_its_place() {
    for (text, expected) in [
        (
            "{\n  \"operator\": \"x\"\n}",
            "line 2, column 15: invalid operator policy \"x\"",
        ),
        (
            "{\"keyring\": \"list\"}",
            "line 1, column 13: invalid keyring policy \"list\"",
        ),
        (
            "{\"keyring\": -1}",
            "line 1, column 13: invalid keyring policy \"-1\"",
        ),
        (
            "{\"keyring\": 1.5}",
            "line 1, column 13: invalid keyring policy of a fraction",
        ),
        (
            "{\"keyring\": true}",
            "line 1, column 13: invalid keyring policy of a truth value",
        ),
        (
            "{\"keyring\": \"a text of thirty-two letters, so\"}",
            "line 1, column 13: invalid keyring policy \"a text of thirty-two letters, so\"",
        ),
        (
            "{\"keyring\": \"a text of thirty-three letters so\"}",
            "line 1, column 13: invalid keyring policy of a long text",
        ),
        (
            "{\"node\": {\"\": {\"policy\": \"list\"}}}",
            "line 1, column 26: invalid node policy \"list\"",
        ),
    ] {
        let expected = format!("{expected}: write \"read\", \"write\" or \"deny\"");
        assert_eq!(message(text), expected);
    }
    for (text, what) in [
        ("{\"keyring\": []}", "a list"),
        ("{\"keyring\": {\"policy\": \"write\"}}", "a block"),
    ] {
        let expected = format!(
            "line 1, column 13: invalid keyring policy of {what}: write keyring = \"read\", \
             \"write\" or \"deny\""
        );
        assert_eq!(message(text), expected);
    }
}

#[test]
fn last_of_several_rules_about_another_resource_counts() {
    let text = r#"{"acl": "nonsense", "mesh": "read", "acl": "read"}"#;
    assert_eq!(parse(text), Ok(Rules::new()));
    assert_eq!(
        message(r#"{"acl": "read", "acl": "nonsense", "mesh": "read"}"#),
        "line 1, column 24: invalid acl policy \"nonsense\": write \"read\", \"write\" or \"deny\""
    );
}

#[test]
fn objects_that_hold_only_objects_are_labels() {
    let policy = r#"{"policy": "read"}"#;
    for value in [
        format!(r#"{{"a": {policy}}}"#),
        format!(r#"{{"a": {{"b": {{"c": {policy}}}}}}}"#),
        format!(r#"[{{"a": {policy}}}, true]"#),
        "{}".into(),
    ] {
        let text = format!("{{\"node\": {value}}}");
        assert_eq!(parse(&text), Ok(Rules::new()), "{text}");
    }
    for (value, what) in [
        (format!(r#"{{"a": {{"b": {policy}}}}}"#), "of another form"),
        (format!(r#"[{{"a": {policy}}}, 1]"#), "of another form"),
        ("[1]".into(), "of another form"),
        (r#"{"a": [true]}"#.into(), "of another form"),
        (r#"{"a": {}}"#.into(), "\"\""),
    ] {
        let text = format!("{{\"node\": {value}}}");
        let what = format!("invalid node policy {what}: write ");
        assert!(message(&text).contains(&what), "{}", message(&text));
    }
}

#[test]
fn intentions_are_checked_in_blocks_about_services_alone() {
    let block = |resource: &str, attribute: &str| {
        format!(
            "{{\"{resource}\": {{\"a\": {{\"policy\": \"read\", \"{attribute}\": \"nonsense\"}}}}}}"
        )
    };
    for (resource, attribute) in [("node", "intentions"), ("service", "sentinel")] {
        assert_eq!(parse(&block(resource, attribute)), Ok(Rules::new()));
    }
    for resource in ["service", "service_prefix"] {
        let error = parse(&block(resource, "intentions")).unwrap_err();
        assert!(matches!(error.kind(), RulesErrorKind::InvalidRule { .. }));
    }
}

#[test]
fn repeated_rule_is_refused_even_if_it_is_the_same() {
    for text in [
        r#"{"operator": "deny", "operator": "write"}"#,
        r#"{"operator": "read", "operator": "read"}"#,
        r#"{"operator": "", "operator": "read"}"#,
        r#"{"operator": "read", "Operator": "deny"}"#,
        r#"{"operator": "read", "oper\u0061tor": "deny"}"#,
        r#"{"operator": 1, "operator": "deny"}"#,
    ] {
        let resource = Resource::Operator;
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), &RulesErrorKind::DuplicateRule { resource });
    }
    assert_eq!(
        message("{\"keyring\": \"read\",\n\"keyring\": \"read\"}"),
        "line 2, column 1: a second rule about keyring: keep one"
    );
}

#[test]
fn case_of_a_name_does_not_matter() {
    // The Kelvin sign is a k to Go, and the long s an s.
    for (name, resource) in [
        ("operator", Resource::Operator),
        ("Operator", Resource::Operator),
        ("OPERATOR", Resource::Operator),
        ("\u{212a}eyring", Resource::Keyring),
    ] {
        let text = format!("{{\"{name}\": \"deny\"}}");
        assert_eq!(parse(&text), Ok(Rules::new().with(resource, Rule::Deny)));
    }
    let text = "{\"\u{17f}ervice\": {\"\": {\"policy\": \"deny\"}}}";
    assert_eq!(parse(text), Ok(Rules::new()));
}

#[test]
fn unknown_name_is_refused_with_the_nearest() {
    for (name, nearest) in [
        ("operater", Some("operator")),
        ("operators", Some("operator")),
        ("keyrings", Some("keyring")),
        ("key_ring", Some("keyring")),
        ("nodes", Some("node")),
        ("service_prefixes", Some("service_prefix")),
        ("frobnicate", None),
    ] {
        let text = format!("{{\n \"{name}\": \"deny\"}}");
        let fix = match nearest {
            Some(nearest) => format!("did you mean \"{nearest}\""),
            None => "remove the rule".into(),
        };
        let expected = format!("line 2, column 2: Consul has no resource \"{name}\": {fix}");
        assert_eq!(message(&text), expected);
    }
}

#[test]
fn rules_inside_a_text_are_refused() {
    for text in [
        r#"{"name": "ops", "rules": "operator = \"deny\""}"#,
        r#"{"Name": "ops", "Rules": "{\"operator\": \"deny\"}"}"#,
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), &RulesErrorKind::WrappedRules);
    }
}

#[test]
fn rule_inside_a_block_is_refused() {
    for text in [
        r#"{"namespace": {"default": {"operator": "deny"}}}"#,
        r#"{"node": {"": {"policy": "read", "Keyring": "deny"}}}"#,
        r#"{"partition": [{"": {"x": [{"keyring": "deny"}]}}]}"#,
    ] {
        let error = parse(text).unwrap_err();
        let misplaced = matches!(error.kind(), RulesErrorKind::MisplacedRule { .. });
        assert!(misplaced, "{error}");
    }
    // Here it is a label.
    let text = r#"{"node": {"operator": {"policy": "read"}}}"#;
    assert_eq!(parse(text), Ok(Rules::new()));
}

#[test]
fn malformed_json_says_where() {
    for (text, expected) in [
        (
            "\u{feff}{}",
            "line 1, column 1: a byte order mark: save the text without it",
        ),
        ("{", "line 1, column 1: the brace is not closed: write }"),
        (
            "{\"operator\": \"read\"",
            "line 1, column 1: the brace is not closed: write }",
        ),
        (
            "{\"operator\": \"read\" \"keyring\": \"read\"}",
            "line 1, column 21: expected a comma or }",
        ),
        (
            "{} {}",
            "line 1, column 4: the text goes on behind its last brace: remove that",
        ),
        (
            "{\"operator\": }",
            "line 1, column 14: the value is missing: write one in quotes",
        ),
        (
            "{\"operator\": deny}",
            "line 1, column 14: nothing is evaluated: put the value in quotes",
        ),
        (
            "{\"operator\": \"re\\ad\"}",
            "line 1, column 17: no escape is written so: write \\\\ for a backslash",
        ),
        (
            "{\"operator\" \"deny\"}",
            "line 1, column 13: expected a colon between the name and its value",
        ),
        (
            "{\"operator\": \"deny\" # no\n}",
            "line 1, column 21: expected a comma or }",
        ),
        (
            "{\"operator\": <<E\ndeny\nE\n}",
            "line 1, column 14: expected a name or a value in double quotes",
        ),
        (
            "{\"partition\": [1,,2]}",
            "line 1, column 18: the value is missing: write one in quotes",
        ),
        (
            "{operator: \"deny\"}",
            "line 1, column 2: expected a name or a value in double quotes",
        ),
        (
            "{\"operator\": -x}",
            "line 1, column 14: expected a name or a value in double quotes",
        ),
        (
            "{\"operator\": 'deny'}",
            "line 1, column 14: a string stands in double quotes",
        ),
        (
            "{\"partition\": [1 2]}",
            "line 1, column 18: expected a comma or ]",
        ),
        (
            "{\"partition\": [1",
            "line 1, column 15: the list is not closed: write ]",
        ),
        (
            "{\"partition\": [}",
            "line 1, column 16: the value is missing: write one in quotes",
        ),
        (
            "{\"partition\": [[]]}",
            "line 1, column 16: Consul reads no list and no null in a list",
        ),
        (
            "{\"partition\": [null]}",
            "line 1, column 16: Consul reads no list and no null in a list",
        ),
        (
            "{\"operator\": \"de\tny\"}",
            "line 1, column 17: a control character: write an escape",
        ),
        (
            "{\"operator\": \"de\\u12\"}",
            "line 1, column 17: the escape has too few digits",
        ),
        (
            "{\"operator\": \"deny",
            "line 1, column 14: the string does not end in its line: close it with \"",
        ),
        (
            "{\"partition\": 01}",
            "line 1, column 15: no number is written so in JSON",
        ),
        (
            "{\"partition\": .5}",
            "line 1, column 15: no number is written so in JSON",
        ),
        (
            "{\"partition\": 1.}",
            "line 1, column 15: no number is written so in JSON",
        ),
        (
            "{\"partition\": 1e+}",
            "line 1, column 15: no number is written so in JSON",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
}

#[test]
fn numbers_are_those_of_json() {
    let policy = |number| format!("{{\"partition\": [{number}, 1], \"operator\": \"deny\"}}");
    for number in ["0", "-0", "12", "1.05", "1e5", "1E+15", "1e-5", "-1.25e+10"] {
        let expected = Rules::new().with(Resource::Operator, Rule::Deny);
        assert_eq!(parse(&policy(number)), Ok(expected), "{number}");
    }
    for number in [
        "01", "-", "+1", "1.", ".5", "1.e5", "1e", "1e+", "-.5", "0x1",
    ] {
        let error = parse(&policy(number)).unwrap_err();
        assert_eq!(error.position().unwrap().line, 1, "{number}");
        assert!(
            matches!(error.kind(), RulesErrorKind::Syntax(_)),
            "{number}"
        );
    }
}

#[test]
fn comma_behind_the_last_item_loads() {
    let text = r#"{"node": {"": {"policy": "read", "x": [1,],},}, "operator": "read",}"#;
    let expected = Rules::new().with(Resource::Operator, Rule::Read);
    assert_eq!(parse(text), Ok(expected));
    for text in ["{,}", r#"{"operator": "read",,}"#] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn json_that_consul_misreads_is_refused() {
    // Consul ignores what follows a list in a list, and fails on the others.
    for text in [
        r#"{"partition": [[1]], "operator": "deny"}"#,
        r#"{"partition": [null]}"#,
        r#"{"partition": "\/"}"#,
        r#"{"node": {"\ud83d\ude00": {"policy": "read"}}}"#,
        r#"{"operator": {}}"#,
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn depth_of_a_policy_is_bounded() {
    let nested = |depth: usize| {
        let (open, close) = ("{\"a\":".repeat(depth - 2), "}".repeat(depth - 1));
        format!("{{\"partition\": {open}{{}}{close}")
    };
    assert_eq!(parse(&nested(Rules::MAX_DEPTH)), Ok(Rules::new()));
    let error = parse(&nested(Rules::MAX_DEPTH + 1)).unwrap_err();
    assert_eq!(
        error.kind(),
        &RulesErrorKind::Syntax(SyntaxProblem::TooDeep)
    );
    assert_eq!(
        error.to_string(),
        "line 1, column 330: blocks and lists are nested at most 64 deep: remove some"
    );
    assert!(parse(&"{\"a\":".repeat(100_000)).is_err());
    assert!(parse(&format!("{{\"a\":{}", "[".repeat(100_000))).is_err());
}

#[test]
fn size_of_a_policy_is_bounded() {
    let padded = |len: usize| {
        let text = "{\"operator\": \"deny\"}";
        format!("{text}{}", " ".repeat(len - text.len()))
    };
    let deny = Rules::new().with(Resource::Operator, Rule::Deny);
    assert_eq!(parse(&padded(Rules::MAX_BYTES)), Ok(deny));
    let error = parse(&padded(Rules::MAX_BYTES + 1)).unwrap_err();
    assert_eq!(error.kind(), &RulesErrorKind::TooLarge);
    assert_eq!(
        error.to_string(),
        "a policy has at most 1048576 bytes: split it"
    );
}

/// Rules that were ignored would leave the decision to the default policy.
#[cfg(not(feature = "hcl"))]
#[test]
fn hcl_is_refused_if_it_is_not_compiled_in() {
    let error = parse("operator = \"deny\"").unwrap_err();
    assert_eq!(error.kind(), &RulesErrorKind::HclDisabled);
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
    fn any_text_is_rules_or_an_error(text in "[{]?.*") {
        let _ = parse(&text);
    }

    #[test]
    fn any_text_like_rules_is_rules_or_an_error(
        text in r#"[{][{}\[\]:,"\\ \n=#a-z0-9é.+-]{0,40}|(\{|"operator"|"node"|:|"read"|"\\u00|-|1|"|\[|\]|,|\}| ){0,12}"#,
    ) {
        if let Ok(rules) = parse(&text) {
            prop_assert_eq!(parse(&rules.to_string()), Ok(rules));
        }
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
        prop_assert_eq!(parse(&text), Ok(expected));
        prop_assert_eq!(parse(&expected.to_string()), Ok(expected));
    }
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (rule(), rule()).prop_map(|(operator, keyring)| {
        let both = [(Resource::Operator, operator), (Resource::Keyring, keyring)];
        both.into_iter()
            .fold(Rules::new(), |rules, (resource, rule)| {
                rule.map_or(rules, |rule| rules.with(resource, rule))
            })
    })
}

proptest! {
    #[test]
    fn merging_ignores_the_order(a in any_rules(), b in any_rules()) {
        prop_assert_eq!(a.merge(b), b.merge(a));
    }

    #[test]
    fn merging_ignores_the_grouping(
        a in any_rules(),
        b in any_rules(),
        c in any_rules(),
    ) {
        prop_assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
    }

    #[test]
    fn merging_a_policy_twice_changes_nothing(a in any_rules(), b in any_rules()) {
        prop_assert_eq!(a.merge(a), a);
        prop_assert_eq!(a.merge(b).merge(b), a.merge(b));
        prop_assert_eq!(a.merge(Rules::new()), a);
    }

    #[test]
    fn merging_grants_only_what_one_grants_and_none_denies(
        policies in proptest::collection::vec(any_rules(), 1..6),
        allow in any::<bool>(),
    ) {
        let default = if allow { DefaultPolicy::Allow } else { DefaultPolicy::Deny };
        let merged = policies.iter().copied().fold(Rules::new(), Rules::merge);
        for resource in [Resource::Operator, Resource::Keyring] {
            for access in [Access::Read, Access::Write] {
                let granted = merged.allow(resource, access, default);
                let by_one = policies.iter().any(|p| p.allow(resource, access, default));
                prop_assert!(by_one || !granted);
                let denied = policies.iter().any(|p| p.about(resource) == Some(Rule::Deny));
                prop_assert!(!(denied && granted));
            }
        }
    }

    #[test]
    fn displayed_rules_parse_back(rules in any_rules()) {
        prop_assert_eq!(rules.to_string().parse::<Rules>(), Ok(rules));
    }
}

#[test]
fn write_implies_read() {
    let rules = Rules::new().with(Resource::Keyring, Rule::Write);
    assert!(rules.allow(Resource::Keyring, Access::Read, DefaultPolicy::Deny));
}
