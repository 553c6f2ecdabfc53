//! The backend on real clusters in one process, over links that can be cut.

mod cluster;
mod conformance;
mod faults;
