//! What is allocated, counted by an allocator that counts for each thread.
// A test is over where something is not as it has to be.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "http")]
mod adapter;
#[path = "../../benches/fixture/mod.rs"]
mod fixture;
mod merge;
mod request;

use cluster_operator::{OperatorService, Sleep, Timer};
use fixture::{Leader, configuration, secret, tokens};

const CONFIGURATION: &str = "/v1/operator/raft/configuration";
const TOKENS: usize = 10_000;

/// Nothing here waits.
struct Never;

impl Timer for Never {
    fn sleep(&self, _: std::time::Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

/// Five servers under the control of many tokens.
fn service() -> OperatorService {
    OperatorService::builder("dc1")
        .timer(Never)
        .raft(Leader::new(&configuration(5)))
        .authorizer(tokens(TOKENS))
        .build()
        .unwrap()
}
