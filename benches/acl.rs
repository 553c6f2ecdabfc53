//! The time of a decision with many tokens, how it scales to two threads, the memory of a token,
//! and the time to read a hostile policy.
//!
//! Tokens are presented in random order, so with many of them most of the time is spent waiting
//! for memory. The time of one such wait on this machine, and how waits scale to two threads, is
//! measured as well. Real requests repeat tokens, so a thousand out of all are presented too.

use std::alloc::System;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use cap::Cap;
use cluster_operator::acl::{Access, AccessorId, Resource, Rule, Rules, TokenDefinition};
use cluster_operator::{AclAuthorizer, Token, TokenStore};
use criterion::{BenchmarkId, Criterion};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Pseudorandom numbers, the same in every run (SplitMix64).
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn uuid(n: u64) -> String {
    let (high, low) = (mixed(n), mixed(n ^ 1 << 63));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

const SECRETS: u64 = 1 << 32;
const UNKNOWN: u64 = 1 << 40;

/// Every token may read, and none may write.
fn store(tokens: u64) -> TokenStore {
    let builder =
        TokenStore::builder().policy("read", Rules::new().with(Resource::Operator, Rule::Read));
    (0..tokens)
        .fold(builder, |builder, n| {
            let accessor = AccessorId::new(uuid(n));
            let definition = TokenDefinition::new(accessor, Token::new(uuid(SECRETS + n)));
            builder.token(definition.with_policy("read"))
        })
        .build()
        .expect("the tokens fit together")
}

/// The secrets in random order, next to each other in memory, so that only the store's memory is
/// far away.
fn presented(tokens: u64, from: u64) -> Vec<Token> {
    let mut order: Vec<u64> = (0..tokens).collect();
    order.sort_unstable_by_key(|n| mixed(n ^ 0x5555));
    order.iter().map(|n| Token::new(uuid(from + n))).collect()
}

fn check(store: &TokenStore, token: &Token, access: Access) -> bool {
    store
        .check(Some(black_box(token)), Resource::Operator, access)
        .is_ok()
}

fn decisions(criterion: &mut Criterion, name: &str, tokens: u64) {
    let store = store(tokens);
    let known = presented(tokens, SECRETS);
    let unknown = presented(tokens, UNKNOWN);
    let mut group = criterion.benchmark_group(name);
    for (case, presented, access) in [
        ("hit", &known[..], Access::Read),
        ("hit, 1 k in use", &known[..1_000], Access::Read),
        ("denied", &known, Access::Write),
        ("miss", &unknown, Access::Read),
    ] {
        let mut next = presented.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(case), |bencher| {
            bencher.iter(|| next.next().map(|token| check(&store, token, access)));
        });
    }
    let mut next = known.iter().cycle();
    group.bench_function(BenchmarkId::from_parameter("hit, async"), |bencher| {
        bencher.iter(|| {
            let token = next.next();
            let future = store.authorize(token, Resource::Operator, Access::Read);
            futures_executor::block_on(future).is_ok()
        });
    });
    group.finish();
}

/// Decisions a second by so many threads together.
fn rate(store: &TokenStore, presented: &[Token], threads: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let share = presented.len() / threads;
    let slowest = thread::scope(|scope| {
        let workers: Vec<_> = presented
            .chunks_exact(share)
            .take(threads)
            .map(|tokens| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    for token in tokens {
                        black_box(check(store, token, Access::Read));
                    }
                    start.elapsed()
                })
            })
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .max()
            .unwrap_or(Duration::MAX)
    });
    (share * threads) as f64 / slowest.as_secs_f64()
}

fn scaling(name: &str, tokens: u64) {
    let before = ALLOCATOR.allocated();
    let store = store(tokens);
    let bytes = (ALLOCATOR.allocated() - before) as f64 / tokens as f64;
    println!("{name}: {bytes:.1} bytes a token");
    // Enough decisions that a round takes a while.
    let rounds = (1_000_000 / tokens).max(1);
    let known: Vec<_> = (0..rounds)
        .flat_map(|_| presented(tokens, SECRETS))
        .collect();
    // One and two threads in turn, so that a busy machine slows both.
    let mut ratios: Vec<_> = (0..7)
        .map(|_| {
            let (one, two) = (rate(&store, &known, 1), rate(&store, &known, 2));
            (two / one, one, two)
        })
        .collect();
    ratios.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, one, two) = ratios[ratios.len() / 2];
    println!(
        "{name}: {:.2} M decisions a second by one thread, {:.2} M by two: x {ratio:.2}",
        one / 1e6,
        two / 1e6
    );
}

