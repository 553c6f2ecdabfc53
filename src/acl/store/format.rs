//! The form of a token file.

use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::accessor::Accessor;
use super::builder::{HashedToken, TokenStoreBuilder};
use super::error::LoadError;
use super::secret::SecretDigest;
use super::set::NEVER;
use super::timestamp;
use crate::acl::syntax::{Position, Verdict};
use crate::acl::{AccessorId, DefaultPolicy, RuleFault, Rules, RulesError, RulesSeed};

pub(super) const FILE: &str = "a block with default_policy, anonymous, policy and token";
const POLICY: &str = "a block of rules or a text of them";
const TOKEN: &str = "a block with secret, description, policies, management and expires";
const NAMES: &str = "a list of policy names";
const DEFAULT: &str = "\"allow\" or \"deny\"";
const TIME: &str = "a time, as in \"2030-01-01T00:00:00Z\"";

/// What is wrong with a token file.
#[derive(Debug)]
pub(super) enum FileFault {
    /// Something else was expected.
    Expected(&'static str),
    /// A member stands twice, or the code has given it already.
    Twice(&'static str),
    NoSecret(AccessorId),
    /// Rules in the file.
    Rules(String, RuleFault),
    /// A text of rules.
    RulesText(String, RulesError),
}

impl FileFault {
    pub(super) fn at(self, path: &Path, position: Position) -> LoadError {
        let problem = match self {
            FileFault::Expected(what) => format!("expected {what}"),
            FileFault::Twice(what) => format!("{what} is given twice: give it once"),
            FileFault::NoSecret(accessor) => return LoadError::NoSecret { accessor },
            FileFault::Rules(policy, fault) => return invalid(policy, fault.at(position)),
            FileFault::RulesText(policy, error) => return invalid(policy, error),
        };
        LoadError::Syntax {
            path: path.to_owned(),
            position,
            problem,
        }
    }
}

fn invalid(policy: String, source: RulesError) -> LoadError {
    LoadError::InvalidRules {
        policy,
        source: source.without_value(),
    }
}

/// Reads a whole file into a builder.
pub(super) struct FileSeed<'a> {
    pub(super) builder: &'a mut TokenStoreBuilder,
    pub(super) verdict: &'a Verdict<FileFault>,
}

impl<'de> DeserializeSeed<'de> for FileSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.verdict.expect(FILE);
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FileSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FILE)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let FileSeed { builder, verdict } = self;
        let mut anonymous = false;
        while let Some(name) = map.next_key::<String>()? {
            match &*name {
                "default_policy" if builder.default_policy.is_some() => {
                    return Err(verdict.refuse(FileFault::Twice("default_policy")));
                }
                "default_policy" => {
                    builder.default_policy = Some(map.next_value_seed(TextSeed {
                        expected: DEFAULT,
                        verdict,
                        read: |text: &str| match text {
                            "allow" => Some(DefaultPolicy::Allow),
                            "deny" => Some(DefaultPolicy::Deny),
                            _ => None,
                        },
                    })?);
                }
                "anonymous" if anonymous => {
                    return Err(verdict.refuse(FileFault::Twice("anonymous")));
                }
                "anonymous" => {
                    anonymous = true;
                    verdict.expect(NAMES);
                    let names: Vec<String> = map.next_value()?;
                    builder.give_anonymous(names.iter().map(String::as_str));
                }
                // A block of HCL stands as often as there are policies or tokens.
                "policy" => map.next_value_seed(PoliciesSeed {
                    builder: &mut *builder,
                    verdict,
                })?,
                "token" => map.next_value_seed(TokensSeed {
                    builder: &mut *builder,
                    verdict,
                })?,
                _ => return Err(verdict.refuse(FileFault::Expected(FILE))),
            }
            verdict.expect(FILE);
        }
        Ok(())
    }
}

/// Reads policies by name.
struct PoliciesSeed<'a> {
    builder: &'a mut TokenStoreBuilder,
    verdict: &'a Verdict<FileFault>,
}

impl<'de> DeserializeSeed<'de> for PoliciesSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.verdict.expect("policies by name");
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PoliciesSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("policies by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let rules = map.next_value_seed(PolicySeed {
                name: &name,
                verdict: self.verdict,
            })?;
            self.builder.policies.define(&name, rules);
        }
        Ok(())
    }
}

