//! Token files in HCL and JSON. An error may not repeat the secret of a token.
#![no_main]

use std::fs;

use cluster_operator::TokenStore;
use libfuzzer_sys::fuzz_target;

/// Seeds have it as the secret of every token.
const SECRET: &str = "s3cr3t-0f-a-t0ken";

thread_local! {
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
}

fuzz_target!(|input: &[u8]| {
    FOLDER.with(|folder| {
        for name in ["tokens.json", "tokens.hcl"] {
            let path = folder.path().join(name);
            fs::write(&path, input).expect("a file");
            match TokenStore::load_file(&path) {
                Ok(store) => assert!(!format!("{store:?}").contains(SECRET)),
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    assert!(!shown.contains(SECRET), "{shown}");
                }
            }
        }
    });
});
