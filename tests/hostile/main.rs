//! Hostile input over a real socket: tables of inputs, each with the expected answer.
//!
//! `site` is the server and the rules that hold for every input, `case` the tables'
//! vocabulary. The other files are the tables, by topic.
#![cfg(all(feature = "http", feature = "mock", feature = "peer-http"))]
// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod bodies;
mod case;
mod dialects;
mod envelopes;
mod framing;
mod headers;
mod paths;
mod queries;
mod site;
mod slowness;
mod tokens;
