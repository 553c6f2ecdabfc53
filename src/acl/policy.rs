//! Reads the rules about the operator endpoints out of a policy of Consul.
//!
//! Consul decodes a policy into a struct with a field for each resource. What that decoder accepts
//! is checked here for every resource, since a policy that Consul refuses is not in force
//! anywhere.

use std::fmt;

use zeroize::Zeroizing;

use super::syntax::{
    Content, Item, MAX_DEPTH, MAX_LABELS, Notation, Position, Problem, SyntaxError, Text, Value,
    nearest,
};
use super::{Resource, Rule, Rules, json};

/// The error of a policy that is refused, with the place of the mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesError {
    kind: RulesErrorKind,
    position: Option<Position>,
}

impl RulesError {
    fn new(kind: RulesErrorKind, position: Option<Position>) -> Self {
        RulesError { kind, position }
    }

    /// What is wrong.
    pub fn kind(&self) -> &RulesErrorKind {
        &self.kind
    }

    /// Where it is wrong; `None` if that is no single place.
    pub fn position(&self) -> Option<Position> {
        self.position
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
/// Values and unknown names are quoted only where the policy stands alone: in a token file, a
/// secret may stand in their place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesErrorKind {
    /// The text is neither HCL nor JSON.
    #[error("{problem}")]
    Syntax {
        /// What is wrong, and what to do. It quotes nothing of the text.
        problem: &'static str,
    },
    /// The policy is longer than [`Rules::MAX_BYTES`].
    #[error("a policy has at most {} bytes: split it", Rules::MAX_BYTES)]
    TooLarge,
    /// The policy is nested deeper than [`Rules::MAX_DEPTH`].
    #[error("blocks and lists are nested at most {MAX_DEPTH} deep: remove some")]
    TooDeep,
    /// A block has more labels than [`Rules::MAX_LABELS`].
    #[error("a block has at most {MAX_LABELS} labels: remove some")]
    TooManyLabels,
    /// A rule has a value that is none of the valid ones.
    #[error(fmt = invalid_rule)]
    InvalidRule {
        /// The name of the resource.
        rule: &'static str,
        /// The value, in quotes if it is a text.
        value: Option<String>,
    },
    /// A resource has two rules, of which Consul takes the second.
    #[error("a second rule about {resource}: keep one")]
    DuplicateRule {
        /// The resource.
        resource: Resource,
    },
    /// No resource of Consul has this name, so that Consul ignores the rule.
    #[error(fmt = unknown_name)]
    UnknownName {
        /// The name.
        name: Option<String>,
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

impl From<Problem> for RulesErrorKind {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Malformed(problem) => RulesErrorKind::Syntax { problem },
            Problem::TooDeep => RulesErrorKind::TooDeep,
            Problem::TooManyLabels => RulesErrorKind::TooManyLabels,
        }
    }
}

fn invalid_rule(
    rule: &&'static str,
    value: &Option<String>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(f, "invalid {rule} policy")?;
    if let Some(value) = value {
        write!(f, " {value}")?;
    }
    match value.as_deref() {
        Some(A_BLOCK | A_LIST) => write!(f, ": write {rule} = \"read\", \"write\" or \"deny\""),
        _ => write!(f, ": write \"read\", \"write\" or \"deny\""),
    }
}

const A_BLOCK: &str = "of a block";
const A_LIST: &str = "of a list";

fn unknown_name(
    name: &Option<String>,
    nearest: &Option<&'static str>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match name {
        Some(name) => write!(f, "Consul has no resource {name:?}")?,
        None => write!(f, "Consul has no resource of this name")?,
    }
    match nearest {
        Some(nearest) => write!(f, ": did you mean {nearest:?}"),
        None => write!(f, ": remove the rule"),
    }
}

/// What a resource's rule looks like.
#[derive(Clone, Copy)]
enum Shape {
    /// A word, as in `operator = "read"`.
    Word(Option<Resource>),
    /// Blocks with a `policy`, as in `node "web" { policy = "read" }`.
    Blocks { list: bool, intentions: bool },
    /// Not decoded by Consul 1.17 without a license.
    Ignored,
}

