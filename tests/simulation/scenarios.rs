//! Scenarios that random faults produce too rarely.

use std::time::Duration;

use cluster_operator::keyring::RingReport;
use cluster_operator::mock::{Fault, NodeFault};
use cluster_operator::operation::KeyringScope;
use cluster_operator::raft::{Consistency, PendingChange, QuorumGuard};
use cluster_operator::{ErrorKind, NodeName, OperatorError, OperatorReply, Pool, Timer};
use fastrand::Rng;

use crate::Violation;
use crate::attribution::Account;
use crate::issue::{Ask, Holder, Issue, any_server};
use crate::world::{Answered, DATACENTERS, World, ask_after, is_voter};

/// Several operators remove servers of one datacenter concurrently, while one server
/// is down and Raft is slow. Each removal alone would be safe.
pub(crate) fn many_removals(world: &mut World) -> Result<(), Violation> {
    let datacenter = *world.rng.choice(&DATACENTERS).unwrap();
    let mut servers = world.federation.servers(datacenter);
    world.rng.shuffle(&mut servers);
    let mut account = Account::open(world);
    world.federation.inject(Fault::stop(servers[0].clone()));
    let delay = Duration::from_millis(20);
    world.federation.inject(Fault::slow_raft(datacenter, delay));
    let answered = remove_at_once(world, &servers[1..], |rng| {
        rng.choice(&servers[1..]).unwrap().clone()
    });
    account.book(world, &answered)?;
    // The first ones must succeed, unless there was no margin before.
    let succeeded = answered.iter().any(|answered| answered.result.is_ok());
    if succeeded || world.guard == QuorumGuard::Margin {
        Ok(())
    } else {
        Err(format!("no removal succeeded: {answered:?}"))
    }
}

/// Two operators remove one server each while all servers are up, and each change
/// comes between the other's check and change. Both succeed without asking again.
pub(crate) fn two_removals(world: &mut World) -> Result<(), Violation> {
    let datacenter = *world.rng.choice(&DATACENTERS).unwrap();
    let mut servers = world.federation.servers(datacenter);
    world.rng.shuffle(&mut servers);
    let mut account = Account::open(world);
    let delay = Duration::from_millis(20);
    world.federation.inject(Fault::slow_raft(datacenter, delay));
    let leader = world.federation.leader(datacenter);
    servers.retain(|server| Some(server) != leader.as_ref());
    let answered = remove_at_once(world, &servers[..2], |_| servers[2].clone());
    account.book(world, &answered)?;
    if answered.iter().all(|answered| answered.result.is_ok()) {
        Ok(())
    } else {
        Err(format!("a removal failed: {answered:?}"))
    }
}

/// Asks to remove each of these servers at almost the same time; `at` chooses the
/// server to ask.
fn remove_at_once(
    world: &mut World,
    victims: &[NodeName],
    at: impl Fn(&mut Rng) -> NodeName,
) -> Vec<Answered> {
    let mut requests = Vec::new();
    for victim in victims {
        let issue = Issue {
            at: at(&mut world.rng),
            datacenter: None,
            holder: Holder::Root,
            ask: Ask::Remove(victim.clone(), None),
            by_address: world.rng.bool(),
        };
        let after = Duration::from_millis(world.rng.u64(..40));
        requests.push(ask_after(&world.clock, &world.federation, issue, after));
    }
    let answered = world.clock.run_all(world.rng.u64(..), requests);
    world.steps += answered.len();
    answered
}

/// A datacenter has no leader for some time. A request that waits long enough
/// succeeds, any other fails with no-leader.
pub(crate) fn leader_missing(world: &mut World) -> Result<(), Violation> {
    let datacenter = *world.rng.choice(&DATACENTERS).unwrap();
    let mut servers = world.federation.servers(datacenter);
    servers.retain(is_voter);
    world.rng.shuffle(&mut servers);
    let stops = servers[..3].iter();
    let stopped: Vec<_> = stops
        .map(|server| world.federation.inject(Fault::stop(server.clone())))
        .collect();
    let issue = Issue {
        at: servers[3].clone(),
        datacenter: None,
        holder: Holder::Root,
        ask: Ask::RemoveUnknown,
        by_address: false,
    };
    let gap = Duration::from_millis(*world.rng.choice(&[40, 150, 1000]).unwrap());
    let (clock, federation) = (world.clock.clone(), world.federation.clone());
    let asking = ask_after(&clock, &federation, issue, Duration::ZERO);
    let returning = async {
        clock.sleep(gap).await;
        stopped.into_iter().for_each(|fault| federation.heal(fault));
    };
    world.steps += 1;
    let (answered, ()) = clock.run(futures_util::future::join(asking, returning));
    let kind = answered.result.as_ref().map_err(|error| error.kind());
    let waits = world.leader_wait > gap;
    match (kind, waits) {
        (Err(ErrorKind::UnknownServer(_)), true) if answered.took < gap * 2 => Ok(()),
        (Err(ErrorKind::NoLeader), false) if answered.took == world.leader_wait => Ok(()),
        _ => Err(format!(
            "without a leader for {gap:?}, waiting {:?}: {answered:?}",
            world.leader_wait
        )),
    }
}

