//! Fills `corpus/` with the requests, policies and messages that the tests have.

use std::error::Error;
use std::fs;
use std::path::Path;

use cluster_operator::consul::{Dialect, Request};
use cluster_operator_fuzz::{answer, server};
use serde_json::Value;

type Done = Result<(), Box<dyn Error>>;

/// Requests that Consul does not know, and so no recording has.
const OWN: [(&str, &str); 13] = [
    ("GET", ""),
    ("GET", "openapi.json"),
    ("GET", "diagnosis?pretty"),
    ("GET", "raft/removal-plan?id=carol"),
    ("GET", "raft/removal-plan?address=nobody"),
    ("POST", "raft/planned-removal?id=carol&version=1-1"),
    ("POST", "raft/planned-removal?id=dave&version=7-7"),
    ("POST", "raft/forced-removal?id=carol"),
    ("POST", "raft/replacement?id=carol&with=dave"),
    ("POST", "raft/transfer-leader?id=bob"),
    ("GET", "autopilot/health"),
    ("GET", "autopilot/state"),
    ("DELETE", "raft/peer?id=nobody"),
];

/// A change of a key that failed in one ring.
const RINGS: &[u8] = br#"[
    {"WAN":true,"Datacenter":"dc1","Keys":{},"NumNodes":2,"Outcome":"applied"},
    {"WAN":false,"Datacenter":"dc1","Segment":"s","Messages":{"bob":"no such key"},
     "Keys":{"0eK8RjnsGC/+I1fJErQsBA==":1},"PrimaryKeys":{"0eK8RjnsGC/+I1fJErQsBA==":1},
     "NumNodes":2,"Silent":["bob"],"Absent":["eve"],"Error":"1/2 nodes failed",
     "Outcome":"unknown"}
]"#;

fn main() -> Done {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = root.join("../tests");
    let mut written = 0;
    let mut seed = |target: &str, content: &[u8]| -> Done {
        let folder = root.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{written:05}")), content)?;
        written += 1;
        Ok(())
    };
    for recording in json_files(&tests.join("golden"))? {
        let scenarios = recording["scenarios"].as_array();
        for case in scenarios.into_iter().flatten().flat_map(cases) {
            let request = &case["request"];
            let text = |name: &str| request[name].as_str().unwrap_or_default();
            let mut whole = format!("{} {}", text("method"), text("target"));
            for (name, value) in request["headers"].as_object().into_iter().flatten() {
                whole += &format!("\n{name}: {}", value.as_str().unwrap_or_default());
            }
            whole += &format!("\n\n{}", text("body"));
            seed("http_request", whole.as_bytes())?;
            seed("answer", &recorded(&case["response"]))?;
            if !text("body").is_empty() {
                seed("json_body", text("body").as_bytes())?;
            }
        }
    }
    for (method, endpoint) in OWN {
        let target = format!("/v1/operator/{endpoint}");
        let accept = "application/problem+json";
        let whole = format!("{method} {target}\nAccept: {accept}\n\n");
        seed("http_request", whole.as_bytes())?;
        let headers = [("accept", accept)];
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let request = Request {
            method,
            path,
            query: Some(query),
            headers: &headers.as_slice(),
            body: Default::default(),
        };
        let response = answer(&server(), Dialect::Precise, request);
        let headers = response.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_ref(), value.as_ref()));
        seed("answer", &http(response.status, headers, &response.body))?;
    }
    let json = [("Content-Type", "application/json")];
    seed("answer", &http(500, json.into_iter(), RINGS))?;
    for recording in json_files(&tests.join("policies"))? {
        for case in cases(&recording) {
            seed(
                "policy",
                case["rules"].as_str().unwrap_or_default().as_bytes(),
            )?;
        }
    }
    let policies = root.join("../examples/policies");
    for entry in fs::read_dir(policies)? {
        let text = fs::read_to_string(entry?.path())?;
        let secret = text.replace("replace-me-", "s3cr3t-0f-a-t0ken-");
        seed("token_file", secret.as_bytes())?;
        seed("policy", text.as_bytes())?;
    }
    for (file, target, field) in [
        ("requests-2.txt", "envelope", "/call/request"),
        ("requests-1.txt", "envelope", ""),
        ("replies-2.txt", "reply", "/reply/Ok"),
        ("replies-1.txt", "reply", "/Ok"),
    ] {
        let text = fs::read_to_string(tests.join("envelopes").join(file))?;
        for line in text.lines() {
            let (_, json) = line.split_once(' ').unwrap_or_default();
            seed(target, json.as_bytes())?;
            let value: Value = serde_json::from_str(json).unwrap_or_default();
            if let Some(part) = value.pointer(field) {
                seed("serde_types", part.to_string().as_bytes())?;
                // What the reply holds is a type of its own.
                for value in part.as_object().into_iter().flat_map(|part| part.values()) {
                    seed("serde_types", value.to_string().as_bytes())?;
                }
            }
            if let Some(error) = value.pointer("/reply/Err") {
                seed("serde_types", error.to_string().as_bytes())?;
            }
        }
    }
    let first = "0eK8RjnsGC/+I1fJErQsBA==";
    let second = "G/3/L4yOw3e5T7NTvuRi9g==";
    seed(
        "key",
        format!("+{second}\n={second}\n-{first}\n-{second}").as_bytes(),
    )?;
    println!("{written} seeds");
    Ok(())
}

/// The text of a recorded response.
fn recorded(response: &Value) -> Vec<u8> {
    let headers = response["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(name, value)| (&**name, value.as_str().unwrap_or_default()));
    let status = response["status"].as_u64().unwrap_or_default();
    let body = response["body"].as_str().unwrap_or_default();
    http(status as u16, headers, body.as_bytes())
}

/// The bytes of a response. It ends with the connection.
fn http<'a>(
    status: u16,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    body: &[u8],
) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} -\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    [text.as_bytes(), body].concat()
}

fn json_files(folder: &Path) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(serde_json::from_slice(&fs::read(path)?)?);
        }
    }
    Ok(files)
}

fn cases(value: &Value) -> impl Iterator<Item = &Value> {
    value["cases"].as_array().into_iter().flatten()
}