const BLOCKS: Shape = Shape::Blocks {
    list: false,
    intentions: false,
};
const KEYS: Shape = Shape::Blocks {
    list: true,
    intentions: false,
};
const SERVICES: Shape = Shape::Blocks {
    list: false,
    intentions: true,
};

/// The names of all resources.
const RESOURCES: [(&str, Shape); 25] = [
    ("operator", Shape::Word(Some(Resource::Operator))),
    ("keyring", Shape::Word(Some(Resource::Keyring))),
    ("acl", Shape::Word(None)),
    ("mesh", Shape::Word(None)),
    ("peering", Shape::Word(None)),
    ("agent", BLOCKS),
    ("agent_prefix", BLOCKS),
    ("event", BLOCKS),
    ("event_prefix", BLOCKS),
    ("key", KEYS),
    ("key_prefix", KEYS),
    ("node", BLOCKS),
    ("node_prefix", BLOCKS),
    ("query", BLOCKS),
    ("query_prefix", BLOCKS),
    ("service", SERVICES),
    ("service_prefix", SERVICES),
    ("session", BLOCKS),
    ("session_prefix", BLOCKS),
    ("identity", Shape::Ignored),
    ("identity_prefix", Shape::Ignored),
    ("namespace", Shape::Ignored),
    ("namespace_prefix", Shape::Ignored),
    ("partition", Shape::Ignored),
    ("partition_prefix", Shape::Ignored),
];

/// Reads a policy that stands alone.
pub(super) fn parse(text: &str) -> Result<Rules, RulesError> {
    if text.len() > Rules::MAX_BYTES {
        return Err(RulesError::new(RulesErrorKind::TooLarge, None));
    }
    let is_json = text.trim_start().starts_with('{');
    let items = if is_json {
        json::parse(text, Notation::ConsulJson)
    } else {
        parse_hcl(text)?
    };
    items
        .map_err(|SyntaxError { at, problem }| Refusal {
            at,
            kind: problem.into(),
        })
        .and_then(|items| interpret(&items, is_json))
        .map_err(|refusal| RulesError::new(refusal.kind, Some(Position::of(refusal.at, text))))
}

#[cfg(feature = "hcl")]
fn parse_hcl(text: &str) -> Result<Result<Vec<Item<'_>>, SyntaxError>, RulesError> {
    Ok(super::hcl::parse(text))
}

/// A blank text has no rules in any language.
#[cfg(not(feature = "hcl"))]
fn parse_hcl(text: &str) -> Result<Result<Vec<Item<'_>>, SyntaxError>, RulesError> {
    if text.trim_ascii().is_empty() {
        return Ok(Ok(Vec::new()));
    }
    Err(RulesError::new(RulesErrorKind::HclDisabled, None))
}

