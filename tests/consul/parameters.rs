//! `Precise`: requests that are rejected before the service is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cluster_operator::consul::{Dialect, Wire};
use cluster_operator::keyring::{GossipQuery, KeyChange, NodeKeys};
use cluster_operator::{AllowAll, KeyringBackend, NodeName, OperatorError, OperatorService, Pool};

use crate::support::{FIRST, Never, SECOND, THIRD, ask, key, two_datacenters};

const OUT_OF_RANGE: &str = "Invalid relay-factor: Relay factor must be in range: [0, 5]";
const LIST_ONLY: &str = "Invalid use of local-only: local-only can only be set for list requests";
const NOT_AN_INDEX: &str = "the query parameter \"cas\" must be an index such as 42, not \"x\"";
const EXAMPLE: &str = r#"send JSON such as {"Key": "<16, 24 or 32 bytes in base64>"}"#;

#[test]
fn malformed_parameter_is_a_400_that_names_it() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let conflict = "Cannot specify ?stale with ?consistent, conflicting semantics.";
    let peer =
        "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove";
    for (method, target, text) in [
        ("GET", "raft/configuration?stale&consistent", conflict),
        (
            "GET",
            "raft/configuration?stale=false&consistent=",
            conflict,
        ),
        (
            "GET",
            "raft/configuration?max_stale=1s&consistent",
            conflict,
        ),
        (
            "GET",
            "raft/configuration?cached&consistent",
            "Cannot specify ?cached with ?consistent, conflicting semantics.",
        ),
        (
            "GET",
            "raft/configuration?max_stale=x",
            "Invalid max_stale value \"x\"",
        ),
        ("GET", "raft/configuration?wait=10", "Invalid wait time"),
        ("GET", "raft/configuration?index=-1", "Invalid index"),
        ("GET", "raft/configuration?index=x", "Invalid index"),
        ("GET", "autopilot/configuration?stale&consistent", conflict),
        ("GET", "autopilot/health?wait=x", "Invalid wait time"),
        ("GET", "autopilot/state?index=x", "Invalid index"),
        ("DELETE", "raft/peer", peer),
        ("DELETE", "raft/peer?cas=x", peer),
        (
            "DELETE",
            "raft/peer?id=a&address=b",
            "Must specify only one of ?id or ?address",
        ),
        (
            "DELETE",
            "raft/peer?id=",
            "the query parameter \"id\" is empty: name a server",
        ),
        (
            "DELETE",
            "raft/peer?address",
            "the query parameter \"address\" is empty: name a server",
        ),
        (
            "POST",
            "raft/transfer-leader?id=",
            "the query parameter \"id\" is empty: name a server",
        ),
        ("DELETE", "raft/peer?id=a&cas=x", NOT_AN_INDEX),
        ("GET", "raft/removal-plan", peer),
        (
            "GET",
            "raft/removal-plan?id=a&address=b",
            "Must specify only one of ?id or ?address",
        ),
        (
            "POST",
            "raft/planned-removal?version=1-2",
            "the query parameter \"id\" is missing: name a server",
        ),
        (
            "POST",
            "raft/planned-removal?id=a",
            "the query parameter \"version\" must be a version such as 3-17, not \"\": take it \
             from the removal's plan",
        ),
        (
            "POST",
            "raft/planned-removal?id=a&version=17",
            "the query parameter \"version\" must be a version such as 3-17, not \"17\": take it \
             from the removal's plan",
        ),
        (
            "POST",
            "raft/forced-removal?id=",
            "the query parameter \"id\" is empty: name a server",
        ),
        (
            "POST",
            "raft/replacement?id=a",
            "the query parameter \"with\" is missing: name a server",
        ),
        (
            "DELETE",
            "raft/peer?id=a&cas=",
            "the query parameter \"cas\" must be an index such as 42, not \"\"",
        ),
        (
            "GET",
            "keyring?relay-factor=x",
            "the query parameter \"relay-factor\" must be a number from 0 to 5, not \"x\"",
        ),
        ("GET", "keyring?relay-factor=6", OUT_OF_RANGE),
        ("GET", "keyring?relay-factor=-1", OUT_OF_RANGE),
        (
            "GET",
            "keyring?local-only=yes",
            "the query parameter \"local-only\" must be true or false, not \"yes\"",
        ),
    ] {
        let answer = ask(method, target).send(&alice);
        assert_eq!(answer.error(), (400, text), "{method} {target}");
    }
}

