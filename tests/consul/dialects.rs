//! Answers of the Consul dialects that no recording shows. The expected ones come from
//! Consul's sources.

use async_trait::async_trait;
use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::consul::Dialect::{Consul0_7, Consul1_10, Consul1_17, Precise};
use cluster_operator::keyring::{GossipQuery, KeyChange, NodeKeys};
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockToken};
use cluster_operator::{AllowAll, KeyringBackend, NodeName, OperatorError, OperatorService, Pool};

use crate::support::{FIRST, Never, SECOND, ask, key, two_datacenters};

#[test]
fn nonvoters_and_unknown_nodes_show_in_each_dialect() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .nonvoters(["bob"])
        .raft_servers(|server| {
            server.id = server.name.as_ref().unwrap().as_str()[..1].into();
            server.name.take_if(|name| *name == "carol");
            server.protocol_version = None;
        })
        .raft_index(22)
        .service_options(|service| service.timer(Never))
        .build();
    let shown = |dialect| {
        let ask = ask("GET", "raft/configuration").dialect(dialect);
        ask.send(&federation.service("alice")).text().to_owned()
    };
    let (one, two, three) = ("127.0.0.1:8300", "127.0.0.2:8300", "127.0.0.3:8300");
    assert_eq!(
        shown(Consul0_7),
        format!(
            "{{\"Servers\":[\
             {{\"ID\":\"{one}\",\"Node\":\"alice\",\"Address\":\"{one}\",\"Leader\":true,\"Voter\":true}},\
             {{\"ID\":\"{two}\",\"Node\":\"bob\",\"Address\":\"{two}\",\"Leader\":false,\"Voter\":false}},\
             {{\"ID\":\"{three}\",\"Node\":\"(unknown)\",\"Address\":\"{three}\",\"Leader\":false,\"Voter\":true}}\
             ],\"Index\":22}}"
        )
    );
    // A member without the tag is not the same as no member.
    assert_eq!(
        shown(Consul1_10),
        format!(
            "{{\"Servers\":[\
             {{\"ID\":\"a\",\"Node\":\"alice\",\"Address\":\"{one}\",\"Leader\":true,\"ProtocolVersion\":\"\",\"Voter\":true}},\
             {{\"ID\":\"b\",\"Node\":\"bob\",\"Address\":\"{two}\",\"Leader\":false,\"ProtocolVersion\":\"\",\"Voter\":false}},\
             {{\"ID\":\"c\",\"Node\":\"(unknown)\",\"Address\":\"{three}\",\"Leader\":false,\"ProtocolVersion\":\"unknown\",\"Voter\":true}}\
             ],\"Index\":0}}"
        )
    );
    assert_eq!(
        shown(Precise),
        format!(
            "{{\"Servers\":[\
             {{\"ID\":\"a\",\"Node\":\"alice\",\"Address\":\"{one}\",\"Leader\":true,\"Voter\":true}},\
             {{\"ID\":\"b\",\"Node\":\"bob\",\"Address\":\"{two}\",\"Leader\":false,\"Voter\":false}},\
             {{\"ID\":\"c\",\"Node\":\"(unknown)\",\"Address\":\"{three}\",\"Leader\":false,\"Voter\":true}}\
             ],\"Index\":22}}"
        )
    );
}

#[test]
fn segment_has_its_name_from_1_10_on() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .segment("dc1", "alpha", ["alice"])
        .gossip_key(FIRST.parse().unwrap())
        .service_options(|service| service.timer(Never))
        .build();
    let alice = federation.service("alice");
    let ring = |wan: bool, segment: &str, primaries: &str| {
        format!(
            r#"{{"WAN":{wan},"Datacenter":"dc1",{segment}"Keys":{{"{FIRST}":1}}{primaries},"NumNodes":1}}"#
        )
    };
    let primaries = format!(r#","PrimaryKeys":{{"{FIRST}":1}}"#);
    let (none, alpha) = ("\"Segment\":\"\",", "\"Segment\":\"alpha\",");
    for (dialect, want) in [
        (Consul0_7, [("", ""), ("", ""), ("", "")]),
        (
            Consul1_10,
            [(none, &*primaries), (none, &primaries), (alpha, &primaries)],
        ),
        (
            Consul1_17,
            [(none, &*primaries), (none, &primaries), (alpha, &primaries)],
        ),
        (
            Precise,
            [("", &*primaries), ("", &primaries), (alpha, &primaries)],
        ),
    ] {
        let [wan, lan, segment] = want;
        let want = format!(
            "[{},{},{}]",
            ring(true, wan.0, wan.1),
            ring(false, lan.0, lan.1),
            ring(false, segment.0, segment.1)
        );
        let answer = ask("GET", "keyring").dialect(dialect).send(&alice);
        assert_eq!(answer.text(), want, "{dialect:?}");
    }
}

