//! Bodies of changes, in every dialect. What `Precise` accepts is JSON for others, too.
#![no_main]

use bytes::Bytes;
use cluster_operator::autopilot::AutopilotConfiguration;
use cluster_operator::consul::{Dialect, Request, Wire};
use cluster_operator_fuzz::{DIALECTS, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let body = Bytes::copy_from_slice(input);
    let changes = [
        ("POST", "/v1/operator/keyring"),
        ("PUT", "/v1/operator/autopilot/configuration"),
    ];
    for (method, path) in changes {
        for dialect in DIALECTS {
            let wire = Wire::new(dialect);
            let request = Request {
                method,
                path,
                query: None,
                headers: &[("", ""); 0],
                body: body.clone(),
            };
            match wire.decode(&request, &AutopilotConfiguration::default()) {
                Ok(_) if dialect == Dialect::Precise => {
                    let text = String::from_utf8_lossy(input);
                    // serde_json refuses half a surrogate pair and huge numbers in a value.
                    let json = serde_json::from_str::<&serde_json::value::RawValue>(&text);
                    assert!(json.is_ok(), "{input:?}");
                }
                Ok(_) => {}
                Err(rejection) => check(&wire.reject(&rejection)),
            }
        }
    }
});
