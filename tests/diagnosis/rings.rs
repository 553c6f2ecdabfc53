//! The findings about the gossip rings, and about servers in only one of Raft and gossip.

use cluster_operator::keyring::{GossipQuery, KeyChange, NodeFailure, NodeKeys};
use cluster_operator::{KeyringBackend, NodeName};

use super::*;

#[tokio::test]
async fn living_server_that_was_removed_is_in_gossip_only() {
    let federation = federation();
    let carol = PeerSelector::Id(federation.raft("carol").id().clone());
    let alice = federation.service("alice");
    alice
        .remove_peer(&Caller::anonymous(), carol, None)
        .await
        .unwrap();
    let diagnosis = diagnose(&federation, "alice").await;
    let found = one(&diagnosis, FindingKind::GossipNotInRaft);
    assert_eq!(found.message, "server carol is in gossip and not in Raft");
    assert_eq!(found.subject.as_deref(), Some("carol"));
}

#[tokio::test]
async fn server_in_raft_and_not_in_gossip_is_named() {
    let mut views = ABC.map(view);
    let of = |name: Option<&str>| match name {
        Some(name) => ServerStatus::unknown().with_name(name),
        None => ServerStatus::unknown(),
    };
    views[0].status = vec![of(Some("a")), of(None), of(Some("zoe"))];
    let diagnosis = diagnose_views(views.clone()).await;
    let missing = diagnosis
        .findings
        .iter()
        .filter(|it| it.kind == FindingKind::RaftNotInGossip);
    let missing: Vec<_> = missing.map(|it| it.message.as_str()).collect();
    let expected = [
        "server b is in Raft and not in gossip",
        "server zoe is in Raft and not in gossip",
    ];
    assert_eq!(missing, expected);
    // A backend that knows no names says nothing about gossip.
    views[0].status = Vec::new();
    assert_eq!(diagnose_views(views).await.findings, []);
}

#[tokio::test]
async fn nodes_that_are_silent_or_given_up_are_named() {
    let federation = federation();
    federation.inject(Fault::node("bob", Pool::Lan, NodeFault::Silent));
    let diagnosis = diagnose(&federation, "alice").await;
    let silent = one(&diagnosis, FindingKind::NodeSilent);
    assert_eq!(
        silent.message,
        "1 of 3 nodes of the ring dc1 (LAN) did not answer: bob"
    );
    assert_eq!(silent.subject.as_deref(), Some("bob"));
    assert_eq!(diagnosis.rings[1].silent, ["bob"]);
    federation.heal_all();

    federation.stop("carol");
    let diagnosis = diagnose(&federation, "alice").await;
    let failed: Vec<_> = diagnosis
        .findings
        .iter()
        .filter(|it| it.kind == FindingKind::NodeFailed)
        .collect();
    let subjects: Vec<_> = failed
        .iter()
        .map(|it| it.subject.as_deref().unwrap())
        .collect();
    assert_eq!(subjects, ["carol.dc1", "carol"]);
    assert_eq!(diagnosis.rings[1].failed, ["carol"]);
    // It is a member of the gossip, if a failed one.
    assert!(!kinds(&diagnosis).contains(&FindingKind::RaftNotInGossip));
}

#[tokio::test]
async fn key_that_is_not_on_all_nodes_is_found() {
    let federation = federation();
    let ring = federation.keyring("bob", &Pool::Lan);
    let mut keys = ring.ring("bob").unwrap();
    keys.install(key(2));
    ring.set_ring("bob", Some(keys.clone()));
    let diagnosis = diagnose(&federation, "alice").await;
    let found = one(&diagnosis, FindingKind::KeyNotEverywhere);
    let fingerprint = key(2).fingerprint();
    assert_eq!(
        found.message,
        format!("key {fingerprint} is on 1 of 3 nodes of the ring dc1 (LAN)")
    );
    assert_eq!(found.subject, Some(fingerprint));

    // The others do not understand bob any more, so that he is silent to alice.
    keys.use_key(&key(2)).unwrap();
    ring.set_ring("bob", Some(keys));
    for node in ["alice", "carol"] {
        let mut keys = ring.ring(node).unwrap();
        keys.install(key(2));
        ring.set_ring(node, Some(keys));
    }
    let diagnosis = diagnose(&federation, "alice").await;
    let found = one(&diagnosis, FindingKind::PrimaryDiffers);
    assert_eq!(found.severity, Severity::Warning);
    let (one, two) = (key(1).fingerprint(), key(2).fingerprint());
    let (one, two) = (format!("{one} on 2"), format!("{two} on 1"));
    assert!(
        found.message.contains(&one) && found.message.contains(&two),
        "{found:?}"
    );
}

