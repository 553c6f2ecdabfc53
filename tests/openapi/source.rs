//! The document that servers send is the one that people edit.

use std::path::Path;

use serde_json::Value;

/// Reads the YAML, and writes the JSON that servers send if `UPDATE_OPENAPI` is set.
#[test]
fn committed_json_equals_the_yaml() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let yaml = std::fs::read_to_string(docs.join("openapi.yaml")).unwrap();
    let source: Value = serde_saphyr::from_str(&yaml).unwrap();
    let json = docs.join("openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&json, format!("{source}\n")).unwrap();
    }
    let committed: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert!(
        committed == source,
        "docs/openapi.json is out of date: run UPDATE_OPENAPI=1 cargo test --test openapi \
         --all-features, and commit it"
    );
    assert_eq!(source["info"]["version"], env!("CARGO_PKG_VERSION"));
}
