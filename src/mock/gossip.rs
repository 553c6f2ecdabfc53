//! One gossip pool: its nodes, their rings, and who takes whom for dead.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::unreachable;
use crate::error::OperatorError;
use crate::keyring::{Keyring, RingReport};
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
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: NodeName,
    /// `None` if the node gossips in clear text.
    pub(super) ring: Option<Keyring>,
    up: bool,
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
        answer: impl Fn(&mut Node, &mut RingReport),
    ) -> Result<RingReport, OperatorError> {
        if !self.node(observer).up {
            return Err(unreachable(format!("node {observer}"), "it is stopped"));
        }
        let mut report = RingReport::new(self.members(observer).count());
        for at in 0..self.nodes.len() {
            if self.nodes[at].up && self.is_member(observer, &self.nodes[at]) {
                answer(&mut self.nodes[at], &mut report);
            }
        }
        Ok(report)
    }

    fn is_member(&self, observer: &NodeName, node: &Node) -> bool {
        let noticed = (observer.clone(), node.name.clone());
        node.up || !(self.notices_failures || self.noticed.contains(&noticed))
    }
}
