//! Random requests and faults against a federation of three datacenters, with
//! what must hold checked after every step. Chance comes from the seed alone, so
//! a failure prints the command that repeats it.
//!
//! `SIMULATION_SEED=17` runs one seed, `SIMULATION_SEEDS=1000` that many, and
//! `SIMULATION_STEPS=2000` makes each of them longer.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used)]

mod attribution;
mod close;
mod invariants;
mod issue;
mod model;
mod regressions;
mod rotating;
mod seen;
mod storm;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

/// What must not be, in words.
type Violation = String;

/// How many seeds are run when nothing else is said: some seconds.
const SEEDS: u64 = 24;

/// How many requests each of them makes, at least.
const STEPS: usize = 300;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name}={text:?} is no number"),
    }
}

/// Runs a seed and says how many requests it has made.
///
/// # Panics
/// If something does not hold.
fn simulate(seed: u64, steps: usize) -> usize {
    let mut world = World::new(seed);
    let ended = catch_unwind(AssertUnwindSafe(|| world.live(steps)));
    let violation = match ended {
        Ok(Ok(())) => return world.steps,
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
    panic!(
        "{last}\n\nafter {} requests: {violation}\nto repeat it:\n\n    \
         SIMULATION_SEED={seed}{repeat} cargo test --all-features --test simulation\n",
        world.steps
    );
}

#[test]
fn whatever_goes_wrong_the_promises_hold() {
    let steps = setting("SIMULATION_STEPS").map_or(STEPS, |steps| steps as usize);
    if let Some(seed) = setting("SIMULATION_SEED") {
        simulate(seed, steps);
        return;
    }
    let seeds = setting("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let began = std::time::Instant::now();
    let made: usize = (0..seeds).map(|seed| simulate(seed, steps)).sum();
    println!(
        "{made} requests with {seeds} seeds in {:?}",
        began.elapsed()
    );
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    let story = |seed| {
        let mut world = World::new(seed);
        world.live(60).unwrap();
        world.federation.transcript().to_string()
    };
    assert_eq!(story(5), story(5));
    assert_ne!(story(5), story(6));
}
