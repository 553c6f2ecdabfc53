//! Where servers listen, as it is written in flags.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::cluster::{Node, NodeId, Ports};

/// Consul's port for HTTP.
pub const HTTP_PORT: u16 = 8500;

/// Consul's port for Raft. The ports for gossip follow it.
const RAFT_PORT: u16 = 8300;

/// Where a server listens: its address and its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(super) ip: IpAddr,
    pub(super) ports: Ports,
    pub(super) http: u16,
}

impl Place {
    /// Lays the ports out as Consul's are.
    fn with_raft_port(ip: IpAddr, raft: u16) -> Option<Self> {
        let ports = Ports {
            raft,
            lan: raft.checked_add(1)?,
            wan: raft.checked_add(2)?,
        };
        let http = raft.checked_add(HTTP_PORT - RAFT_PORT)?;
        Some(Place { ip, ports, http })
    }

    /// Returns the address with this port.
    pub(super) fn on(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }

    /// Returns the addresses on which a server listens here.
    pub(super) fn addresses(&self) -> [SocketAddr; 4] {
        let Ports { raft, lan, wan } = self.ports;
        [raft, lan, wan, self.http].map(|port| self.on(port))
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed =
            || format!("{text}: write ADDRESS, ADDRESS:PORT or ADDRESS:RAFT/LAN/WAN/HTTP");
        let too_large = || format!("{text}: the ports that follow are too large: write all four");
        if let Ok(ip) = text.parse() {
            return Place::with_raft_port(ip, RAFT_PORT).ok_or_else(too_large);
        }
        let mut parts = text.split('/');
        let first = parts.next().unwrap_or_default();
        let first: SocketAddr = first.parse().map_err(|_| malformed())?;
        let ports: Result<Vec<u16>, _> = parts.map(str::parse).collect();
        let place = match *ports.map_err(|_| malformed())? {
            [] => Place::with_raft_port(first.ip(), first.port()).ok_or_else(too_large)?,
            [lan, wan, http] => Place {
                ip: first.ip(),
                ports: Ports {
                    raft: first.port(),
                    lan,
                    wan,
                },
                http,
            },
            _ => return Err(malformed()),
        };
        // Other servers could not know which port the system has chosen.
        if place.addresses().iter().any(|address| address.port() == 0) {
            return Err(format!("{text}: write ports other than 0"));
        }
        Ok(place)
    }
}

/// A server's name, place, and number if it is not the position in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub(super) name: String,
    pub(super) id: Option<NodeId>,
    pub(super) place: Place,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, place) = text.split_once('=').ok_or("write NAME=SERVER")?;
        let (name, id) = match name.split_once(':') {
            None => (name, None),
            Some((name, id)) => match id.parse() {
                Ok(id) if id > 0 => (name, Some(id)),
                _ => return Err(format!("{id}: a server's number is 1 or larger")),
            },
        };
        if name.is_empty() {
            return Err("write NAME=SERVER".into());
        }
        Ok(Peer {
            name: name.into(),
            id,
            place: place.parse()?,
        })
    }
}

impl Peer {
    /// Returns its entry in the Raft configuration.
    pub(super) fn node(&self) -> Node {
        Node {
            name: self.name.clone(),
            raft: self.place.on(self.place.ports.raft),
            http: self.place.on(self.place.http),
            operator_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn addresses(place: &str) -> [String; 4] {
        let place: Place = place.parse().unwrap();
        place.addresses().map(|address| address.to_string())
    }

    #[test]
    fn ports_follow_the_raft_port_or_are_all_written() {
        let consul = [
            "127.0.0.1:8300",
            "127.0.0.1:8301",
            "127.0.0.1:8302",
            "127.0.0.1:8500",
        ];
        assert_eq!(addresses("127.0.0.1"), consul);
        assert_eq!(addresses("127.0.0.1:8300"), consul);
        let next = ["[::1]:8310", "[::1]:8311", "[::1]:8312", "[::1]:8510"];
        assert_eq!(addresses("[::1]:8310"), next);
        let all = ["[::1]:1", "[::1]:2", "[::1]:3", "[::1]:65535"];
        assert_eq!(addresses("[::1]:1/2/3/65535"), all);
        assert_eq!(addresses("127.0.0.1:65335")[3], "127.0.0.1:65535");
        for (malformed, text) in [
            ("", "write ADDRESS"),
            ("localhost", "write ADDRESS"),
            ("127.0.0.1:", "write ADDRESS"),
            ("127.0.0.1/1/2/3", "write ADDRESS"),
            ("127.0.0.1:1/2", "write ADDRESS"),
            ("127.0.0.1:1/2/3/4/5", "write ADDRESS"),
            ("127.0.0.1:1/2/3/65536", "write ADDRESS"),
            ("127.0.0.1:65336", "write all four"),
            ("127.0.0.1:0", "other than 0"),
            ("127.0.0.1:1/2/0/4", "other than 0"),
        ] {
            let error = malformed.parse::<Place>().unwrap_err();
            assert!(error.contains(text), "{malformed}: {error}");
        }
    }

    #[test]
    fn peer_without_name_or_number_is_refused() {
        for malformed in ["alice", "=127.0.0.1", ":1=127.0.0.1", "a:0=127.0.0.1"] {
            assert!(malformed.parse::<Peer>().is_err(), "{malformed}");
        }
        let peer: Peer = "alice:18446744073709551615=127.0.0.1".parse().unwrap();
        assert_eq!((peer.name.as_str(), peer.id), ("alice", Some(NodeId::MAX)));
    }
}
