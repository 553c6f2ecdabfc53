//! The diagnosis of a federation: each finding, and the form in which it is served.
#![cfg(all(feature = "mock", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::consul::{Dialect, Request, Response, Wire};
use cluster_operator::diagnosis::{Diagnosis, Finding, FindingKind, Health, Severity};
use cluster_operator::mock::{
    Calls, Fault, Grant, MockAcl, MockFederation, MockFederationBuilder, MockKeyring, MockPeers,
    MockToken, NodeFault,
};
use cluster_operator::peers::Target;
use cluster_operator::raft::{
    ConfigVersion, LeaderHint, Leadership, LogPosition, Membership, PeerSelector, PendingChange,
    RaftMember, RaftView, Removal, ServerStatus,
};
use cluster_operator::service::Caller;
use cluster_operator::{
    AllowAll, ErrorKind, GossipKey, OperatorError, OperatorService, Pool, RaftBackend, Token,
};
use serde_json::{Value, json};

fn key(byte: u8) -> GossipKey {
    GossipKey::from_bytes(&[byte; 32]).unwrap()
}

/// Alice, who leads, bob and carol in dc1, dave, erin and frank in dc2.
fn federation() -> MockFederation {
    builder().build()
}

fn builder() -> MockFederationBuilder {
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .datacenter("dc2", ["dave", "erin", "frank"])
        .gossip_key(key(1))
        .raft_servers(|server| server.last_index = Some(0))
}

async fn diagnose(federation: &MockFederation, server: &str) -> Diagnosis {
    let service = federation.service(server);
    service.diagnose(&Caller::anonymous()).await.unwrap()
}

/// The only finding of a kind.
#[track_caller]
fn one(diagnosis: &Diagnosis, kind: FindingKind) -> &Finding {
    let mut found = diagnosis.findings.iter().filter(|it| it.kind == kind);
    match (found.next(), found.next()) {
        (Some(finding), None) => finding,
        _ => panic!("{kind:?} is not there once: {:#?}", diagnosis.findings),
    }
}

fn kinds(diagnosis: &Diagnosis) -> Vec<FindingKind> {
    diagnosis.findings.iter().map(|it| it.kind).collect()
}

fn id(federation: &MockFederation, server: &str) -> String {
    federation.raft(server).id().to_string()
}

#[tokio::test]
async fn healthy_federation_has_no_findings() {
    let federation = federation();
    for server in ["alice", "bob", "dave"] {
        let diagnosis = diagnose(&federation, server).await;
        assert_eq!(diagnosis.findings, [], "at {server}");
        assert!(diagnosis.is_healthy());
        for datacenter in &diagnosis.datacenters {
            assert_eq!((datacenter.voters, datacenter.quorum), (3, 2));
            assert_eq!(datacenter.failure_tolerance, 1);
            for server in &datacenter.servers {
                assert!(server.answered);
                assert_eq!((server.health, server.lag), (Health::Healthy, Some(0)));
            }
        }
        assert_eq!(diagnosis.rings.len(), 3);
    }
    // The asked server's datacenter comes first.
    let diagnosis = diagnose(&federation, "dave").await;
    let names: Vec<_> = diagnosis
        .datacenters
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(names, ["dc2", "dc1"]);
}

#[tokio::test]
async fn lost_quorum_names_dead_voters_and_longest_log() {
    let federation = federation();
    // The others get an entry that bob has not.
    federation.stop("bob");
    federation.elect("carol");
    federation.elect("alice");
    federation.stop("carol");
    let diagnosis = diagnose(&federation, "alice").await;
    let leader = one(&diagnosis, FindingKind::NoLeader);
    assert_eq!(leader.severity, Severity::Critical);
    assert_eq!(leader.datacenter, Some("dc1".into()));
    assert_eq!(
        leader.message,
        "no server of datacenter dc1 leads: 1 of 3 voters are up and 2 are needed; bob, carol failed"
    );
    assert!(leader.next_step.contains("the longest log"));
    let log = one(&diagnosis, FindingKind::LongestLog);
    assert!(log.message.contains("of term 3: alice"), "{}", log.message);
    let dead: Vec<_> = diagnosis
        .findings
        .iter()
        .filter(|it| it.kind == FindingKind::DeadVoter)
        .collect();
    let subjects: Vec<_> = dead.iter().map(|it| it.subject.clone().unwrap()).collect();
    assert_eq!(subjects, [id(&federation, "bob"), id(&federation, "carol")]);
    assert!(
        dead[0]
            .next_step
            .contains("cannot be removed while no server leads")
    );
    assert_eq!(dead[0].severity, Severity::Critical);
    assert_eq!(diagnosis.datacenters[0].failure_tolerance, 0);
    assert_eq!(diagnosis.datacenters[0].leader, None);
    // The worst come first, and the other datacenter is whole.
    assert!(diagnosis.findings.is_sorted_by_key(|it| it.severity));
    assert_eq!(diagnosis.datacenters[1].failure_tolerance, 1);
}

