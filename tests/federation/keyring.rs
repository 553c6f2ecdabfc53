use super::*;

#[tokio::test]
async fn rings_are_ordered_wan_lan_segments_datacenters() {
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
    let nodes = |ring: &RingOutcome| ring.report.as_ref().unwrap().nodes;
    let counted: Vec<_> = reply.rings.iter().map(nodes).collect();
    assert_eq!(counted, [4, 2, 2, 1, 1, 1, 1]);
}

#[tokio::test]
async fn local_listing_asks_no_other_datacenter() {
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
async fn key_is_rotated_on_every_node_of_the_federation() {
    let federation = three_and_one();
    let dave = federation.service("dave");
    let installed = dave.install_key(&anyone(), new_key()).await;
    let used = dave.use_key(&anyone(), new_key()).await;
    let removed = dave.remove_key(&anyone(), first_key()).await;
    for reply in [installed, used, removed] {
        assert!(reply.unwrap().rings.iter().all(RingOutcome::is_confirmed));
    }
    for name in ["alice", "bob", "carol", "dave"] {
        for pool in [Pool::Wan, Pool::Lan] {
            assert_eq!(federation.keys(name, &pool), [new_key()]);
        }
    }
    // Each operation asks every datacenter once, and those ask no others.
    assert_eq!(federation.handed_to("alice"), 3);
    assert_eq!(federation.handed_to("dave"), 0);
}

#[tokio::test]
async fn each_node_that_refuses_is_named() {
    let federation = three_and_one();
    let alice = federation.service("alice");
    let used = alice.use_key(&anyone(), new_key()).await.unwrap_err();
    let removed = alice.remove_key(&anyone(), first_key()).await.unwrap_err();
    for (error, why) in [
        (used, NodeFailure::KeyNotInstalled),
        (removed, NodeFailure::PrimaryKey),
    ] {
        let reply = error.reply().unwrap();
        let wan = ring(reply, "dc1", Pool::Wan).report.as_ref().unwrap();
        let named: Vec<_> = wan.failures().collect();
        let names = ["alice.dc1", "bob.dc1", "carol.dc1", "dave.dc2"].map(Into::into);
        assert_eq!(named, names.each_ref().map(|name| (name, &why)));
        assert!(matches!(
            error.kind(),
            ErrorKind::RingsFailed { failed, rings: 3 } if failed.len() == 3
        ));
        // Every node refused, so nothing has changed.
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
}

#[tokio::test]
async fn dead_nodes_do_not_hide_the_others_answers() {
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
    let report = |datacenter, pool| ring(&reply, datacenter, pool).report.clone();
    let fault = |report: &RingReport| report.failure().unwrap().to_string();

    let wan = report("dc1", Pool::Wan).unwrap();
    assert_eq!(fault(&wan), "2/4 nodes reported success");
    assert_eq!(wan.keys.get(&first_key()), 2);
    assert_eq!(wan.silent, ["bob.dc1", "carol.dc2"]);
    let lan = report("dc1", Pool::Lan).unwrap();
    assert_eq!(fault(&lan), "1/2 nodes reported success");
    assert_eq!(lan.primary_keys.get(&first_key()), 1);
    let down = ring(&reply, "dc2", Pool::Lan).error.clone().unwrap();
    assert!(matches!(down.kind(), ErrorKind::Unreachable { .. }));
    let healthy = report("dc3", Pool::Lan).unwrap();
    assert_eq!(healthy.failure(), None);
    assert_eq!(healthy.keys.get(&first_key()), 1);

    let error = reply.confirmed().unwrap_err();
    let failed = [Pool::Wan, Pool::Lan].map(|pool| ("dc1".into(), pool));
    let failed = failed.into_iter().chain([("dc2".into(), Pool::Lan)]);
    let (failed, rings) = (failed.collect(), 4);
    assert_eq!(error.kind(), &ErrorKind::RingsFailed { failed, rings });
}

#[tokio::test]
async fn failed_node_counts_until_the_asking_server_notices() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .notices_failures(false)
        .build();
    federation.stop("carol");
    let nodes = async |name: &str| {
        let service = federation.service(name);
        let reply = service.list_keys(&anyone(), KeyringScope::LocalOnly).await;
        reply.unwrap().rings[0].report.as_ref().unwrap().nodes
    };
    assert_eq!((nodes("alice").await, nodes("bob").await), (3, 3));
    let lan = federation.keyring("alice", &Pool::Lan);
    lan.notice_failure_by("alice", "carol");
    assert_eq!((nodes("alice").await, nodes("bob").await), (2, 3));
    federation.notice_failure("carol", &Pool::Lan);
    assert_eq!((nodes("alice").await, nodes("bob").await), (2, 2));
    federation.restart("carol");
    assert_eq!((nodes("alice").await, nodes("bob").await), (3, 3));
}

#[tokio::test]
async fn every_node_reports_that_encryption_is_off() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob"])
        .unencrypted()
        .build();
    let alice = federation.service("alice");
    let listed = alice
        .list_keys(&anyone(), KeyringScope::Federation)
        .await
        .unwrap_err()
        .into_reply()
        .unwrap();
    let installed = alice.install_key(&anyone(), new_key()).await.unwrap_err();
    let installed = installed.into_reply().unwrap();
    for ring in listed.rings.into_iter().chain(installed.rings) {
        let report = ring.report.unwrap();
        assert_eq!(report.errors, 2);
        let whys: Vec<_> = report.failures().map(|(_, why)| why.clone()).collect();
        assert_eq!(
            whys,
            [NodeFailure::EncryptionOff, NodeFailure::EncryptionOff]
        );
    }
}

