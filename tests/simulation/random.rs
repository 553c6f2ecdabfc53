//! Random faults.

use std::time::Duration;

use cluster_operator::mock::{Calls, Fault, FaultId, MockClock, MockFederation, NodeFault};
use cluster_operator::raft::PendingChange;
use cluster_operator::{NodeName, Outcome, Pool, Timer};

use crate::Violation;
use crate::attribution::Account;
use crate::issue::{Issue, any_server};
use crate::world::{Answered, DATACENTERS, World, ask_after};

/// Something that happens concurrently.
enum Event {
    Request(Box<Issue>),
    Fault(Fault),
    /// Heals one fault, or all.
    Heal(Option<FaultId>),
    Election(NodeName),
}

/// The conditions of one series of steps.
struct Conditions {
    /// Whether Raft is slow, so that much changes between check and change.
    slow_raft: bool,
    duplicates: bool,
    /// The faults so far, healed or not.
    faults: Vec<FaultId>,
}

/// Makes up to four requests at a time, with faults before and during them.
pub(crate) fn faults(world: &mut World) -> Result<(), Violation> {
    let mut conditions = Conditions {
        slow_raft: world.rng.bool(),
        duplicates: world.rng.u8(..3) == 0,
        faults: Vec::new(),
    };
    let mut account = Account::open(world);
    account.duplicates = conditions.duplicates;
    for _ in 0..12 {
        begin(world, &mut conditions);
        let events = (0..=world.rng.u64(..4)).map(|_| {
            let at = any_server(&mut world.rng, &world.federation);
            Event::Request(Box::new(Issue::any(world, at)))
        });
        let mut events: Vec<_> = events.collect();
        world.steps += events.len();
        for _ in 0..world.rng.u64(..3) {
            events.push(match world.rng.u8(..3) == 0 {
                true => Event::Heal(some(world, &conditions)),
                false if world.rng.u8(..4) == 0 => {
                    Event::Election(any_server(&mut world.rng, &world.federation))
                }
                false => Event::Fault(any(world, &conditions)),
            });
        }
        let answered = happen(world, events);
        account.book(world, &answered)?;
    }
    world.recover();
    account
        .book(world, &[])
        .map_err(|why| format!("in the end, {why}"))
}

/// Heals and injects faults before the requests of a step.
fn begin(world: &mut World, conditions: &mut Conditions) {
    if world.rng.bool() {
        heal(&world.federation.clone(), some(world, conditions));
    }
    for _ in 0..world.rng.u64(..3) {
        let fault = any(world, conditions);
        conditions.faults.push(world.federation.inject(fault));
    }
    if conditions.slow_raft {
        let datacenter = *world.rng.choice(&DATACENTERS).unwrap();
        let delay = millis(world, &[1, 20, 400]);
        world.federation.inject(Fault::slow_raft(datacenter, delay));
    }
}

fn happen(world: &mut World, events: Vec<Event>) -> Vec<Answered> {
    let (clock, federation) = (world.clock.clone(), world.federation.clone());
    let happening: Vec<_> = events
        .into_iter()
        .map(|event| {
            let after = Duration::from_millis(world.rng.u64(..60));
            occur(&clock, &federation, event, after)
        })
        .collect();
    let answered = clock.run_all(world.rng.u64(..), happening);
    answered.into_iter().flatten().collect()
}

async fn occur(
    clock: &MockClock,
    federation: &MockFederation,
    event: Event,
    after: Duration,
) -> Option<Answered> {
    match event {
        Event::Request(issue) => Some(ask_after(clock, federation, *issue, after).await),
        Event::Fault(fault) => {
            clock.sleep(after).await;
            federation.inject(fault);
            None
        }
        Event::Heal(fault) => {
            clock.sleep(after).await;
            heal(federation, fault);
            None
        }
        Event::Election(server) => {
            clock.sleep(after).await;
            federation.elect(server);
            None
        }
    }
}

/// One of the faults so far; `None` means all.
fn some(world: &mut World, conditions: &Conditions) -> Option<FaultId> {
    if conditions.faults.is_empty() || world.rng.bool() {
        None
    } else {
        Some(*world.rng.choice(&conditions.faults).unwrap())
    }
}