#[test]
fn malformed_query_or_cache_control_is_a_400() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for query in ["%zz", "a=%2", "a=1;b=2"] {
        let answer = ask("GET", &format!("raft/configuration?{query}")).send(&alice);
        let (status, text) = answer.error();
        assert_eq!(status, 400, "{query}");
        assert!(text.starts_with("Invalid query string"), "{text}");
    }
    let answer = ask("GET", "raft/configuration")
        .header("cache-control", "max-age=soon")
        .send(&alice);
    assert_eq!(answer.error(), (400, "Invalid Cache-Control header."));
}

#[test]
fn malformed_path_is_a_400_that_says_so() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for path in [
        "/v1/operator/%zz",
        "/v1/operator/%",
        "/v1/operator/%ff",
        "/v1/operator/a%0ab",
        "/v1/operator/%C2%A0",
    ] {
        let answer = ask("GET", path).send(&alice);
        let (status, text) = answer.error();
        assert_eq!(status, 400, "{path}");
        assert!(!text.is_empty(), "{path}");
    }
}

#[test]
fn line_break_in_a_request_reaches_no_response_header() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for dialect in [
        Dialect::Precise,
        Dialect::Consul1_17,
        Dialect::Consul1_10,
        Dialect::Consul0_7,
    ] {
        for target in [
            "/v1//operator/keyring?a\r\nSet-Cookie: b",
            "/v1/operator//\r\nSet-Cookie: b",
            "keyring?dc=\u{7f}",
        ] {
            let answer = ask("GET", target).dialect(dialect).send(&alice);
            assert_eq!(answer.error().0, 400, "{dialect:?} {target:?}");
            assert_eq!(answer.header("location"), None);
        }
    }
}

#[test]
fn first_of_several_mistakes_is_told_in_consuls_order() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (method, target, body, text) in [
        (
            "GET",
            "raft/configuration?stale&consistent&wait=x&index=x&dc=nope",
            "",
            "Cannot specify ?stale with ?consistent, conflicting semantics.",
        ),
        (
            "GET",
            "raft/configuration?wait=x&index=x",
            "",
            "Invalid wait time",
        ),
        (
            "POST",
            "keyring?relay-factor=9",
            "{}{}",
            "something follows the JSON value: send one object only",
        ),
        (
            "POST",
            "keyring?local-only=true&relay-factor=9",
            r#"{"Key":"no key"}"#,
            OUT_OF_RANGE,
        ),
        (
            "POST",
            "keyring?local-only=true",
            r#"{"Key":"no key"}"#,
            LIST_ONLY,
        ),
    ] {
        let answer = ask(method, target).body(body).send(&alice);
        assert_eq!(answer.error(), (400, text), "{method} {target}");
    }
}

