//! Rotations of the gossip key, during and after faults, repairs of nodes that were left
//! behind, and diagnoses.

use std::time::Duration;

use cluster_operator::diagnosis::{Diagnosis, FindingKind, Severity};
use cluster_operator::mock::{Fault, MockClock, MockFederation, NodeFault};
use cluster_operator::rotation::{
    Absent, Rotation, RotationError, RotationOptions, ServiceRings, repair, rotate, rotate_with,
};
use cluster_operator::service::Caller;
use cluster_operator::{GossipKey, NodeName, Pool, Timer, Token};

use crate::Violation;
use crate::issue::any_server;
use crate::random::{of_node, of_single_calls};
use crate::world::{DEADLINE, World};

/// The longest time of a rotation: five listings, each followed by a change, the
/// last one by several.
const LONGEST: Duration = Duration::from_secs(60);

fn root() -> Caller {
    Caller::with_token(Token::new("root"))
}

async fn rotate_at(
    federation: &MockFederation,
    server: NodeName,
    key: GossipKey,
) -> Result<Rotation, RotationError> {
    rotate(&federation.service(server), &root(), key).await
}

/// Heals everything and rotates. Checks that every node then has only the new key.
pub(crate) fn after_all(world: &mut World) -> Result<(), Violation> {
    world.recover();
    let server = any_server(&mut world.rng, &world.federation);
    let key = world.new_key();
    world.federation.note("a rotation without faults");
    let rotation = rotate_at(&world.federation, server, key.clone());
    if let Err(error) = world.clock.run(rotation) {
        return Err(format!("rotation without faults failed: {error}"));
    }
    has_alone(world, &key)
}

/// Rotates during faults of calls and nodes, with every server up. Checks that no
/// node encrypts with a key that another one of its ring lacks, and that a reported
/// success is true.
pub(crate) fn among_faults(world: &mut World) -> Result<(), Violation> {
    after_all(world)?;
    for _ in 0..=world.rng.u64(..3) {
        let fault = some(world);
        world.federation.inject(fault);
    }
    let (clock, federation) = (world.clock.clone(), world.federation.clone());
    let later: Vec<_> = (0..world.rng.u64(..4))
        .map(|_| {
            // Without faults, a step takes some milliseconds.
            let latest = *world.rng.choice(&[12, 12, 9000]).unwrap();
            let after = Duration::from_millis(world.rng.u64(..latest));
            let fault = match world.rng.u64(..4) {
                0 => None,
                // A node that begins to lie during a rotation is the hardest to
                // detect.
                1 => Some(liar(world)),
                _ => Some(some(world)),
            };
            disturb(&clock, &federation, fault, after)
        })
        .collect();
    let server = any_server(&mut world.rng, &world.federation);
    let key = world.new_key();
    world.federation.note("a rotation among faults");
    let began = clock.now();
    let rotating = async {
        let rotation = rotate_at(&federation, server, key.clone()).await;
        (rotation, clock.now() - began)
    };
    world.steps += 8;
    let disturbed = futures_util::future::join_all(later);
    let ((rotation, took), _) = clock.run(futures_util::future::join(rotating, disturbed));
    if took > LONGEST {
        return Err(format!("the rotation took {took:?}"));
    }
    if let Ok(rotation) = rotation {
        if rotation.rings.len() != 5 {
            return Err(format!("a rotation of {} rings", rotation.rings.len()));
        }
        has_alone(world, &key)?;
    }
    all_nodes_understand_each_other(world)?;
    world.recover();
    all_nodes_understand_each_other(world)?;
    let both = [(); 2].map(|()| {
        (
            any_server(&mut world.rng, &world.federation),
            world.new_key(),
        )
    });
    world.federation.note("two rotations at once");
    let both = both.map(|(server, key)| rotate_at(&federation, server, key));
    clock.run_all(world.rng.u64(..), both);
    Ok(())
}

