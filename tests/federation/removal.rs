use super::*;

#[tokio::test]
async fn last_voter_is_not_removed() {
    let federation = three_and_one();
    let dave = id_of(&federation, "dave");
    for guard in [QuorumGuard::Quorum, QuorumGuard::Off, QuorumGuard::Margin] {
        let federation = MockFederation::builder()
            .datacenter("dc2", ["dave"])
            .service_options(move |service| service.quorum_guard(guard))
            .build();
        let before = federation.configuration("dc2");
        let service = federation.service("dave");
        let dave = id_of(&federation, "dave");
        let error = service
            .remove_peer(&anyone(), dave, None)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::LastVoter);
        assert_eq!(federation.configuration("dc2"), before);
    }
    let alice = federation.service("alice");
    let there = anyone().in_datacenter("dc2");
    let error = alice.remove_peer(&there, dave, None).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::LastVoter);
}

#[tokio::test]
async fn voter_that_the_quorum_needs_is_not_removed() {
    let federation = three_and_one();
    federation.stop("carol");
    let alice = federation.service("alice");
    let bob = id_of(&federation, "bob");
    let error = alice
        .remove_peer(&anyone(), bob.clone(), None)
        .await
        .unwrap_err();
    let (voters, alive, needed) = (2, 1, 2);
    assert_eq!(
        error.kind(),
        &ErrorKind::QuorumLoss {
            voters,
            alive,
            needed
        }
    );
    assert_eq!(federation.configuration("dc1").servers.len(), 3);

    let carol = id_of(&federation, "carol");
    alice.remove_peer(&anyone(), carol, None).await.unwrap();
    alice.remove_peer(&anyone(), bob, None).await.unwrap();
    assert_eq!(federation.configuration("dc1").servers.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn removal_without_a_proof_is_refused_whatever_the_guard() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .service_options(|service| service.quorum_guard(QuorumGuard::Off))
        .build();
    federation.stop("carol");
    let alice = federation.service("alice");
    let bob = id_of(&federation, "bob");
    let before = federation.configuration("dc1");
    let error = alice.remove_peer(&anyone(), bob, None).await.unwrap_err();
    let (confirmed, needed, after) = (1, 2, Duration::from_millis(2_250));
    assert_eq!(
        error.kind(),
        &ErrorKind::QuorumUnproven {
            confirmed,
            needed,
            after
        }
    );
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(federation.configuration("dc1"), before);
    assert_eq!(federation.leader("dc1"), Some("alice".into()));
}

#[tokio::test]
async fn margin_guard_leaves_room_for_one_more_death() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol", "dave", "erin"])
        .service_options(|service| service.quorum_guard(QuorumGuard::Margin))
        .build();
    federation.stop("erin");
    let alice = federation.service("alice");
    let remove = |name: &str| {
        let (alice, server) = (alice.clone(), id_of(&federation, name));
        async move { alice.remove_peer(&anyone(), server, None).await }
    };
    let (voters, alive, needed) = (4, 3, 4);
    assert_eq!(
        remove("dave").await.unwrap_err().kind(),
        &ErrorKind::QuorumLoss {
            voters,
            alive,
            needed
        }
    );
    remove("erin").await.unwrap();
    remove("dave").await.unwrap();
    // With three voters, none can be removed.
    assert_eq!(
        remove("carol").await.unwrap_err().kind().name(),
        "quorum-loss"
    );
}

#[tokio::test]
async fn guard_assumes_servers_of_unknown_liveness_alive() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .raft_servers(|server| server.alive = None)
        .build();
    let alice = federation.service("alice");
    let carol = id_of(&federation, "carol");
    alice.remove_peer(&anyone(), carol, None).await.unwrap();
    let servers = federation.configuration("dc1").servers;
    assert!(servers.iter().all(|server| server.alive.is_none()));
}

