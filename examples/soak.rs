//! A soak of the main example: four server processes under load for minutes, while they are
//! killed and restarted, one hangs, and the token file is written again and again.
//!
//! ```text
//! cargo build --release -p cluster-operator-demo --examples
//! target/release/examples/soak --seconds 600
//! ```
//!
//! It needs Linux, and prints a report for docs/testing.md. The exit code is 1 if a bound
//! is not held.
//!
//! Alice, bob and carol form dc1, and dave dc2. They listen on 127.0.90.1 to 127.0.90.4, on
//! Consul's ports.

#[path = "soak/counter.rs"]
mod counter;
#[path = "soak/drain.rs"]
mod drain;
#[path = "soak/keys.rs"]
mod keys;
#[path = "soak/report.rs"]
mod report;
#[path = "soak/servers.rs"]
mod servers;
#[path = "soak/timeline.rs"]
mod timeline;
#[path = "soak/tokens.rs"]
mod tokens;
#[path = "soak/traffic.rs"]
mod traffic;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use tokio::task::JoinSet;

use crate::drain::Drain;
use crate::keys::Keys;
use crate::report::Report;
use crate::servers::{DAVE, DC1, NAMES, Pids, Servers, signal, usage};
use crate::timeline::{Phase, Timeline};
use crate::traffic::Seen;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The longest mean time between the requests of a connection, in seconds. A pause is up to
/// half longer, and the client closes a connection that was idle for 4 s.
const LONGEST_PAUSE: f64 = 2.6;

#[derive(Parser)]
#[command(about = "A soak of the main example, whose binary is beside this one.")]
struct Arguments {
    /// How long the load lasts. Start and end take about a minute more.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The connections that read, each with one request at a time. Five of six go to three
    /// servers, each of which accepts 600.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(20..=2100))]
    connections: u32,
    /// The reads a second of all connections together: at least the connections divided by
    /// 2.6, so that the client does not close a connection between two reads.
    #[arg(long, default_value_t = 800.0)]
    rate: f64,
    /// The largest p99 of reads in dc1 while dc2 hangs, as a multiple of their p50. With 0,
    /// times are not judged.
    #[arg(long, default_value_t = 5.0)]
    p99_limit: f64,
    /// Breaks something, to see that the soak fails.
    #[arg(long, value_enum, value_name = "WHAT")]
    sabotage: Option<Sabotage>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sabotage {
    /// The servers of dc1 lose their Raft logs at the end, and with them what was written.
    Data,
    /// The servers are not told of a new token file.
    Reload,
    /// The servers are killed at the end instead of being told to stop.
    Drain,
    /// The servers of dc1 stop for moments while dc2 hangs.
    Hang,
}

/// What all tasks share.
struct Soak {
    timeline: Timeline,
    connections: usize,
    /// The mean time between the requests of a connection.
    pause: Duration,
    reload_every: Duration,
    leaves_out_reloads: bool,
    ended: AtomicBool,
    under_way: AtomicUsize,
}

impl Soak {
    fn is_running(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// Counts a request until the value is dropped.
    fn under_way(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }
}

struct UnderWay<'a>(&'a Soak);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, Error> {
    let connections = arguments.connections as usize;
    check_open_files(connections)?;
    let pause = connections as f64 / arguments.rate;
    // This is false for a rate of 0, too.
    if !(0.0..=LONGEST_PAUSE).contains(&pause) {
        let least = (connections as f64 / LONGEST_PAUSE).ceil();
        return Err(format!("--rate is too low: give at least {least}").into());
    }
    let folder = tempfile::tempdir()?;
    tokens::write(folder.path(), connections, 1)?;
    let mut servers = Servers::start(folder.path())?;
    servers.complete().await?;
    let soak = Arc::new(Soak {
        timeline: Timeline::default(),
        connections,
        pause: Duration::from_secs_f64(pause),
        reload_every: Duration::from_secs_f64((arguments.seconds as f64 / 10.0).min(10.0)),
        leaves_out_reloads: arguments.sabotage == Some(Sabotage::Reload),
        ended: AtomicBool::new(false),
        under_way: AtomicUsize::new(0),
    });
    soak.timeline.enter(Phase::Calm);
    let tasks = Tasks::spawn(&soak, folder.path(), &servers.pids);
    println!(
        "{connections} connections, four servers, for {} s",
        arguments.seconds
    );

