//! What a simulation has covered. A run fails if it did not cover everything.

use std::collections::BTreeMap;
use std::fmt;

use cluster_operator::OperatorReply;
use cluster_operator::mock::{CallEnd, Entry, Transcript};
use cluster_operator::operation::RingOutcome;

use crate::world::Answered;

/// Each fault, and a text that identifies it in a transcript.
const FAULTS: [(&str, &str); 25] = [
    ("a server stops", " is down"),
    ("a server pauses", " is paused"),
    ("a partition", "a partition between"),
    ("a datacenter never answers", " is silent"),
    ("a call is refused", "refused: "),
    ("a request is lost", "request lost: "),
    ("an answer is lost", "answer lost: "),
    ("a connection is reset", "connection reset"),
    ("an answer is garbled", "answer garbled: "),
    ("a call is delayed", "delayed by"),
    ("a call arrives twice", "repeated after"),
    ("the n-th call fails", "call number"),
    ("a node is silent", "): Silent"),
    ("a node is late", "): Late"),
    ("a node refuses a key", "): Refuses"),
    ("a node lies", "): Lies"),
    ("a node lists another key", "): ListsOther"),
    ("a node lists some keys", "): ListsFirst"),
    ("the leadership is lost", "loses the leadership"),
    ("a stale leader hint", " believes that "),
    ("a change fails", "the next change in"),
    (
        "a server is lost at a change",
        " in the middle of the next change",
    ),
    ("a change is unfinished", " is unfinished:"),
    ("Raft is slow", "Raft calls in"),
    ("another server is elected", " is elected"),
];

/// The effects of faults on calls and rings.
const EFFECTS: [&str; 12] = [
    "a server restarts",
    "call: answered",
    "call: refused",
    "call: not sent",
    "call: request lost",
    "call: answer lost",
    "call: too-many-hops",
    "call: deadline-exceeded",
    "ring: silent nodes",
    "ring: a report and an error",
    "ring: unreachable",
    "ring: deadline-exceeded",
];

/// All possible answers. The authorizer is always available, no key is malformed,
/// and all servers run the same version and support everything.
const ANSWERS: [&str; 23] = [
    "ok",
    "already-leader",
    "backend",
    "change-in-progress",
    "conflict",
    "deadline-exceeded",
    "invalid-reply",
    "invalid-request",
    "last-voter",
    "no-leader",
    "no-path-to-datacenter",
    "no-transfer-target",
    "not-member",
    "not-voter",
    "permission-denied",
    "quorum-loss",
    "quorum-unproven",
    "rings-failed",
    "term-changed",
    "too-many-hops",
    "unknown-server",
    "unknown-token",
    "unreachable",
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    pub(crate) fn count(&mut self, transcript: &Transcript) {
        for entry in transcript.entries() {
            match entry {
                Entry::Note { text, .. } => self.note(text),
                Entry::Call(call) => self.add(format!("call: {}", end(&call.end))),
                _ => {}
            }
        }
    }

    fn note(&mut self, text: &str) {
        if text.starts_with("healed: ") {
            if text.ends_with(" is down") {
                self.add("a server restarts");
            }
            return;
        }
        for (fault, mark) in FAULTS {
            if text.contains(mark) {
                self.add(fault);
            }
        }
    }

    pub(crate) fn answered(&mut self, answered: &Answered) {
        let reply = match &answered.result {
            Ok(reply) => {
                self.add("answer: ok");
                match reply {
                    OperatorReply::Keyring(reply) => Some(reply),
                    _ => None,
                }
            }
            Err(error) => {
                self.add(format!("answer: {}", error.kind().name()));
                error.reply()
            }
        };
        for ring in reply.iter().flat_map(|reply| &reply.rings) {
            self.ring(ring);
        }
    }

    fn ring(&mut self, ring: &RingOutcome) {
        if let Some(error) = &ring.error {
            self.add(format!("ring: {}", error.kind().name()));
        }
        if ring.report.is_some() && ring.error.is_some() {
            self.add("ring: a report and an error");
        }
        if ring.report.as_ref().is_some_and(|it| !it.silent.is_empty()) {
            self.add("ring: silent nodes");
        }
    }

    pub(crate) fn merge(&mut self, other: Tally) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// What was never covered.
    pub(crate) fn missing(&self) -> Vec<String> {
        let faults = FAULTS.iter().map(|(fault, _)| (*fault).to_owned());
        let effects = EFFECTS.map(str::to_owned);
        let answers = ANSWERS.map(|kind| format!("answer: {kind}"));
        let all = faults.chain(effects).chain(answers);
        all.filter(|what| !self.0.contains_key(what)).collect()
    }

    /// Answers that should be impossible.
    pub(crate) fn unexpected(&self) -> Vec<&str> {
        let kinds = self
            .0
            .keys()
            .filter_map(|what| what.strip_prefix("answer: "));
        kinds.filter(|kind| !ANSWERS.contains(kind)).collect()
    }
}

fn end(end: &CallEnd) -> &'static str {
    match end {
        CallEnd::Answered => "answered",
        CallEnd::Failed(error) => error.kind().name(),
        CallEnd::Refused(_) => "refused",
        CallEnd::NotSent(_) => "not sent",
        CallEnd::RequestLost => "request lost",
        CallEnd::AnswerLost => "answer lost",
        _ => "open",
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = self.0.iter();
        counts.try_for_each(|(what, count)| writeln!(f, "{count:>9}  {what}"))
    }
}
