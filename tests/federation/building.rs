use super::*;

fn lan() -> MockKeyring {
    MockKeyring::new(Pool::Lan, first_key(), ["alice"])
}

#[test]
fn service_without_an_authorizer_is_not_built() {
    let built = OperatorService::builder("dc1").keyring(lan()).build();
    assert_eq!(built.unwrap_err(), BuildError::NoAuthorizer);
}

#[test]
fn service_without_a_backend_is_not_built() {
    let built = OperatorService::builder("dc1").authorizer(AllowAll).build();
    assert_eq!(built.unwrap_err(), BuildError::NoBackend);
}

#[test]
fn service_with_two_rings_of_one_pool_is_not_built() {
    let built = OperatorService::builder("dc1")
        .authorizer(AllowAll)
        .keyring(lan())
        .keyring(lan())
        .build();
    assert_eq!(built.unwrap_err(), BuildError::DuplicatePool(Pool::Lan));
}

#[tokio::test]
async fn service_without_gossip_or_raft_reports_unsupported() {
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

#[test]
fn debug_of_a_service_shows_only_its_datacenter() {
    let builder = OperatorService::builder("dc1")
        .authorizer(MockAcl::new(DefaultPolicy::Deny).with_token(MockToken::management("root")))
        .keyring(lan());
    assert_eq!(
        format!("{builder:?}"),
        r#"OperatorServiceBuilder { datacenter: "dc1", .. }"#
    );
    assert_eq!(
        format!("{:?}", builder.build().unwrap()),
        r#"OperatorService { datacenter: "dc1", .. }"#
    );
}

#[test]
fn servers_are_numbered_in_the_order_they_were_added() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob"])
        .datacenter("dc2", ["carol"])
        .configuration_order(["bob"])
        .build();
    let configured = |datacenter| {
        let servers = federation.configuration(datacenter).servers;
        let servers = servers.into_iter();
        servers
            .map(|server| (server.name.unwrap().to_string(), server.address.to_string()))
            .collect::<Vec<_>>()
    };
    let server = |name: &str, address: &str| (name.to_string(), address.to_string());
    let dc1 = [
        server("bob", "127.0.0.2:8300"),
        server("alice", "127.0.0.1:8300"),
    ];
    assert_eq!(configured("dc1"), dc1);
    assert_eq!(configured("dc2"), [server("carol", "127.0.0.3:8300")]);
    assert_eq!(federation.servers("dc1"), ["alice", "bob"]);
    assert_eq!(federation.leader("dc1"), Some("bob".into()));
    let carol = federation.raft("carol");
    assert_eq!(carol.id(), &"00000003-0000-4000-8000-000000000003");
    let first = federation.configuration("dc2");
    assert_eq!(first.index, 1);
    assert_eq!(first.servers[0].protocol_version, Some("3".into()));
}

/// The panic of a builder.
fn refusal(builder: MockFederationBuilder) -> String {
    let build = std::panic::AssertUnwindSafe(|| builder.build());
    let panic = std::panic::catch_unwind(build).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn inconsistent_federation_is_not_built() {
    let dc1 = || MockFederation::builder().datacenter("dc1", ["alice", "bob"]);
    let twins = |server: &mut cluster_operator::raft::RaftServer| server.id = "twin".into();
    for (builder, words) in [
        (
            dc1().datacenter("dc2", ["alice"]),
            "two servers are called \"alice\"",
        ),
        (
            dc1().raft_servers(twins),
            "\"bob\" has the id of another server of its datacenter",
        ),
        (
            dc1().datacenter("dc1", ["carol"]),
            "two datacenters are called \"dc1\"",
        ),
        (
            dc1().wan_pools([["alice", "zoe"]]),
            "the federation has no server \"zoe\"",
        ),
        (
            dc1().wan_pools([["alice"], ["alice"]]),
            "\"alice\" is in two WAN pools",
        ),
        (
            dc1().segment("dc3", "alpha", ["alice"]),
            "the federation has no datacenter \"dc3\"",
        ),
        (
            dc1()
                .datacenter("dc2", ["carol"])
                .segment("dc2", "alpha", ["alice"]),
            "\"alice\" cannot be in \"alpha\" of \"dc2\"",
        ),
        (
            dc1()
                .datacenter("dc2", ["carol"])
                .nonvoters(["carol"])
                .leader("carol"),
            "\"carol\" does not vote and cannot lead",
        ),
    ] {
        assert_eq!(refusal(builder), words);
    }
}
