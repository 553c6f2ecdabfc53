//! Collecting the answers of a pool's nodes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{GossipKey, NodeFailure, NodeMessage, RingReport};
use crate::types::NodeName;

/// Collects the answers of a pool's nodes to one query.
///
/// Cheap to clone. Clones share the answers, so that several tasks can collect them,
/// and so that answers that have arrived are kept when a call is dropped.
///
/// ```
/// use cluster_operator::keyring::{Answers, NodeKeys};
/// use cluster_operator::keyring::NodeFailure;
/// use cluster_operator::{GossipKey, NodeName};
///
/// let key = GossipKey::from_bytes(&[1; 16])?;
/// let answers = Answers::default();
/// // Nothing has been sent.
/// assert!(answers.report().is_none());
///
/// let [alice, bob, carol] = ["alice", "bob", "carol"].map(NodeName::from);
/// answers.asking([alice.clone(), bob.clone(), carol.clone()]);
/// answers.answered(&alice, Ok(NodeKeys::ring([key.clone()])));
/// answers.answered(&bob, Err(NodeFailure::EncryptionOff));
///
/// let report = answers.report().unwrap();
/// assert_eq!((report.nodes, report.responses, report.errors), (3, 2, 1));
/// assert_eq!(report.keys.get(&key), 1);
/// assert_eq!(report.asked, [alice, bob, carol.clone()]);
/// assert_eq!(report.silent, [carol]);
/// # Ok::<(), cluster_operator::keyring::InvalidKey>(())
/// ```
#[derive(Clone, Default)]
pub struct Answers {
    /// `None` until a node is asked.
    collected: Arc<Mutex<Option<Collected>>>,
}

#[derive(Default)]
struct Collected {
    /// The nodes that were asked; true for those that have answered.
    asked: HashMap<NodeName, bool>,
    report: RingReport,
}

/// The answer of a node that did what it was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeKeys {
    /// The keys of its ring, in the answer to a listing.
    pub keys: Vec<GossipKey>,
    /// Its primary key, in the answer to a listing by an engine that reports it.
    pub primary: Option<GossipKey>,
    /// The number of keys that it holds, if not all of them fit into its answer.
    pub total: Option<usize>,
    /// A note. It must not contain a key.
    pub note: Option<String>,
}

impl NodeKeys {
    /// Creates the answer to a successful change.
    pub fn done() -> Self {
        NodeKeys::default()
    }

    /// Creates the answer to a listing: the node's ring, the primary key first.
    pub fn ring(keys: impl IntoIterator<Item = GossipKey>) -> Self {
        let mut ring = NodeKeys::without_primary(keys);
        ring.primary = ring.keys.first().cloned();
        ring
    }

    /// Creates the answer to a listing by an engine that does not report the primary
    /// key.
    pub fn without_primary(keys: impl IntoIterator<Item = GossipKey>) -> Self {
        NodeKeys {
            keys: keys.into_iter().collect(),
            ..NodeKeys::default()
        }
    }