#[test]
fn malformed_keyring_body_is_a_400_for_a_writer() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let no_key = |why: &str| format!("Invalid gossip key: {why}");
    let not_json = |why: &str| format!("the body is not JSON, because of {why}: {EXAMPLE}");
    let size = no_key("key size must be 16, 24 or 32 bytes");
    let good = key(SECOND);
    let trailing = "something follows the JSON value: send one object only";
    let cut = format!(
        "the JSON ends too early: {}",
        EXAMPLE.replace("JSON", "one whole object")
    );
    for (body, text) in [
        ("", format!("the body is empty: {EXAMPLE}")),
        (" \n", format!("the body is empty: {EXAMPLE}")),
        ("x", not_json("'x' at byte 0")),
        ("{\"Key\"\n,", not_json("',' at byte 7")),
        ("{\"Key\":\"", cut),
        (
            "[]",
            format!(
                "the JSON is an array: {}",
                EXAMPLE.replace("JSON", "an object")
            ),
        ),
        (
            r#"{"Key":1}"#,
            "\"Key\" must be a string, not a number".to_owned(),
        ),
        (
            r#"{"Extra":1}"#,
            "unknown field \"Extra\": the fields are Key, Token, RelayFactor, LocalOnly".to_owned(),
        ),
        (r#"{"RelayFactor":300}"#, OUT_OF_RANGE.to_owned()),
        (r#"{"RelayFactor":-1}"#, OUT_OF_RANGE.to_owned()),
        (
            r#"{"RelayFactor":1.5}"#,
            "\"RelayFactor\" must be a whole number from 0 to 5, not 1.5".to_owned(),
        ),
        (
            r#"{"Key":"AAAA","kEY":null}"#,
            "\"Key\" is given twice: send it once".to_owned(),
        ),
        (
            r#"{"Key":null}"#,
            format!("\"Key\" is missing or empty: {EXAMPLE}"),
        ),
        (&*format!("{good} x"), trailing.to_owned()),
        (&*format!("{good}{good}"), trailing.to_owned()),
        ("null", format!("\"Key\" is missing or empty: {EXAMPLE}")),
        ("{}", format!("\"Key\" is missing or empty: {EXAMPLE}")),
        (&*key(""), format!("\"Key\" is missing or empty: {EXAMPLE}")),
        (&*key("AAAA"), size.clone()),
        (&*key("A"), no_key("illegal base64 data at input byte 0")),
        (
            &*key("AAAA*"),
            no_key("illegal base64 data at input byte 4"),
        ),
        (r#"{"Key":"AAAA","RelayFactor":6}"#, OUT_OF_RANGE.to_owned()),
        (r#"{"Key":"AAAA","LocalOnly":true}"#, LIST_ONLY.to_owned()),
    ] {
        for method in ["POST", "PUT", "DELETE"] {
            let answer = ask(method, "keyring").body(body).send(&alice);
            assert_eq!(answer.error(), (400, text.as_str()), "{method} {body}");
        }
    }
}

#[test]
fn relay_factor_of_a_body_is_checked_as_in_the_query() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for factor in 0..=7 {
        let field = format!(r#"{{"Key":"{SECOND}","RelayFactor":{factor}}}"#);
        let in_body = ask("POST", "keyring").body(field).send(&alice);
        let in_query = ask("POST", &format!("keyring?relay-factor={factor}"))
            .body(key(SECOND))
            .send(&alice);
        assert_eq!(in_body.status(), if factor > 5 { 400 } else { 200 });
        assert_eq!(in_body.status(), in_query.status());
        assert_eq!(in_body.text(), in_query.text());
    }
    for local in [true, false] {
        let field = format!(r#"{{"Key":"{SECOND}","LocalOnly":{local}}}"#);
        let in_body = ask("PUT", "keyring").body(field).send(&alice);
        let in_query = ask("PUT", &format!("keyring?local-only={local}"))
            .body(key(SECOND))
            .send(&alice);
        assert_eq!(in_body.status(), if local { 400 } else { 200 });
        assert_eq!(in_body.text(), in_query.text());
    }
}

#[test]
fn malformed_autopilot_body_is_a_400_for_a_writer() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (body, why) in [
        (
            "{}{}",
            "something follows the JSON value: send one object only",
        ),
        (
            r#"{"MinQuorum":-1}"#,
            "\"MinQuorum\" must be a whole number from 0 on, not -1",
        ),
        (
            r#"{"CleanupDeadServers":"yes"}"#,
            "\"CleanupDeadServers\" must be true or false, not a string",
        ),
        (
            r#"{"LastContactThreshold":"soon"}"#,
            "\"LastContactThreshold\" must be a duration such as \"200ms\", not \"soon\"",
        ),
        (
            r#"{"LastContactThreshold":true}"#,
            "\"LastContactThreshold\" must be a duration such as \"200ms\", not a boolean",
        ),
        (
            r#"{"LastContactThreshold":"-1s"}"#,
            "\"LastContactThreshold\" must not be negative",
        ),
        (
            r#"{"ServerStabilizationTime":-2000}"#,
            "\"ServerStabilizationTime\" must not be negative",
        ),
        (
            r#"{"LastContactThreshold":1e30}"#,
            "\"LastContactThreshold\" is too large",
        ),
        (
            r#"{"LastContactThreshold":9223372036854775808}"#,
            "\"LastContactThreshold\" is too large",
        ),
        (
            r#"{"MaxTrailingLogs":18446744073709551616}"#,
            "\"MaxTrailingLogs\" is too large",
        ),
        (
            r#"{"LastContactThreshold":-1e30}"#,
            "\"LastContactThreshold\" must not be negative",
        ),
        (
            r#"{"LastContactThreshold":"-3000000h"}"#,
            "\"LastContactThreshold\" must not be negative",
        ),
        (
            r#"{"LastContactThreshold":"3000000h"}"#,
            "\"LastContactThreshold\" is too large",
        ),
    ] {
        let answer = ask("PUT", "autopilot/configuration")
            .body(body)
            .send(&alice);
        assert_eq!(answer.error(), (400, why), "{body}");
    }
    let answer = ask("PUT", "autopilot/configuration?cas=x")
        .body("{}")
        .send(&alice);
    assert_eq!(answer.error(), (400, NOT_AN_INDEX));
}

/// A ring that counts how often it is asked.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Counting {
    fn count(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let alice = NodeName::new("alice");
        query.answers.asking([alice.clone()]);
        query.answers.answered(&alice, Ok(NodeKeys::done()));
        Ok(())
    }
}

#[async_trait]
impl KeyringBackend for Counting {
    fn pool(&self) -> &Pool {
        &Pool::Lan
    }
    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        self.count(query)
    }
    async fn change(&self, _: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        self.count(query)
    }
}

#[test]
fn malformed_key_is_rejected_without_asking_a_ring() {
    let ring = Counting::default();
    let service = OperatorService::builder("dc1")
        .keyring(ring.clone())
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap();
    let ask = |method, body: String| ask(method, "keyring").body(body).send(&service).status();
    for method in ["POST", "PUT", "DELETE"] {
        for bad in ["", "AAAA", "no base64", &"A".repeat(2000)] {
            assert_eq!(ask(method, key(bad)), 400, "{method} {bad}");
        }
        // URL-safe, and without its padding.
        assert_eq!(ask(method, key(&FIRST.replace('+', "-"))), 400);
        assert_eq!(ask(method, key(FIRST.trim_end_matches('='))), 400);
    }
    assert_eq!(ring.0.load(Ordering::Relaxed), 0);
    assert_eq!(ask("POST", key(FIRST)), 200);
    assert_eq!(ring.0.load(Ordering::Relaxed), 1);
}

#[test]
fn body_over_the_limit_is_a_413_and_one_at_it_is_read() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let padded = |length: usize| {
        let body = key(SECOND);
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    let cap = Wire::new(Dialect::Precise).body_limit();
    assert_eq!(cap, 64 * 1024);
    for (wire, cap) in [
        (Wire::new(Dialect::Precise), cap),
        (Wire::new(Dialect::Precise).with_body_limit(100), 100),
        (
            Wire::new(Dialect::Precise).with_body_limit(100_000),
            100_000,
        ),
    ] {
        for method in ["POST", "PUT"] {
            let ask = |length| ask(method, "keyring").wire(wire).body(padded(length));
            ask(cap).send(&alice).done();
            let answer = ask(cap + 1).send(&alice);
            let text = format!("Request body is larger than {cap} bytes");
            assert_eq!(answer.error(), (413, text.as_str()));
        }
        let answer = ask("PUT", "autopilot/configuration")
            .wire(wire)
            .body(padded(cap + 1))
            .send(&alice);
        assert_eq!(answer.error().0, 413);
        // A body that is not read cannot be too large.
        let answer = ask("GET", "keyring")
            .wire(wire)
            .body(padded(cap + 1))
            .send(&alice);
        assert_eq!(answer.status(), 200);
    }
}

#[test]
fn body_that_is_something_else_than_json_is_named() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (body, text) in [
        (
            &b"\xef\xbb\xbf{}"[..],
            "the body begins with a byte order mark: send it without",
        ),
        (b"\xff\xfe{\0}\0", "the body is in UTF-16: send it in UTF-8"),
        (b"\0{\0}", "the body is in UTF-16: send it in UTF-8"),
        (
            b"\x1f\x8b\x08\0\0",
            "the body is compressed: send it as it is",
        ),
        (b"Key=abc", "the body is a form: send JSON"),
        (b"--boundary\r\n", "the body is a form: send JSON"),
    ] {
        let answer = ask("POST", "keyring").body(body).send(&alice);
        assert_eq!(answer.error(), (400, text));
    }
    let bare = ask("POST", "keyring").body(THIRD).send(&alice);
    let text = format!("the body is not JSON, because of 'z' at byte 0: {EXAMPLE}");
    assert_eq!(bare.error(), (400, text.as_str()));
    let encoded = |encoding| {
        let ask = ask("POST", "keyring").header("Content-Encoding", encoding);
        ask.body(key(SECOND)).send(&alice)
    };
    let text = "the body has the content encoding \"gzip\": send it without one";
    assert_eq!(encoded("gzip").error(), (400, text));
    encoded("identity").done();
    let twice = ask("POST", "keyring")
        .header("Content-Encoding", "identity")
        .header("Content-Encoding", "gzip")
        .body(key(SECOND));
    assert_eq!(twice.send(&alice).status(), 400);
}

