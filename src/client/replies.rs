//! Replies as they come over HTTP.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::error::Outcome;
use crate::keyring::{KeyCounts, Pool};
use crate::raft::{RaftConfiguration, RaftServer};
use crate::types::{
    DatacenterName, NodeName, ProtocolVersion, SegmentName, ServerAddress, ServerId,
};

/// One ring as a server lists it over HTTP.
///
/// It has less than a [`RingReport`](crate::RingReport): how many nodes failed is
/// there only as text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Listed")]
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
    /// What went wrong in this ring. Only [`Precise`](crate::consul::Dialect::Precise)
    /// servers say it for each ring.
    pub error: Option<String>,
    /// The outcome of a change that failed in this ring.
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
    #[serde(default, deserialize_with = "or_null")]
    silent: Vec<NodeName>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    outcome: Option<String>,
}

impl From<Listed> for RingListing {
    fn from(listed: Listed) -> Self {
        RingListing {
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
            silent: listed.silent,
            error: listed.error.filter(|error| !error.is_empty()),
            outcome: listed.outcome.as_deref().map(outcome),
        }
    }
}

/// The outcome with this name; unknown if a newer server has made up another one.
pub(super) fn outcome(name: &str) -> Outcome {
    Outcome::from_name(name).unwrap_or(Outcome::Unknown)
}

/// The Raft configuration.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Configuration {
    #[serde(deserialize_with = "or_null")]
    servers: Vec<Server>,
    index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    #[serde(rename = "ID")]
    id: ServerId,
    node: NodeName,
    address: ServerAddress,
    leader: bool,
    voter: bool,
    #[serde(default)]
    protocol_version: Option<ProtocolVersion>,
    #[serde(default)]
    last_index: Option<u64>,
}

impl From<Configuration> for RaftConfiguration {
    fn from(configuration: Configuration) -> Self {
        RaftConfiguration {
            servers: configuration.servers.into_iter().map(server).collect(),
            index: configuration.index,
        }
    }
}

fn server(server: Server) -> RaftServer {
    let read = if server.voter {
        RaftServer::voter(server.id, server.address)
    } else {
        RaftServer::nonvoter(server.id, server.address)
    };
    RaftServer {
        // What Consul writes for what it does not know.
        name: Some(server.node).filter(|name| *name != "(unknown)"),
        protocol_version: server
            .protocol_version
            .filter(|version| *version != "unknown" && *version != ""),
        last_index: server.last_index,
        ..read.with_leader(server.leader)
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
        serde_json::from_str::<Configuration>(json).unwrap().into()
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
        let servers = vec![RaftServer::voter("a", "1:1"), bob];
        assert_eq!(read(json), RaftConfiguration { servers, index: 9 });
    }

    #[test]
    fn null_stands_for_no_servers() {
        assert_eq!(
            read(r#"{"Servers":null,"Index":0}"#),
            RaftConfiguration::default()
        );
    }
}