/// The leadership is lost between routing and execution, and nothing else is wrong.
/// The request succeeds nevertheless.
pub(crate) fn lost_leadership(world: &mut World) -> Result<(), Violation> {
    let datacenter = *world.rng.choice(&DATACENTERS).unwrap();
    let at = any_server(&mut world.rng, &world.federation);
    let victim = world
        .rng
        .choice(&world.federation.servers(datacenter))
        .unwrap()
        .clone();
    // A removal checks first; the second call is the change.
    let (ask, calls) = match world.rng.u64(..3) {
        0 => (Ask::Read(Consistency::Default), 1),
        1 => (Ask::Remove(victim, None), 2),
        _ => (Ask::ReadRules, 1),
    };
    let mut account = Account::open(world);
    for call in 1..=calls {
        if world.rng.bool() {
            let fault = Fault::lose_lead_at(datacenter, call);
            world.federation.inject(fault);
        }
    }
    let issue = Issue {
        at,
        datacenter: Some(datacenter.into()),
        holder: Holder::Root,
        ask,
        by_address: world.rng.bool(),
    };
    let answered = ask_after(&world.clock, &world.federation, issue, Duration::ZERO);
    let answered = world.clock.run(answered);
    world.steps += 1;
    account.book(world, std::slice::from_ref(&answered))?;
    match answered.result {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("the request failed: {answered:?}")),
    }
}

/// A random datacenter, its leader, and its other voters in random order.
fn pick_servers(world: &mut World) -> (&'static str, NodeName, Vec<NodeName>) {
    let datacenter = *world.rng.choice(&DATACENTERS).unwrap();
    let leader = world.federation.leader(datacenter).unwrap();
    let mut others = world.federation.servers(datacenter);
    others.retain(|server| is_voter(server) && *server != leader);
    world.rng.shuffle(&mut others);
    (datacenter, leader, others)
}

/// One more voter dies around a removal that would leave just a majority. Before the
/// check, the guard refuses; between check and change, the majority cannot be
/// proven; after the change, it is too late.
pub(crate) fn death_during_removal(world: &mut World) -> Result<(), Violation> {
    let (datacenter, leader, others) = pick_servers(world);
    let mut account = Account::open(world);
    world.federation.inject(Fault::stop(others[0].clone()));
    let ask = Ask::Remove(others[1].clone(), None);
    let after = *world
        .rng
        .choice(&[CALL / 2, CALL * 3 / 2, CALL * 5 / 2])
        .unwrap();
    let expected = match world.guard {
        // One is dead already, so that there is no margin.
        QuorumGuard::Margin => Some("quorum-loss"),
        QuorumGuard::Quorum if after < CALL => Some("quorum-loss"),
        _ if after < CALL * 2 => Some("quorum-unproven"),
        _ => None,
    };
    let federation = world.federation.clone();
    let dies = || {
        federation.inject(Fault::stop(others[2].clone()));
    };
    let answered = meanwhile(world, &mut account, (leader, ask), (after, dies))?;
    let removed = usize::from(expected.is_none());
    check_end(world, &answered, datacenter, expected, removed)
}

/// The leader loses the leadership and regains it around a removal. A removal that
/// named an index fails with term-changed if this was between check and change; any
/// other is checked again.
pub(crate) fn term_change(world: &mut World) -> Result<(), Violation> {
    let (datacenter, leader, others) = pick_servers(world);
    let mut account = Account::open(world);
    let index = world.federation.configuration(datacenter).index;
    let index = Some(index).filter(|_| world.rng.bool());
    let ask = Ask::Remove(others[0].clone(), index);
    let (after, between) = *world
        .rng
        .choice(&[(CALL / 2, false), (CALL * 3 / 2, true)])
        .unwrap();
    let federation = world.federation.clone();
    let (first, second) = (others[1].clone(), leader.clone());
    let moves = || assert!(federation.elect(first) && federation.elect(second));
    let answered = meanwhile(world, &mut account, (leader, ask), (after, moves))?;
    let expected = Some("term-changed").filter(|_| between && index.is_some());
    let removed = usize::from(expected.is_none());
    check_end(world, &answered, datacenter, expected, removed)
}

