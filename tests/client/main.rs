//! Servers that reach each other over HTTP, and the client for programs, over
//! real sockets on the loopback device.
#![cfg(all(feature = "client", feature = "mock"))]
// A test is over where something is not as it has to be.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "conformance")]
mod conformance;
mod delivery;
mod fleet;
mod golden;
mod limits;
mod operator;
#[allow(dead_code, reason = "the golden tests read more of a recording")]
#[path = "../golden/recording.rs"]
mod recording;
mod routing;
mod secrecy;
mod socket;
mod transport;

use std::time::Duration;

use cluster_operator::client::{AddressBook, HttpPeers};
use cluster_operator::{
    Consistency, GossipKey, KeyringAction, KeyringScope, LeaderHint, Operation, OperatorError,
    OperatorReply, OperatorRequest, PeerSelector, Peers, RelayFactor, Target,
};

/// Far longer than anything takes, so that only a test that hangs meets it.
const LONG: Duration = Duration::from_secs(60);

const SECRET: &str = "3f8a0c6e51d94b7e9a2c77d0";

fn key(byte: u8) -> GossipKey {
    GossipKey::from_bytes(&[byte; 32]).unwrap()
}

fn dc2() -> Target {
    Target::Datacenter("dc2".into())
}

fn leader(id: &str) -> Target {
    Target::Server(LeaderHint {
        id: id.into(),
        address: "10.0.0.1:8300".into(),
    })
}

fn read() -> OperatorRequest {
    OperatorRequest::new(Operation::RaftConfiguration(Consistency::Default))
}

fn write() -> OperatorRequest {
    OperatorRequest::new(Operation::RemovePeer {
        server: PeerSelector::Id("carol".into()),
        expected_index: None,
    })
}

fn install(key: GossipKey) -> OperatorRequest {
    OperatorRequest::new(Operation::Keyring {
        action: KeyringAction::Install(key),
        scope: KeyringScope::Remote,
        relay_factor: RelayFactor::default(),
    })
}

/// Peers of a dc2 with these servers.
fn peers_of(uris: &[&str]) -> HttpPeers {
    let book = AddressBook::new().with_datacenter("dc2", uris.iter().copied());
    HttpPeers::new(book.unwrap())
}

async fn ask(peers: &HttpPeers, request: OperatorRequest) -> Result<OperatorReply, OperatorError> {
    peers.send(&dc2(), request, LONG).await
}