#[tokio::test]
async fn dead_voter_comes_with_what_its_removal_would_do() {
    let federation = federation();
    federation.stop("carol");
    let diagnosis = diagnose(&federation, "bob").await;
    let dead = one(&diagnosis, FindingKind::DeadVoter);
    assert_eq!(dead.message, "voter carol at 127.0.0.3:8300 has failed");
    assert_eq!(
        dead.next_step,
        "start it, or remove it: that would leave 2 voters, 2 of them up, of which 0 may fail"
    );
    let tolerance = one(&diagnosis, FindingKind::NoFailureTolerance);
    assert_eq!(tolerance.severity, Severity::Warning);
    let carol = &diagnosis.datacenters[0].servers[2];
    assert_eq!((carol.health, carol.answered), (Health::Failed, false));

    let federation = builder().nonvoters(["carol"]).build();
    federation.stop("carol");
    let diagnosis = diagnose(&federation, "bob").await;
    let dead = one(&diagnosis, FindingKind::DeadServer);
    assert_eq!(dead.severity, Severity::Warning);
    assert!(dead.next_step.contains("it has no vote"));
}

#[tokio::test]
async fn single_voter_is_only_informed_about() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .build();
    let diagnosis = diagnose(&federation, "alice").await;
    let tolerance = one(&diagnosis, FindingKind::NoFailureTolerance);
    assert_eq!(tolerance.severity, Severity::Info);
    assert!(diagnosis.is_healthy());
}

#[tokio::test]
async fn two_leaders_of_one_term_are_critical() {
    let federation = federation();
    federation.inject(Fault::stale_hint("bob", "bob"));
    let diagnosis = diagnose(&federation, "alice").await;
    let two = one(&diagnosis, FindingKind::TwoLeaders);
    assert_eq!(two.severity, Severity::Critical);
    assert_eq!(two.message, "alice and bob are both taken for the leader");
}

#[tokio::test]
async fn server_that_follows_another_leader_is_named() {
    let federation = federation();
    federation.inject(Fault::stale_hint("bob", "carol"));
    let diagnosis = diagnose(&federation, "alice").await;
    let disputed = one(&diagnosis, FindingKind::LeaderDisputed);
    assert_eq!(disputed.message, "bob follows carol, while alice leads");
    assert_eq!(disputed.subject, Some(id(&federation, "bob")));
}

#[tokio::test]
async fn server_out_of_reach_is_not_taken_for_dead() {
    let federation = federation();
    federation.inject(Fault::refuse(Calls::all().from("alice").to("bob")));
    let diagnosis = diagnose(&federation, "alice").await;
    assert_eq!(kinds(&diagnosis), [FindingKind::ServerUnreachable]);
    let bob = &diagnosis.datacenters[0].servers[1];
    assert_eq!((bob.health, bob.answered), (Health::Healthy, false));
    // Nor is a leader that the others follow.
    let diagnosis = diagnose(&federation, "carol").await;
    assert_eq!(kinds(&diagnosis), []);
    federation.inject(Fault::refuse(Calls::all().from("carol").to("alice")));
    let diagnosis = diagnose(&federation, "carol").await;
    assert_eq!(kinds(&diagnosis), [FindingKind::ServerUnreachable]);
    assert_eq!(
        diagnosis.datacenters[0].leader.as_ref().unwrap().as_str(),
        id(&federation, "alice")
    );
    assert_eq!(diagnosis.datacenters[0].servers[0].health, Health::Unknown);
}

