//! Gossip pools, and the merged answers of their nodes.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{GossipKey, NodeName, SegmentName, cut_name, cut_text, exposed};

/// A gossip pool. Every member holds a keyring for each pool that it is in.
///
/// Pools are ordered as in a listing: WAN, LAN, then segments by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pool {
    /// The pool of all servers of all datacenters.
    Wan,
    /// The pool of all nodes of one datacenter.
    Lan,
    /// The pool of one network segment of a datacenter.
    Segment(SegmentName),
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pool::Wan => f.write_str("WAN"),
            Pool::Lan => f.write_str("LAN"),
            Pool::Segment(name) => write!(f, "segment {name}"),
        }
    }
}

/// The number of other nodes through which each answer is sent a second time, as
/// in Serf: 0 to 5.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct RelayFactor(u8);

impl RelayFactor {
    /// The largest factor.
    pub const MAX: RelayFactor = RelayFactor(5);

    /// Returns the factor as a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// The error for a relay factor above 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("relay factor must be in range: [0, 5]")]
pub struct InvalidRelayFactor;

impl TryFrom<u8> for RelayFactor {
    type Error = InvalidRelayFactor;

    fn try_from(factor: u8) -> Result<Self, InvalidRelayFactor> {
        if factor <= RelayFactor::MAX.0 {
            Ok(RelayFactor(factor))
        } else {
            Err(InvalidRelayFactor)
        }
    }
}

impl From<RelayFactor> for u8 {
    fn from(factor: RelayFactor) -> u8 {
        factor.0
    }
}

/// The reason why a node failed to do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NodeFailure {
    /// The key to use is not in the node's ring. Install it first.
    #[error("the key is not installed")]
    KeyNotInstalled,
    /// The key to remove is the node's primary. Use another one first.
    #[error("the primary key cannot be removed")]
    PrimaryKey,
    /// The node gossips in clear text and has no ring.
    #[error("gossip encryption is off")]
    EncryptionOff,
    /// The node rejects keys of this size.
    #[error("the key's size is refused")]
    KeySize,
    /// Any other reason, as the node reports it. It must not contain the key.
    #[error("{0}")]
    Other(String),
}

/// A message that a node sends with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NodeMessage {
    /// The node failed to do what it was asked.
    Failed(NodeFailure),
    /// The node holds more keys than fit into its answer. The keys that it did not
    /// list are not counted in the report.
    Truncated {
        /// The number of keys that it listed.
        shown: usize,
        /// The number of keys that it holds.
        total: usize,
    },
    /// The node did what it was asked and adds a note.
    Note(String),
}

impl NodeMessage {
    /// Returns the message with its text cut to the limit.
    fn cut(self) -> Self {
        match self {
            NodeMessage::Failed(NodeFailure::Other(words)) => {
                NodeMessage::Failed(NodeFailure::Other(cut_text(words)))
            }
            NodeMessage::Note(note) => NodeMessage::Note(cut_text(note)),
            message => message,
        }
    }
}

/// The number of nodes that hold each key, ordered by the keys' base64 texts.
///
/// It serializes to a map from the key's base64 text to the count, so the serialized
/// form contains the keys in clear. `Debug` shows fingerprints.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyCounts(BTreeMap<GossipKey, usize>);

impl KeyCounts {
    /// Creates an empty count.
    pub fn new() -> Self {
        KeyCounts::default()
    }

    /// Counts the key for one more node.
    pub fn add(&mut self, key: &GossipKey) {
        // Looked up before it is cloned: there are far more nodes than keys.
        match self.0.get_mut(key) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(key.clone(), 1);
            }
        }
    }

    /// Counts the keys of one more node. A key that the node lists twice counts once.
    pub(crate) fn add_ring(&mut self, keys: &[GossipKey]) {
        for (at, key) in keys.iter().enumerate() {
            // Compared by order, as in the map: equality takes constant time, which
            // is ten times slower.
            if !keys[..at].iter().any(|earlier| earlier.cmp(key).is_eq()) {
                self.add(key);
            }
        }
    }

    /// Returns the number of nodes that hold the key.
    pub fn get(&self, key: &GossipKey) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    /// Returns the keys and their counts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&GossipKey, usize)> {
        self.0.iter().map(|(key, count)| (key, *count))
    }

    /// Returns the number of different keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for KeyCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromIterator<(GossipKey, usize)> for KeyCounts {
    fn from_iter<I: IntoIterator<Item = (GossipKey, usize)>>(counts: I) -> Self {
        KeyCounts(counts.into_iter().collect())
    }
}

impl Serialize for KeyCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Exposed<'a>(#[serde(serialize_with = "exposed::serialize")] &'a GossipKey);

        serializer.collect_map(self.iter().map(|(key, count)| (Exposed(key), count)))
    }
}

impl<'de> Deserialize<'de> for KeyCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        struct Exposed(#[serde(deserialize_with = "exposed::deserialize")] GossipKey);

        let counts = BTreeMap::<Exposed, usize>::deserialize(deserializer)?;
        if counts.values().any(|count| *count == 0) {
            return Err(D::Error::custom("a listed key is on no node"));
        }
        Ok(counts
            .into_iter()
            .map(|(key, count)| (key.0, count))
            .collect())
    }
}