/// Nanoseconds that each of so many threads waits for a distant cache line, one after the other.
fn wait(lines: &[[usize; 8]], threads: usize) -> f64 {
    const WAITS: usize = 1_000_000;
    let barrier = Barrier::new(threads);
    let slowest = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    let mut at = thread * lines.len() / threads;
                    for _ in 0..WAITS {
                        at = lines[at][0];
                    }
                    black_box(at);
                    start.elapsed()
                })
            })
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .max()
            .unwrap_or(Duration::MAX)
    });
    slowest.as_secs_f64() * 1e9 / WAITS as f64
}

fn waiting(name: &str, tokens: u64) {
    let count = tokens as usize * 3 / 2;
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_unstable_by_key(|n| mixed(*n as u64));
    // One cycle through all lines.
    let mut lines = vec![[0; 8]; count];
    for (from, to) in order.iter().zip(order.iter().cycle().skip(1)) {
        lines[*from][0] = *to;
    }
    let mut ratios: Vec<_> = (0..7)
        .map(|_| (wait(&lines, 1), wait(&lines, 2)))
        .map(|(one, two)| (2.0 * one / two, one))
        .collect();
    ratios.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, one) = ratios[ratios.len() / 2];
    println!("{name}: one wait for memory takes {one:.0} ns; two threads x {ratio:.2}");
}

const SIZES: [(&str, u64); 3] = [
    ("1 k tokens", 1_000),
    ("100 k tokens", 100_000),
    ("1 M tokens", 1_000_000),
];

/// Policies of the largest size that are hard to read, or were for earlier parsers.
const HOSTILE: [(&str, &str, &str); 20] = [
    ("unfinished objects with expressions", "p=", "{r%r%"),
    ("labels", "a", " b"),
    ("nested blocks", "", "a{"),
    ("nested lists", "a=", "["),
    ("nested lists and blocks", "a=", "[{a="),
    ("attributes", "", "partition=1\n"),
    ("blocks", "", "node \"\" { policy = \"read\" }\n"),
    (
        "blocks with labels",
        "",
        "node a b c d { policy = \"read\" }\n",
    ),
    ("unknown names", "", "operatr=1\n"),
    ("repeated rules", "", "operator=\"read\"\n"),
    ("unterminated string", "operator=\"", "\\\\"),
    ("interpolations", "operator=\"", "${"),
    ("heredocs", "", "partition=<<A\nA\n"),
    ("unterminated heredoc", "operator=<<A\n", " A \n"),
    ("comments", "", "/*/**/"),
    ("white space", "", " \n"),
    ("JSON: nested objects", "", "{\"partition\":"),
    ("JSON: nested lists", "{\"partition\":", "["),
    ("JSON: members", "{\"partition\":1", ",\"partition\":1"),
    ("JSON: escapes", "{\"operator\":\"", "\\u0061"),
];

fn hostile() {
    for (name, start, part) in HOSTILE {
        let parts = (Rules::MAX_BYTES - start.len()) / part.len();
        let text = format!("{start}{}", part.repeat(parts));
        let slowest = (0..5).map(|_| {
            let start = Instant::now();
            let _ = black_box(text.parse::<Rules>());
            start.elapsed()
        });
        let slowest = slowest.max().unwrap_or_default().as_secs_f64() * 1e3;
        println!("1 MB of hostile policy, {name}: {slowest:.2} ms");
    }
}

fn main() {
    hostile();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    for (name, tokens) in SIZES {
        decisions(&mut criterion, name, tokens);
    }
    criterion.final_summary();
    for (name, tokens) in SIZES {
        scaling(name, tokens);
        waiting(name, tokens);
    }
}
