//! The rules of Go's standard library that show on the wire.
//!
//! Consul hands many of Go's own error texts to its clients and leans on Go's
//! parsing of queries, paths, numbers, durations and JSON. A client that was
//! written against Consul may have come to depend on any of them, so they are
//! restated here, one rule per module, and nowhere else.

pub(crate) mod duration;
mod fold;
pub(crate) mod json;
pub(crate) mod mapstructure;
pub(crate) mod number;
pub(crate) mod path;
mod percent;
pub(crate) mod query;
pub(crate) mod quote;
mod scanner;
pub(crate) mod time;
mod token;
mod unescape;
pub(crate) mod unmarshal;
