//! The messages in the files: a request of each operation, a reply of each kind and an
//! error of each kind.

use std::time::{Duration, SystemTime};

use cluster_operator::acl::{Access, AccessorId, Identity, Resource};
use cluster_operator::autopilot::{
    AutopilotConfiguration, AutopilotReport, AutopilotServer, AutopilotState, DriverChange,
    RaftRole, ServerHealth, ValueChange,
};
use cluster_operator::diagnosis::{AskedServer, Diagnosis, ServerView};
use cluster_operator::keyring::{InvalidKey, NodeFailure, RelayFactor, RingReport};
use cluster_operator::operation::{
    KeyringAction, KeyringReply, KeyringScope, RequestId, RingOutcome,
};
use cluster_operator::raft::{
    ConfigVersion, Consistency, LeaderHint, Leadership, LogPosition, Membership, PeerSelector,
    QuorumGuard, RaftConfiguration, RaftMember, RaftServer, RaftView, RemovalPlan, ServerStatus,
};
use cluster_operator::{
    ErrorKind, GossipKey, Operation, OperatorError, OperatorReply, OperatorRequest, Outcome, Pool,
    Token,
};
use serde_json::json;

fn key() -> GossipKey {
    GossipKey::from_bytes(&[7; 16]).unwrap()
}

fn id() -> RequestId {
    "7f3a-01".parse().unwrap()
}

/// A request for the leader of this datacenter, without a token.
fn to_leader(operation: Operation) -> OperatorRequest {
    OperatorRequest::new(operation).with_request_id(id())
}

/// A request for another datacenter, with a token.
fn to_dc2(operation: Operation) -> OperatorRequest {
    to_leader(operation)
        .with_token(Token::new("b852fbe7 \"ä\""))
        .in_datacenter("dc2")
}

fn keyring(action: KeyringAction) -> OperatorRequest {
    to_dc2(Operation::Keyring {
        action,
        scope: KeyringScope::Federation,
        relay_factor: RelayFactor::MAX,
    })
}

/// Changes a request as the forwarding server does.
pub(crate) fn as_forwarded(request: &mut OperatorRequest) {
    if let Operation::Keyring { scope, .. } = &mut request.operation {
        *scope = KeyringScope::Remote;
    }
}

fn autopilot() -> AutopilotConfiguration {
    AutopilotConfiguration {
        redundancy_zone_tag: "zone".into(),
        upgrade_version_tag: "version".into(),
        modify_index: u64::MAX,
        ..AutopilotConfiguration::default()
    }
}

/// The requests before they are forwarded.
pub(crate) fn requests() -> Vec<(&'static str, OperatorRequest)> {
    let removal = |server, expected_index| Operation::RemovePeer {
        server,
        expected_index,
    };
    vec![
        (
            "raft-configuration",
            to_dc2(Operation::RaftConfiguration(Consistency::Default)),
        ),
        (
            "raft-configuration-consistent",
            to_leader(Operation::RaftConfiguration(Consistency::Consistent)),
        ),
        (
            "raft-configuration-stale",
            to_dc2(Operation::RaftConfiguration(Consistency::Stale)),
        ),
        (
            "remove-peer",
            to_dc2(removal(PeerSelector::Id("carol".into()), Some(u64::MAX))),
        ),
        (
            "remove-peer-by-address",
            to_leader(removal(PeerSelector::Address("10.0.0.3:8300".into()), None)),
        ),
        (
            "transfer-leadership",
            to_leader(Operation::TransferLeadership {
                to: Some("bob".into()),
            }),
        ),
        (
            "transfer-leadership-to-any",
            to_dc2(Operation::TransferLeadership { to: None }),
        ),
        ("keyring-list", keyring(KeyringAction::List)),
        ("keyring-install", keyring(KeyringAction::Install(key()))),
        ("keyring-use", keyring(KeyringAction::Use(key()))),
        ("keyring-remove", keyring(KeyringAction::Remove(key()))),
        (
            "autopilot-configuration",
            to_dc2(Operation::AutopilotConfiguration(Consistency::Default)),
        ),
        (
            "set-autopilot-configuration",
            to_leader(Operation::SetAutopilotConfiguration {
                configuration: autopilot(),
                expected_index: Some(7),
            }),
        ),
        (
            "autopilot-state",
            to_dc2(Operation::AutopilotState(Consistency::Consistent)),
        ),
        ("own-view", to_dc2(Operation::OwnView)),
        ("server-views", to_dc2(Operation::ServerViews)),
        ("diagnose", to_dc2(Operation::Diagnose)),
        (
            "plan-removal",
            to_leader(Operation::PlanRemoval {
                server: PeerSelector::Id("carol".into()),
            }),
        ),
        (
            "plan-removal-by-address",
            to_dc2(Operation::PlanRemoval {
                server: PeerSelector::Address("10.0.0.3:8300".into()),
            }),
        ),
        (
            "remove-planned",
            to_dc2(Operation::RemovePlanned {
                id: "carol".into(),
                version: ConfigVersion {
                    term: 3,
                    index: u64::MAX,
                },
            }),
        ),
        (
            "force-removal",
            to_leader(Operation::ForceRemoval { id: "carol".into() }),
        ),
        (
            "replace-peer",
            to_dc2(Operation::ReplacePeer {
                id: "carol".into(),
                with: "dave".into(),
            }),
        ),
        (
            "change-autopilot",
            to_dc2(Operation::ChangeAutopilot {
                configuration: autopilot().into(),
                change: DriverChange {
                    failed_hold: ValueChange::Set(Duration::from_secs(60)),
                    intended_size: ValueChange::Reset,
                    dry_run: ValueChange::Keep,
                },
                expected_index: Some(7),
            }),
        ),
    ]
}

