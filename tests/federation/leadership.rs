use super::*;

#[tokio::test(start_paused = true)]
async fn read_without_a_leader_fails_at_once() {
    let federation = three_and_one();
    federation.stop("alice");
    federation.stop("bob");
    let start = Instant::now();
    let carol = federation.service("carol");
    let read = configuration(&carol, anyone(), Consistency::Default);
    assert_eq!(read.await.unwrap_err().kind(), &ErrorKind::NoLeader);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn call_waiting_for_a_leader_succeeds_once_there_is_one() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .service_options(|service| service.leader_wait(Duration::from_secs(7)))
        .build();
    federation.stop("alice");
    federation.stop("bob");
    let start = Instant::now();
    let carol = federation.service("carol");
    let read = configuration(&carol, anyone(), Consistency::Default);
    let recovery = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        federation.restart("bob");
    };
    let (read, ()) = tokio::join!(read, recovery);
    assert_eq!(read.unwrap(), federation.configuration("dc1"));
    assert!(start.elapsed() >= Duration::from_secs(3));
    assert!(start.elapsed() < Duration::from_millis(3_200));
}

#[tokio::test(start_paused = true)]
async fn leader_is_looked_for_until_the_end_of_the_wait() {
    let wait = Duration::from_millis(70);
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob"])
        .service_options(move |service| service.leader_wait(wait))
        .build();
    federation.stop("alice");
    let start = Instant::now();
    let bob = federation.service("bob");
    let read = configuration(&bob, anyone(), Consistency::Default);
    assert_eq!(read.await.unwrap_err().kind(), &ErrorKind::NoLeader);
    assert_eq!(start.elapsed(), wait);
}

#[tokio::test(start_paused = true)]
async fn silent_leader_is_waited_for_until_the_deadline() {
    let peers = MockPeers::new().with_answer(server("alice"), |_| std::future::pending());
    let bob = OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice", "bob"]).at("bob"))
        .authorizer(AllowAll)
        .peers(peers)
        .deadline(Duration::from_secs(2))
        .build()
        .unwrap();
    let start = Instant::now();
    let read = configuration(&bob, anyone(), Consistency::Default);
    let error = read.await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }));
    assert_eq!(error.outcome(), Outcome::NotApplied);
    let itself = PeerSelector::Id("bob".into());
    let error = bob.remove_peer(&anyone(), itself, None).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }));
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(start.elapsed(), Duration::from_secs(4));
}

#[tokio::test]
async fn next_voter_serves_once_the_leader_stops() {
    let federation = three_and_one();
    federation.stop("alice");
    assert_eq!(federation.leader("dc1"), Some("bob".into()));
    let carol = federation.service("carol");
    let read = configuration(&carol, anyone(), Consistency::Default);
    let servers = read.await.unwrap().servers;
    let leads: Vec<_> = servers.iter().map(|server| server.leader).collect();
    assert_eq!(leads, [false, true, false]);
    let alive: Vec<_> = servers.iter().map(|server| server.alive).collect();
    assert_eq!(alive, [Some(false), Some(true), Some(true)]);
}

#[tokio::test]
async fn operator_can_transfer_the_leadership() {
    let federation = three_and_one();
    let bob = federation.service("bob");
    let carol = federation.raft("carol").id().clone();
    bob.transfer_leadership(&anyone(), Some(carol))
        .await
        .unwrap();
    assert_eq!(federation.leader("dc1"), Some("carol".into()));
    bob.transfer_leadership(&anyone(), None).await.unwrap();
    assert_eq!(federation.leader("dc1"), Some("alice".into()));

    federation.stop("carol");
    let carol = federation.raft("carol").id().clone();
    let dead = bob.transfer_leadership(&anyone(), Some(carol)).await;
    assert_eq!(dead.unwrap_err().outcome(), Outcome::NotApplied);
    assert_eq!(federation.leader("dc1"), Some("alice".into()));
}

