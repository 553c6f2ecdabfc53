//! The answers of a broken keyring in place of a node's.

use cluster_operator::GossipKey;

use super::{
    Answer, Broken, GossipQuery, KeyChange, Keyring, NodeFailure, NodeKeys, NodeName, RelayFactor,
};

impl Broken {
    /// The name under which a node is asked.
    pub(super) fn asked_as(&self, node: &NodeName, change: Option<&KeyChange>) -> NodeName {
        match (self.mutant, change) {
            ("nodes have other names in a change", Some(_)) => format!("{node}.dc1").into(),
            ("a silent node has another name", _) if self.state().stopped.contains(node) => {
                format!("{node}.dc1").into()
            }
            _ => node.clone(),
        }
    }

    /// Counts nodes that do not exist.
    pub(super) fn ask_unknown_nodes(&self, change: Option<&KeyChange>, query: &GossipQuery) {
        let unknown = match (self.mutant, change) {
            ("one node too many is counted", _) => 1,
            ("relayed answers are counted again", Some(_)) => query.relay.get(),
            _ => 0,
        };
        for number in 0..unknown {
            let node: NodeName = format!("unknown-{number}").into();
            query.answers.asking([node.clone()]);
            query.answers.answered(&node, Ok(NodeKeys::done()));
        }
    }

    /// What is handed over instead of a node's listing.
    pub(super) fn listed(&self, node: &NodeName, answer: Answer, relay: RelayFactor) -> Answer {
        let state = self.state();
        let is_own = node == self.real.node();
        let mut told = match (self.mutant, answer) {
            ("a node in clear text lists no keys", Err(_)) => return Ok(NodeKeys::done()),
            (_, Err(failure)) => return Err(failure),
            (_, Ok(told)) => told,
        };
        match self.mutant {
            "only the own node's keys are listed" if !is_own => told.keys.clear(),
            "every node is listed with the first one's keys" => {
                told.keys = self.real.keys("node-0");
            }
            "the last key is listed as the primary" => {
                told.primary = told.keys.last().cloned();
            }
            "the own primary is listed for all nodes" => {
                told.primary = self.real.keys(self.real.node().clone()).first().cloned();
            }
            "the own primary is not among the keys" if is_own => {
                let primary = told.primary.clone();
                told.keys.retain(|key| Some(key) != primary.as_ref());
            }
            "every fifth listing has another key" if is_own && state.listings.is_multiple_of(5) => {
                told.keys.push(stray_key());
            }
            "keys that do not fit are just missing" => told.total = None,
            "a relayed listing has another key" if relay.get() > 0 => {
                told.keys.push(stray_key());
            }
            "a late node is reported as failed" if node.as_str() == "node-2" => {
                return Err(NodeFailure::Other("too late".into()));
            }
            "primaries are not shown after a use" if state.used => told.primary = None,
            "numbers its answers" if is_own => {
                told = told.with_note(format!("answered as query {}", state.listings));
            }
            _ => {}
        }
        if self.terse {
            told.primary = None;
        }
        Ok(told)
    }

    /// What is handed over instead of a node's answer to a change.
    pub(super) fn changed(
        &self,
        node: &NodeName,
        change: &KeyChange,
        answer: Answer,
        before: Option<Keyring>,
    ) -> Option<Answer> {
        let key = change.key();
        let is_own = node == self.real.node();
        let with_note = |words: String| Ok(NodeKeys::done().with_note(words));
        Some(match (self.mutant, answer) {
            ("a single node does not count itself", _) if self.real.nodes().len() == 1 => {
                return None;
            }
            ("failures are not handed over", Err(_)) => return None,
            ("the own success is reported as a failure", Ok(_)) if is_own => {
                Err(NodeFailure::Other("success".into()))
            }
            ("a change lists keys", Ok(_)) => Ok(NodeKeys::ring(self.real.keys(node.clone()))),
            ("a failure has the bytes of the key", Err(_)) => {
                Err(NodeFailure::Other(format!("no key {:?}", key.as_bytes())))
            }
            ("texts have the bytes in hexadecimal digits", Ok(_)) => {
                with_note(format!("did it with {:02x?}", key.as_bytes()))
            }
            ("a note has twenty letters of base64", Ok(_)) => {
                with_note(format!("did it with {}...", &key.to_base64()[5..25]))
            }
            ("a failed use is a success", Err(_)) => Ok(NodeKeys::done()),
            ("removing an absent key fails on some nodes", Ok(_))
                if matches!(change, KeyChange::Remove(_))
                    && before.is_some_and(|ring| !ring.contains(key)) =>
            {
                Err(NodeFailure::KeyNotInstalled)
            }
            ("numbers its answers", Ok(_)) if is_own => with_note(format!("did {change:?}")),
            (_, answer) => answer,
        })
    }
}

/// A key that no ring holds.
fn stray_key() -> GossipKey {
    GossipKey::from_bytes(&[0xee; 32]).unwrap()
}
