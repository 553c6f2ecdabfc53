//! What Consul was measured to do, and what this autopilot does instead. `docs/autopilot.md`
//! has the table.

use cluster_operator::autopilot::Detected;
use cluster_operator::mock::Fault;
use cluster_operator::raft::{LogPosition, Suffrage};

use crate::cluster::Cluster;
use crate::support::{HOLD, World, settings};

/// The longest time between two ticks.
const TICK: u64 = 10;

/// Expects a time in seconds that is this long, or a tick longer, and the second in which
/// it is seen.
#[track_caller]
fn assert_takes(seconds: u64, expected: u64) {
    let range = expected..=expected + TICK + 1;
    assert!(range.contains(&seconds), "{seconds} s, not {range:?}");
}

#[test]
fn killed_server_of_three_stays_until_a_spare_joins() {
    let cluster = Cluster::new("abc", "s", settings(3, 0));
    cluster.script(async {
        cluster.kill("s");
        cluster.wait(60).await;
        cluster.kill("c");
        cluster.wait(10 * HOLD).await;
        assert_eq!(cluster.voters(), "abc");
        let shown = "c: dead, but 2 voters would remain, below MinQuorum 3: add a spare, which \
                     takes its place";
        assert!(
            cluster.refusals().contains(&shown.into()),
            "{:?}",
            cluster.refusals()
        );
        // The dead spare was removed, too.
        assert_eq!(cluster.spares(), "");
        cluster.start("s");
        assert!(cluster.federation.join_without_vote("s"));
        let took = cluster.wait_until(|| cluster.voters() == "abs").await;
        assert_takes(took, 10);
    });
}

#[test]
fn killed_server_of_five_is_removed_after_three_minutes() {
    let cluster = Cluster::new("abcde", "", settings(5, 0));
    cluster.script(async {
        cluster.wait(60).await;
        cluster.kill("e");
        let took = cluster.wait_until(|| cluster.voters() == "abcd").await;
        assert_takes(took, HOLD);
    });
    let acts = cluster.acts();
    assert_eq!(acts.len(), 1);
    assert!(
        acts[0].1.ends_with("4 healthy voters of 4 remain"),
        "{acts:?}"
    );
}

#[test]
fn cleanup_that_is_switched_on_acts_at_the_next_tick() {
    let cluster = Cluster::new("abcde", "", settings(5, 0));
    cluster.script(async {
        cluster.configure(|configuration| configuration.cleanup_dead_servers = false);
        cluster.wait(60).await;
        cluster.kill("e");
        cluster.wait(2 * HOLD).await;
        assert_eq!(cluster.voters(), "abcde");
        cluster.configure(|configuration| configuration.cleanup_dead_servers = true);
        let took = cluster.wait_until(|| cluster.voters() == "abcd").await;
        assert_takes(took, 0);
    });
}

#[test]
fn one_of_two_killed_at_once_is_removed() {
    let cluster = Cluster::new("abcde", "", settings(5, 0));
    cluster.script(async {
        cluster.wait(60).await;
        cluster.kill("de");
        cluster.wait(2 * HOLD).await;
        assert_eq!(cluster.voters(), "abce");
        // Without a leader nothing is lost: the two that are up need one that comes back.
        cluster.kill("c");
        cluster.wait(10 * HOLD).await;
        assert_eq!(cluster.leader(), None);
        cluster.start("e");
        assert!(cluster.leader().is_some());
    });
}

#[test]
fn min_quorum_3_removes_two_one_by_one_and_no_third() {
    let cluster = Cluster::new("abcde", "", settings(5, 3));
    cluster.script(async {
        cluster.wait(60).await;
        cluster.kill("de");
        let first = cluster.wait_until(|| cluster.voters().len() == 4).await;
        let second = cluster.wait_until(|| cluster.voters() == "abc").await;
        assert_takes(first, HOLD);
        assert_takes(second, TICK);
        cluster.kill("c");
        cluster.wait(10 * HOLD).await;
        assert_eq!(cluster.voters(), "abc");
        assert!(cluster.leader().is_some());
    });
}

#[test]
fn min_quorum_5_keeps_all_five() {
    let cluster = Cluster::new("abcde", "", settings(5, 5));
    cluster.script(async {
        cluster.wait(60).await;
        cluster.kill("de");
        cluster.wait(2 * HOLD).await;
        cluster.kill("c");
        cluster.wait(2 * HOLD).await;
        assert_eq!(
            (cluster.voters().as_str(), cluster.leader()),
            ("abcde", None)
        );
        cluster.start("cde");
        cluster.wait(1).await;
        assert!(cluster.leader().is_some());
    });
    assert_eq!(cluster.acts(), []);
}

#[test]
fn removed_server_that_comes_back_votes_once_it_is_stable() {
    let cluster = Cluster::new("abcde", "", settings(5, 0));
    cluster.script(async {
        cluster.wait(60).await;
        cluster.kill("e");
        cluster.wait_until(|| cluster.voters() == "abcd").await;
        cluster.start("e");
        assert!(cluster.federation.join_without_vote("e"));
        let took = cluster.wait_until(|| cluster.voters() == "abcde").await;
        assert_takes(took, 10);
    });
}

