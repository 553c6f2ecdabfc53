//! Real server processes, of which the leader or another one is killed in the middle
//! of what an operator does.
//!
//! `KILL_ROUNDS` says how often, for each of these tests; the default is small, so
//! that the tests stay quick:
//!
//! ```text
//! KILL_ROUNDS=15 cargo test --all-features --test processes -- --nocapture
//! ```

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod datacenter;
mod death;
mod leaderless;
mod removal;
mod rotation;

use std::time::Duration;

use cluster_operator::client::{ClientError, OperatorClient};
use cluster_operator_demo::{cluster, operated};

/// How long an operator waits for an answer, and a second on top: more than the
/// service's deadline, which is eight election timeouts.
const DEADLINE: Duration = cluster::ELECTION_TIMEOUT.saturating_mul(10);

fn rounds() -> u32 {
    let rounds = std::env::var("KILL_ROUNDS").ok();
    rounds.map_or(3, |rounds| rounds.parse().expect("KILL_ROUNDS is a number"))
}

/// A moment in the middle of an operation that takes about `whole`, another one in
/// each round.
fn moment(round: u32, whole: Duration) -> Duration {
    whole * (round % 15) / 15
}

/// The outcome of a request that has to end in time, whatever happens.
async fn in_time<T>(
    request: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let ended = tokio::time::timeout(DEADLINE, request).await;
    ended.expect("the request ends within its deadline")
}

/// A client that gives up by itself within the deadline.
fn patient(client: OperatorClient) -> OperatorClient {
    client.with_deadline(DEADLINE - Duration::from_secs(1))
}

/// Not a test: the servers of the tests are this program, started again with this
/// as what to run.
#[test]
#[ignore = "a server process of the other tests"]
fn server_process() {
    if let Some(served) = operated::serve_if_started_by_another() {
        served.unwrap();
    }
}
