//! Policies in HCL 1. What Consul decides on them is replayed by tests/policies.rs.

use std::fs;
use std::path::Path;

use cluster_operator::acl::{Resource, Rule, Rules, RulesError, RulesErrorKind, SyntaxProblem};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Rules, RulesError> {
    text.parse()
}

fn message(text: &str) -> String {
    parse(text).expect_err(text).to_string()
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
fn sample_policies_load() {
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
        let expected = rules(Some(operator), Some(keyring));
        assert_eq!(parse(&text), Ok(expected), "{name}");
    }
}

#[test]
fn policy_in_use_with_consul_loads() {
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
fn rules_need_no_line_breaks() {
    let text = "agent \"\" { policy = \"write\" } keyring = \"write\" node \"\" { policy = \
                \"write\" } operator = \"write\"";
    assert_eq!(parse(text), Ok(rules(Some(Rule::Write), Some(Rule::Write))));
}

#[test]
fn trailing_commas_and_interpolations_in_labels_load() {
    let text = "operator = \"write\",\nkey_prefix \"${a \"b\"}\" { policy = \"read\", },";
    assert_eq!(parse(text), Ok(rules(Some(Rule::Write), None)));
}

#[test]
fn policy_without_rules_is_empty() {
    for text in [
        "# nothing",
        "operator = \"\"",
        "keyring = <<E\nE\n",
        "key {\n}\n",
        "service = []",
    ] {
        assert_eq!(parse(text), Ok(Rules::new()), "{text:?}");
    }
}

#[test]
fn invalid_value_is_named_with_its_place() {
    for (text, expected) in [
        (
            "\noperator = \"x\"",
            "line 2, column 12: invalid operator policy \"x\"",
        ),
        (
            "operator = \"DENY\"",
            "line 1, column 12: invalid operator policy \"DENY\"",
        ),
        (
            "keyring = 0x1F",
            "line 1, column 11: invalid keyring policy \"0x1F\"",
        ),
        (
            "keyring = 0x1E",
            "line 1, column 11: invalid keyring policy \"0x1E\"",
        ),
        (
            "keyring = true",
            "line 1, column 11: invalid keyring policy of a truth value",
        ),
        (
            "keyring = false",
            "line 1, column 11: invalid keyring policy of a truth value",
        ),
        (
            "operator = \"${x}\"",
            "line 1, column 12: invalid operator policy \"${x}\"",
        ),
        (
            "operator = <<E\ndeny\nE\n",
            "line 1, column 12: invalid operator policy \"deny\\n\"",
        ),
    ] {
        let expected = format!("{expected}: write \"read\", \"write\" or \"deny\"");
        assert_eq!(message(text), expected);
    }
}

#[test]
fn block_in_place_of_a_word_says_what_to_write() {
    for text in [
        "operator { policy = \"write\" }",
        "operator \"\" { policy = \"write\" }",
        "operator {}",
        "operator = { policy = \"write\" }",
    ] {
        let message = message(text);
        let expected = "of a block: write operator = \"read\", \"write\" or \"deny\"";
        assert!(message.ends_with(expected), "{message}");
    }
}

#[test]
fn list_in_place_of_a_block_is_refused() {
    for text in [
        "node = [true]",
        "node = [1]",
        "node = [{ policy = \"read\" }]",
    ] {
        let expected = "line 1, column 8: invalid node policy of another form: write \"read\", \
                        \"write\" or \"deny\"";
        assert_eq!(message(text), expected, "{text}");
    }
}

#[test]
fn mistakes_of_other_languages_say_what_to_write() {
    for (text, expected) in [
        (
            "operator: \"write\"",
            "line 1, column 9: write = between a name and its value, not :",
        ),
        (
            "operator = \"write\"; keyring = \"read\"",
            "line 1, column 19: no ; is needed: remove it",
        ),
        (
            "operator = 'write'",
            "line 1, column 12: a string stands in double quotes",
        ),
        (
            "operator = upper(\"write\")",
            "line 1, column 12: nothing is evaluated: put the value in quotes",
        ),
        (
            "\u{feff}operator = \"write\"",
            "line 1, column 1: a byte order mark: save the text without it",
        ),
        (
            "node \"\" {\n policy = \"read\"",
            "line 1, column 9: the brace is not closed: write }",
        ),
        (
            "operator = \"write",
            "line 1, column 12: the string does not end in its line: close it with \"",
        ),
        (
            "operator =",
            "line 1, column 11: the value is missing: write one in quotes",
        ),
        (
            "operator = \"deny\" /* x",
            "line 1, column 19: the comment does not end: write */",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
}

#[test]
fn malformed_hcl_says_where_and_what_to_do() {
    for (text, expected) in [
        (
            "}",
            "line 1, column 1: no block is open here: remove the brace",
        ),
        ("= \"deny\"", "line 1, column 1: no name stands before this"),
        (
            "operator = `deny`",
            "line 1, column 12: a string stands in double quotes",
        ),
        (
            "operator = +1",
            "line 1, column 12: expected a name, with = and a value or with a block",
        ),
        (
            "operator = null",
            "line 1, column 12: nothing is evaluated: put the value in quotes",
        ),
        (
            "operator \"x\" = \"deny\"",
            "line 1, column 14: a name with labels needs a block, not =",
        ),
        (
            "operator",
            "line 1, column 1: the name has no value: give it one",
        ),
        (
            "true = \"deny\"",
            "line 1, column 1: true and false are no names",
        ),
        (
            "/ operator",
            "line 1, column 1: a comment begins with #, // or /*",
        ),
        (
            "operator = \"deny\" \0",
            "line 1, column 19: a character that HCL does not allow: remove it",
        ),
        (
            "operator = <E\ndeny\nE\n",
            "line 1, column 12: a heredoc begins with <<",
        ),
        (
            "operator = <<\ndeny\n",
            "line 1, column 12: after << stands a word, and then a line break",
        ),
        (
            "operator = <<E F\ndeny\nE\n",
            "line 1, column 12: after << stands a word, and then a line break",
        ),
        (
            "operator = <<E\ndeny\n",
            "line 1, column 12: the heredoc does not end: repeat its word in a line",
        ),
        ("acl = 0x", "line 1, column 7: the number has no digits"),
        (
            "acl = 008",
            "line 1, column 7: a number that begins with 0 is octal",
        ),
        (
            "operator = \"de\\qny\"",
            "line 1, column 15: no escape is written so: write \\\\ for a backslash",
        ),
        (
            "operator = \"de\\x4\"",
            "line 1, column 15: the escape has too few digits",
        ),
        (
            "namespace = [\"a\"",
            "line 1, column 13: the list is not closed: write ]",
        ),
        (
            "namespace = [\"a\" }",
            "line 1, column 18: the list is not closed: write ]",
        ),
        (
            "namespace = [\"a\" \"b\"]",
            "line 1, column 18: expected a comma or ]",
        ),
    ] {
        assert_eq!(message(text), expected, "{text:?}");
    }
}

#[test]
fn malformed_text_is_not_quoted() {
    let error = parse("# fine\noperator = hunter2 hunter3").unwrap_err();
    assert_eq!(error.position().unwrap().line, 2);
    assert!(!format!("{error} {error:?}").contains("hunter"));
}

#[test]
fn wrapped_and_misplaced_rules_are_refused() {
    let error = parse("name = \"ops\"\nrules = \"operator = \\\"deny\\\"\"").unwrap_err();
    assert_eq!(error.kind(), &RulesErrorKind::WrappedRules);
    assert_eq!(error.position().unwrap().line, 2);
    for text in [
        "namespace \"default\" { operator = \"deny\" }",
        "node \"\" { policy = \"read\" \"operator\" = \"deny\" }",
    ] {
        let error = parse(text).unwrap_err();
        let resource = Resource::Operator;
        assert_eq!(error.kind(), &RulesErrorKind::MisplacedRule { resource });
    }
}

#[test]
fn interpolations_may_hold_quotes_braces_and_line_breaks() {
    let labelled = |label: &str| format!("key_prefix \"{label}\" {{ policy = \"read\" }}");
    for label in [
        "${a \"b\"}",
        "${a\nb}",
        "${a{b}\"c\"}",
        "a{b",
        "a}b",
        "$${a}b$",
    ] {
        let text = labelled(label);
        assert_eq!(parse(&text), Ok(Rules::new()), "{text}");
    }
    assert_eq!(
        message(&labelled("a\nb")),
        "line 1, column 12: the string does not end in its line: close it with \""
    );
}

#[test]
fn escapes_are_decoded() {
    for name in [
        r"oper\141tor",
        r"oper\x61tor",
        r"oper\u0061tor",
        r"oper\U00000061tor",
    ] {
        let text = format!("\"{name}\" = \"deny\"");
        assert_eq!(parse(&text), Ok(rules(Some(Rule::Deny), None)), "{text}");
    }
    for (value, decoded) in [
        (r#"\a\b\t\n\v\f\r\"\\"#, r#"\u{7}\u{8}\t\n\u{b}\u{c}\r\"\\"#),
        (r"\u20ac\U0001f600\377", "\u{20ac}\u{1f600}\u{fffd}"),
        (r"\ud800\U80000000\Uffffffff", "\u{fffd}\u{fffd}\u{fffd}"),
        (r"${ {}\x61 }\x61", r"${ {}\\x61 }a"),
        ("${\u{e9}}\\x61", "${\u{e9}}a"),
    ] {
        let expected = format!("line 1, column 12: invalid operator policy \"{decoded}\": write ");
        let message = message(&format!("operator = \"{value}\""));
        assert!(message.starts_with(&expected), "{message}");
    }
    for value in [r"\400", r"\U00110000", r"\U7fffffff", "${\u{fffd}}"] {
        let message = message(&format!("operator = \"{value}\""));
        let expected = "line 1, column 12: an escape in this text stands for no character";
        assert_eq!(message, expected);
    }
}

#[test]
fn heredoc_ends_at_its_mark() {
    for (value, lines) in [
        ("<<E\ndeny\nE\n", r"deny\n"),
        ("<<-E\ndeny\n E\n", r"deny\n"),
        ("<<-E\nE\n E\n", r"E\n"),
        ("<<E\n  F\nEE\n  E\n", r"  F\nEE\n  "),
        ("<<E\r\ndeny\r\nE\r\n", r"deny\r\n"),
    ] {
        let expected = format!("line 1, column 12: invalid operator policy \"{lines}\": write ");
        let message = message(&format!("operator = {value}"));
        assert!(message.starts_with(&expected), "{message}");
    }
    for value in ["<<E\nE\n", "<<-E\n E\n", "<<E\r\nE\r\n"] {
        let text = format!("keyring = {value}operator = \"deny\"");
        assert_eq!(parse(&text), Ok(rules(Some(Rule::Deny), None)), "{text:?}");
    }
}

#[test]
fn number_ends_where_consul_ends_it() {
    for number in [
        "0", "12", "-1", "07", "08", "-017", "0x1F", "-0X1e", "1.", "1.5", ".5", ".5e", "1e5",
        "1E+5", "1e-15", "1.5e3", "1.5E-13", "1ex",
    ] {
        let text = format!("namespace = [{number}, 1]\npartition = {number}\noperator = \"deny\"");
        assert_eq!(parse(&text), Ok(rules(Some(Rule::Deny), None)), "{text}");
    }
}

#[test]
fn commas_may_stand_anywhere_in_a_list() {
    for list in ["[,]", "[,\"a\",,\"b\",]", "[[\"a\"] \"b\"]"] {
        let text = format!("operator = \"deny\"\nnamespace = {list}");
        assert_eq!(parse(&text), Ok(rules(Some(Rule::Deny), None)), "{text}");
    }
}

#[test]
fn number_of_blocks_and_lists_is_not_bounded() {
    for item in ["node \"a\" { policy = \"read\" }\n", "namespace = []\n"] {
        assert_eq!(parse(&item.repeat(100)), Ok(Rules::new()), "{item}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| {
        let (open, close) = ("a {".repeat(depth - 1), "}".repeat(depth));
        format!("partition {{{open}{close}")
    };
    assert_eq!(parse(&nested(Rules::MAX_DEPTH)), Ok(Rules::new()));
    let error = parse(&nested(Rules::MAX_DEPTH + 1)).unwrap_err();
    assert_eq!(
        error.kind(),
        &RulesErrorKind::Syntax(SyntaxProblem::TooDeep)
    );
    for hostile in ["a{", "a=[", "a={b=[{", "[", "{"] {
        assert!(parse(&hostile.repeat(100_000)).is_err());
    }
    // Doubled the time with every five bytes in the parser before this one.
    assert!(parse(&format!("p={}r", "{r%r%".repeat(24))).is_err());
}

#[test]
fn labels_are_bounded() {
    let labelled = |labels: usize| format!("node{} {{ policy = \"read\" }}", " b".repeat(labels));
    assert_eq!(parse(&labelled(Rules::MAX_LABELS)), Ok(Rules::new()));
    for labels in [Rules::MAX_LABELS + 1, 20_000] {
        let error = parse(&labelled(labels)).unwrap_err();
        assert_eq!(
            error.kind(),
            &RulesErrorKind::Syntax(SyntaxProblem::TooManyLabels)
        );
    }
}

#[test]
fn size_is_bounded() {
    let padded = |len: usize| {
        let text = "operator = \"deny\"";
        format!("{text}{}", " ".repeat(len - text.len()))
    };
    let deny = rules(Some(Rule::Deny), None);
    assert_eq!(parse(&padded(Rules::MAX_BYTES)), Ok(deny));
    let error = parse(&padded(Rules::MAX_BYTES + 1)).unwrap_err();
    assert_eq!(error.kind(), &RulesErrorKind::TooLarge);
}

proptest! {
    #[test]
    fn any_text_is_rules_or_an_error(text in ".*") {
        let _ = parse(&text);
    }

    #[test]
    fn any_text_like_rules_is_rules_or_an_error(
        text in r#"[{}\[\]()=",.\\ \n#*/$%<>\-a-zé0-9]{0,40}|(operator|keyring|node|=|"read"|"|\\|\n|\{|\}|<<A|<<-A|A|\$\{|0|e|\.|-| ){0,12}"#,
    ) {
        let _ = parse(&text);
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
        prop_assert_eq!(parse(&text), Ok(expected));
    }
}
