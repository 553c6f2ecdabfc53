//! Values of parameters and bodies that the document allows, and those that it does not.

use serde_json::{Value, json};

use crate::document::Document;
use crate::worlds::{SECOND, everything, request};

const VALUES: [&str; 17] = [
    "",
    "0",
    "1",
    "5",
    "6",
    "-1",
    "1.5",
    "x",
    "true",
    "false",
    "yes",
    "10s",
    "1.5h10m",
    "1-22",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999h",
];

#[test]
fn value_is_accepted_if_and_only_if_it_is_described() {
    let document = Document::served();
    let too_long = "x".repeat(513);
    let longest = "x".repeat(512);
    let values = VALUES.iter().copied().chain([&*longest, &*too_long]);
    for operation in document.operations() {
        let path = operation.path.trim_start_matches("/v1/operator/");
        for own in [true, false] {
            for parameter in document.parameters(operation, own) {
                let name = parameter["name"].as_str().unwrap();
                // A server describes itself only.
                let is_elsewhere =
                    matches!(path, "" | "openapi.json") && matches!(name, "dc" | "datacenter");
                if parameter["in"] != "query" || is_elsewhere {
                    continue;
                }
                for value in values.clone() {
                    let ask = request(operation).query(&format!("{name}={value}"));
                    // An unencoded one would be refused.
                    let response = ask.send(&everything());
                    let text = String::from_utf8_lossy(&response.body);
                    let case = format!("{} {name}={value}: {text}", operation.id);
                    if document.allows(parameter, value) {
                        assert_ne!(response.status, 400, "{case}");
                        continue;
                    }
                    // Go's other forms of a boolean; and where a common parameter has no
                    // effect, its value is not read.
                    let is_lenient = name == "local-only" && matches!(value, "0" | "1");
                    if (own && !is_lenient) || value == too_long {
                        assert_eq!(response.status, 400, "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn examples_of_parameters_are_allowed() {
    let document = Document::served();
    for operation in document.operations() {
        for own in [true, false] {
            for parameter in document.parameters(operation, own) {
                let example = match &parameter["example"] {
                    Value::Null => continue,
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert!(document.allows(parameter, &example), "{parameter}");
            }
        }
    }
}

#[test]
fn required_parameters_are_required() {
    let document = Document::served();
    let mut required = 0;
    for operation in document.operations() {
        for parameter in document.parameters(operation, true) {
            let name = parameter["name"].as_str().unwrap();
            let response = request(operation).without(name).send(&everything());
            let is_required = parameter["required"] == true;
            if is_required || !matches!(name, "id" | "address") {
                assert_eq!(
                    response.status == 400,
                    is_required,
                    "{} {name}",
                    operation.id
                );
            }
            required += usize::from(is_required);
        }
    }
    assert_eq!(required, 5);
}

#[test]
fn body_is_accepted_if_and_only_if_it_is_described() {
    let document = Document::served();
    let bodies = [
        json!({}),
        json!([]),
        json!("x"),
        json!({"Key": SECOND}),
        json!({"Key": SECOND, "RelayFactor": 5, "LocalOnly": false, "Token": "x"}),
        json!({"Key": SECOND, "RelayFactor": 6}),
        json!({"Key": SECOND, "LocalOnly": true}),
        json!({"Key": SECOND, "Extra": 1}),
        json!({"Key": "AAAA"}),
        json!({"Key": 1}),
        json!({"Key": ""}),
        json!({"CleanupDeadServers": false, "DisableUpgradeMigration": true}),
        json!({"CleanupDeadServers": 1}),
        json!({"LastContactThreshold": "1.5s", "ServerStabilizationTime": "2m10s"}),
        json!({"LastContactThreshold": 5, "ServerStabilizationTime": 0}),
        json!({"LastContactThreshold": "5"}),
        json!({"LastContactThreshold": "-5s"}),
        json!({"LastContactThreshold": -5}),
        json!({"LastContactThreshold": 1.5}),
        json!({"MaxTrailingLogs": u64::MAX, "MinQuorum": u64::MAX}),
        json!({"MaxTrailingLogs": -1}),
        json!({"MinQuorum": 1.5}),
        json!({"RedundancyZoneTag": "x".repeat(512), "UpgradeVersionTag": ""}),
        json!({"RedundancyZoneTag": "x".repeat(513)}),
        json!({"CreateIndex": 1, "ModifyIndex": 2}),
        json!({"CreateIndex": "1"}),
    ];
    let with_body = |id: &str| matches!(id, "installKey" | "setAutopilotConfiguration");
    for operation in document.operations() {
        if !with_body(&operation.id) {
            continue;
        }
        for body in &bodies {
            let is_described = document.allows_body(operation, body).is_ok();
            let response = request(operation)
                .body(body.to_string())
                .send(&everything());
            let is_refused = response.status == 400;
            let text = String::from_utf8_lossy(&response.body);
            assert_eq!(
                is_described, !is_refused,
                "{}: {body}: {text}",
                operation.id
            );
        }
    }
}
