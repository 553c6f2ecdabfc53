//! Each rule of the decision, by name.

use std::time::Duration;

use cluster_operator::autopilot::{
    Action, AutopilotConfiguration, Detected, InvalidSettings, Memory, Reason, Settings, Snapshot,
    decide,
};
use cluster_operator::raft::{LogPosition, PendingChange, Proof, RaftView, Suffrage};

use crate::support::{HOLD, PAUSE, Seen, World, settings};

fn rule(server: &str, rule: &'static str) -> (String, &'static str) {
    (server.into(), rule)
}

#[test]
fn dead_server_is_removed_after_its_hold() {
    let mut world = World::new("abcde");
    world.kill("e");
    let removal = "remove e: failed for 180 s of 180, 4 healthy voters of 4 remain";
    assert_eq!(world.run(HOLD - 10), []);
    assert_eq!(world.run(600), [(1180, removal.to_string())]);
}

#[test]
fn only_the_leader_acts() {
    let mut world = World::new("abcde");
    world.kill("e");
    world.run(HOLD - 10);
    world.leads = false;
    assert_eq!(world.run(600), []);
    assert_eq!(world.rules(), [rule("", "leader")]);
}

#[test]
fn majority_has_to_have_answered_lately() {
    let mut world = World::new("abcde");
    world.kill("e");
    world.run(HOLD - 10);
    for id in ["b", "c"] {
        world.server(id).silent_since = Some(world.second - 1);
    }
    let (fresh, needed) = (2, 3);
    let reason = Reason::NoMajority { fresh, needed };
    assert_eq!(world.blocks()[0], (String::new(), reason));
    world.server("c").silent_since = None;
    assert!(world.tick().is_some());
}

#[test]
fn new_leader_waits_and_observes_the_whole_hold_itself() {
    let mut world = World::new("abcde");
    world.kill("e");
    world.run(HOLD - 10);
    world.term = 3;
    world.elected = world.second;
    for server in &mut world.servers {
        server.log = Some(LogPosition {
            term: 3,
            index: 901,
        });
    }
    assert_eq!(world.rules()[0], rule("", "calm"));
    let done = world.run(HOLD - 10);
    assert_eq!(done, []);
    assert_eq!(world.rules(), []);
}

#[test]
fn leader_in_a_new_process_begins_anew() {
    let mut world = World::new("abcde");
    world.kill("e");
    world.second += 10 * HOLD;
    world.memory = Memory::default();
    assert_eq!(world.rules()[0], rule("", "calm"));
    world.second += PAUSE;
    assert_eq!(world.rules()[0], rule("e", "hold"));
    world.second += HOLD - PAUSE;
    assert!(world.tick().is_some());
}

#[test]
fn nothing_changes_while_a_change_is_pending() {
    let mut world = World::new("abcde");
    world.kill("e");
    world.run(HOLD - 10);
    for change in [PendingChange::Uncommitted, PendingChange::Joint] {
        world.change = Some(change);
        assert_eq!(world.rules()[0], rule("", "one-change"));
    }
    world.change = None;
    assert!(world.tick().is_some());
}

#[test]
fn second_dead_server_waits_for_the_pause() {
    let mut world = World::new("abcdefg");
    world.settings = settings(7, 4);
    world.kill("fg");
    world.run(HOLD - 10);
    let decision = world.decide();
    let action = decision.action.unwrap();
    assert_eq!(*action.id(), "f");
    let first = "f".into();
    assert_eq!(decision.refusals.len(), 1);
    assert_eq!(decision.refusals[0].reason, Reason::OneChange { first });
    world.execute(&action);
    world.second += PAUSE - 1;
    assert_eq!(world.rules()[0], rule("", "one-change"));
    world.second += 1;
    assert!(world.tick().unwrap().starts_with("remove g"));
}

