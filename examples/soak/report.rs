//! The figures, and whether the bounds are held.

use std::time::Duration;

use cluster_operator_demo::operated;

use crate::counter::{self, Attempts};
use crate::drain::Drain;
use crate::keys::Keys;
use crate::timeline::Phase;
use crate::tokens::Reloads;
use crate::traffic::{Read, Seen};
use crate::{Arguments, Faults, Usage};

/// What a server needs beyond its deadline to answer under load.
const MARGIN: Duration = Duration::from_secs(4);

/// The connections of clients and of servers that a server accepts, and some files of its own.
const FILES: usize = 600 + 256 + 100;

/// Times of fewer answers say nothing.
const ENOUGH: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct Report {
    faults: Faults,
    drain: Drain,
    reloads: Reloads,
    usage: Usage,
    pub(crate) seen: Seen,
    pub(crate) attempts: Attempts,
    pub(crate) last_number: u64,
    pub(crate) keys: Keys,
    pub(crate) torn_keyrings: u32,
}

impl Report {
    pub(crate) fn new(faults: Faults, drain: Drain, reloads: Reloads, usage: Usage) -> Self {
        Report {
            faults,
            drain,
            reloads,
            usage,
            ..Report::default()
        }
    }

    /// Prints the report, and returns true if all bounds are held.
    pub(crate) fn print(&self, arguments: &Arguments) -> bool {
        let checks = self.checks(arguments);
        println!(
            "\n{} s, {} connections, {:.0} reads/s wanted; {} servers killed and restarted, {} \
             hangs of dc2 ({:.0} s together)\n",
            arguments.seconds,
            arguments.connections,
            arguments.rate,
            self.faults.kills,
            self.faults.hangs,
            self.faults.hung.as_secs_f64(),
        );
        println!("| what | bound | measured | held |\n|---|---|---|---|");
        for check in &checks {
            let held = if check.failures.is_empty() {
                "yes"
            } else {
                "**no**"
            };
            println!(
                "| {} | {} | {} | {held} |",
                check.what, check.bound, check.measured
            );
        }
        self.print_times();
        println!(
            "\nAt most {} requests under way at once while nothing was wrong, and {} otherwise; \
             at most {} MiB of memory for a server; {} half-written keyring files of killed \
             servers replaced.",
            self.usage.calm,
            self.usage.disturbed,
            self.usage.memory / 1024,
            self.torn_keyrings,
        );
        for check in &checks {
            for failure in check.failures.iter().take(10) {
                println!("{}: {failure}", check.what);
            }
            if check.failures.len() > 10 {
                println!("{}: {} failures", check.what, check.failures.len());
            }
        }
        checks.iter().all(|check| check.failures.is_empty())
    }

    fn print_times(&self) {
        println!("\n| reads | phase | answers | p50 | p99 | p99 / p50 | failed |");
        println!("|---|---|---|---|---|---|---|");
        let answered = self.seen.times.keys();
        let mut keys: Vec<_> = answered.chain(self.seen.failed.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let (read, phase) = key;
            let phase = match phase {
                Phase::Calm => "nothing wrong",
                Phase::Hang => "dc2 hangs",
                Phase::Between => "in between",
                Phase::Down => "a server is down, or all are told to stop",
            };
            let times = self.seen.times.get(key).map_or(&[][..], Vec::as_slice);
            let failed = self.seen.failed.get(key).unwrap_or(&0);
            let (p50, p99) = percentiles(times);
            println!(
                "| {} | {phase} | {} | {} | {} | {:.1} | {failed} |",
                read.name(),
                times.len(),
                milliseconds(p50),
                milliseconds(p99),
                ratio(p50, p99),
            );
        }
    }