/// Reads a policy that is a block of a token file. Its errors quote nothing.
pub(super) fn from_block(
    items: &[Item<'_>],
    is_json: bool,
    text: &str,
) -> Result<Rules, RulesError> {
    interpret(items, is_json).map_err(|Refusal { at, kind }| {
        RulesError::new(kind, Some(Position::of(at, text))).without_values()
    })
}

impl RulesError {
    /// Removes what is quoted of the text.
    pub(super) fn without_values(mut self) -> Self {
        match &mut self.kind {
            RulesErrorKind::InvalidRule { value, .. } => {
                value.take_if(|value| ![A_BLOCK, A_LIST].contains(&value.as_str()));
            }
            // A name that is almost that of a resource is no secret.
            RulesErrorKind::UnknownName {
                name,
                nearest: None,
            } => *name = None,
            _ => {}
        }
        self
    }
}

struct Refusal {
    at: usize,
    kind: RulesErrorKind,
}

type Checked<T = ()> = Result<T, Refusal>;

fn invalid<T>(rule: &'static str, at: usize, value: Option<String>) -> Checked<T> {
    Err(Refusal {
        at,
        kind: RulesErrorKind::InvalidRule { rule, value },
    })
}

fn decode(text: &Text<'_>) -> Checked<Zeroizing<Vec<u8>>> {
    text.decode().ok_or(Refusal {
        at: text.at,
        kind: RulesErrorKind::Syntax {
            problem: "an escape in this text stands for no character",
        },
    })
}

fn interpret(items: &[Item<'_>], is_json: bool) -> Checked<Rules> {
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        found.push((resource(item, items)?, item));
    }
    let mut rules = Rules::new();
    // Before the values: Consul takes the second of two rules, whatever the first one is.
    for resource in [Resource::Operator, Resource::Keyring] {
        let mut about = found.iter().filter(
            |((_, shape), _)| matches!(shape, Shape::Word(Some(about)) if *about == resource),
        );
        if let Some((_, second)) = about.nth(1) {
            return Err(Refusal {
                at: second.name.at,
                kind: RulesErrorKind::DuplicateRule { resource },
            });
        }
    }
    for ((known, shape), item) in found {
        match shape {
            Shape::Ignored => {}
            Shape::Blocks { list, intentions } => {
                let check = Blocks {
                    name: known,
                    list,
                    intentions,
                    is_json,
                };
                check.all(&mut item.labels.iter().collect(), &item.value)?;
            }
            Shape::Word(_) if !item.labels.is_empty() => {
                return invalid(known, item.name.at, Some(A_BLOCK.into()));
            }
            Shape::Word(None) => {
                check_word(known, &word(known, &item.value)?, item.value.at, false)?;
            }
            Shape::Word(Some(resource)) => {
                let word = word(known, &item.value)?;
                match Rule::from_name(&word) {
                    Some(rule) => rules = rules.with(resource, rule),
                    None if word.is_empty() => {}
                    None => return invalid(known, item.value.at, Some(quoted(&word))),
                }
            }
        }
        find_misplaced(&item.value)?;
    }
    Ok(rules)
}

/// Finds the resource that a rule is about.
fn resource(item: &Item<'_>, all: &[Item<'_>]) -> Checked<(&'static str, Shape)> {
    let name = decode(&item.name)?;
    let found = RESOURCES
        .into_iter()
        .find(|(known, _)| folds_to(&name, known));
    found.ok_or_else(|| unknown(&name, item.name.at, all))
}

fn unknown(name: &[u8], at: usize, items: &[Item<'_>]) -> Refusal {
    let wrapper = items.iter().find(|item| {
        let name = item.name.decode();
        name.is_some_and(|name| folds_to(&name, "rules"))
    });
    if let Some(item) = wrapper {
        return Refusal {
            at: item.name.at,
            kind: RulesErrorKind::WrappedRules,
        };
    }
    let name_text: String = String::from_utf8_lossy(name).chars().take(40).collect();
    Refusal {
        at,
        kind: RulesErrorKind::UnknownName {
            nearest: nearest(name, RESOURCES.map(|(known, _)| known)),
            name: Some(name_text),
        },
    }
}

/// Compares a name with a lower-case one as Go's `strings.EqualFold` does, by which Consul finds
/// its fields. To ignore `Operator = "deny"` would be to grant what Consul denies.
fn folds_to(name: &[u8], lower: &str) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    let folded = name.chars().map(|letter| match letter {
        // The only letters beyond ASCII that fold into these names.
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        letter => letter.to_ascii_lowercase(),
    });
    folded.eq(lower.chars())
}

/// The text of a rule. Consul takes whole numbers for text and null for an empty one.
fn word(rule: &'static str, value: &Value<'_>) -> Checked<Zeroizing<Vec<u8>>> {
    match &value.content {
        Content::Text(text) => decode(text),
        Content::Number(digits) if is_whole(digits) => {
            Ok(Zeroizing::new(digits.as_bytes().to_vec()))
        }
        Content::Null => Ok(Zeroizing::default()),
        Content::Number(_) | Content::Bool(_) => invalid(rule, value.at, None),
        Content::List(_) => invalid(rule, value.at, Some(A_LIST.into())),
        Content::Object(_) => invalid(rule, value.at, Some(A_BLOCK.into())),
    }
}

