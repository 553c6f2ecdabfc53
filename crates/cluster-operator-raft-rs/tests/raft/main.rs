//! The backend on real clusters in one process, over links that can be cut.

#![allow(clippy::unwrap_used)]

mod cluster;
mod conformance;
mod faults;