#[test]
fn error_of_a_segment_names_it() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .segment("dc1", "alpha", ["alice"])
        .unencrypted()
        .service_options(|service| service.timer(Never))
        .build();
    let answer = ask("GET", "keyring")
        .dialect(Consul1_10)
        .send(&federation.service("alice"));
    let text = "6 errors occurred:\
                \n\t* WAN error: 1/1 nodes reported failure\
                \n\t* alice.dc1: Keyring is empty (encryption not enabled)\
                \n\t* dc1 (LAN) error: 1/1 nodes reported failure\
                \n\t* alice: Keyring is empty (encryption not enabled)\
                \n\t* dc1 (LAN) [segment: alpha] error: 1/1 nodes reported failure\
                \n\t* alice: Keyring is empty (encryption not enabled)\n\n";
    assert_eq!(answer.error(), (500, text));
}

/// A pool of one node with more keys than fit into its answer.
struct TooMany;

#[async_trait]
impl KeyringBackend for TooMany {
    fn pool(&self) -> &Pool {
        &Pool::Lan
    }
    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        let alice = NodeName::new("alice");
        query.answers.asking([alice.clone()]);
        let cut = NodeKeys::ring([FIRST.parse()?]).truncated(30);
        query.answers.answered(&alice, Ok(cut));
        Ok(())
    }
    async fn change(&self, _: &KeyChange, _: &GossipQuery) -> Result<(), OperatorError> {
        Err(OperatorError::unsupported("this"))
    }
}

#[test]
fn truncated_list_of_keys_is_a_200_that_says_so() {
    let service = OperatorService::builder("dc1")
        .keyring(TooMany)
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap();
    let message = "truncated key list response, showing first 1 of 30 keys";
    for dialect in [Precise, Consul1_17, Consul1_10, Consul0_7] {
        let answer = ask("GET", "keyring").dialect(dialect).send(&service);
        assert_eq!(answer.status(), 200, "{dialect:?}");
        let ring = &answer.json()[0];
        assert_eq!(ring["Messages"]["alice"], message);
        assert_eq!(ring["Keys"][FIRST], 1);
        assert_eq!(ring["Error"], serde_json::Value::Null);
    }
}

#[test]
fn each_forwarding_server_adds_its_prefix_to_an_error() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob"])
        .datacenter("dc2", ["dave", "erin"])
        .leader("alice")
        .leader("erin")
        .service_options(|service| service.timer(Never))
        .build();
    // Alice forwards to dave, and dave to the leader erin.
    let not_found = "address \"x\" was not found in the Raft configuration";
    for (dialect, server, target, prefix) in [
        (Consul1_10, "alice", "raft/peer?address=x", ""),
        (
            Consul1_10,
            "bob",
            "raft/peer?address=x",
            "rpc error making call: ",
        ),
        (
            Consul1_10,
            "bob",
            "raft/peer?address=x&dc=dc2",
            "rpc error making call: rpc error making call: ",
        ),
        (
            Consul1_17,
            "bob",
            "raft/peer?address=x&dc=dc2",
            "rpc error making call: rpc error making call: ",
        ),
        (
            Consul0_7,
            "alice",
            "raft/peer?address=x&dc=dc2",
            "rpc error: rpc error: ",
        ),
    ] {
        let answer = ask("DELETE", target)
            .dialect(dialect)
            .send(&federation.service(server));
        let want = format!("{prefix}{not_found}");
        assert_eq!(answer.error(), (500, want.as_str()), "{server} {target}");
    }
    // Precise adds no prefix.
    let answer = ask("DELETE", "raft/peer?address=x&dc=dc2").send(&federation.service("alice"));
    assert_eq!(answer.error(), (404, not_found));
}

