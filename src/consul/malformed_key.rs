//! Answers to a malformed key in the Consul dialects.
//!
//! Consul sends whatever it is given to its gossip rings, and each node answers in
//! its own way. Here a malformed key never leaves the server: the rings are listed,
//! and each node that has answered is taken to have said what it would have said to
//! the key.

use std::collections::{HashMap, HashSet};

use crate::error::{KeyringReply, OperatorError, RingOutcome};
use crate::keyring::{InvalidKey, NodeFailure, RingReport};
use crate::operation::OperatorReply;

/// Serf's limit for a query in bytes, and what a key may take of it: the rest are the
/// query's own fields.
const QUERY_LIMIT: usize = 1024;
const KEY_LIMIT: usize = 887;

/// A change of the keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Install,
    Use,
    Remove,
}

/// A change whose key is malformed.
#[derive(Debug, Clone, Copy)]
pub(super) struct MalformedKey {
    pub(super) change: Change,
    pub(super) error: InvalidKey,
}

impl MalformedKey {
    /// The answer to the change, from the answer to a listing of the same rings.
    pub(super) fn answer(
        self,
        listed: Result<OperatorReply, OperatorError>,
    ) -> Result<OperatorReply, OperatorError> {
        let reply = match listed {
            Ok(OperatorReply::Keyring(reply)) => reply,
            Ok(reply) => return Ok(reply),
            Err(error) => error.into_reply()?,
        };
        let rings = reply.rings.into_iter().map(|ring| self.ring(ring));
        let reply = KeyringReply {
            rings: rings.collect(),
        };
        reply.confirmed().map(OperatorReply::Keyring)
    }

    fn ring(self, ring: RingOutcome) -> RingOutcome {
        let refused = match self.error {
            InvalidKey::Size { bytes } if bytes > KEY_LIMIT => OperatorError::invalid_request(
                format!("query exceeds limit of {QUERY_LIMIT} bytes"),
            ),
            InvalidKey::Size { .. } => {
                let report = ring.report.map(|report| self.report(report));
                return RingOutcome { report, ..ring };
            }
            error => error.into(),
        };
        match ring.report {
            Some(_) => RingOutcome::failed(ring.datacenter, ring.pool, refused),
            None => ring,
        }
    }

    /// As memberlist's nodes answer: only installing looks at the size, and only where
    /// there is a ring at all.
    fn report(self, listed: RingReport) -> RingReport {
        let failures: HashMap<_, _> = listed.failures().collect();
        let off = |failure: &&NodeFailure| **failure == NodeFailure::EncryptionOff;
        let is_off = failures.values().any(off);
        let all_named = failures.len() == listed.errors;
        let failure = |node| match (is_off, self.change) {
            (true, _) => match failures.get(node) {
                Some(failure) => Some((*failure).clone()),
                None => (!all_named).then_some(NodeFailure::EncryptionOff),
            },
            (false, Change::Install) => Some(NodeFailure::KeySize),
            (false, Change::Use) => Some(NodeFailure::KeyNotInstalled),
            (false, Change::Remove) => None,
        };
        let silent: HashSet<_> = listed.silent.iter().collect();
        let named = listed.asked.iter().filter(|node| !silent.contains(node));

        let mut report = RingReport::new(listed.nodes);
        report.asked.clone_from(&listed.asked);
        report.silent.clone_from(&listed.silent);
        for node in named.take(listed.responses) {
            match failure(node) {
                Some(failure) => report.failed(node.clone(), failure),
                None => report.done(),
            }
        }
        // A report names the first nodes of a large ring, and counts the others.
        let unnamed = listed.responses - report.responses;
        report.responses += unnamed;
        report.errors = match (is_off, self.change) {
            (true, _) => listed.errors,
            (false, Change::Remove) => 0,
            (false, Change::Install | Change::Use) => report.responses,
        };
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::{Answers, GossipKey, NodeKeys, Pool};
    use crate::types::NodeName;

    /// A listing of so many nodes, of which some have answered.
    fn listed(nodes: usize, answered: usize) -> RingReport {
        let node = |number: usize| NodeName::from(format!("node-{number:03}"));
        let answers = Answers::default();
        answers.asking((0..nodes).map(node));
        let key = GossipKey::from_bytes(&[1; 16]).unwrap();
        for number in 0..answered {
            answers.answered(&node(number), Ok(NodeKeys::ring([key.clone()])));
        }
        answers.report().unwrap()
    }

    fn answer(change: Change, error: InvalidKey, report: RingReport) -> RingOutcome {
        let rings = vec![RingOutcome::new("dc1", Pool::Lan, report)];
        let listed = Ok(OperatorReply::Keyring(KeyringReply { rings }));
        let mut reply = match (MalformedKey { change, error }).answer(listed) {
            Ok(OperatorReply::Keyring(reply)) => reply,
            Err(error) => error.into_reply().unwrap(),
            other => panic!("{other:?}"),
        };
        reply.rings.remove(0)
    }

    #[test]
    fn every_node_answers_to_the_size_as_memberlist_does() {
        for (change, failure) in [
            (Change::Install, Some(NodeFailure::KeySize)),
            (Change::Use, Some(NodeFailure::KeyNotInstalled)),
            (Change::Remove, None),
        ] {
            let ring = answer(change, InvalidKey::Size { bytes: 3 }, listed(3, 3));
            let report = ring.report.unwrap();
            assert!(report.keys.is_empty());
            assert_eq!((report.nodes, report.responses), (3, 3));
            let failures: Vec<_> = report.failures().map(|(_, why)| why.clone()).collect();
            assert_eq!(
                failures,
                vec![failure; 3].into_iter().flatten().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn silent_nodes_answer_nothing_and_unnamed_ones_are_counted() {
        let ring = answer(Change::Use, InvalidKey::Size { bytes: 3 }, listed(300, 150));
        let report = ring.report.unwrap();
        let counts = (report.nodes, report.responses, report.errors);
        assert_eq!(counts, (300, 150, 150));
        assert_eq!(report.messages.len(), RingReport::NAMED);
        assert_eq!(report.silent.len(), RingReport::NAMED);
    }

    #[test]
    fn ring_without_encryption_says_so_before_it_looks_at_the_size() {
        let mut report = RingReport::new(2);
        report.failed("alice".into(), NodeFailure::EncryptionOff);
        report.failed("bob".into(), NodeFailure::EncryptionOff);
        report.asked = vec!["alice".into(), "bob".into()];
        let ring = answer(Change::Remove, InvalidKey::Size { bytes: 0 }, report);
        let report = ring.report.unwrap();
        assert_eq!(report.errors, 2);
        assert!(
            report
                .failures()
                .all(|(_, failure)| *failure == NodeFailure::EncryptionOff)
        );
    }

    #[test]
    fn key_that_cannot_be_sent_fails_in_every_ring() {
        for (error, kind) in [
            (InvalidKey::Base64 { offset: 4 }, "invalid-key"),
            (InvalidKey::Size { bytes: 888 }, "invalid-request"),
        ] {
            let ring = answer(Change::Use, error, listed(3, 3));
            assert!(ring.report.is_none());
            assert_eq!(ring.error.unwrap().kind().name(), kind);
        }
    }
}
