use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cluster_operator::raft::{RemovalPlan, RemovalVerdict};

use super::*;

/// Alice, who leads, bob and carol, and dave without a vote.
fn three_and_a_spare() -> MockFederationBuilder {
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol", "dave"])
        .nonvoters(["dave"])
}

fn server_id(federation: &MockFederation, server: &str) -> ServerId {
    federation.raft(server).id().clone()
}

async fn plan(federation: &MockFederation, at: &str, server: &str) -> RemovalPlan {
    let service = federation.service(at);
    let server = id_of(federation, server);
    service.plan_removal(&anyone(), server).await.unwrap()
}

fn voters(federation: &MockFederation) -> Vec<String> {
    let servers = federation.configuration("dc1").servers.into_iter();
    let voters = servers.filter(|server| server.is_voter());
    voters
        .map(|server| server.name.unwrap().to_string())
        .collect()
}

#[tokio::test]
async fn plan_shows_effect_of_removal_and_changes_nothing() {
    let federation = three_and_a_spare().build();
    let before = federation.configuration("dc1");
    // Bob forwards it to the leader.
    let plan = plan(&federation, "bob", "carol").await;
    let carol = server_id(&federation, "carol");
    assert_eq!(
        (plan.id(), plan.is_voter(), plan.leads()),
        (&carol, true, false)
    );
    assert_eq!(plan.version().index, before.index);
    assert_eq!(plan.term(), 1);
    assert_eq!(plan.guard(), QuorumGuard::Quorum);
    assert_eq!(plan.verdict(), RemovalVerdict::ReducesTolerance);
    assert!(plan.is_allowed());
    let (then, after) = (plan.before(), plan.after());
    assert_eq!((then.voters, then.quorum, then.alive), (3, 2, 3));
    assert_eq!((after.voters, after.quorum, after.alive), (2, 2, 2));
    assert_eq!((then.failure_tolerance, after.failure_tolerance), (1, 0));
    assert_eq!(plan.healthy().len(), 3);
    assert_eq!(plan.replacements(), [server_id(&federation, "dave")]);
    assert_eq!(federation.configuration("dc1"), before);

    let alice = federation.service("alice");
    let nobody = PeerSelector::Id("nobody".into());
    let error = alice.plan_removal(&anyone(), nobody).await.unwrap_err();
    assert_eq!(error.kind().name(), "unknown-server");
}

#[tokio::test]
async fn refusal_carries_the_plan_and_names_ways_around_it() {
    let federation = three_and_a_spare().build();
    federation.stop("carol");
    let expected = plan(&federation, "alice", "bob").await;
    assert_eq!(expected.verdict(), RemovalVerdict::LosesQuorum);
    assert!(!expected.is_allowed());
    assert_eq!(expected.unhealthy(), [server_id(&federation, "carol")]);
    let dave = server_id(&federation, "dave");
    for at in ["alice", "bob"] {
        let service = federation.service(at);
        let bob = id_of(&federation, "bob");
        let removed = service.remove_peer(&anyone(), bob, None).await;
        let planned = service.remove_planned(&anyone(), &expected).await;
        for error in [removed.unwrap_err(), planned.unwrap_err()] {
            assert_eq!(error.kind().name(), "quorum-loss");
            assert_eq!(error.outcome(), Outcome::NotApplied);
            assert_eq!(error.plan(), Some(&expected));
            let ways = format!(
                "; or replace it with {dave} in one change, or force the removal if more of them \
                 are alive than is known"
            );
            assert!(error.to_string().ends_with(&ways), "{error}");
        }
    }
    assert_eq!(voters(&federation), ["alice", "bob", "carol"]);
}

#[tokio::test]
async fn planned_removal_needs_the_planned_configuration() {
    let federation = three_and_a_spare().build();
    let (bob, carol) = (
        plan(&federation, "alice", "bob").await,
        plan(&federation, "alice", "carol").await,
    );
    let service = federation.service("bob");
    service.remove_planned(&anyone(), &carol).await.unwrap();
    assert_eq!(voters(&federation), ["alice", "bob"]);
    let (expected, actual) = (
        bob.version(),
        plan(&federation, "alice", "bob").await.version(),
    );
    for outdated in [&bob, &carol] {
        let answer = service.remove_planned(&anyone(), outdated).await;
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Conflict { expected, actual });
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
    assert_eq!(voters(&federation), ["alice", "bob"]);
}