    /// Sets the number of keys that the node holds, of which only some are listed.
    #[must_use]
    pub fn truncated(mut self, total: usize) -> Self {
        self.total = Some(total);
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl Answers {
    /// Adds nodes that are about to be asked. Call it just before sending: from then on
    /// the outcome of a change is unknown until they have answered. Call it again to add
    /// more nodes.
    pub fn asking(&self, nodes: impl IntoIterator<Item = NodeName>) {
        let mut collected = self.lock();
        let collected = collected.get_or_insert_default();
        let nodes = nodes.into_iter();
        collected.asked.reserve(nodes.size_hint().0);
        for node in nodes {
            if let Entry::Vacant(asked) = collected.asked.entry(node) {
                if collected.report.asked.len() < RingReport::NAMED {
                    collected.report.asked.push(asked.key().clone());
                }
                asked.insert(false);
            }
        }
        collected.report.nodes = collected.asked.len();
    }

    /// Adds members that gossip has declared failed and that are therefore not asked.
    /// Call it after [`asking`](Answers::asking).
    pub fn absent(&self, nodes: impl IntoIterator<Item = NodeName>) {
        if let Some(Collected { report, .. }) = &mut *self.lock() {
            report.absent.extend(nodes);
            report.absent.sort_unstable();
            report.absent.dedup();
            report.absent.truncate(RingReport::NAMED);
        }
    }

    /// Counts a node's answer. A second answer of the same node and the answer of a node
    /// that was not asked are ignored.
    pub fn answered(&self, node: &NodeName, answer: Result<NodeKeys, NodeFailure>) {
        let mut collected = self.lock();
        let Some(Collected { asked, report }) = &mut *collected else {
            return;
        };
        match asked.get_mut(node) {
            Some(answered) if !*answered => *answered = true,
            _ => return,
        }
        let NodeKeys {
            keys,
            primary,
            total,
            note,
        } = match answer {
            Ok(answer) => answer,
            Err(failure) => return report.failed(node.clone(), failure),
        };
        report.listed(&keys, primary.as_ref());
        if let Some(total) = total {
            report.listed_some(node.clone(), keys.len(), total);
        } else if let Some(note) = note {
            report.add_message(node.clone(), NodeMessage::Note(note));
        }
    }

    /// Returns a report of the answers so far; `None` if no node was asked.
    pub fn report(&self) -> Option<RingReport> {
        let collected = self.lock();
        let Collected { asked, report } = collected.as_ref()?;
        let mut report = report.clone();
        // A member that has been asked since then is not absent.
        report.absent.retain(|node| !asked.contains_key(node));
        if report.responses < report.nodes {
            let silent = asked.iter().filter(|(_, answered)| !**answered);
            let mut silent: Vec<_> = silent.map(|(node, _)| node).collect();
            silent.sort_unstable();
            let named = silent.into_iter().take(RingReport::NAMED);
            report.silent = named.cloned().collect();
        }
        Some(report)
    }

    /// Returns true if every node that was asked has answered, and false if none was
    /// asked.
    pub fn is_complete(&self) -> bool {
        let collected = self.lock();
        let report = collected.as_ref().map(|collected| &collected.report);
        report.is_some_and(|report| report.responses == report.nodes)
    }

    /// Locks the answers. A poisoned lock is safe to use, since no change of the answers
    /// can panic half way.
    fn lock(&self) -> MutexGuard<'_, Option<Collected>> {
        self.collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answers").field(&self.report()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> GossipKey {
        GossipKey::from_bytes(&[n; 16]).unwrap()
    }

    fn node(number: usize) -> NodeName {
        format!("node-{number:03}").into()
    }

    #[test]
    fn second_and_unexpected_answers_are_ignored() {
        let answers = Answers::default();
        answers.answered(&node(1), Ok(NodeKeys::done()));
        assert_eq!(answers.report(), None);
        answers.asking([node(1), node(2)]);
        answers.answered(&node(1), Ok(NodeKeys::ring([key(1)])));
        answers.answered(&node(1), Ok(NodeKeys::ring([key(1)])));
        answers.answered(&node(3), Ok(NodeKeys::ring([key(1)])));
        let report = answers.report().unwrap();
        assert_eq!((report.nodes, report.responses), (2, 1));
        assert_eq!(report.keys.get(&key(1)), 1);
        assert!(format!("{answers:?}").contains("responses: 1"));
        assert!(!answers.is_complete());
        answers.clone().answered(&node(2), Ok(NodeKeys::done()));
        assert!(answers.is_complete());
        assert!(answers.report().unwrap().silent.is_empty());
    }

    #[test]
    fn key_listed_twice_by_a_node_counts_once() {
        let answers = Answers::default();
        answers.asking([node(1), node(2)]);
        let twice = [key(1), key(2), key(1), key(2)];
        answers.answered(&node(1), Ok(NodeKeys::ring(twice)));
        answers.answered(&node(2), Ok(NodeKeys::ring([key(1)])));
        let report = answers.report().unwrap();
        assert_eq!(
            report.keys,
            [(key(1), 2), (key(2), 1)].into_iter().collect()
        );
        assert_eq!(report.primary_keys.get(&key(1)), 2);
    }

    #[test]
    fn first_hundred_silent_and_failed_nodes_are_named() {
        let answers = Answers::default();
        answers.asking((0..300).map(node));
        for number in 150..300 {
            answers.answered(&node(number), Err(NodeFailure::PrimaryKey));
        }
        let report = answers.report().unwrap();
        assert_eq!((report.responses, report.errors), (150, 150));
        assert_eq!(report.silent, (0..100).map(node).collect::<Vec<_>>());
        assert_eq!(report.failures().count(), 100);
        assert_eq!(report.asked, (0..100).map(node).collect::<Vec<_>>());
    }

    #[test]
    fn failed_members_are_absent_unless_they_are_asked() {
        let answers = Answers::default();
        answers.absent([node(1)]);
        assert_eq!(answers.report(), None);
        answers.asking([node(1)]);
        answers.absent([node(3), node(2), node(3)]);
        answers.asking([node(2)]);
        let report = answers.report().unwrap();
        assert_eq!((report.nodes, &report.absent), (2, &vec![node(3)]));
        answers.absent((100..300).map(node));
        assert_eq!(answers.report().unwrap().absent.len(), 99);
    }

    #[test]
    fn all_truncated_listings_are_counted() {
        let answers = Answers::default();
        answers.asking((0..150).map(node));
        for number in 0..150 {
            let cut = NodeKeys::ring([key(1)]).truncated(9);
            answers.answered(&node(number), Ok(cut));
        }
        let report = answers.report().unwrap();
        assert_eq!((report.truncated, report.messages.len()), (150, 100));
        assert_eq!(report.primary_keys.get(&key(1)), 150);
    }

    #[test]
    fn primary_is_counted_only_if_the_engine_reports_it() {
        let answers = Answers::default();
        answers.asking([node(1)]);
        let listed = NodeKeys::without_primary([key(1)]).with_note("slow disk");
        answers.answered(&node(1), Ok(listed));
        let report = answers.report().unwrap();
        assert!(report.primary_keys.is_empty());
        let note = NodeMessage::Note("slow disk".into());
        assert_eq!(report.messages.get(&node(1)), Some(&note));
    }
}
