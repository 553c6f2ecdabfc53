//! `Precise`: denials in the newest Consul's words, and what a denied caller learns.

use std::future::pending;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::acl::{Access, AccessorId, AclError, DefaultPolicy, Identity, Resource};
use cluster_operator::consul::Dialect;
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockRaft, MockToken};
use cluster_operator::peers::{EnvelopeReply, SendError, Target};
use cluster_operator::{
    AclAuthorizer, DatacenterName, Envelope, OperatorService, Peers, Pool, Token,
};

use crate::support::{AtOnce, Never, SECOND, ask, key, two_datacenters};

const ENDPOINTS: [(&str, &str, &str); 15] = [
    ("GET", "raft/configuration", "operator:read"),
    ("GET", "raft/configuration?stale", "operator:read"),
    ("DELETE", "raft/peer?id=nobody", "operator:write"),
    ("POST", "raft/transfer-leader", "operator:write"),
    ("GET", "raft/removal-plan?id=nobody", "operator:read"),
    (
        "POST",
        "raft/planned-removal?id=nobody&version=1-2",
        "operator:write",
    ),
    ("POST", "raft/forced-removal?id=nobody", "operator:write"),
    (
        "POST",
        "raft/replacement?id=nobody&with=x",
        "operator:write",
    ),
    ("GET", "diagnosis", "operator:read"),
    ("GET", "keyring", "keyring:read"),
    ("POST", "keyring", "keyring:write"),
    ("PUT", "keyring", "keyring:write"),
    ("DELETE", "keyring", "keyring:write"),
    ("GET", "autopilot/health", "operator:read"),
    ("PUT", "autopilot/configuration", "operator:write"),
];

fn accessor() -> AccessorId {
    AccessorId::new("94c1ee8c-e2c5-4f2f-9a0f-ef33c3d0cfc2")
}

fn guarded() -> MockFederation {
    let none = MockToken::new("none").with_accessor(accessor());
    let reader = MockToken::new("reader")
        .with_accessor(accessor())
        .with(Resource::Operator, Grant::Read)
        .with(Resource::Keyring, Grant::Read);
    let writer = MockToken::new("writer")
        .with(Resource::Operator, Grant::Write)
        .with(Resource::Keyring, Grant::Write);
    two_datacenters()
        .authorizer(
            MockAcl::new(DefaultPolicy::Deny)
                .with_token(none)
                .with_token(reader)
                .with_token(writer),
        )
        .build()
}

fn body(target: &str) -> String {
    if target == "keyring" {
        key(SECOND)
    } else {
        "{}".into()
    }
}

fn lacks(permission: &str) -> String {
    let id = accessor();
    format!("Permission denied: token with AccessorID '{id}' lacks permission '{permission}'")
}

#[test]
fn denial_names_accessor_and_missing_permission() {
    let federation = guarded();
    let alice = federation.service("alice");
    for (method, target, permission) in ENDPOINTS {
        for token in ["none", "reader"] {
            let answer = ask(method, target)
                .token(token)
                .body(body(target))
                .send(&alice);
            if token == "none" || permission.ends_with("write") {
                let want = lacks(permission);
                assert_eq!(answer.error(), (403, want.as_str()), "{method} {target}");
            } else {
                let found = if target.contains("nobody") { 404 } else { 200 };
                assert_eq!(answer.status(), found, "{method} {target}");
            }
        }
    }
    assert_eq!(federation.configuration("dc1").index, 22);
    assert_eq!(federation.keys("alice", &Pool::Lan).len(), 1);
}

#[test]
fn request_without_a_token_is_denied_as_anonymous() {
    let federation = guarded();
    let alice = federation.service("alice");
    for (method, target, permission) in ENDPOINTS {
        let answer = ask(method, target).body(body(target)).send(&alice);
        let want = format!(
            "Permission denied: anonymous token lacks permission '{permission}'. \
             The anonymous token is used implicitly when a request does not specify a token."
        );
        assert_eq!(answer.error(), (403, want.as_str()), "{method} {target}");
    }
}

#[test]
fn unknown_token_is_a_403_of_its_own() {
    let federation = guarded();
    let alice = federation.service("alice");
    for (method, target, _) in ENDPOINTS {
        let answer = ask(method, target)
            .token("mistyped")
            .body(body(target))
            .send(&alice);
        assert_eq!(answer.error(), (403, "ACL not found"), "{method} {target}");
    }
}

