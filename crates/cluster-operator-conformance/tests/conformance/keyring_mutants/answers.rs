//! What a broken keyring hands over instead of what a node answers.

use cluster_operator::GossipKey;

use super::{
    Answer, Broken, GossipQuery, KeyChange, Keyring, NodeFailure, NodeKeys, NodeName, RelayFactor,
};

impl Broken {
    /// The name under which a node is asked.
    pub(super) fn asked_as(&self, node: &NodeName, change: Option<&KeyChange>) -> NodeName {
        match (self.rule, change) {
            ("failed_node_is_named", Some(_)) => format!("{node}.dc1").into(),
            ("silent_node_is_named", _) if self.state().stopped.contains(node) => {
                format!("{node}.dc1").into()
            }
            _ => node.clone(),
        }
    }

    /// Counts nodes that there are not.
    pub(super) fn ask_strangers(&self, change: Option<&KeyChange>, query: &GossipQuery) {
        let strangers = match (self.rule, change) {
            ("every_node_of_the_pool_is_counted", _) => 1,
            ("change_counts_once_with_every_relay_factor", Some(_)) => query.relay.get(),
            _ => 0,
        };
        for number in 0..strangers {
            let stranger: NodeName = format!("stranger-{number}").into();
            query.answers.asking([stranger.clone()]);
            query.answers.answered(&stranger, Ok(NodeKeys::done()));
        }
    }

    /// What is handed over instead of a node's listing.
    pub(super) fn listed(&self, node: &NodeName, answer: Answer, relay: RelayFactor) -> Answer {
        let state = self.state();
        let is_own = node == self.real.node();
        let mut told = match (self.rule, answer) {
            ("without_encryption_every_node_says_so", Err(_)) => return Ok(NodeKeys::done()),
            (_, Err(failure)) => return Err(failure),
            (_, Ok(told)) => told,
        };
        match self.rule {
            "listing_counts_each_key_on_every_node" if !is_own => told.keys.clear(),
            "key_that_some_nodes_lack_is_counted_on_the_others" => {
                told.keys = self.real.keys("node-0");
            }
            "listing_counts_the_primary_of_every_node" => {
                told.primary = told.keys.last().cloned();
            }
            "node_with_another_primary_is_seen" => {
                told.primary = self.real.keys(self.real.node().clone()).first().cloned();
            }
            "every_node_lists_the_same" if is_own => {
                let primary = told.primary.clone();
                told.keys.retain(|key| Some(key) != primary.as_ref());
            }
            "listing_changes_nothing" if is_own && state.listings.is_multiple_of(5) => {
                told.keys.push(stray_key());
            }
            "many_keys_are_counted_or_reported_as_truncated" => told.total = None,
            "listing_is_the_same_with_every_relay_factor" if relay.get() > 0 => {
                told.keys.push(stray_key());
            }
            "late_node_is_counted_or_silent" if node.as_str() == "node-2" => {
                return Err(NodeFailure::Other("too late".into()));
            }
            "tells no primaries after a use" if state.used => told.primary = None,
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
        Some(match (self.rule, answer) {
            ("pool_of_one_node_is_a_pool", _) if self.real.nodes().len() == 1 => return None,
            ("answers_and_failures_add_up", Err(_)) => return None,
            ("success_is_not_reported_as_failure", Ok(_)) if is_own => {
                Err(NodeFailure::Other("success".into()))
            }
            ("change_lists_no_keys", Ok(_)) => Ok(NodeKeys::ring(self.real.keys(node.clone()))),
            ("no_key_is_in_a_report", Err(_)) => {
                Err(NodeFailure::Other(format!("no key {:?}", key.as_bytes())))
            }
            ("tells bytes in hexadecimal digits", Ok(_)) => {
                with_note(format!("did it with {:02x?}", key.as_bytes()))
            }
            ("tells pairs of hexadecimal digits", Ok(_)) => {
                let pairs = key.as_bytes().iter().map(|byte| format!("{byte:02x}"));
                with_note(pairs.collect::<Vec<_>>().join(":"))
            }
            ("tells escaped bytes", Ok(_)) => with_note(format!(
                "did it with b\"{}\"",
                key.as_bytes().escape_ascii()
            )),
            ("tells twenty letters", Ok(_)) => {
                with_note(format!("did it with {}...", &key.to_base64()[5..25]))
            }
            ("node_that_lacks_the_key_to_use_is_no_success", Err(_)) => Ok(NodeKeys::done()),
            ("removal_succeeds_where_some_lack_the_key", Ok(_))
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
