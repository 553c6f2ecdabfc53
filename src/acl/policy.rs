//! Reads the rules about the operator endpoints out of a policy of Consul.
//!
//! Consul decodes a policy into a struct with a field for each resource. What that decoder accepts
//! is checked here for every resource, since a policy that Consul refuses is in force nowhere.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::hcl::{self, SyntaxError};
use super::syntax::{
    Content, Item, Notation, Position, SyntaxProblem, Text, Value, equal_fold, nearest,
};
use super::{Resource, Rule, Rules};

/// The error of a policy that is refused, with the place of the mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesError {
    kind: RulesErrorKind,
    position: Option<Position>,
}

impl RulesError {
    /// What is wrong.
    pub fn kind(&self) -> &RulesErrorKind {
        &self.kind
    }

    /// Where it is wrong; `None` if that is no single place.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Removes what is quoted of the text, apart from names that are almost those of resources.
    pub(super) fn without_values(mut self) -> Self {
        match &mut self.kind {
            RulesErrorKind::InvalidRule { value, .. } if value.starts_with('"') => value.clear(),
            RulesErrorKind::UnknownName {
                name,
                nearest: None,
            } => name.clear(),
            _ => {}
        }
        self
    }
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "{position}: ")?;
        }
        self.kind.fmt(f)
    }
}

impl std::error::Error for RulesError {}

/// Why a policy is refused.
///
/// Values and unknown names are empty in the errors of a token file: there, a secret may stand in
/// their place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesErrorKind {
    /// The text is neither HCL nor JSON, or nested too deep.
    #[error("{0}")]
    Syntax(SyntaxProblem),
    /// The policy is longer than [`Rules::MAX_BYTES`].
    #[error("a policy has at most {} bytes: split it", Rules::MAX_BYTES)]
    TooLarge,
    /// A rule has a value that is none of the valid ones.
    #[error("invalid {rule} policy{}", fix(rule, value))]
    InvalidRule {
        /// The name of the resource.
        rule: &'static str,
        /// The value, in quotes if it is a text.
        value: String,
    },
    /// A resource has two rules, of which Consul takes the second.
    #[error("a second rule about {resource}: keep one")]
    DuplicateRule {
        /// The resource.
        resource: Resource,
    },
    /// No resource of Consul has this name, so that Consul ignores the rule.
    #[error("Consul has no resource {}", guess(name, *nearest))]
    UnknownName {
        /// The name.
        name: String,
        /// The name of a resource that is probably meant.
        nearest: Option<&'static str>,
    },
    /// A rule stands inside a block about something else, where Consul ignores it.
    #[error("a rule about {resource} inside a block is ignored: move it out of the block")]
    MisplacedRule {
        /// The resource.
        resource: Resource,
    },
    /// The rules stand in a text named `rules`, as in Terraform and in Consul's API.
    #[error("the rules stand in the text `rules`: give the content of that text as the policy")]
    WrappedRules,
    /// The rules are not JSON, and HCL is not compiled in.
    #[error("the rules are not JSON: write them in JSON, or turn on the feature `hcl`")]
    HclDisabled,
}

const BLOCK: &str = "of a block";
const LIST: &str = "of a list";

fn fix(rule: &str, value: &str) -> String {
    let words = "\"read\", \"write\" or \"deny\"";
    match value {
        "" => format!(": write {words}"),
        BLOCK | LIST => format!(" {value}: write {rule} = {words}"),
        _ => format!(" {value}: write {words}"),
    }
}

fn guess(name: &str, nearest: Option<&str>) -> String {
    match (name, nearest) {
        ("", _) => "of this name: remove the rule".into(),
        (_, None) => format!("{name:?}: remove the rule"),
        (_, Some(nearest)) => format!("{name:?}: did you mean {nearest:?}"),
    }
}

/// Resources whose rule is a word, as in `operator = "read"`.
const WORDS: [&str; 5] = ["operator", "keyring", "acl", "mesh", "peering"];

