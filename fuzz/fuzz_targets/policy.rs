//! Policies in HCL and JSON: what is read can be written and read again.
#![no_main]

use cluster_operator::acl::Rules;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.parse::<Rules>() {
        Ok(rules) => {
            let written = rules.to_string();
            assert_eq!(written.parse(), Ok(rules), "{written}");
        }
        Err(error) => {
            let lines = text.split('\n').count();
            if let Some(position) = error.position() {
                assert!((1..=lines).contains(&position.line), "{error}");
            }
            let _ = error.to_string();
        }
    }
});
