//! The story of an operation, as the servers on its path observe it.

use std::time::Duration;

use cluster_operator::mock::{Calls, Fault, MockClock, MockFederation};
use cluster_operator::observer::{Ended, Observer, Scope, Started};
use cluster_operator::operation::{KeyringAction, KeyringScope};
use cluster_operator::raft::Consistency;
use cluster_operator::{Operation, OperatorRequest, OperatorService};
use futures_util::FutureExt;

use super::*;

impl Observer for Lines {
    fn started(&self, operation: &Started<'_>) {
        let (name, id) = (operation.operation, operation.request_id);
        self.add(format!("{id}: {name} starts, hops {}", operation.hops));
    }

    fn ended(&self, operation: &Started<'_>, end: &Ended<'_>) {
        let subject = operation
            .subject
            .map(|subject| format!(" of {subject}"))
            .unwrap_or_default();
        let with = operation.with.map(|with| format!(" with {with:?}"));
        let identity = end
            .identity
            .map_or("someone".into(), |identity| identity.to_string());
        let error = end.error.map(|error| format!(" ({})", error.name()));
        self.add(format!(
            "{}: {}{subject}{} in {} by {identity} through {}: {}, {}{}{}",
            operation.request_id,
            operation.operation,
            with.unwrap_or_default(),
            operation.datacenter,
            operation.source,
            end.ending,
            end.outcome.name(),
            error.unwrap_or_default(),
            if end.forwarded { ", forwarded" } else { "" },
        ));
    }
}

/// The federation, whose servers are all observed, and the lines of the observers.
fn observed() -> (MockFederation, MockClock, Lines) {
    let (clock, lines) = (MockClock::new(), Lines::default());
    let observer = lines.clone();
    let federation = federation(&clock)
        .service_options(move |service| service.observer(observer.clone()))
        .build();
    (federation, clock, lines)
}

/// Returns the ends that are observed while a server executes a request.
fn ends_at(
    (federation, clock, lines): &(MockFederation, MockClock, Lines),
    server: &str,
    request: OperatorRequest,
) -> Vec<String> {
    let _ = clock.run(federation.service(server).call(request));
    clock.settle();
    let mut ends = lines.take();
    ends.retain(|line| !line.contains(" starts, "));
    ends
}

#[test]
fn denial_names_the_caller_on_every_server() {
    let world = observed();
    assert_eq!(
        ends_at(&world, "alice", by("reader-secret", removal("x"))),
        [
            "story-1: remove-peer of id \"x\" in dc1 by reader through peer: denied, \
             not-applied (permission-denied)",
            "story-1: remove-peer of id \"x\" in dc1 by reader through front-end: denied, \
             not-applied (permission-denied), forwarded",
        ]
    );
    assert_eq!(
        ends_at(&world, "bob", by("lost-secret", removal("x"))),
        [
            "story-1: remove-peer of id \"x\" in dc1 by someone through front-end: denied, \
             not-applied (unknown-token)"
        ]
    );
    assert_eq!(
        ends_at(&world, "bob", removal("x")),
        [
            "story-1: remove-peer of id \"x\" in dc1 by anonymous through front-end: denied, \
             not-applied (permission-denied)"
        ]
    );
}

#[test]
fn refusal_is_a_failure_that_was_not_applied() {
    let world = observed();
    assert_eq!(
        ends_at(&world, "bob", by("writer-secret", removal("x\n"))),
        [
            "story-1: remove-peer of id \"x\\n\" in dc1 by writer through front-end: failed, \
             not-applied (unknown-server)"
        ]
    );
}

#[test]
fn replacement_names_both_servers() {
    let world = observed();
    assert_eq!(
        ends_at(&world, "bob", by("writer-secret", replacement("x", "y"))),
        [
            "story-1: replace-peer of id \"x\" with \"y\" in dc1 by writer through front-end: \
             failed, not-applied (unknown-server)"
        ]
    );
}

#[test]
fn forwarded_success_is_one_story_of_two_servers() {
    let world = observed();
    let carol = id_of(&world.0, "carol");
    let request = by("writer-secret", removal(&carol)).in_datacenter("dc1");
    let _ = world.1.run(world.0.service("dave").call(request));
    let subject = format!("id {carol:?}");
    let lines: Vec<_> = world.2.take();
    let lines: Vec<_> = lines
        .iter()
        .map(|line| line.replace(&subject, "carol"))
        .collect();
    let (starts, ends) = lines.split_at(lines.len() / 2);
    // From dave to any server of dc1, and from there to bob unless it was bob.
    let hops = starts.len();
    for (at, start) in starts.iter().enumerate() {
        assert_eq!(*start, format!("story-1: remove-peer starts, hops {at}"));
    }
    assert_eq!(
        ends[0],
        "story-1: remove-peer of carol in dc1 by writer through peer: succeeded, applied"
    );
    assert_eq!(
        ends[hops - 1],
        "story-1: remove-peer of carol in dc1 by someone through front-end: succeeded, \
         applied, forwarded"
    );
}

#[test]
fn lost_answer_is_unknown_to_the_forwarding_server_only() {
    let world = observed();
    let calls = Calls::all().from("alice").to("bob");
    world.0.inject(Fault::lose_answer(calls));
    let carol = id_of(&world.0, "carol");
    let ends = ends_at(&world, "alice", by("writer-secret", removal(&carol)));
    assert_eq!(
        ends,
        [
            format!(
                "story-1: remove-peer of id {carol:?} in dc1 by writer through peer: succeeded, \
                 applied"
            ),
            format!(
                "story-1: remove-peer of id {carol:?} in dc1 by someone through front-end: \
                 failed, unknown (deadline-exceeded), forwarded"
            ),
        ]
    );
}

