//! The service through a federation in memory: where an operation is served,
//! what survives the way there and back, and what one failure leaves of the
//! rest. No test sleeps to wait for something.
#![cfg(all(feature = "mock", feature = "tokio"))]
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::mock::{
    Grant, MockAcl, MockFederation, MockKeyring, MockPeers, MockRaft, MockServer, MockToken,
};
use cluster_operator::{
    Access, AccessorId, AllowAll, AutopilotConfiguration, BuildError, Caller, Consistency,
    DefaultPolicy, ErrorKind, GossipKey, InvalidKey, KeyFault, KeyringAction, KeyringBackend,
    KeyringReply, KeyringScope, KeyringWrite, LeaderHint, Leadership, NodeFailure, NodeMessage,
    Operation, OperatorError, OperatorReply, OperatorRequest, OperatorService, Outcome,
    PeerSelector, Pool, QuorumGuard, RaftBackend, RaftConfiguration, RelayFactor, Resource,
    RingOutcome, RingReport, Target, Token,
};
use tokio::time::Instant;

/// The key that a federation starts with.
fn first_key() -> GossipKey {
    GossipKey::from_bytes(&[1; 16]).unwrap()
}

fn new_key() -> GossipKey {
    GossipKey::from_bytes(&[2; 32]).unwrap()
}

fn anyone() -> Caller {
    Caller::anonymous()
}

fn id_of(federation: &MockFederation, server: &str) -> PeerSelector {
    PeerSelector::Id(federation.raft(server).id().clone())
}

fn three_and_one() -> MockFederation {
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .datacenter("dc2", ["dave"])
        .build()
}

fn server(name: &str) -> Target {
    Target::Server(LeaderHint {
        id: name.into(),
        address: name.into(),
    })
}

fn datacenter(name: &str) -> Target {
    Target::Datacenter(name.into())
}

async fn configuration(
    service: &OperatorService,
    caller: Caller,
    consistency: Consistency,
) -> Result<RaftConfiguration, OperatorError> {
    service.raft_configuration(&caller, consistency).await
}

/// The rings of a reply as `datacenter (pool)`.
fn rings(reply: &KeyringReply) -> Vec<String> {
    let rings = reply.rings.iter();
    rings
        .map(|ring| format!("{} ({})", ring.datacenter, ring.pool))
        .collect()
}

fn ring<'a>(reply: &'a KeyringReply, datacenter: &str, pool: Pool) -> &'a RingOutcome {
    let mut rings = reply.rings.iter();
    rings
        .find(|ring| ring.datacenter == datacenter && ring.pool == pool)
        .unwrap()
}

mod routing {
    use super::*;

