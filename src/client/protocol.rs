//! What goes between [`HttpPeers`](super::HttpPeers) and
//! [`PeerHttp`](super::PeerHttp).

use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::error::OperatorError;
use crate::reply::OperatorReply;
use crate::request::OperatorRequest;

/// Where [`PeerHttp`](super::PeerHttp) has to be mounted.
///
/// It is none of Consul's paths, and does not stand below `/v1`, so that a proxy
/// that lets operators in to `/v1/operator` does not let them in here. The
/// version in it changes with what is sent: a server of another version answers
/// 404 and does nothing.
///
/// # What is sent
/// `POST` with an [`OperatorRequest`] in JSON. The answer is a 200 with what
/// [`OperatorService::call`](crate::OperatorService::call) returned in JSON,
/// `{"Ok": OperatorReply}` or `{"Err": OperatorError}`. Any other status comes
/// from before the service: a 4xx says that the service has not seen the request.
pub const PEER_PATH: &str = "/cluster-operator/v1/call";

pub(super) const JSON: &str = "application/json";

/// What does not deserialize. What it says about the text is left out: serde's
/// own words repeat parts of it, which may be a key.
#[derive(Debug, thiserror::Error)]
#[error("not what was expected at line {line}, column {column}")]
pub(super) struct Unreadable {
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        Unreadable {
            line: error.line(),
            column: error.column(),
        }
    }
}

/// Writes JSON that is wiped when it is dropped.
pub(super) fn write(value: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    // Large enough for any request, so that none leaves a copy behind by growing.
    let mut json = Zeroizing::new(Vec::with_capacity(4096));
    serde_json::to_writer(&mut *json, value)?;
    Ok(Bytes::from_owner(json))
}

pub(super) fn read_request(json: &[u8]) -> Result<OperatorRequest, Unreadable> {
    Ok(serde_json::from_slice(json)?)
}

pub(super) fn read_answer(json: &[u8]) -> Result<Result<OperatorReply, OperatorError>, Unreadable> {
    Ok(serde_json::from_slice(json)?)
}
