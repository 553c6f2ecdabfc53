//! Gossip pools, and the merged answers of their nodes.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{GossipKey, NodeName, SegmentName, cut_name, cut_text, exposed};

/// A gossip pool. Each has a ring of its own on every member.
///
/// The order is the order of a listing: WAN, LAN, then segments by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pool {
    /// The pool of all servers of all datacenters.
    Wan,
    /// The pool of all nodes of one datacenter.
    Lan,
    /// A part of a datacenter that gossips by itself.
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

/// Through how many other nodes each answer is sent a second time, as in Serf:
/// 0 to 5.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct RelayFactor(u8);

impl RelayFactor {
    /// The largest factor.
    pub const MAX: RelayFactor = RelayFactor(5);

    /// The factor as a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// A relay factor above 5.
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

/// Why a node did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NodeFailure {
    /// The key to use is not in the node's ring. Install it first.
    #[error("the key is not installed")]
    KeyNotInstalled,
    /// The key to remove is the node's primary. Use another one first.
    #[error("the primary key cannot be removed")]
    PrimaryKey,
    /// The node gossips in clear text and holds no ring.
    #[error("gossip encryption is off")]
    EncryptionOff,
    /// The node refuses keys of this size.
    #[error("the key's size is refused")]
    KeySize,
    /// Anything else, in the node's words. It must not contain the key.
    #[error("{0}")]
    Other(String),
}

/// What a node had to say beside its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NodeMessage {
    /// It did not do what it was asked.
    Failed(NodeFailure),
    /// It holds more keys than fit into its answer. The rest are there,
    /// although they are not counted.
    Truncated {
        /// How many keys it listed.
        shown: usize,
        /// How many keys it holds.
        total: usize,
    },
    /// It did what it was asked, and remarks something.
    Note(String),
}

impl NodeMessage {
    /// The same message with its text cut.
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

/// On how many nodes each key is, in the order of the keys' base64 texts.
///
/// It serializes to a map from the key's base64 text to the count, because that
/// is what a listing is for: take care where it goes. Debug shows fingerprints.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyCounts(BTreeMap<GossipKey, usize>);

impl KeyCounts {
    /// No keys.
    pub fn new() -> Self {
        KeyCounts::default()
    }

    /// Counts the key on one node more.
    pub fn add(&mut self, key: &GossipKey) {
        // Looked up before it is cloned: there are far more nodes than keys.
        match self.0.get_mut(key) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(key.clone(), 1);
            }
        }
    }

    /// Counts each of a node's keys on one node more, once even if it lists one twice.
    pub(crate) fn add_ring(&mut self, keys: &[GossipKey]) {
        for (at, key) in keys.iter().enumerate() {
            // By order, as the map looks keys up: equality in constant time costs
            // ten times as much.
            if !keys[..at].iter().any(|earlier| earlier.cmp(key).is_eq()) {
                self.add(key);
            }
        }
    }

    /// On how many nodes the key is.
    pub fn get(&self, key: &GossipKey) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    /// The keys and their counts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&GossipKey, usize)> {
        self.0.iter().map(|(key, count)| (key, *count))
    }

    /// How many different keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
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
            return Err(D::Error::custom("a key that is on no node is not listed"));
        }
        Ok(counts
            .into_iter()
            .map(|(key, count)| (key.0, count))
            .collect())
    }
}

/// The merged answers of the nodes of one gossip pool.
///
/// A backend starts with the number of nodes in the pool and adds each answer
/// as it comes. What is kept grows with the keys and with the nodes that have
/// something to say, not with the nodes.
///
/// ```
/// use cluster_operator::{GossipKey, NodeFailure, RingReport};
///
/// let key = GossipKey::from_bytes(&[1; 16])?;
/// let mut report = RingReport::new(3);
/// report.holds(&[key.clone()]);
/// report.failed("bob".into(), NodeFailure::EncryptionOff);
/// assert_eq!(report.keys.get(&key), 1);
/// assert_eq!(report.fault().unwrap().to_string(), "1/3 nodes reported failure");
/// # Ok::<(), cluster_operator::InvalidKey>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RingReport {
    /// How many nodes are in the pool and not known to be dead.
    pub nodes: usize,
    /// How many of them answered, in whatever way.
    pub responses: usize,
    /// How many answered that they did not do it.
    pub errors: usize,
    /// The nodes that were asked: the first [`NAMED`](RingReport::NAMED) of them, in
    /// the order in which they were asked. Empty if the server that reports the ring
    /// does not name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<NodeName>,
    /// The nodes that have not answered: the first [`NAMED`](RingReport::NAMED) of
    /// them by name. The rest is counted by `nodes` and `responses`.
    #[serde(default)]
    pub silent: Vec<NodeName>,
    /// How many listed only some of their keys.
    #[serde(default)]
    pub truncated: usize,
    /// What single nodes had to say, for at most [`NAMED`](RingReport::NAMED) of
    /// them. The rest of those that failed or listed only some of their keys is
    /// counted by `errors` and `truncated`.
    pub messages: BTreeMap<NodeName, NodeMessage>,
    /// On how many nodes each key is. Empty unless keys were listed.
    pub keys: KeyCounts,
    /// On how many nodes each key is the primary. Empty unless keys were
    /// listed, and for a backend that cannot tell.
    pub primary_keys: KeyCounts,
}

impl RingReport {
    /// How many nodes a report names, of those that were asked, of those that are
    /// silent and of those that have something to say.
    pub const NAMED: usize = 100;

    /// The report of a pool of so many nodes, of which none has answered.
    pub fn new(nodes: usize) -> Self {
        RingReport {
            nodes,
            ..RingReport::default()
        }
    }

