//! No text, log or answer contains a key or a token in any encoding, whatever fails.
//! Only a listing shows keys, to those who may read them.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod debug;
mod http;
mod observers;
mod rotation;
mod search;
