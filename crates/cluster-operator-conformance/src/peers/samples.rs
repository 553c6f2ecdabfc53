//! Requests, replies and errors of every kind.

use std::time::Duration;

use cluster_operator::acl::{Access, AccessorId, Identity, Resource, Token};
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::keyring::{GossipKey, InvalidKey, Pool, RingReport};
use cluster_operator::operation::{KeyringReply, OperatorReply, RingOutcome};
use cluster_operator::operation::{Operation, OperatorRequest, RequestId};
use cluster_operator::raft::{
    ConfigVersion, Consistency, LeaderHint, PeerSelector, RaftConfiguration, RaftServer,
};

/// The removal of the server with this id.
pub(super) fn removal(id: &str) -> OperatorRequest {
    request(Operation::RemovePeer {
        server: PeerSelector::Id(id.into()),
        expected_index: None,
    })
}

/// A request with an id, so that no server on its way makes one.
pub(super) fn request(operation: Operation) -> OperatorRequest {
    let mut request = OperatorRequest::new(operation);
    request.request_id = RequestId::try_from(String::from("7f3a-01")).ok();
    request
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
    let mut calls: Vec<_> = operations.into_iter().map(request).collect();
    let request = removal("a")
        .with_token(Token::new("b852fbe7"))
        .in_datacenter("dc1");
    calls.push(request);
    calls
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

/// An error of every kind, with every outcome, and one that holds a reply.
pub(super) fn errors() -> Vec<OperatorError> {
    let text = || String::from("no\n\"reason\" ä");
    let after = Duration::from_millis(1500);
    let version = |term| ConfigVersion {
        term,
        index: u64::MAX,
    };
    let hint = LeaderHint {
        id: "id".into(),
        address: "10.0.0.1:8300".into(),
    };
    let denied = |resource, access, identity| ErrorKind::PermissionDenied {
        resource,
        access,
        identity,
    };
    let accessor = Identity::Accessor(AccessorId::new("6a1253d2"));
    let kinds = [
        ErrorKind::InvalidRequest { reason: text() },
        ErrorKind::InvalidKey(InvalidKey::Size { bytes: 3 }),
        denied(Resource::Operator, Access::Write, accessor),
        denied(Resource::Keyring, Access::Read, Identity::Anonymous),
        denied(Resource::Keyring, Access::Write, Identity::Unnamed),
        ErrorKind::UnknownToken,
        ErrorKind::AuthorizerUnavailable { reason: "".into() },
        ErrorKind::NoLeader,
        ErrorKind::NotMember { id: "id".into() },
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
            after,
        },
        ErrorKind::UnknownServer(PeerSelector::Id("é".into())),
        ErrorKind::UnknownServer(PeerSelector::Address("".into())),
        ErrorKind::LastVoter,
        ErrorKind::QuorumLoss {
            voters: 3,
            alive: 1,
            needed: 2,
        },
        ErrorKind::QuorumUnproven {
            confirmed: 1,
            needed: 2,
            after,
        },
        ErrorKind::Conflict {
            expected: version(7),
            actual: version(u64::MAX),
        },
        ErrorKind::TermChanged {
            expected: 7,
            actual: u64::MAX,
        },
        ErrorKind::ChangeInProgress,
        ErrorKind::AlreadyLeader { id: "id".into() },
        ErrorKind::NotVoter { id: "".into() },
        ErrorKind::NoTransferTarget,
        ErrorKind::RingsFailed {
            failed: vec![("dc2".into(), Pool::Segment("s".into()))],
            rings: 3,
        },
        ErrorKind::Unsupported { what: text() },
        ErrorKind::TooManyHops { hops: 4 },
        ErrorKind::IncompatibleServer { reason: text() },
        ErrorKind::InvalidReply { reason: text() },
        ErrorKind::Unavailable { reason: text() },
        ErrorKind::Backend {
            message: "Permission denied".into(),
        },
    ];
    let outcomes = [Outcome::NotApplied, Outcome::Applied, Outcome::Unknown];
    let mut errors: Vec<_> = kinds
        .into_iter()
        .flat_map(|kind| {
            outcomes.map(|outcome| OperatorError::new(kind.clone()).with_outcome(outcome))
        })
        .collect();
    errors.extend(rings().confirmed().err());
    errors
}

/// A ring with a report, one with an error, and one with both.
fn rings() -> KeyringReply {
    let mut report = RingReport::new(2);
    report.holds(
        &GossipKey::from_bytes(&[7; 32])
            .into_iter()
            .collect::<Vec<_>>(),
    );
    let lost = OperatorError::backend("lost").with_source("a cause");
    let mut both = RingOutcome::new("dc1", Pool::Lan, report.clone());
    both.error = Some(lost.clone());
    KeyringReply {
        rings: vec![
            RingOutcome::new("dc1", Pool::Wan, report),
            both,
            RingOutcome::failed("dc2", Pool::Lan, lost),
        ],
    }
}

/// Bytes that are no envelope and no reply of this version.
pub(super) fn foreign() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        b"{}".to_vec(),
        b"\"Err\"".to_vec(),
        b" {\"version\" : 3 , \"more\": 1e2}\r\n\n".to_vec(),
        b"{\"version\":\"\xff\xfe".to_vec(),
        b"--x\r\n\0\x80\r\n.\r\n".to_vec(),
        [b"\n".repeat(5000), vec![0; 5000]].concat(),
    ]
}
