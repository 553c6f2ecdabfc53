//! A keyring over real pools on the loopback device.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod changes;
mod conformance;
mod detector;
mod faults;
mod links;
mod partition;
mod pool;
mod service;
mod start;
mod turns;
