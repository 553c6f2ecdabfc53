//! The adapter for openraft, on real clusters whose servers share a process and
//! whose links can be cut.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../examples/cluster/mod.rs"]
mod cluster;

mod conformance;
mod faults;
mod halves;
mod links;
mod others;
mod outside;
mod races;
mod removals;
mod servers;
mod service;
mod views;
mod worst_moments;