fn heal(federation: &MockFederation, fault: Option<FaultId>) {
    match fault {
        Some(fault) => federation.heal(fault),
        None => federation.heal_all(),
    }
}

fn any(world: &mut World, conditions: &Conditions) -> Fault {
    match world.rng.u64(..4) {
        0 => of_calls(world, conditions),
        1 => of_node(world, true),
        2 => of_lead(world),
        _ => of_servers(world),
    }
}

/// A fault of servers: stopped, paused or cut off.
fn of_servers(world: &mut World) -> Fault {
    let server = any_server(&mut world.rng, &world.federation);
    match world.rng.u64(..5) {
        0 => Fault::silent_datacenter(*world.rng.choice(&DATACENTERS).unwrap()),
        1 => Fault::pause(server),
        2 => {
            // Usually some servers still reach both groups.
            let (mut one, mut other) = (Vec::new(), Vec::new());
            for server in world.servers() {
                match world.rng.u64(..4) {
                    0 => one.push(server),
                    1 | 2 => other.push(server),
                    _ => {}
                }
            }
            Fault::partition(one, other)
        }
        _ => Fault::stop(server),
    }
}

/// A fault of leaders, leader hints or changes.
fn of_lead(world: &mut World) -> Fault {
    let datacenter = *world.rng.choice(&DATACENTERS).unwrap();
    let servers = world.federation.servers(datacenter);
    match world.rng.u64(..6) {
        0 => Fault::lose_lead_at(datacenter, 1 + world.rng.u64(..3)),
        1 => {
            let outcomes = [Outcome::Applied, Outcome::NotApplied, Outcome::Unknown];
            Fault::fail_change(datacenter, *world.rng.choice(&outcomes).unwrap())
        }
        2 => Fault::lose_at_change(world.rng.choice(&servers).unwrap().clone()),
        3 => {
            let members = world.federation.configuration(datacenter).servers;
            let member = world.rng.choice(&members).unwrap().name.clone().unwrap();
            let changes = [PendingChange::Uncommitted, PendingChange::Joint];
            Fault::unfinished_removal(member, *world.rng.choice(&changes).unwrap())
        }
        _ => {
            let misled = world.rng.choice(&servers).unwrap().clone();
            Fault::stale_hint(misled, world.rng.choice(&servers).unwrap().clone())
        }
    }
}

fn of_calls(world: &mut World, conditions: &Conditions) -> Fault {
    let server = any_server(&mut world.rng, &world.federation);
    let calls = match world.rng.u64(..5) {
        0 => Calls::all().to(server),
        1 => Calls::all().from(server),
        2 => Calls::all().nth(1 + world.rng.u64(..6)),
        _ => Calls::all().one_in(4),
    };
    match world.rng.u64(..7) {
        0 => Fault::refuse(calls),
        1 => Fault::lose_request(calls),
        2 => Fault::lose_answer(calls),
        3 => Fault::reset(calls),
        4 => Fault::garble(calls),
        5 if conditions.duplicates => Fault::duplicate(calls, millis(world, &[0, 30, 3000])),
        _ => Fault::delay(calls, millis(world, &[20, 700, 8000])),
    }
}

/// A fault of a node of a ring. That it lists another key cannot be detected.
pub(crate) fn of_node(world: &mut World, also_undetectable: bool) -> Fault {
    let server = any_server(&mut world.rng, &world.federation);
    let pool = world.rng.choice(&[Pool::Wan, Pool::Lan]).unwrap().clone();
    let fault = match world.rng.u64(..if also_undetectable { 6 } else { 5 }) {
        0 => NodeFault::Silent,
        1 => NodeFault::Late(millis(world, &[30, 1000, 7000])),
        2 => NodeFault::Refuses,
        3 => NodeFault::Lies,
        4 => NodeFault::ListsFirst(world.rng.u64(..2) as usize),
        _ => NodeFault::ListsOther(world.some_key()),
    };
    Fault::node(server, pool, fault)
}

/// A fault of calls that duplicates none.
pub(crate) fn of_single_calls(world: &mut World) -> Fault {
    let conditions = Conditions {
        slow_raft: false,
        duplicates: false,
        faults: Vec::new(),
    };
    of_calls(world, &conditions)
}

fn millis(world: &mut World, among: &[u64]) -> Duration {
    Duration::from_millis(*world.rng.choice(among).unwrap())
}
