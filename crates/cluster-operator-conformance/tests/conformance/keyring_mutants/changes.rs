//! The changes of a broken keyring in place of those that it is asked for.

use cluster_operator::keyring::{GossipQuery, KeyChange, NodeFailure, NodeKeys};
use cluster_operator::{GossipKey, NodeName, OperatorError};

use super::{Answer, Broken, Keyring, act};
use crate::give_way;
use crate::keyring::ring;

impl Broken {
    /// Runs before a change, or in its place.
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
        match (self.mutant, change) {
            ("installing again fails", KeyChange::Install(_)) if self.held_by_any(key) => {
                return other("it is there");
            }
            ("keys of 24 bytes are rejected", KeyChange::Install(_))
                if key.as_bytes().len() == 24 =>
            {
                return refused(NodeFailure::KeySize);
            }
            ("the first 16 bytes of keys are compared", KeyChange::Install(_)) => {
                let begins = |held: &GossipKey| held.as_bytes()[..16] == key.as_bytes()[..16];
                if rings[0].1.keys().iter().any(begins) {
                    return done();
                }
            }
            ("using the primary fails", KeyChange::Use(_)) if is_primary() => {
                return other("it is the primary");
            }
            ("a use installs the key", KeyChange::Use(_)) => {
                for (node, _) in &rings {
                    act(&self.real, node, Some(&KeyChange::Install(key.clone()))).unwrap();
                }
            }
            ("removing an absent key fails", KeyChange::Remove(_)) if !self.held_by_any(key) => {
                return refused(NodeFailure::KeyNotInstalled);
            }
            ("the primary can be removed", KeyChange::Remove(_)) if is_primary() => {
                self.keep(|ring| ring.keys()[1..].to_vec());
                return done();
            }
            ("a removed key comes back with a use", KeyChange::Use(_))
                if self.state().removed.contains(key) =>
            {
                self.keep(|ring| [std::slice::from_ref(key), ring.keys()].concat());
            }
            ("a removed key cannot come back", KeyChange::Install(_))
                if self.state().removed.contains(key) =>
            {
                return done();
            }
            ("the third install fails", KeyChange::Install(_)) if self.state().installs == 2 => {
                return other("the ring is full");
            }
            ("all nodes but the first install for themselves", KeyChange::Install(_))
                if self.real.node().as_str() != "node-0" =>
            {
                let mut own = self.real.ring(self.real.node().clone()).unwrap();
                own.install(key.clone());
                self.real.set_ring(self.real.node().clone(), Some(own));
                return done();
            }
            ("a use fails on all nodes if one lacks the key", KeyChange::Use(_))
                if !rings.iter().all(|(_, ring)| ring.contains(key)) =>
            {
                return refused(NodeFailure::KeyNotInstalled);
            }
            ("a removal fails on all nodes if one uses the key", KeyChange::Remove(_))
                if is_primary() =>
            {
                return refused(NodeFailure::PrimaryKey);
            }
            ("a key that one node has is not installed", KeyChange::Install(_))
                if self.held_by_any(key) =>
            {
                return done();
            }
            ("a node in clear text makes a change an error", _)
                if rings.len() < self.real.nodes().len() =>
            {
                return Some(Err(OperatorError::backend("gossip encryption is off")));
            }
            ("a stopped node makes a change an error", _) if !self.state().stopped.is_empty() => {
                return Some(Err(OperatorError::backend("the pool is not healthy")));
            }
            _ => return self.interleaved(change, query).await,
        }
        None
    }

    /// Gives way to other calls, or to the end of this one, in the middle of a change.
    async fn interleaved(
        &self,
        change: &KeyChange,
        query: &GossipQuery,
    ) -> Option<Result<(), OperatorError>> {
        let key = change.key();
        let done = || self.everyone(query, &Ok(NodeKeys::done()));
        match (self.mutant, change) {
            ("an install beside another one is an error", KeyChange::Install(_)) => {
                if std::mem::replace(&mut self.state().busy, true) {
                    return Some(Err(OperatorError::backend("busy")));
                }
                give_way().await;
                self.state().busy = false;
            }
            // A ring that was read before the other one's key is written.
            ("installs at once overwrite each other", KeyChange::Install(_)) => {
                let rings = self.rings();
                give_way().await;
                for (node, held) in rings {
                    let keys = [held.keys(), std::slice::from_ref(key)].concat();
                    self.real.set_ring(node, ring(&keys));
                }
                return done();
            }
            // A key that is taken out before it is put in front.
            ("a use takes the key out first", KeyChange::Use(_)) => {
                self.keep(|ring| without(ring, key));
                let rings = self.rings();
                give_way().await;
                for (node, rest) in rings {
                    let keys = [std::slice::from_ref(key), rest.keys()].concat();
                    self.real.set_ring(node, ring(&keys));
                }
                return done();
            }
            ("a removal beside a use removes the primary", KeyChange::Remove(_)) => {
                give_way().await;
                self.keep(|ring| without(ring, key));
                return done();
            }
            // A ring that is emptied before it is written anew.
            ("a change empties the rings first", _)
            | ("a removal empties the rings first", KeyChange::Remove(_)) => {
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

    /// Runs after a change.
    pub(super) fn afterwards(&self, change: &KeyChange, before: Vec<(NodeName, Keyring)>) {
        let key = change.key();
        let Some((last, held)) = before.into_iter().next_back() else {
            return;
        };
        match (self.mutant, change) {
            ("the last node does not install", KeyChange::Install(_))
            | ("the last node keeps its primary", KeyChange::Use(_))
            | ("the last node does not remove", KeyChange::Remove(_)) => {
                self.real.set_ring(last, Some(held));
            }
            ("an installed key is the primary", KeyChange::Install(_)) => self.keep(|ring| {
                let rest = without(ring, key);
                [std::slice::from_ref(key), &rest[..]].concat()
            }),
            ("a use removes the old primary", KeyChange::Use(_)) => {
                self.keep(|ring| without(ring, held.primary()));
            }
            ("a removal keeps the primary alone", KeyChange::Remove(_)) => {
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