/// A plan with voters of every health, and a replacement.
fn plan() -> RemovalPlan {
    let voters = ["alice", "bob", "carol"].map(|name| RaftMember::voter(name, "10.0.0.1:8300"));
    let spare = RaftMember::nonvoter("dave", "10.0.0.4:8300");
    let servers = voters.into_iter().chain([spare]);
    let mut view = RaftView::new("alice", Membership::new(servers).into());
    view.leadership = Leadership::Local;
    view.term = 4;
    view.version = ConfigVersion { term: 3, index: 22 };
    view.status = vec![
        ServerStatus::unknown().with_alive(true),
        ServerStatus::unknown().with_alive(false),
    ];
    let carol = PeerSelector::Id("carol".into());
    RemovalPlan::new(&view, &carol, QuorumGuard::Margin).unwrap()
}

/// A server's own view of its Raft.
fn own_view() -> ServerView {
    let seen = configuration().servers.into_iter().map(|server| {
        json!({
            "server": server,
            "last_log": {"term": 3, "index": u64::MAX},
            "last_contact": Duration::from_millis(7),
        })
    });
    let view = json!({
        "id": "alice",
        "leader": null,
        "term": 3,
        "version": ConfigVersion { term: 3, index: 22 },
        "unfinished_change": true,
        "servers": seen.collect::<Vec<_>>(),
    });
    serde_json::from_value(view).unwrap()
}

fn server_views() -> Vec<AskedServer> {
    let lost = OperatorError::new(ErrorKind::Unreachable {
        target: "server 10.0.0.2:8300".into(),
        reason: "connection refused".into(),
    });
    let views = json!([
        {"id": "alice", "address": "10.0.0.1:8300", "view": {"Ok": own_view()}},
        {"id": null, "address": "10.0.0.2:8300", "view": {"Err": lost}},
    ]);
    serde_json::from_value(views).unwrap()
}

fn diagnosis() -> Diagnosis {
    let diagnosis = json!({
        "Findings": [{
            "Severity": "critical",
            "Kind": "no-leader",
            "Datacenter": "dc2",
            "Subject": "alice",
            "Message": "no server leads",
            "NextStep": "start one",
        }],
        "Datacenters": [{
            "Name": "dc2",
            "Leader": null,
            "Voters": 3,
            "Quorum": 2,
            "FailureTolerance": 0,
            "Servers": [{
                "ID": "alice",
                "Name": "alice",
                "Address": "10.0.0.1:8300",
                "Leader": false,
                "Voter": true,
                "Health": "unknown",
                "Answered": true,
                "LastContactMs": 7,
                "LastLog": {"Term": 3, "Index": u64::MAX},
                "Lag": 0,
            }],
            "Error": null,
        }],
        "Rings": [{
            "Datacenter": "dc2",
            "Pool": "LAN",
            "Nodes": 3,
            "Responses": 2,
            "Silent": ["bob"],
            "Failed": ["carol"],
            "Keys": [{"Fingerprint": "6c0ed429", "Nodes": 2, "Primary": null}],
            "Error": "late",
        }],
    });
    serde_json::from_value(diagnosis).unwrap()
}

