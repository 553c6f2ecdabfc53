//! Each fault alone.

use std::time::Duration;

use cluster_operator::acl::DefaultPolicy;
use cluster_operator::mock::{CallEnd, Calls, Fault, MockClock, MockFederation, NodeFault};
use cluster_operator::operation::KeyringScope;
use cluster_operator::raft::PendingChange;
use cluster_operator::{ErrorKind, OperatorError, Outcome, Pool, RaftBackend};

use crate::{SECOND, builder, during, in_lima, is_late, is_unreachable, me, read, remove, world};

#[test]
fn partition_stops_calls_raft_and_gossip() {
    let (clock, federation) = world();
    federation.inject(Fault::partition(["bob"], ["alice", "carol"]));
    let nodes = |server: &str| {
        let ring = federation.keyring(server, &Pool::Lan);
        ring.members().len()
    };
    assert_eq!((nodes("alice"), nodes("bob")), (2, 1));
    let error = clock.run(read(&federation, "bob", me())).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::NoLeader);

    // Only alice still reaches dave.
    federation.inject(Fault::partition(["bob"], ["dave", "erin", "frank"]));
    assert!(is_late(
        &clock.run(read(&federation, "bob", in_lima())).unwrap_err()
    ));
    clock.run(read(&federation, "alice", in_lima())).unwrap();

    federation.heal_all();
    assert_eq!((nodes("alice"), nodes("bob")), (3, 3));
    clock.run(read(&federation, "bob", me())).unwrap();
}

#[test]
fn partition_during_a_call_loses_the_answer() {
    let (clock, federation) = world();
    federation.inject(Fault::slow_raft("lima", SECOND));
    let removal = remove(&federation, "bob", in_lima(), "frank");
    let result = during(&clock, removal, || {
        federation.inject(Fault::partition(["bob"], ["dave"]));
    });
    assert!(is_late(&result.unwrap_err()));
    assert_eq!(federation.configuration("lima").servers.len(), 2);
    let transcript = federation.transcript();
    let call = transcript.calls_to("dave").next().unwrap();
    assert_eq!(call.end, CallEnd::AnswerLost);
}

#[test]
fn fault_injected_twice_must_be_healed_twice() {
    let (_, federation) = world();
    let down = [(); 2].map(|()| federation.inject(Fault::stop("bob")));
    federation.heal(down[0]);
    assert!(!federation.is_up("bob"));
    // Healing the same fault again does nothing.
    federation.heal(down[0]);
    assert!(!federation.is_up("bob"));
    federation.heal(down[1]);
    assert!(federation.is_up("bob"));

    let votes = || federation.keyring("bob", &Pool::Lan).members().len();
    let paused = [(); 2].map(|()| federation.inject(Fault::pause("alice")));
    assert_eq!(votes(), 2);
    federation.heal(paused[0]);
    assert_eq!(votes(), 2);
    federation.heal(paused[1]);
    assert_eq!(votes(), 3);

    federation.inject(Fault::pause("alice"));
    assert!(federation.is_up("alice"));
    federation.stop("alice");
    assert!(!federation.is_up("alice"));
}

#[test]
fn stale_hint_sends_the_request_to_the_wrong_server() {
    let (clock, federation) = world();
    let misled = federation.inject(Fault::stale_hint("bob", "carol"));
    clock.run(read(&federation, "bob", me())).unwrap();
    assert_eq!(federation.handed_to("carol"), 1);
    federation.heal(misled);
    clock.run(read(&federation, "bob", me())).unwrap();
    assert_eq!(federation.handed_to("carol"), 1);
}

#[test]
fn fault_of_calls_affects_only_the_selected_calls() {
    let (clock, federation) = world();
    federation.inject(Fault::refuse(Calls::all().from("bob").to("alice")));
    assert!(is_unreachable(
        &clock.run(read(&federation, "bob", me())).unwrap_err()
    ));
    clock.run(read(&federation, "carol", me())).unwrap();
    clock.run(read(&federation, "bob", in_lima())).unwrap();
    federation.heal_all();

    // A fault of lima's Raft does not affect berlin's.
    federation.inject(Fault::slow_raft("lima", SECOND));
    clock.run(read(&federation, "bob", me())).unwrap();
    assert_eq!(clock.now(), Duration::ZERO);
}