/// The only server of dc1, with these peers.
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
    RingOutcome::new(datacenter, pool, report)
}

fn telling(rings: Vec<RingOutcome>) -> Result<OperatorReply, OperatorError> {
    Ok(OperatorReply::Keyring(KeyringReply { rings }))
}

#[tokio::test(start_paused = true)]
async fn silent_datacenter_costs_time_but_no_results() {
    let peers = MockPeers::new()
        .with_answer(datacenter("dc2"), |_| std::future::pending())
        .with_answer(datacenter("dc3"), |_| async {
            telling(vec![told("dc3", Pool::Lan)])
        });
    let start = Instant::now();
    let error = lonely(peers).install_key(&anyone(), new_key()).await;
    let reply = error.unwrap_err().into_reply().unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert!(ring(&reply, "dc1", Pool::Wan).is_confirmed());
    assert!(ring(&reply, "dc1", Pool::Lan).is_confirmed());
    assert!(ring(&reply, "dc3", Pool::Lan).is_confirmed());
    let late = ring(&reply, "dc2", Pool::Lan).error.clone().unwrap();
    assert!(matches!(late.kind(), ErrorKind::DeadlineExceeded { .. }));
    assert_eq!(late.outcome(), Outcome::Unknown);
    assert_eq!(reply.rings.len(), 4);
}

/// A segment of two nodes. One answers at once, the other never.
struct Hanging(Pool);

impl Hanging {
    fn new() -> Self {
        Hanging(Pool::Segment("slow".into()))
    }

    async fn ask(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        let [quick, slow] = ["quick", "slow"].map(NodeName::new);
        query.answers.asking([quick.clone(), slow]);
        query
            .answers
            .answered(&quick, Ok(NodeKeys::ring([first_key()])));
        std::future::pending().await
    }
}

#[async_trait]
impl KeyringBackend for Hanging {
    fn pool(&self) -> &Pool {
        &self.0
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        self.ask(query).await
    }

    async fn change(&self, _: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        self.ask(query).await
    }
}

