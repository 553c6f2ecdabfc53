//! What holds of every answer and of everything that goes between servers,
//! whatever goes wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_operator::mock::{CallEnd, Entry, RaftChange, Transcript};
use cluster_operator::{KeyringReply, KeyringScope, OperatorReply, Pool, RaftConfiguration};

use crate::Violation;
use crate::issue::{Ask, Issue};
use crate::world::{Answered, DATACENTERS, DEADLINE, HOP_LIMIT, KEYRING_DEADLINE, World};

/// What holds of one answer.
pub(crate) fn of_answer(answered: &Answered) -> Result<(), Violation> {
    let Answered {
        issue,
        result,
        took,
    } = answered;
    let deadline = match issue.ask.is_keyring() {
        true => KEYRING_DEADLINE,
        false => DEADLINE,
    };
    if *took > deadline {
        return Err(format!("{issue:?} has taken {took:?}"));
    }
    if result.is_ok() && !issue.is_allowed() {
        return Err(format!("{issue:?} is not allowed and was answered"));
    }
    if let Ok(reply) = result
        && matches!(reply, OperatorReply::Keyring(_)) != issue.ask.is_keyring()
    {
        return Err(format!("{reply:?} is no answer to {issue:?}"));
    }
    match result {
        Ok(OperatorReply::Keyring(reply)) => {
            rings_are_told_once(reply)?;
            rings_are_all_told(reply, issue)
        }
        _ => Ok(()),
    }
}

/// What cannot be asked is told, too: one failure hides nothing of the rest.
fn rings_are_all_told(reply: &KeyringReply, issue: &Issue) -> Result<(), Violation> {
    let mut wanted = vec![&issue.at.as_str()[..3]];
    if issue.ask != Ask::List(KeyringScope::LocalOnly) {
        wanted = DATACENTERS.to_vec();
        if reply
            .rings
            .first()
            .is_none_or(|ring| ring.pool != Pool::Wan)
        {
            return Err(format!("{issue:?}: the WAN's ring is not told first"));
        }
    }
    for datacenter in wanted {
        let mut rings = reply.rings.iter();
        if !rings.any(|ring| ring.datacenter == datacenter && ring.pool == Pool::Lan) {
            return Err(format!("{issue:?}: the ring of {datacenter} is not told"));
        }
    }
    Ok(())
}

fn rings_are_told_once(reply: &KeyringReply) -> Result<(), Violation> {
    let mut told = BTreeSet::new();
    for ring in &reply.rings {
        if !DATACENTERS.contains(&ring.datacenter.as_str()) {
            return Err(format!("there is no datacenter {}", ring.datacenter));
        }
        if !told.insert((&ring.datacenter, &ring.pool)) {
            let (datacenter, pool) = (&ring.datacenter, &ring.pool);
            return Err(format!("the ring {datacenter} ({pool}) is told twice"));
        }
    }
    Ok(())
}

/// What holds of the calls between servers.
pub(crate) fn of_calls(world: &World) -> Result<(), Violation> {
    let transcript = world.federation.transcript();
    let paused = pauses(&transcript);
    for call in transcript.calls_between_servers() {
        // A keyring's request is asked of each datacenter by the first server
        // alone.
        let is_keyring = call.what.contains("in its own rings");
        let limit = if is_keyring { 1 } else { HOP_LIMIT };
        if !(1..=limit).contains(&call.hops) {
            return Err(format!("handed on so often: {call}"));
        }
        // Else the answer of the last server comes when nobody waits any more.
        let deadline = if is_keyring {
            KEYRING_DEADLINE
        } else {
            DEADLINE
        };
        if call.patience.is_none_or(|patience| patience >= deadline) {
            return Err(format!("as much time as there is in all: {call}"));
        }
        let answered = matches!(call.end, CallEnd::Answered | CallEnd::Failed(_));
        let times = (call.arrived, call.ended, call.patience);
        if let (true, (Some(arrived), Some(ended), Some(patience))) = (answered, times)
            && ended - arrived > patience
            // What was paused meanwhile is no slower than it has to be.
            && !paused.iter().any(|(server, from, to)| {
                *server == call.to.as_str() && *from <= ended && *to >= arrived
            })
        {
            return Err(format!("nobody waited so long, only {patience:?}: {call}"));
        }
    }
    Ok(())
}

/// Which servers were paused, and from when to when.
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

/// No node of a ring is asked twice for one request. Every installation is of a
/// key of its own, which tells it from all others.
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

/// A removal has not taken the quorum from those who had it.
pub(crate) fn of_removal(change: &RaftChange) -> Result<(), Violation> {
    let alive = |configuration: &RaftConfiguration| {
        let servers = configuration.servers.iter();
        servers.filter(|server| server.alive == Some(true)).count()
    };
    let has_quorum =
        |configuration: &RaftConfiguration| alive(configuration) > configuration.servers.len() / 2;
    let had = has_quorum(&change.before);
    let was_alive = alive(&change.after) < alive(&change.before);
    match had && was_alive && !has_quorum(&change.after) {
        true => Err(format!("a removal has cost the quorum: {change:?}")),
        false => Ok(()),
    }
}