fn configuration() -> RaftConfiguration {
    let bob = RaftServer::nonvoter("bob", "10.0.0.2:8300")
        .with_name("\"b\\ob\"\n")
        .with_protocol_version("3")
        .with_last_index(u64::MAX)
        .with_alive(false);
    let alice = RaftServer::voter("alice", "10.0.0.1:8300").with_leader(true);
    RaftConfiguration::new([alice, bob], 22)
}

fn state() -> AutopilotState {
    let alice = AutopilotServer {
        id: "alice".into(),
        name: "alice".into(),
        address: "10.0.0.1:8300".into(),
        node_status: "alive".into(),
        version: "1.10.0".into(),
        last_contact: Duration::from_millis(7),
        last_term: 3,
        last_index: 22,
        healthy: true,
        stable_since: SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000),
        role: RaftRole::Leader,
        meta: [("zone".into(), "a".into())].into(),
        health: None,
    };
    AutopilotState {
        healthy: true,
        failure_tolerance: 1,
        optimistic_failure_tolerance: 2,
        servers: vec![alice],
        leader: Some("alice".into()),
        voters: vec!["alice".into()],
        autopilot: None,
    }
}

/// A state with everything that an acting autopilot adds.
fn reported_state() -> AutopilotState {
    let mut state = state();
    state.servers[0].health = Some(ServerHealth::Healthy);
    state.autopilot = Some(report());
    state
}

fn report() -> AutopilotReport {
    let time = |seconds: u64| json!({"secs_since_epoch": seconds, "nanos_since_epoch": 5});
    let reason = "dead, but 2 voters would remain, below MinQuorum 3";
    let report = json!({
        "dry_run": true,
        "intended_size": 3,
        "voters": 3,
        "failed_hold": Duration::from_secs(180),
        "last_check": time(1_600_000_000),
        "next_check": time(1_600_000_010),
        "decided": "remove dave: left for 190 s of 180",
        "blocked": {"rule": "min-quorum", "reason": reason, "server": "carol"},
        "servers": {
            "carol": {
                "rule": "min-quorum",
                "reason": reason,
                "lasted": Duration::from_secs(30),
                "next_check": time(1_600_000_010),
            },
        },
        "actions": [
            {
                "time": time(1_600_000_000),
                "kind": "replace",
                "server": "erin",
                "replaced_by": "frank",
                "reason": "replace erin with frank: failed for 182 s of 180",
                "result": "not-applied",
                "error": "the quorum is unproven",
            },
        ],
    });
    serde_json::from_value(report).unwrap()
}

/// A complete ring, one with a failure and a silent node, one with a report and an
/// error, and one that was not asked.
fn rings() -> KeyringReply {
    let whole = {
        let mut report = RingReport::new(1);
        report.holds(&[key()]);
        report
    };
    let mut some = RingReport::new(3);
    some.holds_more("alice".into(), &[key()], 30);
    some.failed("bob".into(), NodeFailure::EncryptionOff);
    some.silent = vec!["carol".into()];
    let late = OperatorError::new(ErrorKind::DeadlineExceeded {
        target: "the LAN pool".into(),
        after: Duration::from_millis(4500),
    });
    let mut both = RingOutcome::new("dc2", Pool::Segment("alpha".into()), some.clone());
    both.error = Some(late);
    KeyringReply {
        rings: vec![
            RingOutcome::new("dc1", Pool::Wan, whole),
            RingOutcome::new("dc1", Pool::Lan, some),
            both,
            RingOutcome::failed("dc3", Pool::Lan, ErrorKind::TooManyHops { hops: 4 }.into()),
        ],
    }
}

