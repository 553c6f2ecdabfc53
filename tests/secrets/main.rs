//! Neither a key nor a token is found in anything that is printed, logged or
//! answered, whatever fails and however it is written down. A listing shows the
//! keys on purpose.
#![cfg(feature = "mock")]
// A test is over where something is not as it has to be.
#![allow(clippy::unwrap_used)]

mod debug;
mod http;
mod needles;
