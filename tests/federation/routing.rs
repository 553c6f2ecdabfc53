use super::*;

#[tokio::test]
async fn every_follower_forwards_a_read_to_the_leader() {
    let federation = three_and_one();
    for (at, name) in ["alice", "bob", "carol"].into_iter().enumerate() {
        let service = federation.service(name);
        let read = configuration(&service, anyone(), Consistency::Default);
        assert_eq!(read.await.unwrap(), federation.configuration("dc1"));
        assert_eq!(federation.handed_to("alice"), at);
    }
    assert!(federation.configuration("dc1").servers[0].leader);
}

#[tokio::test]
async fn every_follower_forwards_a_removal_to_the_leader() {
    for follower in ["bob", "carol"] {
        let federation = three_and_one();
        let carol = id_of(&federation, "carol");
        let service = federation.service(follower);
        service.remove_peer(&anyone(), carol, None).await.unwrap();
        assert_eq!(federation.configuration("dc1").servers.len(), 2);
        assert_eq!(federation.handed_to("alice"), 1);
    }
}

#[tokio::test]
async fn follower_answers_a_stale_read_without_forwarding() {
    let federation = three_and_one();
    let bob = federation.service("bob");
    let read = configuration(&bob, anyone(), Consistency::Stale);
    assert_eq!(read.await.unwrap(), federation.configuration("dc1"));
    assert_eq!(federation.handed_to("alice"), 0);
}

#[tokio::test]
async fn stale_read_needs_no_leader_and_names_none() {
    let federation = three_and_one();
    federation.stop("alice");
    federation.stop("carol");
    let bob = federation.service("bob");
    let read = configuration(&bob, anyone(), Consistency::Stale);
    let servers = read.await.unwrap().servers;
    assert_eq!(servers.len(), 3);
    assert!(servers.iter().all(|server| !server.leader));
}

#[tokio::test]
async fn datacenter_is_reached_by_its_name() {
    let federation = three_and_one();
    let there = anyone().in_datacenter("dc2");
    for name in ["alice", "carol", "dave"] {
        let service = federation.service(name);
        let read = configuration(&service, there.clone(), Consistency::Default);
        assert_eq!(read.await.unwrap(), federation.configuration("dc2"));
    }
}

#[tokio::test]
async fn remote_follower_forwards_to_its_leader() {
    let federation = three_and_one();
    assert!(federation.elect("carol"));
    let there = anyone().in_datacenter("dc1");
    let dave = federation.service("dave");
    let bob = id_of(&federation, "bob");
    dave.remove_peer(&there, bob, None).await.unwrap();
    assert_eq!(federation.handed_to("alice"), 1);
    assert_eq!(federation.handed_to("carol"), 1);
    assert_eq!(federation.configuration("dc1").servers.len(), 2);
}

#[tokio::test]
async fn unknown_datacenter_has_no_path() {
    let federation = three_and_one();
    for name in ["dc9", "DC2", ""] {
        let there = anyone().in_datacenter(name);
        let alice = federation.service("alice");
        let read = configuration(&alice, there.clone(), Consistency::Stale);
        let error = read.await.unwrap_err();
        let datacenter = name.into();
        assert_eq!(error.kind(), &ErrorKind::NoPathToDatacenter { datacenter });
    }
}

#[tokio::test]
async fn datacenter_without_a_live_server_is_unreachable() {
    let federation = three_and_one();
    federation.stop_datacenter("dc2");
    let there = anyone().in_datacenter("dc2");
    let alice = federation.service("alice");
    let read = configuration(&alice, there.clone(), Consistency::Stale);
    let error = read.await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
    assert_eq!(error.outcome(), Outcome::NotApplied);
}

#[tokio::test]
async fn service_of_a_stopped_server_is_unreachable() {
    let federation = three_and_one();
    federation.stop("bob");
    let bob = federation.service("bob");
    let carol = id_of(&federation, "carol");
    let errors = [
        bob.raft_configuration(&anyone(), Consistency::Stale)
            .await
            .unwrap_err(),
        bob.raft_configuration(&anyone(), Consistency::Default)
            .await
            .unwrap_err(),
        bob.remove_peer(&anyone(), carol, None).await.unwrap_err(),
        bob.autopilot_state(&anyone()).await.unwrap_err(),
        bob.raft_configuration(&anyone().in_datacenter("dc2"), Consistency::Default)
            .await
            .unwrap_err(),
    ];
    let keys = bob
        .list_keys(&anyone(), KeyringScope::Federation)
        .await
        .unwrap_err()
        .into_reply()
        .unwrap();
    let rings = keys.rings.into_iter().map(|ring| ring.error.unwrap());
    for error in errors.into_iter().chain(rings) {
        assert!(
            matches!(error.kind(), ErrorKind::Unreachable { .. }),
            "{error}"
        );
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
}

#[tokio::test]
async fn stale_hints_of_each_other_do_not_forward_forever() {
    let follower = |name: &str, other: &str, peers: &MockPeers| {
        // Each believes that the other one leads.
        let raft = MockRaft::voters([other, name]).at(name);
        OperatorService::builder("dc1")
            .raft(raft)
            .authorizer(AllowAll)
            .peers(peers.clone())
            .hop_limit(4)
            .build()
            .unwrap()
    };
    let (to_bob, to_alice) = (MockPeers::new(), MockPeers::new());
    let alice = follower("alice", "bob", &to_bob);
    let bob = follower("bob", "alice", &to_alice);
    to_bob.add_service(server("bob"), bob);
    to_alice.add_service(server("alice"), alice.clone());

    let read = configuration(&alice, anyone(), Consistency::Default);
    let error = read.await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::TooManyHops { hops: 4 });
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!((to_bob.sent().len(), to_alice.sent().len()), (2, 2));
}