#[test]
fn remote_denial_fails_the_whole_listing_in_consul() {
    let allowed = || {
        let token = MockToken::new("t").with(Resource::Keyring, Grant::Write);
        MockAcl::new(DefaultPolicy::Deny).with_token(token)
    };
    let denied = || MockAcl::new(DefaultPolicy::Deny).with_token(MockToken::new("t"));
    let unknown = || MockAcl::new(DefaultPolicy::Deny);
    for (remote, dialect, method, status, text) in [
        (
            denied(),
            Consul1_10,
            "GET",
            500,
            "rpc error making call: Reading keyring denied by ACLs",
        ),
        (
            denied(),
            Consul1_10,
            "PUT",
            500,
            "rpc error making call: Modifying keyring denied due to ACLs",
        ),
        (
            denied(),
            Consul0_7,
            "GET",
            500,
            "rpc error: Reading keyring denied by ACLs",
        ),
        (
            denied(),
            Consul1_17,
            "PUT",
            403,
            "rpc error making call: Permission denied: token with AccessorID \
             'acce5500-0000-4000-8000-000000000001' lacks permission 'keyring:write'",
        ),
        (
            unknown(),
            Consul1_10,
            "GET",
            403,
            "rpc error making call: ACL not found",
        ),
        (unknown(), Consul0_7, "GET", 403, "rpc error: ACL not found"),
    ] {
        let federation = two_datacenters()
            .authorizer(allowed())
            .authorizer_in("dc2", remote)
            .build();
        let answer = ask(method, "keyring")
            .dialect(dialect)
            .token("t")
            .body(key(FIRST))
            .send(&federation.service("alice"));
        assert_eq!(answer.error(), (status, text), "{dialect:?} {method}");
    }
}

#[test]
fn max_stale_lets_any_server_answer_from_1_10_on() {
    let federation = two_datacenters().build();
    federation.stop("alice");
    federation.stop("carol");
    let bob = federation.service("bob");
    let ask = |dialect, query: &str| {
        let ask = ask("GET", &format!("raft/configuration?{query}")).dialect(dialect);
        let answer = ask.send(&bob);
        (answer.status(), answer.text().to_owned())
    };
    let conflict = "Cannot specify ?stale with ?consistent, conflicting semantics.";
    let no_leader = "No cluster leader";
    assert_eq!(ask(Consul1_10, "max_stale=1s").0, 200);
    assert_eq!(ask(Consul0_7, "stale").0, 200);
    for (dialect, query, status, text) in [
        (Consul1_10, "max_stale=0s", 500, no_leader),
        (Consul1_10, "cached", 500, no_leader),
        (Consul1_10, "max_stale=1s&consistent", 400, conflict),
        (
            Consul1_10,
            "max_stale=x",
            400,
            "Invalid max_stale value \"x\"",
        ),
        (
            Consul1_10,
            "cached&consistent",
            400,
            "Cannot specify ?cached with ?consistent, conflicting semantics.",
        ),
        (Consul0_7, "max_stale=1s", 500, no_leader),
        (Consul0_7, "max_stale=x&cached&consistent", 500, no_leader),
    ] {
        let want = (status, text.to_owned());
        assert_eq!(ask(dialect, query), want, "{dialect:?} {query}");
    }
}

#[test]
fn cache_control_is_checked_from_1_10_on() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (dialect, value, status) in [
        (Consul0_7, "max-age=x", 200),
        (Consul1_10, "max-age=x", 400),
        (Consul1_10, "no-cache, Max-Age=30, stale-if-error=1", 200),
        (Consul1_10, "stale-if-error=1s", 400),
        (Consul1_10, "no-store", 200),
    ] {
        let answer = ask("GET", "raft/configuration")
            .dialect(dialect)
            .header("Cache-Control", value)
            .send(&alice);
        assert_eq!(answer.status(), status, "{dialect:?} {value}");
        if status == 400 {
            assert_eq!(answer.text(), "Invalid Cache-Control header.");
        }
    }
}