#[test]
fn action_is_followed_by_a_healthy_observation() {
    let mut world = World::new("abcdefg");
    world.settings = settings(7, 4);
    world.kill("fg");
    world.run(HOLD - 10);
    assert!(world.tick().unwrap().starts_with("remove f"));
    world.kill("e");
    world.second += 2 * PAUSE;
    let unsettled = (String::from("e"), Reason::Unsettled);
    assert_eq!(world.blocks()[0], unsettled);
    world.revive("e");
    assert!(world.tick().unwrap().starts_with("remove g"));
}

#[test]
fn dead_server_is_settled_at_the_end_of_its_hold() {
    let mut world = World::new("abcdefg");
    world.settings = settings(7, 4);
    world.kill("g");
    world.tick();
    world.second += 10;
    world.kill("f");
    let done = world.run(HOLD);
    assert_eq!(done.len(), 2);
    assert_eq!((done[0].0, done[1].0), (1180, 1190));
}

#[test]
fn unclear_voter_blocks_after_an_action_if_it_can_recover() {
    type Spoil = fn(&mut Seen);
    let cases: [(Spoil, bool); 4] = [
        (|it| it.log = Some(LogPosition { term: 2, index: 1 }), true),
        (|it| it.silent_since = Some(1), true),
        // The detector may never tell.
        (|it| it.detected = Some((Detected::Failed, 1)), false),
        (|it| (it.detected, it.silent_since) = (None, Some(1)), false),
    ];
    for (number, (spoil, blocks)) in cases.into_iter().enumerate() {
        let mut world = World::new("abcdefg");
        world.settings = settings(7, 4);
        world.kill("fg");
        world.run(HOLD - 10);
        assert!(world.tick().unwrap().starts_with("remove f"));
        spoil(world.server("e"));
        world.second += PAUSE;
        assert_eq!(world.tick().is_none(), blocks, "{number}");
    }
}

#[test]
fn action_does_not_hide_the_refusals_of_others() {
    let mut world = World::new("abcdefg");
    world.settings = settings(7, 4);
    world.kill("g");
    world.run(HOLD - 20);
    world.kill("f");
    world.tick();
    world.second += 10;
    let decision = world.decide();
    assert_eq!(*decision.action.unwrap().id(), "g");
    let refusals = decision.refusals.into_iter();
    let named: Vec<_> = refusals
        .map(|refusal| rule(refusal.server.unwrap().as_ref(), refusal.reason.rule()))
        .collect();
    assert_eq!(named, [rule("f", "hold")]);
}

#[test]
fn settled_action_does_not_block_later_changes() {
    let mut world = World::new("abcdefg");
    world.settings = settings(7, 4);
    world.kill("g");
    assert_eq!(world.run(HOLD + 2 * PAUSE).len(), 1);
    // It would block if it failed before the healthy observation.
    world.kill("f");
    world.join("s", Suffrage::Nonvoter);
    let done = world.run(2 * PAUSE);
    assert_eq!(done.len(), 1);
    assert!(done[0].1.starts_with("promote s"));
}

#[test]
fn server_that_the_detector_does_not_know_stays() {
    let mut world = World::new("abcde");
    world.kill("e");
    world.server("e").detected = None;
    assert_eq!(world.run(20 * HOLD), []);
    assert_eq!(world.rules(), [rule("e", "known")]);
}

#[test]
fn server_stays_unless_detector_and_raft_agree() {
    let mut world = World::new("abcde");
    world.kill("de");
    world.server("d").silent_since = None;
    world.server("e").detected = Some((Detected::Alive, 0));
    assert_eq!(world.run(20 * HOLD), []);
    assert_eq!(
        world.rules(),
        [rule("d", "agreement"), rule("e", "agreement")]
    );
}

#[test]
fn short_break_begins_the_hold_anew() {
    let mut world = World::new("abcde");
    world.kill("e");
    world.run(HOLD - 10);
    world.revive("e");
    world.tick();
    world.second += 10;
    world.kill("e");
    // The second failure doubles it.
    assert_eq!(world.run(2 * HOLD - 10), []);
    assert_eq!(world.run(0).len(), 1);
}