#[test]
fn unknown_text_that_may_be_a_secret_is_not_repeated() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let secret = "b852fbe7-8b5c-4d2f-a7a3-3f6f0c5f0b11";
    let key = "G%2F3%2FL4yOw3e5T7NTvuRi9g%3D%3D";
    for dialect in [Dialect::Precise, Dialect::Consul1_10] {
        for text in [secret, key, "z90lFx3sZZLtTOkutXcwYg"] {
            for (method, target) in [
                ("GET", format!("keyring?{text}=1")),
                ("GET", format!("keyring?local-only={text}")),
                ("GET", format!("keyring?relay-factor={text}")),
                ("PUT", format!("autopilot/configuration?cas={text}")),
                ("GET", format!("raft/configuration?max_stale={text}")),
            ] {
                let ask = ask(method, &target).body("{}").dialect(dialect);
                let shown = format!("{} {:?}", ask.send(&alice).text(), ask.decode().err());
                for part in [&text[..8], "G/3/L4yO"] {
                    assert!(!shown.contains(part), "{target}: {shown}");
                }
            }
        }
    }
    let answer = ask("GET", &format!("keyring?{secret}")).send(&alice);
    let text = "unknown query parameter: this endpoint has relay-factor, local-only";
    assert_eq!(answer.error(), (400, text));
}

