//! Invariants of answers and of calls between servers, under any fault.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_operator::mock::{CallEnd, Entry, RaftChange, Transcript};
use cluster_operator::operation::{KeyringReply, KeyringScope, RingOutcome};
use cluster_operator::raft::{Proof, QuorumGuard, RaftConfiguration};
use cluster_operator::{ErrorKind, OperatorError, OperatorReply, Outcome, Pool};

use crate::Violation;
use crate::issue::{Ask, Issue};
use crate::world::{Answered, DATACENTERS, DEADLINE, HOP_LIMIT, KEYRING_DEADLINE, World};

/// Checks one answer.
pub(crate) fn of_answer(answered: &Answered) -> Result<(), Violation> {
    let Answered {
        issue,
        result,
        took,
    } = answered;
    let deadline = if issue.ask.is_keyring() {
        KEYRING_DEADLINE
    } else {
        DEADLINE
    };
    if *took > deadline {
        return Err(format!("{issue:?} took {took:?}"));
    }
    if result.is_ok() && !issue.is_allowed() {
        return Err(format!("{issue:?} was answered without permission"));
    }
    if let Ok(reply) = result
        && matches!(reply, OperatorReply::Keyring(_)) != issue.ask.is_keyring()
    {
        return Err(format!("{reply:?} is no answer to {issue:?}"));
    }
    match result {
        Ok(OperatorReply::Keyring(reply)) => of_rings(reply, issue),
        Ok(_) => Ok(()),
        Err(error) => of_error(error, issue),
    }
}

/// Checks that a refusal is not applied and gives a true reason, and that the
/// failure of a ring hides no other ring.
fn of_error(error: &OperatorError, issue: &Issue) -> Result<(), Violation> {
    let wrong = |what: &str| Err(format!("{issue:?}: {what}: {error:?}"));
    let (is_true, refuses) = match error.kind() {
        ErrorKind::RingsFailed { failed, rings } => {
            let Some(reply) = error.reply() else {
                return wrong("rings failed, and none is reported");
            };
            of_rings(reply, issue)?;
            let unconfirmed = reply.rings.iter().filter(|ring| !ring.is_confirmed());
            let unconfirmed = unconfirmed.map(|ring| (&ring.datacenter, &ring.pool));
            let named = failed.iter().map(|(datacenter, pool)| (datacenter, pool));
            let is_true = *rings == reply.rings.len() && named.eq(unconfirmed);
            return if is_true && !failed.is_empty() {
                Ok(())
            } else {
                wrong("it names the wrong rings")
            };
        }
        ErrorKind::QuorumUnproven {
            confirmed, needed, ..
        } => (confirmed < needed, true),
        ErrorKind::QuorumLoss { alive, needed, .. } => (alive < needed, true),
        ErrorKind::Conflict { expected, actual } => (expected != actual, true),
        ErrorKind::TermChanged { expected, actual } => (expected != actual, true),
        ErrorKind::ChangeInProgress
        | ErrorKind::InvalidRequest { .. }
        | ErrorKind::PermissionDenied { .. }
        | ErrorKind::UnknownToken
        | ErrorKind::NoLeader
        | ErrorKind::NotMember { .. }
        | ErrorKind::NotLeader { .. }
        | ErrorKind::NoPathToDatacenter { .. }
        | ErrorKind::UnknownServer(_)
        | ErrorKind::LastVoter
        | ErrorKind::AlreadyLeader { .. }
        | ErrorKind::NotVoter { .. }
        | ErrorKind::NoTransferTarget
        | ErrorKind::TooManyHops { .. } => (true, true),
        _ => (true, false),
    };
    if !is_true {
        return wrong("the reason is not true");
    }
    if refuses && error.outcome() != Outcome::NotApplied {
        return wrong("a refusal that is not NotApplied");
    }
    match error.reply() {
        Some(_) => wrong("it contains a keyring reply"),
        None => Ok(()),
    }
}

/// Checks that a server that reports to be no member is none.
pub(crate) fn of_membership(world: &World, answered: &Answered) -> Result<(), Violation> {
    let Err(error) = &answered.result else {
        return Ok(());
    };
    let ErrorKind::NotMember { id } = error.kind() else {
        return Ok(());
    };
    let place = answered.issue.place(world);
    let servers = world.federation.configuration(place).servers;
    if servers.iter().any(|server| server.id == *id) {
        Err(format!("a member reports to be none: {answered:?}"))
    } else {
        Ok(())
    }
}

fn of_rings(reply: &KeyringReply, issue: &Issue) -> Result<(), Violation> {
    rings_are_unique(reply)?;
    rings_are_complete(reply, issue)?;
    reply.rings.iter().try_for_each(of_ring)
}

/// Checks that silent nodes are named, and that a ring without a report has an
/// error.
fn of_ring(ring: &RingOutcome) -> Result<(), Violation> {
    let is_sound = match (&ring.report, &ring.error) {
        (None, error) => error.is_some(),
        (Some(report), _) => {
            let silent: BTreeSet<_> = report.silent.iter().collect();
            report.nodes > 0
                && report.errors <= report.responses
                && report.responses + silent.len() == report.nodes
                && report.silent.len() == silent.len()
                && !report.messages.keys().any(|node| silent.contains(node))
        }
    };
    if is_sound {
        Ok(())
    } else {
        Err(format!("inconsistent report of a ring: {ring:?}"))
    }
}

