//! A client for programs.
//!
//! [`OperatorClient`] asks any server that speaks Consul's operator API, Consul
//! included.

mod answer;
mod autopilot;
mod error;
mod keyring;
mod operator;
mod servers;
mod texts;

pub use error::ClientError;
pub use keyring::RingListing;
pub use operator::{OperatorClient, UnsendableToken};
pub use servers::Servers;

pub use crate::transport::{InvalidServerUri, ServerUri, Transport};