#[tokio::test]
async fn forwarded_error_keeps_its_kind_and_outcome() {
    let federation = three_and_one();
    assert!(federation.elect("bob"));
    let nobody = PeerSelector::Address("10.9.9.9:8300".into());
    let remove = |name, caller: Caller| {
        let service = federation.service(name);
        let nobody = nobody.clone();
        async move {
            service
                .remove_peer(&caller, nobody, None)
                .await
                .unwrap_err()
        }
    };
    let there = anyone().in_datacenter("dc1");
    for name in ["bob", "carol", "dave"] {
        let error = remove(name, there.clone()).await;
        assert_eq!(error.kind(), &ErrorKind::UnknownServer(nobody.clone()));
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
}

#[tokio::test]
async fn token_and_remaining_time_are_forwarded() {
    let peers = MockPeers::new().with_answer(datacenter("dc2"), |_| async {
        Err(ErrorKind::NoLeader.into())
    });
    let service = OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice"]))
        .authorizer(MockAcl::new(DefaultPolicy::Deny))
        .peers(peers.clone())
        .deadline(Duration::from_secs(8))
        .build()
        .unwrap();
    let caller = Caller::with_token(Token::new("b852fbe7")).in_datacenter("dc2");
    let read = configuration(&service, caller.clone(), Consistency::Default);
    assert_eq!(read.await.unwrap_err().kind(), &ErrorKind::NoLeader);
    let [sent] = &peers.sent()[..] else {
        panic!("sent more than once");
    };
    assert_eq!(sent.target, datacenter("dc2"));
    assert_eq!(sent.request.token, Some(Token::new("b852fbe7")));
    assert_eq!(sent.hops, 1);
    assert!(sent.timeout.unwrap() < Duration::from_secs(8));
}

#[tokio::test]
async fn rings_in_the_error_of_a_raft_call_are_dropped() {
    let peers = MockPeers::new().with_answer(datacenter("dc2"), |_| async {
        let mut report = RingReport::new(1);
        report.holds(&[new_key()]);
        let ring = RingOutcome::new("dc2", Pool::Lan, report);
        let rings = KeyringReply { rings: vec![ring] };
        Err(OperatorError::from(ErrorKind::NoLeader).with_reply(rings))
    });
    let service = OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice"]))
        .authorizer(AllowAll)
        .peers(peers)
        .build()
        .unwrap();
    let there = anyone().in_datacenter("dc2");
    let error = configuration(&service, there, Consistency::Default).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::NoLeader);
    assert_eq!(error.reply(), None);
}

#[tokio::test]
async fn request_id_is_forwarded_or_created() {
    let peers = MockPeers::new().with_answer(datacenter("dc2"), |_| async {
        Err(ErrorKind::NoLeader.into())
    });
    let dc3 = peers.clone().with_answer(datacenter("dc3"), |_| async {
        Err(ErrorKind::NoLeader.into())
    });
    let service = OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice"]))
        .keyring(MockKeyring::new(Pool::Lan, first_key(), ["alice"]))
        .authorizer(AllowAll)
        .peers(dc3)
        .build()
        .unwrap();
    let read = OperatorRequest::new(Operation::RaftConfiguration(Consistency::Default));
    let read = read.in_datacenter("dc2");
    let id: RequestId = "7f3a-01".parse().unwrap();
    service
        .call(read.clone().with_request_id(id.clone()))
        .await
        .unwrap_err();
    service.call(read).await.unwrap_err();
    service.install_key(&anyone(), new_key()).await.unwrap_err();
    let ids: Vec<_> = peers
        .sent()
        .into_iter()
        .map(|sent| sent.request.request_id)
        .collect();
    assert_eq!(ids[0], Some(id));
    assert!(ids[1].is_some() && ids[1] != ids[2]);
    // One operation has one id in all datacenters.
    assert_eq!(ids[2], ids[3]);
}

#[tokio::test]
async fn datacenter_is_reached_through_any_live_server() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .datacenter("dc2", ["bob", "carol", "dave"])
        .build();
    federation.stop("bob");
    let alice = federation.service("alice");
    let there = Caller::anonymous().in_datacenter("dc2");
    configuration(&alice, there.clone(), Consistency::Default)
        .await
        .unwrap();
    assert_eq!(federation.handed_to("bob"), 0);
    assert_eq!(federation.handed_to("carol"), 1);
    federation.stop_datacenter("dc2");
    federation.restart_datacenter("dc2");
    configuration(&alice, there.clone(), Consistency::Default)
        .await
        .unwrap();
    assert_eq!(federation.handed_to("bob"), 1);
}
