//! Each fault of the simulated federation, alone and combined.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alone;
mod rings;
mod together;

use std::time::Duration;

use cluster_operator::mock::{MockClock, MockFederation, MockFederationBuilder};
use cluster_operator::raft::{Consistency, PeerSelector, RaftConfiguration};
use cluster_operator::service::Caller;
use cluster_operator::{ErrorKind, GossipKey, OperatorError, Timer};
use futures_util::future::join;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn builder(clock: &MockClock) -> MockFederationBuilder {
    MockFederation::builder()
        .datacenter("berlin", ["alice", "bob", "carol"])
        .datacenter("lima", ["dave", "erin", "frank"])
        .clock(clock)
}

pub(crate) fn world() -> (MockClock, MockFederation) {
    let clock = MockClock::new();
    let federation = builder(&clock).build();
    (clock, federation)
}

pub(crate) fn me() -> Caller {
    Caller::anonymous()
}

pub(crate) fn in_lima() -> Caller {
    me().in_datacenter("lima")
}

pub(crate) fn key() -> GossipKey {
    GossipKey::from_bytes(&[7; 32]).unwrap()
}

fn id(federation: &MockFederation, server: &str) -> PeerSelector {
    PeerSelector::Id(federation.raft(server).id().clone())
}

pub(crate) async fn read(
    federation: &MockFederation,
    at: &str,
    caller: Caller,
) -> Result<RaftConfiguration, OperatorError> {
    let service = federation.service(at);
    service
        .raft_configuration(&caller, Consistency::Default)
        .await
}

pub(crate) async fn remove(
    federation: &MockFederation,
    at: &str,
    caller: Caller,
    server: &str,
) -> Result<(), OperatorError> {
    let service = federation.service(at);
    service
        .remove_peer(&caller, id(federation, server), None)
        .await
}

/// Runs a future, with an event half a second later.
pub(crate) fn during<T>(
    clock: &MockClock,
    work: impl Future<Output = T>,
    event: impl FnOnce(),
) -> T {
    let later = async {
        clock.sleep(SECOND / 2).await;
        event();
    };
    clock.run(join(work, later)).0
}

pub(crate) fn is_late(error: &OperatorError) -> bool {
    matches!(error.kind(), ErrorKind::DeadlineExceeded { .. })
}

pub(crate) fn is_unreachable(error: &OperatorError) -> bool {
    matches!(error.kind(), ErrorKind::Unreachable { .. })
}

/// When each call to a server arrived.
pub(crate) fn arrivals(federation: &MockFederation, server: &str) -> Vec<Option<Duration>> {
    let transcript = federation.transcript();
    let calls = transcript.calls_to(server);
    calls.map(|call| call.arrived).collect()
}
