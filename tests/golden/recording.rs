//! The recordings' format.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// One file: what the servers of one version answered.
#[derive(Debug, Deserialize)]
pub(crate) struct Recording {
    pub(crate) consul: String,
    pub(crate) scenarios: Vec<Scenario>,
}

/// Exchanges with one set of servers, in the order in which they were sent.
#[derive(Debug, Deserialize)]
pub(crate) struct Scenario {
    #[serde(rename = "scenario")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) tokens: BTreeMap<String, Rules>,
    pub(crate) management_token: Option<String>,
    /// The accessor ids of the tokens.
    #[serde(default)]
    pub(crate) accessors: BTreeMap<String, String>,
    pub(crate) cases: Vec<Case>,
}

/// The rules of a token: of one policy, or of several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Rules {
    One(String),
    Several(Vec<String>),
}

impl Rules {
    pub(crate) fn texts(&self) -> &[String] {
        match self {
            Rules::One(text) => std::slice::from_ref(text),
            Rules::Several(texts) => texts,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) request: Request,
    pub(crate) response: Response,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn is_text(&self) -> bool {
        self.headers
            .get("Content-Type")
            .is_some_and(|value| value.starts_with("text/plain"))
    }
}

/// Every recording of a folder, by file name.
pub(crate) fn read(folder: &Path) -> Vec<(String, Recording)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let recording = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{name} is no recording: {error}"));
            (name, recording)
        })
        .collect()
}
