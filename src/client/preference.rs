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

    /// Begins with this one from now on. Only a choice is remembered, so there
    /// are no more entries than datacenters with several servers.
    pub(super) fn prefer(&self, target: &Target, uris: &[ServerUri], uri: &ServerUri) {
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
        preference.prefer(&target, &all, &all[1]);
        assert_eq!(
            preference.order(&target, all.clone()),
            uris(&["b", "c", "a"])
        );
        // The preferred one may have left.
        let left = uris(&["a", "c"]);
        assert_eq!(preference.order(&target, left.clone()), left);
    }

    #[test]
    fn nothing_is_remembered_where_there_is_no_choice() {
        let preference = Preference::default();
        let one = uris(&["a"]);
        preference.prefer(&Target::Datacenter("dc2".into()), &one, &one[0]);
        let leader = LeaderHint {
            id: "a".into(),
            address: "a".into(),
        };
        let two = uris(&["a", "b"]);
        preference.prefer(&Target::Server(leader), &two, &two[1]);
        assert!(preference.lock().is_empty());
    }
}
