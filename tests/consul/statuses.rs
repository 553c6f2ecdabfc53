//! `Precise`: statuses and texts of the service's answers and errors.

use std::time::Duration;

use cluster_operator::consul::{Call, Dialect, Wire};
use cluster_operator::keyring::InvalidKey;
use cluster_operator::mock::{MockPeers, MockRaft};
use cluster_operator::peers::Target;
use cluster_operator::raft::{ConfigVersion, LeaderHint, PeerSelector, QuorumGuard};
use cluster_operator::{AllowAll, ErrorKind, OperatorError, OperatorService, Outcome};

use crate::support::{Answer, AtOnce, Never, ask, two_datacenters};

const NO_PATH: &str = "Invalid URL path: not a recognized HTTP API endpoint";

#[test]
fn unknown_path_is_a_404() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for path in [
        "/",
        "/v1/operator/raft",
        "/v1/status/leader",
        "/V1/operator/keyring",
        "//evil.example/v1/operator/keyring",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = ask(method, path).send(&alice);
            assert_eq!(answer.error(), (404, NO_PATH), "{method} {path}");
        }
    }
}

#[test]
fn rejection_has_its_kind_in_a_header() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (method, target, status, kind) in [
        ("GET", "/v1/other", 404, "invalid-request"),
        ("PATCH", "keyring", 405, "invalid-request"),
        ("GET", "keyring?verbose", 400, "invalid-request"),
        ("POST", "keyring", 400, "invalid-key"),
    ] {
        let ask = ask(method, target).body(r#"{"Key":"AAAA"}"#);
        let answer = ask.send(&alice);
        assert_eq!(answer.status(), status);
        assert_eq!(answer.header("X-Operator-Error"), Some(kind), "{target}");
        let consul = ask.dialect(Dialect::Consul1_10).send(&alice);
        assert_eq!(consul.header("X-Operator-Error"), None);
    }
}

#[test]
fn unknown_path_is_compared_with_the_known_ones() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (path, meant) in [
        ("raft/config", Some("raft/configuration")),
        ("raft/peers", Some("raft/peer")),
        ("raft/transfer-leadership", Some("raft/transfer-leader")),
        ("keyrign", Some("keyring")),
        ("key", Some("keyring")),
        ("raft/list", None),
        ("area", None),
        ("usage", None),
    ] {
        let answer = ask("GET", path).send(&alice);
        let hint = meant.map(|meant| format!(": did you mean /v1/operator/{meant}?"));
        let text = format!("{NO_PATH}{}", hint.unwrap_or_default());
        assert_eq!(answer.error(), (404, text.as_str()), "{path}");
    }
}

#[test]
fn unknown_server_is_a_404() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (target, text) in [
        (
            "raft/peer?id=nobody",
            "id \"nobody\" was not found in the Raft configuration",
        ),
        (
            "raft/peer?address=127.0.0.9:8300",
            "address \"127.0.0.9:8300\" was not found in the Raft configuration",
        ),
        (
            "raft/peer?id=a%22%0a",
            "id \"a\\\"\\n\" was not found in the Raft configuration",
        ),
    ] {
        let answer = ask("DELETE", target).send(&alice);
        assert_eq!(answer.error(), (404, text));
    }
    for (method, target) in [
        ("POST", "raft/transfer-leader?id=nobody"),
        ("GET", "raft/removal-plan?address=nobody"),
        ("POST", "raft/planned-removal?id=nobody&version=1-22"),
        ("POST", "raft/forced-removal?id=nobody"),
        ("POST", "raft/replacement?id=nobody&with=nobody"),
    ] {
        let answer = ask(method, target).send(&alice);
        assert_eq!(answer.error().0, 404, "{target}");
    }
}

#[test]
fn refused_transfer_has_the_kind_of_its_reason() {
    let federation = two_datacenters()
        .nonvoters(["carol"])
        .raft_servers(|server| server.id = server.name.as_ref().unwrap().as_str().into())
        .build();
    let alice = federation.service("alice");
    for (query, status, kind, text) in [
        (
            "id=nobody",
            404,
            "unknown-server",
            "was not found in the Raft configuration",
        ),
        ("id=alice", 409, "already-leader", "leads already"),
        ("id=carol", 409, "not-voter", "name a voter"),
        ("dc=dc2", 409, "no-transfer-target", "add a voter"),
    ] {
        let answer = ask("POST", &format!("raft/transfer-leader?{query}")).send(&alice);
        assert_eq!(answer.header("X-Operator-Error"), Some(kind));
        let (code, message) = answer.error();
        assert_eq!(code, status, "{query}");
        assert!(message.contains(text), "{message}");
    }
    assert_eq!(federation.leader("dc1"), Some("alice".into()));
}

