//! The rules of a policy about the operator endpoints.

use std::fmt;

use super::syntax::{MAX_DEPTH, MAX_LABELS};
use super::{Access, DefaultPolicy, Resource};

/// What a policy allows on one resource.
///
/// The order is that of merging: the greater of two rules wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
    /// Nothing, whatever other policies and the default policy say.
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

    /// Finds the rule of this name. Case matters: Consul 1.10 and later accept `DENY` and then
    /// ignore it, which under a default of allow grants everything.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        [Rule::Read, Rule::Write, Rule::Deny]
            .into_iter()
            .find(|rule| rule.name().as_bytes() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Rule::Read => "read",
            Rule::Write => "write",
            Rule::Deny => "deny",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The rules of a policy about the operator endpoints.
///
/// They parse from a policy as Consul takes it: JSON if the text begins with a brace, otherwise
/// HCL 1, which needs the feature `hcl`. Rules about Consul's other resources are checked as
/// Consul checks them and then ignored, so that a policy that is in use with Consul can be taken
/// as it is. The case of a name does not matter, and an empty value is no rule.
///
/// Where Consul would silently ignore what a policy says, the policy is refused: a value in the
/// wrong case, a second rule about the same resource, a rule inside another block, a name that no
/// resource has, malformed JSON.
///
/// They display as JSON that parses to the same rules.
///
/// ```
/// use cluster_operator::acl::{Access, DefaultPolicy, Resource, Rule, Rules};
///
/// let rules: Rules = r#"{"operator": "read", "key_prefix": {"": {"policy": "write"}}}"#.parse()?;
/// assert_eq!(rules, Rules::new().with(Resource::Operator, Rule::Read));
/// assert!(rules.allow(Resource::Operator, Access::Read, DefaultPolicy::Deny));
/// assert!(!rules.allow(Resource::Operator, Access::Write, DefaultPolicy::Allow));
///
/// let error = r#"{"operator": "DENY"}"#.parse::<Rules>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"line 1, column 14: invalid operator policy "DENY": write "read", "write" or "deny""#
/// );
/// # Ok::<(), cluster_operator::acl::RulesError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    operator: Option<Rule>,
    keyring: Option<Rule>,
}

impl Rules {
    /// How many bytes a policy may have.
    pub const MAX_BYTES: usize = 1 << 20;

    /// How many blocks and lists may stand in each other in a policy.
    pub const MAX_DEPTH: usize = MAX_DEPTH;

    /// How many labels a block may have after its name.
    pub const MAX_LABELS: usize = MAX_LABELS;

    /// Creates rules that say nothing: the default policy decides.
    pub fn new() -> Self {
        Rules::default()
    }

    /// Creates the rules of a management token, which allow everything.
    pub(super) fn management() -> Self {
        Rules::new()
            .with(Resource::Operator, Rule::Write)
            .with(Resource::Keyring, Rule::Write)
    }

    /// Sets the rule about a resource.
    #[must_use]
    pub fn with(mut self, resource: Resource, rule: Rule) -> Self {
        match resource {
            Resource::Operator => self.operator = Some(rule),
            Resource::Keyring => self.keyring = Some(rule),
        }
        self
    }

    /// The rule about a resource, if there is one.
    pub fn about(&self, resource: Resource) -> Option<Rule> {
        match resource {
            Resource::Operator => self.operator,
            Resource::Keyring => self.keyring,
        }
    }

    /// Combines two policies of one token: deny wins over write, write over read, and read over
    /// no rule. The order does not matter.
    ///
    /// ```
    /// use cluster_operator::acl::{Resource, Rule, Rules};
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

    /// Decides whether the rules allow this access; `default` decides where they say nothing.
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
