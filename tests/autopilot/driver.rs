//! The driver, on a simulated Raft and a virtual clock.

use std::pin::pin;
use std::time::Duration;

use cluster_operator::Timer;
use cluster_operator::autopilot::{Detected, Reason};
use cluster_operator::error::{ErrorKind, Outcome};
use cluster_operator::mock::MockRaft;
use cluster_operator::raft::{Change, RaftBackend, RaftServer};
use cluster_operator::service::Caller;
use futures_util::future::select;

use crate::lab::{Lab, dry};
use crate::support::{HOLD, settings};

#[test]
fn dead_server_is_removed_and_observed() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 0));
    lab.run(&mut autopilot, 60);
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    assert_eq!(lab.voters(), "abcde");
    lab.run(&mut autopilot, 10);
    assert_eq!(lab.voters(), "abcd");
    let line = "remove-peer: remove e: failed for 180 s of 180, 4 healthy voters of 4 remain";
    assert_eq!(lab.audit(), [line]);
}

#[test]
fn run_ticks_on_the_services_timer() {
    let lab = Lab::new("abcde", "");
    lab.kill("e");
    let mut ticks = 0;
    let run = lab
        .autopilot(&lab.service(), settings(5, 0))
        .run(|_| ticks += 1);
    let end = lab.clock.sleep(Duration::from_secs(600));
    lab.clock.run(async {
        select(pin!(run), end).await;
    });
    assert_eq!(lab.voters(), "abcd");
    assert!((60..80).contains(&ticks), "{ticks}");
}

#[test]
fn dry_run_changes_nothing() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(&lab.service(), dry(5));
    lab.kill("e");
    lab.run(&mut autopilot, 2 * HOLD);
    let tick = lab.tick(&mut autopilot).unwrap();
    assert_eq!(*tick.decision.action.unwrap().id(), "e");
    assert!(tick.result.is_none());
    assert_eq!(lab.voters(), "abcde");
    assert_eq!(lab.audit(), [""; 0]);
}

#[test]
fn frozen_server_stays_a_voter() {
    let lab = Lab::new("abc", "");
    let mut autopilot = lab.autopilot(&lab.service(), settings(3, 2));
    lab.run(&mut autopilot, 60);
    for _ in 0..10 {
        lab.kill("c");
        lab.run(&mut autopilot, 30);
        lab.revive("c");
        lab.run(&mut autopilot, 60);
    }
    assert_eq!(lab.voters(), "abc");
}

#[test]
fn killed_server_of_three_is_replaced_by_a_spare() {
    let lab = Lab::new("abc", "s");
    let mut autopilot = lab.autopilot(&lab.service(), settings(3, 0));
    lab.kill("s");
    lab.kill("c");
    lab.run(&mut autopilot, HOLD / 2);
    lab.revive("s");
    lab.run(&mut autopilot, HOLD);
    assert_eq!(lab.voters(), "abs");
    assert_eq!(lab.raft.latest().servers.len(), 3);
}

#[test]
fn spare_is_promoted_first_if_replacing_is_unsupported() {
    let lab = Lab::new("abc", "s");
    lab.state(|state| state.cannot_replace = true);
    let mut autopilot = lab.autopilot(&lab.service(), settings(3, 0));
    lab.run(&mut autopilot, 60);
    lab.kill("c");
    lab.run(&mut autopilot, HOLD + 60);
    assert_eq!(lab.voters(), "abs");
    let audit = lab.audit();
    let names: Vec<_> = audit
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(names, ["replace-peer", "promote-peer", "remove-peer"]);
}