#[test]
fn escapes_of_a_duration_are_decoded() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (written, read) in [(r"1.5\u00b5s", "1.5µs"), (r"200\u006ds", "200ms")] {
        let body = format!(r#"{{"LastContactThreshold":"{written}"}}"#);
        let answer = ask("PUT", "autopilot/configuration").body(body);
        assert_eq!(answer.send(&alice).text(), "true");
        let rules = ask("GET", "autopilot/configuration").send(&alice).json();
        assert_eq!(rules["LastContactThreshold"], read);
    }
}

#[test]
fn null_threshold_has_its_default() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let body = r#"{"LastContactThreshold":null,"ServerStabilizationTime":null,"MinQuorum":null}"#;
    let answer = ask("PUT", "autopilot/configuration")
        .body(body)
        .send(&alice);
    assert_eq!(answer.text(), "true");
    let rules = ask("GET", "autopilot/configuration").send(&alice).json();
    assert_eq!(rules["LastContactThreshold"], "200ms");
    assert_eq!(rules["ServerStabilizationTime"], "10s");
}

#[test]
fn unknown_parameter_is_named_with_the_nearest_one() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (method, target, unknown, nearest) in [
        ("DELETE", "raft/peer?id=2&CAS=77", "CAS", "cas"),
        ("DELETE", "raft/peer?ID=2", "ID", "id"),
        ("DELETE", "raft/peer?adress=a", "adress", "address"),
        ("POST", "raft/transfer-leader?ID=3", "ID", "id"),
        ("GET", "keyring?local_only=true", "local_only", "local-only"),
        (
            "PUT",
            "keyring?relayfactor=3",
            "relayfactor",
            "relay-factor",
        ),
        ("GET", "raft/configuration?Stale", "Stale", "stale"),
        (
            "GET",
            "raft/configuration?max-stale=1s",
            "max-stale",
            "max_stale",
        ),
        ("GET", "keyring?Token=secret", "Token", "token"),
        ("PUT", "autopilot/configuration?case=1", "case", "cas"),
        ("POST", "raft/transfer-leader?peer-id=3", "peer-id", "id"),
        ("GET", "keyring?local", "local", "local-only"),
    ] {
        let answer = ask(method, target).send(&alice);
        let text = format!("unknown query parameter {unknown:?}: did you mean {nearest:?}?");
        assert_eq!(answer.error(), (400, text.as_str()), "{method} {target}");
    }
    for (target, text) in [
        (
            "keyring?verbose",
            "unknown query parameter \"verbose\": this endpoint has relay-factor, local-only",
        ),
        (
            "raft/configuration?verbose",
            "unknown query parameter \"verbose\": this endpoint has none of its own",
        ),
        // Not "hash", "wait" or "stale", which change nothing there.
        (
            "keyring?cas=3",
            "unknown query parameter \"cas\": this endpoint has relay-factor, local-only",
        ),
        (
            "raft/configuration?waits",
            "unknown query parameter \"waits\": this endpoint has none of its own",
        ),
        (
            "keyring?stales",
            "unknown query parameter \"stales\": this endpoint has relay-factor, local-only",
        ),
    ] {
        assert_eq!(ask("GET", target).send(&alice).error(), (400, text));
    }
    assert_eq!(federation.configuration("dc1").index, 22);
}

