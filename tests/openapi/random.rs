//! Random requests, whose responses the document describes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::autopilot::{AutopilotConfiguration, Detection, FailureDetector, Settings};
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockToken};
use cluster_operator::service::Autopilot;
use cluster_operator::{NodeName, OperatorError, OperatorService};
use futures_util::FutureExt;
use proptest::prelude::*;
use proptest::sample::select;

use crate::document::Document;
use crate::worlds::{Ask, SECOND, ask, gossip_only, two_datacenters};

thread_local! {
    static DOCUMENT: Document = Document::served();
}

/// A request to one of the paths, or to a path that is near.
fn requests() -> impl Strategy<Value = Ask> {
    let method = select(vec![
        "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH",
    ]);
    let operations = DOCUMENT.with(|document| document.operations().to_vec());
    let known: Vec<_> = operations
        .iter()
        .map(|operation| operation.path.clone())
        .collect();
    let path = prop_oneof![
        9 => select(known),
        1 => "/v1/operator/[ -~]{0,12}",
    ];
    let names = DOCUMENT.with(|document| {
        let parameters = operations.iter().flat_map(|operation| {
            let own = document.parameters(operation, true);
            own.into_iter().chain(document.parameters(operation, false))
        });
        let mut names: Vec<_> = parameters
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names.dedup();
        names.push("token".to_owned());
        names.push("nonsense".to_owned());
        names
    });
    let value = prop_oneof![
        4 => select(vec![
            "", "0", "1", "6", "10s", "true", "dc1", "dc2", "nope", "writer", "reader", "alice",
            "bob", "carol", "erin", "127.0.0.2:8300", "1-22", "22", "%zz", "%ff", "a;b",
        ])
        .prop_map(str::to_owned),
        1 => "[!-$*-~]{0,6}",
    ];
    let pair = (select(names), value).prop_map(|(name, value)| format!("{name}={value}"));
    let query = proptest::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&"));
    let header = select(vec![
        ("Accept", "application/json"),
        ("Accept", "application/problem+json"),
        ("X-Consul-Token", "writer"),
        ("X-Consul-Token", "reader"),
        ("X-Consul-Token", "unknown"),
        ("Authorization", "Bearer writer"),
        ("X-Request-Id", "a-1"),
        ("X-Request-Id", "no id"),
        ("Cache-Control", "max-age=x"),
    ]);
    let headers = proptest::collection::vec(header, 0..4);
    let body = prop_oneof![
        3 => Just(format!(r#"{{"Key":"{SECOND}"}}"#)),
        2 => Just("{}".to_owned()),
        1 => Just(String::new()),
        1 => Just(r#"{"MinQuorum":3,"LastContactThreshold":"1s"}"#.to_owned()),
        1 => select(vec![
            r#"{"FailedHold":"1m","IntendedSize":5,"DryRun":null}"#,
            r#"{"FailedHold":"1s"}"#,
            r#"{"IntendedSize":0,"MinQuorum":3}"#,
        ])
        .prop_map(str::to_owned),
        1 => "[{}:,\"0-9aKey]{0,12}",
    ];
    (method, path, query, headers, body).prop_map(|(method, path, query, headers, body)| {
        let mut request = ask(method, "").query(&query).body(body);
        request.path = path;
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request
    })
}

/// A failure detector that knows no server.
struct Blind;

#[async_trait]
impl FailureDetector for Blind {
    async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
        Ok(BTreeMap::new())
    }
}

/// Servers that are well, guarded, cut off, without a leader, and without Raft, and one with
/// an autopilot.
fn servers() -> (Vec<MockFederation>, Autopilot, Vec<OperatorService>) {
    let acl = MockAcl::new(DefaultPolicy::Deny)
        .with_token(
            MockToken::new("writer")
                .with(Resource::Keyring, Grant::Write)
                .with(Resource::Operator, Grant::Write),
        )
        .with_token(MockToken::new("reader").with(Resource::Operator, Grant::Read));
    let healthy = two_datacenters().build();
    let guarded = two_datacenters().authorizer(acl).build();
    let leaderless = two_datacenters().build();
    leaderless.stop("alice");
    leaderless.stop("carol");
    let watched = two_datacenters().build();
    let settings = Settings::new(3, AutopilotConfiguration::default()).unwrap();
    let mut autopilot = Autopilot::new(&watched.service("alice"), Blind, settings);
    let tick = autopilot.tick().now_or_never();
    assert!(tick.is_some_and(|tick| tick.is_ok()));
    let services = vec![
        watched.service("alice"),
        healthy.service("alice"),
        healthy.service("bob"),
        guarded.service("alice"),
        two_datacenters().build().service("bob"),
        leaderless.service("bob"),
        gossip_only(),
    ];
    (
        vec![watched, healthy, guarded, leaderless],
        autopilot,
        services,
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        // A failure is shown; a useful case becomes a test of its own.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn response_to_any_request_is_described(request in requests()) {
        let (_federations, _autopilot, services) = servers();
        for service in services {
            let response = request.send(&service);
            let checked = DOCUMENT.with(|document| {
                document.check(&request.method, &request.path, &response)
            });
            prop_assert!(checked.is_ok(), "{checked:?}: {response:?}: {:?}", response.body);
        }
    }
}
