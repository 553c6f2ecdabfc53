//! Who may read the diagnosis, and its form.

use super::*;

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
    for dialect in [Dialect::Consul1_17, Dialect::Consul1_10, Dialect::Consul0_7] {
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
