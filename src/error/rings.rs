//! Replies to keyring operations, and the outcome of each ring.

use serde::{Deserialize, Serialize};

use super::{ErrorKind, OperatorError, Outcome};
use crate::types::{DatacenterName, Pool, RingReport};

/// The outcome of every ring, also of those that failed: the WAN first, then this
/// datacenter's LAN, its segments by name, and the other datacenters' rings by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "some rings may have failed: look at each one's error and report"]
pub struct KeyringReply {
    /// One entry for each ring, and one for each datacenter that could not be asked.
    pub rings: Vec<RingOutcome>,
}

/// The outcome of one ring: a report of its nodes' answers, an error, or both if some
/// nodes answered before the call failed or timed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RingOutcome {
    /// The datacenter. For the WAN ring, the datacenter of the server that asked it.
    pub datacenter: DatacenterName,
    /// The pool.
    pub pool: Pool,
    /// The merged answers of its nodes; `None` if no node was asked. Its
    /// [`failure`](RingReport::failure) names nodes that failed or were silent.
    pub report: Option<RingReport>,
    /// The error that ended the call.
    pub error: Option<OperatorError>,
}

impl RingOutcome {
    /// Creates the outcome of a ring with a report and no error.
    pub fn new(datacenter: impl Into<DatacenterName>, pool: Pool, report: RingReport) -> Self {
        RingOutcome {
            datacenter: datacenter.into(),
            pool,
            report: Some(report),
            error: None,
        }
    }

    /// Creates the outcome of a ring of which no node was asked.
    pub fn failed(datacenter: impl Into<DatacenterName>, pool: Pool, error: OperatorError) -> Self {
        RingOutcome {
            datacenter: datacenter.into(),
            pool,
            report: None,
            error: Some(error),
        }
    }

    /// Returns true if every node of the ring did what it was asked.
    pub fn is_confirmed(&self) -> bool {
        let report = self.report.as_ref();
        self.error.is_none() && report.is_some_and(|report| report.failure().is_none())
    }

    /// Returns the effect of a change on this ring. It is not applied only if no node
    /// was asked, or if every node refused it for a
    /// [known reason](crate::keyring::NodeFailure): a node that failed for another reason may
    /// have changed its ring.
    pub fn outcome(&self) -> Outcome {
        match (&self.report, &self.error) {
            (None, Some(error)) => error.outcome(),
            (None, None) => Outcome::Unknown,
            (Some(_), None) if self.is_confirmed() => Outcome::Applied,
            (Some(report), _) if report.is_refusal() => Outcome::NotApplied,
            // The nodes were named, but nothing was sent.
            (Some(report), Some(error)) if report.responses == 0 => match error.outcome() {
                Outcome::NotApplied => Outcome::NotApplied,
                _ => Outcome::Unknown,
            },
            (Some(_), _) => Outcome::Unknown,
        }
    }

    fn has_keys(&self) -> bool {
        let report = self.report.as_ref();
        report.is_some_and(|report| !report.keys.is_empty())
    }
}

impl KeyringReply {
    /// Returns the reply if every node of every ring did what it was asked.
    ///
    /// # Errors
    /// [`ErrorKind::RingsFailed`] otherwise, which names the rings that did not confirm
    /// and holds the [reply](OperatorError::reply). Its outcome is
    /// [`NotApplied`](Outcome::NotApplied) if that is the outcome of every ring.
    pub fn confirmed(self) -> Result<Self, OperatorError> {
        let mut outcomes = self.rings.iter().map(RingOutcome::outcome);
        let outcome = if outcomes.all(|outcome| outcome == Outcome::NotApplied) {
            Outcome::NotApplied
        } else {
            Outcome::Unknown
        };
        match self.unconfirmed() {
            None => Ok(self),
            Some(error) => Err(error.with_outcome(outcome).with_reply(self)),
        }
    }

    /// Returns the reply to a listing if a ring has keys or if no ring failed.
    ///
    /// # Errors
    /// [`ErrorKind::RingsFailed`], as for [`confirmed`](KeyringReply::confirmed).
    pub(crate) fn listed(self) -> Result<Self, OperatorError> {
        match self.unconfirmed() {
            Some(error) if !self.rings.iter().any(RingOutcome::has_keys) => {
                Err(error.with_outcome(Outcome::NotApplied).with_reply(self))
            }
            _ => Ok(self),
        }
    }

