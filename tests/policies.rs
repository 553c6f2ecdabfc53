//! Replays what real Consul servers decided on policies.
//!
//! The recordings are in `tests/policies`; `POLICIES_DIR` names another directory. Each file says
//! for each policy whether Consul accepted it, and what a token with it alone may do, under either
//! default policy.

#![cfg(feature = "hcl")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use cluster_operator::acl::{
    Access, DefaultPolicy, Resource, Rules, RulesError, RulesErrorKind, SyntaxProblem,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recording {
    consul: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    rules: String,
    accepted: bool,
    #[serde(default)]
    default_deny: BTreeMap<String, bool>,
    #[serde(default)]
    default_allow: BTreeMap<String, bool>,
}

/// A kind of policy that Consul accepts and this library refuses, as in docs/deviations.md.
struct Deviation {
    name: &'static str,
    reason: &'static str,
    /// Recognizes it by the policy's text and the error.
    applies: fn(&str, &RulesError) -> bool,
}

const DEVIATIONS: [Deviation; 11] = [
    Deviation {
        name: "malformed JSON",
        reason: "Consul ignores what follows a missing comma or the last brace, so that the policy says less than it seems to",
        applies: |text, error| {
            is_json(text)
                && serde_json::from_str::<serde_json::Value>(text).is_err()
                && matches!(
                    error.kind(),
                    RulesErrorKind::Syntax(SyntaxProblem::Malformed(_))
                )
        },
    },
    Deviation {
        name: "a list in a list in JSON",
        reason: "Consul ignores what follows it",
        applies: |text, error| {
            serde_json::from_str::<serde_json::Value>(text).is_ok()
                && rest_at(text, error).starts_with('[')
                && matches!(
                    error.kind(),
                    RulesErrorKind::Syntax(SyntaxProblem::Malformed(_))
                )
        },
    },
    Deviation {
        name: "an unfinished value in HCL",
        reason: "Consul ignores an attribute without a value at the end, and one before two closing braces",
        applies: |text, error| {
            let rest = rest_at(text, error);
            !is_json(text)
                && (rest.is_empty() || rest.starts_with('}'))
                && matches!(
                    error.kind(),
                    RulesErrorKind::Syntax(SyntaxProblem::Malformed(_))
                )
        },
    },
    Deviation {
        name: "a value in the wrong case",
        reason: "Consul accepts \"DENY\" and ignores it, so that a default of allow grants everything",
        applies: |text, error| match error.kind() {
            RulesErrorKind::InvalidRule {
                rule: "operator" | "keyring",
                value,
            } => {
                let value = value.trim_matches('"');
                let lower: String = value
                    .chars()
                    .filter_map(|letter| letter.to_lowercase().next())
                    .collect();
                (text.contains(value) || text.contains('\\'))
                    && value != lower
                    && ["read", "write", "deny", "list"].contains(&lower.as_str())
            }
            _ => false,
        },
    },
    Deviation {
        name: "a repeated rule",
        reason: "Consul takes the last one, whatever the first one denies",
        applies: |text, error| match error.kind() {
            RulesErrorKind::DuplicateRule { resource } => {
                let name = resource.to_string();
                text.contains('\\') || folded(text).matches(&name).count() > 1
            }
            _ => false,
        },
    },
    Deviation {
        name: "a name that no resource has",
        reason: "Consul ignores the rule, so that a misspelt \"operator\" denies nothing",
        applies: |text, error| match error.kind() {
            RulesErrorKind::UnknownName { name, .. } => text.contains(name) || text.contains('\\'),
            _ => false,
        },
    },
    Deviation {
        name: "a rule inside a block",
        reason: "Consul ignores a rule about operator or keyring in a block about something else",
        applies: |text, error| match error.kind() {
            RulesErrorKind::MisplacedRule { resource } => {
                (text.contains('\\') || folded(text).contains(&resource.to_string()))
                    && text.contains(['{', '['])
            }
            _ => false,
        },
    },
    Deviation {
        name: "rules in a text named `rules`",
        reason: "that is how Terraform and Consul's API wrap a policy; as a policy it says nothing",
        applies: |text, error| {
            matches!(error.kind(), RulesErrorKind::WrappedRules)
                && (text.contains('\\') || folded(text).contains("rules"))
        },
    },
    Deviation {
        name: "more than 64 blocks and lists in each other",
        reason: "what is read is bounded",
        applies: |text, error| {
            matches!(error.kind(), RulesErrorKind::Syntax(SyntaxProblem::TooDeep))
                && text.matches(['{', '[']).count() > Rules::MAX_DEPTH
        },
    },
    Deviation {
        name: "more than 256 labels",
        reason: "what is read is bounded",
        applies: |text, error| {
            matches!(
                error.kind(),
                RulesErrorKind::Syntax(SyntaxProblem::TooManyLabels)
            ) && text.split(['"', ' ', '\n', '\t']).count() > Rules::MAX_LABELS
        },
    },
    Deviation {
        name: "more than 1,048,576 bytes",
        reason: "what is read is bounded",
        applies: |text, error| {
            matches!(error.kind(), RulesErrorKind::TooLarge) && text.len() > Rules::MAX_BYTES
        },
    },
];

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn folded(text: &str) -> String {
    text.to_lowercase()
        .replace('\u{212a}', "k")
        .replace('\u{17f}', "s")
}

