//! What autopilot remembers from one decision to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Settings, Sign, Snapshot};
use crate::raft::Leadership;
use crate::types::ServerId;

/// The largest number of failures of a server that count: the hold doubles with each
/// but the first.
const COUNTED_FAILURES: usize = 4;

/// What autopilot remembers from one decision to the next. The default remembers nothing.
///
/// After a change of leader, what was observed of the servers is forgotten, so that all
/// times begin anew. What makes autopilot more careful stays: the removals in the window,
/// the last action, and the failures of a server that flaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// The term in which this server leads, and since when that is known.
    leading: Option<(u64, Duration)>,
    servers: BTreeMap<ServerId, Seen>,
    /// The removals in the window, in their order.
    removals: Vec<Left>,
    /// The last action, until it is settled.
    last: Option<Taken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    at: Duration,
    removes: bool,
}

/// A server that left the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    at: Duration,
    voter: bool,
}

/// What was observed of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    healthy_since: Option<Duration>,
    failing_since: Option<Duration>,
    /// True from a failure until it is seen healthy, also across leaders.
    down: bool,
    /// The beginnings of its failures in the window.
    failures: Vec<Duration>,
}

impl Memory {
    /// Takes back the last action, which was not applied: it does not count as a removal
    /// in the window. The pause after it stays.
    pub fn not_applied(&mut self) {
        if let Some(last) = &mut self.last
            && std::mem::take(&mut last.removes)
        {
            self.removals.pop();
        }
    }

    /// Takes back the last action, which was not begun: no pause comes after it.
    pub(crate) fn not_begun(&mut self) {
        self.not_applied();
        self.last = None;
    }

    /// Notes that the execution of the last action ended now, on the clock of the
    /// snapshots. The pause after it begins now, and its time in the window, instead of
    /// with the decision.
    pub fn ended(&mut self, now: Duration) {
        if let Some(last) = &mut self.last {
            last.at = now;
            if last.removes
                && let Some(left) = self.removals.last_mut()
            {
                left.at = now;
            }
        }
    }

    /// Notes an action, and if it removes a server, whether that is a voter.
    pub(super) fn take(&mut self, at: Duration, leaves: Option<bool>) {
        self.removals.extend(leaves.map(|voter| Left { at, voter }));
        let removes = leaves.is_some();
        self.last = Some(Taken { at, removes });
    }

    pub(super) fn observe(
        &mut self,
        snapshot: &Snapshot,
        settings: &Settings,
        signs: &BTreeMap<&ServerId, Sign>,
    ) {
        let (now, view) = (snapshot.now, &snapshot.view);
        let recent = |time: &Duration| now.saturating_sub(*time) < settings.window;
        self.removals.retain(|left| recent(&left.at));
        let leads = view.leadership == Leadership::Local;
        if !leads || self.leading.is_none_or(|(term, _)| term != view.term) {
            self.leading = leads.then_some((view.term, now));
            for seen in self.servers.values_mut() {
                seen.healthy_since = None;
                seen.failing_since = None;
            }
        }
        self.servers.retain(|id, seen| {
            seen.failures.retain(recent);
            let stays = signs.contains_key(id);
            if !stays {
                seen.healthy_since = None;
                seen.failing_since = None;
            }
            stays || !seen.failures.is_empty()
        });
        if !leads {
            return;
        }
        for (id, sign) in signs {
            let seen = self.servers.entry((*id).clone()).or_default();
            match sign {
                Sign::Healthy => {
                    seen.healthy_since.get_or_insert(now);
                    seen.failing_since = None;
                    seen.down = false;
                }
                Sign::Failing { .. } => {
                    seen.healthy_since = None;
                    seen.failing_since.get_or_insert(now);
                    if !seen.down {
                        seen.down = true;
                        seen.failures.push(now);
                        let old = seen.failures.len().saturating_sub(COUNTED_FAILURES);
                        seen.failures.drain(..old);
                    }
                }
                Sign::Unclear(_) => {
                    seen.healthy_since = None;
                    seen.failing_since = None;
                }
            }
        }
    }

    /// Ends the last action: the pause is over and the voters are settled.
    pub(super) fn settle(&mut self) {
        self.last = None;
    }

    /// Returns the time since the last action that is not settled.
    pub(super) fn since_last(&self, now: Duration) -> Option<Duration> {
        self.last.map(|last| now.saturating_sub(last.at))
    }

    /// Returns the time for which this server is known to lead.
    pub(super) fn led_for(&self, now: Duration) -> Duration {
        self.leading
            .map_or(Duration::ZERO, |(_, since)| now.saturating_sub(since))
    }

    pub(super) fn healthy_for(&self, id: &ServerId, now: Duration) -> Duration {
        since(
            self.servers.get(id).and_then(|seen| seen.healthy_since),
            now,
        )
    }

    pub(super) fn failing_for(&self, id: &ServerId, now: Duration) -> Duration {
        since(
            self.servers.get(id).and_then(|seen| seen.failing_since),
            now,
        )
    }

    /// Returns the hold of a server, which doubles with each failure after the first one.
    pub(super) fn hold(&self, id: &ServerId, hold: Duration) -> Duration {
        let failures = self.servers.get(id).map_or(0, |seen| seen.failures.len());
        hold.saturating_mul(1 << failures.saturating_sub(1))
    }

    /// Returns the number of removals in the window: of voters, or of all servers.
    pub(super) fn removals(&self, only_voters: bool) -> usize {
        let counts = |left: &&Left| left.voter || !only_voters;
        self.removals.iter().filter(counts).count()
    }
}

fn since(begin: Option<Duration>, now: Duration) -> Duration {
    begin.map_or(Duration::ZERO, |begin| now.saturating_sub(begin))
}