#[tokio::test]
async fn unfinished_change_is_found() {
    let federation = federation();
    federation.inject(Fault::unfinished_removal("carol", PendingChange::Joint));
    let diagnosis = diagnose(&federation, "alice").await;
    one(&diagnosis, FindingKind::ChangeUnfinished);
}

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
async fn dead_datacenter_is_a_finding_and_the_rest_stays() {
    let federation = federation();
    federation.stop_datacenter("dc2");
    let diagnosis = diagnose(&federation, "alice").await;
    let found = one(&diagnosis, FindingKind::DatacenterUnreachable);
    assert_eq!(found.severity, Severity::Critical);
    assert_eq!(found.datacenter, Some("dc2".into()));
    let [dc1, dc2] = &diagnosis.datacenters[..] else {
        panic!("{:?}", diagnosis.datacenters);
    };
    assert_eq!((dc1.servers.len(), dc1.failure_tolerance), (3, 1));
    assert!(dc2.error.is_some() && dc2.servers.is_empty());
    let ring = one(&diagnosis, FindingKind::RingUnreachable);
    assert_eq!(ring.datacenter, Some("dc2".into()));
    assert_eq!(diagnosis.rings[1].keys[0].nodes, 3);
}

#[tokio::test(start_paused = true)]
async fn datacenter_that_never_answers_does_not_hold_up_the_rest() {
    let federation = federation();
    federation.inject(Fault::lose_request(Calls::all().from("alice")));
    let began = tokio::time::Instant::now();
    let diagnosis = diagnose(&federation, "alice").await;
    // Less than the deadline of the call.
    assert!(began.elapsed() < Duration::from_secs(10));
    one(&diagnosis, FindingKind::DatacenterUnreachable);
    let unreachable = diagnosis.findings.iter();
    let unreachable = unreachable.filter(|it| it.kind == FindingKind::ServerUnreachable);
    assert_eq!(unreachable.count(), 2);
    assert!(diagnosis.datacenters[0].servers[0].answered);
}

#[tokio::test]
async fn caller_needs_both_permissions() {
    let acl = || {
        MockAcl::new(DefaultPolicy::Deny)
            .with_token(MockToken::new("operator").with(Resource::Operator, Grant::Read))
            .with_token(MockToken::new("keyring").with(Resource::Keyring, Grant::Read))
            .with_token(
                MockToken::new("both")
                    .with(Resource::Operator, Grant::Read)
                    .with(Resource::Keyring, Grant::Read),
            )
    };
    let federation = builder().authorizer(acl()).build();
    let alice = federation.service("alice");
    for (token, denied) in [
        ("operator", Some(Resource::Keyring)),
        ("keyring", Some(Resource::Operator)),
        ("both", None),
    ] {
        let caller = Caller::with_token(Token::new(token));
        match (alice.diagnose(&caller).await, denied) {
            (Ok(diagnosis), None) => assert_eq!(diagnosis.findings, []),
            (Err(error), Some(denied)) => {
                let ErrorKind::PermissionDenied { resource, .. } = error.kind() else {
                    panic!("{error}");
                };
                assert_eq!(*resource, denied);
                assert_eq!(federation.transcript().calls_between_servers().count(), 0);
            }
            (result, _) => panic!("{token}: {result:?}"),
        }
    }

    // Another datacenter that denies is a finding.
    let strict = MockAcl::new(DefaultPolicy::Deny);
    let federation = builder().authorizer_in("dc2", strict).build();
    let diagnosis = diagnose(&federation, "alice").await;
    let denied = one(&diagnosis, FindingKind::ServerDenied);
    assert_eq!(denied.datacenter, Some("dc2".into()));
    assert_eq!(diagnosis.datacenters[0].servers.len(), 3);
}

/// A Raft that always has this view.
struct Fixed(RaftView);

#[async_trait]
impl RaftBackend for Fixed {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        Ok(self.0.clone())
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        self.view().await
    }

    async fn remove_server(&self, _: &Removal) -> Result<(), OperatorError> {
        Err(ErrorKind::NoLeader.into())
    }
}

