//! Faults that meet, that come while there is work, and that make no sense.

use std::future::pending;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::mock::{Calls, Fault, MockClock, MockFederation, MockKeyring, NodeFault};
use cluster_operator::{
    Access, AclAuthorizer, AclError, AllowAll, AutopilotConfiguration, Consistency, GossipKey,
    GossipQuery, Identity, KeyChange, KeyringBackend, KeyringReply, KeyringScope, NodeName,
    OperatorError, OperatorService, Outcome, Pool, Resource, RingOutcome, RingReport, Timer, Token,
};
use futures_util::future::{Either, join, select};

use crate::{
    SECOND, arrivals, builder, during, in_lima, is_late, is_unreachable, key, me, read, remove,
    world,
};

/// The reply to a change that some ring did not confirm.
#[track_caller]
fn unconfirmed(result: Result<KeyringReply, OperatorError>) -> (KeyringReply, Outcome) {
    let error = result.expect_err("some ring has not confirmed it");
    assert_eq!(error.kind().name(), "rings-failed", "{error}");
    let outcome = error.outcome();
    (error.into_reply().unwrap(), outcome)
}

/// The ring of this datacenter's LAN.
#[track_caller]
fn lan<'a>(reply: &'a KeyringReply, datacenter: &str) -> &'a RingOutcome {
    let mut rings = reply.rings.iter();
    let lan = rings.find(|ring| ring.datacenter == datacenter && ring.pool == Pool::Lan);
    lan.unwrap_or_else(|| panic!("the ring of {datacenter} is not told: {reply:?}"))
}

/// Asserts that two of three nodes have answered, and that this one has not.
#[track_caller]
fn assert_misses(report: Option<&RingReport>, late: &str) {
    let report = report.expect("those that have answered are told");
    assert_eq!((report.nodes, report.responses, report.errors), (3, 2, 0));
    assert_eq!(report.silent, [late]);
}

/// The servers of which one is late in these tests, and its datacenter; alice is
/// asked.
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
        // Nobody else is less sure for that.
        let mut others = reply.rings.iter().filter(|other| *other != ring);
        assert!(others.all(RingOutcome::is_confirmed), "{reply:?}");

        // It does what it was asked, though nobody waits any more.
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
fn late_node_hides_no_refusal_of_another() {
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

/// A pool that takes longer than there is, whatever it has collected by then.
#[test]
fn pool_that_is_given_up_tells_what_it_has_collected() {
    /// Asks alice and bob, of whom alice answers at once, and never returns.
    struct Endless(MockKeyring);

    #[async_trait]
    impl KeyringBackend for Endless {
        fn pool(&self) -> &Pool {
            self.0.pool()
        }

        async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
            self.0.list(query).await?;
            pending().await
        }

        async fn change(
            &self,
            change: &KeyChange,
            query: &GossipQuery,
        ) -> Result<(), OperatorError> {
            self.0.change(change, query).await?;
            pending().await
        }
    }

    let clock = MockClock::new();
    let old = GossipKey::from_bytes(&[1; 16]).unwrap();
    let ring = MockKeyring::new(Pool::Lan, old.clone(), ["alice", "bob"]);
    ring.stop("bob");
    let service = OperatorService::builder("berlin")
        .timer(clock.clone())
        .keyring(Endless(ring))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let (reply, outcome) = unconfirmed(clock.run(service.install_key(&me(), key())));
    assert_eq!(outcome, Outcome::Unknown);
    let ring = lan(&reply, "berlin");
    let report = ring.report.as_ref().unwrap();
    assert_eq!((report.nodes, report.responses), (2, 1));
    assert_eq!(report.silent, ["bob"]);
    assert!(is_late(ring.error.as_ref().unwrap()));
    assert_eq!(clock.now(), SECOND * 5);

    let listed = clock.run(service.list_keys(&me(), KeyringScope::Federation));
    let reply = listed.unwrap();
    let ring = lan(&reply, "berlin");
    assert!(is_late(ring.error.as_ref().unwrap()));
    assert_eq!(ring.report.as_ref().unwrap().keys.get(&old), 1);
}

