//! `Wire` on plain values: what goes in, and what comes out, in every dialect.
//!
//! Recorded exchanges are replayed in tests/golden. Here stand the whole
//! contract of `Precise`, what no recording shows of the Consul dialects, and
//! what holds for every request.
#![cfg(feature = "mock")]
// A test is over where something is not as it has to be.
#![allow(clippy::unwrap_used)]

mod bounds;
mod denials;
mod dialects;
mod parameters;
mod properties;
mod requests;
mod rings;
mod statuses;
mod support;