    fn checks(&self, arguments: &Arguments) -> Vec<Check> {
        let [done, not_done, unknown] = counter::counts(&self.attempts);
        let mut counted = counter::judge(&self.attempts, self.last_number);
        if done == 0 {
            counted.push("no write was counted".into());
        }
        let mut keys = self.keys.failures.clone();
        if self.keys.pairs + self.keys.kept.len() == 0 {
            keys.push("no key was written while nothing was wrong".into());
        }
        let mut checks = vec![
            Check {
                what: "counted writes lost, doubled or not admitted",
                bound: "0".into(),
                measured: format!(
                    "{} of {done} done; {not_done} refused, {unknown} with an unknown outcome",
                    counter::judge(&self.attempts, self.last_number).len()
                ),
                failures: counted,
            },
            Check {
                what: "gossip keys missing, or back after their removal",
                bound: "0".into(),
                measured: format!(
                    "{} of {} pairs of writes and {} kept keys; {} refused, {} with an unknown \
                     outcome",
                    self.keys.failures.len(),
                    self.keys.pairs,
                    self.keys.kept.len(),
                    self.keys.refused,
                    self.keys.unknown
                ),
                failures: keys,
            },
        ];
        if arguments.p99_limit > 0.0 {
            checks.extend(self.time_checks(arguments));
        }
        checks.push(Check {
            what: "reads in dc1 that failed without a dead server, and valid tokens denied",
            bound: "0".into(),
            measured: format!("{}, and {}", self.seen.failures.len(), self.seen.denied),
            failures: self.seen.failures.clone(),
        });
        let mut reloads = self.reloads.failures.clone();
        if self.reloads.checked == 0 {
            reloads.push("no reload was checked".into());
        }
        checks.push(Check {
            what: "reloads of the token file that a server did not follow",
            bound: "0".into(),
            measured: format!(
                "{} of {}; {} more while a server was down",
                self.reloads.failures.len(),
                self.reloads.checked + self.reloads.failures.len() as u32,
                self.reloads.unchecked
            ),
            failures: reloads,
        });
        checks.extend(self.bounds(arguments));
        checks
    }

    /// The times of reads that need dc1 only, while dc2 hangs.
    fn time_checks(&self, arguments: &Arguments) -> Vec<Check> {
        let kinds = [
            Read::Configuration,
            Read::StaleConfiguration,
            Read::Autopilot,
        ];
        kinds
            .into_iter()
            .map(|read| {
                let times = self.seen.times.get(&(read, Phase::Hang));
                let times = times.map_or(&[][..], Vec::as_slice);
                let (p50, p99) = percentiles(times);
                let ratio = ratio(p50, p99);
                let mut failures = Vec::new();
                if ratio > arguments.p99_limit {
                    failures.push(format!("p99 is {ratio:.1} times p50"));
                }
                if times.len() < ENOUGH {
                    failures.push(format!("{} answers show nothing", times.len()));
                }
                Check {
                    what: match read {
                        Read::StaleConfiguration => {
                            "p99 / p50 while dc2 hangs: stale Raft configuration"
                        }
                        Read::Autopilot => "p99 / p50 while dc2 hangs: autopilot's configuration",
                        _ => "p99 / p50 while dc2 hangs: Raft configuration",
                    },
                    bound: format!("{}", arguments.p99_limit),
                    measured: format!("{ratio:.1}"),
                    failures,
                }
            })
            .collect()
    }

    fn bounds(&self, arguments: &Arguments) -> Vec<Check> {
        let limit = operated::DEADLINE + MARGIN;
        let over = |is: bool, text: String| Vec::from_iter(is.then_some(text));
        let connections = arguments.connections as usize;
        let mut drained = self.drain.failures.clone();
        drained.extend(over(
            self.drain.answered < self.drain.waiting || self.drain.waiting == 0,
            format!("{} of {} answered", self.drain.answered, self.drain.waiting),
        ));
        vec![
            Check {
                what: "slowest answer of a server in dc1",
                bound: format!("{} s", limit.as_secs()),
                measured: format!("{:.1} s", self.seen.slowest.as_secs_f64()),
                failures: over(
                    self.seen.slowest > limit,
                    "a request has outlived the deadline".into(),
                ),
            },
            Check {
                what: "open files of a server",
                bound: FILES.to_string(),
                measured: self.usage.files.to_string(),
                failures: over(self.usage.files > FILES, "too many".into()),
            },
            Check {
                what: "connections of readers and writers at once, by open files",
                bound: format!("at least {connections}"),
                measured: self.usage.connections.to_string(),
                failures: over(self.usage.connections < connections, "too few".into()),
            },
            Check {
                what: "requests waiting for dc2 that were answered after TERM",
                bound: "all".into(),
                measured: format!(
                    "{} of {}; all servers ended after {:.1} s",
                    self.drain.answered,
                    self.drain.waiting,
                    self.drain.took.as_secs_f64()
                ),
                failures: drained,
            },
        ]
    }
}

/// A bound and whether it is held.
struct Check {
    what: &'static str,
    bound: String,
    measured: String,
    failures: Vec<String>,
}

/// Returns the median and the 99th percentile.
fn percentiles(times: &[Duration]) -> (Duration, Duration) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let time = sorted.get(sorted.len() * percent / 100);
        time.copied().unwrap_or_default()
    };
    (at(50), at(99))
}

fn ratio(p50: Duration, p99: Duration) -> f64 {
    p99.as_secs_f64() / p50.as_secs_f64().max(1e-9)
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
