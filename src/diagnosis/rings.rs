//! The findings about the gossip rings.

use std::collections::BTreeSet;

use super::examine::{Findings, names};
use super::{FindingKind, KeyShare, RingKeys, Severity};
use crate::error::{ErrorKind, KeyringReply, OperatorError, RingOutcome};
use crate::keyring::{GossipKey, NodeFailure, Pool, RingReport};
use crate::types::{DatacenterName, NodeName};

use FindingKind::{
    EncryptionOff, KeyNotEverywhere, NodeError, NodeFailed, NodeSilent, PrimaryDiffers,
    RingTruncated, RingUnreachable,
};
use Severity::{Critical, Warning};

/// The members of the pools, as far as the listings name them.
pub(super) struct Gossip<'a> {
    rings: &'a [RingOutcome],
}

impl<'a> Gossip<'a> {
    pub(super) fn new(rings: Option<&'a Result<KeyringReply, OperatorError>>) -> Self {
        let reply = rings.and_then(|rings| match rings {
            Ok(reply) => Some(reply),
            Err(error) => error.reply(),
        });
        Gossip {
            rings: reply.map_or(&[], |reply| &reply.rings),
        }
    }

    /// Returns the members of a datacenter's LAN, failed or not; `None` unless the
    /// listing names all.
    pub(super) fn lan(&self, datacenter: &DatacenterName) -> Option<BTreeSet<&NodeName>> {
        let mut rings = self.rings.iter();
        let is_it = |ring: &&RingOutcome| ring.pool == Pool::Lan && ring.datacenter == *datacenter;
        members(rings.find(is_it)?)
    }

    /// Returns the servers of a datacenter in the WAN, without the datacenter in their
    /// names.
    pub(super) fn wan(&self, datacenter: &DatacenterName) -> BTreeSet<&'a str> {
        let rings = self.rings.iter().filter(|ring| ring.pool == Pool::Wan);
        let nodes = rings.filter_map(members).flatten();
        let own = nodes.filter_map(|node| {
            let (name, suffix) = node.as_str().rsplit_once('.')?;
            (suffix == datacenter.as_str()).then_some(name)
        });
        own.collect()
    }
}

fn members(ring: &RingOutcome) -> Option<BTreeSet<&NodeName>> {
    let report = ring.report.as_ref()?;
    let names_all = report.asked.len() == report.nodes && report.absent.len() < RingReport::NAMED;
    names_all.then(|| report.asked.iter().chain(&report.absent).collect())
}

/// Examines the rings.
pub(super) fn examine(
    rings: Option<Result<KeyringReply, OperatorError>>,
    findings: &mut Findings,
) -> Vec<RingKeys> {
    let reply = match rings {
        None => return Vec::new(),
        Some(reply) => reply.or_else(OperatorError::into_reply),
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            findings.add(
                (Critical, RingUnreachable),
                None,
                None,
                format!("the gossip rings could not be asked: {error}"),
                "check that every datacenter has a server up; a node that has died fails a listing \
                 of Consul until gossip has given it up, so look again in a minute",
            );
            return Vec::new();
        }
    };
    if reply.rings.is_empty() {
        findings.add(
            (Critical, RingUnreachable),
            None,
            None,
            "no gossip ring is listed",
            "check that the asked server takes part in the gossip",
        );
    }
    for ring in &reply.rings {
        find(ring, findings);
    }
    reply.rings.iter().map(state).collect()
}

fn state(ring: &RingOutcome) -> RingKeys {
    let report = ring.report.clone().unwrap_or_default();
    let tells_primaries = !report.primary_keys.is_empty();
    let keys = report.keys.iter().map(|(key, nodes)| KeyShare {
        fingerprint: key.fingerprint(),
        nodes,
        primary: tells_primaries.then(|| report.primary_keys.get(key)),
    });
    RingKeys {
        datacenter: ring.datacenter.clone(),
        pool: ring.pool.to_string(),
        nodes: report.nodes,
        responses: report.responses,
        keys: keys.collect(),
        silent: report.silent,
        failed: report.absent,
        error: ring.error.as_ref().map(ToString::to_string),
    }
}

