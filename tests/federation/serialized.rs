use std::fmt::Debug;

use super::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

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

fn actions() -> Vec<KeyringAction> {
    vec![
        KeyringAction::List,
        KeyringAction::Install(new_key()),
        KeyringAction::Use(first_key()),
        KeyringAction::Remove(GossipKey::from_bytes(&[3; 24]).unwrap()),
    ]
}

#[test]
fn every_operation_survives_serialization() {
    let mut operations = vec![
        Operation::TransferLeadership { to: None },
        Operation::TransferLeadership {
            to: Some("8c2562c7".into()),
        },
        Operation::SetAutopilotConfiguration {
            configuration: AutopilotConfiguration::default(),
            expected_index: Some(7),
        },
        Operation::RemovePlanned {
            id: "8c2562c7".into(),
            version: ConfigVersion {
                term: u64::MAX,
                index: 0,
            },
        },
        Operation::ForceRemoval {
            id: "8c2562c7".into(),
        },
        Operation::ReplacePeer {
            id: "8c2562c7".into(),
            with: "".into(),
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
        let planned = server.clone();
        operations.push(Operation::PlanRemoval { server: planned });
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
        request.request_id = Some("7f3a-01".parse().unwrap());
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
async fn every_reply_survives_serialization() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob"])
        .nonvoters(["bob"])
        .raft_servers(|server| server.last_index = Some(0))
        .build();
    let alice = federation.service("alice");
    let error = OperatorError::new(ErrorKind::NoLeader).with_outcome(Outcome::Applied);
    let rings = pools().into_iter().flat_map(|pool| {
        let failed = RingOutcome::failed("dc1", pool.clone(), error.clone());
        let mut both = RingOutcome::new("dc1", pool.clone(), report());
        both.error = failed.error.clone();
        [RingOutcome::new("dc1", pool, report()), failed, both]
    });
    let server = id_of(&federation, "alice");
    let plan = alice.plan_removal(&anyone(), server).await.unwrap();
    for reply in [
        OperatorReply::RaftConfiguration(federation.configuration("dc1")),
        OperatorReply::PeerRemoved,
        OperatorReply::PeerReplaced,
        OperatorReply::RemovalPlan(plan),
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
            needed: 2,
        },
        ErrorKind::QuorumUnproven {
            confirmed: 1,
            needed: 2,
            after: Duration::from_millis(250),
        },
        ErrorKind::Conflict {
            expected: ConfigVersion { term: 1, index: 1 },
            actual: ConfigVersion {
                term: u64::MAX,
                index: u64::MAX,
            },
        },
        ErrorKind::TermChanged {
            expected: 1,
            actual: 2,
        },
        ErrorKind::ChangeInProgress,
        ErrorKind::NothingToReplace { id: "z".into() },
        ErrorKind::AlreadyVoter { id: "z".into() },
        ErrorKind::NotCaughtUp {
            id: "z".into(),
            after: Duration::MAX,
        },
        ErrorKind::NotMember { id: "z".into() },
        ErrorKind::AlreadyLeader { id: "z".into() },
        ErrorKind::NotVoter { id: "z".into() },
        ErrorKind::NoTransferTarget,
        ErrorKind::TransferredElsewhere { leader: "z".into() },
        ErrorKind::EncryptionOff,
        ErrorKind::IncompatibleServer { reason: text() },
        ErrorKind::InvalidReply { reason: text() },
        ErrorKind::Unavailable { reason: text() },
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
            for identity in [
                Identity::AclsOff,
                Identity::Anonymous,
                Identity::Accessor(AccessorId::new("acce5500")),
                Identity::Unnamed,
            ] {
                kinds.push(ErrorKind::PermissionDenied {
                    resource,
                    access,
                    identity,
                });
            }
        }
    }
    kinds
}

#[tokio::test]
async fn every_error_survives_serialization_and_forwarding() {
    for kind in kinds() {
        for outcome in [Outcome::NotApplied, Outcome::Applied, Outcome::Unknown] {
            let error = OperatorError::new(kind.clone()).with_outcome(outcome);
            round_trips(error.clone());
            let json = serde_json::to_value(&error).unwrap();
            assert_eq!(json["kind"], kind.name(), "{json}");

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
            round_trips(handed_on);
        }
    }
}

#[test]
fn malformed_message_is_rejected() {
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
