//! Statuses, media types, headers and bodies of many requests.

use std::time::{Duration, SystemTime};

use cluster_operator::acl::{Access, AccessorId, DefaultPolicy, Identity, Resource};
use cluster_operator::autopilot::{AutopilotConfiguration, AutopilotState};
use cluster_operator::consul::{Dialect, Response, Wire};
use cluster_operator::keyring::{InvalidKey, Pool};
use cluster_operator::mock::{Fault, MockAcl, MockFederation, NodeFault};
use cluster_operator::raft::{ConfigVersion, LeaderHint, PeerSelector, QuorumGuard};
use cluster_operator::{ErrorKind, OperatorError, OperatorReply, OperatorService};
use serde_json::json;

use crate::document::{Document, Operation};
use crate::worlds::{
    Ask, FIRST, Never, SECOND, ask, everything, failing, gossip_only, request, told_by_dc2,
    two_datacenters, undecided,
};

const ACCEPT: [&str; 3] = ["*/*", "application/json", "application/problem+json"];

/// Sends a request in each form of its errors, each to a new server, and checks the
/// responses.
fn try_forms(document: &Document, ask: &Ask, send: impl Fn(&Ask) -> Response) {
    for accept in ACCEPT {
        let ask = ask
            .clone()
            .header("Accept", accept)
            .header("X-Request-Id", "a-1");
        check(document, &ask.method, &ask.path, &send(&ask));
    }
}

fn check(document: &Document, method: &str, path: &str, response: &Response) {
    if let Err(error) = document.check(method, path, response) {
        let body = String::from_utf8_lossy(&response.body);
        panic!("{method} {path}: {error}\n{response:?}\n{body}");
    }
}

/// Sends it to a server of a new federation.
fn at(document: &Document, server: &str, build: &dyn Fn() -> MockFederation, ask: &Ask) {
    try_forms(document, ask, |ask| {
        let federation = build();
        ask.send(&federation.service(server))
    });
}

fn to(document: &Document, service: &OperatorService, ask: &Ask) {
    try_forms(document, ask, |ask| ask.send(service));
}

fn is_raft_change(operation: &Operation) -> bool {
    operation.method != "GET" && operation.path.contains("/raft/")
}

/// What another server or a backend may answer, with each form of its data.
fn kinds() -> Vec<ErrorKind> {
    let text = || "x".to_owned();
    let second = Duration::from_secs(1);
    let version = |index| ConfigVersion { term: 1, index };
    let hint = LeaderHint {
        id: "b".into(),
        address: "127.0.0.2:8300".into(),
    };
    let denied = |identity| ErrorKind::PermissionDenied {
        resource: Resource::Operator,
        access: Access::Write,
        identity,
    };
    let rings = vec![
        ("dc1".into(), Pool::Wan),
        ("dc1".into(), Pool::Segment("s".into())),
    ];
    vec![
        ErrorKind::InvalidRequest { reason: text() },
        ErrorKind::InvalidKey(InvalidKey::Size { bytes: 1 }),
        ErrorKind::InvalidKey(InvalidKey::Base64 { offset: 1 }),
        denied(Identity::Anonymous),
        denied(Identity::Unnamed),
        denied(Identity::Accessor(AccessorId::new("a"))),
        ErrorKind::UnknownToken,
        ErrorKind::AuthorizerUnavailable { reason: text() },
        ErrorKind::NoLeader,
        ErrorKind::NotMember { id: "a".into() },
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
            after: second,
        },
        ErrorKind::UnknownServer(PeerSelector::Id("a".into())),
        ErrorKind::UnknownServer(PeerSelector::Address("a".into())),
        ErrorKind::LastVoter,
        ErrorKind::QuorumLoss {
            voters: 2,
            alive: 1,
            needed: 2,
        },
        ErrorKind::QuorumUnproven {
            confirmed: 1,
            needed: 2,
            after: second,
        },
        ErrorKind::Conflict {
            expected: version(1),
            actual: version(2),
        },
        ErrorKind::TermChanged {
            expected: 1,
            actual: 2,
        },
        ErrorKind::ChangeInProgress,
        ErrorKind::NothingToReplace { id: "a".into() },
        ErrorKind::AlreadyVoter { id: "a".into() },
        ErrorKind::NotCaughtUp {
            id: "a".into(),
            after: second,
        },
        ErrorKind::AlreadyLeader { id: "a".into() },
        ErrorKind::NotVoter { id: "a".into() },
        ErrorKind::NoTransferTarget,
        ErrorKind::TransferredElsewhere { leader: "a".into() },
        ErrorKind::EncryptionOff,
        ErrorKind::RingsFailed {
            failed: rings,
            rings: 2,
        },
        ErrorKind::Unsupported { what: text() },
        ErrorKind::TooManyHops { hops: 4 },
        ErrorKind::IncompatibleServer { reason: text() },
        ErrorKind::InvalidReply { reason: text() },
        ErrorKind::Unavailable { reason: text() },
        ErrorKind::Backend { message: text() },
    ]
}