/// Reads one policy's rules.
struct PolicySeed<'a> {
    name: &'a str,
    verdict: &'a Verdict<FileFault>,
}

impl<'de> DeserializeSeed<'de> for PolicySeed<'_> {
    type Value = Rules;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Rules, D::Error> {
        self.verdict.expect(POLICY);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PolicySeed<'_> {
    type Value = Rules;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(POLICY)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Rules, E> {
        text.parse().map_err(|error| {
            self.verdict
                .refuse(FileFault::RulesText(self.name.to_owned(), error))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rules, A::Error> {
        let rules = Verdict::none(POLICY);
        // The error stays as it is, for it knows the place.
        RulesSeed(&rules).visit_map(map).inspect_err(|_| {
            if let Some(fault) = rules.take() {
                self.verdict
                    .note(FileFault::Rules(self.name.to_owned(), fault));
            }
        })
    }
}

/// Reads tokens by accessor id.
struct TokensSeed<'a> {
    builder: &'a mut TokenStoreBuilder,
    verdict: &'a Verdict<FileFault>,
}

impl<'de> DeserializeSeed<'de> for TokensSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.verdict.expect("tokens by accessor id");
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TokensSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokens by accessor id")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(accessor) = map.next_key::<String>()? {
            map.next_value_seed(TokenSeed {
                accessor: &accessor,
                builder: &mut *self.builder,
                verdict: self.verdict,
            })?;
        }
        Ok(())
    }
}

/// Reads one token.
struct TokenSeed<'a> {
    accessor: &'a str,
    builder: &'a mut TokenStoreBuilder,
    verdict: &'a Verdict<FileFault>,
}

impl<'de> DeserializeSeed<'de> for TokenSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.verdict.expect(TOKEN);
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TokenSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TOKEN)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let TokenSeed {
            accessor,
            builder,
            verdict,
        } = self;
        let mut seen = Vec::with_capacity(MEMBERS.len());
        let mut digest: Option<SecretDigest> = None;
        let mut policies: Vec<String> = Vec::new();
        let mut management = false;
        let mut expires = NEVER;
        while let Some(name) = map.next_key::<String>()? {
            let Some(member) = MEMBERS.into_iter().find(|member| *member == name) else {
                return Err(verdict.refuse(FileFault::Expected(TOKEN)));
            };
            if seen.contains(&member) {
                return Err(verdict.refuse(FileFault::Twice(member)));
            }
            seen.push(member);
            match member {
                SECRET => {
                    digest = map.next_value_seed(TextSeed {
                        expected: "a secret, which is a text",
                        verdict,
                        // Hashed where it stands, so that no copy is made.
                        read: |text: &str| Some(builder.digest(text)),
                    })?;
                }
                "policies" => {
                    verdict.expect(NAMES);
                    policies = map.next_value()?;
                }
                "management" => {
                    verdict.expect("true or false");
                    management = map.next_value()?;
                }
                "expires" => {
                    expires = map.next_value_seed(TextSeed {
                        expected: TIME,
                        verdict,
                        read: timestamp::parse,
                    })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            verdict.expect(TOKEN);
        }
        if digest.is_none() {
            return Err(verdict.refuse(FileFault::NoSecret(AccessorId::new(accessor))));
        }
        let policies = builder.policies.set(policies.iter().map(String::as_str));
        builder.push(HashedToken {
            accessor: Accessor::new(accessor),
            digest,
            expires,
            policies,
            management,
        });
        Ok(())
    }
}

const SECRET: &str = "secret";
const MEMBERS: [&str; 5] = [SECRET, "description", "policies", "management", "expires"];

/// Reads a text without keeping it.
struct TextSeed<'a, R> {
    expected: &'static str,
    verdict: &'a Verdict<FileFault>,
    read: R,
}

impl<'de, T, R: FnOnce(&str) -> Option<T>> DeserializeSeed<'de> for TextSeed<'_, R> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        self.verdict.expect(self.expected);
        deserializer.deserialize_str(self)
    }
}

impl<T, R: FnOnce(&str) -> Option<T>> Visitor<'_> for TextSeed<'_, R> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| self.verdict.refuse(FileFault::Expected(self.expected)))
    }
}
