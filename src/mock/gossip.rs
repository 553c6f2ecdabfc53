//! One gossip pool: its nodes, their rings, and who takes whom for dead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::transcript::{Number, Recorder};
use super::{CallEnd, MockClock, NodeFault, unreachable};
use crate::error::OperatorError;
use crate::keyring::{Answers, KeyChange, Keyring, NodeFailure, NodeKeys, Pool};
use crate::types::NodeName;

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

/// What nodes are asked: for their keys, or to change them.
pub(super) type Question = Option<KeyChange>;

type Answer = Result<NodeKeys, NodeFailure>;

/// When a node that is late will answer, and the call that it answers.
pub(super) type Late = (Duration, NodeName, Option<Number>);

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

    /// Asks every node that the observer takes for a member. Returns those that
    /// are late, the first of them first.
    pub(super) fn ask(
        &mut self,
        observer: &NodeName,
        pool: &Pool,
        question: &Question,
        answers: &Answers,
    ) -> Result<Vec<Late>, OperatorError> {
        self.live(observer)?;
        let what = self.watched.is_some().then(|| Arc::from(wording(question)));
        let members = self.members(observer);
        answers.asking(members.map(|node| node.name.clone()));
        let failed = self.nodes.iter();
        let failed = failed.filter(|node| !self.is_member(observer, node));
        answers.absent(failed.map(|node| node.name.clone()));
        let mut late = Vec::new();
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
                Some(NodeFault::Late(delay)) => late.push((*delay, name, call)),
                _ => self.answer(observer, at, question, answers, call),
            }
        }
        late.sort_by_key(|(delay, ..)| *delay);
        Ok(late)
    }

    /// A node that is late answers.
    pub(super) fn answer_late(
        &mut self,
        observer: &NodeName,
        node: &NodeName,
        question: &Question,
        answers: &Answers,
        call: Option<Number>,
    ) {
        if let Some(at) = self.nodes.iter().position(|held| held.name == *node) {
            self.answer(observer, at, question, answers, call);
        }
    }

    fn answer(
        &mut self,
        observer: &NodeName,
        at: usize,
        question: &Question,
        answers: &Answers,
        call: Option<Number>,
    ) {
        let end = match self.answer_of(observer, at, question) {
            None => CallEnd::RequestLost,
            Some(answer) => {
                let end = match &answer {
                    Ok(_) => CallEnd::Answered,
                    Err(failure) => CallEnd::Refused(failure.to_string()),
                };
                answers.answered(&self.nodes[at].name, answer);
                end
            }
        };
        if let (Some((recorder, _)), Some(call)) = (&self.watched, call) {
            recorder.end(call, end);
        }
    }

    /// What a node answers, if it does, and as the test has told it.
    fn answer_of(&mut self, observer: &NodeName, at: usize, question: &Question) -> Option<Answer> {
        let node = &self.nodes[at];
        if !(node.up && self.reaches(observer, &node.name)) {
            return None;
        }
        let fault = self.faults.get(&node.name).cloned();
        let node = &mut self.nodes[at];
        Some(match (fault, question) {
            (Some(NodeFault::Silent), _) => return None,
            (Some(NodeFault::Refuses), Some(_)) => {
                Err(NodeFailure::Other("the node was told to refuse".into()))
            }
            (Some(NodeFault::Lies), Some(_)) => Ok(NodeKeys::done()),
            (Some(NodeFault::ListsOther(key)), None) => Ok(NodeKeys::ring([key])),
            (Some(NodeFault::ListsFirst(shown)), None) => node.list(shown),
            (Some(NodeFault::AnswersTwice), _) => {
                let first = node.answer(question);
                // It does it twice, too.
                node.answer(question).and(first)
            }
            _ => node.answer(question),
        })
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
    fn answer(&mut self, question: &Question) -> Answer {
        let ring = self.ring.as_mut().ok_or(NodeFailure::EncryptionOff)?;
        match question {
            None => Ok(ring.listed()),
            Some(change) => ring.change(change),
        }
    }

    /// Lists the first keys alone.
    fn list(&mut self, shown: usize) -> Answer {
        let total = self.ring.as_ref().map_or(0, |ring| ring.keys().len());
        let mut answer = self.answer(&None)?;
        if shown < total {
            answer.keys.truncate(shown);
            answer.primary = answer.keys.first().cloned();
            answer = answer.truncated(total);
        }
        Ok(answer)
    }
}

fn wording(question: &Question) -> String {
    match question {
        None => "list keys".into(),
        Some(KeyChange::Install(key)) => format!("install {}", key.fingerprint()),
        Some(KeyChange::Use(key)) => format!("use {}", key.fingerprint()),
        Some(KeyChange::Remove(key)) => format!("remove {}", key.fingerprint()),
    }
}
