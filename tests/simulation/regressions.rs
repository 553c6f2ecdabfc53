//! Failures that seeds have found, each as the shortest test that shows it.

use cluster_operator::mock::{Calls, Fault, MockFederation};
use cluster_operator::raft::PeerSelector;
use cluster_operator::{Operation, OperatorRequest, Outcome};

/// A list of rings was accepted as the answer to a removal, and HTTP reported
/// success.
#[test]
fn answer_to_another_request_is_no_success() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .build();
    federation.inject(Fault::garble(Calls::all()));
    let ask = |operation| {
        let bob = federation.service("bob");
        futures_executor::block_on(bob.call(OperatorRequest::new(operation)))
    };
    let carol = PeerSelector::Id(federation.raft("carol").id().clone());
    let removal = Operation::RemovePeer {
        server: carol,
        expected_index: None,
    };
    let error = ask(removal).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    let read = Operation::RaftConfiguration(Default::default());
    let error = ask(read).unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
}
