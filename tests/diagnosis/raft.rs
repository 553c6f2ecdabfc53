//! The findings about the servers.

use super::*;

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
        "start it, or remove it as raft/removal-plan shows: that would leave 2 of 2 voters up, of which \
         0 may fail"
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

/// Diagnoses at `a`, which leads under this guard, while `c` is down. `n` has no vote.
async fn diagnose_dead_voter(guard: QuorumGuard, voters: &[&str]) -> Finding {
    let voter = |name: &&str| RaftMember::voter(*name, format!("{name}:8300"));
    let members = voters.iter().map(voter);
    let members = members.chain([RaftMember::nonvoter("n", "n:8300")]);
    let mut view = view("a");
    view.membership = Arc::new(Membership::new(members));
    let servers = view.membership.servers.iter();
    view.status = servers
        .map(|server| {
            let status = ServerStatus::unknown().with_name(server.id.as_str());
            status.with_alive(server.id != "c")
        })
        .collect();
    let service = OperatorService::builder("dc1")
        .raft(Fixed(view))
        .quorum_guard(guard)
        .peers(MockPeers::new())
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let diagnosis = service.diagnose(&Caller::anonymous()).await.unwrap();
    one(&diagnosis, FindingKind::DeadVoter).clone()
}

#[tokio::test]
async fn dead_voter_comes_with_what_the_quorum_guard_allows() {
    use QuorumGuard::{Margin, Quorum};

    for (guard, voters, next) in [
        (
            Quorum,
            &["a", "b", "c"][..],
            "start it, replace it with n in one change, or remove it as raft/removal-plan shows: \
             that would leave 2 of 2 voters up, of which 0 may fail",
        ),
        (
            Quorum,
            &["a", "c"],
            "start it, replace it with n in one change, or remove it as raft/removal-plan shows: \
             that would leave 1 of 1 voters up, of which 0 may fail",
        ),
        (
            Margin,
            &["a", "b", "c"],
            "start it; or replace it with n in one change, or force the removal past the quorum \
             guard",
        ),
        (
            Margin,
            &["a", "b", "c", "d", "e"],
            "start it, replace it with n in one change, or remove it as raft/removal-plan shows: \
             that would leave 4 of 4 voters up, of which 1 may fail",
        ),
    ] {
        let found = diagnose_dead_voter(guard, voters).await;
        assert_eq!(found.next_step, next);
    }
}

#[tokio::test]
async fn error_of_another_datacenter_is_bounded() {
    let long = "x".repeat(100_000);
    let peers = MockPeers::new().with_answer(Target::Datacenter("dc2".into()), move |_| {
        let error = OperatorError::backend(long.clone());
        std::future::ready(Err(error))
    });
    let service = OperatorService::builder("dc1")
        .raft(Fixed(view("a")))
        .authorizer(AllowAll)
        .peers(peers)
        .build()
        .unwrap();
    let diagnosis = service.diagnose(&Caller::anonymous()).await.unwrap();
    let found = one(&diagnosis, FindingKind::DatacenterUnreachable);
    assert!(found.message.len() < 5000, "{}", found.message.len());
    assert_eq!(found.datacenter, Some("dc2".into()));
}
