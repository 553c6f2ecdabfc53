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

#[test]
fn a_service_and_its_builder_show_their_datacenter_alone() {
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
