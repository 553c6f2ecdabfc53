//! The openraft backend, on real clusters whose servers share a process and whose
//! links can be cut.
#![allow(clippy::unwrap_used, clippy::expect_used)]

// The tests use a part of it.
#[allow(dead_code, unreachable_pub, unused_imports)]
mod cluster;

mod autopilot;
mod conformance;
mod driven;
mod faults;
mod joint;
mod links;
mod proofs;
mod races;
mod removals;
mod runtime;
mod servers;
mod service;
mod transfer_faults;
mod transfers;
mod views;
