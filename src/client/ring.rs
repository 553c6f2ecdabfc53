//! Keyring listings, as they come over the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::error::Outcome;
use crate::keyring::{KeyCounts, Pool};
use crate::name::{DatacenterName, NodeName, SegmentName};

/// One ring, as a server lists it.
///
/// It has less than a [`RingReport`](crate::RingReport): how many nodes were
/// silent or failed is on the wire only as text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Listed")]
#[non_exhaustive]
pub struct KeyRing {
    /// The datacenter; for the WAN ring that of the server that asked it.
    pub datacenter: DatacenterName,
    /// The pool.
    pub pool: Pool,
    /// How many nodes are in the pool.
    pub nodes: usize,
    /// On how many nodes each key is.
    pub keys: KeyCounts,
    /// On how many nodes each key is the primary; empty from a server that does
    /// not tell, as Consul 0.7 does not.
    pub primary_keys: KeyCounts,
    /// What single nodes had to say, such as that their listing is cut off.
    pub messages: BTreeMap<NodeName, String>,
    /// What went wrong in this ring, which only this library's own dialect tells.
    pub error: Option<String>,
    /// Whether a write that went wrong in this ring has changed it.
    pub outcome: Option<Outcome>,
}

/// The field names and the nulls of the wire.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: DatacenterName,
    #[serde(default)]
    segment: String,
    #[serde(default, deserialize_with = "or_null")]
    messages: BTreeMap<NodeName, String>,
    #[serde(default, deserialize_with = "or_null")]
    keys: KeyCounts,
    #[serde(default, deserialize_with = "or_null")]
    primary_keys: KeyCounts,
    num_nodes: usize,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    outcome: Option<String>,
}

impl From<Listed> for KeyRing {
    fn from(listed: Listed) -> Self {
        KeyRing {
            datacenter: listed.datacenter,
            pool: match (listed.wan, listed.segment) {
                (true, _) => Pool::Wan,
                (false, segment) if segment.is_empty() => Pool::Lan,
                (false, segment) => Pool::Segment(SegmentName::from(segment)),
            },
            nodes: listed.num_nodes,
            keys: listed.keys,
            primary_keys: listed.primary_keys,
            messages: listed.messages,
            error: listed.error.filter(|error| !error.is_empty()),
            outcome: listed.outcome.as_deref().map(outcome),
        }
    }
}

/// A word that is not known is as good as none.
pub(super) fn outcome(word: &str) -> Outcome {
    match word {
        "not-applied" => Outcome::NotApplied,
        "applied" => Outcome::Applied,
        _ => Outcome::Unknown,
    }
}

/// Go writes `null` for an empty list or map.
pub(super) fn or_null<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(json: &str) -> KeyRing {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_pool_is_told_by_two_fields() {
        let pool = |wan, segment| {
            let json = format!(
                r#"{{"WAN":{wan},"Datacenter":"dc1","Segment":"{segment}","Keys":null,"NumNodes":2}}"#
            );
            ring(&json).pool
        };
        assert_eq!(pool(true, ""), Pool::Wan);
        assert_eq!(pool(false, ""), Pool::Lan);
        assert_eq!(pool(false, "alpha"), Pool::Segment("alpha".into()));
    }

    #[test]
    fn a_ring_of_any_version_is_read() {
        let old = ring(r#"{"WAN":true,"Datacenter":"dc1","Keys":{},"NumNodes":1}"#);
        assert_eq!((old.nodes, old.error, old.outcome), (1, None, None));
        let new = ring(
            r#"{"WAN":false,"Datacenter":"dc1","Partition":"x","Messages":{"a":"m"},
                "Keys":{"0eK8RjnsGC/+I1fJErQsBA==":2},
                "PrimaryKeys":{"0eK8RjnsGC/+I1fJErQsBA==":1},
                "NumNodes":2,"Error":"e","Outcome":"applied"}"#,
        );
        assert_eq!(new.messages["a"], "m");
        assert_eq!((new.keys.len(), new.primary_keys.len()), (1, 1));
        assert_eq!(new.error.as_deref(), Some("e"));
        assert_eq!(new.outcome, Some(Outcome::Applied));
    }
}
