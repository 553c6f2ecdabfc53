//! The Raft configuration, as it comes over the wire.

use serde::Deserialize;

use super::ring::or_null;
use crate::name::{NodeName, ProtocolVersion, ServerAddress, ServerId};
use crate::raft::{RaftConfiguration, RaftServer};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> RaftConfiguration {
        serde_json::from_str::<Configuration>(json).unwrap().into()
    }

    #[test]
    fn what_the_server_does_not_know_is_none() {
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
    fn no_servers_may_be_null() {
        assert_eq!(
            read(r#"{"Servers":null,"Index":0}"#),
            RaftConfiguration::default()
        );
    }
}