#[test]
fn unknown_datacenter_is_a_404() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (method, target) in [
        ("GET", "raft/configuration?dc=nope"),
        ("GET", "raft/configuration?stale&dc=nope"),
        ("DELETE", "raft/peer?id=x&datacenter=nope"),
        ("GET", "autopilot/health?dc=nope"),
    ] {
        let text = "No path to datacenter \"nope\": check its name, and that it is joined";
        let answer = ask(method, target).send(&alice);
        assert_eq!(answer.error(), (404, text), "{method} {target}");
    }
    let answer = ask("GET", "raft/configuration?dc=DC1").send(&alice);
    assert_eq!(answer.error().0, 404);
}

#[test]
fn other_method_is_a_405_that_lists_the_served_ones() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (target, allow) in [
        ("raft/configuration", "OPTIONS,GET"),
        ("raft/peer", "OPTIONS,DELETE"),
        ("raft/transfer-leader", "OPTIONS,POST"),
        ("raft/removal-plan", "OPTIONS,GET"),
        ("raft/planned-removal", "OPTIONS,POST"),
        ("raft/forced-removal", "OPTIONS,POST"),
        ("raft/replacement", "OPTIONS,POST"),
        ("keyring", "OPTIONS,GET,POST,PUT,DELETE"),
        ("autopilot/configuration", "OPTIONS,GET,PUT"),
        ("autopilot/health", "OPTIONS,GET"),
        ("autopilot/state", "OPTIONS,GET"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get"] {
            if allow.split(',').any(|allowed| allowed == method) {
                continue;
            }
            let answer = ask(method, target).send(&alice);
            let text = format!("method {method} not allowed");
            assert_eq!(answer.error(), (405, text.as_str()), "{target}");
            assert_eq!(answer.header("allow"), Some(allow));
        }
        let answer = ask("OPTIONS", target).send(&alice);
        answer.done();
        assert_eq!(answer.header("allow"), Some(allow));
    }
}

#[test]
fn head_is_get_without_the_body() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for target in [
        "raft/configuration",
        "raft/configuration?dc=nope",
        "raft/configuration?wait=x",
        "keyring",
        "autopilot/health",
        "raft/peer",
        "nowhere",
    ] {
        let get = ask("GET", target).send(&alice);
        let head = ask("HEAD", target).send(&alice);
        assert_eq!(head.text(), "", "{target}");
        assert_eq!(head.status(), get.status(), "{target}");
        for name in ["content-type", "cache-control", "allow"] {
            assert_eq!(head.header(name), get.header(name), "{target}");
        }
    }
}

#[test]
fn no_response_is_cached() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (method, target) in [
        ("GET", "keyring"),
        ("GET", "nowhere"),
        ("PATCH", "keyring"),
        ("DELETE", "raft/peer?id=nobody"),
        ("GET", "keyring?%zz"),
        ("GET", "%zz"),
    ] {
        let answer = ask(method, target).send(&alice);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{target}");
    }
}

#[test]
fn removal_of_the_last_voter_is_a_409() {
    let federation = two_datacenters().build();
    let dave = federation.service("dave");
    let answer = ask("DELETE", "raft/peer?address=127.0.0.4:8300").send(&dave);
    let text = "the last voter cannot be removed from the Raft configuration: add another voter \
                first";
    assert_eq!(answer.error(), (409, text));
    assert_eq!(federation.configuration("dc2").servers.len(), 1);
}

