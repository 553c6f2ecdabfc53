//! The types that embedders may send over their own RPC: what is read can be written and
//! read again.
#![no_main]

use std::fmt::Debug;

use cluster_operator::autopilot::{AutopilotConfiguration, AutopilotState};
use cluster_operator::diagnosis::Diagnosis;
use cluster_operator::raft::{RaftConfiguration, RemovalPlan};
use cluster_operator::{ErrorKind, OperatorError, OperatorReply, OperatorRequest};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(json) else {
        return;
    };
    let written = serde_json::to_vec(&value).expect("JSON");
    let read = serde_json::from_slice::<T>(&written).expect("the same value");
    assert_eq!(read, value);
}

fuzz_target!(|input: &[u8]| {
    round_trip::<OperatorRequest>(input);
    round_trip::<OperatorReply>(input);
    round_trip::<RaftConfiguration>(input);
    round_trip::<AutopilotConfiguration>(input);
    round_trip::<AutopilotState>(input);
    round_trip::<RemovalPlan>(input);
    round_trip::<Diagnosis>(input);
    round_trip::<ErrorKind>(input);
    if let Ok(error) = serde_json::from_slice::<OperatorError>(input) {
        // The text of an error is written with it, and depends on nothing else.
        let written = serde_json::to_vec(&error).expect("JSON");
        let read: OperatorError = serde_json::from_slice(&written).expect("an error");
        assert_eq!(read.outcome(), error.outcome());
        let _ = error.to_string();
    }
});