#[test]
fn parameters_of_consuls_clients_are_known_everywhere() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let all = "pretty&wait=1s&index=1&dc=dc1&stale&token=t&ns=n&partition=p&near=_agent&filter=x";
    for target in ["keyring", "raft/configuration", "autopilot/health"] {
        let answer = ask("GET", &format!("{target}?{all}")).send(&alice);
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let answer = ask("POST", &format!("keyring?{all}")).body(key(SECOND));
    answer.send(&alice).done();
}

#[test]
fn body_where_none_is_read_is_a_400_for_a_write() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let text = "this endpoint takes no body: use the query";
    for (method, target) in [
        ("POST", "raft/transfer-leader"),
        ("POST", "raft/planned-removal?id=x&version=1-1"),
        ("POST", "raft/forced-removal?id=x"),
        ("POST", "raft/replacement?id=x&with=y"),
        ("DELETE", "raft/peer?id=x"),
    ] {
        let answer = ask(method, target).body(r#"{"ID":"bob"}"#).send(&alice);
        assert_eq!(answer.error(), (400, text), "{target}");
        let unread = ask(method, target).header("Content-Length", "10");
        assert_eq!(unread.send(&alice).error(), (400, text), "{target}");
        let empty = ask(method, target).header("Content-Length", "0");
        assert_ne!(empty.send(&alice).status(), 400, "{target}");
        let consul = ask(method, target).body("x").dialect(Dialect::Consul1_10);
        assert!(!consul.send(&alice).text().contains("body"), "{target}");
    }
    let read = ask("GET", "raft/configuration").body("x");
    assert_eq!(read.send(&alice).status(), 200);
    assert_eq!(federation.configuration("dc1").index, 22);
}

#[test]
fn two_names_of_a_datacenter_have_to_agree() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let answer = ask("GET", "raft/configuration?dc=dc1&datacenter=dc2").send(&alice);
    let text = "?dc and ?datacenter differ: send one of them";
    assert_eq!(answer.error(), (400, text));
    for query in ["dc=dc2&datacenter=dc2", "dc=&datacenter=dc2"] {
        let answer = ask("GET", &format!("raft/configuration?{query}")).send(&alice);
        assert_eq!(answer.status(), 200, "{query}");
    }
}

#[test]
fn repeated_parameter_is_a_400() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (method, target, name) in [
        ("DELETE", "raft/peer?address=A&address=B", "address"),
        ("DELETE", "raft/peer?id=A&%69d=B", "id"),
        ("DELETE", "raft/peer?id=A&cas=1&cas=2", "cas"),
        ("POST", "raft/transfer-leader?id=A&id=B", "id"),
        (
            "GET",
            "keyring?relay-factor=1&relay-factor=2",
            "relay-factor",
        ),
        ("GET", "raft/configuration?dc=&dc=nope", "dc"),
    ] {
        let answer = ask(method, target).send(&alice);
        let text = format!("the query parameter {name:?} is given twice");
        assert_eq!(answer.error(), (400, text.as_str()), "{target}");
    }
}