#[tokio::test(start_paused = true)]
async fn slow_node_hides_no_answer_in_any_datacenter() {
    let dave = OperatorService::builder("dc2")
        .keyring(Hanging::new())
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let alice = OperatorService::builder("dc1")
        .keyring(Hanging::new())
        .authorizer(AllowAll)
        .peers(MockPeers::new().with_service(datacenter("dc2"), dave))
        .build()
        .unwrap();
    let listed = alice.list_keys(&anyone(), KeyringScope::Federation).await;
    let installed = alice.install_key(&anyone(), new_key()).await.unwrap_err();
    assert_eq!(installed.kind().name(), "rings-failed");
    assert_eq!(installed.outcome(), Outcome::Unknown);
    let installed = installed.into_reply().unwrap();
    for (reply, listing) in [(listed.unwrap(), true), (installed, false)] {
        for name in ["dc1", "dc2"] {
            let ring = ring(&reply, name, Pool::Segment("slow".into()));
            let report = ring.report.as_ref().unwrap();
            assert_eq!((report.nodes, report.responses), (2, 1));
            assert_eq!(report.silent, ["slow"]);
            assert_eq!(report.keys.get(&first_key()), 1);
            let error = ring.error.as_ref().unwrap();
            assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }));
            if !listing {
                assert_eq!(ring.outcome(), Outcome::Unknown);
            }
        }
    }
}

/// A pool that asks no node, whatever it reports.
struct Unasked(Result<(), ErrorKind>);

#[async_trait]
impl KeyringBackend for Unasked {
    fn pool(&self) -> &Pool {
        &Pool::Lan
    }

    async fn list(&self, _: &GossipQuery) -> Result<(), OperatorError> {
        self.0.clone().map_err(OperatorError::from)
    }

    async fn change(&self, _: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        // No node is asked, although one is named.
        query.answers.asking([]);
        self.0.clone().map_err(OperatorError::from)
    }
}

#[tokio::test]
async fn change_that_asked_no_node_is_not_applied() {
    let message = String::from("its turn never came");
    for said in [Ok(()), Err(ErrorKind::Backend { message })] {
        let service = OperatorService::builder("dc1")
            .keyring(Unasked(said))
            .authorizer(AllowAll)
            .build()
            .unwrap();
        let listed = service.list_keys(&anyone(), KeyringScope::Federation).await;
        let installed = service.install_key(&anyone(), new_key()).await;
        for error in [listed.unwrap_err(), installed.unwrap_err()] {
            assert_eq!(error.kind().name(), "rings-failed");
            assert_eq!(error.outcome(), Outcome::NotApplied);
            let ring = &error.reply().unwrap().rings[0];
            assert_eq!(ring.report, None);
            assert_eq!(ring.outcome(), Outcome::NotApplied);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_remote_ring_does_not_hide_the_other_rings() {
    let lan = MockKeyring::new(Pool::Lan, first_key(), ["dave"]);
    let dave = OperatorService::builder("dc2")
        .keyring(lan.clone())
        .keyring(Hanging::new())
        .authorizer(AllowAll)
        .keyring_deadline(Duration::from_secs(60))
        .build()
        .unwrap();
    let alice = lonely(MockPeers::new().with_service(datacenter("dc2"), dave));
    let start = Instant::now();
    let error = alice.install_key(&anyone(), new_key()).await.unwrap_err();
    let reply = error.into_reply().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(ring(&reply, "dc2", Pool::Lan).is_confirmed());
    assert_eq!(lan.keys("dave"), [first_key(), new_key()]);
    let slow = ring(&reply, "dc2", Pool::Segment("slow".into()));
    let error = slow.error.clone().unwrap();
    assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }));
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn datacenter_with_only_a_wan_reports_unsupported() {
    let dave = OperatorService::builder("dc2")
        .keyring(MockKeyring::new(Pool::Wan, first_key(), ["dave.dc2"]))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let alice = lonely(MockPeers::new().with_service(datacenter("dc2"), dave));
    let error = alice.install_key(&anyone(), new_key()).await.unwrap_err();
    let reply = error.into_reply().unwrap();
    let error = ring(&reply, "dc2", Pool::Lan).error.clone().unwrap();
    assert_eq!(error.kind().name(), "unsupported");
    assert_eq!(error.outcome(), Outcome::NotApplied);
}

/// A slow authorizer.
pub(super) struct Slow(pub(super) Duration);

#[async_trait]
impl AclAuthorizer for Slow {
    async fn authorize(
        &self,
        _: Option<&Token>,
        _: Resource,
        _: Access,
    ) -> Result<Identity, AclError> {
        tokio::time::sleep(self.0).await;
        Ok(Identity::Unnamed)
    }
}

#[tokio::test(start_paused = true)]
async fn authorization_time_is_deducted_from_the_rings_time() {
    let service = OperatorService::builder("dc1")
        .keyring(Hanging::new())
        .authorizer(Slow(Duration::from_secs(4)))
        .build()
        .unwrap();
    let start = Instant::now();
    let error = service.install_key(&anyone(), new_key()).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert!(!error.reply().unwrap().rings[0].is_confirmed());
}

#[tokio::test(start_paused = true)]
async fn slow_authorizer_lets_nothing_change() {
    let service = OperatorService::builder("dc1")
        .keyring(Hanging::new())
        .authorizer(Slow(Duration::from_secs(60)))
        .build()
        .unwrap();
    let error = service.install_key(&anyone(), new_key()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }));
    assert_eq!(error.outcome(), Outcome::NotApplied);
}

