//! The client, against this library's servers in every dialect.

use std::time::Duration;

use axum::Router;
use cluster_operator::acl::{Access, DefaultPolicy, Identity, Resource};
use cluster_operator::client::{ClientError, OperatorClient};
use cluster_operator::consul::Dialect;
use cluster_operator::keyring::RelayFactor;
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockToken};
use cluster_operator::raft::{Consistency, PeerSelector, RemovalVerdict};
use cluster_operator::server::OperatorHttp;
use cluster_operator::service::Caller;
use cluster_operator::{ErrorKind, Outcome, Pool, ServerId, Token};
use tokio::net::TcpListener;

use super::key;
use super::socket::{Scripted, Turn, http, nobody};

const DIALECTS: [Dialect; 4] = [
    Dialect::Precise,
    Dialect::Consul1_17,
    Dialect::Consul1_10,
    Dialect::Consul0_7,
];

/// Alice, who leads, bob and carol in dc1, and dave in dc2.
fn federation() -> MockFederation {
    let acl = MockAcl::new(DefaultPolicy::Deny)
        .with_token(MockToken::management("root"))
        .with_token(MockToken::new("reader").with(Resource::Operator, Grant::Read));
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .datacenter("dc2", ["dave"])
        .raft_index(22)
        .gossip_key(key(1))
        .authorizer(acl)
        .build()
}

async fn serve(federation: &MockFederation, server: &str, dialect: Dialect) -> OperatorClient {
    let endpoints = OperatorHttp::new(federation.service(server)).with_dialect(dialect);
    let app = Router::new().fallback_service(endpoints);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    OperatorClient::new(uri.parse().unwrap())
        .with_token(&Token::new("root"))
        .unwrap()
}