#[test]
fn frozen_server_stays() {
    let mut world = World::new("abc");
    world.settings = settings(3, 2);
    world.kill("c");
    assert_eq!(world.run(25), []);
    world.revive("c");
    assert_eq!(world.run(600), []);
}

#[test]
fn detector_that_has_just_noticed_counts_from_then() {
    let mut world = World::new("abcde");
    world.server("e").silent_since = Some(world.second);
    world.run(600);
    world.server("e").detected = Some((Detected::Failed, world.second));
    assert_eq!(world.run(HOLD - 10), []);
    assert_eq!(world.run(0).len(), 1);
}

#[test]
fn break_between_two_decisions_begins_the_hold_anew() {
    // Either an answer, or a detector that changed its mind: both snapshots show it dead.
    for answered in [true, false] {
        let mut world = World::new("abcde");
        world.kill("e");
        world.run(HOLD - 10);
        let second = world.second;
        let server = world.server("e");
        match answered {
            true => server.silent_since = Some(second - 1),
            false => server.detected = Some((Detected::Failed, second - 1)),
        }
        assert_eq!(world.run(HOLD - 10), []);
        assert_eq!(world.run(0).len(), 1);
    }
}

#[test]
fn hold_of_a_flapping_server_grows_to_eight_times() {
    let mut world = World::new("abcde");
    let mut holds = Vec::new();
    for _ in 0..6 {
        world.kill("e");
        let blocks = world.blocks();
        let (_, Reason::Failing(failure)) = &blocks[0] else {
            panic!("{blocks:?}");
        };
        holds.push(failure.hold.as_secs() / HOLD);
        world.second += 10;
        world.revive("e");
        world.tick();
        world.second += 10;
    }
    assert_eq!(holds, [1, 2, 4, 8, 8, 8]);
    // The failures are forgotten after the window.
    world.second += 3600;
    world.kill("e");
    world.tick();
    world.second += HOLD;
    assert!(world.tick().is_some());
}

#[test]
fn flapping_server_is_remembered_after_its_removal() {
    let mut world = World::new("abcde");
    for _ in 0..2 {
        world.kill("e");
        world.tick();
        world.second += 10;
        world.revive("e");
        world.tick();
        world.second += 10;
    }
    world.kill("e");
    assert_eq!(world.run(4 * HOLD + 30).len(), 1);
    world.join("e", Suffrage::Nonvoter);
    world.tick();
    world.kill("e");
    let blocks = world.blocks();
    let (_, Reason::Failing(failure)) = &blocks[0] else {
        panic!("{blocks:?}");
    };
    assert_eq!(failure.hold.as_secs(), 8 * HOLD);
}

#[test]
fn server_that_left_has_the_same_hold() {
    let mut world = World::new("abcde");
    world.gone("e", Detected::Left);
    let removal = "remove e: left for 180 s of 180, 4 healthy voters of 4 remain";
    assert_eq!(world.run(HOLD), [(1180, removal.to_string())]);
}

#[test]
fn nothing_is_removed_while_cleanup_is_off() {
    let mut world = World::new("abcde");
    let configuration = AutopilotConfiguration {
        cleanup_dead_servers: false,
        ..AutopilotConfiguration::default()
    };
    world.settings = Settings::new(5, configuration).unwrap().acting();
    world.join("s", Suffrage::Nonvoter);
    world.kill("e");
    assert_eq!(world.run(10 * HOLD), []);
    assert_eq!(world.rules(), [rule("e", "cleanup"), rule("s", "size")]);
}

#[test]
fn window_limits_the_removals() {
    let mut world = World::new("abcdefg");
    world.settings = settings(5, 3);
    world.kill("efg");
    let done = world.run(600);
    assert_eq!(done.len(), 2);
    let (removed, limit) = (2, 2);
    let window = Duration::from_secs(3600);
    let full = Reason::WindowFull {
        removed,
        limit,
        window,
    };
    assert_eq!(world.blocks(), [("g".into(), full)]);
    let done = world.run(3600);
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].0, 1180 + 3600);
}

