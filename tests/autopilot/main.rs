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
#[cfg(feature = "mock")]
mod lab;
mod properties;
#[cfg(feature = "mock")]
mod report;
mod rules;
#[cfg(feature = "mock")]
mod simulation;
mod support;
#[cfg(feature = "mock")]
mod watch;
#[cfg(feature = "mock")]
mod wire;