/// The merged answers of the nodes of one gossip pool.
///
/// A backend collects its nodes' answers with [`Answers`](crate::keyring::Answers),
/// which makes the report. The methods below build a report in a test. The size of a
/// report depends on the number of keys and messages, not on the number of nodes.
///
/// ```
/// use cluster_operator::keyring::{NodeFailure, RingReport};
/// use cluster_operator::GossipKey;
///
/// let key = GossipKey::from_bytes(&[1; 16])?;
/// let mut report = RingReport::new(3);
/// report.holds(&[key.clone()]);
/// report.failed("bob".into(), NodeFailure::EncryptionOff);
/// assert_eq!(report.keys.get(&key), 1);
/// assert_eq!(report.failure().unwrap().to_string(), "1/3 nodes reported failure");
/// # Ok::<(), cluster_operator::keyring::InvalidKey>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RingReport {
    /// The number of nodes in the pool that are not known to be dead.
    pub nodes: usize,
    /// The number of nodes that answered, with a success or a failure.
    pub responses: usize,
    /// The number of nodes that answered with a failure.
    pub errors: usize,
    /// The nodes that were asked: the first [`NAMED`](RingReport::NAMED) of them, in
    /// the order in which they were asked. Empty if the server that reports the ring
    /// does not name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<NodeName>,
    /// The nodes that have not answered: the first [`NAMED`](RingReport::NAMED) of
    /// them by name. Their total number is `nodes` minus `responses`.
    #[serde(default)]
    pub silent: Vec<NodeName>,
    /// The members that were not asked, because gossip has declared them failed: the
    /// first [`NAMED`](RingReport::NAMED) of them by name. Their keys are unchanged.
    /// Empty if the backend does not name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<NodeName>,
    /// The number of nodes that listed only some of their keys.
    #[serde(default)]
    pub truncated: usize,
    /// The messages of single nodes, at most [`NAMED`](RingReport::NAMED). `errors`
    /// and `truncated` also count the nodes whose messages are left out.
    pub messages: BTreeMap<NodeName, NodeMessage>,
    /// The number of nodes that hold each key. Empty unless keys were listed.
    pub keys: KeyCounts,
    /// The number of nodes on which each key is the primary. Empty unless keys were
    /// listed by a backend that knows the primary.
    pub primary_keys: KeyCounts,
}

impl RingReport {
    /// The largest number of nodes that a report names in each of `asked`, `silent`
    /// and `messages`.
    pub const NAMED: usize = 100;

    /// Creates the report of a pool of this many nodes, none of which has answered.
    pub fn new(nodes: usize) -> Self {
        RingReport {
            nodes,
            ..RingReport::default()
        }
    }

    /// Counts a node that did what it was asked.
    pub fn done(&mut self) {
        self.responses += 1;
    }

    /// Counts a node that lists its ring, the primary key first.
    pub fn holds(&mut self, keys: &[GossipKey]) {
        self.listed(keys, keys.first());
    }

    /// Counts a node that lists its ring and its primary key, if that is known.
    pub(crate) fn listed(&mut self, keys: &[GossipKey], primary: Option<&GossipKey>) {
        self.responses += 1;
        self.keys.add_ring(keys);
        if let Some(primary) = primary {
            self.primary_keys.add(primary);
        }
    }

    /// Counts a node that lists only the keys that fit into its answer, the primary
    /// key first, out of `total`.
    pub fn holds_more(&mut self, node: NodeName, keys: &[GossipKey], total: usize) {
        self.holds(keys);
        self.listed_some(node, keys.len(), total);
    }

    /// Notes that the node that was just counted listed only some of its keys.
    pub(crate) fn listed_some(&mut self, node: NodeName, shown: usize, total: usize) {
        self.truncated += 1;
        self.add_message(node, NodeMessage::Truncated { shown, total });
    }

    /// Counts a node that failed to do what it was asked.
    pub fn failed(&mut self, node: NodeName, failure: NodeFailure) {
        self.responses += 1;
        self.errors += 1;
        self.add_message(node, NodeMessage::Failed(failure));
    }

    /// Keeps a node's message, unless the report already names enough nodes.
    pub(crate) fn add_message(&mut self, node: NodeName, message: NodeMessage) {
        if self.messages.len() < RingReport::NAMED || self.messages.contains_key(&node) {
            self.messages.insert(node, message);
        }
    }

    /// Returns why the report is not a success of every node, or `None` if it is. A
    /// failed node takes precedence over a silent one, as in Serf. A report of no
    /// nodes is not a success.
    pub fn failure(&self) -> Option<RingFailure> {
        let nodes = self.nodes;
        if self.errors > 0 {
            Some(RingFailure::Failed {
                errors: self.errors,
                nodes,
            })
        } else if self.responses != nodes || nodes == 0 {
            Some(RingFailure::Silent {
                responses: self.responses,
                nodes,
            })
        } else {
            None
        }
    }