#[test]
fn removed_spare_does_not_delay_a_replacement() {
    let mut world = World::new("abc");
    world.join("s", Suffrage::Nonvoter);
    world.kill("s");
    assert!(world.run(HOLD)[0].1.starts_with("remove s"));
    world.join("t", Suffrage::Nonvoter);
    world.join("u", Suffrage::Nonvoter);
    world.kill("cu");
    let done = world.run(600);
    assert_eq!(done.len(), 1);
    assert!(done[0].1.starts_with("replace c with t"));
    // A second server without a vote waits for the window.
    assert_eq!(world.rules(), [rule("u", "window")]);
    assert_eq!(world.run(3600).len(), 1);
}

#[test]
fn new_leader_counts_the_missing_voters_as_removed() {
    let mut world = World::new("abcdefg");
    world.settings = settings(7, 3);
    world.kill("efg");
    assert_eq!(world.run(HOLD + 20).len(), 3);
    // Its successor remembers nothing.
    world.kill("d");
    world.term = 3;
    world.elected = world.second;
    for server in &mut world.servers {
        server.log = Some(LogPosition {
            term: 3,
            index: 901,
        });
    }
    world.memory = Memory::default();
    let done = world.run(2 * 3600);
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].0, world.elected + 3600);
}

#[test]
fn missing_voters_do_not_delay_a_replacement() {
    let mut world = World::new("abcde");
    world.settings = settings(7, 5);
    world.can_promote = false;
    world.join("s", Suffrage::Nonvoter);
    world.kill("e");
    let done = world.run(HOLD);
    assert_eq!(done.len(), 1);
    assert!(done[0].1.starts_with("replace e with s"));
}

#[test]
fn removal_that_was_not_applied_does_not_count() {
    let mut world = World::new("abc");
    world.settings = settings(3, 2);
    world.kill("c");
    world.run(HOLD - 10);
    for _ in 0..3 {
        assert!(world.decide().action.is_some());
        assert_eq!(world.rules()[0], rule("", "one-change"));
        world.memory.not_applied();
        world.second += PAUSE;
    }
    assert!(world.decide().action.is_some());
    world.second += PAUSE;
    assert_eq!(world.rules()[0], rule("c", "window"));
}

#[test]
fn stable_spare_replaces_a_dead_voter() {
    let mut world = World::new("abc");
    world.join("s", Suffrage::Nonvoter);
    world.kill("c");
    let replaced = "replace c with s: failed for 180 s of 180, 3 healthy voters of 3 follow";
    assert_eq!(world.run(600), [(1180, replaced.to_string())]);
}

#[test]
fn replacement_puts_off_the_other_servers_only() {
    let mut world = World::new("abcde");
    for spare in ["s", "t"] {
        world.join(spare, Suffrage::Nonvoter);
    }
    world.kill("de");
    world.run(HOLD - 10);
    let decision = world.decide();
    let action = decision.action.unwrap().to_string();
    assert!(action.starts_with("replace d with s"), "{action}");
    let first = || Reason::OneChange { first: "d".into() };
    let put_off = decision.refusals.into_iter();
    let put_off: Vec<_> = put_off
        .map(|refusal| (refusal.server.unwrap().to_string(), refusal.reason))
        .collect();
    assert_eq!(put_off, [("e".into(), first()), ("t".into(), first())]);
}

#[test]
fn spare_is_promoted_first_if_the_raft_cannot_replace() {
    let mut world = World::new("abc");
    world.can_replace = false;
    world.join("s", Suffrage::Nonvoter);
    world.kill("c");
    let done = world.run(600);
    let promotion = "promote s: healthy for 180 s of 10, 3 healthy voters of 4 follow";
    let removal = "remove c: failed for 190 s of 180, 3 healthy voters of 3 remain";
    assert_eq!(
        done,
        [(1180, promotion.to_string()), (1190, removal.to_string())]
    );
}