const ABC: [&str; 3] = ["a", "b", "c"];

/// The view of a server of three voters in term 3, of which `a` leads.
fn view(own: &str) -> RaftView {
    let voters = ABC.map(|name| RaftMember::voter(name, format!("{name}:8300")));
    let mut view = RaftView::new(own, Arc::new(Membership::new(voters)));
    view.leadership = match own {
        "a" => Leadership::Local,
        _ => Leadership::Remote(hint("a")),
    };
    view.term = 3;
    view.version = ConfigVersion { term: 1, index: 1 };
    view.status = ABC
        .map(|name| ServerStatus::unknown().with_name(name))
        .into();
    view
}

fn hint(id: &str) -> LeaderHint {
    LeaderHint {
        id: id.into(),
        address: format!("{id}:8300").into(),
    }
}

/// Diagnoses at `a`, whose peers answer with these views.
async fn diagnose_views(views: [RaftView; 3]) -> Diagnosis {
    let [a, b, c] = views;
    let serve = |view| {
        let builder = OperatorService::builder("dc1").raft(Fixed(view));
        builder.authorizer(AllowAll)
    };
    let peers = MockPeers::new()
        .with_service(Target::Server(hint("b")), serve(b).build().unwrap())
        .with_service(Target::Server(hint("c")), serve(c).build().unwrap());
    let ring = MockKeyring::new(Pool::Lan, key(1), ["a", "b", "c", "client"]);
    let service = serve(a).peers(peers).keyring(ring).build().unwrap();
    service.diagnose(&Caller::anonymous()).await.unwrap()
}

#[tokio::test]
async fn voters_that_elect_nobody_are_a_finding() {
    let views = ABC.map(|own| {
        let mut view = view(own);
        view.leadership = Leadership::Unknown;
        view
    });
    let diagnosis = diagnose_views(views).await;
    let leader = one(&diagnosis, FindingKind::NoLeader);
    assert_eq!(leader.severity, Severity::Critical);
    assert!(
        leader.message.contains("although 3 of 3 voters"),
        "{}",
        leader.message
    );
    assert!(leader.next_step.contains("an election may be in progress"));
    assert_eq!(diagnosis.findings.len(), 1, "{:?}", diagnosis.findings);
}

#[tokio::test]
async fn leader_of_an_earlier_term_is_a_warning() {
    let mut views = ABC.map(view);
    views[0].term = 2;
    for view in &mut views[1..] {
        view.leadership = Leadership::Remote(hint("b"));
    }
    views[1].leadership = Leadership::Local;
    let diagnosis = diagnose_views(views).await;
    let two = one(&diagnosis, FindingKind::TwoLeaders);
    assert_eq!(two.severity, Severity::Warning);
    assert_eq!(
        two.message,
        "b leads in term 3, and a still believes that it leads in term 2"
    );
    assert_eq!(diagnosis.datacenters[0].leader, Some("b".into()));
}

#[tokio::test]
async fn server_without_leader_and_with_old_configuration_is_named() {
    let mut views = ABC.map(view);
    views[0].version.index = 7;
    views[2].version.index = 7;
    views[2].leadership = Leadership::Unknown;
    let diagnosis = diagnose_views(views).await;
    let disputed = one(&diagnosis, FindingKind::LeaderDisputed);
    assert_eq!(disputed.message, "c knows no leader, while a leads");
    let old = one(&diagnosis, FindingKind::ConfigurationDiffers);
    assert_eq!(
        old.message,
        "b has the Raft configuration 1-1, and a the latest one, 1-7"
    );
    assert_eq!(old.severity, Severity::Info);
}

