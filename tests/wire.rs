//! `Wire` on plain values: what goes in, and what comes out, in every dialect.
//!
//! Recorded exchanges are replayed in tests/golden.rs. Here stand the whole
//! contract of `Precise`, what no recording shows of the Consul dialects, and
//! what holds for every request.
#![cfg(feature = "mock")]
// A test is over where something is not as it has to be.
#![allow(clippy::unwrap_used)]

#[path = "wire/consul.rs"]
mod consul;
#[path = "wire/denials.rs"]
mod denials;
#[path = "wire/parameters.rs"]
mod parameters;
#[path = "wire/properties.rs"]
mod properties;
#[path = "wire/requests.rs"]
mod requests;
#[path = "wire/rings.rs"]
mod rings;
#[path = "wire/statuses.rs"]
mod statuses;
#[path = "wire/support.rs"]
mod support;