#[test]
fn denied_caller_learns_nothing_about_the_body() {
    let federation = guarded();
    let alice = federation.service("alice");
    let faults = [
        ("POST", "keyring", ""),
        ("POST", "keyring", "x"),
        ("PUT", "keyring", r#"{"Key":"no key"}"#),
        ("DELETE", "keyring", r#"{"Key":"AAAA"}"#),
        ("DELETE", "keyring", r#"{"Extra":1}"#),
        ("POST", "keyring?relay-factor=9", "{}"),
        ("POST", "keyring?local-only=true", "{}"),
        ("PUT", "autopilot/configuration", r#"{"Extra":1}"#),
    ];
    for (method, target, body) in faults {
        let ask = |token| ask(method, target).token(token).body(body).send(&alice);
        let permission = if target.starts_with("keyring") {
            "keyring:write"
        } else {
            "operator:write"
        };
        let want = lacks(permission);
        assert_eq!(ask("reader").error(), (403, want.as_str()), "{body}");
        assert_eq!(ask("mistyped").error(), (403, "ACL not found"), "{body}");
        assert_eq!(ask("writer").error().0, 400, "{body}");
    }
}

#[test]
fn malformed_key_of_a_reader_is_a_denied_write_as_in_consul() {
    let federation = guarded();
    let alice = federation.service("alice");
    for key in ["no key", "AAAA"] {
        let ask = |token: &str| {
            let body = format!(r#"{{"Key":"{key}"}}"#);
            let ask = ask("POST", "keyring").dialect(Dialect::Consul1_10);
            ask.token(token).body(body).send(&alice)
        };
        let denied = "Modifying keyring denied due to ACLs";
        assert_eq!(ask("reader").text(), denied);
        assert!(ask("writer").text().contains("dc1 (LAN) error: "));
    }
}

#[test]
fn denial_is_a_problem_document_on_request() {
    let federation = guarded();
    let alice = federation.service("alice");
    for body in [key(SECOND), "x".into()] {
        let answer = ask("POST", "keyring")
            .token("reader")
            .problem()
            .body(body)
            .send(&alice);
        assert_eq!(answer.status(), 403);
        let problem = answer.json();
        assert_eq!(problem["detail"], lacks("keyring:write"));
        assert_eq!(problem["outcome"], "not-applied");
    }
}

#[test]
fn denied_caller_does_not_learn_whether_a_server_exists() {
    let federation = guarded();
    let alice = federation.service("alice");
    let id = federation.raft("bob").id().clone();
    let known = ask("DELETE", &format!("raft/peer?id={id}"))
        .token("reader")
        .send(&alice);
    let unknown = ask("DELETE", "raft/peer?id=nobody")
        .token("reader")
        .send(&alice);
    assert_eq!(known.error(), unknown.error());
}

#[test]
fn unavailable_authorizer_is_a_503() {
    let acl = MockAcl::new(DefaultPolicy::Deny);
    acl.set_unavailable("no leader for the token's datacenter");
    let federation = two_datacenters().authorizer(acl).build();
    let alice = federation.service("alice");
    for (method, target, _) in ENDPOINTS {
        for body in [body(target), "x".into()] {
            let answer = ask(method, target).token("t").body(body).send(&alice);
            let want = "cannot check the ACL token now, try again: \
                        no leader for the token's datacenter";
            assert_eq!(answer.error(), (503, want), "{method} {target}");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
    }
}

/// An authorizer that never decides.
struct Stuck;

#[async_trait]
impl AclAuthorizer for Stuck {
    async fn authorize(
        &self,
        _: Option<&Token>,
        _: Resource,
        _: Access,
    ) -> Result<Identity, AclError> {
        pending().await
    }
}

#[test]
fn stuck_authorizer_is_a_504_whatever_the_body() {
    let federation = two_datacenters()
        .authorizer(Stuck)
        .service_options(|service| service.timer(AtOnce))
        .build();
    let alice = federation.service("alice");
    for (method, target, _) in ENDPOINTS {
        for body in [body(target), "x".into()] {
            let answer = ask(method, target).body(body).send(&alice);
            assert_eq!(answer.error().0, 504, "{method} {target}");
        }
    }
}

/// A transport that reaches no server.
struct Refused;

#[async_trait]
impl Peers for Refused {
    fn datacenters(&self) -> Vec<DatacenterName> {
        Vec::new()
    }

    async fn send(&self, _: &Target, _: Envelope, _: Duration) -> Result<EnvelopeReply, SendError> {
        let reason = "http://10.0.0.1:8500: connection refused (os error 111)";
        Err(SendError::not_sent(reason))
    }
}

/// A follower that cannot reach the leader.
fn cut_off() -> OperatorService {
    let writer = MockToken::new("writer").with(Resource::Operator, Grant::Write);
    let raft = MockRaft::voters(["alice", "bob", "carol"]);
    OperatorService::builder("dc1")
        .raft(raft.at("bob"))
        .authorizer(MockAcl::new(DefaultPolicy::Deny).with_token(writer))
        .peers(Refused)
        .timer(Never)
        .build()
        .unwrap()
}

#[test]
fn only_an_authorized_caller_learns_where_the_leader_listens() {
    let bob = cut_off();
    let send = |token, dialect| {
        let ask = ask("DELETE", "raft/peer?address=carol");
        ask.token(token).dialect(dialect).send(&bob)
    };
    for (dialect, shown, hidden) in [
        (
            Dialect::Precise,
            "cannot reach server alice: http://10.0.0.1:8500: connection refused \
             (os error 111)",
            "cannot reach the leader: check that it is up, and that this server has its address",
        ),
        (
            Dialect::Consul1_10,
            "rpc error getting client: failed to get conn: dial tcp alice: connect: \
             connection refused",
            "rpc error getting client: failed to get conn: dial tcp: connect: connection refused",
        ),
        (
            Dialect::Consul0_7,
            "rpc error: failed to get conn: dial tcp alice: connect: connection refused",
            "rpc error: failed to get conn: dial tcp: connect: connection refused",
        ),
    ] {
        assert_eq!(send("writer", dialect).error().1, shown);
        assert_eq!(send("mistyped", dialect).error().1, hidden);
    }
    let problem = ask("DELETE", "raft/peer?address=carol")
        .problem()
        .send(&bob);
    let text = problem.text();
    assert!(
        !text.contains("10.0.0.1") && !text.contains("alice"),
        "{text}"
    );
}