/// Resources whose rules are blocks, as in `node "web" { policy = "read" }`.
#[rustfmt::skip]
const BLOCKS: [&str; 14] = [
    "agent", "agent_prefix", "event", "event_prefix", "key", "key_prefix", "node", "node_prefix",
    "query", "query_prefix", "service", "service_prefix", "session", "session_prefix",
];

/// Resources whose rules Consul 1.17 ignores without a license.
#[rustfmt::skip]
const IGNORED: [&str; 6] = [
    "identity", "identity_prefix", "namespace", "namespace_prefix", "partition", "partition_prefix",
];

fn all_resources() -> impl Iterator<Item = &'static str> {
    WORDS.into_iter().chain(BLOCKS).chain(IGNORED)
}

/// The resources that this library serves.
const SERVED: [(&str, Resource); 2] = [
    ("operator", Resource::Operator),
    ("keyring", Resource::Keyring),
];

impl FromStr for Rules {
    type Err = RulesError;

    /// Reads a policy that stands alone.
    fn from_str(text: &str) -> Result<Self, RulesError> {
        let refuse = |kind, position| Err(RulesError { kind, position });
        if text.len() > Rules::MAX_BYTES {
            return refuse(RulesErrorKind::TooLarge, None);
        }
        if text.starts_with('\u{feff}') {
            let problem = SyntaxProblem::Malformed("a byte order mark: save the text without it");
            return refuse(RulesErrorKind::Syntax(problem), Some(Position::of(0, text)));
        }
        let notation = match text.trim_start().starts_with('{') {
            true => Notation::ConsulJson,
            false => Notation::Hcl,
        };
        // A blank text has no rules in any language.
        if notation == Notation::Hcl && !cfg!(feature = "hcl") && !text.trim_ascii().is_empty() {
            return refuse(RulesErrorKind::HclDisabled, None);
        }
        hcl::parse(text, notation)
            .map_err(|SyntaxError { at, problem }| Refusal {
                at,
                kind: RulesErrorKind::Syntax(problem),
            })
            .and_then(|items| interpret(&items, notation))
            .or_else(|Refusal { at, kind }| refuse(kind, Some(Position::of(at, text))))
    }
}

