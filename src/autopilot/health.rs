//! The judgement of a leader about the health of its servers.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{AutopilotConfiguration, AutopilotServer, AutopilotState, RaftRole, ServerHealth};
use crate::raft::{Leadership, LogPosition, RaftMember, RaftView, ServerStatus};
use crate::types::{NodeName, ServerId};

/// Judges the servers in a leader's views by autopilot's thresholds, and remembers since
/// when each has been healthy or not.
///
/// A server is healthy if all of this holds:
/// - Gossip has not declared it failed, and it has not left.
/// - It answered the leader within
///   [`last_contact_threshold`](AutopilotConfiguration::last_contact_threshold).
/// - Its last log entry is of the same term as the leader's, and at most
///   [`max_trailing_logs`](AutopilotConfiguration::max_trailing_logs) behind it.
///
/// A server whose last contact or last log entry is unknown is not healthy: its health is
/// [unknown](ServerHealth::Unknown), unless what is known shows that it is unhealthy. One of
/// which only gossip knows nothing may be healthy.
///
/// A server without a vote that was never healthy under this leader is
/// [joining](ServerHealth::Joining), until gossip calls it failed or gone. It does not make
/// the cluster unhealthy, as it does for a moment in Consul.
///
/// Source: the health rule of Consul 1.17 (raft-autopilot 0.1.6), which takes the previous
/// data of a server that does not answer.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use cluster_operator::autopilot::{AutopilotConfiguration, HealthTracker};
/// use cluster_operator::raft::{
///     Leadership, LogPosition, Membership, RaftMember, RaftView, ServerStatus,
/// };
///
/// let servers = [RaftMember::voter("a", "10.0.0.1:8300"), RaftMember::voter("b", "10.0.0.2:8300")];
/// let mut view = RaftView::new("a", Membership::new(servers).into());
/// view.leadership = Leadership::Local;
/// let seen = |index, ago| {
///     ServerStatus::unknown()
///         .with_last_log(LogPosition { term: 2, index })
///         .with_last_contact(Duration::from_millis(ago))
/// };
/// view.status = vec![seen(900, 0), seen(700, 90)];
/// let state = HealthTracker::new()
///     .observe(&view, &AutopilotConfiguration::default(), SystemTime::now())
///     .unwrap();
/// assert!(state.healthy);
/// ```
#[derive(Debug, Default)]
pub struct HealthTracker {
    /// The term of the views, and the time of the first one.
    leading: Option<(u64, SystemTime)>,
    health: BTreeMap<ServerId, Seen>,
}

/// The health of a server under this leader.
#[derive(Debug)]
struct Seen {
    healthy: bool,
    /// The time of its last change.
    since: SystemTime,
    was_healthy: bool,
}

impl HealthTracker {
    /// Creates a tracker that has seen no view.
    pub fn new() -> Self {
        HealthTracker::default()
    }

    /// Judges the servers in a view that was taken at `now`. Returns `None`, and forgets
    /// what it has seen, if the view is not a leader's; a new term is a new beginning too.
    ///
    /// A server that never answered is shown with the time since the beginning of the
    /// leadership, as far as it is known, as its last contact.
    pub fn observe(
        &mut self,
        view: &RaftView,
        configuration: &AutopilotConfiguration,
        now: SystemTime,
    ) -> Option<AutopilotState> {
        if view.leadership != Leadership::Local {
            *self = HealthTracker::new();
            return None;
        }
        let known = self.leading.filter(|(term, _)| *term == view.term);
        let (term, begin) = known.unwrap_or((view.term, now));
        if known.is_none() {
            self.health.clear();
        }
        self.leading = Some((term, begin));
        self.health
            .retain(|id, _| view.membership.get(id).is_some());

        let silence = view
            .leading_for
            .unwrap_or_else(|| now.duration_since(begin).unwrap_or_default());
        let last_log = view.own_status().and_then(|status| status.last_log);
        let unknown = ServerStatus::unknown();
        let servers = view.servers().map(|(member, status)| {
            let contact = last_contact(view, member, status);
            let status = status.unwrap_or(&unknown);
            let health = judge(status, contact, last_log, configuration);
            let healthy = health == ServerHealth::Healthy;
            let seen = self.health.entry(member.id.clone()).or_insert(Seen {
                healthy,
                since: now,
                was_healthy: false,
            });
            if seen.healthy != healthy {
                seen.healthy = healthy;
                seen.since = now;
            }
            seen.was_healthy |= healthy;
            let given_up = status.alive == Some(false) || status.left;
            let joins = !member.is_voter() && !seen.was_healthy && !given_up;
            let last_log = status.last_log.unwrap_or_default();
            AutopilotServer {
                id: member.id.clone(),
                name: status.name.clone().unwrap_or_else(|| NodeName::new("")),
                address: member.address.clone(),
                node_status: node_status(status).into(),
                version: status
                    .software_version
                    .as_deref()
                    .unwrap_or_default()
                    .into(),
                last_contact: contact.unwrap_or(silence),
                last_term: last_log.term,
                last_index: last_log.index,
                healthy,
                stable_since: seen.since,
                role: role(member, view),
                meta: BTreeMap::new(),
                health: Some(match health {
                    ServerHealth::Unhealthy | ServerHealth::Unknown if joins => {
                        ServerHealth::Joining
                    }
                    health => health,
                }),
            }
        });
        Some(AutopilotState::new(servers.collect()))
    }
}