#[tokio::test(start_paused = true)]
async fn listing_that_times_out_is_not_applied() {
    let peers = MockPeers::new().with_answer(datacenter("dc2"), |_| std::future::pending());
    let listed = lonely(peers)
        .list_keys(&anyone(), KeyringScope::Federation)
        .await;
    let late = ring(&listed.unwrap(), "dc2", Pool::Lan).error.clone();
    assert_eq!(late.unwrap().outcome(), Outcome::NotApplied);
}

#[tokio::test]
async fn datacenter_can_report_only_its_own_rings() {
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
    let lan = ring(&reply, "dc1", Pool::Lan).report.as_ref().unwrap();
    assert_eq!(lan.keys.get(&new_key()), 0);
}

#[tokio::test]
async fn datacenter_that_reports_no_own_ring_has_failed() {
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

/// The error of a write for which dc2 reports these rings.
async fn reported(told: Vec<RingOutcome>) -> OperatorError {
    let peers = MockPeers::new().with_answer(datacenter("dc2"), move |_| {
        std::future::ready(telling(told.clone()))
    });
    let written = lonely(peers).install_key(&anyone(), new_key()).await;
    written.unwrap_err()
}

fn refused(nodes: usize) -> RingReport {
    let mut report = RingReport::new(nodes);
    for node in 0..nodes {
        report.failed(format!("{node}").into(), NodeFailure::EncryptionOff);
    }
    report
}

#[tokio::test]
async fn inconsistent_report_of_a_write_is_unknown() {
    let mut nothing = told("dc2", Pool::Lan);
    nothing.report = None;
    let mut reports = vec![RingReport::new(0)];
    let mut more_responses = refused(1);
    more_responses.responses = 2;
    let mut more_errors = refused(1);
    more_errors.responses = 0;
    let mut more_failures = refused(2);
    more_failures.errors = 1;
    let mut more_truncated = refused(1);
    more_truncated.truncated = 2;
    reports.extend([more_responses, more_errors, more_failures, more_truncated]);
    let reports = reports.into_iter();
    let told = reports.map(|report| RingOutcome::new("dc2", Pool::Lan, report));
    for told in std::iter::once(nothing).chain(told) {
        let error = reported(vec![told.clone()]).await;
        let ring = ring(error.reply().unwrap(), "dc2", Pool::Lan);
        assert_eq!(ring.report, None, "{told:?}");
        let kind = ring.error.as_ref().unwrap().kind();
        assert_eq!(kind.name(), "invalid-reply", "{told:?}");
        assert_eq!(ring.outcome(), Outcome::Unknown, "{told:?}");
    }
}

#[tokio::test]
async fn report_with_too_many_rings_is_rejected() {
    let segments = |count| (0..count).map(|n| told("dc2", Pool::Segment(format!("{n}").into())));
    let most = MockPeers::new().with_answer(datacenter("dc2"), move |_| {
        std::future::ready(telling(segments(256).collect()))
    });
    let service = lonely(most);
    let listed = service.list_keys(&anyone(), KeyringScope::Federation).await;
    assert_eq!(listed.unwrap().rings.len(), 2 + 256);

    let error = reported(segments(257).collect()).await;
    let reply = error.reply().unwrap();
    assert_eq!(rings(reply), ["dc1 (WAN)", "dc1 (LAN)", "dc2 (LAN)"]);
    let error = ring(reply, "dc2", Pool::Lan).error.as_ref().unwrap();
    assert_eq!(error.kind().name(), "invalid-reply");
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn remote_report_names_no_more_nodes_than_a_local_one() {
    let node = |n: usize| NodeName::from(format!("{n:04}"));
    let mut report = RingReport::new(2000);
    for n in 0..500 {
        report.holds(&[]);
        let cut = NodeMessage::Truncated { shown: 0, total: 9 };
        report.messages.insert(node(n), cut);
    }
    report.silent = (500..2000).map(node).collect();
    let error = reported(vec![RingOutcome::new("dc2", Pool::Lan, report)]).await;
    let lan = ring(error.reply().unwrap(), "dc2", Pool::Lan);
    let report = lan.report.as_ref().unwrap();
    assert_eq!(report.messages.len(), RingReport::NAMED);
    assert_eq!(report.silent.len(), RingReport::NAMED);
    // An older server does not send the count.
    assert_eq!(report.truncated, 500);
    assert_eq!((report.nodes, report.responses), (2000, 500));
}

#[tokio::test]
async fn texts_of_another_server_are_truncated() {
    let long = "é".repeat(10_000);
    let mut report = RingReport::new(3);
    report.failed(
        long.as_str().into(),
        NodeFailure::Other(long.as_str().into()),
    );
    report.done();
    let note = NodeMessage::Note(long.clone());
    report.messages.insert("b".into(), note);
    report.silent = vec![long.as_str().into()];
    let segment = Pool::Segment(long.as_str().into());
    let mut named = RingOutcome::new("dc2", segment, report);
    let nested = KeyringReply {
        rings: vec![told("dc2", Pool::Lan)],
    };
    named.error = Some(OperatorError::backend(long.clone()).with_reply(nested));
    let failed = ErrorKind::RingsFailed {
        failed: vec![("dc2".into(), Pool::Lan); 10_000],
        rings: 10_000,
    };
    let many = RingOutcome::failed("dc2", Pool::Lan, failed.into());
    let error = reported(vec![named, many]).await;
    for ring in &error.reply().unwrap().rings[2..] {
        let json = serde_json::to_string(ring).unwrap();
        assert!(json.len() < 7 * 4200, "{} bytes", json.len());
        assert!(ring.error.as_ref().unwrap().reply().is_none());
        assert_eq!(ring.outcome(), Outcome::Unknown);
    }
    assert!(error.to_string().len() < 5000);
}

#[tokio::test]
async fn long_error_of_a_failed_datacenter_is_truncated() {
    let peers = MockPeers::new().with_answer(datacenter("dc2"), |_| {
        std::future::ready(Err(OperatorError::backend("a".repeat(10_000))))
    });
    let written = lonely(peers).install_key(&anyone(), new_key()).await;
    let reply = written.unwrap_err().into_reply().unwrap();
    let error = ring(&reply, "dc2", Pool::Lan).error.as_ref().unwrap();
    assert!(error.to_string().len() <= 4100);
    assert!(error.to_string().ends_with("a ..."));
}

#[tokio::test]
async fn remote_datacenter_is_not_asked_for_the_wan_ring() {
    let peers = MockPeers::new().with_answer(datacenter("dc2"), |_| async {
        telling(vec![told("dc2", Pool::Lan)])
    });
    let service = lonely(peers.clone());
    let listed = service.list_keys(&anyone(), KeyringScope::Federation).await;
    assert!(listed.is_ok());
    let [sent] = &peers.sent()[..] else {
        panic!("sent more than once");
    };
    let Operation::Keyring { scope, .. } = &sent.request.operation else {
        panic!("{sent:?}");
    };
    assert_eq!(*scope, KeyringScope::Remote);
}