/// The text from the place of the error on.
fn rest_at<'a>(text: &'a str, error: &RulesError) -> &'a str {
    let Some(position) = error.position() else {
        return text;
    };
    let start = text
        .split_inclusive('\n')
        .take(position.line - 1)
        .map(str::len)
        .sum();
    let line: &str = &text[start..];
    let column = line.char_indices().nth(position.column - 1);
    &line[column.map_or(line.len(), |(at, _)| at)..]
}

enum Outcome {
    Equal,
    Deviates(&'static str),
    Fails(String),
}

/// What a policy allows, in the words of the recordings.
fn decisions(rules: &Rules, default: DefaultPolicy) -> BTreeMap<String, bool> {
    let mut decisions = BTreeMap::new();
    for resource in [Resource::Operator, Resource::Keyring] {
        for access in [Access::Read, Access::Write] {
            let allowed = rules.allow(resource, access, default);
            decisions.insert(format!("{resource}:{access}"), allowed);
        }
    }
    decisions
}

fn replay(case: &Case) -> Outcome {
    let error = match (case.rules.parse::<Rules>(), case.accepted) {
        (Err(_), false) => return Outcome::Equal,
        (Ok(_), false) => return Outcome::Fails("accepted what Consul refuses".into()),
        (Ok(rules), true) => {
            for (default, recorded) in [
                (DefaultPolicy::Deny, &case.default_deny),
                (DefaultPolicy::Allow, &case.default_allow),
            ] {
                let ours = decisions(&rules, default);
                for (access, allowed) in &ours {
                    let denied = recorded.get(access) == Some(&false);
                    assert!(
                        !(*allowed && denied),
                        "{}: allows {access}, which Consul denied, under a default of {default}: {:?}",
                        case.name,
                        case.rules
                    );
                }
                if ours != *recorded {
                    return Outcome::Fails(format!("decides {ours:?} under {default}"));
                }
            }
            return Outcome::Equal;
        }
        (Err(error), true) => error,
    };
    let deviation = DEVIATIONS
        .iter()
        .find(|deviation| (deviation.applies)(&case.rules, &error));
    match deviation {
        Some(deviation) => Outcome::Deviates(deviation.name),
        None => Outcome::Fails(format!("refused: {error}")),
    }
}

fn recordings() -> Vec<(String, Recording)> {
    let directory = env::var_os("POLICIES_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/policies"),
        PathBuf::from,
    );
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .expect("the directory is readable")
        .map(|entry| entry.expect("the entry is readable").path())
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .collect();
    paths.sort();
    assert!(
        !paths.is_empty(),
        "no recordings in {}",
        directory.display()
    );
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("the recording is readable");
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let recording = serde_json::from_str(&text).expect("the recording is well formed");
            (name.into_owned(), recording)
        })
        .collect()
}

#[test]
fn policies_decide_as_recorded_from_consul() {
    let mut failed = false;
    for (file, recording) in recordings() {
        let mut equal = 0;
        let mut deviating = BTreeMap::<_, usize>::new();
        let mut failing = Vec::new();
        for case in &recording.cases {
            match replay(case) {
                Outcome::Equal => equal += 1,
                Outcome::Deviates(kind) => *deviating.entry(kind).or_default() += 1,
                Outcome::Fails(reason) => {
                    failing.push(format!("{} {:?}: {reason}", case.name, case.rules));
                }
            }
        }
        let cases = recording.cases.len();
        println!(
            "{file}: Consul {}, {cases} cases, {equal} equal, {} deviating, {} failing",
            recording.consul,
            deviating.values().sum::<usize>(),
            failing.len()
        );
        for (kind, count) in deviating {
            println!("  {count} deviate by {kind}");
        }
        for case in &failing {
            println!("  {case}");
        }
        failed |= !failing.is_empty();
        if file.contains("generated") {
            assert!(equal * 10 >= cases * 9, "{file}: only {equal} of {cases}");
        }
    }
    assert!(!failed, "some cases fail; see the output");
}

#[test]
fn deviations_are_documented() {
    let documented = include_str!("../docs/deviations.md");
    for deviation in &DEVIATIONS {
        let entry = format!("- **{}**: {}\n", deviation.name, deviation.reason);
        assert!(
            documented.contains(&entry),
            "docs/deviations.md lacks: {entry}"
        );
    }
}