/// The replies, each with a request that it answers.
pub(crate) fn replies() -> Vec<(
    &'static str,
    OperatorRequest,
    Result<OperatorReply, OperatorError>,
)> {
    let removal = || {
        to_dc2(Operation::RemovePeer {
            server: PeerSelector::Id("carol".into()),
            expected_index: None,
        })
    };
    let mut replies = vec![
        (
            "raft-configuration",
            to_dc2(Operation::RaftConfiguration(Consistency::Default)),
            Ok(OperatorReply::RaftConfiguration(configuration())),
        ),
        ("peer-removed", removal(), Ok(OperatorReply::PeerRemoved)),
        (
            "leadership-transferred",
            to_dc2(Operation::TransferLeadership { to: None }),
            Ok(OperatorReply::LeadershipTransferred),
        ),
        (
            "autopilot-configuration",
            to_dc2(Operation::AutopilotConfiguration(Consistency::Default)),
            Ok(OperatorReply::AutopilotConfiguration(autopilot())),
        ),
        (
            "autopilot-configuration-set",
            to_dc2(Operation::SetAutopilotConfiguration {
                configuration: autopilot(),
                expected_index: None,
            }),
            Ok(OperatorReply::AutopilotConfigurationSet(true)),
        ),
        (
            "autopilot-state",
            to_dc2(Operation::AutopilotState(Consistency::Default)),
            Ok(OperatorReply::AutopilotState(state())),
        ),
    ];
    let mut rings = rings();
    rings.rings.retain(|ring| ring.datacenter == "dc2");
    rings.rings[0].error = None;
    replies.push((
        "keyring",
        keyring(KeyringAction::List),
        Ok(OperatorReply::Keyring(rings)),
    ));
    replies.extend([
        (
            "own-view",
            to_dc2(Operation::OwnView),
            Ok(OperatorReply::OwnView(own_view())),
        ),
        (
            "server-views",
            to_dc2(Operation::ServerViews),
            Ok(OperatorReply::ServerViews(server_views())),
        ),
        (
            "diagnosis",
            to_dc2(Operation::Diagnose),
            Ok(OperatorReply::Diagnosis(diagnosis())),
        ),
    ]);
    replies.push((
        "removal-plan",
        to_dc2(Operation::PlanRemoval {
            server: PeerSelector::Id("carol".into()),
        }),
        Ok(OperatorReply::RemovalPlan(plan())),
    ));
    replies.push((
        "peer-replaced",
        to_dc2(Operation::ReplacePeer {
            id: "carol".into(),
            with: "dave".into(),
        }),
        Ok(OperatorReply::PeerReplaced),
    ));
    let loss = OperatorError::new(ErrorKind::QuorumLoss {
        voters: 2,
        alive: 1,
        needed: 3,
    });
    replies.push((
        "quorum-loss-planned",
        removal(),
        Err(loss.with_plan(plan())),
    ));
    for error in errors() {
        let name = error.kind().name();
        replies.push((name, removal(), Err(error)));
    }
    for (name, kind) in other_errors() {
        replies.push((name, removal(), Err(kind.into())));
    }
    let last = LogPosition {
        term: 3,
        index: u64::MAX,
    };
    let mut leading = own_view();
    leading.autopilot = Some(report());
    replies.push((
        "own-view-of-a-driver",
        to_dc2(Operation::OwnView),
        Ok(OperatorReply::OwnView(leading)),
    ));
    let own = AutopilotConfiguration {
        failed_hold: Some(Duration::from_secs(180)),
        intended_size: Some(u64::MAX),
        dry_run: Some(false),
        ..autopilot()
    };
    replies.push((
        "autopilot-configuration-of-a-driver",
        to_dc2(Operation::AutopilotConfiguration(Consistency::Default)),
        Ok(OperatorReply::AutopilotConfiguration(own)),
    ));
    replies.push((
        "autopilot-state-of-a-driver",
        to_dc2(Operation::AutopilotState(Consistency::Default)),
        Ok(OperatorReply::AutopilotState(reported_state())),
    ));
    replies.push((
        "raft-configuration-stale",
        to_dc2(Operation::RaftConfiguration(Consistency::Stale)),
        Ok(OperatorReply::RaftConfiguration(
            configuration().with_last_log(last),
        )),
    ));
    replies
}