    let faults = disturb(&soak, &mut servers, arguments).await?;
    let drain = drain::drain(&soak, &mut servers, arguments.sabotage).await?;
    servers.restart(&[0, 1, 2]).await?;
    soak.timeline.enter(Phase::Calm);
    tokio::time::sleep(Duration::from_secs(1)).await;
    soak.ended.store(true, Ordering::Relaxed);
    let mut report = tasks.finish(faults, drain).await?;

    servers.complete().await?;
    let client = Servers::client(0, &tokens::root())?;
    report.last_number = counter::last(&client).await?;
    keys::judge(&client, &mut report.keys).await?;
    report.torn_keyrings = servers.torn_keyrings;
    Ok(report.print(arguments))
}

/// The tasks that ask, write and look.
struct Tasks {
    readers: JoinSet<Result<Seen, Error>>,
    counters: JoinSet<Result<counter::Attempts, Error>>,
    keys: JoinSet<Result<Keys, Error>>,
    reloads: tokio::task::JoinHandle<tokens::Reloads>,
    usage: tokio::task::JoinHandle<Usage>,
}

impl Tasks {
    fn spawn(soak: &Arc<Soak>, folder: &Path, pids: &Pids) -> Self {
        let (own_files, _) = usage(std::process::id()).unwrap_or_default();
        let mut tasks = Tasks {
            readers: JoinSet::new(),
            counters: JoinSet::new(),
            keys: JoinSet::new(),
            reloads: tokio::spawn(tokens::reload(
                Arc::clone(soak),
                folder.to_owned(),
                Arc::clone(pids),
            )),
            usage: tokio::spawn(watch_usage(Arc::clone(soak), Arc::clone(pids), own_files)),
        };
        for number in 0..soak.connections {
            let soak = Arc::clone(soak);
            tasks.readers.spawn(traffic::connection(soak, number));
        }
        for at in counter::writers() {
            tasks.counters.spawn(counter::write(Arc::clone(soak), at));
        }
        for at in 0..keys::WRITERS {
            tasks.keys.spawn(keys::write(Arc::clone(soak), at));
        }
        tasks
    }