fn is_whole(number: &str) -> bool {
    let digits = number.trim_start_matches('-');
    digits.starts_with("0x") || digits.starts_with("0X") || !digits.contains(['.', 'e', 'E'])
}

/// Checks the word of a rule about another resource. There Consul ignores the case.
fn check_word(rule: &'static str, word: &[u8], at: usize, list: bool) -> Checked {
    let text = String::from_utf8_lossy(word);
    // As Go does, letter by letter.
    let lower = text
        .chars()
        .filter_map(|letter| letter.to_lowercase().next());
    match lower.collect::<String>().as_str() {
        "" | "read" | "write" | "deny" => Ok(()),
        "list" if list => Ok(()),
        _ => invalid(rule, at, Some(quoted(word))),
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
    list: bool,
    intentions: bool,
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
                for item in items {
                    labels.push(&item.name);
                    self.all(labels, &item.value)?;
                    labels.pop();
                }
                Ok(())
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
            content if labels.is_empty() => match content {
                // Without labels, Consul takes each item of a block for a block.
                Content::Object(items) if self.is_json => items
                    .iter()
                    .try_for_each(|item| self.all(&mut vec![&item.name], &item.value)),
                Content::Object(items) => items.iter().try_for_each(|item| {
                    let labels: Vec<_> = [&item.name].into_iter().chain(&item.labels).collect();
                    self.block(&labels, &item.value)
                }),
                Content::List(values) if values.iter().all(is_bool) => Ok(()),
                _ => invalid(self.name, value.at, None),
            },
            _ => self.block(labels, value),
        }
    }

    fn block(&self, labels: &[&Text<'_>], value: &Value<'_>) -> Checked {
        for label in labels.iter().take(1) {
            decode(label)?;
        }
        let mut policy = (Zeroizing::default(), value.at);
        let mut intentions = (Zeroizing::default(), value.at);
        let mut attribute = |name: &Text<'_>, labels: &[Text<'_>], value: &Value<'_>| {
            let name = decode(name)?;
            let attribute = if folds_to(&name, "policy") {
                &mut policy
            } else if self.intentions && folds_to(&name, "intentions") {
                &mut intentions
            } else {
                return Ok(());
            };
            if !labels.is_empty() {
                return invalid(self.name, value.at, Some(A_BLOCK.into()));
            }
            *attribute = (word(self.name, value)?, value.at);
            Ok(())
        };
        match (&value.content, labels) {
            // Consul takes the second of exactly two labels for an attribute.
            (_, [_, _]) | (Content::List(_), _) => return invalid(self.name, value.at, None),
            (Content::Object(items), _) => items
                .iter()
                .try_for_each(|item| attribute(&item.name, &item.labels, &item.value))?,
            (_, [name, ..]) => attribute(name, &[], value)?,
            (_, []) => {}
        }
        let (policy, at) = policy;
        if policy.is_empty() {
            return invalid(self.name, at, None);
        }
        check_word(self.name, &policy, at, self.list)?;
        let (intentions, at) = intentions;
        check_word(self.name, &intentions, at, false)
    }
}

/// Refuses a rule about the operator endpoints inside of a block.
fn find_misplaced(value: &Value<'_>) -> Checked {
    match &value.content {
        Content::List(values) => values.iter().try_for_each(find_misplaced),
        Content::Object(items) => items.iter().try_for_each(|item| {
            if let Content::Object(_) | Content::List(_) = item.value.content {
                return find_misplaced(&item.value);
            }
            let Some(name) = item.name.decode() else {
                return Ok(());
            };
            let resources = [Resource::Operator, Resource::Keyring];
            match resources
                .into_iter()
                .find(|resource| folds_to(&name, &resource.to_string()))
            {
                Some(resource) => Err(Refusal {
                    at: item.name.at,
                    kind: RulesErrorKind::MisplacedRule { resource },
                }),
                None => Ok(()),
            }
        }),
        _ => Ok(()),
    }
}
