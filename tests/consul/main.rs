//! `Wire` on plain values, in every dialect.
//!
//! Recorded exchanges are replayed in tests/golden. Tested here are the contract of
//! `Precise`, what no recording shows of the Consul dialects, and properties of every
//! request.
#![cfg(feature = "mock")]
// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod autopilot;
mod bounds;
mod denials;
mod dialects;
mod parameters;
mod plans;
mod properties;
mod requests;
mod rings;
mod statuses;
mod support;
