//! The OpenAPI document against the code, in both directions: routes, parameters,
//! statuses, headers and schemas.
#![cfg(feature = "mock")]
// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod document;
mod parameters;
mod random;
mod responses;
mod routes;
mod source;
mod worlds;
