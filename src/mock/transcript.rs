//! The record of all calls between servers, and to the nodes of gossip pools.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clock::{MockClock, lock};
use crate::error::OperatorError;
use crate::keyring::Pool;
use crate::operation::{KeyringAction, KeyringScope, Operation, OperatorRequest};
use crate::types::NodeName;

/// How many entries are kept. Mocks also serve in processes that run for long.
const KEPT: usize = 100_000;

/// Everything that has happened in a federation, in order. Prints one line for
/// each entry.
///
/// Keys appear as fingerprints, tokens not at all.
///
/// ```
/// use cluster_operator::mock::{MockClock, MockFederation};
/// use cluster_operator::raft::Consistency;
/// use cluster_operator::service::Caller;
///
/// let clock = MockClock::new();
/// let federation = MockFederation::builder()
///     .datacenter("dc1", ["alice", "bob"])
///     .clock(&clock)
///     .build();
/// let bob = federation.service("bob");
/// clock.run(bob.raft_configuration(&Caller::anonymous(), Consistency::Default)).unwrap();
///
/// let transcript = federation.transcript();
/// assert_eq!(transcript.calls_to("alice").count(), 1);
/// assert_eq!(
///     transcript.to_string(),
///     "0.000s bob -> alice: read the Raft configuration (hop 1): answered\n"
/// );
/// ```
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    entries: Vec<Entry>,
}

/// One entry of a [`Transcript`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Entry {
    /// A server called another one, or a node of a gossip pool.
    Call(Call),
    /// The test did something.
    Note {
        /// The time on the federation's clock.
        at: Duration,
        /// The action of the test.
        text: String,
    },
}

/// A call from a server to another one, or to a node of a gossip pool.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// The time of the call, on the federation's clock.
    pub at: Duration,
    /// The caller.
    pub from: NodeName,
    /// The server or node that was called; the name of the datacenter if no server
    /// of it could be chosen.
    pub to: NodeName,
    /// The pool, if a node of a gossip pool was called.
    pub pool: Option<Pool>,
    /// The request in words.
    pub what: Arc<str>,
    /// The number of times that the request was forwarded, including this one.
    pub hops: u8,
    /// The timeout that the caller sent with the request.
    pub timeout: Option<Duration>,
    /// The time at which the other side began to work on it.
    pub arrived: Option<Duration>,
    /// The time at which the call ended.
    pub ended: Option<Duration>,
    /// The end of the call.
    pub end: CallEnd,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEnd {
    /// It has not ended yet.
    Open,
    /// The other side answered.
    Answered,
    /// The other side answered with an error.
    Failed(OperatorError),
    /// A node refused.
    Refused(String),
    /// Nothing was sent.
    NotSent(String),
    /// The connection broke after the request was executed.
    Lost(String),
    /// The request was lost.
    RequestLost,
    /// The request arrived, and the answer was lost.
    AnswerLost,
}

impl Transcript {
    /// Iterates over all entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Iterates over the calls, in the order in which they were made.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Call(call) => Some(call),
            Entry::Note { .. } => None,
        })
    }

    /// Iterates over the calls between servers.
    pub fn calls_between_servers(&self) -> impl Iterator<Item = &Call> {
        self.calls().filter(|call| call.pool.is_none())
    }

    /// Iterates over the calls to a server or node; there are none for an unknown
    /// name. A server's node in the WAN pool has a name of its own, such as
    /// `dave.lima`.
    pub fn calls_to(&self, to: impl Into<NodeName>) -> impl Iterator<Item = &Call> {
        let to = to.into();
        self.calls().filter(move |call| call.to == to)
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entries = self.entries.iter();
        entries.try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Call(call) => call.fmt(f),
            Entry::Note { at, text } => write!(f, "{:.3}s ** {text}", at.as_secs_f64()),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_secs_f64();
        write!(f, "{at:.3}s {} -> {}", self.from, self.to)?;
        if let Some(pool) = &self.pool {
            write!(f, " ({pool})")?;
        }
        write!(f, ": {}", self.what)?;
        if self.hops > 0 {
            write!(f, " (hop {})", self.hops)?;
        }
        write!(f, ": {}", self.end)?;
        match self.ended {
            Some(ended) if ended > self.at => {
                write!(f, " after {:.3}s", (ended - self.at).as_secs_f64())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for CallEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallEnd::Open => f.write_str("no answer yet"),
            CallEnd::Answered => f.write_str("answered"),
            CallEnd::Failed(error) => write!(f, "failed: {error}"),
            CallEnd::Refused(why) => write!(f, "refused: {why}"),
            CallEnd::NotSent(why) => write!(f, "not sent: {why}"),
            CallEnd::Lost(why) => write!(f, "no answer: {why}"),
            CallEnd::RequestLost => f.write_str("the request was lost"),
            CallEnd::AnswerLost => f.write_str("the answer was lost"),
        }
    }
}

