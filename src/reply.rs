//! What the service answers.

use serde::{Deserialize, Serialize};

use crate::autopilot::{AutopilotConfiguration, AutopilotState};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::{Pool, RingReport};
use crate::name::DatacenterName;
use crate::raft::RaftConfiguration;
use crate::request::Operation;

/// The answer to an [`Operation`](crate::Operation), one for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OperatorReply {
    /// The Raft configuration.
    RaftConfiguration(RaftConfiguration),
    /// The server is no longer in the Raft configuration.
    PeerRemoved,
    /// Another server leads.
    LeadershipTransferred,
    /// What the rings answered.
    Keyring(KeyringReply),
    /// Autopilot's rules.
    AutopilotConfiguration(AutopilotConfiguration),
    /// Whether autopilot's rules were replaced.
    AutopilotConfigurationSet(bool),
    /// Autopilot's view of the servers.
    AutopilotState(AutopilotState),
}

impl OperatorReply {
    /// Whether this is an answer to the operation at all.
    pub(crate) fn answers(&self, operation: &Operation) -> bool {
        use OperatorReply as Reply;
        matches!(
            (operation, self),
            (Operation::RaftConfiguration(_), Reply::RaftConfiguration(_))
                | (Operation::RemovePeer { .. }, Reply::PeerRemoved)
                | (
                    Operation::TransferLeadership { .. },
                    Reply::LeadershipTransferred
                )
                | (Operation::Keyring { .. }, Reply::Keyring(_))
                | (
                    Operation::AutopilotConfiguration(_),
                    Reply::AutopilotConfiguration(_)
                )
                | (
                    Operation::SetAutopilotConfiguration { .. },
                    Reply::AutopilotConfigurationSet(_)
                )
                | (Operation::AutopilotState(_), Reply::AutopilotState(_))
        )
    }
}

/// What each ring answered: the WAN first, then this datacenter's LAN, its
/// segments by name, and the other datacenters' rings by name.
///
/// It holds every ring, those that failed too. A caller who needs all of them
/// asks with [`confirmed`](KeyringReply::confirmed).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyringReply {
    /// One entry for each ring, and one for each datacenter that could not be
    /// asked for its rings.
    pub rings: Vec<RingOutcome>,
}

/// What one ring answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingOutcome {
    /// The datacenter; for the WAN ring that of the server that asked it.
    pub datacenter: DatacenterName,
    /// The pool.
    pub pool: Pool,
    /// The merged answers of its nodes, or why they could not be had. A report
    /// may still have a [`fault`](RingReport::fault).
    pub result: Result<RingReport, OperatorError>,
}

impl RingOutcome {
    /// Whether every node of the ring did what it was asked.
    pub fn is_confirmed(&self) -> bool {
        matches!(&self.result, Ok(report) if report.fault().is_none())
    }
}

impl KeyringReply {
    /// The reply if every node of every ring did what it was asked.
    ///
    /// # Errors
    /// [`ErrorKind::RingsFailed`] names the rings that did not.
    pub fn confirmed(self) -> Result<Self, OperatorError> {
        let failed: Vec<_> = self
            .rings
            .iter()
            .filter(|ring| !ring.is_confirmed())
            .map(|ring| (ring.datacenter.clone(), ring.pool.clone()))
            .collect();
        if failed.is_empty() {
            return Ok(self);
        }
        let rings = self.rings.len();
        Err(OperatorError::new(ErrorKind::RingsFailed { failed, rings })
            .with_outcome(Outcome::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(pool: Pool, result: Result<RingReport, OperatorError>) -> RingOutcome {
        RingOutcome {
            datacenter: "dc1".into(),
            pool,
            result,
        }
    }

    #[test]
    fn a_reply_is_confirmed_if_every_node_of_every_ring_did_it() {
        let mut whole = RingReport::new(1);
        whole.done();
        let silent = RingReport::new(1);
        let good = KeyringReply {
            rings: vec![ring(Pool::Wan, Ok(whole.clone()))],
        };
        assert_eq!(good.clone().confirmed(), Ok(good.clone()));

        let mut bad = good;
        bad.rings.push(ring(Pool::Lan, Ok(silent)));
        bad.rings.push(ring(
            Pool::Segment("s".into()),
            Err(ErrorKind::NoLeader.into()),
        ));
        let error = bad.confirmed().unwrap_err();
        assert_eq!(
            error.kind(),
            &ErrorKind::RingsFailed {
                failed: vec![
                    ("dc1".into(), Pool::Lan),
                    ("dc1".into(), Pool::Segment("s".into()))
                ],
                rings: 3
            }
        );
    }
}
