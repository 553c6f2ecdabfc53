//! What has gone between servers, and between a server and the nodes of a ring.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{MockClock, lock};
use crate::error::OperatorError;
use crate::keyring::Pool;
use crate::types::NodeName;

/// How much is kept. The mock also serves in processes that run for long.
const KEPT: usize = 100_000;

/// What has happened in a federation, in order. It prints as one line each.
///
/// Keys appear as fingerprints, and tokens not at all.
///
/// ```
/// use cluster_operator::mock::{MockClock, MockFederation};
/// use cluster_operator::{Caller, Consistency};
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

/// One thing that has happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Entry {
    /// A server has called another one, or a node of a ring.
    Call(Call),
    /// The test has done something.
    Note {
        /// When, on the federation's clock.
        at: Duration,
        /// What.
        text: String,
    },
}

/// A call from a server to another one, or to a node of a ring.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// When it was made, on the federation's clock.
    pub at: Duration,
    /// Who has made it.
    pub from: NodeName,
    /// Whom it was for; the datacenter's name if no server could be chosen.
    pub to: NodeName,
    /// The pool, if it was for a node of a ring.
    pub pool: Option<Pool>,
    /// What was asked.
    pub what: Arc<str>,
    /// How often the request was forwarded, this time included.
    pub hops: u8,
    /// How long the other side may take, as the caller has told it.
    pub timeout: Option<Duration>,
    /// When the other side began with it.
    pub arrived: Option<Duration>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// How it ended.
    pub end: CallEnd,
}

/// How a call has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEnd {
    /// It has not.
    Open,
    /// With an answer.
    Answered,
    /// With an error of the other side.
    Failed(OperatorError),
    /// A node has said that it did not do it.
    Refused(String),
    /// Before anything was sent.
    NotSent(String),
    /// The connection broke after it was done.
    Lost(String),
    /// The request was lost.
    RequestLost,
    /// It arrived, and the answer was lost.
    AnswerLost,
}

impl Transcript {
    /// Everything, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The calls, in the order in which they were made.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Call(call) => Some(call),
            Entry::Note { .. } => None,
        })
    }

    /// The calls between servers.
    pub fn calls_between_servers(&self) -> impl Iterator<Item = &Call> {
        self.calls().filter(|call| call.pool.is_none())
    }

    /// The calls for this server or node. A server's node of the WAN pool has a
    /// name of its own, such as `dave.lima`. Of a name that nobody has there are
    /// none.
    pub fn calls_to(&self, to: impl Into<NodeName>) -> impl Iterator<Item = &Call> {
        let to = to.into();
        self.calls().filter(move |call| call.to == to)
    }

    /// The calls that this server or node has made; see
    /// [`calls_to`](Transcript::calls_to) for the names.
    pub fn calls_from(&self, from: impl Into<NodeName>) -> impl Iterator<Item = &Call> {
        let from = from.into();
        self.calls().filter(move |call| call.from == from)
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries
            .iter()
            .try_for_each(|entry| writeln!(f, "{entry}"))
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

/// Keeps the transcript. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    clock: MockClock,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// How many entries came before the first that is kept.
    dropped: usize,
    entries: VecDeque<Entry>,
}

/// An entry to come back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(usize);

impl Recorder {
    pub(super) fn new(clock: MockClock) -> Self {
        Recorder {
            clock,
            kept: Arc::default(),
        }
    }

    pub(super) fn note(&self, text: String) {
        let at = self.clock.now();
        self.add(Entry::Note { at, text });
    }

    /// A call begins.
    pub(super) fn call(&self, from: NodeName, to: NodeName, what: Arc<str>) -> NewCall<'_> {
        NewCall {
            recorder: self,
            call: Call {
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
            },
        }
    }

    /// The other side begins with a call.
    pub(super) fn arrived(&self, number: Number) {
        let now = self.clock.now();
        self.change(number, |call| call.arrived = Some(now));
    }

    pub(super) fn end(&self, number: Number, end: CallEnd) {
        let now = self.clock.now();
        self.change(number, |call| {
            call.ended = Some(now);
            call.end = end;
        });
    }

    pub(super) fn transcript(&self) -> Transcript {
        Transcript {
            entries: lock(&self.kept).entries.iter().cloned().collect(),
        }
    }

    pub(super) fn clear(&self) {
        let mut kept = lock(&self.kept);
        kept.dropped += kept.entries.len();
        kept.entries.clear();
    }

    fn add(&self, entry: Entry) -> Number {
        let mut kept = lock(&self.kept);
        if kept.entries.len() == KEPT {
            kept.entries.pop_front();
            kept.dropped += 1;
        }
        kept.entries.push_back(entry);
        Number(kept.dropped + kept.entries.len() - 1)
    }

    fn change(&self, Number(number): Number, change: impl FnOnce(&mut Call)) {
        let mut kept = lock(&self.kept);
        let at = number.checked_sub(kept.dropped);
        if let Some(Entry::Call(call)) = at.and_then(|at| kept.entries.get_mut(at)) {
            change(call);
        }
    }
}

/// A call that is about to be recorded.
pub(super) struct NewCall<'a> {
    recorder: &'a Recorder,
    call: Call,
}

impl NewCall<'_> {
    pub(super) fn in_pool(mut self, pool: Pool) -> Self {
        self.call.pool = Some(pool);
        self
    }

    pub(super) fn forwarded(mut self, hops: u8, timeout: Option<Duration>) -> Self {
        self.call.hops = hops;
        self.call.timeout = timeout;
        self
    }

    pub(super) fn open(self) -> Number {
        self.recorder.add(Entry::Call(self.call))
    }

    /// It ends at once.
    pub(super) fn ends(mut self, end: CallEnd) {
        self.call.ended = Some(self.call.at);
        self.call.end = end;
        self.open();
    }
}
