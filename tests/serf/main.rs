//! A keyring over real pools on the loopback device.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod changes;
#[cfg(all(feature = "conformance", feature = "tokio"))]
mod conformance;
mod faults;
mod pool;
#[cfg(feature = "tokio")]
mod service;
mod turns;
