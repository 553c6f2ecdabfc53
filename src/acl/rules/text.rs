//! Reads rules.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Rule, Rules, RulesError};
use crate::acl::syntax::{Problem, Verdict, read_json};
use crate::acl::{Position, Resource};

const RULES: &str = "rules, as in {\"operator\": \"read\"}";

impl Rules {
    /// Reads rules in JSON.
    ///
    /// # Errors
    /// [`RulesError`] with what is wrong, and where.
    pub fn from_json(text: &str) -> Result<Self, RulesError> {
        let verdict = Verdict::none(RULES);
        read_json(text.as_bytes(), RulesSeed(&verdict), &verdict).map_err(refused)
    }

    /// Reads rules in HCL, the newer syntax of which is that of hcl-rs: a block
    /// on one line holds one attribute, and `${` begins an expression, which
    /// no rule can have.
    ///
    /// ```
    /// use cluster_operator::{Resource, Rule, Rules};
    ///
    /// let rules = Rules::from_hcl(
    ///     r#"
    ///     // May rotate the keys.
    ///     keyring = "write"
    ///
    ///     service "web" {
    ///       policy = "read"
    ///     }
    ///     "#,
    /// )?;
    /// assert_eq!(rules.about(Resource::Keyring), Some(Rule::Write));
    /// # Ok::<(), cluster_operator::RulesError>(())
    /// ```
    ///
    /// # Errors
    /// [`RulesError`] with what is wrong, and where.
    #[cfg(feature = "hcl")]
    pub fn from_hcl(text: &str) -> Result<Self, RulesError> {
        let verdict = Verdict::none(RULES);
        crate::acl::syntax::read_hcl(text, RulesSeed(&verdict), &verdict).map_err(refused)
    }
}

impl FromStr for Rules {
    type Err = RulesError;

    /// What begins with a brace is JSON, as for Consul.
    fn from_str(text: &str) -> Result<Self, RulesError> {
        let content = text.trim_start();
        if content.is_empty() {
            Ok(Rules::new())
        } else if content.starts_with('{') {
            Rules::from_json(text)
        } else {
            from_hcl(text)
        }
    }
}

#[cfg(feature = "hcl")]
fn from_hcl(text: &str) -> Result<Rules, RulesError> {
    Rules::from_hcl(text)
}

#[cfg(not(feature = "hcl"))]
fn from_hcl(_: &str) -> Result<Rules, RulesError> {
    Err(RulesError::HclDisabled)
}

fn refused((position, problem): (Position, Problem<RuleFault>)) -> RulesError {
    match problem {
        Problem::Syntax(problem) => RulesError::Syntax { position, problem },
        Problem::Fault(fault) => fault.at(position),
    }
}

/// What is wrong with a rule.
#[derive(Debug)]
pub(in crate::acl) enum RuleFault {
    Value { resource: Resource, value: String },
    Duplicate { resource: Resource },
}

impl RuleFault {
    pub(in crate::acl) fn at(self, position: Position) -> RulesError {
        match self {
            RuleFault::Value { resource, value } => RulesError::InvalidRule {
                resource,
                value: Some(value),
                position,
            },
            RuleFault::Duplicate { resource } => RulesError::DuplicateRule { resource, position },
        }
    }
}

/// Reads a map of rules.
#[derive(Clone, Copy)]
pub(in crate::acl) struct RulesSeed<'a>(pub(in crate::acl) &'a Verdict<RuleFault>);

impl<'de> DeserializeSeed<'de> for RulesSeed<'_> {
    type Value = Rules;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Rules, D::Error> {
        self.0.expect(RULES);
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RulesSeed<'_> {
    type Value = Rules;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RULES)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rules, A::Error> {
        let mut rules = Rules::new();
        // A rule that says nothing counts too.
        let mut seen = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            let Some(resource) = name else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen.contains(&resource) {
                return Err(self.0.refuse(RuleFault::Duplicate { resource }));
            }
            seen.push(resource);
            *rules.about_mut(resource) = map.next_value_seed(RuleSeed {
                resource,
                verdict: self.0,
            })?;
        }
        Ok(rules)
    }
}

/// The name of a rule; `None` for a rule about something else.
struct Name(Option<Resource>);

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl Visitor<'_> for Names {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a rule")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
                Ok(Name(
                    [Resource::Operator, Resource::Keyring]
                        .into_iter()
                        .find(|resource| folds_to(name, &resource.to_string())),
                ))
            }
        }

        deserializer.deserialize_str(Names)
    }
}

/// Whether Go's `strings.EqualFold` takes the name for this lower-case one, by
/// which Consul's parser finds it. To ignore `Operator = "deny"` would be to
/// grant what Consul denies.
fn folds_to(name: &str, lower: &str) -> bool {
    let folded = name.chars().map(|letter| match letter {
        // The Kelvin sign, the only other letter that folds into these names.
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    });
    folded.eq(lower.chars())
}

/// Reads one rule's value.
struct RuleSeed<'a> {
    resource: Resource,
    verdict: &'a Verdict<RuleFault>,
}

impl RuleSeed<'_> {
    fn refuse<E: Error>(self, value: String) -> Result<Option<Rule>, E> {
        Err(self.verdict.refuse(RuleFault::Value {
            resource: self.resource,
            value,
        }))
    }
}

impl<'de> DeserializeSeed<'de> for RuleSeed<'_> {
    type Value = Option<Rule>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RuleSeed<'_> {
    type Value = Option<Rule>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.is_empty() {
            return Ok(None);
        }
        match Rule::from_name(text) {
            Some(rule) => Ok(Some(rule)),
            // A value that is no rule may be of any length.
            None if text.chars().count() > 32 => self.refuse("a longer text".into()),
            None => self.refuse(format!("{text:?}")),
        }
    }

    // Consul reads numbers and truth values as text.
    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.refuse(format!("\"{value}\""))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.refuse(format!("\"{value}\""))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.refuse(format!("\"{value}\""))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.refuse(format!("\"{value}\""))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        self.refuse("null".into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        self.refuse("a list".into())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        self.refuse("a block".into())
    }
}