/// Reads a policy that is a block of a token file. Its errors quote nothing.
pub(super) fn from_block(
    items: &[Item<'_>],
    notation: Notation,
    text: &str,
) -> Result<Rules, RulesError> {
    interpret(items, notation).map_err(|Refusal { at, kind }| {
        let position = Some(Position::of(at, text));
        RulesError { kind, position }.without_values()
    })
}

struct Refusal {
    at: usize,
    kind: RulesErrorKind,
}

type Checked<T = ()> = Result<T, Refusal>;

fn refuse<T>(at: usize, kind: RulesErrorKind) -> Checked<T> {
    Err(Refusal { at, kind })
}

fn invalid<T>(rule: &'static str, at: usize, value: impl Into<String>) -> Checked<T> {
    let value = value.into();
    refuse(at, RulesErrorKind::InvalidRule { rule, value })
}

fn decode(text: &Text<'_>) -> Checked<Zeroizing<Vec<u8>>> {
    let problem = SyntaxProblem::Malformed("an escape in this text stands for no character");
    text.decode().ok_or(Refusal {
        at: text.at,
        kind: RulesErrorKind::Syntax(problem),
    })
}

fn interpret(items: &[Item<'_>], notation: Notation) -> Checked<Rules> {
    let is_json = notation != Notation::Hcl;
    let mut rules = Rules::new();
    let mut others = Vec::<(&'static str, Zeroizing<Vec<u8>>, usize)>::new();
    for (item, name) in resources(items)? {
        if BLOCKS.contains(&name) {
            let mut labels = item.labels.iter().collect();
            Blocks { name, is_json }.all(&mut labels, &item.value)?;
        } else if WORDS.contains(&name) {
            if !item.labels.is_empty() {
                return invalid(name, item.name.at, BLOCK);
            }
            let word = word(name, &item.value)?;
            match SERVED.into_iter().find(|(served, _)| *served == name) {
                Some(_) if word.is_empty() => {}
                Some((_, resource)) => match Rule::from_name(&word) {
                    Some(rule) => rules = rules.with(resource, rule),
                    None => return invalid(name, item.value.at, quoted(&word)),
                },
                // Of several rules about another resource, the last one counts.
                None => {
                    others.retain(|(other, ..)| *other != name);
                    others.push((name, word, item.value.at));
                }
            }
        }
        find_misplaced(&item.value)?;
    }
    for (name, word, at) in others {
        check_word(name, &word, at)?;
    }
    Ok(rules)
}

/// Finds the resource that each item is about.
fn resources<'i, 'a>(items: &'i [Item<'a>]) -> Checked<Vec<(&'i Item<'a>, &'static str)>> {
    let mut found = Vec::with_capacity(items.len());
    let mut seen = Vec::new();
    for item in items {
        let name = decode(&item.name)?;
        let Some(known) = all_resources().find(|known| equal_fold(&name, known)) else {
            return unknown(&name, item.name.at, items);
        };
        if let Some((served, resource)) = SERVED.into_iter().find(|(name, _)| *name == known) {
            // Before the values: Consul takes the second rule, whatever the first one is.
            if seen.contains(&served) {
                return refuse(item.name.at, RulesErrorKind::DuplicateRule { resource });
            }
            seen.push(served);
        }
        found.push((item, known));
    }
    Ok(found)
}

fn unknown<T>(name: &[u8], at: usize, items: &[Item<'_>]) -> Checked<T> {
    let decoded = |item: &Item<'_>| item.name.decode().unwrap_or_default();
    if let Some(wrapper) = items
        .iter()
        .find(|item| equal_fold(&decoded(item), "rules"))
    {
        return refuse(wrapper.name.at, RulesErrorKind::WrappedRules);
    }
    let nearest = nearest(name, all_resources());
    let name = String::from_utf8_lossy(name).chars().take(40).collect();
    refuse(at, RulesErrorKind::UnknownName { name, nearest })
}

/// The word of a rule. Consul takes whole numbers for text and null for an empty one.
fn word(rule: &'static str, value: &Value<'_>) -> Checked<Zeroizing<Vec<u8>>> {
    match &value.content {
        Content::Text(text) => decode(text),
        Content::Number(digits) if is_whole(digits) => {
            Ok(Zeroizing::new(digits.as_bytes().to_vec()))
        }
        Content::Null => Ok(Zeroizing::default()),
        Content::Number(_) => invalid(rule, value.at, "of a fraction"),
        Content::Bool(_) => invalid(rule, value.at, "of a truth value"),
        Content::List(_) => invalid(rule, value.at, LIST),
        Content::Object(_) => invalid(rule, value.at, BLOCK),
    }
}

fn is_whole(number: &str) -> bool {
    // In hexadecimal, `e` is a digit.
    let digits = number.trim_start_matches('-');
    digits.starts_with("0x") || digits.starts_with("0X") || !digits.contains(['.', 'e', 'E'])
}

/// Checks the word of a rule about a resource that is not served here, as Consul does: empty ones
/// say nothing, and the case does not matter.
fn check_word(rule: &'static str, word: &[u8], at: usize) -> Checked {
    let text = String::from_utf8_lossy(word);
    // As Go does, letter by letter.
    let lower = text
        .chars()
        .filter_map(|letter| letter.to_lowercase().next());
    match lower.collect::<String>().as_str() {
        "" | "read" | "write" | "deny" => Ok(()),
        "list" if rule.starts_with("key") && rule != "keyring" => Ok(()),
        _ => invalid(rule, at, quoted(word)),
    }
}

/// A value for an error. One that is no rule may be of any length.
fn quoted(word: &[u8]) -> String {
    let text = String::from_utf8_lossy(word);
    match text.chars().nth(32) {
        None => format!("{text:?}"),
        Some(_) => "of a long text".into(),
    }
}

/// Checks the blocks of a resource.
struct Blocks {
    name: &'static str,
    is_json: bool,
}

impl Blocks {
    /// Checks a value under its labels. In JSON, objects that hold nothing but objects, and lists
    /// of objects, are labels too.
    fn all<'a>(&self, labels: &mut Vec<&'a Text<'a>>, value: &'a Value<'a>) -> Checked {
        let is_object = |value: &Value<'_>| matches!(value.content, Content::Object(_));
        // Consul drops them from a list of JSON.
        let is_bool = |value: &Value<'_>| self.is_json && matches!(value.content, Content::Bool(_));
        match &value.content {
            Content::Object(items)
                if self.is_json
                    && !items.is_empty()
                    && items.iter().all(|item| is_object(&item.value)) =>
            {
                items.iter().try_for_each(|item| {
                    labels.push(&item.name);
                    self.all(labels, &item.value)?;
                    labels.truncate(labels.len() - 1);
                    Ok(())
                })
            }
            Content::List(values)
                if self.is_json
                    && values.iter().any(is_object)
                    && values
                        .iter()
                        .all(|value| is_object(value) || is_bool(value)) =>
            {
                let mut objects = values.iter().filter(|value| is_object(value));
                objects.try_for_each(|value| self.all(labels, value))
            }
            // Without labels, Consul takes each item of a block for a block.
            Content::Object(items) if labels.is_empty() => items.iter().try_for_each(|item| {
                let mut labels: Vec<_> = [&item.name].into_iter().chain(&item.labels).collect();
                if self.is_json {
                    self.all(&mut labels, &item.value)
                } else {
                    self.block(&labels, &item.value)
                }
            }),
            Content::List(values) if labels.is_empty() && values.iter().all(is_bool) => Ok(()),
            _ => self.block(labels, value),
        }
    }

    fn block(&self, labels: &[&Text<'_>], value: &Value<'_>) -> Checked {
        let mut policy = (Zeroizing::default(), value.at);
        let mut intentions = (Zeroizing::default(), value.at);
        let mut attribute = |name: &Text<'_>, is_block: bool, value: &Value<'_>| {
            let name = decode(name)?;
            let attribute = if equal_fold(&name, "policy") {
                &mut policy
            } else if self.name.starts_with("service") && equal_fold(&name, "intentions") {
                &mut intentions
            } else {
                return Ok(());
            };
            if is_block {
                return invalid(self.name, value.at, BLOCK);
            }
            *attribute = (word(self.name, value)?, value.at);
            Ok(())
        };
        match (labels, &value.content) {
            // Consul takes the second of exactly two labels for an attribute.
            ([], _) | ([_, _], _) | (_, Content::List(_)) => {
                return invalid(self.name, value.at, "of another form");
            }
            ([label, ..], Content::Object(items)) => {
                decode(label)?;
                items.iter().try_for_each(|item| {
                    attribute(&item.name, !item.labels.is_empty(), &item.value)
                })?;
            }
            ([name, ..], _) => attribute(name, false, value)?,
        }
        if policy.0.is_empty() {
            return invalid(self.name, policy.1, "\"\"");
        }
        [policy, intentions]
            .iter()
            .try_for_each(|(word, at)| check_word(self.name, word, *at))
    }
}

/// Refuses a rule about a served resource inside of a block.
fn find_misplaced(value: &Value<'_>) -> Checked {
    match &value.content {
        Content::List(values) => values.iter().try_for_each(find_misplaced),
        Content::Object(items) => items.iter().try_for_each(|item| {
            if let Content::Object(_) | Content::List(_) = item.value.content {
                return find_misplaced(&item.value);
            }
            let name = item.name.decode().unwrap_or_default();
            match SERVED
                .into_iter()
                .find(|(served, _)| equal_fold(&name, served))
            {
                Some((_, resource)) => {
                    refuse(item.name.at, RulesErrorKind::MisplacedRule { resource })
                }
                None => Ok(()),
            }
        }),
        _ => Ok(()),
    }
}
