//! Replies from other servers, in the answers to clients of every dialect.
#![no_main]

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cluster_operator::consul::Request;
use cluster_operator::mock::MockClock;
use cluster_operator::peers::{EnvelopeReply, SendError, Target};
use cluster_operator::{DatacenterName, Envelope, OperatorService, Outcome, Peers};
use cluster_operator_fuzz::{DIALECTS, serve, server_with};
use libfuzzer_sys::fuzz_target;

/// Another datacenter, which answers every request with these bytes.
struct Fixed(Vec<u8>);

#[async_trait]
impl Peers for Fixed {
    fn datacenters(&self) -> Vec<DatacenterName> {
        vec!["dc2".into()]
    }

    async fn send(&self, _: &Target, _: Envelope, _: Duration) -> Result<EnvelopeReply, SendError> {
        Ok(EnvelopeReply::from_bytes(self.0.clone()))
    }
}

const REQUESTS: [Ask; 12] = [
    ("GET", "raft/configuration", "dc=dc2&stale", ""),
    ("DELETE", "raft/peer", "dc=dc2&address=a", ""),
    ("POST", "raft/transfer-leader", "dc=dc2", ""),
    ("GET", "raft/removal-plan", "dc=dc2&id=a", ""),
    ("POST", "raft/replacement", "dc=dc2&id=a&with=b", ""),
    ("GET", "diagnosis", "", ""),
    ("GET", "keyring", "", ""),
    (
        "PUT",
        "keyring",
        "",
        r#"{"Key":"0eK8RjnsGC/+I1fJErQsBA=="}"#,
    ),
    ("DELETE", "keyring", "", r#"{"Key":"malformed"}"#),
    ("PUT", "autopilot/configuration", "dc=dc2&cas=7", "{}"),
    ("GET", "autopilot/health", "dc=dc2", ""),
    ("GET", "autopilot/state", "dc=dc2&pretty", ""),
];

fuzz_target!(|input: &[u8]| {
    let server = server_with(Fixed(input.to_vec()));
    if EnvelopeReply::from_bytes(input)
        .result(Outcome::Unknown)
        .is_err()
    {
        // One answer to an unreadable or failed reply is like the other.
        return ask(&server, REQUESTS[0]);
    }
    for request in REQUESTS {
        ask(&server, request);
    }
});

type Ask = (&'static str, &'static str, &'static str, &'static str);

fn ask(server: &(OperatorService, MockClock), (method, endpoint, query, body): Ask) {
    for dialect in DIALECTS {
        let request = Request {
            method,
            path: &format!("/v1/operator/{endpoint}"),
            query: Some(query),
            headers: &[("", ""); 0],
            body: Bytes::from_static(body.as_bytes()),
        };
        serve(server, dialect, request);
    }
}
