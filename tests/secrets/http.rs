//! The HTTP answers of the wire.

use std::collections::BTreeSet;

use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::consul::{Dialect, Request, Response, Wire};
use cluster_operator::mock::{
    Calls, Fault, Grant, MockAcl, MockFederation, MockFederationBuilder, MockToken, NodeFault,
};
use cluster_operator::{OperatorService, Pool};
use futures_executor::block_on;

use crate::search::{TOKEN, assert_no_secret, escaped, found_in, key, key_text};

pub(crate) const DIALECTS: [Dialect; 4] = [
    Dialect::Precise,
    Dialect::Consul1_17,
    Dialect::Consul1_10,
    Dialect::Consul0_7,
];

/// A federation in which the token has this grant.
fn federation(grant: Option<Grant>) -> MockFederation {
    builder(grant).build()
}

pub(crate) fn builder(grant: Option<Grant>) -> MockFederationBuilder {
    let acl = MockAcl::new(DefaultPolicy::Deny);
    if let Some(grant) = grant {
        acl.add(
            MockToken::new(TOKEN)
                .with(Resource::Keyring, grant)
                .with(Resource::Operator, grant),
        );
    }
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob"])
        .datacenter("dc2", ["dave"])
        .gossip_key(key())
        .notices_failures(false)
        .authorizer(acl)
}

/// Returns the answers to a request with its token in each of the three ways, and with
/// errors requested in both forms.
pub(crate) fn answers(
    service: &OperatorService,
    dialect: Dialect,
    method: &str,
    target: &str,
    body: &str,
) -> Vec<Response> {
    let bearer = format!("Bearer {TOKEN}");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = format!("/v1/operator/{path}");
    let with_token = format!("{query}&token={}", escaped(TOKEN));
    let problem = ("Accept", "application/problem+json");
    let ways: [(&str, [(&str, &str); 2]); 4] = [
        (&with_token, [("", ""); 2]),
        (&with_token, [problem, ("", "")]),
        (query, [("X-Consul-Token", TOKEN), problem]),
        (query, [("Authorization", &bearer), ("", "")]),
    ];
    ways.iter()
        .map(|(query, headers)| {
            let request = Request {
                method,
                path: &path,
                query: Some(query),
                headers,
                body: body.to_owned().into(),
            };
            block_on(Wire::new(dialect).serve(service, request))
        })
        .collect()
}

#[track_caller]
fn assert_response_is_safe(response: &Response) {
    assert_no_secret(&response.body);
    for (_, value) in &response.headers {
        assert_no_secret(value.as_bytes());
    }
    assert_no_secret(format!("{response:?}"));
}

/// Invalid bodies with secrets in their values.
fn bad_bodies() -> Vec<String> {
    let key = key_text();
    let token = TOKEN;
    let url_safe = key.replace('+', "-").replace('/', "_");
    vec![
        key.clone(),
        format!("\"{key}\""),
        format!("[\"{key}\"]"),
        format!("{key}:{token}"),
        format!("{{\"Key\":\"{key}"),
        format!("{{\"Key\":\"{key}\"x}}"),
        format!("{{\"Key\":\"{key}\" \"Token\":\"{token}\"}}"),
        format!("{{\"Key\":\"{key}\"}}{{\"Token\":\"{token}\"}}"),
        format!("{{\"Key\":{key}}}"),
        format!("{{Key:\"{key}\"}}"),
        format!("{{\"Key\":\"\\x{key}\"}}"),
        format!("{{\"Key\":[\"{key}\"]}}"),
        format!("{{\"Key\":{{\"{key}\":\"{token}\"}}}}"),
        format!("{{\"Key\":\"{key}\",\"Token\":[\"{token}\"]}}"),
        format!("{{\"Key\":5,\"Token\":\"{token}\"}}"),
        format!("{{\"Key\":\"{key}\",\"RelayFactor\":\"{token}\"}}"),
        format!("{{\"Key\":\"{key}\",\"LocalOnly\":\"{token}\"}}"),
        format!("{{\"Key\":\"{key}\",\"Extra\":\"{token}\"}}"),
        format!("{{\"Key\":\"{}\"}}", &key[..20]),
        format!("{{\"Key\":\"{}\"}}", &key[1..]),
        format!("{{\"Key\":\"{url_safe}\"}}"),
        format!("{{\"Key\":\"{key}{key}\"}}"),
        format!("{{\"Key\":\"{token}\"}}"),
        format!("{{\"Key\":\"{}\"}}", key.repeat(40)),
    ]
}

#[test]
fn rejected_body_is_not_repeated() {
    for grant in [None, Some(Grant::Read), Some(Grant::Write)] {
        let federation = federation(grant);
        for dialect in DIALECTS {
            for body in bad_bodies() {
                for method in ["POST", "PUT", "DELETE"] {
                    let alice = federation.service("alice");
                    for response in answers(&alice, dialect, method, "keyring", &body) {
                        assert_response_is_safe(&response);
                    }
                }
            }
        }
    }
}

#[test]
fn unknown_field_is_named_without_its_value() {
    let federation = federation(Some(Grant::Write));
    let body = format!("{{\"Surplus\":\"{}\"}}", key_text());
    let known = "the fields are Key, Token, RelayFactor, LocalOnly";
    for (dialect, text) in [
        (
            Dialect::Precise,
            &*format!("unknown field \"Surplus\": {known}"),
        ),
        (
            Dialect::Consul1_10,
            "Bad request: Request decode failed: json: unknown field \"Surplus\"",
        ),
    ] {
        let alice = federation.service("alice");
        let response = &answers(&alice, dialect, "POST", "keyring", &body)[0];
        assert_eq!(response.body, text);
    }
}

