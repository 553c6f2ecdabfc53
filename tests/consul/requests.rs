//! `Precise`: how a request is read.

use cluster_operator::consul::{Call, Dialect};
use cluster_operator::{
    Consistency, KeyringAction, KeyringScope, Operation, OperatorRequest, PeerSelector,
};

use crate::support::{Ask, FIRST, SECOND, ask, key, two_datacenters};

fn read(ask: &Ask) -> OperatorRequest {
    match ask.decode() {
        Ok(Call { request, .. }) => request,
        Err(rejection) => panic!("{rejection:?}"),
    }
}

fn datacenter(query: &str) -> Option<String> {
    let request = read(&ask("GET", &format!("raft/configuration?{query}")));
    request.datacenter.map(|name| name.to_string())
}

fn token(query: &str, headers: &[(&str, &str)]) -> Option<String> {
    let mut ask = ask("GET", &format!("keyring?{query}"));
    for (name, value) in headers {
        ask = ask.header(name, value);
    }
    let request = read(&ask);
    request.token.map(|token| token.expose().to_owned())
}

#[test]
fn each_endpoint_and_method_has_its_operation() {
    let operation =
        |method, target: &str, body: &str| read(&ask(method, target).body(body)).operation;
    let keyring = |action| Operation::Keyring {
        action,
        scope: KeyringScope::Federation,
        relay_factor: 0.try_into().unwrap(),
    };
    let first = || FIRST.parse().unwrap();
    for (method, action) in [
        ("POST", KeyringAction::Install(first())),
        ("PUT", KeyringAction::Use(first())),
        ("DELETE", KeyringAction::Remove(first())),
        ("GET", KeyringAction::List),
        ("HEAD", KeyringAction::List),
    ] {
        assert_eq!(operation(method, "keyring", &key(FIRST)), keyring(action));
    }
    assert_eq!(
        operation("DELETE", "raft/peer?id=a&cas=7", ""),
        Operation::RemovePeer {
            server: PeerSelector::Id("a".into()),
            expected_index: Some(7),
        }
    );
    assert_eq!(
        operation("DELETE", "raft/peer?address=127.0.0.1:8300", ""),
        Operation::RemovePeer {
            server: PeerSelector::Address("127.0.0.1:8300".into()),
            expected_index: None,
        }
    );
    for (query, to) in [("", None), ("?id=b", Some("b".into()))] {
        assert_eq!(
            operation("POST", &format!("raft/transfer-leader{query}"), ""),
            Operation::TransferLeadership { to }
        );
    }
    let default = Consistency::Default;
    assert_eq!(
        operation("GET", "autopilot/configuration", ""),
        Operation::AutopilotConfiguration(default)
    );
    for target in ["autopilot/health", "autopilot/state"] {
        assert_eq!(
            operation("GET", target, ""),
            Operation::AutopilotState(default)
        );
    }
    assert!(matches!(
        operation("PUT", "autopilot/configuration?cas=3", "{}"),
        Operation::SetAutopilotConfiguration {
            expected_index: Some(3),
            ..
        }
    ));
}

#[test]
fn freshness_is_asked_for_by_the_presence_of_a_flag() {
    for (query, want) in [
        ("", Consistency::Default),
        ("stale", Consistency::Stale),
        ("stale=false", Consistency::Stale),
        ("consistent", Consistency::Consistent),
        ("max_stale=0s", Consistency::Default),
        ("max_stale=1s", Consistency::Stale),
        ("cached", Consistency::Default),
        ("wait=5s&index=1", Consistency::Default),
    ] {
        let request = read(&ask("GET", &format!("raft/configuration?{query}")));
        assert_eq!(
            request.operation,
            Operation::RaftConfiguration(want),
            "{query}"
        );
    }
}

#[test]
fn datacenter_beats_dc_and_an_empty_one_does_not_count() {
    for (query, want) in [
        ("", None),
        ("dc=", None),
        ("dc=dc1", Some("dc1")),
        ("dc=dc1&datacenter=dc2", Some("dc2")),
        ("datacenter=dc2&dc=dc1", Some("dc2")),
        ("datacenter=&dc=dc1", Some("dc1")),
        ("dc=DC1", Some("DC1")),
        ("dc=d%631", Some("dc1")),
    ] {
        assert_eq!(datacenter(query).as_deref(), want, "{query}");
    }
}

#[test]
fn first_value_of_a_parameter_counts_in_consul() {
    let twice = ask(
        "DELETE",
        "raft/peer?address=a&address=b&dc=c&dc=d&token=e&token=f",
    )
    .dialect(Dialect::Consul1_10);
    let request = read(&twice);
    assert_eq!(request.datacenter.unwrap(), "c");
    assert_eq!(request.token.unwrap().expose(), "e");
    assert_eq!(
        request.operation,
        Operation::RemovePeer {
            server: PeerSelector::Address("a".into()),
            expected_index: None,
        }
    );
}