/// A leader on which every change of the configuration fails.
struct Failing {
    real: MockRaft,
    calls: Arc<AtomicUsize>,
    error: OperatorError,
}

/// The error of a change that another one has overtaken.
fn overtaken() -> OperatorError {
    let version = |index| ConfigVersion { term: 1, index };
    let (expected, actual) = (version(1), version(2));
    ErrorKind::Conflict { expected, actual }.into()
}

#[async_trait]
impl RaftBackend for Failing {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        self.real.view().await
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
        self.real.confirmed_view(timeout).await
    }

    async fn change_membership(&self, _: &Change) -> Result<(), OperatorError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Err(self.error.clone())
    }
}

#[tokio::test]
async fn planned_removal_is_not_tried_on_another_view() {
    let servers = ["a", "b", "c"].map(|name| RaftServer::voter(name, name));
    let spare = RaftServer::nonvoter("d", "d");
    let calls = Arc::new(AtomicUsize::new(0));
    let raft = Failing {
        real: MockRaft::new(servers.into_iter().chain([spare])),
        calls: Arc::clone(&calls),
        error: overtaken(),
    };
    let service = OperatorService::builder("dc1")
        .raft(raft)
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let b = || PeerSelector::Id("b".into());
    let tried = |error: OperatorError| {
        assert_eq!(error.kind().name(), "conflict");
        assert_eq!(error.outcome(), Outcome::NotApplied);
        calls.swap(0, Ordering::Relaxed)
    };
    let plan = service.plan_removal(&anyone(), b()).await.unwrap();
    let planned = service.remove_planned(&anyone(), &plan).await;
    assert_eq!(tried(planned.unwrap_err()), 1);
    let removed = service.remove_peer(&anyone(), b(), None).await;
    assert_eq!(tried(removed.unwrap_err()), 4);
    let forced = service.force_removal(&anyone(), "b".into()).await;
    assert_eq!(tried(forced.unwrap_err()), 4);
    let replaced = service
        .replace_peer(&anyone(), "b".into(), "d".into())
        .await;
    assert_eq!(tried(replaced.unwrap_err()), 4);
}

#[tokio::test]
async fn change_is_not_repeated_after_other_failures() {
    for (error, outcome) in [
        (OperatorError::backend("broken"), Outcome::NotApplied),
        (overtaken(), Outcome::Unknown),
    ] {
        let calls = Arc::new(AtomicUsize::new(0));
        let raft = Failing {
            real: MockRaft::voters(["a", "b", "c"]),
            calls: Arc::clone(&calls),
            error: error.with_outcome(outcome),
        };
        let builder = OperatorService::builder("dc1").raft(raft);
        let service = builder.authorizer(AllowAll).build().unwrap();
        let b = PeerSelector::Id("b".into());
        let error = service.remove_peer(&anyone(), b, None).await.unwrap_err();
        assert_eq!(error.outcome(), outcome, "{error}");
        assert_eq!(calls.load(Ordering::Relaxed), 1, "{error}");
    }
}

#[tokio::test]
async fn forced_removal_passes_the_guard_and_not_the_proof() {
    let margin = || three_and_a_spare().service_options(|it| it.quorum_guard(QuorumGuard::Margin));
    let federation = margin().build();
    let alice = federation.service("alice");
    let (bob, carol) = (
        server_id(&federation, "bob"),
        server_id(&federation, "carol"),
    );
    let selector = PeerSelector::Id(bob.clone());
    let refused = alice.remove_peer(&anyone(), selector, None).await;
    assert_eq!(refused.unwrap_err().kind().name(), "quorum-loss");
    federation.stop("carol");
    let error = alice
        .force_removal(&anyone(), bob.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind().name(), "quorum-unproven");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    alice.force_removal(&anyone(), carol).await.unwrap();
    alice.force_removal(&anyone(), bob).await.unwrap();
    assert_eq!(voters(&federation), ["alice"]);
    let error = alice
        .force_removal(&anyone(), server_id(&federation, "alice"))
        .await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::LastVoter);
    let text = error.to_string();
    assert!(
        !text.contains("force") && text.contains("replace it with"),
        "{text}"
    );
}