/// Writes a transcript. Clones write the same one.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    pub(super) clock: MockClock,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    /// How many entries came before the first one that is kept.
    dropped: usize,
    entries: VecDeque<Entry>,
}

impl Recorder {
    pub(super) fn new(clock: MockClock) -> Self {
        Recorder {
            clock,
            log: Arc::default(),
        }
    }

    pub(super) fn note(&self, text: String) {
        let at = self.clock.now();
        self.push(Entry::Note { at, text });
    }

    /// Prepares a call that begins now, to be passed to `begin` or `fail`.
    pub(super) fn call(&self, from: NodeName, to: NodeName, what: Arc<str>) -> Call {
        Call {
            at: self.clock.now(),
            from,
            to,
            pool: None,
            what,
            hops: 0,
            timeout: None,
            arrived: None,
            ended: None,
            end: CallEnd::Open,
        }
    }

    /// Records a call. Returns its number.
    pub(super) fn begin(&self, call: Call) -> usize {
        self.push(Entry::Call(call))
    }

    /// Records a call that was never sent.
    pub(super) fn fail(&self, call: Call, why: String) {
        let number = self.begin(call);
        self.end(number, CallEnd::NotSent(why));
    }

    pub(super) fn arrived(&self, call: usize) {
        let now = self.clock.now();
        self.change(call, |call| call.arrived = Some(now));
    }

    pub(super) fn end(&self, call: usize, end: CallEnd) {
        let now = self.clock.now();
        self.change(call, |call| {
            call.ended = Some(now);
            call.end = end;
        });
    }

    pub(super) fn transcript(&self) -> Transcript {
        Transcript {
            entries: lock(&self.log).entries.iter().cloned().collect(),
        }
    }

    pub(super) fn clear(&self) {
        let mut log = lock(&self.log);
        log.dropped += log.entries.len();
        log.entries.clear();
    }

    fn push(&self, entry: Entry) -> usize {
        let mut log = lock(&self.log);
        if log.entries.len() == KEPT {
            log.entries.pop_front();
            log.dropped += 1;
        }
        log.entries.push_back(entry);
        log.dropped + log.entries.len() - 1
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut Call)) {
        let mut log = lock(&self.log);
        let at = number.checked_sub(log.dropped);
        if let Some(Entry::Call(call)) = at.and_then(|at| log.entries.get_mut(at)) {
            change(call);
        }
    }
}

/// Describes a request for the transcript: without its token, and with
/// fingerprints of keys.
pub(super) fn describe(request: &OperatorRequest) -> String {
    let at_index = |index: &Option<u64>| match index {
        Some(index) => format!(" if at index {index}"),
        None => String::new(),
    };
    let mut text = match &request.operation {
        Operation::RaftConfiguration(_) => "read the Raft configuration".into(),
        Operation::RemovePeer {
            server,
            expected_index,
        } => format!("remove {server}{}", at_index(expected_index)),
        Operation::TransferLeadership { to: Some(to) } => {
            format!("transfer the leadership to {to}")
        }
        Operation::TransferLeadership { to: None } => "transfer the leadership".into(),
        Operation::OwnView => "read its own view of Raft".into(),
        Operation::ServerViews => "read the views of its servers".into(),
        Operation::Diagnose => "diagnose the federation".into(),
        Operation::Keyring { action, scope, .. } => {
            let scope = match scope {
                KeyringScope::Federation => "",
                KeyringScope::LocalOnly => " in the local rings",
                KeyringScope::Remote => " in its own rings",
            };
            let action = match action {
                KeyringAction::Install(key) => format!("install {}", key.fingerprint()),
                KeyringAction::Use(key) => format!("use {}", key.fingerprint()),
                KeyringAction::Remove(key) => format!("remove {}", key.fingerprint()),
                KeyringAction::List => "list keys".into(),
            };
            action + scope
        }
        Operation::AutopilotConfiguration(_) => "read the autopilot configuration".into(),
        Operation::SetAutopilotConfiguration { expected_index, .. }
        | Operation::ChangeAutopilot { expected_index, .. } => {
            let condition = at_index(expected_index);
            format!("set the autopilot configuration{condition}")
        }
        Operation::AutopilotState(_) => "read the autopilot state".into(),
        Operation::PlanRemoval { server } => format!("plan the removal of {server}"),
        Operation::RemovePlanned { id, version } => format!("remove {id} if at version {version}"),
        Operation::ForceRemoval { id } => format!("force the removal of {id}"),
        Operation::ReplacePeer { id, with } => format!("replace {id} with {with}"),
    };
    if let Some(datacenter) = &request.datacenter {
        text.push_str(&format!(" in {datacenter}"));
    }
    text
}
