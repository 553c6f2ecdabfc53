//! What a broken keyring tells instead of what is so.

use cluster_operator::keyring::KeyCounts;
use cluster_operator::{GossipKey, NodeFailure, NodeMessage, NodeName, RelayFactor, RingReport};

use super::{Broken, Change};

impl Broken {
    /// What is told instead of what was listed.
    pub(super) fn retold(&self, mut told: RingReport, relay: RelayFactor) -> RingReport {
        let mut state = self.state();
        state.listings += 1;
        let own = || self.real.keys(self.real.node().clone());
        let recounted = |counts: &KeyCounts, by: &dyn Fn(usize) -> usize| {
            let counts = counts.iter();
            counts
                .map(|(key, count)| (key.clone(), by(count)))
                .collect()
        };
        match self.rule {
            "a_listing_counts_each_key_on_every_node" => told.keys = recounted(&told.keys, &|_| 1),
            "a_key_that_some_nodes_lack_is_counted_on_the_others" => {
                told.keys = recounted(&told.keys, &|_| told.nodes);
            }
            "a_listing_counts_the_primary_of_every_node" => told.primary_keys = told.keys.clone(),
            "a_node_with_another_primary_is_seen" => {
                told.primary_keys = [(own()[0].clone(), told.nodes)].into_iter().collect();
            }
            "it_does_not_matter_which_node_lists" => {
                told.keys.add(&own()[0]);
            }
            "a_listing_changes_nothing" => {
                let first = told.keys.iter().next().map(|(key, _)| key.clone());
                if let Some(first) = first.filter(|_| state.listings.is_multiple_of(5)) {
                    told.keys.add(&first);
                }
            }
            "every_node_of_the_pool_is_counted" => {
                told.nodes += 1;
                told.responses += 1;
            }
            "many_keys_are_counted_or_told_to_be_cut" => told.messages.clear(),
            "a_listing_is_the_same_with_every_relay_factor" => {
                told.responses += usize::from(relay.get());
            }
            "without_encryption_every_node_says_so" => {
                told.errors = 0;
                told.messages.clear();
            }
            "a_stopped_node_is_silent_or_not_counted" if told.responses < told.nodes => {
                told.failed("node-2".into(), NodeFailure::Other("no answer".into()));
            }
            "a_dead_node_is_not_counted" => told.nodes = self.real.nodes().len(),
            "a_late_node_is_counted_or_silent" => {
                if let Some(late) = &state.late {
                    told.responses -= 1;
                    told.failed(late.clone(), NodeFailure::Other("too late".into()));
                }
            }
            "tells no primaries after a use" if state.used => told.primary_keys = KeyCounts::new(),
            "counts one less" => {
                told.nodes -= 1;
                told.responses -= 1;
            }
            _ => {}
        }
        if self.terse {
            told.primary_keys = KeyCounts::new();
        }
        self.remark(format!("answered as query {}", state.listings), &mut told);
        told
    }

    /// Adds a note of this node to what is told.
    fn remark(&self, numbered: String, told: &mut RingReport) {
        if self.rule == "numbers its answers" {
            let note = NodeMessage::Note(numbered);
            let own = self.real.node().clone();
            told.messages.entry(own).or_insert(note);
        }
    }

    /// What is told instead of what a change has come to.
    pub(super) fn reworded(
        &self,
        change: Change,
        key: &GossipKey,
        relay: RelayFactor,
        mut told: RingReport,
        lacking: Vec<NodeName>,
    ) -> RingReport {
        let failures: Vec<NodeName> = told.failures().map(|(node, _)| node.clone()).collect();
        let own = self.real.node();
        let mut note = |words| {
            told.messages.insert(own.clone(), NodeMessage::Note(words));
        };
        match self.rule {
            "a_pool_of_one_node_is_a_pool" if told.nodes == 1 => told.responses = 0,
            "answers_and_failures_add_up" => told.errors = told.errors.min(1),
            "who_succeeds_is_not_told_to_have_failed" if told.errors == 0 => {
                let words = NodeFailure::Other("success".into());
                told.messages
                    .insert(own.clone(), NodeMessage::Failed(words));
            }
            "who_fails_is_told_by_name" => {
                for node in failures {
                    let message = told.messages.remove(&node).unwrap();
                    told.messages.insert(format!("{node}.dc1").into(), message);
                }
            }
            "a_change_lists_no_keys" => {
                for key in self.real.keys(own.clone()) {
                    told.keys.add(&key);
                }
            }
            "a_change_counts_once_with_every_relay_factor" => {
                told.responses += usize::from(relay.get());
            }
            "no_key_is_in_a_report" => {
                for node in failures {
                    let words = format!("no key {:?}", key.as_bytes());
                    let failed = NodeMessage::Failed(NodeFailure::Other(words));
                    told.messages.insert(node, failed);
                }
            }
            "tells bytes in hexadecimal digits" if told.errors == 0 => {
                note(format!("did it with {:02x?}", key.as_bytes()));
            }
            "tells pairs of hexadecimal digits" if told.errors == 0 => {
                let pairs = key.as_bytes().iter().map(|byte| format!("{byte:02x}"));
                note(pairs.collect::<Vec<_>>().join(":"));
            }
            "tells escaped bytes" if told.errors == 0 => {
                note(format!(
                    "did it with b\"{}\"",
                    key.as_bytes().escape_ascii()
                ));
            }
            "tells twenty letters" if told.errors == 0 => {
                note(format!("did it with {}...", &key.to_base64()[5..25]));
            }
            "who_lacks_the_key_to_use_is_no_success" => {
                told.errors = 0;
                told.messages.clear();
            }
            "remove_succeeds_where_some_lack_the_key" if change == Change::Remove => {
                for node in lacking {
                    told.responses -= 1;
                    told.failed(node, NodeFailure::KeyNotInstalled);
                }
            }
            _ => {}
        }
        self.remark(format!("answered {change:?}"), &mut told);
        told
    }
}