#[tokio::test]
async fn replacement_keeps_the_number_of_voters() {
    let federation = three_and_a_spare().build();
    let id = |name: &str| server_id(&federation, name);
    // With carol down no voter could be removed.
    federation.stop("carol");
    let bob = federation.service("bob");
    bob.replace_peer(&anyone(), id("bob"), id("dave"))
        .await
        .unwrap();
    assert_eq!(voters(&federation), ["alice", "carol", "dave"]);
    let change = federation.raft("alice").changes().remove(0);
    assert_eq!(
        (change.removed, change.added),
        (Some(id("bob")), Some(id("dave")))
    );
    assert_eq!(federation.leader("dc1"), Some("alice".into()));
}

#[tokio::test]
async fn margin_guard_lets_voters_be_replaced() {
    let one_and_a_spare = MockFederation::builder()
        .datacenter("dc1", ["alice", "dave"])
        .nonvoters(["dave"]);
    for (servers, down, old) in [
        (one_and_a_spare, None, "alice"),
        (three_and_a_spare(), Some("carol"), "bob"),
    ] {
        let federation = servers
            .service_options(|service| service.quorum_guard(QuorumGuard::Margin))
            .build();
        if let Some(down) = down {
            federation.stop(down);
        }
        let alice = federation.service("alice");
        let id = |name: &str| server_id(&federation, name);
        let caller = anyone();
        let refused = alice.remove_peer(&caller, id_of(&federation, old), None);
        let advice = refused.await.unwrap_err().to_string();
        assert!(advice.contains("in one change"), "{advice}");
        let replaced = alice.replace_peer(&caller, id(old), id("dave"));
        replaced.await.unwrap();
        let voters = voters(&federation);
        assert!(voters.contains(&"dave".into()) && !voters.contains(&old.into()));
    }
}

#[tokio::test]
async fn impossible_replacement_is_not_applied() {
    let federation = three_and_a_spare().build();
    let alice = federation.service("alice");
    let id = |name: &str| match name {
        "nobody" => name.into(),
        name => server_id(&federation, name),
    };
    for (old, new, kind) in [
        ("dave", "dave", "nothing-to-replace"),
        ("bob", "carol", "already-voter"),
        ("bob", "bob", "already-voter"),
        ("nobody", "dave", "unknown-server"),
        ("bob", "nobody", "unknown-server"),
    ] {
        let replaced = alice.replace_peer(&anyone(), id(old), id(new)).await;
        let error = replaced.unwrap_err();
        assert_eq!(error.kind().name(), kind, "{old} {new}");
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
    federation.stop("dave");
    let replaced = alice.replace_peer(&anyone(), id("bob"), id("dave")).await;
    let error = replaced.unwrap_err();
    assert_eq!(error.kind().name(), "not-caught-up");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(voters(&federation), ["alice", "bob", "carol"]);
}

#[tokio::test]
async fn replacement_is_unsupported_by_default() {
    struct Plain(MockRaft);

    #[async_trait]
    impl RaftBackend for Plain {
        async fn view(&self) -> Result<RaftView, OperatorError> {
            self.0.view().await
        }

        async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
            self.0.confirmed_view(timeout).await
        }

        async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
            match change.kind {
                ChangeKind::Remove { .. } => self.0.change_membership(change).await,
                _ => Err(change.unsupported()),
            }
        }
    }

    let servers = [RaftServer::voter("a", "a"), RaftServer::nonvoter("n", "n")];
    let raft = MockRaft::new(servers);
    let replaced = async |raft: Arc<dyn RaftBackend>| {
        let service = OperatorService::builder("dc1")
            .raft(raft)
            .authorizer(AllowAll);
        let service = service.build().unwrap();
        service
            .replace_peer(&anyone(), "a".into(), "n".into())
            .await
    };
    let error = replaced(Arc::new(Plain(raft.clone()))).await.unwrap_err();
    assert_eq!(error.kind().name(), "unsupported");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(raft.changes(), []);
    // A pointer passes it on.
    replaced(Arc::new(Box::new(raft.clone()))).await.unwrap();
    assert_eq!(raft.leader(), Some("n".into()));
}
