//! What a broken keyring does instead of what it is asked.

use cluster_operator::keyring::NodeKeys;
use cluster_operator::{GossipKey, GossipQuery, KeyChange, NodeFailure, NodeName, OperatorError};

use super::{Answer, Broken, Keyring, act};
use crate::give_way;
use crate::keyring::ring;

impl Broken {
    /// What happens before a change, or instead of it.
    pub(super) async fn instead(
        &self,
        change: &KeyChange,
        query: &GossipQuery,
    ) -> Option<Result<(), OperatorError>> {
        let key = change.key();
        let rings = self.rings();
        let is_primary = || rings.iter().any(|(_, ring)| ring.primary() == key);
        let done = || self.everyone(query, &Ok(NodeKeys::done()));
        let refused = |failure| self.everyone(query, &Err(failure));
        let other = |words: &str| refused(NodeFailure::Other(words.into()));
        match (self.rule, change) {
            ("installing_again_succeeds_and_changes_nothing", KeyChange::Install(_))
                if self.held_by_any(key) =>
            {
                return other("it is there");
            }
            ("keys_of_all_sizes_are_accepted", KeyChange::Install(_))
                if key.as_bytes().len() == 24 =>
            {
                return refused(NodeFailure::KeySize);
            }
            ("keys_are_compared_whole", KeyChange::Install(_)) => {
                let begins = |held: &GossipKey| held.as_bytes()[..16] == key.as_bytes()[..16];
                if rings[0].1.keys().iter().any(begins) {
                    return done();
                }
            }
            ("using_the_primary_succeeds_and_changes_nothing", KeyChange::Use(_))
                if is_primary() =>
            {
                return other("it is the primary");
            }
            ("key_that_is_not_installed_cannot_be_used", KeyChange::Use(_)) => {
                for (node, _) in &rings {
                    act(&self.real, node, Some(&KeyChange::Install(key.clone()))).unwrap();
                }
            }
            ("removing_an_absent_key_succeeds_and_changes_nothing", KeyChange::Remove(_))
                if !self.held_by_any(key) =>
            {
                return refused(NodeFailure::KeyNotInstalled);
            }
            ("primary_cannot_be_removed", KeyChange::Remove(_)) if is_primary() => {
                self.keep(|ring| ring.keys()[1..].to_vec());
                return done();
            }
            ("removed_key_cannot_be_used", KeyChange::Use(_))
                if self.state().removed.contains(key) =>
            {
                self.keep(|ring| [std::slice::from_ref(key), ring.keys()].concat());
            }
            ("removed_key_can_be_installed_again", KeyChange::Install(_))
                if self.state().removed.contains(key) =>
            {
                return done();
            }
            ("key_is_rotated", KeyChange::Install(_)) if self.state().installs == 2 => {
                return other("the ring is full");
            }
            ("change_can_be_asked_of_any_node", KeyChange::Install(_))
                if self.real.node().as_str() != "node-0" =>
            {
                let mut own = self.real.ring(self.real.node().clone()).unwrap();
                own.install(key.clone());
                self.real.set_ring(self.real.node().clone(), Some(own));
                return done();
            }
            ("node_that_lacks_the_key_to_use_fails_alone", KeyChange::Use(_))
                if !rings.iter().all(|(_, ring)| ring.contains(key)) =>
            {
                return refused(NodeFailure::KeyNotInstalled);
            }
            ("primary_of_one_node_is_removed_from_the_others", KeyChange::Remove(_))
                if is_primary() =>
            {
                return refused(NodeFailure::PrimaryKey);
            }
            ("install_brings_a_key_to_those_that_lack_it", KeyChange::Install(_))
                if self.held_by_any(key) =>
            {
                return done();
            }
            ("node_without_encryption_fails_alone", _) if rings.len() < self.real.nodes().len() => {
                return Some(Err(OperatorError::backend("gossip encryption is off")));
            }
            ("others_change_while_a_node_is_down", _) if !self.state().stopped.is_empty() => {
                return Some(Err(OperatorError::backend("the pool is not healthy")));
            }
            _ => return self.interleaved(change, query).await,
        }
        None
    }

    /// What another call, or the end of this one, comes between.
    async fn interleaved(
        &self,
        change: &KeyChange,
        query: &GossipQuery,
    ) -> Option<Result<(), OperatorError>> {
        let key = change.key();
        let done = || self.everyone(query, &Ok(NodeKeys::done()));
        match (self.rule, change) {
            ("installs_of_one_key_at_once_add_it_once", KeyChange::Install(_)) => {
                if std::mem::replace(&mut self.state().busy, true) {
                    return Some(Err(OperatorError::backend("busy")));
                }
                give_way().await;
                self.state().busy = false;
            }
            // A ring that was read before the other one's key is written.
            ("installs_of_several_keys_at_once_add_all", KeyChange::Install(_)) => {
                let rings = self.rings();
                give_way().await;
                for (node, held) in rings {
                    let keys = [held.keys(), std::slice::from_ref(key)].concat();
                    self.real.set_ring(node, ring(&keys));
                }
                return done();
            }
            // A key that is taken out before it is put in front.
            (
                "uses_of_two_keys_at_once_leave_every_ring_whole"
                | "dropped_use_leaves_every_ring_whole",
                KeyChange::Use(_),
            ) => {
                self.keep(|ring| without(ring, key));
                let rings = self.rings();
                give_way().await;
                for (node, rest) in rings {
                    let keys = [std::slice::from_ref(key), rest.keys()].concat();
                    self.real.set_ring(node, ring(&keys));
                }
                return done();
            }
            ("key_is_not_used_and_removed_at_once", KeyChange::Remove(_)) => {
                give_way().await;
                self.keep(|ring| without(ring, key));
                return done();
            }
            // A ring that is emptied before it is written anew.
            ("listing_beside_changes_sees_whole_rings", _)
            | ("dropped_install_leaves_every_ring_whole", KeyChange::Install(_))
            | ("dropped_removal_leaves_every_ring_whole", KeyChange::Remove(_)) => {
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

    /// Hands over the same answer for every node.
    fn everyone(&self, query: &GossipQuery, answer: &Answer) -> Option<Result<(), OperatorError>> {
        let nodes = self.real.nodes();
        query.answers.asking(nodes.iter().cloned());
        for node in &nodes {
            query.answers.answered(node, answer.clone());
        }
        Some(Ok(()))
    }

    /// What happens after a change.
    pub(super) fn afterwards(&self, change: &KeyChange, before: Vec<(NodeName, Keyring)>) {
        let key = change.key();
        let Some((last, held)) = before.into_iter().next_back() else {
            return;
        };
        match (self.rule, change) {
            ("installed_key_is_on_every_node", KeyChange::Install(_))
            | ("use_changes_the_primary_of_every_node", KeyChange::Use(_))
            | ("removed_key_is_on_no_node", KeyChange::Remove(_)) => {
                self.real.set_ring(last, Some(held));
            }
            ("install_keeps_the_primary", KeyChange::Install(_)) => self.keep(|ring| {
                let rest = without(ring, key);
                [std::slice::from_ref(key), &rest[..]].concat()
            }),
            ("use_keeps_all_keys", KeyChange::Use(_)) => {
                self.keep(|ring| without(ring, held.primary()));
            }
            ("removal_keeps_the_other_keys", KeyChange::Remove(_)) => {
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