#[test]
fn lying_detector_removes_nobody_that_answers() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 3));
    for id in ["a", "b", "c", "d", "e"] {
        lab.lie(id, Some(Detected::Failed));
    }
    lab.run(&mut autopilot, 20 * HOLD);
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn detector_that_knows_nobody_removes_nobody() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 3));
    lab.kill("e");
    lab.lie("e", None);
    lab.run(&mut autopilot, 20 * HOLD);
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn server_that_comes_back_before_the_confirmation_stays() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    lab.state(|state| state.before_confirmation = Some(Box::new(|lab: &Lab| lab.revive("e"))));
    let tick = lab.tick(&mut autopilot).unwrap();
    assert!(tick.decision.action.is_none() && tick.result.is_none());
    lab.run(&mut autopilot, HOLD);
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn lost_leadership_stops_it_before_the_confirmation() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    let elect = |lab: &Lab| assert!(lab.raft.elect("b"));
    lab.state(|state| state.before_confirmation = Some(Box::new(elect)));
    let lost = lab.tick(&mut autopilot).unwrap_err();
    assert!(matches!(lost.kind(), ErrorKind::NotLeader { .. }));
    let tick = lab.tick(&mut autopilot).unwrap();
    assert_eq!(tick.decision.refusals[0].reason, Reason::NotLeader);
    // It observes the whole hold again after it was elected again.
    assert!(lab.raft.elect("a"));
    lab.run(&mut autopilot, HOLD);
    assert_eq!(lab.voters(), "abcde");
    lab.run(&mut autopilot, 10);
    assert_eq!(lab.voters(), "abcd");
}

#[test]
fn spare_that_broke_before_a_failed_confirmation_is_unstable() {
    let lab = Lab::new("abcde", "s");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 0));
    lab.configure(|it| it.server_stabilization_time = Duration::from_secs(60));
    lab.kill("e");
    lab.kill("s");
    lab.run(&mut autopilot, 150);
    lab.revive("s");
    lab.run(&mut autopilot, 30);
    // It breaks for a moment. The removal of e is decided on, and not confirmed.
    lab.kill("s");
    lab.fail("confirmed_view", ErrorKind::NoLeader);
    assert!(lab.tick(&mut autopilot).is_err());
    lab.revive("s");
    lab.mend("confirmed_view");
    lab.clock.advance(Duration::from_secs(10));
    let tick = lab.tick(&mut autopilot).unwrap();
    let coming = Reason::SpareComing { with: "s".into() };
    let mut refusals = tick.decision.refusals.iter();
    assert!(refusals.any(|it| it.reason == coming));
    lab.run(&mut autopilot, 60);
    assert_eq!(lab.voters(), "abcde");
    lab.run(&mut autopilot, 10);
    assert_eq!(lab.voters(), "abcds");
}

#[test]
fn tick_takes_the_deadline_at_most() {
    for stuck in ["configuration", "view", "detect", "confirmed_view"] {
        let lab = Lab::new("abcde", "");
        let service = lab.service();
        let mut autopilot = lab.autopilot(&service, settings(5, 0));
        lab.kill("e");
        lab.run(&mut autopilot, HOLD);
        lab.state(|state| state.stuck = Some(stuck));
        let began = lab.clock.now();
        let late = lab.tick(&mut autopilot).unwrap_err();
        assert_eq!(late.kind().name(), "deadline-exceeded", "{stuck}");
        assert_eq!(late.outcome(), Outcome::NotApplied, "{stuck}");
        assert_eq!(lab.clock.now() - began, Duration::from_secs(10), "{stuck}");
        lab.state(|state| state.stuck = None);
        let anyone = Caller::anonymous();
        let state = lab.clock.run(service.autopilot_state(&anyone)).unwrap();
        assert_eq!(state.autopilot.unwrap().blocked.unwrap().rule, "input");
        assert_eq!(lab.voters(), "abcde");
    }
}

#[test]
fn late_input_is_shown_as_the_reason_until_the_next_tick_ends() {
    let lab = Lab::new("abc", "");
    let service = lab.builder().deadline(Duration::from_secs(30));
    let service = service.build().unwrap();
    lab.state(|state| state.stuck = Some("detect"));
    let run = lab.autopilot(&service, settings(3, 0)).run(|_| {});
    let anyone = Caller::anonymous();
    let read = async {
        lab.clock.sleep(Duration::from_secs(31)).await;
        // The next tick begins at second 40, and ends at second 70.
        for second in 31..120 {
            let state = service.autopilot_state(&anyone).await.unwrap();
            let blocked = state.autopilot.unwrap().blocked.unwrap();
            assert_eq!(blocked.rule, "input", "{second} s: {}", blocked.reason);
            lab.clock.sleep(Duration::from_secs(1)).await;
        }
    };
    lab.clock.run(async {
        select(pin!(run), pin!(read)).await;
    });
}

