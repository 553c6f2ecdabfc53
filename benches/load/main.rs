//! Requests a second of the main example, against an axum server that returns the same
//! answer from memory. Each is a process of its own on one core, and `wrk` sends the
//! requests from another one.
//!
//! ```text
//! cargo build --release -p cluster-operator-demo --example server
//! cargo bench -p cluster-operator-demo --bench load
//! ```
//!
//! It needs Linux, `taskset` and [wrk](https://github.com/wg/wrk) 4.1 (`apt install wrk`).

mod server;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use server::{PATH, Server};

type Error = Box<dyn std::error::Error + Send + Sync>;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/load/requests.lua");

#[derive(Parser)]
struct Arguments {
    /// How often each server is measured, in turns.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// The seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// The connections, each with one request at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// The tokens in the token file; each request has the next one.
    #[arg(long, default_value_t = 10_000)]
    tokens: usize,
    /// The core of the servers.
    #[arg(long, default_value_t = 1)]
    server_core: usize,
    /// The core of wrk.
    #[arg(long, default_value_t = 0)]
    client_core: usize,
    /// The connections that are opened, answered and closed to see what memory they leave
    /// behind.
    #[arg(long, default_value_t = 20_000)]
    closed_connections: usize,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The main example: what it does, beside answering, and whether with access control and
/// with the access log.
const EXAMPLES: [(&str, bool, bool); 4] = [
    (
        "main example, no access control, no access log",
        false,
        false,
    ),
    ("main example, access control", true, false),
    ("main example, access log", false, true),
    ("main example, access control and access log", true, true),
];

/// The fixed body, and whether with the example's listener and access log.
const FLOORS: [(&str, bool); 2] = [
    ("fixed body", false),
    ("fixed body, the example's listener and access log", true),
];

fn main() -> ExitCode {
    let result = server::serve_fixed_body().unwrap_or_else(|| measure(&Arguments::parse()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A server and what was measured of it.
struct Measured {
    name: &'static str,
    server: Server,
    /// Whether each request has a line in its log.
    logs: bool,
    /// Requests a second in each round.
    rates: Vec<f64>,
    /// The part of its core that it used in each round.
    busy: Vec<f64>,
    /// The processor time of each round for a request, in microseconds.
    cost: Vec<f64>,
    /// Its memory after each round, in KiB.
    memory: Vec<u64>,
    requests: u64,
}

impl Measured {
    fn new(name: &'static str, server: Server, logs: bool) -> Self {
        Measured {
            name,
            server,
            logs,
            rates: Vec::new(),
            busy: Vec::new(),
            cost: Vec::new(),
            memory: Vec::new(),
            requests: 0,
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let tokens = Tokens::write(folder.path(), arguments.tokens)?;
    let log = |name: &str| folder.path().join(name);
    let core = arguments.server_core;
    let mut examples = Vec::new();
    for (number, (name, acl, logs)) in EXAMPLES.into_iter().enumerate() {
        let file = acl.then_some(tokens.acl_file.as_path());
        let server = Server::example(core, file, logs, log(&format!("log-{number}")))?;
        examples.push(Measured::new(name, server, logs));
    }
    let last = examples.last().ok_or("no example")?;
    let answer = server::ask(last.server.leader(&tokens.first)?, &tokens.first)?;
    fs::write(log("answer"), &answer.bytes)?;
    let mut measured = Vec::new();
    for (number, (name, as_example)) in FLOORS.into_iter().enumerate() {
        let log = log(&format!("log-fixed-{number}"));
        let server = Server::fixed_body(core, &log.with_file_name("answer"), as_example, log)?;
        measured.push(Measured::new(name, server, as_example));
    }
    measured.append(&mut examples);

    println!(
        "GET {PATH}, {} bytes with the head, {} connections, {} tokens, {} rounds of {} s each",
        answer.bytes.len(),
        arguments.connections,
        arguments.tokens,
        arguments.rounds,
        arguments.seconds
    );
    for _ in 0..arguments.rounds {
        for server in &mut measured {
            round(server, arguments, &tokens)?;
        }
    }
    print_rates(&measured);
    print_memory(&measured);
    for server in measured.iter().filter(|server| server.logs) {
        print_log(server)?;
    }
    let last = measured.last().ok_or("no example")?;
    close_connections(&last.server, arguments.closed_connections, &tokens.first)
}

fn round(measured: &mut Measured, arguments: &Arguments, tokens: &Tokens) -> Result<(), Error> {
    let leader = measured.server.leader(&tokens.first)?;
    let before = measured.server.processor_time()?;
    let run = wrk(arguments, leader, &tokens.list)?;
    let used = measured.server.processor_time()? - before;
    // A follower forwards to the leader, which would be another measurement.
    if measured.server.leader(&tokens.first)? != leader {
        return Err("the leader has changed during a round: repeat it on a quieter machine".into());
    }
    measured.rates.push(run.requests as f64 / run.seconds);
    measured.busy.push(used.as_secs_f64() / run.seconds);
    measured
        .cost
        .push(used.as_secs_f64() * 1e6 / run.requests as f64);
    measured.memory.push(measured.server.memory()?);
    measured.requests += run.requests;
    Ok(())
}

struct Run {
    requests: u64,
    seconds: f64,
}

/// Sends requests for some seconds; all have to be answered with success.
fn wrk(arguments: &Arguments, server: SocketAddr, tokens: &Path) -> Result<Run, Error> {
    let output = server::on_core(arguments.client_core, Path::new("wrk"))
        .args(["--threads", "1", "--script", SCRIPT])
        .arg(format!("--connections={}", arguments.connections))
        .arg(format!("--duration={}s", arguments.seconds))
        .arg(format!("http://{server}{PATH}"))
        .arg("--")
        .arg(tokens)
        .output()
        .map_err(|error| format!("taskset: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("result "));
    let Some(result) = result else {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("wrk, which `apt install wrk` installs: {error}{text}").into());
    };
    let numbers = result.split(' ').map(str::parse);
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
    let [requests, microseconds, failed] = numbers[..] else {
        return Err(format!("wrk: {result}").into());
    };
    if failed > 0 {
        return Err(format!("{failed} of {requests} requests have failed").into());
    }
    Ok(Run {
        requests,
        seconds: microseconds as f64 / 1e6,
    })
}

/// The files of the tokens.
struct Tokens {
    acl_file: PathBuf,
    /// One secret a line.
    list: PathBuf,
    first: String,
}

impl Tokens {
    /// Writes tokens that may all read the configuration.
    fn write(folder: &Path, count: usize) -> Result<Self, Error> {
        let secret = |number: usize| format!("b852fbe7-fba0-1ebe-cae4-{number:012x}");
        let (mut list, mut tokens) = (String::new(), serde_json::Map::new());
        for number in 0..count {
            let accessor = format!("00000000-0000-4000-8000-{number:012x}");
            let token = serde_json::json!({ "secret": secret(number), "policies": ["look"] });
            tokens.insert(accessor, token);
            writeln!(list, "{}", secret(number))?;
        }
        let file = serde_json::json!({
            "default_policy": "deny",
            "policy": { "look": { "operator": "read" } },
            "token": tokens,
        });
        let written = Tokens {
            acl_file: folder.join("tokens.json"),
            list: folder.join("tokens.txt"),
            first: secret(0),
        };
        fs::write(&written.acl_file, file.to_string())?;
        fs::write(&written.list, list)?;
        Ok(written)
    }
}

fn print_rates(measured: &[Measured]) {
    println!(
        "\n| server | requests/s | against the fixed body | slowest to fastest round | processor time a request | core used |"
    );
    println!("|---|---|---|---|---|---|");
    let floor = &measured[0].rates;
    for step in measured {
        let mut ratios: Vec<_> = step.rates.iter().zip(floor).map(|(a, b)| a / b).collect();
        let ratio = median(&mut ratios);
        println!(
            "| {} | {:.0} | {ratio:.2} | {:.2} to {:.2} | {:.1} µs | {:.0} % |",
            step.name,
            median(&mut step.rates.clone()),
            ratios.first().unwrap_or(&0.0),
            ratios.last().unwrap_or(&0.0),
            median(&mut step.cost.clone()),
            100.0 * median(&mut step.busy.clone()),
        );
    }
}

fn print_memory(measured: &[Measured]) {
    println!("\nMemory (RSS) after each round, in MiB:");
    for step in measured {
        let memory = step.memory.iter().map(|kib| format!("{:.1}", mib(*kib)));
        println!("  {}: {}", step.name, memory.collect::<Vec<_>>().join(" "));
    }
}

/// Shows the lines of the log, and fails if they are fewer than the requests that wrk has
/// counted: the lines of a log that is written too slowly are dropped, and then its cost was
/// not measured. The requests that wrk was waiting for at its end, and those of this bench,
/// have lines, too, so about 20 dropped lines a round are not noticed.
fn print_log(step: &Measured) -> Result<(), Error> {
    let (name, requests) = (step.name, step.requests);
    let began = Instant::now();
    let mut lines = step.server.logged_lines()?;
    // A thread writes them.
    while lines < requests && began.elapsed() < server::TIMEOUT {
        std::thread::sleep(Duration::from_millis(100));
        lines = step.server.logged_lines()?;
    }
    println!("\nLog of {name}: {lines} lines, {requests} requests of wrk");
    if lines < requests {
        return Err(format!("{name}: the log lacks lines of {requests} requests").into());
    }
    Ok(())
}

/// Opens connections, some hundreds at once, sends a request on each, closes them, and shows
/// the memory of the server.
fn close_connections(server: &Server, count: usize, token: &str) -> Result<(), Error> {
    const AT_ONCE: usize = 500;
    let leader = server.leader(token)?;
    let mut memory = vec![server.memory()?];
    for batch in 1..=count / AT_ONCE {
        let mut open = Vec::new();
        for _ in 0..AT_ONCE {
            let mut stream = server::connect(leader)?;
            server::send(&mut stream, leader, token)?;
            open.push(stream);
        }
        for stream in &mut open {
            server::receive(stream)?;
        }
        drop(open);
        if batch % 5 == 0 {
            memory.push(server.memory()?);
        }
    }
    let memory = memory.iter().map(|kib| format!("{:.1}", mib(*kib)));
    println!(
        "\nMemory of the last server before, and after each {} connections that were opened, \
         answered and closed, {AT_ONCE} at once, in MiB:\n  {}",
        5 * AT_ONCE,
        memory.collect::<Vec<_>>().join(" ")
    );
    Ok(())
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Sorts the values and returns the one in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