/// Checks that rings that could not be asked are reported too.
fn rings_are_complete(reply: &KeyringReply, issue: &Issue) -> Result<(), Violation> {
    let mut wanted = vec![&issue.at.as_str()[..3]];
    if issue.ask != Ask::List(KeyringScope::LocalOnly) {
        wanted = DATACENTERS.to_vec();
        if reply
            .rings
            .first()
            .is_none_or(|ring| ring.pool != Pool::Wan)
        {
            return Err(format!("{issue:?}: the WAN ring is not the first"));
        }
    }
    for datacenter in wanted {
        let mut rings = reply.rings.iter();
        if !rings.any(|ring| ring.datacenter == datacenter && ring.pool == Pool::Lan) {
            return Err(format!("{issue:?}: the ring of {datacenter} is missing"));
        }
    }
    Ok(())
}

fn rings_are_unique(reply: &KeyringReply) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for ring in &reply.rings {
        if !DATACENTERS.contains(&ring.datacenter.as_str()) {
            return Err(format!("there is no datacenter {}", ring.datacenter));
        }
        if !seen.insert((&ring.datacenter, &ring.pool)) {
            let (datacenter, pool) = (&ring.datacenter, &ring.pool);
            return Err(format!("the ring {datacenter} ({pool}) is reported twice"));
        }
    }
    Ok(())
}

/// Checks the calls between servers.
pub(crate) fn of_calls(world: &World) -> Result<(), Violation> {
    let transcript = world.federation.transcript();
    let paused = pauses(&transcript);
    for call in transcript.calls_between_servers() {
        // Only the first server forwards a keyring request, once to each datacenter.
        let is_keyring = call.what.contains("in its own rings");
        let limit = if is_keyring { 1 } else { HOP_LIMIT };
        if !(1..=limit).contains(&call.hops) {
            return Err(format!("too many hops: {call}"));
        }
        // Otherwise the last server answers after the caller has given up.
        let deadline = if is_keyring {
            KEYRING_DEADLINE
        } else {
            DEADLINE
        };
        if call.timeout.is_none_or(|timeout| timeout >= deadline) {
            return Err(format!("the whole deadline was forwarded: {call}"));
        }
        let answered = matches!(call.end, CallEnd::Answered | CallEnd::Failed(_));
        let times = (call.arrived, call.ended, call.timeout);
        if let (true, (Some(arrived), Some(ended), Some(timeout))) = (answered, times)
            && ended - arrived > timeout
            // A paused server may take longer.
            && !paused.iter().any(|(server, from, to)| {
                *server == call.to.as_str() && *from <= ended && *to >= arrived
            })
        {
            return Err(format!("answered after the timeout of {timeout:?}: {call}"));
        }
    }
    Ok(())
}

/// The paused servers, each with the start and the end of the pause.
fn pauses(transcript: &Transcript) -> Vec<(&str, Duration, Duration)> {
    let mut pauses: Vec<(&str, Duration, Duration)> = Vec::new();
    for entry in transcript.entries() {
        let Entry::Note { at, text } = entry else {
            continue;
        };
        let Some(text) = text.strip_suffix(" is paused") else {
            continue;
        };
        match text.strip_prefix("healed: ") {
            Some(server) => {
                let is = |paused: &&mut (&str, _, Duration)| {
                    paused.0 == server && paused.2 == Duration::MAX
                };
                if let Some((.., to)) = pauses.iter_mut().find(is) {
                    *to = *at;
                }
            }
            None => pauses.push((text, *at, Duration::MAX)),
        }
    }
    pauses
}

/// Checks that no node of a ring is asked twice for one request. Every request
/// installs a different key, which identifies it.
pub(crate) fn of_nodes(world: &World) -> Result<(), Violation> {
    let transcript = world.federation.transcript();
    let mut asked = BTreeSet::new();
    for call in transcript.calls() {
        let installs = call.pool.is_some() && call.what.starts_with("install ");
        if installs && !asked.insert((&call.to, &call.pool, &call.what)) {
            return Err(format!("a node was asked twice: {call}"));
        }
    }
    Ok(())
}

/// Checks that at the moment of a removal the leader reached a majority of the
/// voters that stay, with any guard, and one more if the guard asks for it.
pub(crate) fn of_removal(change: &RaftChange, guard: QuorumGuard) -> Result<(), Violation> {
    let voters = |configuration: &RaftConfiguration| {
        let servers = configuration.servers.iter();
        servers.filter(|server| server.is_voter()).count()
    };
    let (before, after) = (voters(&change.before), voters(&change.after));
    let proof = match guard {
        QuorumGuard::Margin if after < before => Proof::Margin,
        _ => Proof::Majority,
    };
    let servers = change.after.servers.iter();
    let reached = servers.filter(|server| server.is_voter() && server.alive == Some(true));
    if reached.count() >= proof.needed(after) {
        Ok(())
    } else {
        Err(format!("a removal lost the quorum: {change:?}"))
    }
}
