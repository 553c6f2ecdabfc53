#![allow(clippy::unwrap_used, clippy::expect_used)]
#[path = "../examples/cluster/mod.rs"]
mod cluster;