/// A server with these peers that waits for a leader.
fn waiting(raft: MockRaft, peers: &MockPeers) -> OperatorService {
    OperatorService::builder("dc1")
        .raft(raft)
        .authorizer(AllowAll)
        .peers(peers.clone())
        .leader_wait(Duration::from_secs(7))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn wrongly_believed_leader_does_not_wait_as_well() {
    let lost = MockRaft::voters(["bob", "carol", "dave"]);
    lost.stop("carol");
    lost.stop("dave");
    let bob = waiting(lost, &MockPeers::new());
    let peers = MockPeers::new().with_service(server("bob"), bob);
    let alice = waiting(MockRaft::voters(["bob", "alice"]).at("alice"), &peers);
    let start = Instant::now();
    let carol = PeerSelector::Id("carol".into());
    let error = alice.remove_peer(&anyone(), carol, None).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::NoLeader);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(start.elapsed() < Duration::from_millis(7_300));
}

#[tokio::test(start_paused = true)]
async fn servers_with_stale_hints_of_each_other_wait_once() {
    let (to_bob, to_alice) = (MockPeers::new(), MockPeers::new());
    let alice = waiting(MockRaft::voters(["bob", "alice"]).at("alice"), &to_bob);
    let bob = waiting(MockRaft::voters(["alice", "bob"]).at("bob"), &to_alice);
    to_bob.add_service(server("bob"), bob);
    to_alice.add_service(server("alice"), alice.clone());
    let start = Instant::now();
    let carol = PeerSelector::Id("carol".into());
    let error = alice.remove_peer(&anyone(), carol, None).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::TooManyHops { hops: 4 });
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(start.elapsed() < Duration::from_millis(7_300));
}

#[tokio::test(start_paused = true)]
async fn server_that_wrongly_leads_finds_the_true_leader() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .service_options(|service| service.leader_wait(Duration::from_secs(7)))
        .build();
    federation.inject(Fault::stale_hint("bob", "bob"));
    let bob = federation.service("bob");
    let read = configuration(&bob, anyone(), Consistency::Consistent);
    assert_eq!(read.await.unwrap(), federation.configuration("dc1"));
    assert_eq!(federation.handed_to("alice"), 1);

    // There is no leader at first.
    federation.stop("alice");
    federation.stop("carol");
    let read = configuration(&bob, anyone(), Consistency::Consistent);
    let recovery = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        federation.restart("carol");
    };
    let (read, ()) = tokio::join!(read, recovery);
    assert_eq!(read.unwrap(), federation.configuration("dc1"));
}

#[tokio::test(start_paused = true)]
async fn only_temporary_unapplied_failures_are_retried() {
    let unreachable = || ErrorKind::Unreachable {
        target: "alice".into(),
        reason: "the connection was reset".into(),
    };
    let carol = PeerSelector::Id("carol".into());
    for (kind, outcome) in [
        (unreachable(), Outcome::Unknown),
        (unreachable(), Outcome::Applied),
        (ErrorKind::UnknownServer(carol.clone()), Outcome::NotApplied),
    ] {
        let error = OperatorError::new(kind.clone()).with_outcome(outcome);
        let peers = MockPeers::new().with_answer(server("alice"), move |_| {
            std::future::ready(Err(error.clone()))
        });
        let bob = waiting(MockRaft::voters(["alice", "bob"]).at("bob"), &peers);
        let start = Instant::now();
        let error = bob.remove_peer(&anyone(), carol.clone(), None).await;
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (&kind, outcome));
        assert_eq!(peers.sent().len(), 1, "{kind:?}");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    let peers = MockPeers::new().with_answer(server("alice"), move |_| {
        std::future::ready(Err(unreachable().into()))
    });
    let bob = waiting(MockRaft::voters(["alice", "bob"]).at("bob"), &peers);
    let error = bob.remove_peer(&anyone(), carol, None).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(peers.sent().len() > 100, "{}", peers.sent().len());
}