    fn unconfirmed(&self) -> Option<OperatorError> {
        let failed = self.rings.iter().filter(|ring| !ring.is_confirmed());
        let failed: Vec<_> = failed
            .map(|ring| (ring.datacenter.clone(), ring.pool.clone()))
            .collect();
        let rings = self.rings.len();
        (!failed.is_empty()).then(|| ErrorKind::RingsFailed { failed, rings }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GossipKey, NodeFailure};

    fn done() -> RingReport {
        let mut report = RingReport::new(1);
        report.done();
        report
    }

    fn refused() -> RingReport {
        let mut report = RingReport::new(1);
        report.failed("a".into(), NodeFailure::KeyNotInstalled);
        report
    }

    fn ring(pool: Pool, report: RingReport) -> RingOutcome {
        RingOutcome::new("dc1", pool, report)
    }

    #[test]
    fn reply_is_confirmed_if_every_node_confirms() {
        let good = KeyringReply {
            rings: vec![ring(Pool::Wan, done())],
        };
        assert_eq!(good.clone().confirmed(), Ok(good.clone()));

        let mut bad = good;
        bad.rings.push(ring(Pool::Lan, RingReport::new(1)));
        let segment = Pool::Segment("s".into());
        let error = ErrorKind::NoLeader.into();
        bad.rings
            .push(RingOutcome::failed("dc1", segment.clone(), error));
        let error = bad.clone().confirmed().unwrap_err();
        let failed = vec![("dc1".into(), Pool::Lan), ("dc1".into(), segment)];
        assert_eq!(error.kind(), &ErrorKind::RingsFailed { failed, rings: 3 });
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert_eq!(error.into_reply(), Ok(bad));
    }

    #[test]
    fn change_refused_by_every_node_is_not_applied() {
        let mut reply = KeyringReply {
            rings: vec![ring(Pool::Wan, refused())],
        };
        let unasked = OperatorError::backend("no pool").with_outcome(Outcome::NotApplied);
        reply
            .rings
            .push(RingOutcome::failed("dc1", Pool::Lan, unasked));
        let error = reply.clone().confirmed().unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied);
        reply.rings.push(ring(Pool::Segment("s".into()), done()));
        assert_eq!(reply.confirmed().unwrap_err().outcome(), Outcome::Unknown);
    }

    #[test]
    fn refusal_for_unknown_reason_has_unknown_outcome() {
        let outcome = |nodes, failures: &[NodeFailure]| {
            let mut report = RingReport::new(nodes);
            for (node, failure) in failures.iter().enumerate() {
                report.failed(format!("node-{node}").into(), failure.clone());
            }
            ring(Pool::Lan, report).outcome()
        };
        let named = NodeFailure::KeyNotInstalled;
        // A node of serf whose keyring file cannot be written has changed its ring.
        let other = NodeFailure::Other("disk full".into());
        let both = [named.clone(), NodeFailure::PrimaryKey];
        assert_eq!(outcome(2, &both), Outcome::NotApplied);
        assert_eq!(outcome(2, &both[..1]), Outcome::Unknown);
        assert_eq!(outcome(2, &[named, other]), Outcome::Unknown);
        assert_eq!(outcome(0, &[]), Outcome::Unknown);
        // The reasons of nodes that are not named are unknown.
        let many = vec![NodeFailure::KeyNotInstalled; RingReport::NAMED + 1];
        assert_eq!(outcome(many.len(), &many), Outcome::Unknown);
    }

    #[test]
    fn ring_without_report_and_error_has_unknown_outcome() {
        let mut ring = ring(Pool::Lan, done());
        ring.report = None;
        assert_eq!(ring.outcome(), Outcome::Unknown);
    }

    #[test]
    fn unsent_query_is_not_applied() {
        let mut ring = ring(Pool::Lan, RingReport::new(2));
        let unsent = OperatorError::backend("cannot ask").with_outcome(Outcome::NotApplied);
        ring.error = Some(unsent);
        assert_eq!(ring.outcome(), Outcome::NotApplied);
        ring.error = Some(OperatorError::backend("lost"));
        assert_eq!(ring.outcome(), Outcome::Unknown);
        // A node that has answered was asked.
        let unsent = OperatorError::backend("cannot ask").with_outcome(Outcome::NotApplied);
        ring.error = Some(unsent);
        ring.report.as_mut().unwrap().done();
        assert_eq!(ring.outcome(), Outcome::Unknown);
    }

    #[test]
    fn ring_with_report_and_error_is_not_confirmed() {
        let mut ring = ring(Pool::Lan, done());
        assert_eq!(ring.outcome(), Outcome::Applied);
        ring.error = Some(OperatorError::backend("lost"));
        assert!(!ring.is_confirmed());
        assert_eq!(ring.outcome(), Outcome::Unknown);
    }

    #[test]
    fn report_of_no_nodes_is_not_confirmed() {
        assert!(!ring(Pool::Lan, RingReport::new(0)).is_confirmed());
    }

    #[test]
    fn listing_is_an_error_only_if_no_ring_has_keys() {
        let mut reply = KeyringReply {
            rings: vec![ring(Pool::Lan, refused())],
        };
        assert!(reply.clone().listed().is_err());
        let key = GossipKey::from_bytes(&[1; 16]).unwrap();
        let mut listed = RingReport::new(1);
        listed.holds(&[key]);
        reply.rings.push(ring(Pool::Wan, listed));
        assert!(reply.listed().is_ok());
    }
}
