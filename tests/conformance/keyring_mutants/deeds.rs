//! What a broken keyring does instead of what it is asked.

use cluster_operator::keyring::Keyring;
use cluster_operator::{
    GossipKey, KeyringBackend, NodeFailure, NodeName, OperatorError, RelayFactor,
};

use super::{Answer, Broken, Change, ask};
use crate::give_way;
use crate::keyring::ring;

impl Broken {
    /// What happens before a change, or instead of it.
    pub(super) async fn instead(&self, change: Change, key: &GossipKey) -> Option<Answer> {
        let rings = self.rings();
        let is_primary = || rings.iter().any(|(_, ring)| ring.primary() == key);
        let done = || Some(Ok(self.everyone(None)));
        let refused = |failure| Some(Ok(self.everyone(Some(failure))));
        let other = |words: &str| refused(NodeFailure::Other(words.into()));
        match (self.rule, change) {
            ("installing_again_succeeds_and_changes_nothing", Change::Install)
                if self.held_by_any(key) =>
            {
                return other("it is there");
            }
            ("keys_of_all_sizes_are_taken", Change::Install) if key.as_bytes().len() == 24 => {
                return refused(NodeFailure::KeySize);
            }
            ("a_key_that_begins_like_another_is_another", Change::Install) => {
                let begins = |held: &GossipKey| held.as_bytes()[..16] == key.as_bytes()[..16];
                if rings[0].1.keys().iter().any(begins) {
                    return done();
                }
            }
            ("using_the_primary_succeeds_and_changes_nothing", Change::Use) if is_primary() => {
                return other("it is the primary");
            }
            ("a_key_that_is_not_installed_cannot_be_used", Change::Use) => {
                ask(&self.real, Change::Install, key).await.unwrap();
            }
            ("removing_an_absent_key_succeeds_and_changes_nothing", Change::Remove)
                if !self.held_by_any(key) =>
            {
                return refused(NodeFailure::KeyNotInstalled);
            }
            ("the_primary_cannot_be_removed", Change::Remove) if is_primary() => {
                self.keep(|ring| ring.keys()[1..].to_vec());
                return done();
            }
            ("a_removed_key_cannot_be_used", Change::Use) if self.state().removed.contains(key) => {
                self.keep(|ring| [std::slice::from_ref(key), ring.keys()].concat());
            }
            ("a_removed_key_can_be_installed_again", Change::Install)
                if self.state().removed.contains(key) =>
            {
                return done();
            }
            ("a_key_is_rotated", Change::Install) if self.state().installs == 2 => {
                return other("the ring is full");
            }
            ("a_change_can_be_asked_of_any_node", Change::Install)
                if self.real.node().as_str() != "node-0" =>
            {
                let mut own = self.real.ring(self.real.node().clone()).unwrap();
                own.install(key.clone());
                self.real.set_ring(self.real.node().clone(), Some(own));
                return done();
            }
            ("who_lacks_the_key_to_use_fails_alone", Change::Use)
                if !rings.iter().all(|(_, ring)| ring.contains(key)) =>
            {
                return refused(NodeFailure::KeyNotInstalled);
            }
            ("the_primary_of_one_node_is_removed_from_the_others", Change::Remove)
                if is_primary() =>
            {
                return refused(NodeFailure::PrimaryKey);
            }
            ("install_brings_a_key_to_those_that_lack_it", Change::Install)
                if self.held_by_any(key) =>
            {
                return done();
            }
            ("a_node_without_encryption_fails_alone", _)
                if rings.len() < self.real.nodes().len() =>
            {
                return Some(Err(OperatorError::backend("gossip encryption is off")));
            }
            ("the_others_change_while_a_node_is_down", _) => {
                let listed = self.real.list(RelayFactor::default()).await;
                if listed.is_ok_and(|listed| listed.fault().is_some()) {
                    return Some(Err(OperatorError::backend("the pool is not healthy")));
                }
            }
            _ => return self.interleaved(change, key).await,
        }
        None
    }

    /// What another call, or the end of this one, comes between.
    async fn interleaved(&self, change: Change, key: &GossipKey) -> Option<Answer> {
        match (self.rule, change) {
            ("installs_of_one_key_at_once_add_it_once", Change::Install) => {
                if std::mem::replace(&mut self.state().busy, true) {
                    return Some(Err(OperatorError::backend("busy")));
                }
                give_way().await;
                self.state().busy = false;
            }
            // A ring that was read before the other one's key is written.
            ("installs_of_several_keys_at_once_add_all", Change::Install) => {
                let rings = self.rings();
                give_way().await;
                for (node, held) in rings {
                    let keys = [held.keys(), std::slice::from_ref(key)].concat();
                    self.real.set_ring(node, ring(&keys));
                }
                return Some(Ok(self.everyone(None)));
            }
            // A key that is taken out before it is put in front.
            (
                "uses_of_two_keys_at_once_leave_every_ring_whole"
                | "a_dropped_use_leaves_every_ring_whole",
                Change::Use,
            ) => {
                self.keep(|ring| without(ring, key));
                let rings = self.rings();
                give_way().await;
                for (node, rest) in rings {
                    let keys = [std::slice::from_ref(key), rest.keys()].concat();
                    self.real.set_ring(node, ring(&keys));
                }
                return Some(Ok(self.everyone(None)));
            }
            ("a_key_is_not_used_and_removed_at_once", Change::Remove) => {
                give_way().await;
                self.keep(|ring| without(ring, key));
                return Some(Ok(self.everyone(None)));
            }
            // A ring that is emptied before it is written anew.
            ("a_listing_beside_changes_sees_whole_rings", _)
            | ("a_dropped_install_leaves_every_ring_whole", Change::Install)
            | ("a_dropped_removal_leaves_every_ring_whole", Change::Remove) => {
                let rings = self.rings();
                self.keep(|ring| vec![ring.primary().clone()]);
                give_way().await;
                for (node, held) in rings {
                    self.real.set_ring(node, Some(held));
                }
            }
            _ => {}
        }
        None
    }

    /// What happens after a change.
    pub(super) fn afterwards(
        &self,
        change: Change,
        key: &GossipKey,
        before: Vec<(NodeName, Keyring)>,
    ) {
        let Some((last, held)) = before.into_iter().next_back() else {
            return;
        };
        match (self.rule, change) {
            ("an_installed_key_is_on_every_node", Change::Install)
            | ("use_moves_the_primary_of_every_node", Change::Use)
            | ("a_removed_key_is_on_no_node", Change::Remove) => {
                self.real.set_ring(last, Some(held));
            }
            ("install_keeps_the_primary", Change::Install) => self.keep(|ring| {
                let rest = without(ring, key);
                [std::slice::from_ref(key), &rest[..]].concat()
            }),
            ("use_keeps_all_keys", Change::Use) => {
                self.keep(|ring| without(ring, held.primary()));
            }
            ("a_removal_leaves_the_other_keys", Change::Remove) => {
                self.keep(|ring| vec![ring.primary().clone()]);
            }
            _ => {}
        }
    }
}

fn without(ring: &Keyring, key: &GossipKey) -> Vec<GossipKey> {
    let keys = ring.keys().iter();
    keys.filter(|held| *held != key).cloned().collect()
}
