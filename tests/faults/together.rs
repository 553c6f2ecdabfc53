//! Faults that are combined, faults during a call, and inconsistent ones.

use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::acl::{Access, AclError, Identity, Resource};
use cluster_operator::autopilot::AutopilotConfiguration;
use cluster_operator::keyring::GossipQuery;
use cluster_operator::mock::{Calls, Fault, MockClock, MockFederation, NodeFault};
use cluster_operator::operation::KeyringScope;
use cluster_operator::raft::Consistency;
use cluster_operator::{
    AclAuthorizer, AllowAll, GossipKey, KeyringBackend, Outcome, Pool, Timer, Token,
};
use futures_util::future::{Either, join, select};

use crate::rings::{lan, unconfirmed};
use crate::{
    SECOND, arrivals, builder, during, in_lima, is_late, is_unreachable, key, me, read, remove,
    world,
};

#[test]
fn change_never_sent_is_not_applied_and_has_no_report() {
    let (clock, federation) = world();
    federation.stop_datacenter("lima");
    let alice = federation.service("alice");
    let (reply, outcome) = unconfirmed(clock.run(alice.install_key(&me(), key())));
    let ring = lan(&reply, "lima");
    assert_eq!(ring.report, None);
    assert!(is_unreachable(ring.error.as_ref().unwrap()), "{ring:?}");
    assert_eq!(ring.outcome(), Outcome::NotApplied);
    // The others made the change.
    assert_eq!(lan(&reply, "berlin").outcome(), Outcome::Applied);
    assert_eq!(outcome, Outcome::Unknown);

    // A paused server asks nobody either, although time passes.
    let paused = federation.inject(Fault::pause("alice"));
    federation.restart_datacenter("lima");
    let other = GossipKey::from_bytes(&[8; 32]).unwrap();
    let error = clock.run(alice.install_key(&me(), other.clone()));
    let error = error.unwrap_err();
    assert!(is_late(&error), "{error}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(error.reply(), None);
    federation.heal(paused);
    clock.settle();
    for server in ["alice", "bob", "dave"] {
        assert!(!federation.keys(server, &Pool::Lan).contains(&other));
    }
    federation.stop_datacenter("lima");

    // If no node of any ring is asked, nothing has changed.
    federation.stop("alice");
    let (reply, outcome) = unconfirmed(clock.run(alice.install_key(&me(), key())));
    assert!(reply.rings.iter().all(|ring| ring.report.is_none()));
    assert_eq!(outcome, Outcome::NotApplied);
    let listed = clock.run(alice.list_keys(&me(), KeyringScope::Federation));
    let (reply, outcome) = unconfirmed(listed);
    assert_eq!((reply.rings.len(), outcome), (3, Outcome::NotApplied));
}

#[test]
fn silent_datacenter_drops_calls_in_transit_too() {
    let (clock, federation) = world();
    // Duplicates are dropped too.
    federation.inject(Fault::duplicate(Calls::all(), SECOND));
    let silence = federation.inject(Fault::silent_datacenter("lima"));
    let error = clock
        .run(remove(&federation, "bob", in_lima(), "frank"))
        .unwrap_err();
    assert!(is_late(&error));
    clock.settle();
    assert_eq!(federation.configuration("lima").servers.len(), 3);
    federation.heal(silence);

    // So are requests in transit.
    federation.inject(Fault::delay(Calls::all(), SECOND));
    let work = remove(&federation, "bob", in_lima(), "frank");
    let result = during(&clock, work, || {
        federation.inject(Fault::silent_datacenter("lima"));
    });
    assert!(is_late(&result.unwrap_err()));
    assert_eq!(federation.configuration("lima").servers.len(), 3);

    // Calls out of the datacenter work.
    clock
        .run(read(&federation, "dave", me().in_datacenter("berlin")))
        .unwrap();
}

#[test]
fn duplicate_request_is_delayed_as_well() {
    let delay = Fault::delay(Calls::all(), SECOND * 3);
    let twice = Fault::duplicate(Calls::all(), SECOND);
    for faults in [[delay.clone(), twice.clone()], [twice, delay]] {
        let (clock, federation) = world();
        for fault in faults {
            federation.inject(fault);
        }
        clock.run(read(&federation, "bob", in_lima())).unwrap();
        clock.settle();
        let mut arrivals = arrivals(&federation, "dave");
        arrivals.sort();
        assert_eq!(arrivals, [Some(SECOND * 3), Some(SECOND * 4)]);
    }
}

#[test]
fn healing_one_fault_leaves_its_equal_in_effect() {
    let (clock, federation) = world();
    let spent = federation.inject(Fault::lose_lead_at("berlin", 1));
    clock.run(read(&federation, "alice", me())).unwrap();
    assert_eq!(federation.leader("berlin"), Some("bob".into()));
    federation.inject(Fault::lose_lead_at("berlin", 1));
    federation.heal(spent);
    clock.run(read(&federation, "bob", me())).unwrap();
    assert_eq!(federation.leader("berlin"), Some("alice".into()));

    let first = federation.inject(Fault::fail_change("berlin", Outcome::NotApplied));
    federation.inject(Fault::fail_change("berlin", Outcome::Unknown));
    federation.heal(first);
    let error = clock.run(remove(&federation, "alice", me(), "carol"));
    assert_eq!(error.unwrap_err().outcome(), Outcome::Unknown);
    assert_eq!(federation.configuration("berlin").servers.len(), 2);
}

#[test]
fn removals_fail_in_the_order_of_their_faults() {
    let (clock, federation) = world();
    federation.inject(Fault::fail_change("berlin", Outcome::NotApplied));
    federation.inject(Fault::fail_change("berlin", Outcome::Unknown));
    let removal = || clock.run(remove(&federation, "alice", me(), "carol"));
    assert_eq!(removal().unwrap_err().outcome(), Outcome::NotApplied);
    assert_eq!(federation.configuration("berlin").servers.len(), 3);
    assert_eq!(removal().unwrap_err().outcome(), Outcome::Unknown);
    assert_eq!(federation.configuration("berlin").servers.len(), 2);
}

#[test]
fn server_paused_during_a_call_answers_once_resumed() {
    let (clock, federation) = world();
    federation.inject(Fault::slow_raft("lima", SECOND));
    let pause = async {
        clock.sleep(SECOND / 2).await;
        let paused = federation.inject(Fault::pause("dave"));
        clock.sleep(SECOND * 4).await;
        federation.heal(paused);
    };
    let (answer, ()) = clock.run(join(read(&federation, "bob", in_lima()), pause));
    assert_eq!(answer.unwrap().servers.len(), 3);
    // By then erin leads, and her Raft takes a second as well.
    assert_eq!(clock.now(), SECOND * 11 / 2);

    let answer = during(&clock, read(&federation, "bob", in_lima()), || {
        federation.inject(Fault::pause("dave"));
    });
    assert!(is_late(&answer.unwrap_err()));
}

#[test]
fn server_paused_during_forwarding_does_not_answer() {
    let (clock, federation) = world();
    federation.inject(Fault::delay(Calls::all(), SECOND));
    let result = during(&clock, read(&federation, "bob", me()), || {
        federation.inject(Fault::pause("bob"));
    });
    assert!(is_late(&result.unwrap_err()));
}

#[test]
fn server_stopped_during_a_call_reports_no_success() {
    let (clock, federation) = world();
    let slow = federation.inject(Fault::delay(Calls::all(), SECOND));
    let result = during(&clock, remove(&federation, "bob", me(), "bob"), || {
        federation.stop("bob");
    });
    let error = result.unwrap_err();
    assert!(is_unreachable(&error), "{error}");
    // The request was in transit.
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(federation.configuration("berlin").servers.len(), 2);
    federation.heal(slow);
    federation.restart("bob");

    // The ring has a report of the answers so far, and an error.
    let late = NodeFault::Late(SECOND);
    federation.inject(Fault::node("carol", Pool::Lan, late));
    let alice = federation.service("alice");
    let list = async { alice.list_keys(&me(), KeyringScope::LocalOnly).await };
    let reply = during(&clock, list, || federation.stop("alice")).unwrap();
    let ring = &reply.rings[0];
    let error = ring.error.as_ref().unwrap();
    assert!(is_unreachable(error));
    assert_eq!(error.outcome(), Outcome::NotApplied);
    let report = ring.report.as_ref().unwrap();
    assert!((2..=3).contains(&report.responses), "{report:?}");
    federation.restart("alice");

    let install = async { alice.install_key(&me(), key()).await };
    let (reply, outcome) = unconfirmed(during(&clock, install, || federation.stop("alice")));
    assert_eq!(outcome, Outcome::Unknown);
    let ring = lan(&reply, "berlin");
    assert!(is_unreachable(ring.error.as_ref().unwrap()));
    assert_eq!(ring.outcome(), Outcome::Unknown);
    assert!(ring.report.is_some());
    assert!(federation.keys("bob", &Pool::Lan).contains(&key()));
}

#[test]
fn server_that_gossip_reports_dead_gets_no_remote_calls() {
    let clock = MockClock::new();
    for (notices, answers) in [(true, true), (false, false)] {
        let federation = builder(&clock).notices_failures(notices).build();
        federation.inject(Fault::pause("dave"));
        let answer = clock.run(read(&federation, "bob", in_lima()));
        assert_eq!(answer.is_ok(), answers);
        assert_eq!(federation.handed_to("dave") == 0, answers);
    }
}

#[test]
fn pause_works_with_a_replaced_authorizer() {
    let clock = MockClock::new();
    let federation = builder(&clock)
        .service_options(|service| service.authorizer(AllowAll))
        .build();
    federation.inject(Fault::pause("alice"));
    let alice = federation.service("alice");
    let error = clock
        .run(alice.raft_configuration(&me(), Consistency::Stale))
        .unwrap_err();
    assert!(is_late(&error), "{error}");
}

#[test]
fn paused_server_reports_no_rings() {
    let (clock, federation) = world();
    federation.inject(Fault::pause("alice"));
    let alice = federation.keyring("alice", &Pool::Lan);
    let query = GossipQuery::new(SECOND * 60);
    let answer = clock.run(select(alice.list(&query), clock.sleep(SECOND)));
    assert!(matches!(answer, Either::Right(_)));
    assert_eq!(query.answers.report(), None);
}

#[test]
fn server_paused_while_authorizing_does_not_deny() {
    /// Denies after a second.
    struct Slow(MockClock);

    #[async_trait]
    impl AclAuthorizer for Slow {
        async fn authorize(
            &self,
            _: Option<&Token>,
            _: Resource,
            _: Access,
        ) -> Result<Identity, AclError> {
            self.0.sleep(SECOND).await;
            Err(AclError::UnknownToken)
        }
    }

    let clock = MockClock::new();
    let federation = builder(&clock).authorizer(Slow(clock.clone())).build();
    let error = during(&clock, read(&federation, "alice", me()), || {
        federation.inject(Fault::pause("alice"));
    });
    assert!(is_late(&error.unwrap_err()));
}

#[test]
fn every_call_of_a_slow_raft_is_slow() {
    let (clock, federation) = world();
    let alice = federation.service("alice");
    federation.inject(Fault::slow_raft("berlin", SECOND));
    let took = |begun: Duration| clock.now() - begun;
    // One second for the view with the leader, and one for autopilot.
    let begun = clock.now();
    clock.run(alice.autopilot_configuration(&me())).unwrap();
    assert_eq!(took(begun), SECOND * 2);
    let begun = clock.now();
    let rules = AutopilotConfiguration::default();
    clock
        .run(alice.set_autopilot_configuration(&me(), rules, None))
        .unwrap();
    // It is read before it is set, since a part of it may have to stay.
    assert_eq!(took(begun), SECOND * 3);
    let begun = clock.now();
    clock.run(alice.autopilot_state(&me())).unwrap();
    assert_eq!(took(begun), SECOND * 2);

    // Delays add up, as those of calls do.
    federation.inject(Fault::slow_raft("berlin", SECOND * 2));
    let begun = clock.now();
    clock.run(read(&federation, "alice", me())).unwrap();
    assert_eq!(took(begun), SECOND * 3);
}

#[test]
fn latest_fault_of_a_node_counts() {
    let (clock, federation) = world();
    federation.inject(Fault::node("carol", Pool::Lan, NodeFault::Silent));
    let later = federation.inject(Fault::node("carol", Pool::Lan, NodeFault::Refuses));
    let install = || {
        let bob = federation.service("bob");
        let result = clock.run(async { bob.install_key(&me(), key()).await });
        let (reply, _) = unconfirmed(result);
        let report = reply.rings[1].report.as_ref().unwrap();
        report.failure().unwrap().to_string()
    };
    assert_eq!(install(), "1/3 nodes reported failure");
    federation.heal(later);
    assert_eq!(install(), "2/3 nodes reported success");
}

#[test]
fn service_without_its_federation_reports_every_datacenter() {
    let (clock, federation) = world();
    let bob = federation.service("bob");
    drop(federation);
    let reply = clock
        .run(bob.list_keys(&me(), KeyringScope::Federation))
        .unwrap();
    assert_eq!(reply.rings.len(), 3);
    let error = reply.rings[2].error.as_ref().unwrap();
    assert!(
        error
            .to_string()
            .contains("keep it as long as its services"),
        "{error}"
    );
    let error = clock
        .run(bob.raft_configuration(&in_lima(), Consistency::Default))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("keep it as long as its services"),
        "{error}"
    );
}

