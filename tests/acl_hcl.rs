//! The rule language in HCL.

#![cfg(feature = "hcl")]

use std::fs;
use std::path::Path;

use cluster_operator::{Resource, Rule, Rules, RulesError};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Rules, RulesError> {
    text.parse()
}

fn rules(operator: Option<Rule>, keyring: Option<Rule>) -> Rules {
    [(Resource::Operator, operator), (Resource::Keyring, keyring)]
        .into_iter()
        .filter_map(|(resource, rule)| rule.map(|rule| (resource, rule)))
        .fold(Rules::new(), |rules, (resource, rule)| {
            rules.with(resource, rule)
        })
}

#[test]
fn the_sample_policies_load() {
    use Rule::{Deny, Read, Write};

    for (name, operator, keyring) in [
        ("dashboard", Read, Read),
        ("on-call", Write, Read),
        ("key-rotation", Deny, Write),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples/policies")
            .join(name)
            .with_extension("hcl");
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(
            parse(&text),
            Ok(rules(Some(operator), Some(keyring))),
            "{name}"
        );
    }
}

#[test]
fn a_policy_that_consul_uses_loads_as_it_is() {
    let text = r#"
        # What the agents need.
        agent_prefix "" {
          policy = "write"
        }
        event_prefix "" { policy = "read" }
        key "foo/bar" {
          policy = "write"
          sentinel {
            code = <<EOF
                import "strings"
                main = rule { strings.has_suffix(value, "bar") }
            EOF
            enforcementlevel = "hard-mandatory"
          }
        }
        acl = "write"
        // The operator's part.
        operator = "write"
        keyring  = "read" /* no more */
        service "web-*" {
          policy     = "write"
          intentions = "read"
        }
    "#;
    assert_eq!(parse(text), Ok(rules(Some(Rule::Write), Some(Rule::Read))));
}

#[test]
fn what_says_nothing_says_nothing() {
    for text in [
        "# nothing",
        "operator = \"\"",
        "key \"\" {\n}\n",
        "other = upper(\"x\")",
    ] {
        assert_eq!(parse(text), Ok(Rules::new()), "{text:?}");
    }
}

#[test]
fn a_value_that_is_none_of_the_three_is_named_with_its_place() {
    for (text, words) in [
        (
            "\noperator = \"x\"",
            "Invalid operator policy: \"x\" at line 2, column 12",
        ),
        (
            "operator = \"DENY\"",
            "Invalid operator policy: \"DENY\" at line 1, column 12",
        ),
        (
            "keyring = 1",
            "Invalid keyring policy: \"1\" at line 1, column 11",
        ),
        (
            "keyring = true",
            "Invalid keyring policy: \"true\" at line 1, column 11",
        ),
        (
            "keyring = null",
            "Invalid keyring policy: null at line 1, column 11",
        ),
        (
            "keyring = []",
            "Invalid keyring policy: a list at line 1, column 11",
        ),
        (
            "keyring = {}",
            "Invalid keyring policy: a block at line 1, column 11",
        ),
        (
            "keyring {\n}",
            "Invalid keyring policy: a block at line 1, column 1",
        ),
        (
            "keyring \"x\" {\n}",
            "Invalid keyring policy: a block at line 1, column 1",
        ),
    ] {
        let expected = format!("{words}: give \"read\", \"write\" or \"deny\"");
        assert_eq!(parse(text).unwrap_err().to_string(), expected);
    }
    assert!(parse("operator = upper(\"read\")").is_err());
    assert!(parse("operator = \"${x}\"").is_err());
}

#[test]
fn a_rule_may_stand_in_parentheses_or_in_a_heredoc() {
    let deny = Ok(rules(Some(Rule::Deny), None));
    assert_eq!(parse("operator = (\"deny\")"), deny);
    assert_eq!(parse("operator = ((\"deny\"))"), deny);
    // With its line break it is none of the three.
    assert!(parse("operator = <<EOT\ndeny\nEOT\n").is_err());
    assert_eq!(parse("operator = <<EOT\nEOT\n"), Ok(Rules::new()));
}

#[test]
fn what_would_have_to_be_evaluated_is_refused_and_not_taken_for_nothing() {
    // For nothing the default holds, which may be to allow.
    for text in [
        "operator = <<EOT\n${x}EOT\n",
        "operator = <<EOT\n${x}\nEOT\n",
        "operator = <<EOT\nde${x}ny\nEOT\n",
        "operator = \"${x}\"",
        "operator = (x)",
    ] {
        assert!(
            matches!(parse(text), Err(RulesError::Syntax { .. })),
            "{text}"
        );
    }
}

#[test]
fn a_rule_that_is_given_twice_is_refused() {
    for text in [
        "operator = \"read\"\noperator = \"deny\"",
        "operator = \"read\"\nOperator = \"deny\"",
        "operator = \"\"\nOPERATOR = \"deny\"",
    ] {
        let (RulesError::DuplicateRule { position, .. } | RulesError::Syntax { position, .. }) =
            parse(text).unwrap_err()
        else {
            panic!("{text}");
        };
        assert_eq!(position.line, 2);
    }
    assert!(parse("operator = \"read\"\noperator {\n}").is_err());
}

#[test]
fn a_text_that_does_not_parse_says_where_and_shows_none_of_it() {
    let error = parse("# fine\noperator = hunter2 hunter3").unwrap_err();
    let RulesError::Syntax { position, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(position.line, 2);
    assert!(!format!("{error} {error:?}").contains("hunter"));
}

#[test]
fn a_brace_at_the_start_makes_it_json() {
    let json = "\n {\"operator\": \"read\"}";
    assert_eq!(parse(json), Ok(rules(Some(Rule::Read), None)));
    assert!(Rules::from_hcl(json).is_err());
}

proptest! {
    #[test]
    fn any_text_is_rules_or_an_error(text in ".*") {
        let _ = Rules::from_hcl(&text);
    }

    #[test]
    fn any_text_like_rules_is_rules_or_an_error(
        text in r#"[{}\[\]()=",.\\ \n#*/$%<>\-a-zé0-9]{0,40}|(operator|keyring|=|"read"|"deny"|\n|\{|\}|<<A|A|\$\{| ){0,12}"#,
    ) {
        let _ = Rules::from_hcl(&text);
    }

    #[test]
    fn rules_parse_back_from_what_they_are_written_as(
        operator in proptest::option::of(0..3usize),
        keyring in proptest::option::of(0..3usize),
        space in "[ \t]{0,3}",
        comment in "(#|//)[a-z \"{]{0,10}",
    ) {
        let rule = |at: usize| [Rule::Read, Rule::Write, Rule::Deny][at];
        let expected = rules(operator.map(rule), keyring.map(rule));
        let mut text = format!("{comment}\n");
        for resource in [Resource::Keyring, Resource::Operator] {
            if let Some(rule) = expected.about(resource) {
                text.push_str(&format!("{resource}{space}={space}\"{rule}\"{space}{comment}\n"));
            }
        }
        prop_assert_eq!(Rules::from_hcl(&text), Ok(expected));
    }
}
