//! Requests, replies and errors of every kind.

use std::time::Duration;

use crate::acl::{Access, AccessorId, Resource, Token};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::Pool;
use crate::raft::{Consistency, LeaderHint, PeerSelector, RaftConfiguration, RaftServer};
use crate::reply::OperatorReply;
use crate::request::{Operation, OperatorRequest};

/// The removal of the server with this id.
pub(super) fn removal(id: &str) -> OperatorRequest {
    OperatorRequest::new(Operation::RemovePeer {
        server: PeerSelector::Id(id.into()),
        expected_index: None,
    })
}

pub(super) fn requests() -> Vec<OperatorRequest> {
    let odd = "a b/c?d=%e&ä\"\\\n<🦀>";
    let operations = [
        Operation::RaftConfiguration(Consistency::Default),
        Operation::RaftConfiguration(Consistency::Consistent),
        Operation::RemovePeer {
            server: PeerSelector::Id(odd.into()),
            expected_index: Some(u64::MAX),
        },
        Operation::RemovePeer {
            server: PeerSelector::Address("".into()),
            expected_index: Some(0),
        },
        Operation::TransferLeadership { to: None },
        Operation::TransferLeadership {
            to: Some(odd.into()),
        },
    ];
    let mut requests: Vec<_> = operations.into_iter().map(OperatorRequest::new).collect();
    let mut handed_on = removal("a")
        .with_token(Token::new("b852fbe7"))
        .in_datacenter("dc1");
    handed_on.forwards = 200;
    handed_on.to_leader = true;
    handed_on.patience = Some(Duration::from_millis(1234));
    requests.push(handed_on);
    requests
}

pub(super) fn replies() -> Vec<(Operation, OperatorReply)> {
    let server = RaftServer::nonvoter("id ä", "10.0.0.2:8300")
        .with_name("\"b\\ob\"\n")
        .with_protocol_version("3")
        .with_last_index(u64::MAX)
        .with_alive(false);
    let configuration = RaftConfiguration {
        servers: vec![RaftServer::voter("", "").with_leader(true), server],
        index: u64::MAX,
    };
    let removal = removal("a").operation;
    let read = || Operation::RaftConfiguration(Consistency::Default);
    let nothing = RaftConfiguration::default();
    vec![
        (read(), OperatorReply::RaftConfiguration(configuration)),
        (read(), OperatorReply::RaftConfiguration(nothing)),
        (removal, OperatorReply::PeerRemoved),
        (
            Operation::TransferLeadership { to: None },
            OperatorReply::LeadershipTransferred,
        ),
    ]
}

pub(super) fn errors() -> Vec<OperatorError> {
    let hint = LeaderHint {
        id: "id".into(),
        address: "10.0.0.1:8300".into(),
    };
    let kinds = [
        ErrorKind::InvalidRequest {
            reason: "no\n\"reason\" ä".into(),
        },
        ErrorKind::PermissionDenied {
            resource: Resource::Operator,
            access: Access::Write,
            accessor: Some(AccessorId::new("6a1253d2")),
        },
        ErrorKind::PermissionDenied {
            resource: Resource::Keyring,
            access: Access::Read,
            accessor: None,
        },
        ErrorKind::UnknownToken,
        ErrorKind::AuthorizerUnavailable { reason: "".into() },
        ErrorKind::NoLeader,
        ErrorKind::NotLeader { leader: Some(hint) },
        ErrorKind::NotLeader { leader: None },
        ErrorKind::NoPathToDatacenter {
            datacenter: "dc9".into(),
        },
        ErrorKind::Unreachable {
            target: "server 10.0.0.1:8300".into(),
            reason: "refused".into(),
        },
        ErrorKind::DeadlineExceeded {
            target: "datacenter dc2".into(),
            after: Duration::from_millis(1500),
        },
        ErrorKind::UnknownServer(PeerSelector::Id("é".into())),
        ErrorKind::UnknownServer(PeerSelector::Address("".into())),
        ErrorKind::LastVoter,
        ErrorKind::QuorumLoss {
            voters: 3,
            alive: 1,
        },
        ErrorKind::Conflict {
            expected: 7,
            actual: u64::MAX,
        },
        ErrorKind::RingsFailed {
            failed: vec![("dc2".into(), Pool::Segment("s".into()))],
            rings: 3,
        },
        ErrorKind::Unsupported {
            what: "something".into(),
        },
        ErrorKind::TooManyHops { hops: 4 },
        ErrorKind::Backend {
            message: "Permission denied".into(),
        },
    ];
    let outcomes = [Outcome::NotApplied, Outcome::Applied, Outcome::Unknown];
    let kinds = kinds.into_iter().map(OperatorError::new);
    kinds
        .flat_map(|error| outcomes.map(|outcome| error.clone().with_outcome(outcome)))
        .collect()
}