#[test]
fn removal_that_loses_the_quorum_is_a_409_unless_guard_is_off() {
    let carol_is_down = |guard| {
        let federation = two_datacenters()
            .service_options(move |service| service.timer(Never).quorum_guard(guard))
            .build();
        federation.stop("carol");
        federation
    };
    let remove = |address: &str| ask("DELETE", &format!("raft/peer?address={address}"));

    let federation = carol_is_down(QuorumGuard::Quorum);
    let alice = federation.service("alice");
    let answer = remove("127.0.0.2:8300").send(&alice);
    let text = "removing this voter would leave 1 of 2 voters alive, and 2 are needed: \
                remove the dead ones first, bring them back, or add a voter; or force the \
                removal if more of them are alive than is known";
    assert_eq!(answer.error(), (409, text));
    // The dead server can be removed, and then the other one.
    remove("127.0.0.3:8300").send(&alice).done();
    remove("127.0.0.2:8300").send(&alice).done();

    let federation = carol_is_down(QuorumGuard::Off);
    let answer = remove("127.0.0.2:8300").send(&federation.service("alice"));
    let text = "only 1 of the voters that stay confirmed a new log entry within 2250 ms, and 2 are \
                needed, so nothing was changed: check that the others are up";
    assert_eq!(answer.error(), (409, text));
    assert_eq!(answer.header("x-operator-error"), Some("quorum-unproven"));
    assert_eq!(federation.configuration("dc1").servers.len(), 3);
}

#[test]
fn removal_at_another_index_is_a_409_that_names_both() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let remove = |cas| {
        ask(
            "DELETE",
            &format!("raft/peer?address=127.0.0.2:8300&cas={cas}"),
        )
    };
    let text = "the Raft configuration is at index 22, not 21: read it again";
    assert_eq!(remove(21).send(&alice).error(), (409, text));
    assert_eq!(federation.configuration("dc1").servers.len(), 3);
    remove(22).send(&alice).done();
    assert_eq!(federation.configuration("dc1").servers.len(), 2);
}

#[test]
fn endpoint_without_a_backend_is_a_501() {
    let gossip_only = two_datacenters().autopilot(false).build();
    let alice = gossip_only.service("alice");
    let answer = ask("GET", "autopilot/health").send(&alice);
    assert_eq!(
        answer.error(),
        (501, "autopilot is not supported by this server")
    );
    let raft_only = OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice"]))
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap();
    let answer = ask("GET", "keyring").send(&raft_only);
    assert_eq!(
        answer.error(),
        (501, "gossip is not supported by this server")
    );
}

#[test]
fn unreachable_datacenter_is_a_502() {
    let federation = two_datacenters().build();
    federation.stop_datacenter("dc2");
    let answer = ask("GET", "raft/configuration?dc=dc2").send(&federation.service("alice"));
    assert_eq!(
        answer.error(),
        (502, "cannot reach datacenter dc2: no server is up")
    );
}

