//! The decision of autopilot: its rules one by one, and what holds for all snapshots; its
//! driver; and whole clusters of simulated servers that run it.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "mock")]
mod cluster;
#[cfg(feature = "mock")]
mod consul;
#[cfg(feature = "mock")]
mod driver;
#[cfg(feature = "mock")]
mod guide;
mod properties;
mod rules;
#[cfg(feature = "mock")]
mod simulation;
mod support;
#[cfg(feature = "mock")]
mod watch;
#[cfg(feature = "mock")]
mod wire;