/// Judges a server by what is known of it. What is unknown only counts if the rest is good.
fn judge(
    status: &ServerStatus,
    contact: Option<Duration>,
    leader: Option<LogPosition>,
    configuration: &AutopilotConfiguration,
) -> ServerHealth {
    let answers = contact.map(|ago| ago <= configuration.last_contact_threshold);
    let (last, limit) = (status.last_log, configuration.max_trailing_logs);
    let known = last.is_some() && leader.is_some();
    let follows = known.then(|| keeps_up(last, leader, limit));
    match (answers, follows) {
        _ if status.alive == Some(false) || status.left => ServerHealth::Unhealthy,
        (Some(false), _) | (_, Some(false)) => ServerHealth::Unhealthy,
        (None, _) | (_, None) => ServerHealth::Unknown,
        (Some(true), Some(true)) => ServerHealth::Healthy,
    }
}

/// Returns the time since the last contact of the leader, whose view it is, with a server.
pub(super) fn last_contact(
    view: &RaftView,
    member: &RaftMember,
    status: Option<&ServerStatus>,
) -> Option<Duration> {
    if member.id == view.id {
        Some(Duration::ZERO)
    } else {
        status?.last_contact
    }
}

/// Returns true if a server with this last entry is close enough to the leader.
pub(super) fn keeps_up(last: Option<LogPosition>, leader: Option<LogPosition>, most: u64) -> bool {
    match (last, leader) {
        (Some(last), Some(leader)) => {
            last.term == leader.term && leader.index.saturating_sub(last.index) <= most
        }
        _ => false,
    }
}

fn node_status(status: &ServerStatus) -> &'static str {
    match status.alive {
        _ if status.left => "left",
        Some(true) => "alive",
        Some(false) => "failed",
        None => "none",
    }
}