#[test]
fn no_leader_is_a_503_at_once_that_says_when_to_ask_again() {
    let federation = two_datacenters().build();
    federation.stop("alice");
    federation.stop("carol");
    let bob = federation.service("bob");
    let text = "No cluster leader: check that a majority of the voters is up, or ask with ?stale";
    for (method, target) in [
        ("GET", "raft/configuration"),
        ("GET", "raft/configuration?consistent"),
        ("DELETE", "raft/peer?id=x"),
        ("GET", "autopilot/health"),
    ] {
        let answer = ask(method, target).send(&bob);
        assert_eq!(answer.error(), (503, text), "{method} {target}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    let stale = ask("GET", "raft/configuration?stale").send(&bob);
    assert_eq!(stale.status(), 200);
    // Gossip needs no leader.
    assert_eq!(ask("GET", "keyring").send(&bob).status(), 200);
}

#[test]
fn late_answer_is_a_504() {
    let silent = Target::Datacenter("dc2".into());
    let service = OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice"]))
        .authorizer(AllowAll)
        .peers(MockPeers::new().with_answer(silent, |_| std::future::pending()))
        .deadline(Duration::from_millis(1500))
        .timer(AtOnce)
        .build()
        .unwrap();
    let text = "no answer from datacenter dc2 within 1500 ms";
    let answer = ask("GET", "raft/configuration?dc=dc2").send(&service);
    assert_eq!(answer.error(), (504, text));
    let answer = ask("DELETE", "raft/peer?id=x&dc=dc2").send(&service);
    let unknown = "(the change may have been made: look before you repeat it)";
    assert_eq!(answer.error(), (504, format!("{text} {unknown}").as_str()));
}

/// The answer to a request whose operation ends in this error.
fn answer_to(method: &str, target: &str, error: impl Into<OperatorError>) -> Answer {
    let Ok(Call { view, .. }) = ask(method, target).decode() else {
        panic!("{method} {target}");
    };
    Answer(Wire::new(Dialect::Precise).encode(&view, Err(error.into())))
}

#[test]
fn each_kind_of_error_has_its_status() {
    let hint = LeaderHint {
        id: "b".into(),
        address: "127.0.0.2:8300".into(),
    };
    let text = || "x".to_owned();
    for (status, kind) in [
        (400, ErrorKind::InvalidRequest { reason: text() }),
        (400, ErrorKind::InvalidKey(InvalidKey::Size { bytes: 1 })),
        (403, ErrorKind::UnknownToken),
        (404, ErrorKind::UnknownServer(PeerSelector::Id("a".into()))),
        (409, ErrorKind::LastVoter),
        (
            409,
            ErrorKind::QuorumLoss {
                voters: 2,
                alive: 1,
                needed: 2,
            },
        ),
        (
            409,
            ErrorKind::QuorumUnproven {
                confirmed: 1,
                needed: 2,
                after: Duration::from_secs(1),
            },
        ),
        (
            409,
            ErrorKind::Conflict {
                expected: ConfigVersion { term: 1, index: 1 },
                actual: ConfigVersion { term: 1, index: 2 },
            },
        ),
        (
            409,
            ErrorKind::TermChanged {
                expected: 1,
                actual: 2,
            },
        ),
        (409, ErrorKind::ChangeInProgress),
        (409, ErrorKind::NothingToReplace { id: "a".into() }),
        (409, ErrorKind::AlreadyVoter { id: "a".into() }),
        (
            409,
            ErrorKind::NotCaughtUp {
                id: "a".into(),
                after: Duration::from_secs(1),
            },
        ),
        (409, ErrorKind::AlreadyLeader { id: "a".into() }),
        (409, ErrorKind::NotVoter { id: "a".into() }),
        (409, ErrorKind::NoTransferTarget),
        (409, ErrorKind::TransferredElsewhere { leader: "a".into() }),
        (409, ErrorKind::EncryptionOff),
        (502, ErrorKind::IncompatibleServer { reason: text() }),
        (502, ErrorKind::InvalidReply { reason: text() }),
        (503, ErrorKind::NotMember { id: "a".into() }),
        (503, ErrorKind::Unavailable { reason: text() }),
        (501, ErrorKind::Unsupported { what: text() }),
        (
            502,
            ErrorKind::Unreachable {
                target: text(),
                reason: text(),
            },
        ),
        (503, ErrorKind::NoLeader),
        (503, ErrorKind::NotLeader { leader: Some(hint) }),
        (503, ErrorKind::NotLeader { leader: None }),
        (503, ErrorKind::TooManyHops { hops: 4 }),
        (503, ErrorKind::AuthorizerUnavailable { reason: text() }),
        (
            504,
            ErrorKind::DeadlineExceeded {
                target: text(),
                after: Duration::from_secs(1),
            },
        ),
        (
            500,
            ErrorKind::RingsFailed {
                failed: Vec::new(),
                rings: 1,
            },
        ),
        (500, ErrorKind::Backend { message: text() }),
    ] {
        let answer = answer_to("GET", "raft/configuration", kind.clone());
        let (got, text) = answer.error();
        assert_eq!(got, status, "{kind:?}");
        assert!(!text.is_empty());
        // A read changes nothing, and does not say so.
        assert!(!text.contains("(the change"), "{text}");
        assert_eq!(answer.header("x-operator-error"), Some(kind.name()));
        let retry = (status == 503).then_some("1");
        assert_eq!(answer.header("retry-after"), retry, "{kind:?}");
    }
}

#[test]
fn failed_write_says_what_is_known_of_the_change() {
    let failed = || OperatorError::backend("log is full");
    for (outcome, text, member) in [
        (Outcome::NotApplied, "log is full", "not-applied"),
        (
            Outcome::Applied,
            "log is full (the change has been made)",
            "applied",
        ),
        (
            Outcome::Unknown,
            "log is full (the change may have been made: look before you repeat it)",
            "unknown",
        ),
    ] {
        let error = failed().with_outcome(outcome);
        let answer = answer_to("DELETE", "raft/peer?id=a", error.clone());
        assert_eq!(answer.error(), (500, text));

        let Ok(Call { view, .. }) = ask("DELETE", "raft/peer?id=a").problem().decode() else {
            panic!();
        };
        let answer = Answer(Wire::new(Dialect::Precise).encode(&view, Err(error)));
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(
            answer.json(),
            serde_json::json!({
                "type": "about:blank",
                "title": "Internal Server Error",
                "status": 500,
                "detail": text,
                "outcome": member,
                "kind": "backend",
                "data": {"message": "log is full"},
            })
        );
    }
}

#[test]
fn every_error_is_a_problem_document_on_request() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let small = Wire::new(Dialect::Precise).with_body_limit(4);
    for (method, target, body, status, title) in [
        ("GET", "raft/configuration?wait=x", "", 400, "Bad Request"),
        ("GET", "raft/configuration?%zz", "", 400, "Bad Request"),
        ("GET", "%zz", "", 400, "Bad Request"),
        ("GET", "a%0ab", "", 400, "Bad Request"),
        ("POST", "keyring", "x", 400, "Bad Request"),
        ("GET", "raft/configuration?dc=x", "", 404, "Not Found"),
        ("GET", "nowhere", "", 404, "Not Found"),
        ("DELETE", "raft/peer?id=x", "", 404, "Not Found"),
        ("PATCH", "keyring", "", 405, "Method Not Allowed"),
        ("DELETE", "raft/peer?id=x&cas=1", "", 409, "Conflict"),
        ("POST", "keyring", "12345", 413, "Content Too Large"),
    ] {
        let plain = ask(method, target).wire(small).body(body).send(&alice);
        let problem = ask(method, target)
            .wire(small)
            .problem()
            .body(body)
            .send(&alice);
        assert_eq!(
            problem.header("content-type"),
            Some("application/problem+json"),
            "{method} {target}"
        );
        let json = problem.json();
        assert_eq!(json["type"], "about:blank");
        assert_eq!(json["title"], title, "{method} {target}");
        assert_eq!(json["status"], status, "{method} {target}");
        assert_eq!(json["detail"], plain.text());
        assert_eq!((plain.status(), problem.status()), (status, status));
        assert_eq!(plain.header("allow"), problem.header("allow"));
    }
}

#[test]
fn problem_document_has_to_be_requested_by_name() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (accept, problem) in [
        ("*/*", false),
        ("application/*", false),
        ("application/json", false),
        ("application/problem+json;q=0", false),
        ("application/problem+json; q=0.0", false),
        ("application/problem+json", true),
        ("text/html, Application/Problem+JSON ; q=0.3", true),
    ] {
        let answer = ask("GET", "nowhere").header("accept", accept).send(&alice);
        let media = if problem {
            "application/problem+json"
        } else {
            "text/plain; charset=utf-8"
        };
        assert_eq!(answer.header("content-type"), Some(media), "{accept}");
    }
}