    #[tokio::test]
    async fn every_follower_hands_a_read_on_to_the_leader() {
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
    async fn every_follower_hands_a_removal_on_to_the_leader() {
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
    async fn a_follower_answers_a_stale_read_without_asking_anyone() {
        let federation = three_and_one();
        let bob = federation.service("bob");
        let read = configuration(&bob, anyone(), Consistency::Stale);
        assert_eq!(read.await.unwrap(), federation.configuration("dc1"));
        assert_eq!(federation.handed_to("alice"), 0);
    }

    #[tokio::test]
    async fn a_stale_read_needs_no_leader_and_names_none() {
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
    async fn another_datacenter_is_reached_by_its_name() {
        let federation = three_and_one();
        let there = anyone().in_datacenter("dc2");
        for name in ["alice", "carol", "dave"] {
            let service = federation.service(name);
            let read = configuration(&service, there.clone(), Consistency::Default);
            assert_eq!(read.await.unwrap(), federation.configuration("dc2"));
        }
    }

    #[tokio::test]
    async fn a_follower_of_another_datacenter_hands_the_request_on_to_its_leader() {
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
    async fn there_is_no_path_to_a_datacenter_that_nobody_knows() {
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
    async fn a_datacenter_without_a_live_server_is_unreachable() {
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
    async fn servers_of_different_wan_pools_do_not_know_each_other() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob"])
            .datacenter("dc2", ["dave"])
            .wan_pools([vec!["alice", "dave"], vec!["bob"]])
            .build();
        let there = anyone().in_datacenter("dc2");
        let read = |name| {
            let service = federation.service(name);
            let there = there.clone();
            async move {
                service
                    .raft_configuration(&there, Consistency::Default)
                    .await
            }
        };
        assert!(read("alice").await.is_ok());
        let error = read("bob").await.unwrap_err();
        let datacenter = "dc2".into();
        assert_eq!(error.kind(), &ErrorKind::NoPathToDatacenter { datacenter });
    }

    #[tokio::test]
    async fn a_stopped_server_is_unreachable_through_its_own_service() {
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
            .unwrap();
        let rings = keys.rings.into_iter().map(|ring| ring.result.unwrap_err());
        for error in errors.into_iter().chain(rings) {
            assert!(
                matches!(error.kind(), ErrorKind::Unreachable { .. }),
                "{error}"
            );
            assert_eq!(error.outcome(), Outcome::NotApplied);
        }
    }

    #[tokio::test]
    async fn two_servers_that_take_each_other_for_the_leader_do_not_hand_it_on_forever() {
        let follower = |name: &str, other: &str, peers: &MockPeers| {
            // Of the other's cluster it sees the other lead.
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
        assert_eq!((to_bob.calls(), to_alice.calls()), (2, 2));
    }

    #[tokio::test]
    async fn an_error_keeps_its_kind_and_counts_the_servers_that_handed_it_on() {
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
        for (name, forwards) in [("bob", 0), ("carol", 1), ("dave", 2)] {
            let error = remove(name, there.clone()).await;
            assert_eq!(error.kind(), &ErrorKind::UnknownServer(nobody.clone()));
            assert_eq!(error.outcome(), Outcome::NotApplied);
            assert_eq!(error.forwards(), forwards);
        }
    }

    #[tokio::test]
    async fn the_token_and_the_time_that_is_left_travel_with_the_request() {
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
        let [(target, request)] = &peers.sent()[..] else {
            panic!("sent more than once");
        };
        assert_eq!(target, &datacenter("dc2"));
        assert_eq!(request.token, Some(Token::new("b852fbe7")));
        assert_eq!(request.forwards, 1);
        assert!(request.patience.unwrap() < Duration::from_secs(8));
    }
}

mod leadership {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_a_leader_a_read_fails_at_once() {
        let federation = three_and_one();
        federation.stop("alice");
        federation.stop("bob");
        let start = Instant::now();
        let carol = federation.service("carol");
        let read = configuration(&carol, anyone(), Consistency::Default);
        assert_eq!(read.await.unwrap_err().kind(), &ErrorKind::NoLeader);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    fn patient() -> MockFederation {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob", "carol"])
            .service_options(|service| service.leader_wait(Duration::from_secs(7)))
            .build();
        federation.stop("alice");
        federation.stop("bob");
        federation
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_for_a_leader_succeeds_when_there_is_one() {
        let federation = patient();
        let start = Instant::now();
        let carol = federation.service("carol");
        let caller = anyone();
        let read = configuration(&carol, caller.clone(), Consistency::Default);
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
    async fn a_call_waits_for_a_leader_no_longer_than_it_is_told() {
        let federation = patient();
        let start = Instant::now();
        let carol = federation.service("carol");
        let read = configuration(&carol, anyone(), Consistency::Default);
        assert_eq!(read.await.unwrap_err().kind(), &ErrorKind::NoLeader);
        assert!(start.elapsed() >= Duration::from_secs(7));
        assert!(start.elapsed() < Duration::from_millis(7_300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_does_not_answer_is_waited_for_until_the_deadline() {
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
    async fn when_the_leader_stops_the_next_voter_serves() {
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
    async fn the_lead_goes_where_an_operator_sends_it() {
        let federation = three_and_one();
        let bob = federation.service("bob");
        let carol = federation.raft("carol").id().clone();
        bob.transfer_leadership(&anyone(), Some(carol))
            .await
            .unwrap();
        assert_eq!(federation.leader("dc1"), Some("carol".into()));
        bob.transfer_leadership(&anyone(), None).await.unwrap();
        assert_eq!(federation.leader("dc1"), Some("alice".into()));

        let nobody = bob
            .transfer_leadership(&anyone(), Some("nobody".into()))
            .await;
        let selector = PeerSelector::Id("nobody".into());
        assert_eq!(
            nobody.unwrap_err().kind(),
            &ErrorKind::UnknownServer(selector)
        );
        federation.stop("carol");
        let carol = federation.raft("carol").id().clone();
        let dead = bob.transfer_leadership(&anyone(), Some(carol)).await;
        assert_eq!(dead.unwrap_err().outcome(), Outcome::NotApplied);
        assert_eq!(federation.leader("dc1"), Some("alice".into()));
    }
}

mod removal {
    use super::*;

    #[tokio::test]
    async fn the_last_voter_is_kept() {
        let federation = three_and_one();
        let dave = id_of(&federation, "dave");
        for guard in [QuorumGuard::On, QuorumGuard::Off] {
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
    async fn a_live_voter_whose_removal_would_lose_the_quorum_stays() {
        let federation = three_and_one();
        federation.stop("carol");
        let alice = federation.service("alice");
        let bob = id_of(&federation, "bob");
        let error = alice
            .remove_peer(&anyone(), bob.clone(), None)
            .await
            .unwrap_err();
        let (voters, live) = (2, 1);
        assert_eq!(
            error.kind(),
            &ErrorKind::QuorumLoss {
                voters,
                alive: live
            }
        );
        assert_eq!(federation.configuration("dc1").servers.len(), 3);

        let carol = id_of(&federation, "carol");
        alice.remove_peer(&anyone(), carol, None).await.unwrap();
        alice.remove_peer(&anyone(), bob, None).await.unwrap();
        assert_eq!(federation.configuration("dc1").servers.len(), 1);
    }

    #[tokio::test]
    async fn without_the_guard_a_removal_that_loses_the_quorum_ends_unknown() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob", "carol"])
            .service_options(|service| service.quorum_guard(QuorumGuard::Off))
            .build();
        federation.stop("carol");
        let alice = federation.service("alice");
        let bob = id_of(&federation, "bob");
        let error = alice.remove_peer(&anyone(), bob, None).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert_eq!(federation.leader("dc1"), None);
    }

    #[tokio::test]
    async fn a_guard_that_knows_nothing_of_the_servers_takes_them_for_live() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob", "carol"])
            .reports_liveness(false)
            .build();
        let alice = federation.service("alice");
        let carol = id_of(&federation, "carol");
        alice.remove_peer(&anyone(), carol, None).await.unwrap();
        let servers = federation.configuration("dc1").servers;
        assert!(servers.iter().all(|server| server.alive.is_none()));
    }

    #[tokio::test]
    async fn nothing_is_removed_from_a_configuration_that_has_moved_on() {
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
        let (expected, actual) = (read, moved.index);
        assert_eq!(error.kind(), &ErrorKind::Conflict { expected, actual });
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert_eq!(federation.configuration("dc1"), moved);
    }

    #[tokio::test]
    async fn a_removed_leader_leaves_the_lead_to_another_voter() {
        let federation = three_and_one();
        let alice = federation.service("alice");
        let itself = id_of(&federation, "alice");
        alice.remove_peer(&anyone(), itself, None).await.unwrap();
        assert_eq!(federation.leader("dc1"), Some("bob".into()));

        let carol = federation.service("carol");
        let read = configuration(&carol, anyone(), Consistency::Default);
        assert_eq!(read.await.unwrap().servers.len(), 2);
        // It is out, and knows that.
        let read = configuration(&alice, anyone(), Consistency::Default);
        assert_eq!(read.await.unwrap_err().kind(), &ErrorKind::NoLeader);
        let read = configuration(&alice, anyone(), Consistency::Stale);
        assert_eq!(read.await.unwrap().servers.len(), 2);
    }

    /// Before the first removal, somebody else is quicker.
    struct Overtaken {
        raft: MockRaft,
        by: Mutex<Option<PeerSelector>>,
    }

    #[async_trait]
    impl RaftBackend for Overtaken {
        fn leadership(&self) -> Leadership {
            self.raft.leadership()
        }

        async fn configuration(
            &self,
            consistency: Consistency,
        ) -> Result<RaftConfiguration, OperatorError> {
            self.raft.configuration(consistency).await
        }

        async fn remove_server(
            &self,
            server: &PeerSelector,
            expected_index: Option<u64>,
        ) -> Result<(), OperatorError> {
            let quicker = self.by.lock().unwrap().take();
            if let Some(quicker) = quicker {
                self.raft.remove_server(&quicker, None).await?;
            }
            self.raft.remove_server(server, expected_index).await
        }
    }

    /// Removes bob of three voters, while somebody else removes one.
    async fn overtaken(by: &str, expected_index: Option<u64>) -> (MockRaft, Option<ErrorKind>) {
        let raft = MockRaft::voters(["alice", "bob", "carol"]);
        let service = OperatorService::builder("dc1")
            .raft(Overtaken {
                raft: raft.clone(),
                by: Mutex::new(Some(PeerSelector::Id(by.into()))),
            })
            .authorizer(AllowAll)
            .build()
            .unwrap();
        let bob = PeerSelector::Id("bob".into());
        let removed = service.remove_peer(&anyone(), bob, expected_index).await;
        (raft, removed.err().map(|error| error.kind().clone()))
    }

    #[tokio::test]
    async fn a_removal_that_is_overtaken_is_checked_against_what_is_there_now() {
        let (raft, error) = overtaken("carol", None).await;
        assert_eq!(error, None);
        assert_eq!(raft.latest().servers.len(), 1);

        let (raft, error) = overtaken("bob", None).await;
        let bob = PeerSelector::Id("bob".into());
        assert_eq!(error, Some(ErrorKind::UnknownServer(bob)));
        assert_eq!(raft.latest().servers.len(), 2);
    }

    #[tokio::test]
    async fn a_removal_at_an_index_that_is_overtaken_is_refused() {
        let expected = MockRaft::voters(["alice"]).latest().index;
        let (raft, error) = overtaken("carol", Some(expected)).await;
        let actual = raft.latest().index;
        assert_eq!(error, Some(ErrorKind::Conflict { expected, actual }));
        assert_eq!(raft.latest().servers.len(), 2);
    }

    #[tokio::test]
    async fn a_server_is_named_by_its_address_too() {
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

    #[tokio::test]
    async fn autopilot_cleans_up_dead_servers_while_there_is_a_leader() {
        let federation = three_and_one();
        federation.stop("carol");
        assert_eq!(federation.cleanup_dead_servers("dc1"), ["carol"]);
        assert_eq!(federation.configuration("dc1").servers.len(), 2);
        federation.stop("bob");
        assert!(federation.cleanup_dead_servers("dc1").is_empty());
        assert_eq!(federation.configuration("dc1").servers.len(), 2);
    }
}

mod access {
    use super::*;

    /// Each datacenter knows its own tokens, and `both`.
    fn guarded() -> MockFederation {
        let acl = |own: &str, grant| {
            let operator = MockToken::new(own)
                .with(Resource::Operator, grant)
                .with(Resource::Keyring, grant);
            let both = MockToken::new("both").with(Resource::Keyring, grant);
            MockAcl::new(DefaultPolicy::Deny)
                .with_token(operator)
                .with_token(both)
        };
        MockFederation::builder()
            .datacenter("dc1", ["alice", "bob"])
            .datacenter("dc2", ["dave"])
            .authorizer_in("dc1", acl("one", Grant::Write))
            .authorizer_in("dc2", acl("two", Grant::Read))
            .build()
    }

    fn holder(token: &str) -> Caller {
        Caller::with_token(Token::new(token))
    }

    #[tokio::test]
    async fn the_server_that_serves_decides() {
        let federation = guarded();
        let alice = federation.service("alice");
        let read = |caller: Caller| {
            let alice = alice.clone();
            async move {
                alice
                    .raft_configuration(&caller, Consistency::Default)
                    .await
            }
        };
        assert!(read(holder("one")).await.is_ok());
        assert!(read(holder("two").in_datacenter("dc2")).await.is_ok());
        let error = read(holder("two")).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::UnknownToken);
        let error = read(holder("one").in_datacenter("dc2")).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::UnknownToken);
        assert_eq!(error.forwards(), 1);
    }

    #[tokio::test]
    async fn a_caller_who_may_not_look_learns_nothing_of_the_servers() {
        let federation = guarded();
        let bob = federation.service("bob");
        for id in [id_of(&federation, "bob"), PeerSelector::Id("nobody".into())] {
            let error = bob.remove_peer(&anyone(), id, None).await.unwrap_err();
            assert!(matches!(
                error.kind(),
                ErrorKind::PermissionDenied {
                    resource: Resource::Operator,
                    accessor: None,
                    ..
                }
            ));
        }
    }

    #[tokio::test]
    async fn what_one_datacenter_denies_does_not_hide_what_the_others_did() {
        let federation = guarded();
        let alice = federation.service("alice");
        let reply = alice.install_key(&holder("both"), new_key()).await.unwrap();
        assert!(ring(&reply, "dc1", Pool::Wan).is_confirmed());
        assert!(ring(&reply, "dc1", Pool::Lan).is_confirmed());
        let denied = ring(&reply, "dc2", Pool::Lan).result.clone().unwrap_err();
        assert!(matches!(denied.kind(), ErrorKind::PermissionDenied { .. }));
        assert_eq!(denied.outcome(), Outcome::NotApplied);
        assert_eq!(federation.keys("bob", &Pool::Lan), [first_key(), new_key()]);
        assert_eq!(federation.keys("dave", &Pool::Lan), [first_key()]);
    }

    #[tokio::test]
    async fn a_caller_whom_the_local_datacenter_denies_reaches_no_ring() {
        let federation = guarded();
        let dave = federation.service("dave");
        let error = dave
            .install_key(&holder("both"), new_key())
            .await
            .unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::PermissionDenied { .. }));
        assert_eq!(federation.handed_to("alice"), 0);
        assert_eq!(federation.keys("dave", &Pool::Wan), [first_key()]);
    }

    #[tokio::test]
    async fn an_authorizer_that_cannot_decide_lets_nobody_through() {
        let acl = MockAcl::new(DefaultPolicy::Allow).with_token(MockToken::management("root"));
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice"])
            .authorizer(acl.clone())
            .build();
        let alice = federation.service("alice");
        acl.set_unavailable("the primary datacenter is down");
        let read = configuration(&alice, holder("root"), Consistency::Stale);
        let error = read.await.unwrap_err();
        assert!(matches!(
            error.kind(),
            ErrorKind::AuthorizerUnavailable { .. }
        ));
        acl.set_available();
        acl.revoke(&Token::new("root"));
        let read = configuration(&alice, holder("root"), Consistency::Stale);
        assert_eq!(read.await.unwrap_err().kind(), &ErrorKind::UnknownToken);
    }
}

mod keyring {
    use super::*;

    #[tokio::test]
    async fn rings_come_as_wan_lan_segments_and_datacenters_by_name() {
        let federation = MockFederation::builder()
            .datacenter("m", ["alice", "bob"])
            .datacenter("z", ["carol"])
            .datacenter("a", ["dave"])
            .segment("m", "beta", ["alice"])
            .segment("m", "alpha", ["bob", "alice"])
            .segment("a", "gamma", ["dave"])
            .build();
        let alice = federation.service("alice");
        let reply = alice.list_keys(&anyone(), KeyringScope::Federation).await;
        let reply = reply.unwrap().confirmed().unwrap();
        assert_eq!(
            rings(&reply),
            [
                "m (WAN)",
                "m (LAN)",
                "m (segment alpha)",
                "m (segment beta)",
                "a (LAN)",
                "a (segment gamma)",
                "z (LAN)",
            ]
        );
        let nodes = |ring: &RingOutcome| ring.result.as_ref().unwrap().nodes;
        let counted: Vec<_> = reply.rings.iter().map(nodes).collect();
        assert_eq!(counted, [4, 2, 2, 1, 1, 1, 1]);
    }

    #[tokio::test]
    async fn a_local_listing_asks_nobody_else() {
        let federation = three_and_one();
        let bob = federation.service("bob");
        let reply = bob.list_keys(&anyone(), KeyringScope::LocalOnly).await;
        assert_eq!(rings(&reply.unwrap()), ["dc1 (LAN)"]);
        assert_eq!(federation.handed_to("dave"), 0);

        let write = OperatorRequest::new(Operation::Keyring {
            action: KeyringAction::Install(new_key()),
            scope: KeyringScope::LocalOnly,
            relay_factor: RelayFactor::default(),
        });
        let error = bob.call(write).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidRequest { .. }));
        assert_eq!(federation.keys("bob", &Pool::Lan), [first_key()]);
    }

    #[tokio::test]
    async fn a_key_is_rotated_on_every_node_of_the_federation() {
        let federation = three_and_one();
        let dave = federation.service("dave");
        let confirmed = |reply: Result<KeyringReply, OperatorError>| reply.unwrap().confirmed();
        confirmed(dave.install_key(&anyone(), new_key()).await).unwrap();
        confirmed(dave.use_key(&anyone(), new_key()).await).unwrap();
        confirmed(dave.remove_key(&anyone(), first_key()).await).unwrap();
        for name in ["alice", "bob", "carol", "dave"] {
            for pool in [Pool::Wan, Pool::Lan] {
                assert_eq!(federation.keys(name, &pool), [new_key()]);
            }
        }
        // Every datacenter is asked once each time, and asks no further.
        assert_eq!(federation.handed_to("alice"), 3);
        assert_eq!(federation.handed_to("dave"), 0);
    }

    #[tokio::test]
    async fn each_node_that_refuses_is_named() {
        let federation = three_and_one();
        let alice = federation.service("alice");
        let used = alice.use_key(&anyone(), new_key()).await.unwrap();
        let removed = alice.remove_key(&anyone(), first_key()).await.unwrap();
        for (reply, why) in [
            (used, NodeFailure::KeyNotInstalled),
            (removed, NodeFailure::PrimaryKey),
        ] {
            let wan = ring(&reply, "dc1", Pool::Wan).result.as_ref().unwrap();
            let named: Vec<_> = wan.failures().collect();
            let names = ["alice.dc1", "bob.dc1", "carol.dc1", "dave.dc2"].map(Into::into);
            assert_eq!(named, names.each_ref().map(|name| (name, &why)));
            let error = reply.confirmed().unwrap_err();
            assert!(matches!(
                error.kind(),
                ErrorKind::RingsFailed { failed, rings: 3 } if failed.len() == 3
            ));
            assert_eq!(error.outcome(), Outcome::Unknown);
        }
    }

    #[tokio::test]
    async fn what_is_down_does_not_hide_what_the_others_answer() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob"])
            .datacenter("dc2", ["carol"])
            .datacenter("dc3", ["dave"])
            .notices_failures(false)
            .build();
        federation.stop("bob");
        federation.stop_datacenter("dc2");
        let alice = federation.service("alice");
        let reply = alice
            .list_keys(&anyone(), KeyringScope::Federation)
            .await
            .unwrap();
        assert_eq!(
            rings(&reply),
            ["dc1 (WAN)", "dc1 (LAN)", "dc2 (LAN)", "dc3 (LAN)"]
        );
        let report = |datacenter, pool| ring(&reply, datacenter, pool).result.clone();
        let fault = |report: &RingReport| report.fault().unwrap().to_string();

        let wan = report("dc1", Pool::Wan).unwrap();
        assert_eq!(fault(&wan), "2/4 nodes reported success");
        assert_eq!(wan.keys.get(&first_key()), 2);
        let lan = report("dc1", Pool::Lan).unwrap();
        assert_eq!(fault(&lan), "1/2 nodes reported success");
        assert_eq!(lan.primary_keys.get(&first_key()), 1);
        let down = report("dc2", Pool::Lan).unwrap_err();
        assert!(matches!(down.kind(), ErrorKind::Unreachable { .. }));
        let healthy = report("dc3", Pool::Lan).unwrap();
        assert_eq!(healthy.fault(), None);
        assert_eq!(healthy.keys.get(&first_key()), 1);

        let error = reply.confirmed().unwrap_err();
        let failed = [Pool::Wan, Pool::Lan].map(|pool| ("dc1".into(), pool));
        let failed = failed.into_iter().chain([("dc2".into(), Pool::Lan)]);
        let (failed, rings) = (failed.collect(), 4);
        assert_eq!(error.kind(), &ErrorKind::RingsFailed { failed, rings });
    }

    #[tokio::test]
    async fn a_failed_node_is_counted_until_the_server_that_asks_has_noticed() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob", "carol"])
            .notices_failures(false)
            .build();
        federation.stop("carol");
        let nodes = async |name: &str| {
            let service = federation.service(name);
            let reply = service.list_keys(&anyone(), KeyringScope::LocalOnly).await;
            reply.unwrap().rings[0].result.as_ref().unwrap().nodes
        };
        assert_eq!((nodes("alice").await, nodes("bob").await), (3, 3));
        federation.notice_failure_by("alice", "carol", &Pool::Lan);
        assert_eq!((nodes("alice").await, nodes("bob").await), (2, 3));
        federation.notice_failure("carol", &Pool::Lan);
        assert_eq!((nodes("alice").await, nodes("bob").await), (2, 2));
        federation.restart("carol");
        assert_eq!((nodes("alice").await, nodes("bob").await), (3, 3));
    }

    #[tokio::test]
    async fn without_encryption_every_node_says_so() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob"])
            .unencrypted()
            .build();
        let alice = federation.service("alice");
        let listed = alice
            .list_keys(&anyone(), KeyringScope::Federation)
            .await
            .unwrap();
        let installed = alice.install_key(&anyone(), new_key()).await.unwrap();
        for ring in listed.rings.into_iter().chain(installed.rings) {
            let report = ring.result.unwrap();
            assert_eq!(report.errors, 2);
            let whys: Vec<_> = report.failures().map(|(_, why)| why.clone()).collect();
            assert_eq!(
                whys,
                [NodeFailure::EncryptionOff, NodeFailure::EncryptionOff]
            );
        }
    }

    fn rehearse(write: KeyringWrite, fault: KeyFault) -> OperatorRequest {
        OperatorRequest::new(Operation::Keyring {
            action: KeyringAction::Rehearse { write, fault },
            scope: KeyringScope::Federation,
            relay_factor: RelayFactor::default(),
        })
    }

    async fn rehearsed(
        federation: &MockFederation,
        write: KeyringWrite,
        fault: KeyFault,
    ) -> KeyringReply {
        match federation
            .service("alice")
            .call(rehearse(write, fault))
            .await
        {
            Ok(OperatorReply::Keyring(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_key_of_a_wrong_size_is_rehearsed_in_every_ring_and_changes_none() {
        let federation = three_and_one();
        let fault = KeyFault::Invalid(InvalidKey::Size { bytes: 3 });
        for (write, why) in [
            (KeyringWrite::Install, Some(NodeFailure::KeySize)),
            (KeyringWrite::Use, Some(NodeFailure::KeyNotInstalled)),
            (KeyringWrite::Remove, None),
        ] {
            let reply = rehearsed(&federation, write, fault).await;
            assert_eq!(rings(&reply), ["dc1 (WAN)", "dc1 (LAN)", "dc2 (LAN)"]);
            for ring in reply.rings {
                let report = ring.result.unwrap();
                assert_eq!(report.responses, report.nodes);
                let failed = if why.is_some() { report.nodes } else { 0 };
                assert_eq!(report.errors, failed);
                let named = NodeMessage::Failed(why.clone().unwrap_or(NodeFailure::KeySize));
                assert!(report.messages.values().all(|message| *message == named));
            }
        }
        for name in ["alice", "bob", "carol", "dave"] {
            assert_eq!(federation.keys(name, &Pool::Wan), [first_key()]);
            assert_eq!(federation.keys(name, &Pool::Lan), [first_key()]);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_sent_to_a_ring_fails_in_each_of_them() {
        let federation = three_and_one();
        let base64 = InvalidKey::Base64 { offset: 4 };
        let reply = rehearsed(&federation, KeyringWrite::Use, base64.into()).await;
        assert_eq!(reply.rings.len(), 3);
        for ring in reply.rings {
            assert_eq!(
                ring.result.unwrap_err().kind(),
                &ErrorKind::InvalidKey(base64)
            );
        }
        let long = KeyFault::TooLong { limit: 1024 };
        let reply = rehearsed(&federation, KeyringWrite::Install, long).await;
        for ring in reply.rings {
            let error = ring.result.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidRequest { .. }));
        }
    }

    #[tokio::test]
    async fn a_ring_without_encryption_says_so_before_it_looks_at_the_size() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice"])
            .unencrypted()
            .build();
        let fault = KeyFault::Invalid(InvalidKey::Size { bytes: 0 });
        let reply = rehearsed(&federation, KeyringWrite::Remove, fault).await;
        for ring in reply.rings {
            let report = ring.result.unwrap();
            let whys: Vec<_> = report.failures().map(|(_, why)| why).collect();
            assert_eq!(whys, [&NodeFailure::EncryptionOff]);
        }
    }

    /// A server of dc1 whose other datacenters are what the peers say.
    fn lonely(peers: MockPeers) -> OperatorService {
        OperatorService::builder("dc1")
            .keyring(MockKeyring::new(Pool::Wan, first_key(), ["alice.dc1"]))
            .keyring(MockKeyring::new(Pool::Lan, first_key(), ["alice"]))
            .authorizer(AllowAll)
            .peers(peers)
            .keyring_deadline(Duration::from_secs(5))
            .build()
            .unwrap()
    }

    fn told(datacenter: &str, pool: Pool) -> RingOutcome {
        let mut report = RingReport::new(1);
        report.holds(&[new_key()]);
        RingOutcome {
            datacenter: datacenter.into(),
            pool,
            result: Ok(report),
        }
    }

    fn telling(rings: Vec<RingOutcome>) -> Result<OperatorReply, OperatorError> {
        Ok(OperatorReply::Keyring(KeyringReply { rings }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_datacenter_that_never_answers_costs_its_deadline_and_no_result() {
        let peers = MockPeers::new()
            .with_answer(datacenter("dc2"), |_| std::future::pending())
            .with_answer(datacenter("dc3"), |_| async {
                telling(vec![told("dc3", Pool::Lan)])
            });
        let start = Instant::now();
        let reply = lonely(peers)
            .install_key(&anyone(), new_key())
            .await
            .unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        assert!(ring(&reply, "dc1", Pool::Wan).is_confirmed());
        assert!(ring(&reply, "dc1", Pool::Lan).is_confirmed());
        assert!(ring(&reply, "dc3", Pool::Lan).is_confirmed());
        let late = ring(&reply, "dc2", Pool::Lan).result.clone().unwrap_err();
        assert!(matches!(late.kind(), ErrorKind::DeadlineExceeded { .. }));
        assert_eq!(late.outcome(), Outcome::Unknown);
        assert_eq!(reply.rings.len(), 4);
    }

    /// A segment whose nodes take forever.
    struct Hanging;

    #[async_trait]
    impl KeyringBackend for Hanging {
        fn pool(&self) -> Pool {
            Pool::Segment("slow".into())
        }

        async fn list(&self, _: RelayFactor) -> Result<RingReport, OperatorError> {
            std::future::pending().await
        }

        async fn install(
            &self,
            _: &GossipKey,
            _: RelayFactor,
        ) -> Result<RingReport, OperatorError> {
            std::future::pending().await
        }

        async fn use_key(
            &self,
            _: &GossipKey,
            _: RelayFactor,
        ) -> Result<RingReport, OperatorError> {
            std::future::pending().await
        }

        async fn remove(&self, _: &GossipKey, _: RelayFactor) -> Result<RingReport, OperatorError> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_that_hangs_in_another_datacenter_does_not_hide_its_others() {
        let lan = MockKeyring::new(Pool::Lan, first_key(), ["dave"]);
        let dave = OperatorService::builder("dc2")
            .keyring(lan.clone())
            .keyring(Hanging)
            .authorizer(AllowAll)
            .keyring_deadline(Duration::from_secs(60))
            .build()
            .unwrap();
        let alice = lonely(MockPeers::new().with_service(datacenter("dc2"), dave));
        let start = Instant::now();
        let reply = alice.install_key(&anyone(), new_key()).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(ring(&reply, "dc2", Pool::Lan).is_confirmed());
        assert_eq!(lan.keys("dave"), [first_key(), new_key()]);
        let slow = ring(&reply, "dc2", Pool::Segment("slow".into()));
        let error = slow.result.clone().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }));
        assert_eq!(error.outcome(), Outcome::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_came_too_late_has_changed_nothing() {
        let peers = MockPeers::new().with_answer(datacenter("dc2"), |_| std::future::pending());
        let listed = lonely(peers)
            .list_keys(&anyone(), KeyringScope::Federation)
            .await;
        let late = ring(&listed.unwrap(), "dc2", Pool::Lan).result.clone();
        assert_eq!(late.unwrap_err().outcome(), Outcome::NotApplied);
    }

    #[tokio::test]
    async fn a_datacenter_is_believed_of_its_own_rings_only() {
        let peers = MockPeers::new().with_answer(datacenter("dc2"), |_| async {
            telling(vec![
                told("dc1", Pool::Lan),
                told("dc3", Pool::Lan),
                told("dc2", Pool::Wan),
                told("dc2", Pool::Segment("s".into())),
                told("dc2", Pool::Lan),
                told("dc2", Pool::Lan),
            ])
        });
        let listed = lonely(peers)
            .list_keys(&anyone(), KeyringScope::Federation)
            .await;
        let reply = listed.unwrap();
        assert_eq!(
            rings(&reply),
            ["dc1 (WAN)", "dc1 (LAN)", "dc2 (LAN)", "dc2 (segment s)"]
        );
        let lan = ring(&reply, "dc1", Pool::Lan).result.as_ref().unwrap();
        assert_eq!(lan.keys.get(&new_key()), 0);
    }

    #[tokio::test]
    async fn a_datacenter_that_tells_nothing_of_itself_has_failed() {
        for answer in [
            telling(vec![]),
            telling(vec![told("dc1", Pool::Lan), told("dc2", Pool::Wan)]),
            Ok(OperatorReply::PeerRemoved),
        ] {
            let peers = MockPeers::new().with_answer(datacenter("dc2"), move |_| {
                std::future::ready(answer.clone())
            });
            let listed = lonely(peers)
                .list_keys(&anyone(), KeyringScope::Federation)
                .await;
            let reply = listed.unwrap();
            assert_eq!(rings(&reply), ["dc1 (WAN)", "dc1 (LAN)", "dc2 (LAN)"]);
            assert!(!ring(&reply, "dc2", Pool::Lan).is_confirmed());
        }
    }

    #[tokio::test]
    async fn another_datacenter_is_asked_for_its_own_rings_and_not_for_the_wan() {
        let peers = MockPeers::new().with_answer(datacenter("dc2"), |_| async {
            telling(vec![told("dc2", Pool::Lan)])
        });
        let service = lonely(peers.clone());
        service
            .list_keys(&anyone(), KeyringScope::Federation)
            .await
            .unwrap();
        let [(_, request)] = &peers.sent()[..] else {
            panic!("sent more than once");
        };
        let Operation::Keyring { scope, .. } = &request.operation else {
            panic!("{request:?}");
        };
        assert_eq!(*scope, KeyringScope::Remote);
    }
}

mod autopilot {
    use super::*;

    #[tokio::test]
    async fn rules_are_replaced_only_at_the_index_that_was_read() {
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
    async fn the_cluster_is_healthy_while_all_servers_are_up() {
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
    async fn a_server_without_autopilot_says_so() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice"])
            .autopilot(false)
            .build();
        let alice = federation.service("alice");
        let error = alice.autopilot_state(&anyone()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }));
    }
}

mod building {
    use super::*;

    fn lan() -> MockKeyring {
        MockKeyring::new(Pool::Lan, first_key(), ["alice"])
    }

    #[test]
    fn a_service_without_an_authorizer_is_not_built() {
        let built = OperatorService::builder("dc1").keyring(lan()).build();
        assert_eq!(built.unwrap_err(), BuildError::NoAuthorizer);
    }

    #[test]
    fn a_service_without_a_backend_is_not_built() {
        let built = OperatorService::builder("dc1").authorizer(AllowAll).build();
        assert_eq!(built.unwrap_err(), BuildError::NoBackend);
    }

    #[test]
    fn a_service_with_two_rings_of_one_pool_is_not_built() {
        let built = OperatorService::builder("dc1")
            .authorizer(AllowAll)
            .keyring(lan())
            .keyring(lan())
            .build();
        assert_eq!(built.unwrap_err(), BuildError::DuplicatePool(Pool::Lan));
    }

    #[tokio::test]
    async fn a_service_without_gossip_or_raft_says_so() {
        let raft_only = OperatorService::builder("dc1")
            .authorizer(AllowAll)
            .raft(MockRaft::voters(["alice"]))
            .build()
            .unwrap();
        let error = raft_only
            .list_keys(&anyone(), KeyringScope::Federation)
            .await;
        assert!(matches!(
            error.unwrap_err().kind(),
            ErrorKind::Unsupported { .. }
        ));
        let gossip_only = OperatorService::builder("dc1")
            .authorizer(AllowAll)
            .keyring(lan())
            .build()
            .unwrap();
        for consistency in [Consistency::Default, Consistency::Stale] {
            let error = gossip_only.raft_configuration(&anyone(), consistency).await;
            assert!(matches!(
                error.unwrap_err().kind(),
                ErrorKind::Unsupported { .. }
            ));
        }
    }
}

mod serialized {
    use std::fmt::Debug;

    use super::*;
    use serde::{Serialize, de::DeserializeOwned};

    fn round_trips<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        let json = serde_json::to_string(&value).unwrap();
        let back: T = serde_json::from_str(&json).unwrap();
        assert_eq!(back, value, "{json}");
    }

    fn selectors() -> [PeerSelector; 2] {
        [
            PeerSelector::Id("8c2562c7".into()),
            PeerSelector::Address("127.0.0.1:8300".into()),
        ]
    }

    fn pools() -> [Pool; 3] {
        [Pool::Wan, Pool::Lan, Pool::Segment("alpha".into())]
    }

    const KEY_FAULTS: [KeyFault; 3] = [
        KeyFault::Invalid(InvalidKey::Base64 { offset: 3 }),
        KeyFault::Invalid(InvalidKey::Size { bytes: 17 }),
        KeyFault::TooLong { limit: 1024 },
    ];

    fn actions() -> Vec<KeyringAction> {
        let mut actions = vec![
            KeyringAction::List,
            KeyringAction::Install(new_key()),
            KeyringAction::Use(first_key()),
            KeyringAction::Remove(GossipKey::from_bytes(&[3; 24]).unwrap()),
        ];
        for write in [
            KeyringWrite::Install,
            KeyringWrite::Use,
            KeyringWrite::Remove,
        ] {
            actions.extend(KEY_FAULTS.map(|fault| KeyringAction::Rehearse { write, fault }));
        }
        actions
    }

    #[test]
    fn every_operation_arrives_as_it_was_sent() {
        let mut operations = vec![
            Operation::TransferLeadership { to: None },
            Operation::TransferLeadership {
                to: Some("8c2562c7".into()),
            },
            Operation::SetAutopilotConfiguration {
                configuration: AutopilotConfiguration::default(),
                expected_index: Some(7),
            },
        ];
        for consistency in [
            Consistency::Default,
            Consistency::Consistent,
            Consistency::Stale,
        ] {
            operations.push(Operation::RaftConfiguration(consistency));
            operations.push(Operation::AutopilotConfiguration(consistency));
            operations.push(Operation::AutopilotState(consistency));
        }
        for server in selectors() {
            for expected_index in [None, Some(u64::MAX)] {
                let server = server.clone();
                operations.push(Operation::RemovePeer {
                    server,
                    expected_index,
                });
            }
        }
        for action in actions() {
            for scope in [
                KeyringScope::Federation,
                KeyringScope::LocalOnly,
                KeyringScope::Remote,
            ] {
                operations.push(Operation::Keyring {
                    action: action.clone(),
                    scope,
                    relay_factor: RelayFactor::MAX,
                });
            }
        }
        for operation in operations {
            let mut request = OperatorRequest::new(operation);
            round_trips(request.clone());
            request.forwards = 3;
            request.patience = Some(Duration::from_millis(4_500));
            let request = request.with_token(Token::new("b852\"fbe7"));
            round_trips(request.in_datacenter("dc2"));
        }
    }

    fn report() -> RingReport {
        let mut report = RingReport::new(9);
        report.done();
        report.holds(&[first_key(), new_key()]);
        report.holds_more("a".into(), &[new_key()], 30);
        for failure in [
            NodeFailure::KeyNotInstalled,
            NodeFailure::PrimaryKey,
            NodeFailure::EncryptionOff,
            NodeFailure::KeySize,
            NodeFailure::Other("disk full".into()),
        ] {
            report.failed(format!("node {}", report.errors).into(), failure);
        }
        let note = NodeMessage::Note("restart me".into());
        report.messages.insert("b".into(), note);
        report
    }

    #[tokio::test]
    async fn every_reply_arrives_as_it_was_sent() {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice".into(), MockServer::new("bob").nonvoter()])
            .reports_last_index(true)
            .build();
        let alice = federation.service("alice");
        let results = [
            Ok(report()),
            Err(OperatorError::new(ErrorKind::NoLeader).with_outcome(Outcome::Applied)),
        ];
        let rings = pools().into_iter().flat_map(|pool| {
            results.clone().map(|result| RingOutcome {
                datacenter: "dc1".into(),
                pool: pool.clone(),
                result,
            })
        });
        for reply in [
            OperatorReply::RaftConfiguration(federation.configuration("dc1")),
            OperatorReply::PeerRemoved,
            OperatorReply::LeadershipTransferred,
            OperatorReply::Keyring(KeyringReply {
                rings: rings.collect(),
            }),
            OperatorReply::AutopilotConfiguration(AutopilotConfiguration::default()),
            OperatorReply::AutopilotConfigurationSet(true),
            OperatorReply::AutopilotState(alice.autopilot_state(&anyone()).await.unwrap()),
        ] {
            round_trips(reply);
        }
    }

    fn kinds() -> Vec<ErrorKind> {
        let text = || String::from("says \"no\"\n");
        let hint = LeaderHint {
            id: "8c2562c7".into(),
            address: "127.0.0.1:8300".into(),
        };
        let mut kinds = vec![
            ErrorKind::InvalidRequest { reason: text() },
            ErrorKind::InvalidKey(InvalidKey::Base64 { offset: 9 }),
            ErrorKind::InvalidKey(InvalidKey::Size { bytes: 0 }),
            ErrorKind::UnknownToken,
            ErrorKind::AuthorizerUnavailable { reason: text() },
            ErrorKind::NoLeader,
            ErrorKind::NotLeader { leader: None },
            ErrorKind::NotLeader { leader: Some(hint) },
            ErrorKind::NoPathToDatacenter {
                datacenter: "dc9".into(),
            },
            ErrorKind::Unreachable {
                target: text(),
                reason: text(),
            },
            ErrorKind::DeadlineExceeded {
                target: text(),
                after: Duration::from_nanos(1),
            },
            ErrorKind::LastVoter,
            ErrorKind::QuorumLoss {
                voters: 3,
                alive: 1,
            },
            ErrorKind::Conflict {
                expected: 1,
                actual: u64::MAX,
            },
            ErrorKind::RingsFailed {
                failed: pools().map(|pool| ("dc1".into(), pool)).to_vec(),
                rings: 5,
            },
            ErrorKind::Unsupported { what: text() },
            ErrorKind::TooManyHops { hops: 255 },
            ErrorKind::Backend { message: text() },
        ];
        kinds.extend(selectors().map(ErrorKind::UnknownServer));
        for resource in [Resource::Operator, Resource::Keyring] {
            for access in [Access::Read, Access::Write] {
                for accessor in [None, Some(AccessorId::new("acce5500"))] {
                    kinds.push(ErrorKind::PermissionDenied {
                        resource,
                        access,
                        accessor,
                    });
                }
            }
        }
        kinds
    }

    #[tokio::test]
    async fn every_error_arrives_as_it_was_sent_and_is_handed_on_as_it_is() {
        for kind in kinds() {
            for outcome in [Outcome::NotApplied, Outcome::Applied, Outcome::Unknown] {
                let error = OperatorError::new(kind.clone()).with_outcome(outcome);
                round_trips(error.clone());

                let peers = MockPeers::new().with_answer(datacenter("dc2"), move |_| {
                    std::future::ready(Err(error.clone()))
                });
                let service = OperatorService::builder("dc1")
                    .raft(MockRaft::voters(["alice"]))
                    .authorizer(AllowAll)
                    .peers(peers)
                    .build()
                    .unwrap();
                let there = anyone().in_datacenter("dc2");
                let handed_on = configuration(&service, there, Consistency::Default).await;
                let handed_on = handed_on.unwrap_err();
                assert_eq!(handed_on.kind(), &kind);
                assert_eq!(handed_on.outcome(), outcome);
                assert_eq!(handed_on.forwards(), 1);
                round_trips(handed_on);
            }
        }
    }

    #[test]
    fn what_no_server_sends_is_not_taken() {
        let request = OperatorRequest::new(Operation::Keyring {
            action: KeyringAction::Install(first_key()),
            scope: KeyringScope::Federation,
            relay_factor: RelayFactor::MAX,
        });
        let json = serde_json::to_string(&request).unwrap();
        let key = first_key().to_base64();
        for (good, bad) in [
            (r#""relay_factor":5"#, r#""relay_factor":6"#),
            (key.as_str(), "AAAA"),
            ("Install", "Destroy"),
        ] {
            let wrong = json.replace(good, bad);
            assert_ne!(wrong, json);
            assert!(serde_json::from_str::<OperatorRequest>(&wrong).is_err());
        }
    }
}