#[test]
fn removal_waits_for_a_spare_that_is_not_stable() {
    let supported = [
        (true, true, "replace e with s"),
        (true, false, "replace e with s"),
        (false, true, "promote s"),
    ];
    for (can_replace, can_promote, end) in supported {
        let mut world = World::new("abcde");
        (world.can_replace, world.can_promote) = (can_replace, can_promote);
        world.kill("e");
        world.run(HOLD - 10);
        world.join("s", Suffrage::Nonvoter);
        let with = "s".into();
        let coming = (String::from("e"), Reason::SpareComing { with });
        assert!(world.blocks().contains(&coming));
        world.second += 10;
        assert!(world.tick().unwrap().starts_with(end));
    }
}

#[test]
fn removal_does_not_wait_for_a_spare_that_cannot_vote() {
    let mut world = World::new("abcde");
    (world.can_replace, world.can_promote) = (false, false);
    world.kill("e");
    world.run(HOLD - 10);
    world.join("s", Suffrage::Nonvoter);
    assert!(world.tick().unwrap().starts_with("remove e"));
}

#[test]
fn voter_above_the_intended_size_has_no_successor() {
    let mut world = World::new("abcd");
    world.settings = settings(3, 0);
    world.join("s", Suffrage::Nonvoter);
    world.kill("d");
    let done = world.run(HOLD);
    assert_eq!(done.len(), 1);
    assert!(done[0].1.starts_with("remove d"));
}

#[test]
fn dead_spare_delays_nothing() {
    let mut world = World::new("abcde");
    world.kill("e");
    world.join("s", Suffrage::Nonvoter);
    world.kill("s");
    assert_eq!(world.run(HOLD).len(), 1);
}

#[test]
fn three_voters_keep_a_dead_one_until_a_spare_joins() {
    let mut world = World::new("abc");
    world.kill("c");
    assert_eq!(world.run(10 * HOLD), []);
    let reason = Reason::MinQuorum {
        remaining: 2,
        minimum: 3,
        takes_spare: true,
    };
    let shown =
        "dead, but 2 voters would remain, below MinQuorum 3: add a spare, which takes its place";
    assert_eq!(reason.to_string(), shown);
    assert_eq!(world.blocks(), [("c".into(), reason)]);
    world.join("s", Suffrage::Nonvoter);
    let done = world.run(60);
    assert_eq!(done.len(), 1);
    assert!(done[0].1.starts_with("replace c with s"));
}

#[test]
fn spare_is_advised_only_if_it_can_get_a_vote() {
    for (can_replace, can_promote, advice) in [
        (true, false, "add a spare, which takes its place"),
        (false, true, "add a spare, which takes its place"),
        (false, false, "add a voter, or remove it by hand"),
    ] {
        let mut world = World::new("abc");
        (world.can_replace, world.can_promote) = (can_replace, can_promote);
        world.kill("c");
        assert_eq!(world.run(2 * HOLD), []);
        let reason = world.blocks().remove(0).1.to_string();
        assert!(
            reason.ends_with(&format!("MinQuorum 3: {advice}")),
            "{reason}"
        );
    }
    // The other way out.
    let mut world = World::new("abc");
    (world.can_replace, world.can_promote) = (false, false);
    world.kill("c");
    world.run(2 * HOLD);
    world.join("d", Suffrage::Voter);
    assert!(world.tick().unwrap().starts_with("remove c"));
}

#[test]
fn five_voters_shrink_by_one_only() {
    let mut world = World::new("abcde");
    world.kill("de");
    assert_eq!(world.run(600).len(), 1);
    assert_eq!(world.rules(), [rule("e", "min-quorum")]);
}

#[test]
fn healthy_voters_remain_a_majority() {
    let mut world = World::new("abcdef");
    world.settings = settings(6, 3);
    world.kill("f");
    // Alive, but with logs that are too far behind to be counted as healthy.
    for id in ["c", "d", "e"] {
        world.server(id).log = Some(LogPosition { term: 2, index: 1 });
    }
    assert_eq!(world.run(HOLD), []);
    let (healthy, needed) = (2, 3);
    let reason = Reason::UnhealthyMajority { healthy, needed };
    assert!(world.blocks().contains(&("f".into(), reason)));
}

