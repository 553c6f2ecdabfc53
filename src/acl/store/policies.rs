//! The policies of a store that is being built.

use std::collections::HashMap;
use std::sync::Arc;

use crate::acl::Rules;

/// Policies by name, and which sets of them tokens have.
///
/// Tokens may name a policy before it is defined, and a million tokens have few
/// different sets of policies, so a token holds the number of its set.
#[derive(Clone, Default)]
pub(super) struct Policies {
    names: HashMap<Arc<str>, u32>,
    policies: Vec<Policy>,
    set_numbers: HashMap<Arc<[u32]>, PolicySet>,
    sets: Vec<Arc<[u32]>>,
    /// The first name that was defined twice.
    duplicate: Option<Arc<str>>,
}

#[derive(Clone)]
struct Policy {
    name: Arc<str>,
    /// `None` as long as it is named only.
    rules: Option<Rules>,
}

/// The number of a set of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PolicySet(u32);

impl Policies {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let name: Arc<str> = name.into();
        let number = count(self.policies.len());
        self.policies.push(Policy {
            name: name.clone(),
            rules: None,
        });
        self.names.insert(name, number);
        number
    }

    pub(super) fn define(&mut self, name: &str, rules: Rules) {
        let number = self.number(name);
        let policy = &mut self.policies[number as usize];
        if policy.rules.is_some() {
            self.duplicate.get_or_insert(policy.name.clone());
        }
        policy.rules = Some(rules);
    }

    pub(super) fn set<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> PolicySet {
        let mut numbers: Vec<u32> = names.into_iter().map(|name| self.number(name)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if let Some(set) = self.set_numbers.get(&*numbers) {
            return *set;
        }
        let numbers: Arc<[u32]> = numbers.into();
        let set = PolicySet(count(self.sets.len()));
        self.sets.push(numbers.clone());
        self.set_numbers.insert(numbers, set);
        set
    }

    pub(super) fn is_empty(&self, set: PolicySet) -> bool {
        self.sets[set.0 as usize].is_empty()
    }

    pub(super) fn duplicate(&self) -> Option<&str> {
        self.duplicate.as_deref()
    }

    /// What the policies of a set say together.
    ///
    /// # Errors
    /// The name of one that is not defined.
    pub(super) fn merged(&self, set: PolicySet) -> Result<Rules, &str> {
        self.sets[set.0 as usize]
            .iter()
            .map(|number| &self.policies[*number as usize])
            .try_fold(Rules::new(), |merged, policy| match policy.rules {
                Some(rules) => Ok(merged.merge(rules)),
                None => Err(&*policy.name),
            })
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("fewer than 2^32 policies fit into memory")
}