/// The kinds by which every operation may fail, because of a backend or another server.
fn is_common(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidRequest { .. }
            | ErrorKind::PermissionDenied { .. }
            | ErrorKind::UnknownToken
            | ErrorKind::AuthorizerUnavailable { .. }
            | ErrorKind::NoLeader
            | ErrorKind::NotMember { .. }
            | ErrorKind::NotLeader { .. }
            | ErrorKind::Unreachable { .. }
            | ErrorKind::DeadlineExceeded { .. }
            | ErrorKind::TooManyHops { .. }
            | ErrorKind::IncompatibleServer { .. }
            | ErrorKind::InvalidReply { .. }
            | ErrorKind::Unavailable { .. }
            | ErrorKind::Backend { .. }
    )
}

fn successes(document: &Document, operation: &Operation) {
    let healthy = || two_datacenters().build();
    let base = request(operation);
    at(document, "alice", &healthy, &base);
    at(document, "bob", &healthy, &base);
    at(document, "alice", &healthy, &base.clone().query("pretty"));
    let carol_is_down = || {
        let federation = two_datacenters().notices_failures(false).build();
        federation.stop("carol");
        federation.stop_datacenter("dc2");
        federation
    };
    at(document, "alice", &carol_is_down, &base);
    if operation.method == "GET" {
        at(document, "bob", &healthy, &base.clone().query("stale"));
        let mut head = base;
        head.method = "HEAD".to_owned();
        at(document, "alice", &healthy, &head);
    }
    to(document, &gossip_only(), &request(operation));
}

fn rejections(document: &Document, operation: &Operation) {
    let base = request(operation);
    let service = everything();
    to(document, &service, &base.clone().query("nonsense"));
    to(document, &service, &base.clone().query("dc=nope"));
    if is_raft_change(operation) || operation.id == "planRemoval" {
        to(document, &service, &base.clone().query("id=nobody"));
    }
    let reading = Wire::new(Dialect::Precise).with_openapi().read_only();
    to(document, &service, &base.clone().wire(reading));
    let mut many = base.clone();
    for _ in 0..65 {
        many = many.header("X-Other", "x");
    }
    to(document, &service, &many);

    let acl = MockAcl::new(DefaultPolicy::Deny);
    let denying = || two_datacenters().authorizer(acl.clone()).build();
    at(document, "alice", &denying, &base);
    let unknown = base.clone().header("X-Consul-Token", "unknown");
    at(document, "alice", &denying, &unknown);
    acl.set_unavailable("the policies are being loaded");
    at(document, "alice", &denying, &base);
    to(document, &undecided(), &base);

    // What a transport answers.
    let wire = Wire::new(Dialect::Precise);
    for accept in ACCEPT {
        let headers = [("Accept", accept)];
        let check = |response| check(document, &operation.method, &operation.path, &response);
        check(wire.too_many_requests(&headers));
        if wire.wants_body(&operation.method, &operation.path) {
            check(wire.body_too_late(&headers));
            check(wire.body_too_large(&headers));
            check(wire.body_unreadable(&headers));
        }
    }
}

fn failures(document: &Document, operation: &Operation) {
    let base = request(operation);
    for kind in kinds() {
        let is_keyring = operation.path.ends_with("keyring");
        let is_unsupported = matches!(kind, ErrorKind::Unsupported { .. });
        let is_possible = is_common(&kind)
            || is_raft_change(operation)
            || (is_unsupported && operation.id != "diagnose");
        if is_possible {
            let elsewhere = base.clone().query("dc=dc2");
            let error = OperatorError::new(kind.clone());
            to(document, &told_by_dc2(Err(error)), &elsewhere);
        }
        let of_a_backend = matches!(
            kind,
            ErrorKind::Backend { .. }
                | ErrorKind::Unavailable { .. }
                | ErrorKind::DeadlineExceeded { .. }
                | ErrorKind::Unsupported { .. }
                | ErrorKind::Unreachable { .. }
        );
        let of_gossip = is_keyring && matches!(kind, ErrorKind::EncryptionOff);
        if of_a_backend || of_gossip {
            to(document, &failing(kind), &base);
        }
    }
}

