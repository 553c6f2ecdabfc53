//! A client for programs.
//!
//! [`OperatorClient`] asks any server that speaks Consul's operator API, Consul
//! included.

mod answer;
mod autopilot;
mod diagnosis;
mod error;
mod operator;
mod replies;
mod rings;
mod texts;

pub use error::ClientError;
pub use operator::{OperatorClient, UnsendableToken};
pub use replies::RingListing;
pub use rings::Servers;

pub use crate::transport::{InvalidServerUri, ServerUri, Transport};
