//! Requests in one line, and servers that answer them well or badly.

use std::future::{pending, ready};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::acl::{Access, AclError, Identity, Resource};
use cluster_operator::autopilot::{AutopilotConfiguration, AutopilotState};
use cluster_operator::consul::{Dialect, Request, Response, Wire};
use cluster_operator::keyring::{GossipQuery, KeyChange};
use cluster_operator::mock::{MockFederation, MockFederationBuilder, MockKeyring, MockPeers};
use cluster_operator::peers::Target;
use cluster_operator::raft::{Change, RaftView};
use cluster_operator::timer::Sleep;
use cluster_operator::{
    AclAuthorizer, AllowAll, AutopilotBackend, ErrorKind, KeyringBackend, OperatorError,
    OperatorReply, OperatorService, Pool, RaftBackend, Timer, Token,
};
use futures_util::FutureExt;

use crate::document::Operation;

/// The key that every ring has at first, and another one.
pub(crate) const FIRST: &str = "0eK8RjnsGC/+I1fJErQsBA==";
pub(crate) const SECOND: &str = "G/3/L4yOw3e5T7NTvuRi9g==";

/// A timer that never fires.
pub(crate) struct Never;

impl Timer for Never {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(pending())
    }
}

/// A timer that fires at once.
struct AtOnce;

impl Timer for AtOnce {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(ready(()))
    }
}

/// An authorizer that never answers.
struct Silent;

#[async_trait]
impl AclAuthorizer for Silent {
    async fn authorize(
        &self,
        _: Option<&Token>,
        _: Resource,
        _: Access,
    ) -> Result<Identity, AclError> {
        pending().await
    }
}

/// Backends that fail in this way.
struct Failing(ErrorKind);

impl Failing {
    fn error<T>(&self) -> Result<T, OperatorError> {
        Err(OperatorError::new(self.0.clone()))
    }
}

#[async_trait]
impl RaftBackend for Failing {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        self.error()
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        self.error()
    }

    async fn change_membership(&self, _: &Change) -> Result<(), OperatorError> {
        self.error()
    }
}

#[async_trait]
impl KeyringBackend for Failing {
    fn pool(&self) -> &Pool {
        &Pool::Lan
    }

    async fn list(&self, _: &GossipQuery) -> Result<(), OperatorError> {
        self.error()
    }

    async fn change(&self, _: &KeyChange, _: &GossipQuery) -> Result<(), OperatorError> {
        self.error()
    }
}

#[async_trait]
impl AutopilotBackend for Failing {
    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
        self.error()
    }

    async fn set_configuration(
        &self,
        _: AutopilotConfiguration,
        _: Option<u64>,
    ) -> Result<bool, OperatorError> {
        self.error()
    }

    async fn state(&self) -> Result<AutopilotState, OperatorError> {
        self.error()
    }
}

/// The leader alice with bob, carol and erin, who has no vote, in dc1, and dave in dc2. A
/// server's id is its name.
pub(crate) fn two_datacenters() -> MockFederationBuilder {
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol", "erin"])
        .datacenter("dc2", ["dave"])
        .nonvoters(["erin"])
        .raft_servers(|server| {
            server.id = server.name.clone().unwrap().as_str().into();
            server.protocol_version = Some("3".into());
            server.last_index = Some(0);
        })
        .raft_index(22)
        .gossip_key(FIRST.parse().unwrap())
        .service_options(|service| service.timer(Never))
}

/// A server that answers every endpoint, and reaches no other one.
pub(crate) fn everything() -> OperatorService {
    two_datacenters().build().service("alice")
}

pub(crate) fn gossip_only() -> OperatorService {
    OperatorService::builder("dc1")
        .keyring(MockKeyring::new(
            Pool::Lan,
            FIRST.parse().unwrap(),
            ["alice"],
        ))
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap()
}

/// A server with backends that fail in this way.
pub(crate) fn failing(kind: ErrorKind) -> OperatorService {
    OperatorService::builder("dc1")
        .raft(Failing(kind.clone()))
        .keyring(Failing(kind.clone()))
        .autopilot(Failing(kind))
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap()
}

/// A server that is told this by dc2, where no ring is.
pub(crate) fn told_by_dc2(answer: Result<OperatorReply, OperatorError>) -> OperatorService {
    let answer = move |_| ready(answer.clone());
    OperatorService::builder("dc1")
        .raft(Failing(ErrorKind::NoLeader))
        .authorizer(AllowAll)
        .peers(MockPeers::new().with_answer(Target::Datacenter("dc2".into()), answer))
        .timer(Never)
        .build()
        .unwrap()
}

/// A server whose authorizer does not answer in time.
pub(crate) fn undecided() -> OperatorService {
    let raft = two_datacenters().build().raft("alice");
    OperatorService::builder("dc1")
        .raft(raft)
        .keyring(Failing(ErrorKind::EncryptionOff))
        .authorizer(Silent)
        .timer(AtOnce)
        .build()
        .unwrap()
}

/// A request that is built and sent.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    wire: Wire,
    pub(crate) method: String,
    pub(crate) path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Begins a request in `Precise`, to a path after `/v1/operator/`.
pub(crate) fn ask(method: &str, target: &str) -> Ask {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ask {
        wire: Wire::new(Dialect::Precise).with_openapi(),
        method: method.to_owned(),
        path: format!("/v1/operator/{path}"),
        query: Vec::new(),
        headers: Vec::new(),
        body: Vec::new(),
    }
    .query(query)
}

/// Begins a request to an operation, with what it requires.
pub(crate) fn request(operation: &Operation) -> Ask {
    let query = match &*operation.id {
        "removePeer" | "planRemoval" => "address=127.0.0.3:8300",
        "removePlanned" => "id=carol&version=1-22",
        "forceRemoval" => "id=carol",
        "replacePeer" => "id=carol&with=erin",
        _ => "",
    };
    let body = match &*operation.id {
        "installKey" | "useKey" | "removeKey" => format!(r#"{{"Key":"{SECOND}"}}"#),
        "setAutopilotConfiguration" => "{}".to_owned(),
        _ => String::new(),
    };
    let mut ask = ask(&operation.method, "").query(query).body(body);
    ask.path.clone_from(&operation.path);
    ask
}

impl Ask {
    pub(crate) fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// Adds pairs to the query. A repeated name replaces the earlier one, and so do `id`
    /// and `address`.
    pub(crate) fn query(mut self, query: &str) -> Self {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.query.retain(|(other, _)| match name {
                "id" | "address" => !matches!(&**other, "id" | "address"),
                name => other != name,
            });
            self.query.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.query.retain(|(other, _)| other != name);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn send(&self, service: &OperatorService) -> Response {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let pairs = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let query = pairs.collect::<Vec<_>>().join("&");
        let request = Request {
            method: &self.method,
            path: &self.path,
            query: Some(&*query).filter(|query| !query.is_empty()),
            headers: &headers.as_slice(),
            body: self.body.clone().into(),
        };
        // Nothing here waits.
        let response = self.wire.serve(service, request).now_or_never();
        response.expect("the answer is there at once")
    }
}
