//! One simulated gossip pool: its nodes, their keyrings, and who believes whom dead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::fault::{FaultId, NodeFault};
use super::transcript::{Call, CallEnd, Recorder};
use crate::autopilot::{Detected, Detection};
use crate::error::{ErrorKind, OperatorError};
use crate::keyring::{Answers, KeyChange, Keyring, NodeFailure, NodeKeys, Pool};
use crate::types::NodeName;

#[derive(Debug)]
pub(super) struct Gossip {
    pool: Pool,
    pub(super) nodes: Vec<Node>,
    /// Whether every node notices at once that another one is down.
    pub(super) notices_failures: bool,
    /// The failures that were noticed: the observer and the failed node.
    pub(super) noticed: BTreeSet<(NodeName, NodeName)>,
    /// The pairs of nodes that a partition separates, in both orders.
    pub(super) cuts: BTreeSet<(NodeName, NodeName)>,
    /// When what a node knows of another one changed last, unless one of them was
    /// stopped or restarted later.
    changes: BTreeMap<(NodeName, NodeName), Duration>,
    pub(super) faults: Vec<(FaultId, NodeName, NodeFault)>,
    /// Records the calls of the nodes, and has the clock for late ones.
    pub(super) recorder: Option<Recorder>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: NodeName,
    /// `None` if the node does not encrypt.
    pub(super) ring: Option<Keyring>,
    pub(super) up: bool,
    /// When it was stopped or restarted last.
    changed: Duration,
}

/// What one node asks all others: to list their keys, or to change them.
#[derive(Debug, Clone)]
pub(super) struct Query {
    from: NodeName,
    change: Option<KeyChange>,
    answers: Answers,
    /// The asking node's ring, with the key that it installs, if it does.
    ring: Option<Keyring>,
}

type Answer = Result<NodeKeys, NodeFailure>;

/// A node that answers later: after which time, its position, and the call.
pub(super) type Late = (Duration, usize, Option<usize>);

impl Gossip {
    pub(super) fn new(
        pool: Pool,
        nodes: impl IntoIterator<Item = NodeName>,
        ring: Option<Keyring>,
    ) -> Self {
        let nodes = nodes.into_iter().map(|name| Node {
            name,
            ring: ring.clone(),
            up: true,
            changed: Duration::ZERO,
        });
        Gossip {
            pool,
            nodes: nodes.collect(),
            notices_failures: false,
            noticed: BTreeSet::new(),
            cuts: BTreeSet::new(),
            changes: BTreeMap::new(),
            faults: Vec::new(),
            recorder: None,
        }
    }

    fn now(&self) -> Duration {
        let recorder = self.recorder.as_ref();
        recorder.map_or(Duration::ZERO, |recorder| recorder.clock.now())
    }

    pub(super) fn set_up(&mut self, name: &NodeName, up: bool) {
        let now = self.now();
        let node = self.node(name);
        if node.up != up {
            (node.up, node.changed) = (up, now);
        }
        if up {
            self.noticed.retain(|(_, failed)| failed != name);
        }
    }

    /// Separates these pairs of nodes, given in both orders, and no others.
    pub(super) fn cut(&mut self, pairs: BTreeSet<(NodeName, NodeName)>) {
        let now = self.now();
        let changed = self.cuts.symmetric_difference(&pairs).cloned();
        self.changes.extend(changed.map(|pair| (pair, now)));
        self.cuts = pairs;
    }

    pub(super) fn notice(&mut self, observer: NodeName, failed: NodeName) {
        let noticed = (observer, failed);
        if self.noticed.insert(noticed.clone()) {
            self.changes.insert(noticed, self.now());
        }
    }