fn find(ring: &RingOutcome, findings: &mut Findings) {
    let at = Some(&ring.datacenter);
    let name = format!("the ring {} ({})", ring.datacenter, ring.pool);
    let Some(report) = &ring.report else {
        if let Some(error) = &ring.error {
            let kind = match error.kind() {
                ErrorKind::EncryptionOff => EncryptionOff,
                _ => RingUnreachable,
            };
            let message = format!("{name} could not be asked: {error}");
            let next = "check that a server of that datacenter is up, reachable and new enough";
            findings.add((Critical, kind), at, None, message, next);
        }
        return;
    };
    // Else the findings about its nodes tell why it is not whole.
    if let Some(error) = &ring.error
        && report.failure().is_none()
    {
        let message = format!("{name} failed after all nodes had answered: {error}");
        let next = "look into the log of the server that asked it";
        findings.add((Warning, RingUnreachable), at, None, message, next);
    }
    let nodes = report.nodes;
    let silent = nodes.saturating_sub(report.responses);
    if silent > 0 {
        let message = format!(
            "{silent} of {nodes} nodes of {name} did not answer: {}",
            names(&report.silent)
        );
        let next = "check that they are up; one that was left behind by a rotation has an old key \
                    and has to be repaired";
        findings.add(
            (Warning, NodeSilent),
            at,
            only(&report.silent),
            message,
            next,
        );
    }
    if !report.absent.is_empty() {
        let message = format!(
            "gossip has given up members of {name}: {}",
            names(&report.absent)
        );
        let next = "start them before the gossip key is rotated, or remove them from the gossip: \
                    they keep their old keys";
        findings.add(
            (Warning, NodeFailed),
            at,
            only(&report.absent),
            message,
            next,
        );
    }
    if report.truncated > 0 {
        let message = format!(
            "{} of {nodes} nodes of {name} listed only some of their keys",
            report.truncated
        );
        let next = "remove old keys, so that all of them fit into an answer";
        findings.add((Warning, RingTruncated), at, None, message, next);
    }
    find_errors(&name, report, at, findings);
    find_keys(&name, report, at, findings);
}

/// Returns the name if there is only one.
fn only(nodes: &[NodeName]) -> Option<&str> {
    match nodes {
        [node] => Some(node.as_str()),
        _ => None,
    }
}

fn find_errors(
    name: &str,
    report: &RingReport,
    at: Option<&DatacenterName>,
    findings: &mut Findings,
) {
    if report.errors == 0 {
        return;
    }
    let off = |(_, failure): &(&NodeName, &NodeFailure)| **failure == NodeFailure::EncryptionOff;
    let clear: Vec<_> = report
        .failures()
        .filter(off)
        .map(|(node, _)| node)
        .collect();
    if !clear.is_empty() {
        let message = format!("nodes of {name} gossip in clear text: {}", names(&clear));
        let next = "start every node with a gossip key";
        findings.add((Warning, EncryptionOff), at, None, message, next);
    }
    let others = report.failures().filter(|failure| !off(failure));
    let others: Vec<_> = others
        .map(|(node, failure)| format!("{node}: {failure}"))
        .collect();
    if !others.is_empty() || report.failures().count() < report.errors {
        let (errors, nodes) = (report.errors, report.nodes);
        let mut message = format!("{errors} of {nodes} nodes of {name} answered with an error");
        if !others.is_empty() {
            message += &format!(": {}", names(&others));
        }
        let next = "look into the logs of these nodes";
        findings.add((Warning, NodeError), at, None, message, next);
    }
}

fn find_keys(
    name: &str,
    report: &RingReport,
    at: Option<&DatacenterName>,
    findings: &mut Findings,
) {
    let listed = report.responses.saturating_sub(report.errors);
    if report.truncated == 0 {
        for (key, nodes) in report.keys.iter().filter(|(_, nodes)| *nodes < listed) {
            let fingerprint = key.fingerprint();
            let message = format!("key {fingerprint} is on {nodes} of {listed} nodes of {name}");
            let next = "finish the rotation to the key that is to stay; a node without it has to \
                        be repaired";
            findings.add(
                (Warning, KeyNotEverywhere),
                at,
                Some(&fingerprint),
                message,
                next,
            );
        }
    }
    if report.primary_keys.len() < 2 {
        return;
    }
    let share = |(key, nodes): (&GossipKey, usize)| format!("{} on {nodes}", key.fingerprint());
    let shares: Vec<_> = report.primary_keys.iter().map(share).collect();
    // Nodes that lack the primary key of another one do not understand it.
    let mut used = report.primary_keys.iter();
    let is_split = used.any(|(key, _)| report.keys.get(key) < listed);
    let severity = if is_split { Critical } else { Warning };
    let message = format!(
        "the nodes of {name} do not all use the same key: {}",
        names(&shares)
    );
    let next = "rotate to the key that is to stay";
    findings.add((severity, PrimaryDiffers), at, None, message, next);
}
