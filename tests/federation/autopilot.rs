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

    federation.stop("carol");
    assert!(federation.cleanup_dead_servers("dc1").is_empty());
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
async fn server_without_autopilot_reports_unsupported() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .autopilot(false)
        .build();
    let alice = federation.service("alice");
    let error = alice.autopilot_state(&anyone()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }));
}
