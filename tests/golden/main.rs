//! Replays recorded exchanges with real Consul servers against the crate.
//!
//! The recordings are read from `$GOLDEN_DIR`, or from tests/golden. Each file
//! has one closing line; `cargo test --all-features --test golden -- --nocapture`
//! shows them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deviations;
mod normalise;
mod recording;
#[cfg(feature = "http")]
mod socket;
mod world;

use std::path::PathBuf;

use normalise::normalise;
use recording::{Case, Recording, Response};
use world::World;

#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    equal: usize,
    /// Of the equal ones, those whose text is a server's own and differs.
    alike: usize,
    deviating: usize,
    failing: usize,
}

#[test]
fn recorded_exchanges_are_answered_as_recorded() {
    replay_all(|world| world);
}

#[cfg(feature = "http")]
#[test]
fn recorded_exchanges_are_the_same_over_a_socket() {
    replay_all(World::over_sockets);
}

fn replay_all(connect: fn(World) -> World) {
    let folder = std::env::var_os("GOLDEN_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
        PathBuf::from,
    );
    let recordings = recording::read(&folder);
    assert!(
        !recordings.is_empty(),
        "no recordings in {}",
        folder.display()
    );
    let mut bad = Vec::new();
    let (mut equal, mut cases) = (0, 0);
    for (file, recording) in &recordings {
        let tally = replay(file, recording, connect, &mut bad);
        println!(
            "{file}: {} cases, {} equal ({} of them in status and shape), {} deviating, {} failing",
            tally.cases, tally.equal, tally.alike, tally.deviating, tally.failing
        );
        equal += tally.equal;
        cases += tally.cases;
    }
    if equal * 100 < cases * 97 {
        bad.push(format!("less than 97 % are equal: {equal} of {cases}"));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}

fn replay(
    file: &str,
    recording: &Recording,
    connect: fn(World) -> World,
    bad: &mut Vec<String>,
) -> Tally {
    let mut tally = Tally::default();
    for scenario in &recording.scenarios {
        let mut world = connect(World::new(&recording.consul, scenario));
        for case in &scenario.cases {
            tally.cases += 1;
            let (verdict, ours) = answer(&mut world, case, scenario.name.contains("three servers"));
            world.learn(&case.response, &ours);
            match verdict {
                Verdict::Equal => tally.equal += 1,
                Verdict::Alike => {
                    tally.equal += 1;
                    tally.alike += 1;
                }
                Verdict::Different => {
                    match deviations::of(&recording.consul, scenario, case, &ours) {
                        Some(deviation) => {
                            tally.deviating += 1;
                            println!(
                                "{file}: {}: {}: {}",
                                case.name, deviation.name, deviation.reason
                            );
                        }
                        None => {
                            tally.failing += 1;
                            bad.push(format!(
                            "{file}: {}: {}\n  {} {}\n  recorded {:?}\n  answered {ours:?}\n  with accidents taken out\n  recorded {:?}\n  answered {:?}",
                            scenario.name,
                            case.name,
                            case.request.method,
                            case.request.target,
                            case.response,
 normalise(&case.response, world.recorded_ids()),
 normalise(&ours, &world.ids())
                        ));
                        }
                    }
                }
            }
        }
    }
    tally
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Equal,
    Alike,
    Different,
}

/// Sends a case to the servers that may have been asked, and returns the best answer.
fn answer(world: &mut World, case: &Case, many: bool) -> (Verdict, Response) {
    world.prepare(case);
    let recorded = normalise(&case.response, world.recorded_ids());
    let candidates = world.candidates(case);
    let mut answers = candidates.into_iter().map(|server| {
        let response = world.send(server, &case.request);
        let ours = normalise(&response, &world.ids());
        let verdict = if ours == recorded {
            Verdict::Equal
        } else if many && is_alike(&ours, &recorded) {
            Verdict::Alike
        } else {
            Verdict::Different
        };
        (verdict, response)
    });
    let mut best = answers.next().unwrap();
    for answer in answers {
        if answer.0 < best.0 {
            best = answer;
        }
    }
    best
}

/// Compares errors of several servers by status and type only, since they have Go's own
/// network errors.
fn is_alike(ours: &Response, recorded: &Response) -> bool {
    ours.status == recorded.status
        && ours.headers == recorded.headers
        && ours.is_text()
        && recorded.is_text()
}

#[test]
fn documented_deviations_are_the_tested_ones() {
    let table = include_str!("../../docs/deviations.md");
    for deviation in deviations::DEVIATIONS {
        let row = format!("| {} | {} |", deviation.name, deviation.reason);
        assert!(table.contains(&row), "docs/deviations.md lacks: {row}");
    }
    let rows = table.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(
        rows,
        deviations::DEVIATIONS.len() + 1,
        "rows beside the heading"
    );
}
