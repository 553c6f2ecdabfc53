//! Servers that reach each other over HTTP, and the client for programs, over sockets
//! on the loopback device.
#![cfg(all(feature = "client", feature = "peer-http", feature = "mock"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod consul;
mod delivery;
mod fleet;
mod golden;
mod limits;
mod operator;
#[allow(dead_code, reason = "the golden tests read more of a recording")]
#[path = "../golden/recording.rs"]
mod recording;
mod rotation;
mod routing;
#[path = "../envelopes/seal.rs"]
mod seal;
mod secrecy;
mod socket;
mod transport;
mod versions;

use std::time::Duration;

use cluster_operator::keyring::RelayFactor;
use cluster_operator::operation::{KeyringAction, KeyringScope};
use cluster_operator::peer_http::{AddressBook, HttpPeers};
use cluster_operator::peers::Target;
use cluster_operator::raft::{Consistency, LeaderHint, PeerSelector};
use cluster_operator::{
    GossipKey, Operation, OperatorError, OperatorReply, OperatorRequest, Peers,
};

use seal::{Sent, concluded, sealed};

/// A timeout that only a test that hangs reaches.
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
    let read = Operation::RaftConfiguration(Consistency::Default);
    OperatorRequest::new(read).in_datacenter("dc2")
}

fn write() -> OperatorRequest {
    let removal = Operation::RemovePeer {
        server: PeerSelector::Id("carol".into()),
        expected_index: None,
    };
    OperatorRequest::new(removal).in_datacenter("dc2")
}

fn install(key: GossipKey) -> OperatorRequest {
    OperatorRequest::new(Operation::Keyring {
        action: KeyringAction::Install(key),
        scope: KeyringScope::Federation,
        relay_factor: RelayFactor::default(),
    })
}

/// Returns peers that know these servers of dc2.
fn peers_of(uris: &[&str]) -> HttpPeers {
    let book = AddressBook::new().with_datacenter("dc2", uris.iter().copied());
    HttpPeers::new(book.unwrap())
}

async fn send(peers: &HttpPeers, request: OperatorRequest, timeout: Duration) -> Sent {
    peers.send(&dc2(), sealed(request).await, timeout).await
}

/// Returns the result of a server that forwards the request through the peers.
async fn ask(peers: &HttpPeers, request: OperatorRequest) -> Result<OperatorReply, OperatorError> {
    ask_within(peers, request, LONG).await
}

async fn ask_within(
    peers: &HttpPeers,
    request: OperatorRequest,
    timeout: Duration,
) -> Result<OperatorReply, OperatorError> {
    let sent = send(peers, request.clone(), timeout).await;
    concluded(request, sent).await
}
