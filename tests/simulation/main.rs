//! Random requests and faults in a federation of three datacenters, with the
//! invariants checked after every step. All randomness comes from the seed, and a
//! failure prints the command that repeats it.
//!
//! `SIMULATION_SEED=17` runs one seed, `SIMULATION_SEEDS=1000` that many,
//! `SIMULATION_SEEDS=1000..2000` these, and `SIMULATION_STEPS=2000` makes each
//! of them longer.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used)]

mod attribution;
mod invariants;
mod issue;
mod model;
mod plans;
mod random;
mod regressions;
mod rotating;
mod scenarios;
mod seen;
mod tally;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use tally::Tally;
use world::World;

/// A description of what is wrong.
type Violation = String;

/// The default number of seeds.
const SEEDS: u64 = 24;

/// The least number of requests of each seed.
const STEPS: usize = 300;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name}={text:?} is not a number"),
    }
}

/// The seeds to run: a number of them, or a range.
fn seeds() -> Range<u64> {
    let Some((first, end)) = std::env::var("SIMULATION_SEEDS")
        .ok()
        .and_then(|text| Some(text.split_once("..")?).map(|(a, b)| (a.to_owned(), b.to_owned())))
    else {
        return 0..setting("SIMULATION_SEEDS").unwrap_or(SEEDS);
    };
    match (first.parse(), end.parse()) {
        (Ok(first), Ok(end)) => first..end,
        _ => panic!("SIMULATION_SEEDS={first}..{end} are not numbers"),
    }
}

/// Runs a seed. Returns the number of requests and what was covered, or the
/// violation and how to repeat it.
fn simulate(seed: u64, steps: usize) -> Result<(usize, Tally), Violation> {
    let mut world = World::new(seed);
    let ended = catch_unwind(AssertUnwindSafe(|| world.live(steps)));
    let violation = match ended {
        Ok(Ok(())) => return Ok((world.steps, world.tally)),
        Ok(Err(violation)) => violation,
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(text) => format!("a panic: {text}"),
            None => "a panic, see above".into(),
        },
    };
    let story = world.federation.transcript().to_string();
    let lines: Vec<_> = story.lines().collect();
    let last = lines[lines.len().saturating_sub(60)..].join("\n");
    let repeat = match steps {
        STEPS => String::new(),
        _ => format!(" SIMULATION_STEPS={steps}"),
    };
    Err(format!(
        "{last}\n\nafter {} requests: {violation}\nto repeat it:\n\n    \
         SIMULATION_SEED={seed}{repeat} cargo test --all-features --test simulation\n",
        world.steps
    ))
}

/// Runs seeds, one on each core, up to the first that fails.
fn simulate_all(seeds: Range<u64>, steps: usize) -> Result<(usize, Tally), Violation> {
    let next = AtomicU64::new(seeds.start);
    let run = || {
        let (mut made, mut tally) = (0, Tally::default());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                return Ok((made, tally));
            }
            if seed % 10_000 == 9_999 {
                println!("seed {seed}");
            }
            match simulate(seed, steps) {
                Ok((requests, met)) => {
                    made += requests;
                    tally.merge(met);
                }
                Err(violation) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    return Err(violation);
                }
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
        let mut all = (0, Tally::default());
        for thread in threads {
            let (made, tally) = thread.join().unwrap()?;
            all.0 += made;
            all.1.merge(tally);
        }
        Ok(all)
    })
}

#[test]
fn invariants_hold_under_random_faults() {
    let steps = setting("SIMULATION_STEPS").unwrap_or(STEPS);
    let seed = setting("SIMULATION_SEED");
    let seeds = seed.map_or_else(seeds, |seed: u64| seed..seed + 1);
    let (began, count) = (Instant::now(), seeds.clone().count() as u64);
    let (made, met) = simulate_all(seeds, steps).unwrap_or_else(|violation| panic!("{violation}"));
    let took = began.elapsed();
    println!("{made} requests with {count} seeds in {took:?}\n{met}");
    // A single seed cannot cover everything.
    if count >= SEEDS {
        assert_eq!(met.missing(), [""; 0], "not covered");
    }
    assert_eq!(met.unexpected(), [""; 0], "impossible answers");
}

#[test]
fn same_seed_gives_the_same_transcript() {
    let story = |seed| {
        let mut world = World::new(seed);
        world.live(60).unwrap();
        world.federation.transcript().to_string()
    };
    assert_eq!(story(5), story(5));
    assert_ne!(story(5), story(6));
}