#[test]
fn additions_of_precise_are_unknown_to_consul() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let ask = |dialect, method, target: &str| {
        let ask = ask(method, target).dialect(dialect).body("{}");
        ask.send(&alice)
    };
    for dialect in [Consul1_17, Consul1_10, Consul0_7] {
        let unknown = ask(dialect, "GET", "nowhere");
        for (method, target) in [
            ("GET", ""),
            ("GET", "diagnosis"),
            ("GET", "raft/removal-plan?id=x"),
            ("POST", "raft/planned-removal?id=x&version=1-22"),
            ("POST", "raft/forced-removal?id=x"),
            ("POST", "raft/replacement?id=x&with=y"),
        ] {
            let answer = ask(dialect, method, target);
            let want = (404, unknown.text());
            assert_eq!(
                (answer.status(), answer.text()),
                want,
                "{dialect:?} {target}"
            );
        }
    }
    for dialect in [Consul1_10, Consul0_7] {
        // ?datacenter, ?cas on a peer, problems.
        let answer = ask(dialect, "POST", "raft/transfer-leader");
        assert_eq!((answer.status(), answer.text()), (404, ""));
        assert_eq!(
            ask(dialect, "GET", "raft/configuration?datacenter=nope").status(),
            200
        );
        let answer = ask(dialect, "DELETE", "raft/peer?address=x&cas=1");
        assert_eq!(
            answer.error(),
            (500, "address \"x\" was not found in the Raft configuration")
        );
        assert_eq!(ask(dialect, "HEAD", "keyring").status(), 405);
    }
    assert_eq!(ask(Consul0_7, "GET", "autopilot/health").status(), 404);
    assert_eq!(ask(Consul1_10, "GET", "autopilot/health").status(), 200);
}

#[test]
fn default_policy_is_in_a_header_from_1_10_on() {
    for (policy, text) in [
        (DefaultPolicy::Allow, "allow"),
        (DefaultPolicy::Deny, "deny"),
    ] {
        let federation = two_datacenters().authorizer(MockAcl::new(policy)).build();
        let alice = federation.service("alice");
        for target in ["keyring", "raft/configuration?index=x", "raft/peer"] {
            for (dialect, want) in [
                (Precise, None),
                (Consul1_17, Some(text)),
                (Consul1_10, Some(text)),
                (Consul0_7, None),
            ] {
                let answer = ask("GET", target).dialect(dialect).send(&alice);
                let told = answer.header("X-Consul-Default-Acl-Policy");
                assert_eq!(told, want, "{dialect:?} {target}");
            }
        }
    }
}

