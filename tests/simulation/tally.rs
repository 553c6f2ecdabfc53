//! What a simulation has met: a promise that was never put to the test is not
//! kept, it is untried.

use std::collections::BTreeMap;
use std::fmt;

use cluster_operator::OperatorError;
use cluster_operator::mock::{CallEnd, Entry, Transcript};

use crate::seen::name;
use crate::world::Answered;

/// Each fault, and what of a transcript's line tells it.
const FAULTS: [(&str, &str); 23] = [
    ("a server stops", " is down"),
    ("a server pauses", " is paused"),
    ("a partition", "nothing passes between"),
    ("a datacenter never answers", " is silent"),
    ("a call is refused", "refused:"),
    ("a request is lost", "request lost:"),
    ("an answer is lost", "answer lost:"),
    ("a connection is reset", "connection reset"),
    ("an answer is garbled", "answer garbled:"),
    ("a call is delayed", "delayed by"),
    ("a call arrives twice", "again after"),
    ("the n-th call fails", "call number"),
    ("a node is silent", "): Silent"),
    ("a node is late", "): Late"),
    ("a node refuses a key", "): Refuses"),
    ("a node lies", "): Lies"),
    ("a node answers twice", "): AnswersTwice"),
    ("a node lists garbage", "): ListsOther"),
    ("a node lists a part", "): ListsFirst"),
    ("the lead is lost before execution", "loses the lead"),
    ("a stale leader hint", "for the leader"),
    ("a removal fails", "the next removal"),
    ("Raft is slow", "the Rafts of"),
];

/// What comes of them, to calls between servers and to those who ask.
const EFFECTS: [&str; 22] = [
    "a server restarts",
    "call: answered",
    "call: refused",
    "call: not sent",
    "call: request lost",
    "call: answer lost",
    "call: too many hops",
    "call: deadline",
    "answer: ok",
    "answer: denied",
    "answer: unknown token",
    "answer: no leader",
    "answer: unknown server",
    "answer: last voter",
    "answer: quorum loss",
    "answer: conflict",
    "answer: backend",
    "answer: unreachable",
    "answer: deadline",
    "answer: too many hops",
    "rings: unreachable",
    "rings: deadline",
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
        use cluster_operator::OperatorReply::Keyring;
        match &answered.result {
            Ok(Keyring(reply)) => {
                self.add("answer: ok");
                let failed = reply.rings.iter().filter_map(|it| it.result.as_ref().err());
                failed.for_each(|error| self.error("rings", error));
            }
            Ok(_) => self.add("answer: ok"),
            Err(error) => self.error("answer", error),
        }
    }

    fn error(&mut self, whose: &str, error: &OperatorError) {
        self.add(format!("{whose}: {}", name(error.kind())));
    }

    pub(crate) fn merge(&mut self, other: Tally) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// What was never met.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let faults = FAULTS.iter().map(|(fault, _)| *fault);
        let all = faults.chain(EFFECTS);
        all.filter(|what| !self.0.contains_key(*what)).collect()
    }
}

fn end(end: &CallEnd) -> &'static str {
    match end {
        CallEnd::Answered => "answered",
        CallEnd::Failed(error) => name(error.kind()),
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
