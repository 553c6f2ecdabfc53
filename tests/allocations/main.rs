//! The number and size of allocations, counted for each thread.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "http")]
mod adapter;
#[path = "../../benches/fixture/mod.rs"]
mod fixture;
mod merge;
mod request;

use cluster_operator::timer::Sleep;
use cluster_operator::{OperatorService, Timer};
use fixture::{Leader, configuration, secret, tokens};

const CONFIGURATION: &str = "/v1/operator/raft/configuration";
const TOKENS: usize = 10_000;

/// A timer that no test waits for.
struct Never;

impl Timer for Never {
    fn sleep(&self, _: std::time::Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

/// The service of a cluster of five servers, with an authorizer of many tokens.
fn service() -> OperatorService {
    OperatorService::builder("dc1")
        .timer(Never)
        .raft(Leader::new(&configuration(5)))
        .authorizer(tokens(TOKENS))
        .build()
        .unwrap()
}
