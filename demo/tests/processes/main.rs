//! Tests with real server processes, in which the leader or another server is killed
//! during an operation.
//!
//! `KILL_ROUNDS` sets the number of rounds of each test. The default is small, to keep
//! the tests quick:
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

/// The timeout of a request: more than the service's deadline, which is eight election
/// timeouts.
const DEADLINE: Duration = cluster::ELECTION_TIMEOUT.saturating_mul(10);

fn rounds() -> u32 {
    let rounds = std::env::var("KILL_ROUNDS").ok();
    rounds.map_or(3, |rounds| rounds.parse().expect("KILL_ROUNDS is a number"))
}

/// Returns a moment during an operation that takes about `total`, a different one in
/// each round.
fn moment(round: u32, total: Duration) -> Duration {
    total * (round % 15) / 15
}

/// Returns the result of a request and checks that it ends within its deadline.
async fn in_time<T>(
    request: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let ended = tokio::time::timeout(DEADLINE, request).await;
    ended.expect("the request ends within its deadline")
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