    async fn finish(mut self, faults: Faults, drain: Drain) -> Result<Report, Error> {
        let mut report = Report::new(faults, drain, self.reloads.await?, self.usage.await?);
        while let Some(seen) = self.readers.join_next().await {
            report.seen.add(seen??);
        }
        while let Some(attempts) = self.counters.join_next().await {
            report.attempts.extend(attempts??);
        }
        while let Some(keys) = self.keys.join_next().await {
            report.keys.add(keys??);
        }
        Ok(report)
    }
}

/// What was done to the servers.
#[derive(Debug, Default)]
struct Faults {
    kills: u32,
    hangs: u32,
    /// All hangs together.
    hung: Duration,
}

/// Lets dave hang and kills a server of dc1, in turns, until the time is over.
async fn disturb(
    soak: &Soak,
    servers: &mut Servers,
    arguments: &Arguments,
) -> Result<Faults, Error> {
    let began = Instant::now();
    let whole = Duration::from_secs(arguments.seconds);
    // Longer than a call takes, if there is time.
    let hang = Duration::from_secs(25).min(whole / 3);
    let mut faults = Faults::default();
    while began.elapsed() < whole {
        tokio::time::sleep(Duration::from_secs(5).min(whole / 10)).await;
        signal(&servers.pids, DAVE, "-STOP")?;
        let hung = Instant::now();
        soak.timeline.enter(Phase::Hang);
        if arguments.sabotage == Some(Sabotage::Hang) {
            hang_in_dc1(&servers.pids, hang).await?;
        } else {
            tokio::time::sleep(hang).await;
        }
        soak.timeline.enter(Phase::Between);
        faults.hung += hung.elapsed();
        faults.hangs += 1;
        signal(&servers.pids, DAVE, "-CONT")?;
        // The calls that it had received are executed late, or not at all.
        tokio::time::sleep(Duration::from_secs(2)).await;
        servers.complete().await?;
        soak.timeline.enter(Phase::Calm);
        tokio::time::sleep(Duration::from_secs(5).min(whole / 10)).await;

        let victim = faults.kills as usize % DC1;
        soak.timeline.enter(Phase::Down);
        servers.kill(victim);
        faults.kills += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
        servers.restart(&[victim]).await?;
        soak.timeline.enter(Phase::Calm);
        println!(
            "{:.0} s: dave has hung, and {} was killed",
            began.elapsed().as_secs_f64(),
            NAMES[victim]
        );
    }
    Ok(faults)
}

/// Stops the servers of dc1 for moments, too, as if they waited for dc2.
async fn hang_in_dc1(pids: &Pids, hang: Duration) -> Result<(), Error> {
    let began = Instant::now();
    while began.elapsed() < hang {
        for (name, pause) in [("-STOP", 200), ("-CONT", 3000)] {
            for at in 0..DC1 {
                signal(pids, at, name)?;
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
    Ok(())
}

/// The largest values that were seen.
#[derive(Debug, Default)]
struct Usage {
    /// Requests under way in calm phases, and in others.
    calm: usize,
    disturbed: usize,
    /// Open files of a server.
    files: usize,
    /// Open files of this program beyond those that it had before the load.
    connections: usize,
    /// Memory of a server, in KiB.
    memory: u64,
}

/// Looks until the soak ends. This program had `own_files` open before the load.
async fn watch_usage(soak: Arc<Soak>, pids: Pids, own_files: usize) -> Usage {
    let mut largest = Usage::default();
    for look in 0.. {
        if !soak.is_running() {
            break;
        }
        let now = Instant::now();
        let under_way = soak.under_way.load(Ordering::Relaxed);
        let counted = match soak.timeline.phase(now, now) {
            Phase::Calm => &mut largest.calm,
            _ => &mut largest.disturbed,
        };
        *counted = under_way.max(*counted);
        // Listing some thousand files takes longer than a read.
        if look % 10 == 0 {
            let pids = Arc::clone(&pids);
            let look = move || {
                let servers: Vec<_> = pids
                    .iter()
                    .filter_map(|pid| usage(pid.load(Ordering::Relaxed)))
                    .collect();
                (servers, usage(std::process::id()))
            };
            let Ok((servers, own)) = tokio::task::spawn_blocking(look).await else {
                continue;
            };
            for (files, memory) in servers {
                largest.files = largest.files.max(files);
                largest.memory = largest.memory.max(memory);
            }
            if let Some((files, _)) = own {
                largest.connections = files.saturating_sub(own_files).max(largest.connections);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    largest
}

/// Fails if this process may not open as many files as it needs.
fn check_open_files(connections: usize) -> Result<(), Error> {
    // Those of the writers and of the looks, and a server's own.
    let needed = connections + 200;
    let output = Command::new("sh").args(["-c", "ulimit -n"]).output()?;
    let limit = String::from_utf8_lossy(&output.stdout);
    match limit.trim().parse::<usize>() {
        Ok(limit) if limit < needed => Err(format!(
            "{needed} open files are needed, and {limit} are allowed: run `ulimit -n {needed}` \
             first, or use fewer --connections"
        )
        .into()),
        // The text "unlimited", too.
        _ => Ok(()),
    }
}
