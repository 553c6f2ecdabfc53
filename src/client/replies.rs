//! Replies as they come over HTTP.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::consul::body::Ring;
use crate::error::Outcome;
use crate::keyring::{KeyCounts, Pool};
use crate::types::{DatacenterName, NodeName};

/// One ring as a server lists it over HTTP.
///
/// It has less than a [`RingReport`](crate::keyring::RingReport): how many nodes failed is
/// there only as text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Ring<'_>")]
#[non_exhaustive]
pub struct RingListing {
    /// The datacenter; for the WAN ring that of the server that asked it.
    pub datacenter: DatacenterName,
    /// The pool.
    pub pool: Pool,
    /// The number of nodes in the pool.
    pub nodes: usize,
    /// On how many nodes each key is.
    pub keys: KeyCounts,
    /// On how many nodes each key is the primary; empty from a server that does
    /// not tell, as Consul 0.7 does not.
    pub primary_keys: KeyCounts,
    /// What single nodes had to say, such as that their listing is cut off.
    pub messages: BTreeMap<NodeName, String>,
    /// The nodes that have not answered, the first 100 of them by name. Only
    /// [`Precise`](crate::consul::Dialect::Precise) servers name them.
    pub silent: Vec<NodeName>,
    /// The members that gossip has declared failed, the first 100 of them by name. Only
    /// [`Precise`](crate::consul::Dialect::Precise) servers name them.
    pub absent: Vec<NodeName>,
    /// What went wrong in this ring. Only [`Precise`](crate::consul::Dialect::Precise)
    /// servers say it for each ring.
    pub error: Option<String>,
    /// The outcome of a change that failed in this ring.
    pub outcome: Option<Outcome>,
}

impl From<Ring<'_>> for RingListing {
    fn from(ring: Ring<'_>) -> Self {
        let text = |text: Cow<'_, str>| text.into_owned();
        RingListing {
            datacenter: text(ring.datacenter).into(),
            pool: match (ring.wan, ring.segment.map(text)) {
                (true, _) => Pool::Wan,
                (false, Some(segment)) if !segment.is_empty() => Pool::Segment(segment.into()),
                (false, _) => Pool::Lan,
            },
            nodes: ring.num_nodes,
            keys: ring.keys.into_owned(),
            primary_keys: ring.primary_keys.unwrap_or_default().into_owned(),
            messages: ring
                .messages
                .into_iter()
                .flatten()
                .map(|(node, message)| (text(node).into(), text(message)))
                .collect(),
            silent: ring.silent.unwrap_or_default().into_owned(),
            absent: ring.absent.unwrap_or_default().into_owned(),
            error: ring.error.map(text).filter(|error| !error.is_empty()),
            outcome: ring.outcome.as_deref().map(outcome),
        }
    }
}

/// The outcome with this name; unknown if a newer server has made up another one.
pub(super) fn outcome(name: &str) -> Outcome {
    Outcome::from_name(name).unwrap_or(Outcome::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::body::Configuration;
    use crate::raft::{RaftConfiguration, RaftServer};

    fn ring(json: &str) -> RingListing {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn two_fields_name_the_pool() {
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
    fn ring_of_any_version_is_read() {
        let old = ring(r#"{"WAN":true,"Datacenter":"dc1","Keys":{},"NumNodes":1}"#);
        assert_eq!((old.nodes, old.error, old.outcome), (1, None, None));
        let new = ring(
            r#"{"WAN":false,"Datacenter":"dc1","Partition":"x","Messages":{"a":"m"},
                "Keys":{"0eK8RjnsGC/+I1fJErQsBA==":2},
                "PrimaryKeys":{"0eK8RjnsGC/+I1fJErQsBA==":1},
                "NumNodes":2,"Silent":["b"],"Error":"e","Outcome":"applied"}"#,
        );
        assert_eq!(new.messages["a"], "m");
        assert_eq!(new.silent, ["b"]);
        assert_eq!((new.keys.len(), new.primary_keys.len()), (1, 1));
        assert_eq!(new.error.as_deref(), Some("e"));
        assert_eq!(new.outcome, Some(Outcome::Applied));
    }

    fn read(json: &str) -> RaftConfiguration {
        serde_json::from_str::<Configuration<'_>>(json)
            .unwrap()
            .into()
    }

    #[test]
    fn fields_unknown_to_the_server_are_none() {
        let json = r#"{"Servers":[
            {"ID":"a","Node":"(unknown)","Address":"1:1","Leader":false,"ProtocolVersion":"unknown","Voter":true},
            {"ID":"b","Node":"bob","Address":"2:2","Leader":true,"ProtocolVersion":"3","Voter":false,"LastIndex":7}
        ],"Index":9}"#;
        let bob = RaftServer::nonvoter("b", "2:2")
            .with_name("bob")
            .with_leader(true)
            .with_protocol_version("3")
            .with_last_index(7);
        let servers = [RaftServer::voter("a", "1:1"), bob];
        assert_eq!(read(json), RaftConfiguration::new(servers, 9));
    }

    #[test]
    fn null_stands_for_no_servers() {
        assert_eq!(
            read(r#"{"Servers":null,"Index":0}"#),
            RaftConfiguration::default()
        );
    }
}