#[test]
fn key_that_rings_reject_is_not_repeated() {
    let body = format!("{{\"Key\":\"{}\"}}", key_text());
    for dialect in DIALECTS {
        for unencrypted in [false, true] {
            let federation = federation(Some(Grant::Write));
            if unencrypted {
                for (server, pool) in [("bob", Pool::Lan), ("dave", Pool::Lan)] {
                    federation.keyring(server, &pool).set_ring(server, None);
                }
            }
            let alice = federation.service("alice");
            // The primary key, which can be installed and used, but not removed.
            for method in ["POST", "PUT", "DELETE"] {
                for response in answers(&alice, dialect, method, "keyring", &body) {
                    assert_response_is_safe(&response);
                }
            }
            federation.stop("bob");
            federation.stop("dave");
            for method in ["POST", "PUT", "DELETE"] {
                for response in answers(&alice, dialect, method, "keyring", &body) {
                    assert!(response.status >= 400, "{dialect:?} {method}");
                    assert_response_is_safe(&response);
                }
            }
        }
    }
}

#[test]
fn no_endpoint_repeats_the_token() {
    let body = format!("{{\"Key\":\"{}\"}}", key_text());
    let requests = [
        ("GET", "raft/configuration"),
        ("GET", "raft/configuration?wait=x"),
        ("GET", "raft/configuration?dc=nope"),
        ("GET", "raft/configuration?%zz"),
        ("DELETE", "raft/peer"),
        ("DELETE", "raft/peer?id=x"),
        ("DELETE", "raft/peer?id=x&cas=y"),
        ("POST", "raft/transfer-leader?id=x"),
        ("GET", "raft/removal-plan?id=x"),
        ("POST", "raft/planned-removal?id=x&version=y"),
        ("POST", "raft/forced-removal?id=x"),
        ("POST", "raft/replacement?id=x&with=y"),
        ("GET", "diagnosis"),
        ("GET", "autopilot/health"),
        ("PUT", "autopilot/configuration"),
        ("PATCH", "keyring"),
        ("OPTIONS", "keyring"),
        ("POST", "keyring?relay-factor=x"),
        ("GET", "%zz"),
        ("GET", "nowhere"),
    ];
    for grant in [None, Some(Grant::Read), Some(Grant::Write)] {
        let federation = federation(grant);
        for dialect in DIALECTS {
            for (method, target) in requests {
                let alice = federation.service("alice");
                for response in answers(&alice, dialect, method, target, &body) {
                    assert_response_is_safe(&response);
                }
            }
        }
    }
}

#[test]
fn problem_document_and_error_header_show_no_secret() {
    let body = format!("{{\"Key\":\"{}\"}}", key_text());
    let short = format!("{{\"Key\":\"{}\"}}", &key_text()[4..]);
    let requests = [
        ("GET", "raft/configuration", ""),
        ("GET", "raft/configuration?dc=nope", ""),
        ("GET", "raft/configuration?dc=dc2", ""),
        ("DELETE", "raft/peer?id=x", ""),
        ("DELETE", "raft/peer?id=x&cas=7", ""),
        ("POST", "raft/transfer-leader?id=x", ""),
        ("POST", "keyring", &body),
        ("PUT", "keyring", &body),
        ("DELETE", "keyring", &body),
        ("PUT", "keyring", &short),
        ("POST", "keyring?local-only=1", &body),
        ("GET", "keyring", ""),
    ];
    let refuses = |server| Fault::node(server, Pool::Lan, NodeFault::Refuses);
    let faults: [&[Fault]; 5] = [
        &[],
        &[refuses("bob"), refuses("dave")],
        &[Fault::stop("bob"), Fault::stop("dave")],
        &[Fault::refuse(Calls::all())],
        &[Fault::garble(Calls::all())],
    ];
    let mut named = BTreeSet::new();
    let mut problems = 0;
    for grant in [
        None,
        Some(Grant::Deny),
        Some(Grant::Read),
        Some(Grant::Write),
    ] {
        for faults in faults {
            let federation = federation(grant);
            for fault in faults {
                federation.inject(fault.clone());
            }
            let alice = federation.service("alice");
            for (method, target, body) in requests {
                for response in answers(&alice, Dialect::Precise, method, target, body) {
                    let Some(name) = response.header("X-Operator-Error") else {
                        continue;
                    };
                    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
                    assert!(name.bytes().all(plain), "{name}");
                    named.insert(name.to_owned());
                    let content_type = response.header("Content-Type");
                    problems += usize::from(content_type == Some("application/problem+json"));
                    assert_response_is_safe(&response);
                }
            }
        }
    }
    for met in [
        "conflict",
        "no-leader",
        "no-path-to-datacenter",
        "permission-denied",
        "rings-failed",
        "unknown-server",
        "unknown-token",
        "unreachable",
        "invalid-reply",
    ] {
        assert!(named.contains(met), "{met} was not met: {named:?}");
    }
    assert!(problems > 50, "{problems}");
}

#[test]
fn listing_shows_keys_only_to_authorized_callers() {
    for (grant, shown) in [
        (None, false),
        (Some(Grant::Deny), false),
        (Some(Grant::Read), true),
    ] {
        let federation = federation(grant);
        for dialect in DIALECTS {
            let alice = federation.service("alice");
            let bearer_counts = dialect != Dialect::Consul0_7;
            for (way, response) in answers(&alice, dialect, "GET", "keyring", "")
                .iter()
                .enumerate()
            {
                let shown = shown && (bearer_counts || way < 3);
                assert_eq!(found_in(&response.body).is_some(), shown, "{dialect:?}");
                // Even then, the token does not appear, and `Debug` shows no secret.
                assert!(!String::from_utf8_lossy(&response.body).contains(TOKEN));
                assert_no_secret(format!("{response:?}"));
            }
        }
    }
}
