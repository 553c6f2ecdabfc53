//! The service in a simulated federation: which server executes an operation, what
//! is forwarded, and what a failure leaves of the other results. No test sleeps to
//! wait for something.
#![cfg(all(feature = "mock", feature = "tokio"))]
#![allow(clippy::unwrap_used)]

mod access;
mod autopilot;
mod building;
mod keyring;
mod leadership;
mod plans;
mod removal;
mod routing;
mod time;

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::acl::{Access, AclError, DefaultPolicy, Identity, Resource};
use cluster_operator::autopilot::{AutopilotBackend, AutopilotConfiguration, AutopilotState};
use cluster_operator::keyring::{
    GossipQuery, KeyChange, NodeFailure, NodeKeys, NodeMessage, RelayFactor, RingReport,
};
use cluster_operator::mock::{
    Fault, Grant, MockAcl, MockFederation, MockFederationBuilder, MockKeyring, MockPeers, MockRaft,
    MockToken,
};
use cluster_operator::operation::{
    KeyringAction, KeyringReply, KeyringScope, RequestId, RingOutcome,
};
use cluster_operator::peers::Target;
use cluster_operator::raft::{
    Change, ChangeKind, ConfigVersion, Consistency, LeaderHint, PeerSelector, QuorumGuard,
    RaftConfiguration, RaftServer, RaftView,
};
use cluster_operator::service::{BuildError, Caller};
use cluster_operator::{
    AclAuthorizer, AllowAll, ErrorKind, GossipKey, KeyringBackend, NodeName, Operation,
    OperatorError, OperatorReply, OperatorRequest, OperatorService, Outcome, Pool, RaftBackend,
    ServerId, Token,
};
use tokio::time::Instant;

/// The first key of a federation.
fn first_key() -> GossipKey {
    GossipKey::from_bytes(&[1; 16]).unwrap()
}

fn new_key() -> GossipKey {
    GossipKey::from_bytes(&[2; 32]).unwrap()
}

fn anyone() -> Caller {
    Caller::anonymous()
}

fn id_of(federation: &MockFederation, server: &str) -> PeerSelector {
    PeerSelector::Id(federation.raft(server).id().clone())
}

fn three_and_one() -> MockFederation {
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .datacenter("dc2", ["dave"])
        .build()
}

fn server(name: &str) -> Target {
    Target::Server(LeaderHint {
        id: name.into(),
        address: name.into(),
    })
}

fn datacenter(name: &str) -> Target {
    Target::Datacenter(name.into())
}

async fn configuration(
    service: &OperatorService,
    caller: Caller,
    consistency: Consistency,
) -> Result<RaftConfiguration, OperatorError> {
    service.raft_configuration(&caller, consistency).await
}

/// The rings of a reply as `datacenter (pool)`.
fn rings(reply: &KeyringReply) -> Vec<String> {
    let rings = reply.rings.iter();
    rings
        .map(|ring| format!("{} ({})", ring.datacenter, ring.pool))
        .collect()
}

fn ring<'a>(reply: &'a KeyringReply, datacenter: &str, pool: Pool) -> &'a RingOutcome {
    let mut rings = reply.rings.iter();
    rings
        .find(|ring| ring.datacenter == datacenter && ring.pool == pool)
        .unwrap()
}
