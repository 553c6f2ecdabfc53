//! What observers are told of an operation, and how they show it.
#![cfg(all(feature = "mock", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(all(feature = "metrics", feature = "http"))]
mod metrics;
mod stories;
#[cfg(feature = "tracing")]
mod tracing;

use std::sync::{Arc, Mutex};

use cluster_operator::acl::{AccessorId, DefaultPolicy, Resource};
use cluster_operator::mock::{
    Grant, MockAcl, MockClock, MockFederation, MockFederationBuilder, MockToken,
};
use cluster_operator::operation::RequestId;
use cluster_operator::raft::PeerSelector;
use cluster_operator::{GossipKey, Operation, OperatorRequest, Token};

/// Two datacenters, and tokens that may read or do everything. Bob leads the first one.
fn federation(clock: &MockClock) -> MockFederationBuilder {
    let reader = MockToken::new("reader-secret")
        .with(Resource::Operator, Grant::Read)
        .with_accessor(AccessorId::new("reader"));
    let writer = MockToken::management("writer-secret").with_accessor(AccessorId::new("writer"));
    let acl = MockAcl::new(DefaultPolicy::Deny);
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .datacenter("dc2", ["dave"])
        .leader("bob")
        .authorizer(acl.with_token(reader).with_token(writer))
        .clock(clock)
}

/// Lines that a test compares.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// Returns the lines so far, and forgets them.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn removal(server: &str) -> OperatorRequest {
    let id = "story-1".parse::<RequestId>().unwrap();
    OperatorRequest::new(Operation::RemovePeer {
        server: PeerSelector::Id(server.into()),
        expected_index: None,
    })
    .with_request_id(id)
}

fn replacement(server: &str, with: &str) -> OperatorRequest {
    let mut request = removal(server);
    request.operation = Operation::ReplacePeer {
        id: server.into(),
        with: with.into(),
    };
    request
}

fn by(token: &str, request: OperatorRequest) -> OperatorRequest {
    request.with_token(Token::new(token))
}

fn id_of(federation: &MockFederation, server: &str) -> String {
    federation.raft(server).id().to_string()
}

fn key() -> GossipKey {
    GossipKey::from_bytes(&[2; 32]).unwrap()
}