fn special_cases(document: &Document) {
    let healthy = || two_datacenters().build();
    let margin = || {
        two_datacenters()
            .service_options(|service| service.timer(Never).quorum_guard(QuorumGuard::Margin))
            .build()
    };
    for target in ["raft/peer?id=carol", "raft/peer?id=alice&cas=7"] {
        at(document, "alice", &margin, &ask("DELETE", target));
    }
    for target in ["raft/removal-plan?id=erin", "raft/removal-plan?id=alice"] {
        at(document, "alice", &margin, &ask("GET", target));
    }
    let last = ask("DELETE", "raft/peer?id=dave&dc=dc2");
    at(document, "alice", &healthy, &last);

    let segment = || two_datacenters().segment("dc1", "alpha", ["alice"]).build();
    at(document, "alice", &segment, &ask("GET", "keyring"));
    at(document, "alice", &segment, &ask("GET", "diagnosis"));
    let key = |key: &str| format!(r#"{{"Key":"{key}"}}"#);
    let primary = ask("DELETE", "keyring").body(key(FIRST));
    at(document, "alice", &healthy, &primary);
    at(
        document,
        "alice",
        &healthy,
        &ask("PUT", "keyring").body(key(FIRST)),
    );
    let faulty = || {
        let federation = two_datacenters().build();
        for (node, fault) in [
            ("bob", NodeFault::Silent),
            ("carol", NodeFault::Refuses),
            ("erin", NodeFault::ListsOther(SECOND.parse().unwrap())),
        ] {
            federation.inject(Fault::node(node, Pool::Lan, fault));
        }
        federation
    };
    let dead = || {
        let federation = two_datacenters().build();
        federation.stop("carol");
        federation
    };
    let clear = || two_datacenters().unencrypted().build();
    let leaderless = || {
        let federation = two_datacenters().build();
        federation.stop("alice");
        federation.stop("carol");
        federation
    };
    for build in [
        &faulty as &dyn Fn() -> MockFederation,
        &dead,
        &clear,
        &leaderless,
    ] {
        for server in ["bob", "dave"] {
            at(document, server, build, &ask("GET", "keyring"));
            at(document, server, build, &ask("GET", "diagnosis"));
            at(
                document,
                server,
                build,
                &ask("POST", "keyring").body(key(SECOND)),
            );
            at(document, server, build, &ask("GET", "autopilot/health"));
            at(document, server, build, &ask("GET", "autopilot/state"));
        }
    }
    let with_cas = ask("PUT", "autopilot/configuration?cas=9").body("{}");
    at(document, "alice", &healthy, &with_cas);
}

/// What a cluster shows on whose leader an autopilot runs.
fn autopilot(document: &Document) {
    let configuration = AutopilotConfiguration {
        failed_hold: Some(Duration::from_secs(180)),
        intended_size: Some(3),
        dry_run: Some(true),
        ..AutopilotConfiguration::default()
    };
    let reply = OperatorReply::AutopilotConfiguration(configuration);
    let configuration = ask("GET", "autopilot/configuration?dc=dc2");
    to(document, &told_by_dc2(Ok(reply)), &configuration);

    let blocked = json!({"rule": "hold", "reason": "failed for 9 s of 180", "server": "a"});
    for (time, text, blocked) in [
        (Some(SystemTime::UNIX_EPOCH), Some("text"), Some(blocked)),
        (None, None, None),
    ] {
        let server = json!({
            "rule": "hold",
            "reason": "failed for 9 s of 180",
            "lasted": Duration::from_secs(9),
            "next_check": SystemTime::UNIX_EPOCH,
        });
        let action = json!({
            "time": SystemTime::UNIX_EPOCH,
            "kind": "replace",
            "server": "a",
            "replaced_by": text,
            "reason": "replace a with b",
            "result": "not-applied",
            "error": text,
        });
        let report = json!({
            "dry_run": true,
            "intended_size": 3,
            "voters": 3,
            "failed_hold": Duration::from_secs(180),
            "last_check": time,
            "next_check": time,
            "decided": text,
            "blocked": blocked,
            "servers": {"a": server},
            "actions": [action],
        });
        let state = AutopilotState {
            autopilot: Some(serde_json::from_value(report).unwrap()),
            ..AutopilotState::default()
        };
        let state = told_by_dc2(Ok(OperatorReply::AutopilotState(state)));
        to(document, &state, &ask("GET", "autopilot/state?dc=dc2"));
    }
}

#[test]
fn responses_are_described_and_described_responses_occur() {
    let document = Document::served();
    for operation in document.operations() {
        successes(&document, operation);
        rejections(&document, operation);
        failures(&document, operation);
    }
    special_cases(&document);
    autopilot(&document);
    assert_eq!(document.missing_responses(), []);
    assert_eq!(document.missing_properties(), [""; 0]);
}