    /// What a node knows of all nodes, and for how long.
    pub(super) fn detect(
        &mut self,
        observer: &NodeName,
    ) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
        self.check_up(observer)?;
        let (now, started) = (self.now(), self.node(observer).changed);
        let detections = self.nodes.iter().map(|node| {
            let pair = (observer.clone(), node.name.clone());
            let status = match self.is_member(observer, node) {
                true => Detected::Alive,
                false => Detected::Failed,
            };
            let changed = self.changes.get(&pair).copied().unwrap_or_default();
            let since = changed.max(node.changed).max(started);
            let lasted = now - since;
            (pair.1, Detection { status, lasted })
        });
        Ok(detections.collect())
    }

    /// # Panics
    /// If there is no such node.
    pub(super) fn node(&mut self, name: &NodeName) -> &mut Node {
        match self.nodes.iter_mut().find(|node| node.name == *name) {
            Some(node) => node,
            None => panic!("the gossip pool has no node {name:?}"),
        }
    }

    /// Fails if the node is down.
    pub(super) fn check_up(&mut self, name: &NodeName) -> Result<(), OperatorError> {
        match self.node(name).up {
            true => Ok(()),
            false => Err(OperatorError::new(ErrorKind::Unreachable {
                target: format!("node {name}"),
                reason: "it is stopped".into(),
            })),
        }
    }

    /// The nodes that this one counts as members, dead or alive.
    pub(super) fn members(&self, observer: &NodeName) -> impl Iterator<Item = &NodeName> {
        let members = self.nodes.iter();
        let members = members.filter(|node| self.is_member(observer, node));
        members.map(|node| &node.name)
    }

    /// Lets a node ask every member. Returns the members that answer later, the first
    /// of them first.
    pub(super) fn ask(
        &mut self,
        from: &NodeName,
        change: Option<KeyChange>,
        answers: &Answers,
    ) -> Result<(Query, Vec<Late>), OperatorError> {
        self.check_up(from)?;
        let mut ring = self.node(from).ring.clone();
        if let (Some(ring), Some(KeyChange::Install(key))) = (&mut ring, &change) {
            ring.install(key.clone());
        }
        let query = Query {
            from: from.clone(),
            change,
            answers: answers.clone(),
            ring,
        };
        let (members, absent): (Vec<usize>, Vec<usize>) =
            (0..self.nodes.len()).partition(|at| self.is_member(&query.from, &self.nodes[*at]));
        let name = |at: &usize| self.nodes[*at].name.clone();
        query.answers.asking(members.iter().map(name));
        query.answers.absent(absent.iter().map(name));
        let what = query.describe();
        let mut late = Vec::new();
        for at in members {
            let to = self.nodes[at].name.clone();
            let fault = self.fault(&to);
            let call = self.recorder.as_ref().map(|recorder| {
                recorder.begin(Call {
                    pool: Some(self.pool.clone()),
                    ..recorder.call(query.from.clone(), to, Arc::clone(&what))
                })
            });
            match fault {
                Some(NodeFault::Late(delay)) => late.push((delay, at, call)),
                _ => self.answer(&query, at, call),
            }
        }
        late.sort_by_key(|(delay, ..)| *delay);
        Ok((query, late))
    }

    /// Lets one node execute a query and answer it.
    pub(super) fn answer(&mut self, query: &Query, at: usize, call: Option<usize>) {
        let end = match self.answer_of(query, at) {
            Err(end) => end,
            Ok(answer) => {
                let end = match &answer {
                    Ok(_) => CallEnd::Answered,
                    Err(failure) => CallEnd::Refused(failure.to_string()),
                };
                query.answers.answered(&self.nodes[at].name, answer);
                end
            }
        };
        if let (Some(recorder), Some(call)) = (&self.recorder, call) {
            recorder.end(call, end);
        }
    }

    /// The answer of a node, with the faults of the test, or how the call ends
    /// without one.
    fn answer_of(&mut self, query: &Query, at: usize) -> Result<Answer, CallEnd> {
        let Node { name, ring, up, .. } = &self.nodes[at];
        let is_own = *name == query.from;
        if !(*up && self.reaches(&query.from, name) && (is_own || reads(ring, &query.ring))) {
            return Err(CallEnd::RequestLost);
        }
        let fault = self.fault(name);
        let node = &mut self.nodes[at];
        let answer = match (fault, &query.change) {
            (Some(NodeFault::Silent), _) => return Err(CallEnd::RequestLost),
            (Some(NodeFault::Refuses), Some(_)) => {
                Err(NodeFailure::Other("a fault of the test".into()))
            }
            (Some(NodeFault::Lies), Some(_)) => Ok(NodeKeys::done()),
            (Some(NodeFault::ListsOther(key)), None) => Ok(NodeKeys::ring([key])),
            (Some(NodeFault::ListsFirst(shown)), None) => node.list_first(shown),
            (_, change) => node.execute(change),
        };
        if is_own || reads(&query.ring, &node.ring) {
            Ok(answer)
        } else {
            Err(CallEnd::AnswerLost)
        }
    }

    /// The latest fault of a node.
    fn fault(&self, node: &NodeName) -> Option<NodeFault> {
        let mut latest = self.faults.iter().rev();
        let (.., fault) = latest.find(|(_, at, _)| at == node)?;
        Some(fault.clone())
    }

    fn reaches(&self, from: &NodeName, to: &NodeName) -> bool {
        self.cuts.is_empty() || !self.cuts.contains(&(from.clone(), to.clone()))
    }

    fn is_member(&self, observer: &NodeName, node: &Node) -> bool {
        if node.up && self.reaches(observer, &node.name) {
            return true;
        }
        let noticed = (observer.clone(), node.name.clone());
        !(self.notices_failures || self.noticed.contains(&noticed))
    }
}

/// Returns whether a node with the first ring can decrypt what a node with the second
/// one sends, which is encrypted with its primary key. Only rings protect messages: a
/// node without encryption understands all others and is understood, so that its
/// failures can be tested.
fn reads(reader: &Option<Keyring>, writer: &Option<Keyring>) -> bool {
    match (reader, writer) {
        (Some(reader), Some(writer)) => reader.contains(writer.primary()),
        _ => true,
    }
}

impl Node {
    fn execute(&mut self, change: &Option<KeyChange>) -> Answer {
        let ring = self.ring.as_mut().ok_or(NodeFailure::EncryptionOff)?;
        match change {
            None => Ok(ring.listed()),
            Some(change) => ring.change(change),
        }
    }

    /// Lists so many of the keys.
    fn list_first(&mut self, shown: usize) -> Answer {
        let mut answer = self.execute(&None)?;
        let total = answer.keys.len();
        if shown < total {
            answer.keys.truncate(shown);
            answer.primary = answer.keys.first().cloned();
            answer = answer.truncated(total);
        }
        Ok(answer)
    }
}

impl Query {
    fn describe(&self) -> Arc<str> {
        let (verb, key) = match &self.change {
            None => return "list keys".into(),
            Some(KeyChange::Install(key)) => ("install", key),
            Some(KeyChange::Use(key)) => ("use", key),
            Some(KeyChange::Remove(key)) => ("remove", key),
        };
        format!("{verb} {}", key.fingerprint()).into()
    }
}
