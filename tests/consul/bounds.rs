//! The bounds of a request, on both sides.

use cluster_operator::consul::Dialect::{Consul0_7, Consul1_10, Consul1_17, Precise};
use cluster_operator::consul::Request;

use crate::support::{Ask, ask, two_datacenters};

/// Sends a request at a bound, and one beyond it, in each dialect.
fn check(at: impl Fn(usize) -> Ask, bound: usize, status: u16, text: &str) {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for dialect in [Precise, Consul1_17, Consul1_10, Consul0_7] {
        let answer = at(bound).dialect(dialect).send(&alice);
        assert!(!answer.text().contains(text), "{dialect:?}: {text}");
        let answer = at(bound + 1).dialect(dialect).send(&alice);
        let (code, error) = answer.error();
        assert_eq!(code, status, "{dialect:?}: {error}");
        assert!(error.ends_with(text), "{dialect:?}: {error}");
    }
}

#[test]
fn token_is_bounded() {
    let text = "the token is longer than 4096 bytes";
    let long = |length| "t".repeat(length);
    let query = |length| ask("GET", &format!("keyring?token={}", long(length)));
    check(query, Request::MAX_TOKEN, 400, text);
    let header = |length| ask("DELETE", "raft/peer?address=x").token(&long(length));
    check(header, Request::MAX_TOKEN, 400, text);
    let federation = two_datacenters().build();
    let bearer = format!("Bearer {}", long(Request::MAX_TOKEN + 1));
    let ask = ask("GET", "keyring").header("Authorization", &bearer);
    assert_eq!(ask.send(&federation.service("alice")).error(), (400, text));
}

#[test]
fn names_and_addresses_are_bounded() {
    for name in ["id", "address"] {
        let text = format!("the value of a query parameter, {name:?} is longer than 512 bytes");
        let long = |length| {
            ask(
                "DELETE",
                &format!("raft/peer?{name}={}", "a".repeat(length)),
            )
        };
        check(long, Request::MAX_VALUE, 400, &text);
    }
    let text = "the value of a query parameter, \"dc\" is longer than 512 bytes";
    let long = |length| {
        ask(
            "GET",
            &format!("raft/configuration?dc={}", "a".repeat(length)),
        )
    };
    check(long, Request::MAX_VALUE, 400, text);
}

#[test]
fn tags_of_autopilot_are_bounded() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for field in ["RedundancyZoneTag", "UpgradeVersionTag"] {
        let put = |length| {
            let tag = "t".repeat(length);
            let body = format!(r#"{{"{field}":"{tag}"}}"#);
            ask("PUT", "autopilot/configuration")
                .body(body)
                .send(&alice)
        };
        assert_eq!(put(Request::MAX_VALUE).status(), 200);
        let text = "a tag is longer than 512 bytes";
        assert_eq!(put(Request::MAX_VALUE + 1).error(), (400, text));
    }
}

#[test]
fn query_and_its_parameters_are_bounded() {
    let flags = |count| {
        ask(
            "GET",
            &format!("keyring?pretty{}", "&ns=x".repeat(count - 1)),
        )
    };
    let text = "there are more than 64 query parameters";
    check(flags, Request::MAX_PARAMETERS, 400, text);
    let query = |length: usize| ask("GET", &format!("keyring?ns={}", "&".repeat(length - 3)));
    check(
        query,
        Request::MAX_QUERY,
        400,
        "the query is longer than 16384 bytes",
    );
}

#[test]
fn header_fields_are_counted() {
    let many = |count| (0..count).fold(ask("GET", "keyring"), |ask, _| ask.header("x", "y"));
    check(
        many,
        Request::MAX_HEADERS,
        431,
        "there are more than 64 header fields",
    );
}
