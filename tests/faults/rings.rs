//! Faults of gossip nodes, and what the report of their ring says.

use cluster_operator::keyring::RingReport;
use cluster_operator::mock::{Calls, Fault, NodeFault};
use cluster_operator::operation::{KeyringReply, KeyringScope, RingOutcome};
use cluster_operator::{NodeName, OperatorError, Outcome, Pool};

use crate::{SECOND, is_late, key, me, world};

/// The reply to a change that some ring did not confirm.
#[track_caller]
pub(crate) fn unconfirmed(result: Result<KeyringReply, OperatorError>) -> (KeyringReply, Outcome) {
    let error = result.expect_err("some ring has not confirmed it");
    assert_eq!(error.kind().name(), "rings-failed", "{error}");
    let outcome = error.outcome();
    (error.into_reply().unwrap(), outcome)
}

/// The LAN ring of a datacenter.
#[track_caller]
pub(crate) fn lan<'a>(reply: &'a KeyringReply, datacenter: &str) -> &'a RingOutcome {
    let mut rings = reply.rings.iter();
    let lan = rings.find(|ring| ring.datacenter == datacenter && ring.pool == Pool::Lan);
    lan.unwrap_or_else(|| panic!("the ring of {datacenter} is missing: {reply:?}"))
}

/// Asserts that two of three nodes answered, and that this one did not.
#[track_caller]
fn assert_misses(report: Option<&RingReport>, late: &str) {
    let report = report.expect("the answers so far are reported");
    assert_eq!((report.nodes, report.responses, report.errors), (3, 2, 0));
    assert_eq!(report.silent, [late]);
}

/// The late server and its datacenter. Alice is asked.
const LATE: [(&str, &str); 2] = [("carol", "berlin"), ("frank", "lima")];

#[test]
fn change_that_a_late_node_misses_is_unknown() {
    for (late, place) in LATE {
        let (clock, federation) = world();
        let fault = NodeFault::Late(SECOND * 6);
        federation.inject(Fault::node(late, Pool::Lan, fault));
        federation.inject(Fault::delay(Calls::all(), SECOND / 4));
        let alice = federation.service("alice");
        let (reply, outcome) = unconfirmed(clock.run(alice.install_key(&me(), key())));
        assert!(clock.now() <= SECOND * 5, "{:?}", clock.now());
        assert_eq!(outcome, Outcome::Unknown);
        assert_eq!(reply.rings.len(), 3);
        let ring = lan(&reply, place);
        assert_misses(ring.report.as_ref(), late);
        assert!(ring.error.as_ref().is_none_or(is_late), "{ring:?}");
        assert_eq!(ring.outcome(), Outcome::Unknown);
        // The other rings are confirmed.
        let mut others = reply.rings.iter().filter(|other| *other != ring);
        assert!(others.all(RingOutcome::is_confirmed), "{reply:?}");

        // The late node makes the change although nobody waits any more.
        for server in federation.servers(place) {
            let has_it = federation.keys(server.clone(), &Pool::Lan).contains(&key());
            assert_eq!(has_it, server != late, "{server}");
        }
        clock.advance(SECOND * 60);
        assert!(federation.keys(late, &Pool::Lan).contains(&key()));
        let transcript = federation.transcript();
        let mut calls = transcript.calls_to(late);
        let call = calls.find(|call| call.pool == Some(Pool::Lan)).unwrap();
        assert_eq!(call.ended, Some(call.at + SECOND * 6), "{call}");
    }
}

#[test]
fn listing_that_a_late_node_misses_shows_the_keys_of_the_rest() {
    for (late, place) in LATE {
        let (clock, federation) = world();
        let fault = NodeFault::Late(SECOND * 6);
        federation.inject(Fault::node(late, Pool::Lan, fault));
        let alice = federation.service("alice");
        let listed = clock.run(alice.list_keys(&me(), KeyringScope::Federation));
        let reply = listed.unwrap();
        let ring = lan(&reply, place);
        assert_misses(ring.report.as_ref(), late);
        assert!(ring.error.as_ref().is_none_or(is_late), "{ring:?}");
        assert!(!ring.is_confirmed());
        let (held, count) = ring.report.as_ref().unwrap().keys.iter().next().unwrap();
        assert_eq!(
            federation.keys("alice", &Pool::Lan),
            std::slice::from_ref(held)
        );
        assert_eq!(count, 2);
    }
}

#[test]
fn late_node_does_not_hide_anothers_refusal() {
    let (clock, federation) = world();
    let fault = NodeFault::Late(SECOND * 6);
    federation.inject(Fault::node("carol", Pool::Lan, fault));
    federation.inject(Fault::node("bob", Pool::Lan, NodeFault::Refuses));
    let alice = federation.service("alice");
    let (reply, outcome) = unconfirmed(clock.run(alice.install_key(&me(), key())));
    assert_eq!(outcome, Outcome::Unknown);
    let report = lan(&reply, "berlin").report.as_ref().unwrap();
    assert_eq!((report.responses, report.errors), (2, 1));
    assert_eq!(report.silent, ["carol"]);
    let failed: Vec<_> = report.failures().map(|(node, _)| node.clone()).collect();
    assert_eq!(failed, [NodeName::from("bob")]);
}