#[test]
fn dropped_call_is_abandoned_with_its_outcome_so_far() {
    let world = observed();
    let calls = Calls::all().from("alice").to("bob");
    world.0.inject(Fault::delay(calls, Duration::from_secs(1)));
    let abandoned = |server: &str, request| {
        let answer = world.0.service(server).call(request).now_or_never();
        assert!(answer.is_none());
        world.2.take().pop().unwrap()
    };
    // Sent to bob, who may still execute it.
    assert_eq!(
        abandoned("alice", by("writer-secret", removal("x"))),
        "story-1: remove-peer of id \"x\" in dc1 by someone through front-end: abandoned, \
         unknown, forwarded"
    );
    // Bob's own view is not there yet.
    world.0.inject(Fault::pause("bob"));
    assert_eq!(
        abandoned("bob", by("writer-secret", removal("x"))),
        "story-1: remove-peer of id \"x\" in dc1 by someone through front-end: abandoned, \
         not-applied"
    );
}

#[test]
fn datacenters_observe_their_part_of_a_keyring_operation() {
    let world = observed();
    let install = Operation::Keyring {
        action: KeyringAction::Install(key()),
        scope: KeyringScope::Federation,
        relay_factor: Default::default(),
    };
    let request = by("writer-secret", OperatorRequest::new(install));
    let ends = ends_at(&world, "alice", request.clone());
    let id = ends[0].split(':').next().unwrap().to_owned();
    assert_eq!(id.len(), 32, "{id}");
    assert_eq!(
        ends,
        [
            format!("{id}: install-key in dc2 by writer through peer: succeeded, applied"),
            format!("{id}: install-key in dc1 by writer through front-end: succeeded, applied"),
        ]
    );
    world.0.stop("dave");
    let failed = ends_at(&world, "alice", request).remove(0);
    let end = "by writer through front-end: failed, unknown (rings-failed)";
    assert!(failed.ends_with(end), "{failed}");
}

#[test]
fn read_and_unmet_condition_change_nothing() {
    let world = observed();
    let read = Operation::RaftConfiguration(Consistency::Stale);
    let read = by("reader-secret", OperatorRequest::new(read));
    let ends_of = |request| ends_at(&world, "bob", request).remove(0);
    let end = ends_of(read);
    let want = "raft-configuration in dc1 by reader through front-end: succeeded, not-applied";
    assert!(end.ends_with(want), "{end}");
    let set = Operation::SetAutopilotConfiguration {
        configuration: Default::default(),
        expected_index: Some(4711),
    };
    let end = ends_of(by("writer-secret", OperatorRequest::new(set)));
    let want = "by writer through front-end: succeeded, not-applied";
    assert!(end.ends_with(want), "{end}");
}

/// A scope that writes down when it is entered and left.
struct Noted(&'static str, Lines);

impl Observer for Noted {
    fn ended(&self, _: &Started<'_>, _: &Ended<'_>) {
        self.1.add(format!("{} is told", self.0));
    }

    fn scope(&self, _: &Started<'_>) -> Option<Box<dyn Scope>> {
        Some(Box::new(Noted(self.0, self.1.clone())))
    }
}

impl Scope for Noted {
    fn enter(&self) {
        self.1.add(format!("{} enters", self.0));
    }

    fn leave(&self) {
        self.1.add(format!("{} leaves", self.0));
    }

    fn ended(&self, _: &Ended<'_>) {
        self.1.add(format!("the scope of {} is told", self.0));
    }
}

fn noted(lines: &Lines) -> OperatorService {
    let (first, second) = (
        Noted("first", lines.clone()),
        Noted("second", lines.clone()),
    );
    OperatorService::builder("dc1")
        .raft(cluster_operator::mock::MockRaft::voters(["alice"]))
        .authorizer(cluster_operator::AllowAll)
        .observer(first)
        .observer(second)
        .build()
        .unwrap()
}

#[test]
fn scopes_nest_around_the_operation_and_the_observers() {
    let lines = Lines::default();
    let read = OperatorRequest::new(Operation::RaftConfiguration(Consistency::Stale));
    noted(&lines).call(read).now_or_never().unwrap().unwrap();
    let nested = ["first enters", "second enters"];
    let left = ["second leaves", "first leaves"];
    let told = ["first is told", "second is told"];
    let scopes = ["the scope of first is told", "the scope of second is told"];
    assert_eq!(
        lines.take(),
        [nested, left, scopes, nested, told, left].concat()
    );
}

#[test]
fn scopes_are_left_when_an_operation_panics() {
    let lines = Lines::default();
    let service = noted(&lines);
    let removal = removal("alice");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // Outside a runtime, tokio's timer panics.
        let pending = OperatorService::builder("dc1")
            .raft(cluster_operator::mock::MockRaft::voters(["bob", "alice"]).at("alice"))
            .authorizer(cluster_operator::AllowAll)
            .leader_wait(Duration::from_secs(1))
            .observer(Noted("only", lines.clone()))
            .build()
            .unwrap();
        drop(service);
        pending.call(removal).now_or_never()
    }));
    assert!(panicked.is_err());
    let want = [
        "only enters",
        "only leaves",
        "the scope of only is told",
        "only enters",
    ];
    let lines = lines.take();
    assert_eq!(lines[..4], want, "{lines:?}");
    assert_eq!(lines.last().unwrap(), "only leaves");
}
