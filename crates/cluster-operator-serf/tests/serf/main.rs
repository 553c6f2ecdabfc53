//! A keyring over real pools on the loopback device.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod changes;
mod conformance;
mod faults;
mod pool;
mod service;
mod turns;