#[test]
fn dead_spare_stays_without_a_healthy_majority() {
    let mut world = World::new("abc");
    world.join("s", Suffrage::Nonvoter);
    world.kill("s");
    for id in ["b", "c"] {
        world.server(id).log = Some(LogPosition { term: 2, index: 1 });
    }
    assert_eq!(world.run(2 * HOLD), []);
    let (healthy, needed) = (1, 2);
    let reason = Reason::UnhealthyMajority { healthy, needed };
    assert!(world.blocks().contains(&("s".into(), reason)));
    world.server("b").log = world.server("a").log;
    assert_eq!(world.run(0).len(), 1);
}

#[test]
fn margin_is_proven_unless_there_is_none_to_lose() {
    for (dead, proof) in [("e", Proof::Margin), ("de", Proof::Majority)] {
        let mut world = World::new("abcde");
        world.kill(dead);
        world.run(HOLD - 10);
        let Some(Action::Remove { proof: made, .. }) = world.decide().action else {
            panic!("nothing is removed");
        };
        assert_eq!(made, proof, "{dead}");
    }
}

#[test]
fn joining_server_is_promoted_once_it_is_stable() {
    let mut world = World::new("ab");
    world.settings = settings(3, 0);
    world.join("s", Suffrage::Nonvoter);
    let promotion = "promote s: healthy for 10 s of 10, 3 healthy voters of 3 follow";
    assert_eq!(world.run(60), [(1010, promotion.to_string())]);
}

#[test]
fn server_that_is_behind_or_unknown_is_not_promoted() {
    type Spoil = fn(&mut World);
    let cases: [(Spoil, &str); 6] = [
        (|world| world.server("s").log = None, "known"),
        (|world| world.server("s").detected = None, "known"),
        (
            |world| {
                world.server("s").log = Some(LogPosition {
                    term: 1,
                    index: 900,
                })
            },
            "stable",
        ),
        (
            |world| {
                world.server("s").log = Some(LogPosition {
                    term: 2,
                    index: 649,
                })
            },
            "stable",
        ),
        (
            |world| world.server("s").silent_since = Some(1),
            "agreement",
        ),
        (|world| world.kill("s"), "hold"),
    ];
    for (number, (spoil, name)) in cases.into_iter().enumerate() {
        let mut world = World::new("ab");
        world.settings = settings(3, 0);
        world.join("s", Suffrage::Nonvoter);
        spoil(&mut world);
        assert_eq!(world.run(60), [], "{number}");
        assert_eq!(world.rules(), [rule("s", name)], "{number}");
    }
}

#[test]
fn stability_is_counted_by_this_leader() {
    let mut world = World::new("ab");
    world.settings = settings(3, 0);
    world.join("s", Suffrage::Nonvoter);
    world.tick();
    world.second += 9;
    world.term = 3;
    for server in &mut world.servers {
        server.log = Some(LogPosition {
            term: 3,
            index: 901,
        });
    }
    assert_eq!(world.tick(), None);
    world.second += 9;
    assert_eq!(world.tick(), None);
    world.second += 1;
    assert!(world.tick().is_some());
}

#[test]
fn spare_is_not_promoted_above_the_intended_size() {
    let mut world = World::new("abc");
    world.join("s", Suffrage::Nonvoter);
    assert_eq!(world.run(600), []);
    assert_eq!(world.rules(), [rule("s", "size")]);
}

#[test]
fn promotion_needs_a_raft_that_can_do_it() {
    let mut world = World::new("ab");
    world.settings = settings(3, 0);
    world.can_promote = false;
    world.join("s", Suffrage::Nonvoter);
    assert_eq!(world.run(60), []);
    assert_eq!(world.rules(), [rule("s", "supported")]);
}