#[test]
fn change_has_the_time_that_the_inputs_leave() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    let slow = |lab: &Lab| lab.clock.advance(Duration::from_secs(8));
    lab.state(|state| {
        state.before_confirmation = Some(Box::new(slow));
        state.stuck = Some("change_membership");
    });
    let began = lab.clock.now();
    let late = lab
        .tick(&mut autopilot)
        .unwrap()
        .result
        .unwrap()
        .unwrap_err();
    assert_eq!(late.outcome(), Outcome::Unknown);
    assert_eq!(lab.clock.now() - began, Duration::from_secs(10));
}

#[test]
fn new_term_after_the_confirmation_stops_the_change() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    let elect = |lab: &Lab| assert!(lab.raft.elect("b") && lab.raft.elect("a"));
    lab.state(|state| state.before_removal = Some(Box::new(elect)));
    let tick = lab.tick(&mut autopilot).unwrap();
    let error = tick.result.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TermChanged { .. }));
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn pause_begins_when_a_slow_change_has_ended() {
    let lab = Lab::new("abcdefg", "");
    let mut autopilot = lab.autopilot(&lab.service(), settings(7, 4));
    lab.configure(|it| it.min_quorum = 4);
    lab.kill("f");
    lab.kill("g");
    lab.run(&mut autopilot, HOLD);
    let slow = |lab: &Lab| lab.clock.advance(Duration::from_secs(8));
    lab.state(|state| state.before_removal = Some(Box::new(slow)));
    assert!(lab.tick(&mut autopilot).unwrap().result.unwrap().is_ok());
    lab.clock.advance(Duration::from_secs(9));
    let tick = lab.tick(&mut autopilot).unwrap();
    let (lasted, needed) = (Duration::from_secs(9), Duration::from_secs(10));
    let paused = Reason::Paused { lasted, needed };
    assert_eq!(tick.decision.refusals[0].reason, paused);
    lab.clock.advance(Duration::from_secs(1));
    lab.tick(&mut autopilot).unwrap();
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn next_tick_comes_when_the_pause_after_a_slow_change_is_over() {
    let lab = Lab::new("abcde", "");
    lab.kill("e");
    let slow = |lab: &Lab| lab.clock.advance(Duration::from_secs(8));
    lab.state(|state| state.before_removal = Some(Box::new(slow)));
    let mut paused = 0;
    let run = lab.autopilot(&lab.service(), settings(5, 0)).run(|tick| {
        let refusals = tick.as_ref().unwrap().decision.refusals.iter();
        let paused_now = refusals.filter(|it| matches!(it.reason, Reason::Paused { .. }));
        paused += paused_now.count();
    });
    let end = lab.clock.sleep(Duration::from_secs(600));
    lab.clock.run(async {
        select(pin!(run), end).await;
    });
    assert_eq!(lab.voters(), "abcd");
    assert_eq!(paused, 0);
}

#[test]
fn other_change_after_the_confirmation_stops_the_change() {
    let lab = Lab::new("abcde", "s");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 0));
    lab.kill("s");
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    let other = |lab: &Lab| {
        let view = futures_executor::block_on(lab.raft.view()).unwrap();
        let removal = Change::remove("s", &view, Duration::from_secs(1));
        futures_executor::block_on(lab.raft.change_membership(&removal)).unwrap();
    };
    lab.state(|state| state.before_removal = Some(Box::new(other)));
    let tick = lab.tick(&mut autopilot).unwrap();
    let error = tick.result.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Conflict { .. }));
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn cleanup_that_is_switched_off_stops_it_within_a_tick() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    lab.configure(|it| it.cleanup_dead_servers = false);
    lab.run(&mut autopilot, HOLD);
    assert_eq!(lab.voters(), "abcde");
    let tick = lab.tick(&mut autopilot).unwrap();
    assert_eq!(tick.decision.refusals[0].reason, Reason::CleanupOff);
}

#[test]
fn servers_of_one_name_are_unknown_to_the_detector() {
    let server = |id: &str, name: &str| {
        RaftServer::voter(id, id)
            .with_name(name)
            .with_alive(true)
            .with_last_index(0)
    };
    let twins = [server("d", "twin"), server("twin", "twin")];
    let others = ["a", "b", "c"].map(|id| server(id, id));
    let lab = Lab::of(MockRaft::new(others.into_iter().chain(twins)));
    lab.kill("twin");
    let mut autopilot = lab.autopilot(&lab.service(), settings(5, 3));
    lab.run(&mut autopilot, 10 * HOLD);
    assert_eq!(lab.voters(), "abcdtwin");
}
