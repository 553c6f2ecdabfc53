//! What of an answer can be told beforehand.

use std::collections::BTreeMap;

use cluster_operator::{
    DatacenterName, ErrorKind, KeyringReply, NodeName, OperatorError, OperatorReply, Outcome, Pool,
    RingReport,
};

/// An answer without what depends on chance or on counting log entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The servers, whether each leads and lives, and the index.
    Configuration(Vec<(NodeName, bool, bool)>, u64),
    Removed,
    Transferred,
    Rings(Vec<SeenRing>),
    /// The number that tells them apart, and the index of their last change.
    Rules(u64, u64),
    RulesSet(bool),
    /// Whether all are healthy, and how many may fail.
    State(bool, u64),
    Failed(&'static str, Outcome),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenRing {
    /// The datacenter and the pool.
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) errors: usize,
    /// Fingerprints of keys, on how many nodes, and of how many the primary.
    pub(crate) keys: BTreeMap<String, (usize, usize)>,
}

impl SeenRing {
    /// One that could not be asked.
    pub(crate) fn failed(datacenter: &DatacenterName, pool: &Pool, why: &str) -> SeenRing {
        SeenRing {
            name: format!("{datacenter} ({pool}): {why}"),
            nodes: 0,
            errors: 0,
            keys: BTreeMap::new(),
        }
    }
}

impl Seen {
    /// How many nodes have been asked for it, each once.
    pub(crate) fn nodes(&self) -> usize {
        match self {
            Seen::Rings(rings) => rings.iter().map(|ring| ring.nodes).sum(),
            _ => 0,
        }
    }
}

pub(crate) fn see(answer: &Result<OperatorReply, OperatorError>) -> Seen {
    match answer {
        Err(error) => Seen::Failed(name(error.kind()), error.outcome()),
        Ok(OperatorReply::RaftConfiguration(configuration)) => {
            let servers = configuration.servers.iter();
            let servers = servers.map(|server| {
                let name = server.name.clone().unwrap();
                (name, server.leader, server.alive.unwrap())
            });
            Seen::Configuration(servers.collect(), configuration.index)
        }
        Ok(OperatorReply::PeerRemoved) => Seen::Removed,
        Ok(OperatorReply::LeadershipTransferred) => Seen::Transferred,
        Ok(OperatorReply::Keyring(reply)) => Seen::Rings(rings(reply)),
        Ok(OperatorReply::AutopilotConfiguration(rules)) => {
            Seen::Rules(rules.max_trailing_logs, rules.modify_index)
        }
        Ok(OperatorReply::AutopilotConfigurationSet(set)) => Seen::RulesSet(*set),
        Ok(OperatorReply::AutopilotState(state)) => {
            Seen::State(state.healthy, state.failure_tolerance)
        }
        Ok(_) => Seen::Failed("an answer that the test does not know", Outcome::Unknown),
    }
}

fn rings(reply: &KeyringReply) -> Vec<SeenRing> {
    let ring = |name: String, report: &RingReport| {
        let primaries = |key| report.primary_keys.get(key);
        let keys = report.keys.iter();
        SeenRing {
            name,
            nodes: report.nodes,
            errors: report.errors,
            keys: keys
                .map(|(key, count)| (key.fingerprint(), (count, primaries(key))))
                .collect(),
        }
    };
    let rings = reply.rings.iter();
    rings
        .map(|outcome| {
            let (datacenter, pool) = (&outcome.datacenter, &outcome.pool);
            match &outcome.result {
                Ok(report) => ring(format!("{datacenter} ({pool})"), report),
                Err(error) => SeenRing::failed(datacenter, pool, name(error.kind())),
            }
        })
        .collect()
}

pub(crate) fn name(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied { .. } => "denied",
        ErrorKind::UnknownToken => "unknown token",
        ErrorKind::NoLeader => "no leader",
        ErrorKind::UnknownServer(_) => "unknown server",
        ErrorKind::LastVoter => "last voter",
        ErrorKind::QuorumLoss { .. } => "quorum loss",
        ErrorKind::Conflict { .. } => "conflict",
        ErrorKind::Backend { .. } => "backend",
        ErrorKind::Unreachable { .. } => "unreachable",
        ErrorKind::DeadlineExceeded { .. } => "deadline",
        ErrorKind::NotLeader { .. } => "not leader",
        ErrorKind::TooManyHops { .. } => "too many hops",
        _ => "something else",
    }
}
