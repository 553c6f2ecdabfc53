//! Properties of every request.

use cluster_operator::OperatorService;
use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::autopilot::AutopilotConfiguration;
use cluster_operator::consul::{Call, Dialect, Request, Response, Wire};
use cluster_operator::mock::{Grant, MockAcl, MockToken};
use futures_util::FutureExt;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::two_datacenters;

const DIALECTS: [Dialect; 4] = [
    Dialect::Precise,
    Dialect::Consul1_17,
    Dialect::Consul1_10,
    Dialect::Consul0_7,
];

#[derive(Debug, Clone)]
struct Parts {
    method: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Parts {
    fn with<T>(&self, body: &[u8], then: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        then(&Request {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &headers.as_slice(),
            body: body.to_vec().into(),
        })
    }

    fn serve(&self, wire: Wire, service: &OperatorService) -> Response {
        self.with(&self.body, |request| {
            let request = Request {
                body: request.body.clone(),
                ..*request
            };
            wire.serve(service, request).now_or_never().unwrap()
        })
    }
}

/// Any request.
fn anything() -> impl Strategy<Value = Parts> {
    let text = any::<String>;
    let headers = proptest::collection::vec((text(), text()), 0..3);
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    let query = proptest::option::of(text());
    (text(), text(), query, headers, body).prop_map(|(method, path, query, headers, body)| Parts {
        method,
        path,
        query,
        headers,
        body,
    })
}

/// A request that is likely to be decoded.
fn likely() -> impl Strategy<Value = Parts> {
    let method = select(vec![
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "",
    ]);
    let path = prop_oneof![
        8 => select(vec![
            "/v1/operator/raft/configuration",
            "/v1/operator/raft/peer",
            "/v1/operator/raft/transfer-leader",
            "/v1/operator/raft/removal-plan",
            "/v1/operator/raft/planned-removal",
            "/v1/operator/raft/forced-removal",
            "/v1/operator/raft/replacement",
            "/v1/operator/diagnosis",
            "/v1/operator/keyring",
            "/v1/operator/keyring",
            "/v1/operator/autopilot/configuration",
            "/v1/operator/autopilot/health",
            "/v1/operator/autopilot/state",
        ])
        .prop_map(str::to_owned),
        1 => select(vec![
            "", "/", "//", "/v1//operator/keyring", "/v1/operator/%zz", "/v1/operator/%00",
            "/v1/operator/./keyring?x", "/v1/operator/%2e%2e/operator/keyring",
            "/v1/operator/a\u{a0}b", "/v1/operator//\r\nx: y", "/v1/operator/é//",
        ])
        .prop_map(str::to_owned),
        1 => "/v1/operator/[ -~\u{80}\u{2028}]{0,8}",
    ];
    let name = select(vec![
        "stale",
        "consistent",
        "cached",
        "max_stale",
        "wait",
        "index",
        "dc",
        "datacenter",
        "token",
        "id",
        "address",
        "cas",
        "version",
        "with",
        "relay-factor",
        "local-only",
        "pretty",
        "%zz",
        "a;b",
    ]);
    let value = prop_oneof![
        select(vec![
            "",
            "0",
            "1",
            "-1",
            "5",
            "6",
            "1s",
            "10",
            "true",
            "yes",
            "dc1",
            "dc2",
            "reader",
            "writer",
            "nobody",
            "127.0.0.2:8300",
            "99999999999999999999",
            "%00",
            "%ff",
            "9h9h9h",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,6}",
    ];
    let pair = (name, value).prop_map(|(name, value)| format!("{name}={value}"));
    let query = proptest::collection::vec(pair, 0..3).prop_map(|pairs| pairs.join("&"));
    let query = proptest::option::of(prop_oneof![9 => query, 1 => any::<String>()]);
    let header = prop_oneof![
        select(vec![
            ("X-Consul-Token", "writer"),
            ("X-Consul-Token", "reader"),
            ("Authorization", "Bearer x"),
            ("Accept", "application/problem+json"),
            ("Accept", ","),
            ("Cache-Control", "max-age="),
        ])
        .prop_map(|(name, value)| (name.to_owned(), value.to_owned())),
        select(vec![
            "Accept",
            "Authorization",
            "Cache-Control",
            "X-Consul-Token"
        ])
        .prop_flat_map(|name| (Just(name.to_owned()), any::<String>())),
    ];
    let json = select(vec![
        "",
        "{}",
        "null",
        "[]",
        "x",
        "{}x",
        "\"",
        "{\"Key\":",
        "{\"Extra\":1}",
        r#"{"Key":"G/3/L4yOw3e5T7NTvuRi9g=="}"#,
        r#"{"Key":"G/3/L4yOw3e5T7NTvuRi9g==","RelayFactor":9}"#,
        r#"{"Key":"no key"}"#,
        r#"{"LastContactThreshold":"1e9h"}"#,
        r#"{"MinQuorum":1e400}"#,
        r#"{"LastContactThreshold":99999999999999999999}"#,
        r#"{"Key":"\ud800\u0000"}"#,
    ]);
    let body = prop_oneof![
        3 => json.prop_map(|json| json.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
        1 => "[{}:,\"0-9eE.+truefalsnKey\\\\ ]{0,24}".prop_map(String::into_bytes),
    ];
    let headers = proptest::collection::vec(header, 0..3);
    (method, path, query, headers, body).prop_map(|(method, path, query, headers, body)| Parts {
        method: method.to_owned(),
        path,
        query,
        headers,
        body,
    })
}

fn parts() -> impl Strategy<Value = Parts> {
    prop_oneof![1 => anything(), 5 => likely()]
}

fn services() -> [OperatorService; 2] {
    let acl = MockAcl::new(DefaultPolicy::Deny)
        .with_token(
            MockToken::new("writer")
                .with(Resource::Keyring, Grant::Write)
                .with(Resource::Operator, Grant::Write),
        )
        .with_token(MockToken::new("reader").with(Resource::Keyring, Grant::Read));
    // The federation is dropped, so no other server can be reached.
    [
        two_datacenters().build().service("alice"),
        two_datacenters().authorizer(acl).build().service("alice"),
    ]
}

/// Decodes a request into a text that can be compared.
fn decoded(wire: Wire, parts: &Parts, body: &[u8]) -> String {
    parts.with(body, |request| {
        match wire.decode(request, &AutopilotConfiguration::default()) {
            Ok(Call { request, view }) => format!("{request:?} {view:?}"),
            Err(rejection) => format!("{rejection:?} {:?}", wire.reject(&rejection).body),
        }
    })
}

fn check_headers(response: &Response) -> Result<(), TestCaseError> {
    for (name, value) in &response.headers {
        let is_safe = |byte: u8| matches!(byte, b' '..=b'~');
        prop_assert!(value.bytes().all(is_safe), "{name}: {value:?}");
        let given = response.headers.iter().filter(|(other, _)| other == name);
        prop_assert_eq!(given.count(), 1, "{}", name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        // A failure is shown; a useful case becomes a test of its own.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_request_has_a_response_that_can_be_sent(parts in parts()) {
        for service in services() {
            for dialect in DIALECTS {
                let response = parts.serve(Wire::new(dialect), &service);
                prop_assert!((200..600).contains(&response.status));
                check_headers(&response)?;
                if response.header("content-type").is_some_and(|media| media.contains("json"))
                    && parts.method != "HEAD"
                {
                    let json = serde_json::from_slice::<serde_json::Value>(&response.body);
                    prop_assert!(json.is_ok(), "{:?}", response.body);
                }
            }
        }
    }

    #[test]
    fn errors_of_precise_have_a_body_and_a_media_type(parts in parts()) {
        for service in services() {
            let response = parts.serve(Wire::new(Dialect::Precise), &service);
            if response.status < 400 {
                continue;
            }
            prop_assert_eq!(response.body.is_empty(), parts.method == "HEAD");
            let media = response.header("content-type");
            // Rings and the health of servers are JSON.
            let is_report = media == Some("application/json")
                && (parts.path.ends_with("keyring") || parts.path.ends_with("health"));
            let is_error = matches!(
                media,
                Some("text/plain; charset=utf-8" | "application/problem+json")
            );
            prop_assert!(is_report || is_error, "{media:?}");
            prop_assert_eq!(response.header("retry-after").is_some(), response.status == 503);
            // Only the health of servers is no error; a report of rings that failed is one.
            let kind = response.header("x-operator-error");
            prop_assert_eq!(kind.is_some(), response.status != 429);
            prop_assert_eq!(response.header("allow").is_some(), response.status == 405);
        }
    }

    #[test]
    fn unwanted_body_changes_nothing(parts in parts()) {
        for dialect in DIALECTS {
            // Small, so that an unwanted body may be too large.
            let wire = Wire::new(dialect).with_body_limit(8);
            // A write without a body is refused if it has one.
            let is_refused = dialect == Dialect::Precise
                && matches!(&*parts.method, "DELETE" | "POST");
            if !is_refused && !wire.wants_body(&parts.method, &parts.path) {
                let with = decoded(wire, &parts, &parts.body);
                prop_assert_eq!(with, decoded(wire, &parts, b""));
            }
        }
    }

    #[test]
    fn served_path_is_not_a_404(parts in parts()) {
        for dialect in DIALECTS {
            let wire = Wire::new(dialect);
            let status = parts.with(&parts.body, |request| {
                wire.decode(request, &AutopilotConfiguration::default())
                    .map_or_else(|rejection| wire.reject(&rejection).status, |_| 200)
            });
            if wire.serves(&parts.path) {
                prop_assert!(status != 404 && status != 301);
            } else {
                prop_assert!(matches!(status, 404 | 400 | 301), "{status}");
            }
        }
    }
}