#[tokio::test]
async fn node_that_uses_a_key_others_lack_is_critical() {
    let federation = federation();
    federation.inject(Fault::node("bob", Pool::Lan, NodeFault::ListsOther(key(9))));
    let diagnosis = diagnose(&federation, "alice").await;
    let found = one(&diagnosis, FindingKind::PrimaryDiffers);
    assert_eq!(found.severity, Severity::Critical);
}

#[tokio::test]
async fn truncated_ring_is_found_and_its_counts_are_not_judged() {
    let federation = federation();
    let alice = federation.service("alice");
    let installed = alice.install_key(&Caller::anonymous(), key(2)).await;
    assert!(installed.is_ok());
    federation.inject(Fault::node("bob", Pool::Lan, NodeFault::ListsFirst(1)));
    let diagnosis = diagnose(&federation, "alice").await;
    assert_eq!(kinds(&diagnosis), [FindingKind::RingTruncated]);
}

#[tokio::test]
async fn gossip_in_clear_text_is_found() {
    let federation = builder().unencrypted().build();
    let diagnosis = diagnose(&federation, "alice").await;
    let off = diagnosis.findings.iter();
    let off = off.filter(|it| it.kind == FindingKind::EncryptionOff);
    assert_eq!(off.count(), 3, "{:?}", diagnosis.findings);
}

/// A ring of `a` and `b` that fails after so many of them have answered.
struct Broken {
    ring: MockKeyring,
    answered: usize,
}

#[async_trait]
impl KeyringBackend for Broken {
    fn pool(&self) -> &Pool {
        self.ring.pool()
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        let nodes = ["a", "b"].map(NodeName::from);
        query.answers.asking(nodes.clone());
        for node in &nodes[..self.answered] {
            query.answers.answered(node, Ok(NodeKeys::ring([key(1)])));
        }
        Err(OperatorError::backend("disk full"))
    }

    async fn change(&self, change: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        self.ring.change(change, query).await
    }
}

#[tokio::test]
async fn ring_with_answers_is_not_said_to_be_unasked() {
    for (answered, severity, kind, message) in [
        (
            1,
            Severity::Warning,
            FindingKind::NodeSilent,
            "1 of 2 nodes of the ring dc1 (LAN) did not answer: b",
        ),
        (
            2,
            Severity::Warning,
            FindingKind::RingUnreachable,
            "the ring dc1 (LAN) failed after all nodes had answered: disk full",
        ),
    ] {
        let ring = MockKeyring::new(Pool::Lan, key(1), ["a", "b"]);
        let service = OperatorService::builder("dc1")
            .keyring(Broken { ring, answered })
            .authorizer(AllowAll)
            .build()
            .unwrap();
        let diagnosis = service.diagnose(&Caller::anonymous()).await.unwrap();
        let [found] = &diagnosis.findings[..] else {
            panic!("{diagnosis:#?}");
        };
        assert_eq!((found.severity, found.kind), (severity, kind));
        assert_eq!(found.message, message);
        let error = diagnosis.rings[0].error.as_deref();
        assert_eq!(error, Some("disk full"));
    }
}

#[tokio::test]
async fn node_that_answers_with_an_error_is_found() {
    struct Refusing(MockKeyring);

    #[async_trait]
    impl KeyringBackend for Refusing {
        fn pool(&self) -> &Pool {
            self.0.pool()
        }

        async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
            query.answers.asking(["a".into()]);
            let failure = NodeFailure::Other("disk full".into());
            query.answers.answered(&"a".into(), Err(failure));
            Ok(())
        }

        async fn change(
            &self,
            change: &KeyChange,
            query: &GossipQuery,
        ) -> Result<(), OperatorError> {
            self.0.change(change, query).await
        }
    }

    let service = OperatorService::builder("dc1")
        .keyring(Refusing(MockKeyring::new(Pool::Lan, key(1), ["a"])))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let diagnosis = service.diagnose(&Caller::anonymous()).await;
    // Without a Raft there is nobody to ask for a view.
    let diagnosis = diagnosis.unwrap();
    assert_eq!(diagnosis.datacenters, []);
    let found = one(&diagnosis, FindingKind::NodeError);
    assert!(found.message.ends_with("a: disk full"), "{found:?}");
}