    /// One node did what it was asked.
    pub fn done(&mut self) {
        self.responses += 1;
    }

    /// One node lists its ring, the primary first.
    pub fn holds(&mut self, keys: &[GossipKey]) {
        self.listed(keys, keys.first());
    }

    /// One node lists its ring, and says which key is the primary, if it tells it.
    pub(crate) fn listed(&mut self, keys: &[GossipKey], primary: Option<&GossipKey>) {
        self.responses += 1;
        self.keys.add_ring(keys);
        if let Some(primary) = primary {
            self.primary_keys.add(primary);
        }
    }

    /// One node lists the keys of its ring that fit into its answer, the
    /// primary first, out of `total`.
    pub fn holds_more(&mut self, node: NodeName, keys: &[GossipKey], total: usize) {
        self.holds(keys);
        self.listed_some(node, keys.len(), total);
    }

    /// The node that has just listed its ring has more keys than that.
    pub(crate) fn listed_some(&mut self, node: NodeName, shown: usize, total: usize) {
        self.truncated += 1;
        self.tell(node, NodeMessage::Truncated { shown, total });
    }

    /// One node did not do what it was asked.
    pub fn failed(&mut self, node: NodeName, failure: NodeFailure) {
        self.responses += 1;
        self.errors += 1;
        self.tell(node, NodeMessage::Failed(failure));
    }

    /// Keeps what a node had to say, unless enough others had.
    pub(crate) fn tell(&mut self, node: NodeName, message: NodeMessage) {
        if self.messages.len() < RingReport::NAMED || self.messages.contains_key(&node) {
            self.messages.insert(node, message);
        }
    }

    /// What keeps this report from being a success of every node: a node that
    /// failed comes before one that was silent, as in Serf. A report of no nodes is
    /// no success.
    pub fn fault(&self) -> Option<RingFault> {
        let nodes = self.nodes;
        if self.errors > 0 {
            Some(RingFault::Failed {
                errors: self.errors,
                nodes,
            })
        } else if self.responses != nodes || nodes == 0 {
            Some(RingFault::Silent {
                responses: self.responses,
                nodes,
            })
        } else {
            None
        }
    }

    /// The report of another server, naming no more nodes and holding no longer texts
    /// than this server keeps; `None` if its counts do not add up.
    pub(crate) fn accepted(mut self) -> Option<Self> {
        let is_cut = |message: &&NodeMessage| matches!(message, NodeMessage::Truncated { .. });
        let listed_some = self.messages.values().filter(is_cut).count();
        // An older server does not count them.
        self.truncated = self.truncated.max(listed_some);
        let adds_up = self.nodes > 0
            && self.responses <= self.nodes
            && self.errors <= self.responses
            && self.failures().count() <= self.errors
            && self.truncated <= self.responses;
        if !adds_up {
            return None;
        }
        for names in [&mut self.asked, &mut self.silent] {
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

    /// Whether every node refused, for a reason that has a name. The reasons of nodes
    /// that are not named in the report are not known, so it is no refusal then.
    pub(crate) fn is_refusal(&self) -> bool {
        let named = self
            .failures()
            .filter(|(_, failure)| !matches!(failure, NodeFailure::Other(_)));
        self.nodes > 0 && self.errors == self.nodes && named.count() == self.errors
    }

    /// The reasons of the nodes that failed.
    pub fn failures(&self) -> impl Iterator<Item = (&NodeName, &NodeFailure)> {
        self.messages
            .iter()
            .filter_map(|(node, message)| match message {
                NodeMessage::Failed(failure) => Some((node, failure)),
                _ => None,
            })
    }
}

/// How a ring fell short of everyone's success. The texts are Serf's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    /// Some nodes answered that they did not do it.
    #[error("{errors}/{nodes} nodes reported failure")]
    Failed {
        /// How many.
        errors: usize,
        /// Of how many in the pool.
        nodes: usize,
    },
    /// No node failed, but some did not answer.
    #[error("{responses}/{nodes} nodes reported success")]
    Silent {
        /// How many answered.
        responses: usize,
        /// Of how many in the pool.
        nodes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> GossipKey {
        GossipKey::from_bytes(&[n; 16]).unwrap()
    }

    #[test]
    fn a_failure_is_told_before_a_silence() {
        let mut report = RingReport::new(3);
        assert_eq!(
            report.fault().unwrap().to_string(),
            "0/3 nodes reported success"
        );
        report.failed("a".into(), NodeFailure::PrimaryKey);
        assert_eq!(
            report.fault().unwrap().to_string(),
            "1/3 nodes reported failure"
        );
    }

    #[test]
    fn the_first_key_of_each_node_counts_as_primary() {
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
    fn key_that_a_node_lists_twice_counts_once() {
        let mut report = RingReport::new(2);
        report.holds(&[key(1), key(2), key(1)]);
        assert_eq!(
            report.keys,
            [(key(1), 1), (key(2), 1)].into_iter().collect()
        );
    }

    #[test]
    fn a_report_round_trips_through_json() {
        let mut report = RingReport::new(3);
        report.holds_more("a".into(), &[key(1), key(2)], 9);
        report.failed("b".into(), NodeFailure::Other("ill".into()));
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<RingReport>(&json).unwrap(), report);
    }

    #[test]
    fn debug_of_a_report_shows_no_key() {
        let mut report = RingReport::new(1);
        report.holds(&[key(1)]);
        let shown = format!("{report:?}");
        assert!(shown.contains(&key(1).fingerprint()));
        assert!(!shown.contains(&*key(1).to_base64()));
    }
}