fn role(member: &RaftMember, view: &RaftView) -> RaftRole {
    if member.id == view.id {
        RaftRole::Leader
    } else if member.is_voter() {
        RaftRole::Voter
    } else {
        RaftRole::Nonvoter
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::raft::Membership;

    fn seconds(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn seen(index: u64, millis: u64) -> ServerStatus {
        ServerStatus::unknown()
            .with_last_log(LogPosition { term: 2, index })
            .with_last_contact(Duration::from_millis(millis))
    }

    /// The view of a leader a, with a voter b, a voter c and a non-voter d.
    fn view() -> RaftView {
        let servers = [
            RaftMember::voter("a", "a"),
            RaftMember::voter("b", "b"),
            RaftMember::voter("c", "c"),
            RaftMember::nonvoter("d", "d"),
        ];
        let mut view = RaftView::new("a", Arc::new(Membership::new(servers)));
        view.leadership = Leadership::Local;
        view.term = 2;
        view.status = vec![seen(1000, 0), seen(750, 200), seen(1000, 1), seen(999, 1)];
        view
    }

    fn observe(view: &RaftView) -> AutopilotState {
        let rules = AutopilotConfiguration::default();
        let state = HealthTracker::new().observe(view, &rules, seconds(1));
        state.unwrap()
    }

    fn healthy(view: &RaftView) -> Vec<bool> {
        let state = observe(view);
        assert_eq!(state.healthy, state.servers.iter().all(|it| it.healthy));
        state.servers.iter().map(|server| server.healthy).collect()
    }

    #[test]
    fn server_at_both_thresholds_is_healthy() {
        assert_eq!(healthy(&view()), [true; 4]);
        let state = observe(&view());
        assert_eq!(state.failure_tolerance, 1);
        assert_eq!(state.optimistic_failure_tolerance, 1);
        assert_eq!(state.leader.unwrap(), "a");
        let roles: Vec<_> = state.servers.iter().map(|server| server.role).collect();
        use RaftRole::{Leader, Nonvoter, Voter};
        assert_eq!(roles, [Leader, Voter, Voter, Nonvoter]);
    }

    #[test]
    fn server_beyond_a_threshold_is_not_healthy() {
        type Spoil = fn(&mut ServerStatus);
        let spoil: [(Spoil, &str); 8] = [
            (
                |it| it.last_contact = Some(Duration::from_millis(201)),
                "none",
            ),
            (|it| it.last_contact = None, "none"),
            (
                |it| {
                    it.last_log = Some(LogPosition {
                        term: 2,
                        index: 749,
                    })
                },
                "none",
            ),
            (
                |it| {
                    it.last_log = Some(LogPosition {
                        term: 1,
                        index: 1000,
                    })
                },
                "none",
            ),
            (|it| it.last_log = None, "none"),
            (|it| it.alive = Some(false), "failed"),
            (|it| it.left = true, "left"),
            (|it| *it = ServerStatus::unknown(), "none"),
        ];
        for (number, (spoil, node_status)) in spoil.into_iter().enumerate() {
            let mut view = view();
            spoil(&mut view.status[1]);
            assert_eq!(healthy(&view), [true, false, true, true], "{number}");
            let state = observe(&view);
            assert_eq!(state.failure_tolerance, 0, "{number}");
            assert_eq!(state.servers[1].node_status, node_status, "{number}");
        }
    }

    /// The words for b, a voter, and d, which has no vote.
    fn words(view: &RaftView, tracker: &mut HealthTracker) -> (&'static str, &'static str) {
        let rules = AutopilotConfiguration::default();
        let state = tracker.observe(view, &rules, seconds(1)).unwrap();
        let word = |at: usize| state.servers[at].health.unwrap().name();
        assert_eq!(
            state.healthy,
            word(1) == "healthy" && word(3) != "unhealthy"
        );
        (word(1), word(3))
    }

    #[test]
    fn server_without_data_is_unknown() {
        let long = Some(Duration::from_secs(1));
        for (contact, log, alive, word) in [
            (None, None, None, "unknown"),
            (None, None, Some(true), "unknown"),
            (Some(Duration::ZERO), None, Some(true), "unknown"),
            (long, None, Some(true), "unhealthy"),
            (None, None, Some(false), "unhealthy"),
        ] {
            let mut view = view();
            let status = &mut view.status[1];
            (status.last_contact, status.last_log, status.alive) = (contact, log, alive);
            let words = words(&view, &mut HealthTracker::new());
            assert_eq!(words, (word, "healthy"), "{contact:?} {alive:?}");
        }
    }

    #[test]
    fn joining_server_leaves_the_cluster_healthy_until_it_fails() {
        let mut tracker = HealthTracker::new();
        let mut view = view();
        let caught_up = view.status[3].clone();
        view.status[3] = ServerStatus::unknown();
        assert_eq!(words(&view, &mut tracker), ("healthy", "joining"));
        view.status[3] = seen(3, 1);
        assert_eq!(words(&view, &mut tracker), ("healthy", "joining"));
        // One that gossip calls failed does not join.
        view.status[3].alive = Some(false);
        assert_eq!(words(&view, &mut tracker), ("healthy", "unhealthy"));
        view.status[3] = caught_up.clone();
        assert_eq!(words(&view, &mut tracker), ("healthy", "healthy"));
        view.status[3] = seen(999, 300);
        assert_eq!(words(&view, &mut tracker), ("healthy", "unhealthy"));
    }

    #[test]
    fn leader_without_a_log_judges_nobody_healthy() {
        let mut view = view();
        view.status[0].last_log = None;
        assert_eq!(healthy(&view), [false; 4]);
        view.membership = Arc::default();
        assert!(!observe(&view).healthy);
    }

    #[test]
    fn stable_since_is_the_last_change_of_health() {
        let rules = AutopilotConfiguration::default();
        let mut tracker = HealthTracker::new();
        let mut since = |view: &RaftView, at| {
            let state = tracker.observe(view, &rules, seconds(at));
            let servers = state.map(|state| state.servers).unwrap_or_default();
            let since = |it: &AutopilotServer| {
                let since = it.stable_since.duration_since(SystemTime::UNIX_EPOCH);
                since.unwrap().as_secs()
            };
            servers.iter().map(since).collect::<Vec<_>>()
        };
        let mut view = view();
        assert_eq!(since(&view, 1), [1, 1, 1, 1]);
        view.status[1].alive = Some(false);
        assert_eq!(since(&view, 2), [1, 2, 1, 1]);
        assert_eq!(since(&view, 3), [1, 2, 1, 1]);
        view.status[1].alive = Some(true);
        assert_eq!(since(&view, 4), [1, 4, 1, 1]);

        // A server that is added again begins anew.
        let all = Arc::clone(&view.membership);
        view.membership = Arc::new(Membership::new(all.servers[..3].to_vec()));
        assert_eq!(since(&view, 5), [1, 4, 1]);
        view.membership = all;
        assert_eq!(since(&view, 6), [1, 4, 1, 6]);

        // So does a new leadership.
        view.term = 3;
        assert_eq!(since(&view, 7), [7; 4]);
        view.leadership = Leadership::Unknown;
        assert_eq!(since(&view, 8), [0; 0]);
        view.leadership = Leadership::Local;
        assert_eq!(since(&view, 9), [9; 4]);
    }

    #[test]
    fn silence_of_a_server_lasts_since_the_beginning() {
        let rules = AutopilotConfiguration::default();
        let mut tracker = HealthTracker::new();
        let mut view = view();
        view.status[1].last_contact = None;
        let mut contact = |view: &RaftView, at| {
            let state = tracker.observe(view, &rules, seconds(at)).unwrap();
            state.servers[1].last_contact.as_secs()
        };
        assert_eq!(contact(&view, 10), 0);
        assert_eq!(contact(&view, 14), 4);
        // The clock was set back.
        assert_eq!(contact(&view, 3), 0);
        view.leading_for = Some(Duration::from_secs(30));
        assert_eq!(contact(&view, 14), 30);
    }
}
