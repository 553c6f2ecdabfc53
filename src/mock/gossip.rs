//! One gossip pool: its nodes, their rings, and who takes whom for dead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::transcript::{Number, Recorder};
use super::{CallEnd, MockClock, NodeFault, unreachable};
use crate::error::OperatorError;
use crate::keyring::{GossipKey, Keyring, NodeFailure, NodeMessage, Pool, RingReport};
use crate::name::NodeName;

/// The pool that its nodes share.
pub(super) type SharedGossip = Arc<Mutex<Gossip>>;

#[derive(Debug)]
pub(super) struct Gossip {
    nodes: Vec<Node>,
    /// Whether every node notices at once that another one is down.
    pub(super) notices_failures: bool,
    /// Who has noticed the failure of whom.
    noticed: BTreeSet<(NodeName, NodeName)>,
    /// Who does not reach whom; both ways.
    cuts: BTreeSet<(NodeName, NodeName)>,
    faults: BTreeMap<NodeName, NodeFault>,
    /// Where the calls of its nodes are recorded, and the clock that late nodes
    /// go by.
    watched: Option<(Recorder, MockClock)>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: NodeName,
    /// `None` if the node gossips in clear text.
    pub(super) ring: Option<Keyring>,
    up: bool,
}

/// What nodes are asked.
#[derive(Debug)]
pub(super) enum Question {
    List,
    Install(GossipKey),
    Use(GossipKey),
    Remove(GossipKey),
}

/// What the nodes have answered so far, and who will answer when.
pub(super) struct Asked {
    pub(super) report: RingReport,
    pub(super) late: Vec<(Duration, NodeName, Option<Number>)>,
}

impl Gossip {
    pub(super) fn new(nodes: impl IntoIterator<Item = NodeName>, ring: Option<Keyring>) -> Self {
        let nodes = nodes.into_iter().map(|name| Node {
            name,
            ring: ring.clone(),
            up: true,
        });
        Gossip {
            nodes: nodes.collect(),
            notices_failures: false,
            noticed: BTreeSet::new(),
            cuts: BTreeSet::new(),
            faults: BTreeMap::new(),
            watched: None,
        }
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.iter().map(|node| &node.name)
    }

    /// # Panics
    /// If there is no such node: the test has mistyped it.
    pub(super) fn node(&mut self, name: &NodeName) -> &mut Node {
        match self.nodes.iter_mut().find(|node| node.name == *name) {
            Some(node) => node,
            None => panic!("the gossip pool has no node {name:?}"),
        }
    }

    /// Refuses if the node is down.
    pub(super) fn live(&mut self, name: &NodeName) -> Result<(), OperatorError> {
        match self.node(name).up {
            true => Ok(()),
            false => Err(unreachable(format!("node {name}"), "it is stopped")),
        }
    }

    pub(super) fn stop(&mut self, name: &NodeName) {
        self.node(name).up = false;
    }

    /// It comes back with the ring that it had, and is a member to everyone.
    pub(super) fn restart(&mut self, name: &NodeName) {
        self.node(name).up = true;
        self.noticed.retain(|(_, failed)| failed != name);
    }

    pub(super) fn notice_failure(&mut self, observer: &NodeName, failed: &NodeName) {
        self.node(observer);
        self.node(failed);
        self.noticed.insert((observer.clone(), failed.clone()));
    }

    pub(super) fn set_cuts(&mut self, cuts: BTreeSet<(NodeName, NodeName)>) {
        self.cuts = cuts;
    }

    pub(super) fn set_faults(&mut self, faults: BTreeMap<NodeName, NodeFault>) {
        self.faults = faults;
    }

    pub(super) fn watch(&mut self, recorder: Recorder, clock: MockClock) {
        self.watched = Some((recorder, clock));
    }

    pub(super) fn clock(&self) -> Option<MockClock> {
        self.watched.as_ref().map(|(_, clock)| clock.clone())
    }