    /// Checks a report of another server and cuts its lists and texts to the limits of
    /// this server. Returns `None` if its counts do not add up.
    pub(crate) fn accepted(mut self) -> Option<Self> {
        let is_cut = |message: &&NodeMessage| matches!(message, NodeMessage::Truncated { .. });
        let listed_some = self.messages.values().filter(is_cut).count();
        // An older server does not send this count.
        self.truncated = self.truncated.max(listed_some);
        let adds_up = self.nodes > 0
            && self.responses <= self.nodes
            && self.errors <= self.responses
            && self.failures().count() <= self.errors
            && self.truncated <= self.responses
            && [&self.keys, &self.primary_keys]
                .into_iter()
                .flat_map(KeyCounts::iter)
                .all(|(_, count)| count <= self.responses);
        if !adds_up {
            return None;
        }
        for names in [&mut self.asked, &mut self.silent, &mut self.absent] {
            names.truncate(RingReport::NAMED);
            for name in names {
                *name = cut_name(name.clone());
            }
        }
        let messages = self.messages.into_iter().take(RingReport::NAMED);
        self.messages = messages
            .map(|(node, message)| (cut_name(node), message.cut()))
            .collect();
        Some(self)
    }

    /// Returns true if every node refused for a known reason. The reasons of nodes
    /// that the report does not name are unknown.
    pub(crate) fn is_refusal(&self) -> bool {
        let named = self
            .failures()
            .filter(|(_, failure)| !matches!(failure, NodeFailure::Other(_)));
        self.nodes > 0 && self.errors == self.nodes && named.count() == self.errors
    }

    /// Returns the nodes that failed, with their reasons.
    pub fn failures(&self) -> impl Iterator<Item = (&NodeName, &NodeFailure)> {
        self.messages
            .iter()
            .filter_map(|(node, message)| match message {
                NodeMessage::Failed(failure) => Some((node, failure)),
                _ => None,
            })
    }
}

/// The reason why a ring's report is not a success of every node. The texts are
/// Serf's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingFailure {
    /// Some nodes answered with a failure.
    #[error("{errors}/{nodes} nodes reported failure")]
    Failed {
        /// The number of nodes that failed.
        errors: usize,
        /// The number of nodes in the pool.
        nodes: usize,
    },
    /// No node failed, but some did not answer.
    #[error("{responses}/{nodes} nodes reported success")]
    Silent {
        /// The number of nodes that answered.
        responses: usize,
        /// The number of nodes in the pool.
        nodes: usize,
    },
}

#[cfg(feature = "client")]
impl RingFailure {
    /// Reads the text of a failure.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (counts, result) = text.split_once(" nodes reported ")?;
        let (count, nodes) = counts.split_once('/')?;
        let (count, nodes) = (count.parse().ok()?, nodes.parse().ok()?);
        match result {
            "failure" => Some(RingFailure::Failed {
                errors: count,
                nodes,
            }),
            "success" => Some(RingFailure::Silent {
                responses: count,
                nodes,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> GossipKey {
        GossipKey::from_bytes(&[n; 16]).unwrap()
    }

    #[test]
    fn failed_node_takes_precedence_over_silent_one() {
        let mut report = RingReport::new(3);
        assert_eq!(
            report.failure().unwrap().to_string(),
            "0/3 nodes reported success"
        );
        report.failed("a".into(), NodeFailure::PrimaryKey);
        assert_eq!(
            report.failure().unwrap().to_string(),
            "1/3 nodes reported failure"
        );
    }

    #[test]
    fn first_key_of_each_node_counts_as_primary() {
        let mut report = RingReport::new(2);
        report.holds(&[key(1), key(2)]);
        report.holds(&[key(2), key(1)]);
        report.holds(&[]);
        assert_eq!(
            report.keys,
            [(key(1), 2), (key(2), 2)].into_iter().collect()
        );
        assert_eq!(report.primary_keys.get(&key(1)), 1);
        assert_eq!(report.primary_keys.get(&key(3)), 0);
        assert_eq!((report.keys.len(), report.keys.is_empty()), (2, false));
        assert_eq!(
            (KeyCounts::new().len(), KeyCounts::new().is_empty()),
            (0, true)
        );
    }

    #[test]
    fn key_listed_twice_by_a_node_counts_once() {
        let mut report = RingReport::new(2);
        report.holds(&[key(1), key(2), key(1)]);
        assert_eq!(
            report.keys,
            [(key(1), 1), (key(2), 1)].into_iter().collect()
        );
    }

    #[test]
    fn report_round_trips_through_json() {
        let mut report = RingReport::new(3);
        report.holds_more("a".into(), &[key(1), key(2)], 9);
        report.failed("b".into(), NodeFailure::Other("ill".into()));
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<RingReport>(&json).unwrap(), report);
    }

    #[test]
    fn debug_of_report_shows_no_key() {
        let mut report = RingReport::new(1);
        report.holds(&[key(1)]);
        let shown = format!("{report:?}");
        assert!(shown.contains(&key(1).fingerprint()));
        assert!(!shown.contains(&*key(1).to_base64()));
    }
}
