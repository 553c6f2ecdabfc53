//! The vocabulary of the tables.

use futures_util::future::join_all;

use crate::site::{Answer, KEY, PEER_SECRET, POWERLESS, READER, ROOT, Site};

/// What a client sends.
pub(crate) struct Input {
    pub(crate) bytes: Vec<u8>,
    /// The client closes its half of the connection after the last byte.
    pub(crate) is_cut: bool,
}

/// The expected answers.
pub(crate) enum Want {
    /// One answer, with this status and with this text in its header or body.
    One(u16, &'static str),
    /// Several answers, with these statuses.
    Several(&'static [u16]),
    /// The connection is closed without an answer.
    Closed,
}

/// A line of a table.
pub(crate) type Case = (&'static str, Input, Want);

/// Bytes as they stand.
pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Input {
    Input {
        bytes: bytes.into(),
        is_cut: false,
    }
}

/// The same, and then the client closes its half of the connection.
pub(crate) fn cut(bytes: impl Into<Vec<u8>>) -> Input {
    Input {
        bytes: bytes.into(),
        is_cut: true,
    }
}

/// A well-formed request with [`ROOT`]'s token. `headers` are whole lines.
pub(crate) fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Input {
    anonymous(
        method,
        target,
        &format!("X-Consul-Token: {ROOT}\r\n{headers}"),
        body,
    )
}

/// A well-formed request without a token of its own.
pub(crate) fn anonymous(method: &str, target: &str, headers: &str, body: &[u8]) -> Input {
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{length}{headers}\r\n"
    );
    raw([head.as_bytes(), body].concat())
}

/// A GET of a target.
pub(crate) fn get(target: &str) -> Input {
    request("GET", target, "", b"")
}

/// A POST to the keyring with this body.
pub(crate) fn post(body: impl AsRef<[u8]>) -> Input {
    request("POST", "/v1/operator/keyring", "", body.as_ref())
}

/// Sends every input of a table, and checks its answer and what holds for all:
/// - The connection ends in time, with whole answers.
/// - No answer shows a secret, but for a listing of the keys.
/// - No input adds a header to an answer.
/// - Afterwards the server answers, and nothing has changed.
pub(crate) async fn check(site: &Site, table: Vec<Case>) {
    let exchanges = table.iter().map(|(_, input, _)| site.exchange(input));
    // All at once, so that those that end by a timeout share it.
    let answers = join_all(exchanges).await;
    let mut wrong = Vec::new();
    for ((name, _, want), answers) in table.iter().zip(&answers) {
        if !want.is_met_by(answers) {
            wrong.push(format!("{name}: {answers:?}"));
        }
        for answer in answers {
            check_answer(name, answer);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    site.check_unharmed().await;
}

fn check_answer(name: &str, answer: &Answer) {
    let Answer { head, body, .. } = answer;
    for secret in [ROOT, READER, POWERLESS, PEER_SECRET, "hunter2"] {
        let shows = head.contains(secret) || body.contains(secret);
        assert!(!shows, "{name} shows {secret}: {answer:?}");
    }
    let is_listing = answer.status == 200 && body.contains("\"Keys\"");
    assert!(is_listing || !body.contains(KEY), "{name}: {answer:?}");
    assert!(!head.contains("\r\nx-injected"), "{name}: {answer:?}");
    assert!(!head.contains("\r\nset-cookie"), "{name}: {answer:?}");
}

impl Want {
    fn is_met_by(&self, answers: &[Answer]) -> bool {
        let statuses = answers.iter().map(|answer| answer.status);
        match self {
            Want::Closed => answers.is_empty(),
            Want::Several(wanted) => statuses.eq(wanted.iter().copied()),
            Want::One(status, text) => {
                statuses.eq([*status])
                    && (answers[0].body.contains(text) || answers[0].head.contains(text))
            }
        }
    }
}
