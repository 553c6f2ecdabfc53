//! Leadership transfers that the service rejects, and a server that was removed from
//! the Raft configuration.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cluster_operator::consul::{Dialect, Request, Response, Wire};
use cluster_operator::raft::{
    Change, Consistency, Leadership, Membership, PeerSelector, RaftMember, RaftView,
};
use cluster_operator::service::Caller;
use cluster_operator::timer::Sleep;
use cluster_operator::{
    AllowAll, ErrorKind, OperatorError, OperatorService, Outcome, RaftBackend, ServerId, Timer,
    TokenStore,
};
use futures_executor::block_on;

/// A Raft that reports every change as a success, and counts them.
struct Careless {
    view: RaftView,
    changes: AtomicUsize,
}

#[async_trait]
impl RaftBackend for Careless {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        Ok(self.view.clone())
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        self.view().await
    }

    async fn change_membership(&self, _: &Change) -> Result<(), OperatorError> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn transfer_leadership(&self, _: &ServerId, _: Duration) -> Result<(), OperatorError> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A Raft that cannot transfer leadership.
struct Fixed(Arc<Careless>);

#[async_trait]
impl RaftBackend for Fixed {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        self.0.view().await
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
        self.0.confirmed_view(timeout).await
    }

    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
        self.0.change_membership(change).await
    }
}

/// A timer that no test waits for.
struct Never;

impl Timer for Never {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

/// The backend and the service of alice in a cluster of these members.
fn alice(
    leadership: Leadership,
    members: impl IntoIterator<Item = RaftMember>,
) -> (Arc<Careless>, OperatorService) {
    let mut view = RaftView::new("alice", Arc::new(Membership::new(members)));
    view.leadership = leadership;
    let raft = Arc::new(Careless {
        view,
        changes: AtomicUsize::new(0),
    });
    let service = OperatorService::builder("dc1")
        .raft(Arc::clone(&raft))
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap();
    (raft, service)
}

fn voter(name: &str) -> RaftMember {
    RaftMember::voter(name, format!("{name}:8300"))
}

fn post(service: &OperatorService, dialect: Dialect, query: Option<&str>) -> Response {
    let request = Request {
        method: "POST",
        path: "/v1/operator/raft/transfer-leader",
        query,
        headers: &[("", ""); 0],
        body: Bytes::new(),
    };
    block_on(Wire::new(dialect).serve(service, request))
}

/// Checks that a transfer is rejected with this kind, and that the backend is not asked.
fn assert_rejected(
    (raft, service): &(Arc<Careless>, OperatorService),
    to: Option<&str>,
    kind: ErrorKind,
) {
    let id = to.map(ServerId::from);
    let error = block_on(service.transfer_leadership(&Caller::anonymous(), id)).unwrap_err();
    assert_eq!(error.kind(), &kind);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    let query = to.map(|id| format!("id={id}"));
    let response = post(service, Dialect::Precise, query.as_deref());
    assert_eq!(response.status, 409, "{response:?}");
    assert_eq!(response.header("x-operator-error"), Some(kind.name()));
    assert_eq!(raft.changes.load(Ordering::Relaxed), 0);
}

#[test]
fn transfer_to_current_leader_is_rejected() {
    let cluster = alice(Leadership::Local, [voter("alice"), voter("bob")]);
    let id = "alice".into();
    assert_rejected(&cluster, Some("alice"), ErrorKind::AlreadyLeader { id });
}

#[test]
fn transfer_to_non_voter_is_rejected() {
    let nora = RaftMember::nonvoter("nora", "nora:8300");
    let cluster = alice(Leadership::Local, [voter("alice"), voter("bob"), nora]);
    let id = "nora".into();
    assert_rejected(&cluster, Some("nora"), ErrorKind::NotVoter { id });
}

#[test]
fn transfer_in_cluster_of_one_voter_is_rejected() {
    let nora = RaftMember::nonvoter("nora", "nora:8300");
    let cluster = alice(Leadership::Local, [voter("alice"), nora]);
    assert_rejected(&cluster, None, ErrorKind::NoTransferTarget);
    let id = "alice".into();
    assert_rejected(&cluster, Some("alice"), ErrorKind::AlreadyLeader { id });
}

#[test]
fn transfer_is_unsupported_unless_the_backend_has_it() {
    let (raft, _) = alice(Leadership::Local, [voter("alice"), voter("bob")]);
    let service = OperatorService::builder("dc1").raft(Fixed(raft));
    let service = service.authorizer(AllowAll).timer(Never).build().unwrap();
    let error = block_on(service.transfer_leadership(&Caller::anonymous(), None)).unwrap_err();
    assert_eq!(error.kind().name(), "unsupported");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(post(&service, Dialect::Precise, None).status, 501);
}

#[test]
fn transfer_without_leader_or_target_is_not_applied() {
    let (raft, service) = alice(Leadership::Unknown, [voter("alice"), voter("bob")]);
    let transfer = |to| block_on(service.transfer_leadership(&Caller::anonymous(), to));
    let error = transfer(None).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::NoLeader);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(raft.changes.load(Ordering::Relaxed), 0);

    let (raft, service) = alice(Leadership::Local, [voter("alice"), voter("bob")]);
    let to = Some("nobody".into());
    let transfer = block_on(service.transfer_leadership(&Caller::anonymous(), to));
    assert!(matches!(
        transfer.unwrap_err().kind(),
        ErrorKind::UnknownServer(PeerSelector::Id(_))
    ));
    assert_eq!(raft.changes.load(Ordering::Relaxed), 0);
}

#[test]
fn removed_server_says_that_it_is_not_in_configuration() {
    let (_, service) = alice(Leadership::Unknown, [voter("bob"), voter("carol")]);
    let caller = Caller::anonymous();
    let read = service.raft_configuration(&caller, Consistency::Default);
    let error = block_on(read).unwrap_err();
    let id = "alice".into();
    assert_eq!(error.kind(), &ErrorKind::NotMember { id });
    assert_eq!(error.outcome(), Outcome::NotApplied);
    let text = error.to_string();
    assert!(text.contains("this server (alice) is not in the Raft configuration"));
    assert!(!text.contains("majority"), "{text}");
    let response = post(&service, Dialect::Precise, None);
    assert_eq!(response.status, 503);
    assert_eq!(response.header("x-operator-error"), Some("not-member"));

    // A stale read still shows the configuration.
    let read = service.raft_configuration(&caller, Consistency::Stale);
    assert_eq!(block_on(read).unwrap().servers.len(), 2);
}

#[test]
fn removed_server_does_not_show_its_id_to_a_denied_caller() {
    let (raft, _) = alice(Leadership::Unknown, [voter("bob"), voter("carol")]);
    let nobody = TokenStore::builder().build().unwrap();
    let service = OperatorService::builder("dc1").raft(raft);
    let service = service.authorizer(nobody).timer(Never).build().unwrap();
    let response = post(&service, Dialect::Precise, None);
    assert_eq!(response.status, 503);
    assert!(!String::from_utf8_lossy(&response.body).contains("alice"));
}