#[test]
fn unhealthy_cluster_is_a_429_with_its_servers() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let healthy = ask("GET", "autopilot/health").send(&alice);
    assert_eq!(healthy.status(), 200);

    federation.stop("carol");
    let answer = ask("GET", "autopilot/health").send(&alice);
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let health = answer.json();
    assert_eq!(health["Healthy"], false);
    assert_eq!(health["FailureTolerance"], 0);
    let servers = health["Servers"].as_array().unwrap();
    let is_healthy: Vec<_> = servers
        .iter()
        .map(|server| (server["Name"].as_str().unwrap(), &server["Healthy"]))
        .collect();
    let (yes, no) = (&true.into(), &false.into());
    assert_eq!(is_healthy, [("alice", yes), ("bob", yes), ("carol", no)]);
    // The state is not a health check.
    assert_eq!(ask("GET", "autopilot/state").send(&alice).status(), 200);
}

#[test]
fn stale_answer_names_the_servers_own_last_entry() {
    let federation = two_datacenters()
        .raft_servers(|server| server.last_index = Some(0))
        .build();
    let bob = federation.service("bob");
    let target = "raft/configuration?stale";
    let stale = ask("GET", target).send(&bob);
    let last = &stale.json()["Servers"][1]["LastIndex"];
    let header = stale.header("X-Operator-Last-Log").unwrap();
    assert_eq!(header, format!("1-{last}"));
    let far = ask("GET", "raft/configuration?stale&dc=dc2").send(&bob);
    assert!(far.header("X-Operator-Last-Log").is_some());

    let fresh = ask("GET", "raft/configuration").send(&bob);
    assert_eq!(fresh.header("X-Operator-Last-Log"), None);
    let consul = ask("GET", target).dialect(Dialect::Consul1_10).send(&bob);
    assert_eq!(consul.header("X-Operator-Last-Log"), None);
}