#[test]
fn transcript_shows_what_the_test_did() {
    let (_, federation) = world();
    federation.stop("bob");
    federation.restart("bob");
    federation.restart("bob");
    federation.elect("carol");
    federation.stop_datacenter("lima");
    assert_eq!(
        federation.transcript().to_string(),
        "0.000s ** bob is stopped\n\
         0.000s ** bob is restarted\n\
         0.000s ** carol is elected\n\
         0.000s ** dave is stopped\n\
         0.000s ** erin is stopped\n\
         0.000s ** frank is stopped\n"
    );
}

#[test]
fn fault_of_another_federation_is_not_healed() {
    let ((_, one), (_, other)) = (world(), world());
    one.inject(Fault::stop("carol"));
    let theirs = other.inject(Fault::stop("carol"));
    one.heal(theirs);
    assert!(!one.is_up("carol"));
}

/// The panic of a misuse.
fn refusal(misuse: impl FnOnce(&MockFederation) + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(|| misuse(&world().1)).unwrap_err();
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().unwrap().to_string(),
    }
}

#[test]
fn inconsistent_fault_panics() {
    assert_eq!(
        refusal(|_| drop(Calls::all().nth(0))),
        "calls are counted from 1"
    );
    assert_eq!(
        refusal(|_| drop(Fault::lose_lead_at("berlin", 0))),
        "calls are counted from 1"
    );
    assert_eq!(
        refusal(|_| drop(Calls::all().one_in(0))),
        "one call in 0 is none"
    );
    let both = refusal(|it| {
        it.inject(Fault::partition(["alice"], ["alice", "bob"]));
    });
    assert_eq!(both, "\"alice\" is on both sides of a partition");
    let abroad = refusal(|it| {
        it.inject(Fault::stale_hint("alice", "dave"));
    });
    assert_eq!(
        abroad,
        "\"alice\" and \"dave\" are servers of different datacenters"
    );
}