#[test]
fn server_that_is_never_asked_has_not_changed_and_no_report() {
    let (clock, federation) = world();
    federation.stop_datacenter("lima");
    let alice = federation.service("alice");
    let (reply, outcome) = unconfirmed(clock.run(alice.install_key(&me(), key())));
    let ring = lan(&reply, "lima");
    assert_eq!(ring.report, None);
    assert!(is_unreachable(ring.error.as_ref().unwrap()), "{ring:?}");
    assert_eq!(ring.outcome(), Outcome::NotApplied);
    // The others have done it.
    assert_eq!(lan(&reply, "berlin").outcome(), Outcome::Applied);
    assert_eq!(outcome, Outcome::Unknown);

    // Nor has a paused server asked anybody, although time has passed.
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

    // Where nobody is asked at all, nothing has changed.
    federation.stop("alice");
    let (reply, outcome) = unconfirmed(clock.run(alice.install_key(&me(), key())));
    assert!(reply.rings.iter().all(|ring| ring.report.is_none()));
    assert_eq!(outcome, Outcome::NotApplied);
    let listed = clock.run(alice.list_keys(&me(), KeyringScope::Federation));
    let (reply, outcome) = unconfirmed(listed);
    assert_eq!((reply.rings.len(), outcome), (3, Outcome::NotApplied));
}

#[test]
fn nothing_arrives_in_a_silent_datacenter_whenever_it_was_sent() {
    let (clock, federation) = world();
    // What comes a second time is no exception.
    federation.inject(Fault::duplicate(Calls::all(), SECOND));
    let silence = federation.inject(Fault::silent_datacenter("lima"));
    let error = clock
        .run(remove(&federation, "bob", in_lima(), "frank"))
        .unwrap_err();
    assert!(is_late(&error));
    clock.settle();
    assert_eq!(federation.configuration("lima").servers.len(), 3);
    federation.heal(silence);

    // Nor is what is on its way already.
    federation.inject(Fault::delay(Calls::all(), SECOND));
    let work = remove(&federation, "bob", in_lima(), "frank");
    let result = during(&clock, work, || {
        federation.inject(Fault::silent_datacenter("lima"));
    });
    assert!(is_late(&result.unwrap_err()));
    assert_eq!(federation.configuration("lima").servers.len(), 3);

    // The way out is open.
    clock
        .run(read(&federation, "dave", me().in_datacenter("berlin")))
        .unwrap();
}

