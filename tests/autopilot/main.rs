//! The decision of autopilot: its rules one by one, and what holds for all snapshots.

mod properties;
mod rules;
mod support;
