//! The findings about the Raft of a datacenter.

use super::examine::{Findings, ObservedDatacenter, is_unreachable, names};
use super::rings::Gossip;
use super::servers::{Raft, order};
use super::view::title;
use super::{AskedServer, DatacenterState, FindingKind, Health, ServerState, Severity};
use crate::error::{ErrorKind, OperatorError};
use crate::types::{DatacenterName, QuorumGuard, RemovalVerdict, ServerId, VoterCount};

use FindingKind::{
    ChangeUnfinished, ConfigurationDiffers, DatacenterUnreachable, DeadServer, DeadVoter,
    GossipNotInRaft, HealthUnknown, LeaderDisputed, LongestLog, NoFailureTolerance, NoLeader,
    RaftNotInGossip, ServerCutOff, ServerDenied, ServerFailed, ServerTooOld, ServerUnreachable,
    TwoLeaders,
};
use Severity::{Critical, Info, Warning};

/// Examines a datacenter.
pub(super) fn examine(
    observed: &ObservedDatacenter,
    guard: QuorumGuard,
    gossip: &Gossip<'_>,
    findings: &mut Findings,
) -> DatacenterState {
    let name = &observed.name;
    let mut state = DatacenterState {
        name: name.clone(),
        leader: None,
        voters: 0,
        quorum: 0,
        failure_tolerance: 0,
        servers: Vec::new(),
        error: None,
    };
    let asked = match &observed.servers {
        Ok(asked) => asked,
        Err(error) => {
            unreachable(name, error, findings);
            state.error = Some(error.to_string());
            return state;
        }
    };
    let Some(raft) = Raft::new(name, asked, guard) else {
        nothing_seen(name, asked, findings, &mut state);
        return state;
    };
    raft.find_leaders(findings);
    raft.find_failed(findings);
    raft.find_unanswered(findings);
    raft.find_differences(findings);
    raft.find_missing_in_gossip(gossip, findings);
    raft.find_autopilot(findings);

    let voters = raft.voters();
    state.voters = voters.voters;
    state.quorum = voters.quorum;
    state.failure_tolerance = voters.failure_tolerance;
    state.leader = raft.leader().cloned();
    state.servers = raft.servers;
    state
}

/// Finds that a datacenter could not be asked.
fn unreachable(name: &DatacenterName, error: &OperatorError, findings: &mut Findings) {
    let (kind, next) = match error.kind() {
        ErrorKind::PermissionDenied { .. } | ErrorKind::UnknownToken => (
            (Warning, ServerDenied),
            "use a token that may read the operator there",
        ),
        ErrorKind::IncompatibleServer { .. } => {
            ((Warning, ServerTooOld), "upgrade the servers there")
        }
        _ => (
            (Critical, DatacenterUnreachable),
            "check that a server of it is up and reachable, and ask one of its servers directly",
        ),
    };
    let message = format!("the servers of datacenter {name} could not be asked: {error}");
    findings.add(kind, Some(name), None, message, next);
}

/// Finds why no server has shown its view.
fn nothing_seen(
    name: &DatacenterName,
    asked: &[AskedServer],
    findings: &mut Findings,
    state: &mut DatacenterState,
) {
    let errors = asked.iter().filter_map(|asked| asked.view.as_ref().err());
    let errors: Vec<_> = errors.collect();
    // A server of Consul shows no view at all while it knows no leader.
    let leaderless = |error: &&&OperatorError| *error.kind() == ErrorKind::NoLeader;
    if errors.iter().any(|error| leaderless(&error)) {
        findings.add(
            (Critical, NoLeader),
            Some(name),
            None,
            format!("no server of datacenter {name} leads, and none shows its Raft configuration"),
            "check that a majority of the voters is up and that they reach each other",
        );
    }
    for asked in asked {
        if let Err(error) = &asked.view {
            unanswered(name, asked, asked.address.as_str(), error, findings);
        }
    }
    state.error = errors.first().map(|error| error.to_string());
}

