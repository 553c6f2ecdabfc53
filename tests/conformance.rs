//! The backends of this crate keep the rules that its conformance suites check,
//! and each check can fail.
#![cfg(all(feature = "conformance", feature = "mock"))]
// A test is over where something is not as it has to be.
#![allow(clippy::unwrap_used)]

#[path = "conformance/raft.rs"]
mod raft;
#[path = "conformance/raft_mutants.rs"]
mod raft_mutants;
