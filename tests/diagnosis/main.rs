//! The diagnosis of a federation: each finding, and the form in which it is served.
#![cfg(all(feature = "mock", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod raft;
mod rings;
mod served;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::consul::{Dialect, Request, Response, Wire};
use cluster_operator::diagnosis::{Diagnosis, Finding, FindingKind, Health, Severity};
use cluster_operator::mock::{
    Calls, Fault, Grant, MockAcl, MockFederation, MockFederationBuilder, MockKeyring, MockPeers,
    MockToken, NodeFault,
};
use cluster_operator::peers::Target;
use cluster_operator::raft::{
    Change, ConfigVersion, LeaderHint, Leadership, LogPosition, Membership, PeerSelector,
    PendingChange, QuorumGuard, RaftMember, RaftView, ServerStatus,
};
use cluster_operator::service::Caller;
use cluster_operator::{
    AllowAll, ErrorKind, GossipKey, OperatorError, OperatorService, Pool, RaftBackend, Token,
};
use serde_json::{Value, json};

fn key(byte: u8) -> GossipKey {
    GossipKey::from_bytes(&[byte; 32]).unwrap()
}

/// Alice, who leads, bob and carol in dc1, dave, erin and frank in dc2.
fn federation() -> MockFederation {
    builder().build()
}

fn builder() -> MockFederationBuilder {
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .datacenter("dc2", ["dave", "erin", "frank"])
        .gossip_key(key(1))
        .raft_servers(|server| server.last_index = Some(0))
}

async fn diagnose(federation: &MockFederation, server: &str) -> Diagnosis {
    let service = federation.service(server);
    service.diagnose(&Caller::anonymous()).await.unwrap()
}

/// The only finding of a kind.
#[track_caller]
fn one(diagnosis: &Diagnosis, kind: FindingKind) -> &Finding {
    let mut found = diagnosis.findings.iter().filter(|it| it.kind == kind);
    match (found.next(), found.next()) {
        (Some(finding), None) => finding,
        _ => panic!("{kind:?} is not there once: {:#?}", diagnosis.findings),
    }
}

fn kinds(diagnosis: &Diagnosis) -> Vec<FindingKind> {
    diagnosis.findings.iter().map(|it| it.kind).collect()
}

fn id(federation: &MockFederation, server: &str) -> String {
    federation.raft(server).id().to_string()
}

/// A Raft that always has this view.
struct Fixed(RaftView);

#[async_trait]
impl RaftBackend for Fixed {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        Ok(self.0.clone())
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        self.view().await
    }

    async fn change_membership(&self, _: &Change) -> Result<(), OperatorError> {
        Err(ErrorKind::NoLeader.into())
    }
}

const ABC: [&str; 3] = ["a", "b", "c"];

/// The view of a server of three voters in term 3, of which `a` leads.
fn view(own: &str) -> RaftView {
    let voters = ABC.map(|name| RaftMember::voter(name, format!("{name}:8300")));
    let mut view = RaftView::new(own, Arc::new(Membership::new(voters)));
    view.leadership = match own {
        "a" => Leadership::Local,
        _ => Leadership::Remote(hint("a")),
    };
    view.term = 3;
    view.version = ConfigVersion { term: 1, index: 1 };
    view.status = ABC
        .map(|name| ServerStatus::unknown().with_name(name))
        .into();
    view
}

fn hint(id: &str) -> LeaderHint {
    LeaderHint {
        id: id.into(),
        address: format!("{id}:8300").into(),
    }
}

/// Diagnoses at `a`, whose peers answer with these views.
async fn diagnose_views(views: [RaftView; 3]) -> Diagnosis {
    let [a, b, c] = views;
    let serve = |view| {
        let builder = OperatorService::builder("dc1").raft(Fixed(view));
        builder.authorizer(AllowAll)
    };
    let peers = MockPeers::new()
        .with_service(Target::Server(hint("b")), serve(b).build().unwrap())
        .with_service(Target::Server(hint("c")), serve(c).build().unwrap());
    let ring = MockKeyring::new(Pool::Lan, key(1), ["a", "b", "c", "client"]);
    let service = serve(a).peers(peers).keyring(ring).build().unwrap();
    service.diagnose(&Caller::anonymous()).await.unwrap()
}