#[test]
fn each_dialect_has_its_rules_for_the_rest_of_a_body() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (body, old, new, precise) in [
        (format!(r#"{{"Key":"{SECOND}"}} x"#), 200, 200, 400),
        (format!(r#"{{"Key":"{SECOND}","Extra":1}}"#), 200, 400, 400),
        (
            format!(r#"{{"Key":"{SECOND}","RelayFactor":9}}"#),
            200,
            200,
            400,
        ),
        (
            format!(r#"{{"Key":"{SECOND}","LocalOnly":true}}"#),
            200,
            200,
            400,
        ),
    ] {
        for (dialect, status) in [
            (Consul0_7, old),
            (Consul1_10, new),
            (Consul1_17, new),
            (Precise, precise),
        ] {
            let ask = ask("POST", "keyring").dialect(dialect).body(body.as_str());
            assert_eq!(ask.send(&alice).status(), status, "{dialect:?} {body}");
        }
    }
}

#[test]
fn transfer_in_1_17_deposes_the_local_leader_whatever_dc_says() {
    let federation = two_datacenters().build();
    let leaders = || ["dc1", "dc2"].map(|name| federation.leader(name).unwrap().to_string());
    let transfer = |dialect, query: &str| {
        let ask = ask("POST", &format!("raft/transfer-leader?{query}")).dialect(dialect);
        let answer = ask.send(&federation.service("dave"));
        (answer.status(), answer.text().to_owned())
    };
    // Dave has nobody to transfer to.
    let none = (500, "cannot find peer".to_owned());
    assert_eq!(transfer(Consul1_17, "dc=dc1"), none);
    assert_eq!(leaders(), ["alice", "dave"]);
    let done = (200, r#"{"Success":true}"#.to_owned());
    assert_eq!(transfer(Precise, "dc=dc1"), done);
    assert_eq!(leaders(), ["bob", "dave"]);
}

#[test]
fn reasons_of_a_refused_transfer_have_no_prefix_in_1_17() {
    let federation = two_datacenters()
        .raft_servers(|server| server.id = server.name.as_ref().unwrap().as_str().into())
        .build();
    for (query, text, media) in [
        (
            "id=alice",
            "cannot transfer leadership to itself",
            "text/plain; charset=utf-8",
        ),
        (
            "id=x",
            "Could not find address for server id x",
            "text/plain; charset=utf-8",
        ),
        (
            "id=%01",
            "Could not find address for server id \u{1}",
            "application/octet-stream",
        ),
        (
            "id=%ff",
            "grpc: error while marshaling: string field contains invalid UTF-8",
            "text/plain; charset=utf-8",
        ),
    ] {
        // Bob forwards it to alice.
        for server in ["alice", "bob"] {
            let ask = ask("POST", &format!("raft/transfer-leader?{query}"));
            let answer = ask.dialect(Consul1_17).send(&federation.service(server));
            assert_eq!((answer.status(), answer.text()), (500, text), "{server}");
            assert_eq!(answer.header("Content-Type"), Some(media), "{server}");
        }
    }
}

#[test]
fn partition_is_refused_in_a_transfer_only() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let text = |what: &str| format!("Invalid {what} - Partitions are a Consul Enterprise feature");
    let query = ask("POST", "raft/transfer-leader?partition=default").dialect(Consul1_17);
    let want = text("query parameter: \"partition\"");
    assert_eq!(query.send(&alice).error(), (400, want.as_str()));
    let header = ask("POST", "raft/transfer-leader").dialect(Consul1_17);
    let header = header.header("X-Consul-Partition", "default");
    let want = text("header: \"X-Consul-Partition\"");
    assert_eq!(header.send(&alice).error(), (400, want.as_str()));
    for (method, target) in [
        ("POST", "raft/transfer-leader?partition="),
        ("GET", "keyring?partition=x"),
        ("GET", "raft/configuration?partition=x&ns=y"),
    ] {
        let answer = ask(method, target).dialect(Consul1_17).send(&alice);
        assert_eq!(answer.status(), 200, "{target}");
    }
}

#[test]
fn name_that_is_not_utf8_is_quoted_byte_by_byte() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for dialect in [Consul1_17, Consul1_10, Consul0_7] {
        let answer = ask("DELETE", "raft/peer?address=a+%ff%C3%a9%e2%82");
        let text = "address \"a \\xff\u{e9}\\xe2\\x82\" was not found in the Raft configuration";
        assert_eq!(answer.dialect(dialect).send(&alice).error(), (500, text));
    }
}

#[test]
fn null_is_a_threshold_of_zero_in_consul() {
    for (dialect, body, shown) in [
        (
            Consul1_17,
            r#"{"LastContactThreshold":null}"#,
            ("0s", "10s"),
        ),
        (
            Consul1_17,
            r#"{"ServerStabilizationTime":null}"#,
            ("200ms", "0s"),
        ),
        (
            Consul1_17,
            r#"{"LastContactThreshold":"1s","lastcontactthreshold":null}"#,
            ("0s", "10s"),
        ),
        (
            Consul1_17,
            r#"{"LastContactThreshold":null,"LastContactThreshold":"1s"}"#,
            ("1s", "10s"),
        ),
        (Consul1_10, r#"{"LastContactThreshold":null}"#, ("0s", "0s")),
        (
            Precise,
            r#"{"LastContactThreshold":null}"#,
            ("200ms", "10s"),
        ),
    ] {
        let federation = two_datacenters().build();
        let alice = federation.service("alice");
        let ask = |method| ask(method, "autopilot/configuration").dialect(dialect);
        assert_eq!(ask("PUT").body(body).send(&alice).text(), "true");
        let rules = ask("GET").send(&alice).json();
        assert_eq!(rules["LastContactThreshold"], shown.0, "{dialect:?} {body}");
        assert_eq!(
            rules["ServerStabilizationTime"], shown.1,
            "{dialect:?} {body}"
        );
    }
}

#[test]
fn unknown_path_has_a_text_in_1_17() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let api = "Invalid URL path: not a recognized HTTP API endpoint\n";
    let hint = "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with \
                '/v1/'\n";
    for (path, text) in [
        ("/v1/operator/usage", api),
        ("/v1/operator/keyring/", api),
        ("/%761/operator/Keyring", api),
        ("/operator/keyring", hint),
        ("/v1", hint),
    ] {
        let answer = ask("GET", path).dialect(Consul1_17).send(&alice);
        assert_eq!(answer.error(), (404, text), "{path}");
        assert_eq!(answer.header("Vary"), None);
    }
}

#[test]
fn simulated_servers_have_the_version_of_the_dialect() {
    for dialect in [Precise, Consul1_17, Consul1_10] {
        let federation = two_datacenters().version(dialect.version()).build();
        let ask = ask("GET", "autopilot/health").dialect(dialect);
        let health = ask.send(&federation.service("alice")).json();
        assert_eq!(health["Servers"][0]["Version"], dialect.version());
    }
    let default = two_datacenters().build();
    let state = ask("GET", "autopilot/state").send(&default.service("alice"));
    assert!(state.text().contains(r#""Version":"1.17.0""#));
}