#[tokio::test]
async fn configuration_is_read_in_every_dialect() {
    for dialect in DIALECTS {
        let federation = federation();
        let client = serve(&federation, "bob", dialect).await;
        for (consistency, datacenter) in [
            (Consistency::Default, "dc1"),
            (Consistency::Consistent, "dc1"),
            (Consistency::Stale, "dc2"),
        ] {
            let mut expected = federation.configuration(datacenter);
            for server in &mut expected.servers {
                // The answer does not contain it.
                server.alive = None;
                if dialect == Dialect::Consul0_7 {
                    server.id = server.address.as_str().into();
                    server.protocol_version = None;
                }
            }
            if matches!(dialect, Dialect::Consul1_17 | Dialect::Consul1_10) {
                expected.index = 0;
            }
            if dialect == Dialect::Consul1_17 {
                for server in &mut expected.servers {
                    server.last_index = Some(0);
                }
            }
            let there = client.clone().in_datacenter(datacenter);
            let read = there.raft_configuration(consistency).await.unwrap();
            assert_eq!(read, expected, "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn peer_is_removed_and_an_unknown_one_reported() {
    for dialect in DIALECTS {
        let federation = federation();
        let client = serve(&federation, "bob", dialect).await;
        let carol = federation.configuration("dc1").servers[2].clone();
        let by_address = PeerSelector::Address(carol.address);
        client.remove_peer(&by_address, None).await.unwrap();
        assert_eq!(federation.configuration("dc1").servers.len(), 2);

        let error = client.remove_peer(&by_address, None).await.unwrap_err();
        assert_eq!(error.kind().name(), "unknown-server", "{error}");
        assert_eq!(error.outcome(), Outcome::NotApplied);

        let by_id = client.remove_peer(&PeerSelector::Id(carol.id), None).await;
        let kind = by_id.unwrap_err().kind().clone();
        match dialect {
            Dialect::Consul0_7 => assert_eq!(kind.name(), "invalid-request"),
            _ => assert_eq!(kind.name(), "unknown-server"),
        }

        let last = federation.configuration("dc2").servers[0].clone();
        let last = PeerSelector::Address(last.address);
        let error = client.in_datacenter("dc2").remove_peer(&last, None).await;
        assert_eq!(error.unwrap_err().kind().name(), "last-voter");
    }
}

#[tokio::test]
async fn removal_on_a_condition_holds_or_is_refused() {
    for dialect in DIALECTS {
        let federation = federation();
        let client = serve(&federation, "alice", dialect).await;
        let carol = federation.configuration("dc1").servers[2].clone();
        let carol = PeerSelector::Address(carol.address);
        let error = client.remove_peer(&carol, Some(21)).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert_eq!(federation.configuration("dc1").servers.len(), 3);
        if matches!(dialect, Dialect::Consul1_17 | Dialect::Consul1_10) {
            // It hides the index.
            assert_eq!(error.kind().name(), "unsupported");
            continue;
        }
        assert_eq!(error.kind().name(), "conflict", "{dialect:?}");
        let read = client
            .raft_configuration(Consistency::Default)
            .await
            .unwrap();
        client.remove_peer(&carol, Some(read.index)).await.unwrap();
        assert_eq!(federation.configuration("dc1").servers.len(), 2);
    }
}

#[tokio::test]
async fn leadership_is_transferred_where_the_server_can() {
    for dialect in DIALECTS {
        let federation = federation();
        let client = serve(&federation, "alice", dialect).await;
        let bob = federation.raft("bob").id().clone();
        let result = client.transfer_leadership(Some(&bob)).await;
        if matches!(dialect, Dialect::Precise | Dialect::Consul1_17) {
            result.unwrap();
            assert_eq!(federation.leader("dc1"), Some("bob".into()));
            client.transfer_leadership(None).await.unwrap();
            assert_ne!(federation.leader("dc1"), Some("bob".into()));
            let zoe = ServerId::new("zoe & co");
            let error = client.transfer_leadership(Some(&zoe)).await.unwrap_err();
            assert_eq!(error.kind().name(), "unknown-server");
            assert!(error.message().contains("zoe & co"));
        } else {
            let error = result.unwrap_err();
            assert_eq!(error.kind().name(), "unsupported");
            assert_eq!(error.status(), Some(404));
            assert_eq!(error.outcome(), Outcome::NotApplied);
        }
    }
}

#[tokio::test]
async fn key_is_rotated() {
    for dialect in DIALECTS {
        let federation = federation();
        let client = serve(&federation, "alice", dialect)
            .await
            .with_relay_factor(RelayFactor::MAX);
        client.install_key(&key(2)).await.unwrap();
        client.use_key(&key(2)).await.unwrap();
        client.remove_key(&key(1)).await.unwrap();

        let rings = client.list_keys().await.unwrap();
        let named: Vec<_> = rings
            .iter()
            .map(|ring| (ring.datacenter.as_str(), ring.pool.clone(), ring.nodes))
            .collect();
        assert_eq!(
            named,
            [
                ("dc1", Pool::Wan, 4),
                ("dc1", Pool::Lan, 3),
                ("dc2", Pool::Lan, 1)
            ]
        );
        for ring in &rings {
            assert_eq!((ring.keys.len(), ring.keys.get(&key(2))), (1, ring.nodes));
            let primaries = match dialect {
                Dialect::Consul0_7 => 0,
                _ => ring.nodes,
            };
            assert_eq!(ring.primary_keys.get(&key(2)), primaries);
            assert_eq!((&ring.error, ring.outcome), (&None, None));
        }
        let local = client.list_local_keys().await.unwrap();
        match dialect {
            Dialect::Consul0_7 => assert_eq!(local, rings),
            _ => assert_eq!(local, rings[1..2]),
        }
    }
}

#[tokio::test]
async fn failed_rings_are_reported_as_far_as_known() {
    for dialect in DIALECTS {
        let federation = federation();
        let client = serve(&federation, "alice", dialect).await;
        let error = client.remove_key(&key(1)).await.unwrap_err();
        assert_eq!(error.kind().name(), "rings-failed", "{error}");
        match dialect {
            Dialect::Precise => {
                assert_eq!(error.status(), Some(409));
                assert_eq!(error.outcome(), Outcome::NotApplied);
                assert_eq!(error.rings().len(), 3);
                let messages = &error.rings()[1].messages;
                assert_eq!(messages["bob"], "Removing the primary key is not allowed");
            }
            _ => {
                assert_eq!(error.status(), Some(500));
                // Consul 0.7 does not give the nodes' reasons.
                let outcome = match dialect {
                    Dialect::Consul0_7 => Outcome::Unknown,
                    _ => Outcome::NotApplied,
                };
                assert_eq!(error.outcome(), outcome);
                assert!(error.rings().is_empty());
            }
        }

        federation.stop("dave");
        let error = client.install_key(&key(2)).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{dialect:?}: {error}");
        let listed = client.list_keys().await;
        if dialect == Dialect::Precise {
            assert!(error.message().contains("dc2 (LAN)"), "{error}");
            let rings = listed.unwrap();
            assert_eq!(rings[1].keys.get(&key(2)), 3);
            assert!(rings[2].error.is_some());
        } else {
            listed.unwrap_err();
        }
    }
}

#[tokio::test]
async fn refusal_is_typed_in_every_dialect() {
    for dialect in DIALECTS {
        let federation = federation();
        let client = serve(&federation, "alice", dialect).await;
        let reader = client.clone().with_token(&Token::new("reader")).unwrap();
        let nobody = client.clone().with_token(&Token::new("nobody")).unwrap();
        let carol = PeerSelector::Address("10.0.0.3:8300".into());

        let denied = [
            reader.remove_peer(&carol, None).await.unwrap_err(),
            reader.list_keys().await.unwrap_err(),
            reader.install_key(&key(2)).await.unwrap_err(),
        ];
        for error in denied {
            assert_eq!(error.kind().name(), "permission-denied", "{error}");
            assert_eq!(error.outcome(), Outcome::NotApplied);
        }
        let error = nobody.use_key(&key(1)).await.unwrap_err();
        assert_eq!(error.kind().name(), "unknown-token");
        assert_eq!(error.outcome(), Outcome::NotApplied);

        let away = client.clone().in_datacenter("dc9");
        let error = away.raft_configuration(Consistency::Default).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind().name(), "no-path-to-datacenter");

        federation.stop("bob");
        federation.stop("carol");
        let error = client.remove_peer(&carol, None).await.unwrap_err();
        assert_eq!(error.kind().name(), "no-leader", "{dialect:?}");
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert!(
            error.to_string().contains("majority of the voters"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn write_is_sent_once_and_has_an_outcome() {
    let lossy = Scripted::always(|| Turn::Close).await;
    let client = OperatorClient::new(lossy.uri.parse().unwrap());
    let error = client.install_key(&key(2)).await.unwrap_err();
    assert_eq!(error.kind().name(), "unreachable");
    assert_eq!((error.outcome(), error.status()), (Outcome::Unknown, None));
    assert!(error.to_string().contains("look before you repeat it"));
    let peer = PeerSelector::Id("x".into());
    // It has no body, but it was sent.
    let error = client.remove_peer(&peer, None).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    let error = client.list_keys().await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(lossy.requests(), 3);

    let client = OperatorClient::new(nobody().await.parse().unwrap());
    let error = client.remove_peer(&peer, None).await.unwrap_err();
    assert_eq!(error.kind().name(), "unreachable");
    assert_eq!(error.outcome(), Outcome::NotApplied);

    let silent = Scripted::always(|| Turn::Silence).await;
    let client =
        OperatorClient::new(silent.uri.parse().unwrap()).with_deadline(Duration::from_millis(500));
    let error = client.remove_peer(&peer, None).await.unwrap_err();
    assert_eq!(error.kind().name(), "deadline-exceeded");
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(silent.requests(), 1);
}

#[tokio::test]
async fn malformed_success_is_an_error() {
    let page = || Turn::Answer(http(200, "text/html", "<h1>It works!</h1>"));
    let server = Scripted::always(page).await;
    let client = OperatorClient::new(server.uri.parse().unwrap());
    let errors = [
        client
            .raft_configuration(Consistency::Default)
            .await
            .unwrap_err(),
        client.list_keys().await.unwrap_err(),
        client.use_key(&key(1)).await.unwrap_err(),
        client.transfer_leadership(None).await.unwrap_err(),
    ];
    let outcomes = errors.each_ref().map(|error| error.outcome());
    let (read, wrote) = (Outcome::NotApplied, Outcome::Unknown);
    assert_eq!(outcomes, [read, read, wrote, wrote]);
    for error in errors {
        assert_eq!(error.kind().name(), "invalid-reply");
        assert_eq!(error.status(), Some(200));
    }
}

#[tokio::test]
async fn leadership_that_was_not_transferred_is_an_error() {
    let refused = http(200, "application/json", r#"{"Success":false}"#);
    let server = Scripted::always(move || Turn::Answer(refused.clone())).await;
    let client = OperatorClient::new(server.uri.parse().unwrap());
    let error = client.transfer_leadership(None).await.unwrap_err();
    assert_eq!(error.kind().name(), "backend");
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(error.status(), Some(200));
}

/// The kind and the message of an error.
fn kind_and_message(result: Result<(), ClientError>) -> (ErrorKind, String) {
    let error = result.unwrap_err();
    (error.kind().clone(), error.message().to_owned())
}

#[tokio::test]
async fn precise_errors_arrive_with_all_their_data() {
    let federation = federation();
    let client = serve(&federation, "alice", Dialect::Precise).await;
    let removed = async |client: &OperatorClient, name: &str| {
        let id = federation.raft(name).id().clone();
        client.remove_peer(&PeerSelector::Id(id), None).await
    };

    let reader = client.clone().with_token(&Token::new("reader")).unwrap();
    let (kind, _) = kind_and_message(removed(&reader, "bob").await);
    assert!(matches!(
        kind,
        ErrorKind::PermissionDenied {
            resource: Resource::Operator,
            access: Access::Write,
            identity: Identity::Accessor(_),
        }
    ));

    federation.stop("bob");
    let error = removed(&client, "carol").await.unwrap_err();
    let ErrorKind::QuorumLoss { voters, alive, .. } = *error.kind() else {
        panic!("{error}");
    };
    assert_eq!((voters, alive), (2, 1));
    assert_eq!(error.plan().unwrap().after().alive, 1);
    assert_eq!(error.advice(), None);
    assert_eq!(error.outcome(), Outcome::NotApplied);

    let zoe = PeerSelector::Address("10.0.0.9:8300".into());
    let (kind, message) = kind_and_message(client.remove_peer(&zoe, None).await);
    assert_eq!(kind, ErrorKind::UnknownServer(zoe));
    assert!(message.contains("10.0.0.9:8300"));

    let away = client.clone().in_datacenter("dc9");
    let (kind, _) = kind_and_message(removed(&away, "carol").await);
    let datacenter = "dc9".into();
    assert_eq!(kind, ErrorKind::NoPathToDatacenter { datacenter });

    let error = client.remove_key(&key(1)).await.unwrap_err();
    let ErrorKind::RingsFailed { failed, rings } = error.kind() else {
        panic!("{error}");
    };
    assert_eq!((failed.len(), *rings), (3, 3));
    assert_eq!(failed[0], ("dc1".into(), Pool::Wan));
}

#[tokio::test]
async fn removal_is_planned_and_made_as_planned() {
    let federation = federation();
    let client = serve(&federation, "bob", Dialect::Precise).await;
    let id = |name: &str| federation.raft(name).id().clone();
    let plan = |name| {
        let (client, server) = (client.clone(), PeerSelector::Id(id(name)));
        async move { client.plan_removal(&server).await }
    };
    let (bob, carol) = (plan("bob").await.unwrap(), plan("carol").await.unwrap());
    assert_eq!(carol.version().index, 22);
    assert_eq!(carol.verdict(), RemovalVerdict::ReducesTolerance);
    let direct = federation.service("alice");
    let selector = PeerSelector::Id(id("carol"));
    let caller = Caller::with_token(Token::new("root"));
    assert_eq!(
        direct.plan_removal(&caller, selector).await,
        Ok(carol.clone())
    );

    client.remove_planned(&carol).await.unwrap();
    let error = client.remove_planned(&bob).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Conflict { expected, .. } if *expected == bob.version())
    );
    assert_eq!(error.outcome(), Outcome::NotApplied);
    client.force_removal(&id("bob")).await.unwrap();
    assert_eq!(federation.configuration("dc1").servers.len(), 1);
}

#[tokio::test]
async fn voter_is_replaced_over_http() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .nonvoters(["carol"])
        .build();
    let client = serve(&federation, "alice", Dialect::Precise).await;
    let id = |name: &str| federation.raft(name).id().clone();
    let error = client.replace_peer(&id("carol"), &id("bob")).await;
    let error = error.unwrap_err();
    assert_eq!(
        *error.kind(),
        ErrorKind::NothingToReplace { id: id("carol") }
    );
    assert_eq!(error.outcome(), Outcome::NotApplied);
    client.replace_peer(&id("bob"), &id("carol")).await.unwrap();
    let servers = federation.configuration("dc1").servers;
    assert_eq!(servers.len(), 2);
    assert!(servers.iter().all(|server| server.is_voter()));
}

#[tokio::test]
async fn plans_are_unsupported_in_a_consul_dialect() {
    let federation = federation();
    let id = federation.raft("bob").id().clone();
    let precise = serve(&federation, "alice", Dialect::Precise).await;
    let plan = precise.plan_removal(&PeerSelector::Id(id.clone())).await;
    let plan = plan.unwrap();
    for dialect in [Dialect::Consul1_17, Dialect::Consul1_10, Dialect::Consul0_7] {
        let client = serve(&federation, "alice", dialect).await;
        let planned = client
            .plan_removal(&PeerSelector::Id(id.clone()))
            .await
            .map(drop);
        for result in [
            planned,
            client.remove_planned(&plan).await,
            client.force_removal(&id).await,
            client.replace_peer(&id, &id).await,
        ] {
            let error = result.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Unsupported { .. }),
                "{error}"
            );
            assert_eq!(error.outcome(), Outcome::NotApplied);
        }
    }
    assert_eq!(federation.configuration("dc1").servers.len(), 3);
}

#[tokio::test]
async fn silent_nodes_of_a_ring_are_named() {
    let federation = federation();
    let client = serve(&federation, "alice", Dialect::Precise).await;
    federation
        .keyring("alice", &Pool::Lan)
        .set_notices_failures(false);
    federation.stop("bob");
    let error = client.install_key(&key(2)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(error.rings()[1].silent, ["bob"]);
    assert_eq!(error.rings()[2].silent, [""; 0]);
    let rings = client.list_keys().await.unwrap();
    assert_eq!(rings[1].silent, ["bob"]);
}

#[tokio::test]
async fn autopilot_is_configured_in_every_dialect_that_has_it() {
    for dialect in [Dialect::Precise, Dialect::Consul1_17, Dialect::Consul1_10] {
        let federation = federation();
        let client = serve(&federation, "bob", dialect).await;
        let mut configuration = client.autopilot_configuration().await.unwrap();
        let index = configuration.modify_index;
        configuration.max_trailing_logs = 7;
        configuration.last_contact_threshold = Duration::from_millis(1500);
        let set = client.set_autopilot_configuration(&configuration, Some(index));
        assert!(set.await.unwrap(), "{dialect:?}");
        let again = client.set_autopilot_configuration(&configuration, Some(index + 99));
        assert!(!again.await.unwrap(), "{dialect:?}");
        let mut read = client.autopilot_configuration().await.unwrap();
        read.create_index = configuration.create_index;
        read.modify_index = index;
        assert_eq!(read, configuration, "{dialect:?}");
    }
}

#[tokio::test]
async fn health_is_read_also_if_a_server_is_not_healthy() {
    for dialect in [Dialect::Precise, Dialect::Consul1_17, Dialect::Consul1_10] {
        let federation = federation();
        let client = serve(&federation, "bob", dialect).await;
        let health = client.autopilot_health().await.unwrap();
        assert!(
            health.healthy && health.failure_tolerance == 1,
            "{dialect:?}"
        );
        assert_eq!(health.servers.len(), 3);
        assert_eq!(health.leader, Some(health.voters[0].clone()));

        federation.stop("carol");
        let health = client.autopilot_health().await.unwrap();
        assert!(
            !health.healthy && health.failure_tolerance == 0,
            "{dialect:?}"
        );
        let carol = health.servers.iter().find(|server| server.name == "carol");
        assert_eq!(
            carol.map(|server| server.healthy),
            Some(false),
            "{dialect:?}"
        );
    }
}

#[tokio::test]
async fn stale_read_has_the_servers_own_last_entry() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob"])
        .raft_servers(|server| server.last_index = Some(0))
        .build();
    for (dialect, is_known) in [(Dialect::Precise, true), (Dialect::Consul1_10, false)] {
        let bob = serve(&federation, "bob", dialect).await;
        let stale = bob.raft_configuration(Consistency::Stale).await.unwrap();
        let index = federation.configuration("dc1").servers[1].last_index;
        let last = stale.last_log.map(|last| (last.term, Some(last.index)));
        assert_eq!(last, is_known.then_some((1, index)));
        let fresh = bob.raft_configuration(Consistency::Default).await.unwrap();
        assert_eq!(fresh.last_log, None);
    }
}

#[tokio::test]
async fn transfer_elsewhere_is_sent_to_a_precise_server_only() {
    for dialect in [Dialect::Precise, Dialect::Consul1_17] {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob"])
            .datacenter("dc2", ["dave", "erin"])
            .authorizer(
                MockAcl::new(DefaultPolicy::Allow).with_token(MockToken::management("root")),
            )
            .build();
        let leaders = || ["dc1", "dc2"].map(|name| federation.leader(name).unwrap().to_string());
        // A follower, which forwards it.
        let client = serve(&federation, "bob", dialect).await;
        let there = client.clone().in_datacenter("dc2");
        let result = there.transfer_leadership(None).await;
        if dialect == Dialect::Precise {
            result.unwrap();
            assert_eq!(leaders(), ["alice", "erin"]);
            let nowhere = client.in_datacenter("dc9").transfer_leadership(None).await;
            assert_eq!(nowhere.unwrap_err().kind().name(), "no-path-to-datacenter");
            continue;
        }
        let error = result.unwrap_err();
        assert_eq!(error.kind().name(), "invalid-request", "{error}");
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert_eq!(leaders(), ["alice", "dave"]);
        let here = client.in_datacenter("dc1");
        here.transfer_leadership(None).await.unwrap();
        assert_eq!(leaders(), ["bob", "dave"]);
    }
}