#[test]
fn a_request_that_comes_twice_is_delayed_twice() {
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
fn to_put_one_fault_right_leaves_its_like() {
    let (clock, federation) = world();
    let spent = federation.inject(Fault::lose_lead_at("berlin", 1));
    clock.run(read(&federation, "alice", me())).unwrap();
    assert_eq!(federation.leader("berlin"), Some("bob".into()));
    federation.inject(Fault::lose_lead_at("berlin", 1));
    federation.heal(spent);
    clock.run(read(&federation, "bob", me())).unwrap();
    assert_eq!(federation.leader("berlin"), Some("alice".into()));

    let first = federation.inject(Fault::fail_removal("berlin", Outcome::NotApplied));
    federation.inject(Fault::fail_removal("berlin", Outcome::Unknown));
    federation.heal(first);
    let error = clock.run(remove(&federation, "alice", me(), "carol"));
    assert_eq!(error.unwrap_err().outcome(), Outcome::Unknown);
    assert_eq!(federation.configuration("berlin").servers.len(), 2);
}

#[test]
fn removals_fail_one_after_another_as_they_were_told_to() {
    let (clock, federation) = world();
    federation.inject(Fault::fail_removal("berlin", Outcome::NotApplied));
    federation.inject(Fault::fail_removal("berlin", Outcome::Unknown));
    let removal = || clock.run(remove(&federation, "alice", me(), "carol"));
    assert_eq!(removal().unwrap_err().outcome(), Outcome::NotApplied);
    assert_eq!(federation.configuration("berlin").servers.len(), 3);
    assert_eq!(removal().unwrap_err().outcome(), Outcome::Unknown);
    assert_eq!(federation.configuration("berlin").servers.len(), 2);
}

#[test]
fn a_server_that_is_paused_at_work_answers_when_it_goes_on() {
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
    // By then erin leads, and takes a second as well.
    assert_eq!(clock.now(), SECOND * 11 / 2);

    let answer = during(&clock, read(&federation, "bob", in_lima()), || {
        federation.inject(Fault::pause("dave"));
    });
    assert!(is_late(&answer.unwrap_err()));
}

#[test]
fn server_paused_while_it_waits_for_another_says_nothing() {
    let (clock, federation) = world();
    federation.inject(Fault::delay(Calls::all(), SECOND));
    let result = during(&clock, read(&federation, "bob", me()), || {
        federation.inject(Fault::pause("bob"));
    });
    assert!(is_late(&result.unwrap_err()));
}

#[test]
fn a_server_that_is_stopped_at_work_tells_no_success() {
    let (clock, federation) = world();
    let slow = federation.inject(Fault::delay(Calls::all(), SECOND));
    let result = during(&clock, remove(&federation, "bob", me(), "bob"), || {
        federation.stop("bob");
    });
    let error = result.unwrap_err();
    assert!(is_unreachable(&error), "{error}");
    // It was on its way.
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(federation.configuration("berlin").servers.len(), 2);
    federation.heal(slow);
    federation.restart("bob");

    // What has arrived by then is told, and that not all of it could be had.
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
fn a_server_is_paused_whatever_it_was_built_with() {
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
fn a_paused_server_tells_nothing_of_its_rings() {
    let (clock, federation) = world();
    federation.inject(Fault::pause("alice"));
    let alice = federation.keyring("alice", &Pool::Lan);
    let query = GossipQuery::new(SECOND * 60);
    let answer = clock.run(select(alice.list(&query), clock.sleep(SECOND)));
    assert!(matches!(answer, Either::Right(_)));
    assert_eq!(query.answers.report(), None);
}

#[test]
fn a_server_that_is_paused_while_it_decides_does_not_deny() {
    /// Takes a second to deny.
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
fn whatever_asks_a_slow_raft_takes_its_time() {
    let (clock, federation) = world();
    let alice = federation.service("alice");
    federation.inject(Fault::slow_raft("berlin", SECOND));
    let took = |begun: Duration| clock.now() - begun;
    // One for the view that says who leads, and one for autopilot.
    let begun = clock.now();
    clock.run(alice.autopilot_configuration(&me())).unwrap();
    assert_eq!(took(begun), SECOND * 2);
    let begun = clock.now();
    let rules = AutopilotConfiguration::default();
    clock
        .run(alice.set_autopilot_configuration(&me(), rules, None))
        .unwrap();
    assert_eq!(took(begun), SECOND * 2);
    let begun = clock.now();
    clock.run(alice.autopilot_state(&me())).unwrap();
    assert_eq!(took(begun), SECOND * 2);

    // As delays of calls do, these add up.
    federation.inject(Fault::slow_raft("berlin", SECOND * 2));
    let begun = clock.now();
    clock.run(read(&federation, "alice", me())).unwrap();
    assert_eq!(took(begun), SECOND * 3);
}

#[test]
fn of_two_faults_of_one_node_the_later_holds() {
    let (clock, federation) = world();
    federation.inject(Fault::node("carol", Pool::Lan, NodeFault::Silent));
    let later = federation.inject(Fault::node("carol", Pool::Lan, NodeFault::Refuses));
    let install = || {
        let bob = federation.service("bob");
        let result = clock.run(async { bob.install_key(&me(), key()).await });
        let (reply, _) = unconfirmed(result);
        let report = reply.rings[1].report.as_ref().unwrap();
        report.fault().unwrap().to_string()
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
fn what_the_test_does_to_servers_is_in_the_transcript() {
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
fn a_fault_of_another_federation_is_none_of_this_one() {
    let ((_, one), (_, other)) = (world(), world());
    one.inject(Fault::stop("carol"));
    let theirs = other.inject(Fault::stop("carol"));
    one.heal(theirs);
    assert!(!one.is_up("carol"));
}

/// What it panics with.
fn refusal(misuse: impl FnOnce(&MockFederation) + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(|| misuse(&world().1)).unwrap_err();
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().unwrap().to_string(),
    }
}

#[test]
fn a_fault_that_makes_no_sense_is_refused_when_it_is_made() {
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