#[test]
fn staging_server_is_left_to_its_raft() {
    let mut world = World::new("ab");
    world.settings = settings(3, 0);
    world.join("s", Suffrage::Staging);
    assert_eq!(world.run(60), []);
}

#[test]
fn dead_spare_is_removed_after_its_hold() {
    let mut world = World::new("abc");
    world.join("s", Suffrage::Nonvoter);
    world.kill("s");
    let removal = "remove s: failed for 180 s of 180, 3 healthy voters of 3 remain";
    assert_eq!(world.run(600), [(1180, removal.to_string())]);
}

#[test]
fn dead_spares_leave_one_or_two_voters_one_by_one() {
    for voters in ["a", "ab"] {
        let mut world = World::new(voters);
        world.join("s", Suffrage::Nonvoter);
        world.join("t", Suffrage::Nonvoter);
        world.kill("st");
        let done = world.run(600);
        assert_eq!(done.len(), 1, "{done:?}");
        assert!(done[0].1.starts_with("remove s"), "{done:?}");
        assert_eq!(world.rules(), [rule("t", "window")]);
        assert_eq!(world.run(3600).len(), 1);
    }
}

#[test]
fn intended_size_of_one_or_two_keeps_dead_voters() {
    let mut world = World::new("abc");
    world.settings = settings(2, 0);
    world.kill("c");
    assert_eq!(world.run(10 * HOLD), []);
    let [(server, reason)] = &world.blocks()[..] else {
        panic!("not one reason");
    };
    assert_eq!((server.as_str(), reason.rule()), ("c", "window"));
    let shown = "dead, but no voter leaves a cluster whose intended size tolerates no failure: \
                 remove it by hand";
    assert_eq!(reason.to_string(), shown);
}

#[test]
fn dry_run_names_the_action_and_counts_nothing() {
    let mut world = World::new("abcde");
    world.settings = Settings::new(5, AutopilotConfiguration::default()).unwrap();
    world.kill("e");
    let done = world.run(HOLD + 50);
    assert_eq!(done.len(), 6);
    assert_eq!(world.servers.len(), 5);
}

#[test]
fn next_check_is_when_the_first_reason_ends() {
    let mut world = World::new("abcde");
    let wait = |world: &mut World| world.decide().next_check.as_secs() - world.second;
    assert_eq!(wait(&mut world), PAUSE);
    world.kill("e");
    world.tick();
    world.second += HOLD - 3;
    assert_eq!(wait(&mut world), 3);
}

#[test]
fn empty_cluster_decides_nothing() {
    let view = RaftView::new("a", Default::default());
    let snapshot = Snapshot::new(Duration::MAX, view);
    let decision = decide(&snapshot, &settings(3, 0), Memory::default());
    assert_eq!(decision.action, None);
    assert_eq!(decision.next_check, Duration::MAX);
}

#[test]
fn contradictory_settings_are_refused() {
    let configuration = AutopilotConfiguration::default;
    let refused = Settings::new(0, configuration()).unwrap_err();
    assert_eq!(refused, InvalidSettings::NoVoters);
    let settings = Settings::new(3, configuration()).unwrap();
    let short = settings.clone().with_hold(Duration::from_secs(9));
    assert!(matches!(short, Err(InvalidSettings::HoldTooShort { .. })));
    let long = settings.clone().with_hold(Duration::from_secs(3601));
    assert!(matches!(long, Err(InvalidSettings::HoldAboveWindow { .. })));
    let narrow = settings.with_window(Duration::from_secs(179));
    assert!(matches!(
        narrow,
        Err(InvalidSettings::HoldAboveWindow { .. })
    ));
}

#[test]
fn default_min_quorum_leaves_one_from_four_voters_on() {
    let least = [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (7, 6)];
    for (intended, minimum) in least {
        assert_eq!(settings(intended, 0).min_quorum(), minimum);
    }
    assert_eq!(settings(5, 3).min_quorum(), 3);
}
