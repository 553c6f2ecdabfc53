//! The examples in Consul's documentation, from backends that know only the data in
//! them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::consul::{Dialect, Request, Wire};
use cluster_operator::keyring::{GossipQuery, KeyChange, NodeKeys};
use cluster_operator::raft::{
    Change, Leadership, LogPosition, Membership, RaftMember, RaftView, ServerStatus,
};
use cluster_operator::timer::Sleep;
use cluster_operator::{
    AllowAll, ErrorKind, GossipKey, KeyringBackend, NodeName, OperatorError, OperatorService, Pool,
    RaftBackend, Timer,
};

const CONFIGURATION: &str = r#"{
    "Servers": [
        {
            "ID": "127.0.0.1:8300",
            "Node": "alice",
            "Address": "127.0.0.1:8300",
            "Leader": true,
            "Voter": true
        },
        {
            "ID": "127.0.0.2:8300",
            "Node": "bob",
            "Address": "127.0.0.2:8300",
            "Leader": false,
            "Voter": true
        },
        {
            "ID": "127.0.0.3:8300",
            "Node": "carol",
            "Address": "127.0.0.3:8300",
            "Leader": false,
            "Voter": true
        }
    ],
    "Index": 22
}
"#;

const LISTING: &str = r#"[
    {
        "WAN": true,
        "Datacenter": "dc1",
        "Keys": {
            "0eK8RjnsGC/+I1fJErQsBA==": 1,
            "G/3/L4yOw3e5T7NTvuRi9g==": 1,
            "z90lFx3sZZLtTOkutXcwYg==": 1
        },
        "NumNodes": 1
    },
    {
        "WAN": false,
        "Datacenter": "dc1",
        "Keys": {
            "0eK8RjnsGC/+I1fJErQsBA==": 1,
            "G/3/L4yOw3e5T7NTvuRi9g==": 1,
            "z90lFx3sZZLtTOkutXcwYg==": 1
        },
        "NumNodes": 1
    }
]
"#;

/// A Raft with these servers, the first of which is the leader.
struct Fixed(Vec<(RaftMember, ServerStatus)>);

#[async_trait]
impl RaftBackend for Fixed {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        let (members, status): (Vec<_>, _) = self.0.iter().cloned().unzip();
        let mut view = RaftView::new("127.0.0.1:8300", Arc::new(Membership::new(members)));
        view.leadership = Leadership::Local;
        view.version.index = 22;
        view.status = status;
        Ok(view)
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        self.view().await
    }

    async fn change_membership(&self, _: &Change) -> Result<(), OperatorError> {
        Err(ErrorKind::LastVoter.into())
    }
}

/// A pool of one node that lists three keys and does not report the primary key.
struct ThreeKeys(Pool);

#[async_trait]
impl KeyringBackend for ThreeKeys {
    fn pool(&self) -> &Pool {
        &self.0
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        // Not in order, so that the test shows that a listing sorts them.
        let keys = [
            "z90lFx3sZZLtTOkutXcwYg==",
            "0eK8RjnsGC/+I1fJErQsBA==",
            "G/3/L4yOw3e5T7NTvuRi9g==",
        ];
        let alice = NodeName::new("alice");
        query.answers.asking([alice.clone()]);
        let keys = keys.map(|key| GossipKey::from_base64(key).unwrap());
        query
            .answers
            .answered(&alice, Ok(NodeKeys::without_primary(keys)));
        Ok(())
    }

    async fn change(&self, _: &KeyChange, _: &GossipQuery) -> Result<(), OperatorError> {
        Err(OperatorError::unsupported("changing keys"))
    }
}

struct Never;