#[test]
fn the_token_of_the_query_beats_the_header_and_that_the_bearer() {
    let header = ("X-Consul-Token", "h");
    let bearer = ("Authorization", "Bearer b");
    for (query, headers, want) in [
        ("token=q", &[header, bearer][..], Some("q")),
        ("token=q", &[bearer, header], Some("q")),
        ("token=", &[bearer, header], Some("h")),
        ("", &[bearer, header], Some("h")),
        ("", &[("x-consul-token", "h")], Some("h")),
        ("", &[("X-Consul-Token", ""), bearer], Some("b")),
        ("", &[("authorization", "bearer b c")], Some("b")),
        ("", &[("Authorization", "Basic b")], None),
        ("", &[("Authorization", "Bearer")], None),
        ("token=a%20b%2B", &[], Some("a b+")),
        ("", &[], None),
    ] {
        assert_eq!(
            token(query, headers).as_deref(),
            want,
            "{query} {headers:?}"
        );
    }
}

#[test]
fn a_token_in_the_body_does_not_count() {
    let body = format!(r#"{{"Key":"{FIRST}","Token":"t"}}"#);
    assert_eq!(read(&ask("POST", "keyring").body(body)).token, None);
}

#[test]
fn field_names_are_read_whatever_their_case_and_the_last_one_wins() {
    let body = format!(r#"{{"kEY":"no key","KEY":"{SECOND}","relayfactor":2}}"#);
    assert_eq!(
        read(&ask("POST", "keyring").body(body)).operation,
        Operation::Keyring {
            action: KeyringAction::Install(SECOND.parse().unwrap()),
            scope: KeyringScope::Federation,
            relay_factor: 2.try_into().unwrap(),
        }
    );
}

#[test]
fn a_listing_can_be_kept_local_and_relayed() {
    for (query, scope, factor) in [
        ("", KeyringScope::Federation, 0),
        ("relay-factor=", KeyringScope::Federation, 0),
        ("local-only", KeyringScope::LocalOnly, 0),
        ("local-only=", KeyringScope::LocalOnly, 0),
        (
            "local-only=false&relay-factor=5",
            KeyringScope::Federation,
            5,
        ),
        ("local-only=T&relay-factor=%2B3", KeyringScope::LocalOnly, 3),
    ] {
        assert_eq!(
            read(&ask("GET", &format!("keyring?{query}"))).operation,
            Operation::Keyring {
                action: KeyringAction::List,
                scope,
                relay_factor: factor.try_into().unwrap(),
            },
            "{query}"
        );
    }
}

#[test]
fn pretty_is_four_spaces_and_a_new_line_at_the_end_and_changes_nothing_else() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for target in [
        "raft/configuration",
        "keyring",
        "autopilot/configuration",
        "autopilot/health",
        "autopilot/state",
    ] {
        let compact = ask("GET", target).send(&alice);
        let pretty = ask("GET", &format!("{target}?pretty")).send(&alice);
        assert_eq!(compact.json(), pretty.json());
        assert!(!compact.text().contains(['\n', ' ']), "{target}");
        let lines: Vec<_> = pretty.text().split('\n').collect();
        assert_eq!(lines.last(), Some(&""));
        assert!(lines[1].starts_with("    ") && !lines[1].starts_with("     "));
    }
}

#[test]
fn path_is_served_only_as_it_is_written() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for path in [
        "/v1/operator/%6beyring",
        "/v1/operator//keyring",
        "//v1/operator/keyring",
        "/v1/operator/./keyring",
        "/v1/operator/raft/../keyring",
        "/v1/operator/keyring/",
        "/v1/operator/Keyring",
        "/v1/operator/keyrings",
    ] {
        for method in ["GET", "POST"] {
            let answer = ask(method, &format!("{path}?token=SECRET")).send(&alice);
            let text = "Invalid URL path: not a recognized HTTP API endpoint: \
                        did you mean /v1/operator/keyring?";
            assert_eq!(answer.error(), (404, text), "{method} {path}");
            assert_eq!(answer.header("location"), None);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
}

#[test]
fn consul_decodes_a_path_and_redirects_to_the_clean_one() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for dialect in [Dialect::Consul0_7, Dialect::Consul1_10] {
        let get = |path| ask("GET", path).dialect(dialect).send(&alice);
        assert_eq!(get("/v1/operator/%6beyring").status(), 200);
        let unclean = get("/v1//operator/./raft/configuration?pretty");
        assert_eq!(unclean.status(), 301);
        let location = "/v1/operator/raft/configuration?pretty";
        assert_eq!(unclean.header("location"), Some(location));
    }
}
