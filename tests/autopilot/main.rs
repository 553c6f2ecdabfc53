//! The decision of autopilot: its rules one by one, and what holds for all snapshots; and
//! its driver.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "mock")]
mod driver;
mod properties;
mod rules;
mod support;
#[cfg(feature = "mock")]
mod wire;