/// Rotates while a server is down, and repairs it when it is back. Checks that the
/// default refuses, that the server is named, and that every node then has only the new
/// key.
pub(crate) fn left_behind(world: &mut World) -> Result<(), Violation> {
    after_all(world)?;
    let down = any_server(&mut world.rng, &world.federation);
    world.federation.inject(Fault::stop(down.clone()));
    let mut at = down.clone();
    while at == down {
        at = any_server(&mut world.rng, &world.federation);
    }
    let key = world.new_key();
    world.federation.note("a rotation while a server is down");
    let refused = rotate_at(&world.federation, at.clone(), key.clone());
    if let Ok(rotation) = world.clock.run(refused) {
        return Err(format!("a rotation left {down} behind: {rotation:?}"));
    }
    let others = ServiceRings::new(&world.federation.service(at), &root());
    let options = RotationOptions::default().absent(Absent::LeaveBehind);
    let rotation = rotate_with(&others, &key, &options, |_| {});
    let rotation = match world.clock.run(rotation) {
        Ok(rotation) => rotation,
        Err(error) => return Err(format!("rotation without {down} failed: {error}")),
    };
    let rings = world.rings();
    let rings = rings
        .iter()
        .filter(|ring| ring.nodes.iter().any(|(node, _)| *node == down));
    let (left, expected) = (rotation.left_behind().count(), rings.count());
    if left != expected {
        return Err(format!("{left} of {expected} nodes left behind are named"));
    }
    world.federation.heal_all();
    world.federation.note("the repair of a node");
    let node = ServiceRings::new(&world.federation.service(down.clone()), &root());
    if let Err(error) = world.clock.run(repair(&node, &others, |_| {})) {
        return Err(format!("the repair of {down} failed: {error}"));
    }
    world.steps += 20;
    has_alone(world, &key)
}

/// Diagnoses the federation. Checks that the diagnosis ends in time whatever the faults,
/// and that it names a server that is down and only such ones.
pub(crate) fn diagnose(world: &mut World) -> Result<(), Violation> {
    let down = any_server(&mut world.rng, &world.federation);
    let mut at = down.clone();
    while at == down {
        at = any_server(&mut world.rng, &world.federation);
    }
    let healthy = diagnose_at(world, &at)?;
    let is_bad = |severity| severity == Severity::Critical;
    if healthy
        .findings
        .iter()
        .any(|finding| is_bad(finding.severity))
    {
        return Err(format!("findings without faults: {:?}", healthy.findings));
    }
    world.federation.inject(Fault::stop(down.clone()));
    let id = world.federation.raft(down.clone()).id().to_string();
    let diagnosis = diagnose_at(world, &at)?;
    let dead = [FindingKind::DeadVoter, FindingKind::DeadServer];
    let named = diagnosis
        .findings
        .iter()
        .filter(|it| dead.contains(&it.kind));
    let named: Vec<_> = named
        .filter_map(|finding| finding.subject.as_deref())
        .collect();
    if named != [id.as_str()] {
        return Err(format!("{down} is down, and {named:?} are called dead"));
    }
    for _ in 0..=world.rng.u64(..3) {
        let fault = some(world);
        world.federation.inject(fault);
    }
    diagnose_at(world, &at)?;
    world.steps += 3;
    Ok(())
}

fn diagnose_at(world: &World, server: &NodeName) -> Result<Diagnosis, Violation> {
    let began = world.clock.now();
    let service = world.federation.service(server.clone());
    let diagnosis = world.clock.run(service.diagnose(&root()));
    let took = world.clock.now() - began;
    match diagnosis {
        Ok(_) if took > DEADLINE => Err(format!("the diagnosis took {took:?}")),
        Ok(diagnosis) => Ok(diagnosis),
        Err(error) => Err(format!("the diagnosis at {server} failed: {error}")),
    }
}

fn some(world: &mut World) -> Fault {
    if world.rng.bool() {
        of_node(world, false)
    } else {
        of_single_calls(world)
    }
}

fn liar(world: &mut World) -> Fault {
    let server = any_server(&mut world.rng, &world.federation);
    let pool = world.rng.choice(&[Pool::Wan, Pool::Lan]).unwrap().clone();
    Fault::node(server, pool, NodeFault::Lies)
}

async fn disturb(
    clock: &MockClock,
    federation: &MockFederation,
    fault: Option<Fault>,
    after: Duration,
) {
    clock.sleep(after).await;
    match fault {
        Some(fault) => {
            federation.inject(fault);
        }
        None => federation.heal_all(),
    }
}

fn has_alone(world: &World, key: &GossipKey) -> Result<(), Violation> {
    for ring in world.rings() {
        for (node, keys) in &ring.nodes {
            if keys != std::slice::from_ref(key) {
                let pool = &ring.pool;
                return Err(format!("after the rotation {node} ({pool}) holds {keys:?}"));
            }
        }
    }
    Ok(())
}

fn all_nodes_understand_each_other(world: &World) -> Result<(), Violation> {
    for ring in world.rings() {
        if let Some((node, other)) = ring.separated() {
            let pool = &ring.pool;
            return Err(format!("{node} uses a key that {other} lacks ({pool})"));
        }
    }
    Ok(())
}
