//! What the simulated servers have in common with Consul's.

use cluster_operator::rotation::{Absent, RotationOptions, ServiceRings, rotate_with};

use super::*;

#[tokio::test]
async fn node_left_behind_by_a_rotation_is_silent() {
    let federation = three_and_one();
    federation.stop("carol");
    let alice = federation.service("alice");
    let rings = ServiceRings::new(&alice, &anyone());
    let options = RotationOptions::default().absent(Absent::LeaveBehind);
    let rotation = rotate_with(&rings, &new_key(), &options, |_| {}).await;
    rotation.unwrap();
    federation.restart("carol");
    let installed = alice.install_key(&anyone(), new_key()).await;
    let error = installed.unwrap_err();
    let reply = error.reply().unwrap();
    let silent = |datacenter, pool| {
        &ring(reply, datacenter, pool)
            .report
            .as_ref()
            .unwrap()
            .silent
    };
    assert_eq!(*silent("dc1", Pool::Wan), ["carol.dc1"]);
    assert_eq!(*silent("dc1", Pool::Lan), ["carol"]);
    assert_eq!(federation.keys("carol", &Pool::Lan), [first_key()]);
}

#[tokio::test]
async fn transfer_that_nobody_can_take_is_refused() {
    let federation = three_and_one();
    let leader = federation.raft("alice").id().clone();
    let alice = federation.service("alice");
    let itself = Some(leader.clone());
    let transferred = alice.transfer_leadership(&anyone(), itself).await;
    let error = transferred.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::AlreadyLeader { id: leader });
    assert_eq!(error.outcome(), Outcome::NotApplied);

    let dave = federation.service("dave");
    let error = dave.transfer_leadership(&anyone(), None).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::NoTransferTarget);
    assert_eq!(error.outcome(), Outcome::NotApplied);
}

#[tokio::test]
async fn first_configuration_has_index_1_and_protocol_3() {
    let federation = three_and_one();
    let bob = federation.service("bob");
    let read = configuration(&bob, anyone(), Consistency::Default).await;
    let read = read.unwrap();
    assert_eq!(read.index, 1);
    for server in read.servers {
        assert_eq!(server.protocol_version.unwrap(), "3");
    }
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
