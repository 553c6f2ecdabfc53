//! The predictable parts of an answer.

use std::collections::BTreeMap;

use cluster_operator::operation::{KeyringReply, RingOutcome};
use cluster_operator::{DatacenterName, NodeName, OperatorError, OperatorReply, Outcome, Pool};

/// An answer without what is random or depends on the number of log entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The servers, whether each leads and is up, and the index.
    Configuration(Vec<(NodeName, bool, bool)>, u64),
    Removed,
    Transferred,
    Rings(Vec<SeenRing>),
    /// Some ring did not confirm it.
    RingsFailed(Vec<SeenRing>, Outcome),
    /// The number in the configuration, and the index of its last change.
    Rules(u64, u64),
    RulesSet(bool),
    /// Whether all servers are healthy, and the failure tolerance.
    State(bool, u64),
    Failed(&'static str, Outcome),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SeenRing {
    /// The datacenter and the pool.
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) responses: usize,
    pub(crate) errors: usize,
    pub(crate) silent: Vec<NodeName>,
    /// For each fingerprint, how many nodes hold the key, and for how many it is the
    /// primary.
    pub(crate) keys: BTreeMap<String, (usize, usize)>,
    /// The kind of the error, if there is one.
    pub(crate) error: Option<&'static str>,
}

impl SeenRing {
    /// A ring of which no node was asked.
    pub(crate) fn failed(datacenter: &DatacenterName, pool: &Pool, why: &'static str) -> SeenRing {
        SeenRing {
            name: format!("{datacenter} ({pool})"),
            error: Some(why),
            ..SeenRing::default()
        }
    }
}

impl Seen {
    /// The number of nodes that were asked.
    pub(crate) fn nodes(&self) -> usize {
        match self {
            Seen::Rings(rings) | Seen::RingsFailed(rings, _) => {
                rings.iter().map(|ring| ring.nodes).sum()
            }
            _ => 0,
        }
    }
}

pub(crate) fn see(answer: &Result<OperatorReply, OperatorError>) -> Seen {
    match answer {
        Err(error) => match error.reply() {
            Some(reply) => Seen::RingsFailed(rings(reply), error.outcome()),
            None => Seen::Failed(error.kind().name(), error.outcome()),
        },
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
    reply.rings.iter().map(ring).collect()
}

fn ring(outcome: &RingOutcome) -> SeenRing {
    let mut seen = SeenRing {
        name: format!("{} ({})", outcome.datacenter, outcome.pool),
        error: outcome.error.as_ref().map(|error| error.kind().name()),
        ..SeenRing::default()
    };
    if let Some(report) = &outcome.report {
        seen.nodes = report.nodes;
        seen.responses = report.responses;
        seen.errors = report.errors;
        seen.silent.clone_from(&report.silent);
        let keys = report.keys.iter();
        let counts = keys.map(|(key, count)| {
            let primaries = report.primary_keys.get(key);
            (key.fingerprint(), (count, primaries))
        });
        seen.keys = counts.collect();
    }
    seen
}
