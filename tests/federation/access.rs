use super::*;

/// Each datacenter has tokens of its own, and `both`.
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
async fn server_that_executes_a_request_authorizes_it() {
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
}

#[tokio::test]
async fn rules_of_the_anonymous_token_apply_to_a_federation() {
    let acl = MockAcl::new(DefaultPolicy::Deny).with_anonymous(Resource::Operator, Grant::Read);
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .authorizer_in("dc1", acl)
        .build();
    let alice = federation.service("alice");
    let read = configuration(&alice, anyone(), Consistency::Default);
    assert_eq!(read.await.unwrap(), federation.configuration("dc1"));
    let keys = alice.list_keys(&anyone(), KeyringScope::Federation).await;
    let error = keys.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::PermissionDenied { .. }));
}

#[tokio::test]
async fn denied_caller_learns_nothing_about_the_servers() {
    let federation = guarded();
    let bob = federation.service("bob");
    for id in [id_of(&federation, "bob"), PeerSelector::Id("nobody".into())] {
        let error = bob.remove_peer(&anyone(), id, None).await.unwrap_err();
        assert!(matches!(
            error.kind(),
            ErrorKind::PermissionDenied {
                resource: Resource::Operator,
                identity: Identity::Anonymous,
                ..
            }
        ));
    }
}

#[tokio::test]
async fn denial_in_one_datacenter_does_not_hide_the_others() {
    let federation = guarded();
    let alice = federation.service("alice");
    let error = alice.install_key(&holder("both"), new_key()).await;
    let reply = error.unwrap_err().into_reply().unwrap();
    assert!(ring(&reply, "dc1", Pool::Wan).is_confirmed());
    assert!(ring(&reply, "dc1", Pool::Lan).is_confirmed());
    let denied = ring(&reply, "dc2", Pool::Lan).error.clone().unwrap();
    assert!(matches!(denied.kind(), ErrorKind::PermissionDenied { .. }));
    assert_eq!(denied.outcome(), Outcome::NotApplied);
    assert_eq!(federation.keys("bob", &Pool::Lan), [first_key(), new_key()]);
    assert_eq!(federation.keys("dave", &Pool::Lan), [first_key()]);
}

#[tokio::test]
async fn caller_denied_locally_reaches_no_ring() {
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
async fn unavailable_authorizer_allows_nobody() {
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
