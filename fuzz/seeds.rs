//! Fills `corpus/` with the requests, policies and messages that the tests have.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::Value;

type Done = Result<(), Box<dyn Error>>;

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
            if !text("body").is_empty() {
                seed("json_body", text("body").as_bytes())?;
            }
        }
    }
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