    /// The nodes that this one takes for members, dead or alive.
    pub(super) fn members(&self, observer: &NodeName) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .filter(|node| self.is_member(observer, node))
    }

    /// Asks every node that the observer takes for a member.
    pub(super) fn ask(
        &mut self,
        observer: &NodeName,
        pool: &Pool,
        question: &Question,
    ) -> Result<Asked, OperatorError> {
        self.live(observer)?;
        let what = self
            .watched
            .is_some()
            .then(|| Arc::from(question.wording()));
        let mut asked = Asked {
            report: RingReport::new(self.members(observer).count()),
            late: Vec::new(),
        };
        for at in 0..self.nodes.len() {
            if !self.is_member(observer, &self.nodes[at]) {
                continue;
            }
            let name = self.nodes[at].name.clone();
            let call = std::iter::zip(&self.watched, &what).next();
            let call = call.map(|((recorder, _), what)| {
                let call = recorder.call(observer.clone(), name.clone(), Arc::clone(what));
                call.in_pool(pool.clone()).open()
            });
            match self.faults.get(&name) {
                Some(NodeFault::Late(delay)) => asked.late.push((*delay, name, call)),
                _ => self.answer(observer, at, question, &mut asked.report, call),
            }
        }
        asked.late.sort_by_key(|(delay, ..)| *delay);
        Ok(asked)
    }

    /// A node that is late answers.
    pub(super) fn answer_late(
        &mut self,
        observer: &NodeName,
        node: &NodeName,
        question: &Question,
        report: &mut RingReport,
        call: Option<Number>,
    ) {
        if let Some(at) = self.nodes.iter().position(|held| held.name == *node) {
            self.answer(observer, at, question, report, call);
        }
    }

    fn answer(
        &mut self,
        observer: &NodeName,
        at: usize,
        question: &Question,
        report: &mut RingReport,
        call: Option<Number>,
    ) {
        let end = self.answer_as_told(observer, at, question, report);
        if let (Some((recorder, _)), Some(call)) = (&self.watched, call) {
            recorder.end(call, end);
        }
    }

    fn answer_as_told(
        &mut self,
        observer: &NodeName,
        at: usize,
        question: &Question,
        report: &mut RingReport,
    ) -> CallEnd {
        let node = &self.nodes[at];
        if !(node.up && self.reaches(observer, &node.name)) {
            return CallEnd::RequestLost;
        }
        let fault = self.faults.get(&node.name).cloned();
        let node = &mut self.nodes[at];
        let is_change = !matches!(question, Question::List);
        match fault {
            Some(NodeFault::Silent) => return CallEnd::RequestLost,
            Some(NodeFault::Refuses) if is_change => {
                let failure = NodeFailure::Other("the node was told to refuse".into());
                report.failed(node.name.clone(), failure);
            }
            Some(NodeFault::Lies) if is_change => report.done(),
            Some(NodeFault::AnswersTwice) => {
                node.answer(question, report);
                node.answer(question, report);
            }
            Some(NodeFault::ListsOther(key)) if !is_change => report.holds(&[key]),
            Some(NodeFault::ListsFirst(shown)) if !is_change => node.list(shown, report),
            _ => node.answer(question, report),
        }
        match report.messages.get(&node.name) {
            Some(NodeMessage::Failed(failure)) => CallEnd::Refused(failure.to_string()),
            _ => CallEnd::Answered,
        }
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

impl Node {
    fn answer(&mut self, question: &Question, report: &mut RingReport) {
        let Some(ring) = &mut self.ring else {
            return report.failed(self.name.clone(), NodeFailure::EncryptionOff);
        };
        let done = match question {
            Question::List => return report.holds(ring.keys()),
            Question::Install(key) => {
                ring.install(key.clone());
                Ok(())
            }
            Question::Use(key) => ring.use_key(key),
            Question::Remove(key) => ring.remove(key).map(drop),
        };
        report.answered(self.name.clone(), done);
    }

    /// Lists the first keys alone.
    fn list(&mut self, shown: usize, report: &mut RingReport) {
        match &self.ring {
            Some(ring) if shown < ring.keys().len() => {
                let total = ring.keys().len();
                report.holds_more(self.name.clone(), &ring.keys()[..shown], total);
            }
            _ => self.answer(&Question::List, report),
        }
    }
}

impl Question {
    fn wording(&self) -> String {
        match self {
            Question::List => "list keys".into(),
            Question::Install(key) => format!("install {}", key.fingerprint()),
            Question::Use(key) => format!("use {}", key.fingerprint()),
            Question::Remove(key) => format!("remove {}", key.fingerprint()),
        }
    }
}
