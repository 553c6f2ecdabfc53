//! What can be asked of the service, and what it answers.

mod reply;
mod request;

pub use reply::OperatorReply;
pub use request::{
    InvalidRequestId, KeyringAction, KeyringScope, Operation, OperatorRequest, RequestId,
};

pub use crate::error::{KeyringReply, RingOutcome};
