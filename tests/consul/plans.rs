//! `Precise`: the plan of a removal, and the changes that Consul does not have.

use cluster_operator::mock::MockFederation;
use cluster_operator::raft::QuorumGuard;
use serde_json::json;

use crate::support::{Never, ask};

/// Alice, who leads, bob and carol, and dave without a vote. Ids are names.
fn federation(guard: QuorumGuard) -> MockFederation {
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol", "dave"])
        .nonvoters(["dave"])
        .raft_servers(|server| {
            let name = server.name.clone().unwrap();
            server.id = name.as_str().into();
        })
        .raft_index(22)
        .service_options(move |service| service.timer(Never).quorum_guard(guard))
        .build()
}

fn voters(federation: &MockFederation) -> Vec<String> {
    let servers = federation.configuration("dc1").servers.into_iter();
    let voters = servers.filter(|server| server.is_voter());
    voters.map(|server| server.id.to_string()).collect()
}

#[test]
fn plan_is_a_json_document() {
    let federation = federation(QuorumGuard::Quorum);
    federation.stop("bob");
    let alice = federation.service("alice");
    let expected = json!({
        "ID": "carol",
        "Address": "127.0.0.3:8300",
        "Voter": true,
        "Leader": false,
        "Version": "1-22",
        "Term": 1,
        "Verdict": "loses-quorum",
        "QuorumGuard": "quorum",
        "Allowed": false,
        "Before": {"Voters": 3, "Quorum": 2, "Alive": 2, "FailureTolerance": 0},
        "After": {"Voters": 2, "Quorum": 2, "Alive": 1, "FailureTolerance": 0},
        "Healthy": ["alice", "carol"],
        "Unhealthy": ["bob"],
        "Unknown": [],
        "Replacements": ["dave"],
    });
    for target in [
        "raft/removal-plan?id=carol",
        "raft/removal-plan?address=127.0.0.3:8300&pretty",
    ] {
        let answer = ask("GET", target).send(&alice);
        assert_eq!((answer.status(), answer.json()), (200, expected.clone()));
    }
    // A refusal carries it.
    for (method, target) in [
        ("DELETE", "raft/peer?id=carol"),
        ("POST", "raft/planned-removal?id=carol&version=1-22"),
    ] {
        let refusal = ask(method, target).problem().send(&alice).json();
        assert_eq!(refusal["kind"], "quorum-loss");
        assert_eq!(refusal["plan"], expected);
        let detail = refusal["detail"].as_str().unwrap();
        assert!(
            detail.contains("; or replace it with dave in one change"),
            "{detail}"
        );
    }
    let unknown = ask("DELETE", "raft/peer?id=nobody").problem().send(&alice);
    assert_eq!(unknown.json().get("plan"), None);
}

#[test]
fn planned_removal_is_made_once() {
    let federation = federation(QuorumGuard::Quorum);
    let bob = federation.service("bob");
    let remove = |version| {
        let target = format!("raft/planned-removal?id=carol&version={version}");
        ask("POST", &target).send(&bob)
    };
    for outdated in ["1-21", "2-22", "0-0"] {
        let answer = remove(outdated);
        assert_eq!(answer.status(), 409, "{}", answer.text());
        assert_eq!(answer.header("x-operator-error"), Some("conflict"));
    }
    assert_eq!(voters(&federation), ["alice", "bob", "carol"]);
    remove("1-22").done();
    assert_eq!(voters(&federation), ["alice", "bob"]);
    assert_eq!(remove("1-22").status(), 409);
}

#[test]
fn forced_removal_skips_the_margin() {
    let federation = federation(QuorumGuard::Margin);
    let alice = federation.service("alice");
    let refused = ask("DELETE", "raft/peer?id=carol").send(&alice);
    let (status, text) = refused.error();
    assert_eq!(status, 409);
    assert!(
        text.ends_with(", or force the removal past the quorum guard"),
        "{text}"
    );
    ask("POST", "raft/forced-removal?id=carol")
        .send(&alice)
        .done();
    assert_eq!(voters(&federation), ["alice", "bob"]);
}

#[test]
fn index_names_the_quorum_guard() {
    for (guard, name) in [
        (QuorumGuard::Off, "off"),
        (QuorumGuard::Quorum, "quorum"),
        (QuorumGuard::Margin, "margin"),
    ] {
        let federation = federation(guard);
        let index = ask("GET", "/v1/operator/").send(&federation.service("alice"));
        assert_eq!(index.json()["QuorumGuard"], name);
    }
}

#[test]
fn replacement_answers_with_an_empty_200() {
    let federation = federation(QuorumGuard::Quorum);
    let bob = federation.service("bob");
    let replace =
        |id, with| ask("POST", &format!("raft/replacement?id={id}&with={with}")).send(&bob);
    for (id, with, kind) in [
        ("dave", "dave", "nothing-to-replace"),
        ("bob", "carol", "already-voter"),
    ] {
        let answer = replace(id, with);
        assert_eq!(answer.status(), 409);
        assert_eq!(answer.header("x-operator-error"), Some(kind));
    }
    replace("carol", "dave").done();
    assert_eq!(voters(&federation), ["alice", "bob", "dave"]);
}
