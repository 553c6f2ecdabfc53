//! What a policy says, in Consul's rule language.

mod error;
mod text;

use std::fmt;

pub use error::RulesError;
pub(super) use text::{RuleFault, RulesSeed};

use super::{Access, DefaultPolicy, Resource};

/// What a policy says about one resource.
///
/// The order is that of merging: the greater of two rules wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// It may be looked at.
    Read,
    /// It may be looked at and changed.
    Write,
    /// Neither, whatever other policies and the default say.
    Deny,
}

impl Rule {
    fn allows(self, access: Access) -> bool {
        match self {
            Rule::Read => access == Access::Read,
            Rule::Write => true,
            Rule::Deny => false,
        }
    }

    /// The rule of this name. Case counts: Consul 1.10 takes `DENY` and then
    /// forgets it, which under a default of allow grants everything.
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "read" => Some(Rule::Read),
            "write" => Some(Rule::Write),
            "deny" => Some(Rule::Deny),
            _ => None,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Read => "read",
            Rule::Write => "write",
            Rule::Deny => "deny",
        })
    }
}

/// What a policy says about the operator endpoints.
///
/// It parses from Consul's rule language: JSON, or with feature `hcl` also HCL.
/// Rules about other resources are ignored, so that a policy that is in use
/// with Consul can be taken as it is. As in Consul, the case of a rule's name
/// does not matter, and the empty text says nothing. Unlike in Consul, the case
/// of its value does, and a rule that is given twice is refused.
///
/// It displays as JSON that parses to the same rules.
///
/// ```
/// use cluster_operator::{Access, DefaultPolicy, Resource, Rule, Rules};
///
/// let rules: Rules = r#"{"operator": "read", "key_prefix": {"": {"policy": "write"}}}"#.parse()?;
/// assert_eq!(rules, Rules::new().with(Resource::Operator, Rule::Read));
/// assert!(rules.allow(Resource::Operator, Access::Read, DefaultPolicy::Deny));
/// assert!(!rules.allow(Resource::Operator, Access::Write, DefaultPolicy::Allow));
///
/// let error = r#"{"operator": "DENY"}"#.parse::<Rules>().unwrap_err();
/// assert!(error.to_string().starts_with(r#"Invalid operator policy: "DENY""#));
/// # Ok::<(), cluster_operator::RulesError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    operator: Option<Rule>,
    keyring: Option<Rule>,
}

impl Rules {
    /// Says nothing: the default policy holds.
    pub fn new() -> Self {
        Rules::default()
    }

    /// The same with this rule in place of any about the resource.
    #[must_use]
    pub fn with(mut self, resource: Resource, rule: Rule) -> Self {
        *self.about_mut(resource) = Some(rule);
        self
    }

    /// The rule about a resource, if there is one.
    pub fn about(&self, resource: Resource) -> Option<Rule> {
        match resource {
            Resource::Operator => self.operator,
            Resource::Keyring => self.keyring,
        }
    }

    fn about_mut(&mut self, resource: Resource) -> &mut Option<Rule> {
        match resource {
            Resource::Operator => &mut self.operator,
            Resource::Keyring => &mut self.keyring,
        }
    }

    /// What two policies of one token say together: deny wins over write, write
    /// over read, and read over nothing. The order does not matter.
    ///
    /// ```
    /// use cluster_operator::{Resource, Rule, Rules};
    ///
    /// let read = Rules::new().with(Resource::Keyring, Rule::Read);
    /// let deny = Rules::new().with(Resource::Keyring, Rule::Deny);
    /// assert_eq!(read.merge(deny), deny);
    /// ```
    #[must_use]
    pub fn merge(self, other: Rules) -> Self {
        Rules {
            // `None` is less than any rule.
            operator: self.operator.max(other.operator),
            keyring: self.keyring.max(other.keyring),
        }
    }

    /// Whether they allow this access, where `default` holds if they say
    /// nothing about the resource.
    pub fn allow(&self, resource: Resource, access: Access, default: DefaultPolicy) -> bool {
        match self.about(resource) {
            Some(rule) => rule.allows(access),
            None => default == DefaultPolicy::Allow,
        }
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        let mut comma = "";
        for resource in [Resource::Operator, Resource::Keyring] {
            if let Some(rule) = self.about(resource) {
                write!(f, "{comma}\"{resource}\":\"{rule}\"")?;
                comma = ",";
            }
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_rules() -> impl Strategy<Value = Rules> {
        let rule = || {
            proptest::sample::select(vec![
                None,
                Some(Rule::Read),
                Some(Rule::Write),
                Some(Rule::Deny),
            ])
        };
        (rule(), rule()).prop_map(|(operator, keyring)| Rules { operator, keyring })
    }

    proptest! {
        #[test]
        fn the_order_of_policies_does_not_matter(a in any_rules(), b in any_rules()) {
            prop_assert_eq!(a.merge(b), b.merge(a));
        }

        #[test]
        fn the_grouping_of_policies_does_not_matter(
            a in any_rules(),
            b in any_rules(),
            c in any_rules(),
        ) {
            prop_assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
        }

        #[test]
        fn a_policy_given_again_changes_nothing(a in any_rules(), b in any_rules()) {
            prop_assert_eq!(a.merge(a), a);
            prop_assert_eq!(a.merge(b).merge(b), a.merge(b));
            prop_assert_eq!(a.merge(Rules::new()), a);
        }

        #[test]
        fn merging_grants_nothing_that_no_policy_grants_and_nothing_that_one_denies(
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
        fn rules_parse_back_from_what_they_display(rules in any_rules()) {
            prop_assert_eq!(rules.to_string().parse::<Rules>(), Ok(rules));
        }
    }

    #[test]
    fn write_implies_read() {
        let rules = Rules::new().with(Resource::Keyring, Rule::Write);
        assert!(rules.allow(Resource::Keyring, Access::Read, DefaultPolicy::Deny));
    }
}