#[test]
fn follower_that_is_stopped_for_25_seconds_stays() {
    let cluster = Cluster::new("abc", "", settings(3, 2));
    cluster.script(async {
        cluster.wait(60).await;
        let frozen = cluster.federation.inject(Fault::pause("c"));
        cluster.wait(25).await;
        cluster.federation.heal(frozen);
        cluster.wait(2 * HOLD).await;
        assert_eq!(cluster.voters(), "abc");
    });
    assert_eq!(cluster.acts(), []);
}

#[test]
fn leader_that_is_stopped_for_25_seconds_stays() {
    let cluster = Cluster::new("abc", "", settings(3, 2));
    cluster.script(async {
        cluster.wait(60).await;
        let frozen = cluster.federation.inject(Fault::pause("a"));
        cluster.wait(25).await;
        assert_eq!(cluster.leader().as_deref(), Some("b"));
        cluster.federation.heal(frozen);
        cluster.wait(2 * HOLD).await;
        assert_eq!(cluster.voters(), "abc");
    });
    assert_eq!(cluster.acts(), []);
}

#[test]
fn new_leader_of_five_removes_one_of_two_after_the_hold() {
    let cluster = Cluster::new("abcde", "", settings(5, 0));
    cluster.script(async {
        cluster.wait(60).await;
        cluster.kill("ae");
        let took = cluster.wait_until(|| cluster.voters().len() == 4).await;
        assert_takes(took, HOLD);
        cluster.wait(10 * HOLD).await;
        assert_eq!(cluster.voters().len(), 4);
    });
}

#[test]
fn absent_servers_after_a_restart_have_the_whole_hold() {
    for known in [true, false] {
        let cluster = Cluster::new("abcde", "", settings(5, 0));
        cluster.script(async {
            cluster.wait(60).await;
            cluster.kill("abcde");
            cluster.wait(HOLD).await;
            cluster.start("abc");
            if !known {
                // The gossip has forgotten them, too.
                cluster.lie("d", None);
                cluster.lie("e", None);
                cluster.wait(10 * HOLD).await;
                assert_eq!(cluster.voters(), "abcde");
                return;
            }
            let took = cluster.wait_until(|| cluster.voters().len() == 4).await;
            assert_takes(took, HOLD);
            cluster.wait(10 * HOLD).await;
            assert_eq!(cluster.voters().len(), 4);
        });
    }
}

#[test]
fn flapping_server_stays() {
    // For how long it is up and down in turn, and for how long in all.
    for (up, down, total) in [(2, 2, 32), (7, 3, 60), (14, 6, 80), (20, 170, 3600)] {
        let cluster = Cluster::new("abc", "", settings(3, 2));
        cluster.script(async {
            cluster.wait(60).await;
            for _ in 0..total / (up + down) {
                cluster.kill("c");
                cluster.wait(down).await;
                cluster.start("c");
                cluster.wait(up).await;
            }
            assert_eq!(cluster.voters(), "abc");
        });
        assert_eq!(cluster.acts(), []);
    }
}

#[test]
fn joining_server_votes_after_the_stabilization_time() {
    for (stabilization, spare) in [(10, true), (0, true), (60, true), (60, false)] {
        let cluster = Cluster::new("ab", "s", settings(3, 0));
        cluster.configure(|configuration| {
            configuration.server_stabilization_time = std::time::Duration::from_secs(stabilization);
        });
        cluster.script(async {
            if spare {
                cluster.kill("s");
                cluster.wait(60).await;
                cluster.start("s");
            }
            // Else the whole cluster has just started.
            let took = cluster.wait_until(|| cluster.voters() == "abs").await;
            assert_takes(took, stabilization);
        });
    }
}

#[test]
fn transfer_begins_the_stabilization_time_anew() {
    let cluster = Cluster::new("ab", "s", settings(3, 0));
    cluster.configure(|configuration| {
        configuration.server_stabilization_time = std::time::Duration::from_secs(30);
    });
    cluster.script(async {
        cluster.kill("s");
        cluster.wait(60).await;
        cluster.start("s");
        cluster.wait(20).await;
        assert!(cluster.federation.elect("b"));
        let took = cluster.wait_until(|| cluster.voters() == "abs").await;
        assert_takes(took, 30);
    });
}

#[test]
fn server_that_leaves_is_removed_after_the_hold() {
    for (min_quorum, voters) in [(2, "ab"), (3, "abc")] {
        let cluster = Cluster::new("abc", "", settings(3, min_quorum));
        cluster.script(async {
            cluster.wait(60).await;
            cluster.kill("c");
            cluster.lie("c", Some(Detected::Left));
            cluster.wait(HOLD - TICK).await;
            assert_eq!(cluster.voters(), "abc");
            cluster.wait(3 * TICK).await;
            assert_eq!(cluster.voters(), voters);
        });
    }
}

#[test]
fn threshold_that_is_always_exceeded_removes_nobody() {
    // Under writes, or with a short threshold, a follower is behind or late.
    for (behind, late) in [(true, false), (false, true)] {
        let mut world = World::new("abc");
        world.settings = settings(3, 2);
        world.join("s", Suffrage::Nonvoter);
        let server = world.server("c");
        if behind {
            server.log = Some(LogPosition { term: 2, index: 1 });
        }
        if late {
            server.silent_since = Some(1000);
        }
        assert_eq!(world.run(20 * HOLD), []);
    }
}