/// Errors with another content than in [`errors`], each with the name of its message.
fn other_errors() -> [(&'static str, ErrorKind); 6] {
    let denied = |resource, access, identity| ErrorKind::PermissionDenied {
        resource,
        access,
        identity,
    };
    let (keyring, operator) = (Resource::Keyring, Resource::Operator);
    [
        (
            "permission-denied-anonymous",
            denied(keyring, Access::Read, Identity::Anonymous),
        ),
        (
            "permission-denied-unnamed",
            denied(keyring, Access::Write, Identity::Unnamed),
        ),
        (
            "permission-denied-acls-off",
            denied(operator, Access::Read, Identity::AclsOff),
        ),
        (
            "invalid-key-base64",
            ErrorKind::InvalidKey(InvalidKey::Base64 { offset: 7 }),
        ),
        ("not-leader-unknown", ErrorKind::NotLeader { leader: None }),
        (
            "unknown-server-id",
            ErrorKind::UnknownServer(PeerSelector::Id("zoe".into())),
        ),
    ]
}

/// An error of each kind.
fn errors() -> Vec<OperatorError> {
    let text = || String::from("says \"no\"\nä");
    let after = Duration::from_millis(1500);
    let version = |term, index| ConfigVersion { term, index };
    let kinds = [
        ErrorKind::InvalidRequest { reason: text() },
        ErrorKind::InvalidKey(InvalidKey::Size { bytes: 3 }),
        ErrorKind::PermissionDenied {
            resource: Resource::Operator,
            access: Access::Write,
            identity: Identity::Accessor(AccessorId::new("6a1253d2")),
        },
        ErrorKind::UnknownToken,
        ErrorKind::AuthorizerUnavailable { reason: text() },
        ErrorKind::NoLeader,
        ErrorKind::NotMember { id: "dave".into() },
        ErrorKind::NotLeader {
            leader: Some(LeaderHint {
                id: "erin".into(),
                address: "10.0.0.5:8300".into(),
            }),
        },
        ErrorKind::NoPathToDatacenter {
            datacenter: "dc9".into(),
        },
        ErrorKind::Unreachable {
            target: "server 10.0.0.1:8300".into(),
            reason: text(),
        },
        ErrorKind::DeadlineExceeded {
            target: "datacenter dc2".into(),
            after,
        },
        ErrorKind::UnknownServer(PeerSelector::Address("10.0.0.9:8300".into())),
        ErrorKind::LastVoter,
        ErrorKind::QuorumLoss {
            voters: 3,
            alive: 1,
            needed: 2,
        },
        ErrorKind::QuorumUnproven {
            confirmed: 1,
            needed: 2,
            after,
        },
        ErrorKind::Conflict {
            expected: version(3, 7),
            actual: version(4, u64::MAX),
        },
        ErrorKind::TermChanged {
            expected: 3,
            actual: 4,
        },
        ErrorKind::ChangeInProgress,
        ErrorKind::AlreadyLeader { id: "dave".into() },
        ErrorKind::NotVoter { id: "erin".into() },
        ErrorKind::NoTransferTarget,
        ErrorKind::EncryptionOff,
        ErrorKind::Unsupported { what: text() },
        ErrorKind::TooManyHops { hops: 4 },
        ErrorKind::IncompatibleServer { reason: text() },
        ErrorKind::InvalidReply { reason: text() },
        ErrorKind::Unavailable { reason: text() },
        ErrorKind::Backend { message: text() },
        ErrorKind::TransferredElsewhere {
            leader: "frank".into(),
        },
        ErrorKind::NothingToReplace { id: "erin".into() },
        ErrorKind::AlreadyVoter { id: "dave".into() },
        ErrorKind::NotCaughtUp {
            id: "erin".into(),
            after,
        },
    ];
    let mut errors: Vec<_> = kinds.into_iter().map(OperatorError::new).collect();
    errors[12] = errors[12].clone().with_outcome(Outcome::Applied);
    // It holds what each ring did.
    errors.extend(rings().confirmed().err());
    errors
}
