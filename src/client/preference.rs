//! Which server of a datacenter is asked first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ServerUri;
use crate::name::DatacenterName;
use crate::peers::Target;

/// Remembers which server answered last, so that a dead one costs its connect
/// timeout once and not with each request.
#[derive(Default)]
pub(super) struct Preference {
    first: Mutex<HashMap<DatacenterName, ServerUri>>,
}

impl Preference {
    /// The same servers in the order to ask them: from the preferred one on, and
    /// around.
    pub(super) fn order(&self, target: &Target, mut uris: Vec<ServerUri>) -> Vec<ServerUri> {
        if let Target::Datacenter(datacenter) = target
            && let Some(first) = self.lock().get(datacenter)
            && let Some(at) = uris.iter().position(|uri| uri == first)
        {
            uris.rotate_left(at);
        }
        uris
    }

    /// Asks the server at this place.
    pub(super) fn attempt<'a>(
        &'a self,
        target: &'a Target,
        uris: &'a [ServerUri],
        at: usize,
    ) -> Attempt<'a> {
        Attempt {
            preference: self,
            target,
            uris,
            at,
            answered: false,
        }
    }

    /// Begins with this one from now on. Only a choice is remembered, so there
    /// are no more entries than datacenters with several servers.
    fn prefer(&self, target: &Target, uris: &[ServerUri], uri: &ServerUri) {
        if let Target::Datacenter(datacenter) = target
            && uris.len() > 1
        {
            let mut first = self.lock();
            if first.get(datacenter) != Some(uri) {
                first.insert(datacenter.clone(), uri.clone());
            }
        }
    }

    /// The map is whole after each statement.
    fn lock(&self) -> MutexGuard<'_, HashMap<DatacenterName, ServerUri>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that is being asked. If this is dropped without an answer, be it
/// because whoever waited for it gave up, the next one is preferred.
pub(super) struct Attempt<'a> {
    preference: &'a Preference,
    target: &'a Target,
    uris: &'a [ServerUri],
    at: usize,
    answered: bool,
}

impl Attempt<'_> {
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let next = if self.answered { self.at } else { self.at + 1 };
        let next = &self.uris[next % self.uris.len()];
        self.preference.prefer(self.target, self.uris, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::LeaderHint;

    fn uris(names: &[&str]) -> Vec<ServerUri> {
        let uri = |name: &&str| format!("http://{name}").parse().unwrap();
        names.iter().map(uri).collect()
    }

    #[test]
    fn it_begins_with_the_preferred_one_and_goes_around() {
        let preference = Preference::default();
        let target = Target::Datacenter("dc2".into());
        let all = uris(&["a", "b", "c"]);
        assert_eq!(preference.order(&target, all.clone()), all);
        preference.attempt(&target, &all, 1).answered();
        assert_eq!(
            preference.order(&target, all.clone()),
            uris(&["b", "c", "a"])
        );
        drop(preference.attempt(&target, &all, 2));
        assert_eq!(preference.order(&target, all.clone()), all);
        preference.attempt(&target, &all, 1).answered();
        // The preferred one may have left.
        let left = uris(&["a", "c"]);
        assert_eq!(preference.order(&target, left.clone()), left);
    }

    #[test]
    fn nothing_is_remembered_where_there_is_no_choice() {
        let preference = Preference::default();
        let one = uris(&["a"]);
        let target = Target::Datacenter("dc2".into());
        drop(preference.attempt(&target, &one, 0));
        let leader = LeaderHint {
            id: "a".into(),
            address: "a".into(),
        };
        let two = uris(&["a", "b"]);
        drop(preference.attempt(&Target::Server(leader), &two, 0));
        assert!(preference.lock().is_empty());
    }
}
