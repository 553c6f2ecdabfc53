//! A simulated federation in a test: injected faults, a simulated clock and a
//! transcript of all calls.
//!
//! ```text
//! cargo run --example test_harness --features mock
//! ```

use std::error::Error;
use std::time::Duration;

use cluster_operator::mock::{Calls, Fault, MockClock, MockFederation, NodeFault};
use cluster_operator::raft::{Consistency, PeerSelector};
use cluster_operator::rotation::rotate;
use cluster_operator::service::Caller;
use cluster_operator::{GossipKey, Pool};

fn main() -> Result<(), Box<dyn Error>> {
    let clock = MockClock::new();
    let federation = MockFederation::builder()
        .datacenter("berlin", ["alice", "bob", "carol"])
        .datacenter("lima", ["dave", "erin"])
        .clock(&clock)
        .seed(17)
        .build();
    let operator = Caller::anonymous();
    let bob = federation.service("bob");
    federation.inject(Fault::delay(Calls::all(), Duration::from_millis(40)));

    println!("Datacenter lima does not answer, and an operator reads its configuration:");
    let silence = federation.inject(Fault::silent_datacenter("lima"));
    let in_lima = operator.clone().in_datacenter("lima");
    match clock.run(bob.raft_configuration(&in_lima, Consistency::Default)) {
        Ok(_) => println!("  answered"),
        Err(error) => println!("  {error} ({:?})", error.outcome()),
    }
    federation.heal(silence);

    println!("\nTwo operators remove one server each, while one is down:");
    federation.inject(Fault::stop("carol"));
    let id = |server| PeerSelector::Id(federation.raft(server).id().clone());
    let removals = [
        bob.remove_peer(&operator, id("carol"), None),
        bob.remove_peer(&operator, id("alice"), None),
    ];
    for result in clock.run_all(17, removals) {
        match result {
            Ok(()) => println!("  removed"),
            Err(error) => println!("  {error} ({:?})", error.outcome()),
        }
    }

    println!("\nThe gossip key is rotated, and one node falsely reports success:");
    let liar = federation.inject(Fault::node("erin", Pool::Lan, NodeFault::Lies));
    let key = GossipKey::from_bytes(&[7; 32])?;
    if let Err(error) = clock.run(rotate(&bob, &operator, key.clone())) {
        println!("  {}", error.to_string().replace('\n', "\n  "));
    }
    federation.heal(liar);
    let rotation = clock.run(rotate(&bob, &operator, key))?;
    println!("  retried: {} old key removed", rotation.removed);

    println!(
        "\nElapsed on the simulated clock: {:?}. Calls between servers:",
        clock.now()
    );
    for call in federation.transcript().calls_between_servers() {
        println!("  {call}");
    }
    Ok(())
}