#[test]
fn lost_reset_or_garbled_answer_follows_execution() {
    type Make = fn(Calls) -> Fault;
    type IsIt = fn(&OperatorError) -> bool;
    let faults: [(Make, IsIt); 3] = [
        (Fault::lose_answer, is_late),
        (Fault::reset, is_unreachable),
        (Fault::garble, |error| {
            matches!(error.kind(), ErrorKind::InvalidReply { .. })
        }),
    ];
    for (fault, is_it) in faults {
        let (clock, federation) = world();
        federation.inject(fault(Calls::all().to("dave")));
        let removal = remove(&federation, "bob", in_lima(), "frank");
        let error = clock.run(removal).unwrap_err();
        assert!(is_it(&error), "{error}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert_eq!(federation.configuration("lima").servers.len(), 2);
    }
}

#[test]
fn late_nodes_answer_at_their_own_times() {
    let (clock, federation) = world();
    for (server, seconds) in [("bob", 3), ("carol", 1)] {
        let late = NodeFault::Late(SECOND * seconds);
        federation.inject(Fault::node(server, Pool::Lan, late));
    }
    let alice = federation.service("alice");
    let reply = clock.run(alice.list_keys(&me(), KeyringScope::LocalOnly));
    assert!(reply.unwrap().rings[0].is_confirmed());
    assert_eq!(clock.now(), SECOND * 3);
    let transcript = federation.transcript();
    let ended = |node| transcript.calls_to(node).next().unwrap().ended;
    assert_eq!(
        (ended("bob"), ended("carol")),
        (Some(SECOND * 3), Some(SECOND))
    );
}

#[test]
fn leadership_can_be_lost_between_check_and_change() {
    let (clock, federation) = world();
    federation.inject(Fault::lose_lead_at("berlin", 2));
    clock.run(read(&federation, "alice", me())).unwrap();
    assert_eq!(federation.leader("berlin"), Some("alice".into()));
    clock
        .run(remove(&federation, "alice", me(), "carol"))
        .unwrap();
    assert_eq!(federation.leader("berlin"), Some("bob".into()));
}

#[test]
fn servers_of_another_wan_pool_are_not_used() {
    let clock = MockClock::new();
    let federation = builder(&clock)
        .wan_pools([["alice", "dave"], ["bob", "erin"]])
        .build();
    clock.run(read(&federation, "alice", in_lima())).unwrap();
    assert_eq!(federation.handed_to("dave"), 1);
    let error = clock
        .run(read(&federation, "carol", in_lima()))
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoPathToDatacenter { .. }));
    federation.stop("dave");
    assert!(is_unreachable(
        &clock
            .run(read(&federation, "alice", in_lima()))
            .unwrap_err()
    ));
    clock.run(read(&federation, "bob", in_lima())).unwrap();
}

#[test]
fn transcript_can_be_cleared_and_the_clock_advanced() {
    let (clock, federation) = world();
    assert_eq!(
        federation.service("bob").default_policy(),
        DefaultPolicy::Allow
    );
    clock.run(read(&federation, "bob", in_lima())).unwrap();
    assert_eq!(federation.transcript().calls().count(), 1);
    federation.clear_transcript();
    assert_eq!(federation.transcript().entries().count(), 0);
    clock.advance(SECOND);
    assert_eq!(clock.now(), SECOND);
}

fn outcome_of_removal(clock: &MockClock, federation: &MockFederation, server: &str) -> Outcome {
    let removal = remove(federation, "alice", me(), server);
    let result = clock.run(removal);
    result.map_or_else(|error| error.outcome(), |()| Outcome::Applied)
}

/// The number of servers in the configuration that a server knows.
fn known_servers(clock: &MockClock, federation: &MockFederation, at: &str) -> usize {
    let view = clock.run(federation.raft(at).view()).unwrap();
    view.membership.servers.len()
}

#[test]
fn removal_that_loses_a_voter_is_finished_once_it_is_back() {
    let (clock, federation) = world();
    let lost = federation.inject(Fault::lose_at_change("carol"));
    let outcome = outcome_of_removal(&clock, &federation, "bob");
    assert_eq!(outcome, Outcome::Unknown);
    assert_eq!(federation.leader("berlin"), None);
    assert_eq!(known_servers(&clock, &federation, "carol"), 3);
    federation.heal(lost);
    assert_eq!(federation.leader("berlin"), Some("alice".into()));
    assert_eq!(known_servers(&clock, &federation, "carol"), 2);
}

#[test]
fn removal_that_loses_the_leader_is_not_made() {
    let (clock, federation) = world();
    let lost = federation.inject(Fault::lose_at_change("alice"));
    let outcome = outcome_of_removal(&clock, &federation, "carol");
    assert_eq!(outcome, Outcome::Unknown);
    assert_eq!(federation.leader("berlin"), Some("bob".into()));
    federation.heal(lost);
    assert_eq!(known_servers(&clock, &federation, "alice"), 3);
    assert!(federation.raft("alice").changes().is_empty());
}

#[test]
fn removal_succeeds_if_the_removed_server_is_lost() {
    let (clock, federation) = world();
    federation.inject(Fault::lose_at_change("bob"));
    let outcome = outcome_of_removal(&clock, &federation, "bob");
    assert_eq!(outcome, Outcome::Applied);
    assert_eq!(known_servers(&clock, &federation, "bob"), 3);
}

#[test]
fn healing_an_uncommitted_removal_discards_it() {
    let (clock, federation) = world();
    let uncommitted = Fault::unfinished_removal("bob", PendingChange::Uncommitted);
    let uncommitted = federation.inject(uncommitted);
    let outcome = outcome_of_removal(&clock, &federation, "carol");
    assert_eq!(outcome, Outcome::NotApplied);
    federation.heal(uncommitted);
    let outcome = outcome_of_removal(&clock, &federation, "carol");
    assert_eq!(outcome, Outcome::Applied);
    assert_eq!(known_servers(&clock, &federation, "alice"), 2);
}