impl Timer for Never {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

fn get(service: &OperatorService, dialect: Dialect, path: &str, query: Option<&str>) -> String {
    let request = Request {
        method: "GET",
        path,
        query,
        headers: &[("", ""); 0],
        body: Default::default(),
    };
    let response = futures_executor::block_on(Wire::new(dialect).serve(service, request));
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    String::from_utf8(response.body.to_vec()).unwrap()
}

fn raft(servers: impl IntoIterator<Item = (RaftMember, ServerStatus)>) -> OperatorService {
    OperatorService::builder("dc1")
        .raft(Fixed(servers.into_iter().collect()))
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap()
}

fn documented(name: &str, address: &str) -> (RaftMember, ServerStatus) {
    let status = ServerStatus::unknown().with_name(name);
    (RaftMember::voter(address, address), status)
}

#[test]
fn raft_configuration_matches_documentation() {
    let service = raft([
        documented("alice", "127.0.0.1:8300"),
        documented("bob", "127.0.0.2:8300"),
        documented("carol", "127.0.0.3:8300"),
    ]);
    for dialect in [Dialect::Precise, Dialect::Consul0_7] {
        let path = "/v1/operator/raft/configuration";
        let body = get(&service, dialect, path, Some("pretty"));
        assert_eq!(body, CONFIGURATION, "{dialect:?}");
    }
}

#[test]
fn key_listing_matches_documentation() {
    let service = OperatorService::builder("dc1")
        .keyring(ThreeKeys(Pool::Lan))
        .keyring(ThreeKeys(Pool::Wan))
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap();
    for dialect in [Dialect::Precise, Dialect::Consul0_7] {
        let body = get(&service, dialect, "/v1/operator/keyring", Some("pretty"));
        assert_eq!(body, LISTING, "{dialect:?}");
    }
}

#[test]
fn configuration_without_pretty_has_no_white_space() {
    let service = raft([documented("alice", "127.0.0.1:8300")]);
    let body = get(
        &service,
        Dialect::Precise,
        "/v1/operator/raft/configuration",
        None,
    );
    assert_eq!(
        body,
        r#"{"Servers":[{"ID":"127.0.0.1:8300","Node":"alice","Address":"127.0.0.1:8300","Leader":true,"Voter":true}],"Index":22}"#
    );
}

#[test]
fn server_without_gossip_name_is_unknown() {
    let unnamed = RaftMember::voter("id", "127.0.0.1:8300");
    let service = raft([(unnamed, ServerStatus::unknown())]);
    for (dialect, id) in [
        (Dialect::Precise, "id"),
        (Dialect::Consul0_7, "127.0.0.1:8300"),
    ] {
        let body = get(&service, dialect, "/v1/operator/raft/configuration", None);
        let want = format!(
            r#"{{"Servers":[{{"ID":"{id}","Node":"(unknown)","Address":"127.0.0.1:8300","Leader":false,"Voter":true}}],"Index":22}}"#
        );
        assert_eq!(body, want, "{dialect:?}");
    }
}

#[test]
fn additional_status_is_shown_as_in_newer_consul() {
    let (alice, status) = documented("alice", "127.0.0.1:8300");
    let status = status
        .with_protocol_version("3")
        .with_last_log(LogPosition { term: 2, index: 7 })
        .with_alive(true);
    let service = raft([(alice, status)]);
    let path = "/v1/operator/raft/configuration";
    assert_eq!(
        get(&service, Dialect::Precise, path, None),
        r#"{"Servers":[{"ID":"127.0.0.1:8300","Node":"alice","Address":"127.0.0.1:8300","Leader":true,"ProtocolVersion":"3","Voter":true,"LastIndex":7}],"Index":22}"#
    );
    // The old dialect does not show it.
    assert_eq!(
        get(&service, Dialect::Consul0_7, path, None),
        r#"{"Servers":[{"ID":"127.0.0.1:8300","Node":"alice","Address":"127.0.0.1:8300","Leader":true,"Voter":true}],"Index":22}"#
    );
}

#[test]
fn empty_configuration_is_null_only_in_old_dialect() {
    let service = raft([]);
    let path = "/v1/operator/raft/configuration";
    let precise = get(&service, Dialect::Precise, path, None);
    assert_eq!(precise, r#"{"Servers":[],"Index":22}"#);
    let old = get(&service, Dialect::Consul0_7, path, None);
    assert_eq!(old, r#"{"Servers":null,"Index":22}"#);
}