#[tokio::test]
async fn removal_at_an_old_index_is_refused() {
    let federation = three_and_one();
    let alice = federation.service("alice");
    let read = federation.configuration("dc1").index;
    let (bob, carol) = (id_of(&federation, "bob"), id_of(&federation, "carol"));
    alice
        .remove_peer(&anyone(), carol, Some(read))
        .await
        .unwrap();
    let moved = federation.configuration("dc1");
    assert!(moved.index > read);
    let error = alice
        .remove_peer(&anyone(), bob, Some(read))
        .await
        .unwrap_err();
    assert!(is_conflict(error.kind(), read, moved.index), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(federation.configuration("dc1"), moved);
}

#[tokio::test]
async fn removing_the_leader_makes_another_voter_lead() {
    let federation = three_and_one();
    let alice = federation.service("alice");
    let itself = id_of(&federation, "alice");
    alice.remove_peer(&anyone(), itself, None).await.unwrap();
    assert_eq!(federation.leader("dc1"), Some("bob".into()));

    let carol = federation.service("carol");
    let read = configuration(&carol, anyone(), Consistency::Default);
    assert_eq!(read.await.unwrap().servers.len(), 2);
    // Alice is removed, and knows it.
    let read = configuration(&alice, anyone(), Consistency::Default);
    let ErrorKind::NotMember { id } = read.await.unwrap_err().kind().clone() else {
        panic!("alice is not a member any more");
    };
    assert_eq!(PeerSelector::Id(id), id_of(&federation, "alice"));
    let read = configuration(&alice, anyone(), Consistency::Stale);
    assert_eq!(read.await.unwrap().servers.len(), 2);
}

/// Another operator is faster than each of the first removals.
struct Overtaken {
    raft: MockRaft,
    by: Mutex<Vec<ServerId>>,
}

#[async_trait]
impl RaftBackend for Overtaken {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        self.raft.view().await
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
        self.raft.confirmed_view(timeout).await
    }

    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
        let quicker = self.by.lock().unwrap().pop();
        if let Some(quicker) = quicker {
            let view = self.raft.view().await?;
            let quicker = Change::remove(quicker, &view, change.timeout);
            self.raft.change_membership(&quicker).await?;
        }
        self.raft.change_membership(change).await
    }
}

fn is_conflict(kind: &ErrorKind, expected: u64, actual: u64) -> bool {
    let ErrorKind::Conflict {
        expected: asked,
        actual: found,
    } = kind
    else {
        return false;
    };
    (asked.index, found.index) == (expected, actual)
}

/// Removes bob, one of three voters, while another operator removes one.
async fn overtaken(by: &str, expected_index: Option<u64>) -> (MockRaft, Option<ErrorKind>) {
    overtaken_among(["alice", "bob", "carol"], [by], expected_index).await
}

async fn overtaken_among<const N: usize, const M: usize>(
    voters: [&str; N],
    by: [&str; M],
    expected_index: Option<u64>,
) -> (MockRaft, Option<ErrorKind>) {
    let raft = MockRaft::voters(voters);
    let service = OperatorService::builder("dc1")
        .raft(Overtaken {
            raft: raft.clone(),
            by: Mutex::new(by.map(ServerId::from).into()),
        })
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let bob = PeerSelector::Id("bob".into());
    let removed = service.remove_peer(&anyone(), bob, expected_index).await;
    (raft, removed.err().map(|error| error.kind().clone()))
}

#[tokio::test]
async fn overtaken_removal_is_checked_against_the_new_state() {
    let (raft, error) = overtaken("carol", None).await;
    assert_eq!(error, None);
    assert_eq!(raft.latest().servers.len(), 1);

    let (raft, error) = overtaken("bob", None).await;
    let bob = PeerSelector::Id("bob".into());
    assert_eq!(error, Some(ErrorKind::UnknownServer(bob)));
    assert_eq!(raft.latest().servers.len(), 2);
}

#[tokio::test]
async fn removal_is_given_up_when_overtaken_four_times() {
    let voters = ["alice", "bob", "c", "d", "e", "f", "g"];
    let (raft, error) = overtaken_among(voters, ["c", "d", "e"], None).await;
    assert_eq!(error, None);
    assert_eq!(raft.latest().servers.len(), 3);

    let (raft, error) = overtaken_among(voters, ["c", "d", "e", "f"], None).await;
    assert!(
        matches!(error, Some(ErrorKind::Conflict { .. })),
        "{error:?}"
    );
    assert_eq!(raft.latest().servers.len(), 3, "bob and the others");
}

#[tokio::test]
async fn overtaken_removal_at_an_index_is_refused() {
    let expected = MockRaft::voters(["alice"]).latest().index;
    let (raft, error) = overtaken("carol", Some(expected)).await;
    let actual = raft.latest().index;
    assert!(is_conflict(&error.unwrap(), expected, actual));
    assert_eq!(raft.latest().servers.len(), 2);
}

#[tokio::test]
async fn server_can_be_named_by_its_address() {
    let federation = three_and_one();
    let bob = federation.service("bob");
    let address = PeerSelector::Address("127.0.0.3:8300".into());
    bob.remove_peer(&anyone(), address.clone(), None)
        .await
        .unwrap();
    let error = bob
        .remove_peer(&anyone(), address.clone(), None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::UnknownServer(address));
}
