//! `Precise`: how a request is read.

use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::consul::{Call, Dialect};
use cluster_operator::mock::{Grant, MockAcl, MockKeyring, MockRaft, MockToken};
use cluster_operator::operation::{KeyringAction, KeyringScope};
use cluster_operator::raft::{Consistency, PeerSelector};
use cluster_operator::{AllowAll, Operation, OperatorRequest, OperatorService, Pool};

use serde_json::json;

use crate::support::{Ask, FIRST, Never, SECOND, ask, key, two_datacenters};

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
    for (method, target, expected) in [
        (
            "GET",
            "raft/removal-plan?id=a",
            Operation::PlanRemoval {
                server: PeerSelector::Id("a".into()),
            },
        ),
        (
            "HEAD",
            "raft/removal-plan?address=b",
            Operation::PlanRemoval {
                server: PeerSelector::Address("b".into()),
            },
        ),
        (
            "POST",
            "raft/planned-removal?id=a&version=3-17",
            Operation::RemovePlanned {
                id: "a".into(),
                version: "3-17".parse().unwrap(),
            },
        ),
        (
            "POST",
            "raft/forced-removal?id=a",
            Operation::ForceRemoval { id: "a".into() },
        ),
        (
            "POST",
            "raft/replacement?id=a&with=b",
            Operation::ReplacePeer {
                id: "a".into(),
                with: "b".into(),
            },
        ),
    ] {
        assert_eq!(operation(method, target, ""), expected);
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
fn presence_of_a_flag_sets_the_consistency() {
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
fn empty_name_of_a_datacenter_does_not_count() {
    for (query, want) in [
        ("", None),
        ("dc=", None),
        ("dc=dc1", Some("dc1")),
        ("dc=dc2&datacenter=dc2", Some("dc2")),
        ("dc=&datacenter=dc2", Some("dc2")),
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
fn token_of_the_query_beats_header_and_bearer() {
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
fn token_in_the_body_does_not_count() {
    let body = format!(r#"{{"Key":"{FIRST}","Token":"t"}}"#);
    assert_eq!(read(&ask("POST", "keyring").body(body)).token, None);
}

#[test]
fn last_field_counts_in_consul_whatever_its_case() {
    let body = format!(r#"{{"kEY":"no key","KEY":"{SECOND}","relayfactor":2}}"#);
    assert_eq!(
        read(
            &ask("POST", "keyring")
                .body(body)
                .dialect(Dialect::Consul1_10)
        )
        .operation,
        Operation::Keyring {
            action: KeyringAction::Install(SECOND.parse().unwrap()),
            scope: KeyringScope::Federation,
            relay_factor: 2.try_into().unwrap(),
        }
    );
}

#[test]
fn listing_can_be_local_and_relayed() {
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
fn pretty_changes_nothing_but_the_layout() {
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
    for dialect in [Dialect::Consul0_7, Dialect::Consul1_10, Dialect::Consul1_17] {
        let get = |path| ask("GET", path).dialect(dialect).send(&alice);
        assert_eq!(get("/v1/operator/%6beyring").status(), 200);
        let unclean = get("/v1//operator/./raft/configuration?pretty");
        assert_eq!(unclean.status(), 301);
        let location = "/v1/operator/raft/configuration?pretty";
        assert_eq!(unclean.header("location"), Some(location));
        let outside = get("//evil.example/../v1//status");
        assert_eq!(outside.header("location"), Some("/v1/status"));
    }
}

#[test]
fn redirect_does_not_repeat_a_token() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for dialect in [Dialect::Consul0_7, Dialect::Consul1_10, Dialect::Consul1_17] {
        for (query, kept) in [
            ("?token=SECRET", ""),
            ("?token=SECRET&pretty", "?pretty"),
            ("?pretty&token=SECRET", "?pretty"),
            ("?a=%2B+b&%74oke%6e=SECRET&&x=a=b", "?a=%2B+b&&x=a=b"),
            ("?token=SECRET&token=SECRET&dc=dc1", "?dc=dc1"),
            ("?a;token=SECRET", "?a"),
        ] {
            let target = format!("/v1//operator/keyring{query}");
            let answer = ask("GET", &target).dialect(dialect).send(&alice);
            assert_eq!(answer.status(), 301);
            let location = format!("/v1/operator/keyring{kept}");
            assert_eq!(
                answer.header("location"),
                Some(location.as_str()),
                "{query}"
            );
            assert!(!answer.text().contains("SECRET"), "{query}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        for kept in ["?", "?pretty&tokens=1&", ""] {
            let target = format!("/v1//operator/keyring{kept}");
            let path = ask("GET", &target).dialect(dialect).send(&alice);
            let location = format!("/v1/operator/keyring{kept}");
            assert_eq!(path.header("location"), Some(location.as_str()));
            assert_eq!(path.header("cache-control"), None);
        }
    }
}

#[test]
fn index_lists_endpoints_parameters_and_capabilities() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let index = ask("GET", "/v1/operator/?pretty").send(&alice).json();
    assert_eq!(index["Version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(index["Dialect"], "precise");
    assert_eq!(index["Datacenter"], "dc1");
    assert_eq!(
        (&index["Raft"], &index["Autopilot"]),
        (&true.into(), &true.into())
    );
    assert_eq!(index["QuorumGuard"], "quorum");
    assert_eq!(index["Rings"], json!(["WAN", "LAN"]));
    let endpoints = index["Endpoints"].as_array().unwrap();
    assert!(endpoints.contains(&json!({
        "Method": "DELETE",
        "Path": "/v1/operator/raft/peer",
        "Parameters": ["id", "address", "cas"],
        "Permission": "operator:write",
    })));
    assert!(endpoints.contains(&json!({
        "Method": "GET",
        "Path": "/v1/operator/",
        "Parameters": [],
        "Permission": "operator:read or keyring:read",
    })));
    // Each of them is served, and knows its parameters.
    for endpoint in endpoints {
        let text = |name: &str| endpoint[name].as_str().unwrap();
        let path = format!("{}?nothing", text("Path"));
        let answer = ask(text("Method"), &path).send(&alice);
        let (status, error) = answer.error();
        assert_eq!(status, 400, "{path}");
        for parameter in endpoint["Parameters"].as_array().unwrap() {
            assert!(error.contains(parameter.as_str().unwrap()), "{error}");
        }
    }
    assert_eq!(ask("POST", "/v1/operator/").send(&alice).status(), 405);
    let answer = ask("GET", "/v1/operator").send(&alice);
    assert!(answer.error().1.ends_with(": did you mean /v1/operator/?"));
    let consul = ask("GET", "/v1/operator/").dialect(Dialect::Consul1_10);
    assert_eq!(consul.send(&alice).status(), 404);
}

#[test]
fn index_lists_only_what_the_server_has() {
    let service = OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice"]))
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap();
    let index = ask("GET", "/v1/operator/").send(&service).json();
    assert_eq!(
        (&index["Rings"], &index["Autopilot"]),
        (&json!([]), &false.into())
    );
    let endpoints = index["Endpoints"].as_array().unwrap().iter();
    let paths: Vec<_> = endpoints.map(|it| it["Path"].as_str().unwrap()).collect();
    let raft = [
        "raft/configuration",
        "raft/peer",
        "raft/transfer-leader",
        "raft/removal-plan",
        "raft/planned-removal",
        "raft/forced-removal",
        "raft/replacement",
        "diagnosis",
    ];
    let raft = raft.map(|name| format!("/v1/operator/{name}"));
    assert_eq!(paths[1..], raft);

    let key = FIRST.parse().unwrap();
    let service = OperatorService::builder("dc1")
        .keyring(MockKeyring::new(Pool::Lan, key, ["alice"]))
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap();
    let index = ask("GET", "/v1/operator/").send(&service).json();
    assert_eq!(
        (&index["Rings"], &index["Raft"]),
        (&json!(["LAN"]), &false.into())
    );
    assert_eq!(index.get("QuorumGuard"), None);
    let endpoints = index["Endpoints"].as_array().unwrap().iter();
    let paths = endpoints.skip(1).map(|it| it["Path"].as_str().unwrap());
    let (diagnosis, keyring): (Vec<_>, Vec<_>) =
        paths.partition(|path| *path == "/v1/operator/diagnosis");
    assert_eq!((diagnosis.len(), keyring.len()), (1, 4));
    assert!(keyring.iter().all(|path| *path == "/v1/operator/keyring"));
}

#[test]
fn index_of_another_datacenter_is_a_400() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (query, status) in [
        ("dc=dc1", 200),
        ("dc=", 200),
        ("dc=dc2", 400),
        ("datacenter=x", 400),
    ] {
        let answer = ask("GET", &format!("/v1/operator/?{query}")).send(&alice);
        assert_eq!(answer.status(), status, "{query}");
    }
}

#[test]
fn index_needs_one_of_the_permissions() {
    let reader = |resource| MockToken::new(format!("{resource}")).with(resource, Grant::Read);
    let acl = MockAcl::new(DefaultPolicy::Deny)
        .with_token(reader(Resource::Operator))
        .with_token(reader(Resource::Keyring));
    let federation = two_datacenters().authorizer(acl).build();
    let alice = federation.service("alice");
    for (token, status) in [
        ("operator", 200),
        ("keyring", 200),
        ("mistyped", 403),
        ("", 403),
    ] {
        let answer = ask("GET", "/v1/operator/").token(token).send(&alice);
        assert_eq!(answer.status(), status, "{token}");
    }
}
