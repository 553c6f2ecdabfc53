use cluster_operator::autopilot::{Detected, FailureDetector};
use cluster_operator::mock::MockClock;
use cluster_operator::raft::{RaftBackend, Suffrage};

use super::*;

#[tokio::test]
async fn configuration_is_set_only_at_the_expected_index() {
    let federation = three_and_one();
    let bob = federation.service("bob");
    let read = bob.autopilot_configuration(&anyone()).await.unwrap();
    assert!(read.cleanup_dead_servers);
    let rules = AutopilotConfiguration {
        cleanup_dead_servers: false,
        ..read.clone()
    };
    let set = |index| {
        let (bob, rules) = (bob.clone(), rules.clone());
        async move {
            bob.set_autopilot_configuration(&anyone(), rules, index)
                .await
        }
    };
    assert_eq!(set(Some(read.modify_index + 1)).await, Ok(false));
    assert_eq!(
        bob.autopilot_configuration(&anyone()).await,
        Ok(read.clone())
    );
    assert_eq!(set(Some(read.modify_index)).await, Ok(true));
    assert_eq!(set(Some(read.modify_index)).await, Ok(false));
    assert_eq!(set(None).await, Ok(true));
    let now = bob.autopilot_configuration(&anyone()).await.unwrap();
    assert!(!now.cleanup_dead_servers);
    assert_eq!(now.create_index, read.create_index);
    assert!(now.modify_index > read.modify_index);
}

#[tokio::test]
async fn cluster_is_healthy_while_all_servers_are_up() {
    let federation = three_and_one();
    let carol = federation.service("carol");
    let state = carol.autopilot_state(&anyone()).await.unwrap();
    assert!(state.healthy);
    assert_eq!(state.failure_tolerance, 1);
    assert_eq!(state.voters.len(), 3);
    assert_eq!(state.leader.as_ref(), Some(federation.raft("alice").id()));
    federation.stop("bob");
    let state = carol.autopilot_state(&anyone()).await.unwrap();
    assert!(!state.healthy);
    assert_eq!(state.failure_tolerance, 0);
    let healthy: Vec<_> = state.servers.iter().map(|server| server.healthy).collect();
    assert_eq!(healthy, [true, false, true]);
}

#[tokio::test]
async fn autopilot_of_three_servers_reports_what_consuls_does() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .leader("bob")
        .build();
    let alice = federation.service("alice");
    let state = alice.autopilot_state(&anyone()).await.unwrap();
    assert_eq!(state.failure_tolerance, 1);
    assert_eq!(state.optimistic_failure_tolerance, 1);
    let ids = ["alice", "bob", "carol"].map(|name| federation.raft(name).id().clone());
    let [a, b, c] = &ids;
    assert_eq!(state.voters, [b, a, c].map(Clone::clone));
    let servers = state.servers.iter();
    assert!(servers.clone().map(|server| &server.id).eq(&ids));
    let contacts: Vec<_> = servers.map(|server| server.last_contact).collect();
    assert_eq!(contacts[1], Duration::ZERO);
    assert!(contacts[0] > Duration::ZERO && contacts[2] > contacts[0]);
    assert!(contacts[2] < AutopilotConfiguration::default().last_contact_threshold);
}

#[tokio::test]
async fn nonvoters_count_for_the_optimistic_tolerance_alone() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .nonvoters(["bob", "carol"])
        .build();
    let alice = federation.service("alice");
    let state = alice.autopilot_state(&anyone()).await.unwrap();
    assert_eq!(state.failure_tolerance, 0);
    assert_eq!(state.optimistic_failure_tolerance, 1);
}

#[tokio::test]
async fn server_without_autopilot_reports_unsupported() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .autopilot(false)
        .build();
    let alice = federation.service("alice");
    let error = alice.autopilot_state(&anyone()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }));
}

#[test]
fn leader_measures_time_on_the_simulated_clock() {
    let clock = MockClock::new();
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .clock(&clock)
        .build();
    let view = |server: &str| clock.run(federation.raft(server).view()).unwrap();
    let contacts = |server: &str| {
        let status = view(server).status.into_iter();
        let contacts = status.map(|status| status.last_contact);
        contacts
            .map(|ago| ago.map(|ago| ago.as_secs()))
            .collect::<Vec<_>>()
    };
    clock.advance(Duration::from_secs(5));
    assert_eq!(contacts("alice"), [Some(0), Some(0), Some(0)]);
    assert_eq!(contacts("bob"), [None; 3]);
    federation.stop("carol");
    clock.advance(Duration::from_secs(7));
    assert_eq!(contacts("alice"), [Some(0), Some(0), Some(7)]);
    assert_eq!(view("alice").leading_for, Some(Duration::from_secs(12)));

    // The next leader has never heard carol.
    federation.elect("bob");
    clock.advance(Duration::from_secs(2));
    assert_eq!(contacts("bob"), [Some(0), Some(0), None]);
    assert_eq!(view("bob").leading_for, Some(Duration::from_secs(2)));
    assert_eq!(view("alice").leading_for, None);
    federation.restart("carol");
    assert_eq!(contacts("bob"), [Some(0); 3]);
}

#[test]
fn gossip_tells_for_how_long_it_has_seen_a_node() {
    let clock = MockClock::new();
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .clock(&clock)
        .build();
    let seen = |by: &str, node: &str| {
        let gossip = federation.keyring(by, &Pool::Lan);
        let detected = clock.run(gossip.detect()).unwrap()[&NodeName::new(node)];
        (detected.status, detected.lasted.as_secs())
    };
    clock.advance(Duration::from_secs(5));
    assert_eq!(seen("alice", "carol"), (Detected::Alive, 5));
    federation.stop("carol");
    clock.advance(Duration::from_secs(3));
    assert_eq!(seen("alice", "carol"), (Detected::Failed, 3));
    federation.restart("carol");
    let cut = federation.inject(Fault::partition(["alice"], ["carol"]));
    clock.advance(Duration::from_secs(2));
    assert_eq!(seen("alice", "carol"), (Detected::Failed, 2));
    assert_eq!(seen("bob", "carol"), (Detected::Alive, 2));
    assert_eq!(seen("carol", "bob"), (Detected::Alive, 2));
    federation.heal(cut);
    clock.advance(Duration::from_secs(1));
    assert_eq!(seen("alice", "carol"), (Detected::Alive, 1));
    federation.stop("alice");
    assert!(
        clock
            .run(federation.keyring("alice", &Pool::Lan).detect())
            .is_err()
    );
}

#[tokio::test]
async fn removed_voter_joins_without_a_vote() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .build();
    let alice = federation.service("alice");
    let carol = id_of(&federation, "carol");
    alice.remove_peer(&anyone(), carol, None).await.unwrap();
    assert!(federation.join_without_vote("carol"));
    let carol = federation.configuration("dc1").servers.pop().unwrap();
    assert_eq!(carol.name.unwrap(), "carol");
    assert_eq!(carol.suffrage, Suffrage::Nonvoter);
}
