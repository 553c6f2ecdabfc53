//! Tests with real server processes: they start at once, answer at once, and are killed
//! during an operation.
//!
//! `KILL_ROUNDS`, `START_ROUNDS`, `KEYRING_ROUNDS` and `AUTOPILOT_ROUNDS` set the number of
//! rounds. By default each test has only as many as its cases need, to keep the tests
//! quick:
//!
//! ```text
//! KILL_ROUNDS=15 cargo test --all-features --test processes -- --nocapture
//! ```

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod acting;
mod autopilot;
mod datacenter;
mod death;
mod formation;
mod keyring;
mod leaderless;
mod removal;
mod rotation;
mod transfer;

use std::time::Duration;

use cluster_operator::client::{ClientError, OperatorClient};
use cluster_operator_demo::{cluster, operated};

/// The timeout of a request: more than the service's deadline, which is eight election
/// timeouts.
const DEADLINE: Duration = cluster::ELECTION_TIMEOUT.saturating_mul(10);

fn rounds(default: u32) -> u32 {
    rounds_of("KILL_ROUNDS", default)
}

/// Returns the number of rounds in a variable of the environment.
fn rounds_of(variable: &str, default: u32) -> u32 {
    let rounds = std::env::var(variable).ok();
    rounds.map_or(default, |rounds| {
        rounds.parse().expect("a number of rounds")
    })
}

/// Returns a moment during an operation that takes about `total`, a different one in
/// each round. A few rounds are spread over all of it.
fn moment(round: u32, total: Duration) -> Duration {
    total * (round * 4 % 15) / 15
}

/// Returns the result of a request and checks that it ends within its deadline.
async fn in_time<T>(
    request: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let ended = tokio::time::timeout(DEADLINE, request).await;
    ended.expect("the request ends within its deadline")
}

/// Tells how a change ended.
fn text(answer: &Result<(), ClientError>) -> String {
    match answer {
        Ok(()) => "done".into(),
        Err(error) => format!("{:?}, {}", error.outcome(), error.kind().name()),
    }
}

/// Sorts the times of all rounds, and prints their median and the slowest.
fn print_times(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: median {median:.1?}, slowest {slowest:.1?} of {times:.1?}");
}

/// Returns the client with a timeout that ends before the deadline.
fn with_deadline(client: OperatorClient) -> OperatorClient {
    client.with_deadline(DEADLINE - Duration::from_secs(1))
}

/// Runs a server. The tests start their servers as processes of this program that run
/// only this test.
#[test]
#[ignore = "a server process of the other tests"]
fn server_process() {
    if let Some(served) = operated::serve_if_started_by_another() {
        served.unwrap();
    }
}