#[tokio::test]
async fn server_that_only_the_leader_does_not_reach_is_cut_off() {
    let mut views = ABC.map(view);
    views[0].status = vec![
        ServerStatus::unknown().with_name("a").with_alive(true),
        ServerStatus::unknown().with_name("b").with_alive(true),
        ServerStatus::unknown().with_name("c").with_alive(false),
    ];
    let diagnosis = diagnose_views(views).await;
    let cut = one(&diagnosis, FindingKind::ServerCutOff);
    assert_eq!(cut.message, "c answers, and the leader does not reach it");
    let c = &diagnosis.datacenters[0].servers[2];
    assert_eq!((c.health, c.answered), (Health::Failed, true));
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
async fn lag_and_last_contact_are_shown() {
    let at = |index| LogPosition { term: 3, index };
    let mut views = ABC.map(view);
    for (view, index) in views.iter_mut().zip([40, 38, 40]) {
        let own = ABC.iter().position(|name| view.id == *name).unwrap();
        view.status[own].last_log = Some(at(index));
    }
    views[0].status[1].last_contact = Some(Duration::from_millis(12));
    let diagnosis = diagnose_views(views).await;
    let b = &diagnosis.datacenters[0].servers[1];
    assert_eq!((b.lag, b.last_log), (Some(2), Some(at(38))));
    assert_eq!(b.last_contact_ms, Some(12));
}

#[tokio::test]
async fn peer_that_cannot_answer_is_a_finding() {
    for (error, kind) in [
        (
            ErrorKind::IncompatibleServer {
                reason: "unexpected JSON".into(),
            },
            FindingKind::ServerTooOld,
        ),
        (ErrorKind::UnknownToken, FindingKind::ServerDenied),
        (
            ErrorKind::Backend {
                message: "disk full".into(),
            },
            FindingKind::ServerFailed,
        ),
    ] {
        let error = OperatorError::new(error);
        let peers = MockPeers::new()
            .with_answer(Target::Server(hint("b")), move |_| {
                std::future::ready(Err(error.clone()))
            })
            // Another server listens at the address of c.
            .with_service(
                Target::Server(hint("c")),
                OperatorService::builder("dc1")
                    .raft(Fixed(view("b")))
                    .authorizer(AllowAll)
                    .build()
                    .unwrap(),
            );
        let service = OperatorService::builder("dc1")
            .raft(Fixed(view("a")))
            .authorizer(AllowAll)
            .peers(peers)
            .build()
            .unwrap();
        let diagnosis = service.diagnose(&Caller::anonymous()).await.unwrap();
        let found = diagnosis
            .findings
            .iter()
            .find(|it| it.kind == kind)
            .unwrap();
        assert_eq!(found.subject.as_deref(), Some("b"), "{found:?}");
        let wrong = diagnosis
            .findings
            .iter()
            .find(|it| it.subject.as_deref() == Some("c"));
        let wrong = wrong.unwrap();
        assert_eq!(wrong.kind, FindingKind::ServerFailed);
        assert!(
            wrong.message.contains("another server answers"),
            "{wrong:?}"
        );
        assert_eq!(diagnosis.rings, []);
    }
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

#[tokio::test]
async fn node_that_answers_with_an_error_is_found() {
    struct Broken(MockKeyring);

    #[async_trait]
    impl cluster_operator::KeyringBackend for Broken {
        fn pool(&self) -> &Pool {
            self.0.pool()
        }

        async fn list(
            &self,
            query: &cluster_operator::keyring::GossipQuery,
        ) -> Result<(), OperatorError> {
            use cluster_operator::keyring::NodeFailure;
            query.answers.asking(["a".into()]);
            let failure = NodeFailure::Other("disk full".into());
            query.answers.answered(&"a".into(), Err(failure));
            Ok(())
        }

        async fn change(
            &self,
            change: &cluster_operator::keyring::KeyChange,
            query: &cluster_operator::keyring::GossipQuery,
        ) -> Result<(), OperatorError> {
            self.0.change(change, query).await
        }
    }

    let service = OperatorService::builder("dc1")
        .keyring(Broken(MockKeyring::new(Pool::Lan, key(1), ["a"])))
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

#[tokio::test]
async fn diagnosis_contains_no_key() {
    let federation = federation();
    federation.inject(Fault::node("bob", Pool::Lan, NodeFault::ListsOther(key(9))));
    let diagnosis = diagnose(&federation, "alice").await;
    let texts = [
        format!("{diagnosis:?} {diagnosis:#?}"),
        serde_json::to_string(&diagnosis).unwrap(),
    ];
    for text in texts {
        for byte in [1, 9] {
            let key = key(byte);
            assert!(text.contains(&key.fingerprint()));
            assert!(!text.contains(&key.to_base64()[..8]));
            assert!(!text.contains(&format!("{byte}, {byte}, {byte}")));
        }
    }
}

async fn get(federation: &MockFederation, dialect: Dialect, query: Option<&str>) -> Response {
    let request = Request {
        method: "GET",
        path: "/v1/operator/diagnosis",
        query,
        headers: &[("Accept", "application/problem+json")],
        body: Default::default(),
    };
    let service = federation.service("alice");
    Wire::new(dialect).serve(&service, request).await
}

fn body(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

#[tokio::test]
async fn diagnosis_is_served_as_documented() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob"])
        .gossip_key(key(1))
        .raft_servers(|server| server.last_index = Some(0))
        .build();
    federation.inject(Fault::node("bob", Pool::Lan, NodeFault::Silent));
    let response = get(&federation, Dialect::Precise, None).await;
    assert_eq!(response.status, 200);
    let server = |name: &str, number: u32, leader: bool| {
        json!({
            "ID": id(&federation, name),
            "Name": name,
            "Address": format!("127.0.0.{number}:8300"),
            "Leader": leader,
            "Voter": true,
            "Health": "healthy",
            "Answered": true,
            "LastContactMs": null,
            "LastLog": {"Term": 1, "Index": 3},
            "Lag": 0,
        })
    };
    let ring = |pool: &str, responses: usize, silent: &[&str]| {
        json!({
            "Datacenter": "dc1",
            "Pool": pool,
            "Nodes": 2,
            "Responses": responses,
            "Silent": silent,
            "Failed": [],
            "Keys": [{
                "Fingerprint": key(1).fingerprint(),
                "Nodes": responses,
                "Primary": responses,
            }],
            "Error": null,
        })
    };
    let tolerance = "2 of 2 voters are up and 2 are needed: no more may fail";
    let expected = json!({
        "Findings": [
            {
                "Severity": "warning",
                "Kind": "no-failure-tolerance",
                "Datacenter": "dc1",
                "Subject": null,
                "Message": tolerance,
                "NextStep": "bring failed voters back, or add voters until at least three are up",
            },
            {
                "Severity": "warning",
                "Kind": "node-silent",
                "Datacenter": "dc1",
                "Subject": "bob",
                "Message": "1 of 2 nodes of the ring dc1 (LAN) did not answer: bob",
                "NextStep": "check that they are up; one that was left behind by a rotation has \
                             an old key and has to be repaired",
            },
        ],
        "Datacenters": [{
            "Name": "dc1",
            "Leader": id(&federation, "alice"),
            "Voters": 2,
            "Quorum": 2,
            "FailureTolerance": 0,
            "Servers": [server("alice", 1, true), server("bob", 2, false)],
            "Error": null,
        }],
        "Rings": [ring("WAN", 2, &[]), ring("LAN", 1, &["bob"])],
    });
    assert_eq!(body(&response), expected);
    // Programs can read it, also with kinds that they do not know.
    let mut newer = expected.clone();
    newer["Findings"][0]["Kind"] = "out-of-coffee".into();
    let read: Diagnosis = serde_json::from_value(newer).unwrap();
    assert_eq!(read.findings[0].kind, FindingKind::Other);
}

#[tokio::test]
async fn only_the_precise_dialect_serves_the_diagnosis() {
    let federation = federation();
    for dialect in [Dialect::Consul1_10, Dialect::Consul0_7] {
        assert_eq!(get(&federation, dialect, None).await.status, 404);
    }
    let elsewhere = get(&federation, Dialect::Precise, Some("dc=dc2")).await;
    // A server of that datacenter makes it.
    assert_eq!(body(&elsewhere)["Datacenters"][0]["Name"], "dc2");
    let unknown = get(&federation, Dialect::Precise, Some("dc=dc9")).await;
    assert_eq!(unknown.status, 404);
    let misspelt = get(&federation, Dialect::Precise, Some("datacentre=dc2")).await;
    assert_eq!(misspelt.status, 400);
}