/// Another removal is unfinished. If it is uncommitted, removals fail; a joint
/// configuration is finished by the next removal, after a proof of its own. That
/// removal is then checked again, unless its server is already gone or it named an
/// index.
pub(crate) fn unfinished(world: &mut World) -> Result<(), Violation> {
    let (datacenter, leader, others) = pick_servers(world);
    let mut account = Account::open(world);
    let index = world.federation.configuration(datacenter).index;
    let index = Some(index).filter(|_| world.rng.bool());
    let same = world.rng.bool();
    let victim = others[usize::from(!same)].clone();
    let changes = [PendingChange::Uncommitted, PendingChange::Joint];
    let change = *world.rng.choice(&changes).unwrap();
    // There is a majority only with the server whose removal is unfinished.
    let needed = change == PendingChange::Joint && !same && world.rng.bool();
    if needed {
        for dead in &others[1..3] {
            world.federation.inject(Fault::stop(dead.clone()));
        }
    }
    let (expected, removed) = match (change, same, index) {
        (PendingChange::Uncommitted, ..) => (Some("change-in-progress"), 0),
        _ if needed && world.guard == QuorumGuard::Margin => (Some("quorum-loss"), 0),
        _ if needed => (Some("quorum-unproven"), 0),
        (_, true, _) => (None, 1),
        (_, false, None) => (None, 2),
        (_, false, Some(_)) => (Some("conflict"), 1),
    };
    let fault = Fault::unfinished_removal(others[0].clone(), change);
    world.federation.inject(fault);
    let ask = Ask::Remove(victim, index);
    let answered = meanwhile(world, &mut account, (leader, ask), (Duration::ZERO, || {}))?;
    check_end(world, &answered, datacenter, expected, removed)
}

/// A server is stopped or paused while one node of its LAN is late. The ring has a
/// report of the other answers, and an error.
pub(crate) fn partial_answers(world: &mut World) -> Result<(), Violation> {
    let datacenter = *world.rng.choice(&DATACENTERS).unwrap();
    let mut servers = world.federation.servers(datacenter);
    world.rng.shuffle(&mut servers);
    let (at, late) = (servers[0].clone(), servers[1].clone());
    let mut account = Account::open(world);
    let answers_in = Duration::from_secs(*world.rng.choice(&[1, 7]).unwrap());
    let fault = NodeFault::Late(answers_in);
    world
        .federation
        .inject(Fault::node(late.clone(), Pool::Lan, fault));
    let ask = if world.rng.bool() {
        Ask::Install(world.new_key())
    } else {
        Ask::List(KeyringScope::Federation)
    };
    let federation = world.federation.clone();
    let (fault, kind) = if world.rng.bool() {
        (Fault::stop(at.clone()), "unreachable")
    } else {
        (Fault::pause(at.clone()), "deadline-exceeded")
    };
    let fails = || {
        federation.inject(fault);
    };
    let answered = meanwhile(world, &mut account, (at, ask), (answers_in / 2, fails))?;
    let reply = match &answered.result {
        Ok(OperatorReply::Keyring(reply)) => Some(reply),
        Ok(_) => None,
        Err(error) => error.reply(),
    };
    let mut rings = reply.iter().flat_map(|reply| &reply.rings);
    let lan = rings.find(|ring| ring.datacenter == datacenter && ring.pool == Pool::Lan);
    let is_told = lan.is_some_and(|ring| {
        let is_kind = |error: &OperatorError| error.kind().name() == kind;
        let others = |report: &RingReport| {
            report.nodes == servers.len() && report.responses >= servers.len() - 1
        };
        ring.error.as_ref().is_some_and(is_kind) && ring.report.as_ref().is_some_and(others)
    });
    if is_told {
        Ok(())
    } else {
        Err(format!("{late} was late, {kind}: {answered:?}"))
    }
}

/// How long each call of a slow Raft takes, check or change.
const CALL: Duration = Duration::from_millis(20);

/// Asks a server of a slow Raft, with an event some time later.
fn meanwhile(
    world: &mut World,
    account: &mut Account,
    (at, ask): (NodeName, Ask),
    (after, event): (Duration, impl FnOnce()),
) -> Result<Answered, Violation> {
    let place = world.datacenter_of(&at);
    world.federation.inject(Fault::slow_raft(place, CALL));
    let issue = Issue {
        at,
        datacenter: None,
        holder: Holder::Root,
        ask,
        by_address: world.rng.bool(),
    };
    let clock = world.clock.clone();
    let asking = ask_after(&clock, &world.federation, issue, Duration::ZERO);
    let happening = async {
        clock.sleep(after).await;
        event();
    };
    let (answered, ()) = clock.run(futures_util::future::join(asking, happening));
    world.steps += 1;
    account.book(world, std::slice::from_ref(&answered))?;
    Ok(answered)
}

/// Checks that a removal succeeded, or failed with this kind, and that so many
/// servers were removed.
fn check_end(
    world: &World,
    answered: &Answered,
    datacenter: &str,
    expected: Option<&str>,
    removed: usize,
) -> Result<(), Violation> {
    let kind = answered.result.as_ref().err().map(|it| it.kind().name());
    let left = world.federation.configuration(datacenter).servers.len();
    let all = world.federation.servers(datacenter).len();
    match kind == expected && left + removed == all {
        true => Ok(()),
        false => Err(format!(
            "{expected:?} was expected, {left} of {all} servers are left: {answered:?}"
        )),
    }
}