impl Raft<'_> {
    fn find_leaders(&self, findings: &mut Findings) {
        let at = Some(self.name);
        match &self.leaders[..] {
            [] => self.find_no_leader(findings),
            [_] => {}
            [first, second, ..] => {
                let term = |id| self.own_view(id).map_or(0, |view| view.term);
                let (latest, other) = (term(first), term(second));
                let (one, two) = (self.title(first), self.title(second));
                if latest > other {
                    let message = format!(
                        "{one} leads in term {latest}, and {two} still believes that it leads in \
                         term {other}"
                    );
                    let next = "look again in a few seconds; if it stays, check that the others \
                                reach it, and restart it";
                    findings.add(
                        (Warning, TwoLeaders),
                        at,
                        Some(second.as_str()),
                        message,
                        next,
                    );
                } else {
                    let message = format!("{one} and {two} are both taken for the leader");
                    let next = "look again in a few seconds; if it stays, check whether these \
                                servers belong to one cluster and reach each other";
                    findings.add((Critical, TwoLeaders), at, None, message, next);
                }
            }
        }
        let Some(leader) = self.leader() else { return };
        for view in &self.views {
            let Some(id) = &view.id else { continue };
            if view.leads() || view.leader.as_ref() == Some(leader) {
                continue;
            }
            let (server, leader) = (self.title(id), self.title(leader));
            let message = match &view.leader {
                Some(other) => {
                    let other = self.title(other);
                    format!("{server} follows {other}, while {leader} leads")
                }
                None => format!("{server} knows no leader, while {leader} leads"),
            };
            let next = "look again in a few seconds; if it stays, check the network between the \
                        two servers";
            findings.add(
                (Warning, LeaderDisputed),
                at,
                Some(id.as_str()),
                message,
                next,
            );
        }
    }

    fn find_no_leader(&self, findings: &mut Findings) {
        let VoterCount {
            voters,
            quorum: needed,
            alive: up,
            ..
        } = self.voters();
        let failed = self.servers.iter();
        let failed = failed.filter(|server| server.voter && server.health == Health::Failed);
        let failed: Vec<_> = failed.map(|server| self.title(&server.id)).collect();
        let at = Some(self.name);
        if up >= needed {
            findings.add(
                (Critical, NoLeader),
                at,
                None,
                format!(
                    "no server of datacenter {} leads, although {up} of {voters} voters may be up \
                     and {needed} are needed",
                    self.name
                ),
                "look again in a few seconds, since an election may be in progress; if it stays, \
                 check that the voters reach each other",
            );
            return;
        }
        let message = format!(
            "no server of datacenter {} leads: {up} of {voters} voters are up and {needed} are \
             needed; {} failed",
            self.name,
            names(&failed)
        );
        let next = "start the failed voters; if they are lost for good, recover the cluster from \
                    a server with the longest log";
        findings.add((Critical, NoLeader), at, None, message, next);
        self.find_longest_log(findings);
    }

    fn find_longest_log(&self, findings: &mut Findings) {
        let answered = self.servers.iter().filter(|server| server.answered);
        let (known, unknown): (Vec<_>, Vec<_>) =
            answered.partition(|server| server.last_log.is_some());
        let known = known.iter();
        let known: Vec<_> = known
            .filter_map(|server| Some((server.last_log?, &server.id)))
            .collect();
        let Some(longest) = known
            .iter()
            .map(|(position, _)| *position)
            .max_by_key(order)
        else {
            return;
        };
        let holders = known.iter().filter(|(position, _)| *position == longest);
        let holders: Vec<_> = holders.map(|(_, id)| self.title(id)).collect();
        let mut message = format!(
            "the longest log of the servers that answered ends at index {} of term {}: {}",
            longest.index,
            longest.term,
            names(&holders)
        );
        if !unknown.is_empty() {
            let unknown = unknown.iter().map(|server| self.title(&server.id));
            let unknown: Vec<_> = unknown.collect();
            message += &format!("; the end of the log of {} is not known", names(&unknown));
        }
        let next = "prefer such a server if the cluster has to be recovered; a server that did \
                    not answer may hold more";
        findings.add((Info, LongestLog), Some(self.name), None, message, next);
    }

    fn find_failed(&self, findings: &mut Findings) {
        let at = Some(self.name);
        let VoterCount {
            voters,
            quorum: needed,
            alive: up,
            ..
        } = self.voters();
        for server in &self.servers {
            let (id, name) = (&server.id, self.title(&server.id));
            let cut_off = server.health == Health::Failed && server.answered;
            if cut_off {
                let message = format!("{name} answers, and the leader does not reach it");
                let next = "check the network between the two servers";
                findings.add(
                    (Warning, ServerCutOff),
                    at,
                    Some(id.as_str()),
                    message,
                    next,
                );
            } else if server.health == Health::Failed && server.voter {
                let severity = if up <= needed { Critical } else { Warning };
                let message = format!("voter {name} at {} has failed", server.address);
                let next = match self.leader() {
                    Some(_) => self.ways_to_remove(server),
                    None => "start it: it cannot be removed while no server leads".into(),
                };
                findings.add((severity, DeadVoter), at, Some(id.as_str()), message, next);
            } else if server.health == Health::Failed {
                let message = format!("server {name} at {} has failed", server.address);
                let next = "start it, or remove it: it has no vote, so the quorum stays";
                findings.add((Warning, DeadServer), at, Some(id.as_str()), message, next);
            }
        }
        if self.leader().is_some() && up <= needed {
            let severity = if voters == 1 { Info } else { Warning };
            findings.add(
                (severity, NoFailureTolerance),
                at,
                None,
                format!("{up} of {voters} voters are up and {needed} are needed: no more may fail"),
                "bring failed voters back, or add voters until at least three are up",
            );
        }
        let unknown = |server: &ServerState| server.health == Health::Unknown;
        if !self.servers.is_empty() && self.servers.iter().all(unknown) {
            findings.add(
                (Info, HealthUnknown),
                at,
                None,
                format!(
                    "no asked server shows which servers of datacenter {} are up",
                    self.name
                ),
                "use a token that may read nodes, or look at the members of the gossip",
            );
        }
    }

    /// Returns the next step for a failed voter, as the plan of its removal tells.
    fn ways_to_remove(&self, server: &ServerState) -> String {
        let plan = self.plan(server);
        if plan.verdict() == RemovalVerdict::LastVoter {
            return "start it: the last voter cannot be removed".into();
        }
        if !plan.is_allowed() {
            return format!("start it{}", plan.ways_around());
        }
        let replace = match plan.replacements().first() {
            Some(with) => format!("start it, replace it with {with} in one change,"),
            None => "start it,".into(),
        };
        let VoterCount {
            voters,
            quorum,
            alive,
            failure_tolerance,
        } = plan.after();
        let then = if alive < quorum {
            format!("and {quorum} are needed")
        } else {
            format!("of which {failure_tolerance} may fail")
        };
        // Consul has no plans.
        let planned = if self.reference.id.is_some() {
            " as raft/removal-plan shows"
        } else {
            ""
        };
        format!(
            "{replace} or remove it{planned}: that would leave {alive} of {voters} voters up, {then}"
        )
    }

    fn find_unanswered(&self, findings: &mut Findings) {
        for asked in self.asked {
            let Err(error) = &asked.view else { continue };
            let state = asked.id.as_ref();
            let mut servers = self.servers.iter();
            let state = state.and_then(|id| servers.find(|server| server.id == *id));
            // It has been found already.
            if is_unreachable(error) && state.is_some_and(|it| it.health == Health::Failed) {
                continue;
            }
            let name = match &asked.id {
                Some(id) => self.title(id),
                None => asked.address.as_str(),
            };
            unanswered(self.name, asked, name, error, findings);
        }
    }

    fn find_differences(&self, findings: &mut Findings) {
        let at = Some(self.name);
        if self.reference.unfinished_change {
            findings.add(
                (Info, ChangeUnfinished),
                at,
                None,
                "a change of the Raft configuration is not finished",
                "look again in a few seconds; if it stays, check that a majority of the voters is \
                 up, and repeat the change",
            );
        }
        for view in &self.views {
            let Some(id) = &view.id else { continue };
            if view.version == self.reference.version {
                continue;
            }
            let message = format!(
                "{} has the Raft configuration {}, and {} the latest one, {}",
                self.title(id),
                view.version,
                self.reference
                    .id
                    .as_ref()
                    .map_or("another", |id| self.title(id)),
                self.reference.version
            );
            let next = "look again in a few seconds; if it stays, check that the leader reaches it";
            findings.add(
                (Info, ConfigurationDiffers),
                at,
                Some(id.as_str()),
                message,
                next,
            );
        }
    }

    fn find_missing_in_gossip(&self, gossip: &Gossip<'_>, findings: &mut Findings) {
        let at = Some(self.name);
        let servers = || self.reference.servers.iter().map(|seen| &seen.server);
        // A backend without names knows none.
        let tells_names = servers().any(|server| server.name.is_some());
        let lan = gossip.lan(self.name);
        for server in servers() {
            let missing = match &server.name {
                Some(name) => lan.as_ref().is_some_and(|lan| !lan.contains(name)),
                None => tells_names,
            };
            if missing {
                let id = server.id.as_str();
                let message = format!("server {} is in Raft and not in gossip", title(server));
                let next = "start it and let it join the gossip; if it is gone for good, remove it \
                            from the Raft configuration";
                findings.add((Warning, RaftNotInGossip), at, Some(id), message, next);
            }
        }
        let all_named = servers().all(|server| server.name.is_some());
        if !all_named {
            return;
        }
        for node in gossip.wan(self.name) {
            let is_it = |name: &str| name == node;
            if !servers().any(|server| server.name.as_ref().is_some_and(|it| is_it(it.as_str()))) {
                let message = format!("server {node} is in gossip and not in Raft");
                let next = "let it join the Raft, or let it leave the gossip and stop it";
                findings.add((Warning, GossipNotInRaft), at, Some(node), message, next);
            }
        }
    }
}

/// Finds that a server has not shown its view.
fn unanswered(
    datacenter: &DatacenterName,
    asked: &AskedServer,
    name: &str,
    error: &OperatorError,
    findings: &mut Findings,
) {
    let (kind, next) = match error.kind() {
        ErrorKind::NoLeader => return,
        ErrorKind::IncompatibleServer { .. } => (ServerTooOld, "upgrade it"),
        ErrorKind::PermissionDenied { .. } | ErrorKind::UnknownToken => {
            (ServerDenied, "use a token that may read the operator there")
        }
        _ if is_unreachable(error) => (
            ServerUnreachable,
            "check that it is up, and that the asked server knows where it listens",
        ),
        _ => (ServerFailed, "look into its log"),
    };
    let message = match kind {
        ServerTooOld => format!("server {name} is too old to answer for itself"),
        _ => format!("server {name} did not answer for itself: {error}"),
    };
    let subject = asked.id.as_ref().map(ServerId::as_str);
    findings.add((Warning, kind), Some(datacenter), subject, message, next);
}
