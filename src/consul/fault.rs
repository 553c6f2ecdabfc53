//! The texts of errors.

use std::borrow::Cow;

use super::dialect::Rules;
use super::endpoint::{Endpoint, View};
use super::go::quote;
use crate::acl::{Access, Identity};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::{NodeFailure, NodeMessage};
use crate::raft::PeerSelector;

/// Tells whether an error says where another server listens.
pub(super) fn names_server(error: &OperatorError) -> bool {
    matches!(shown(error.kind(), false), Cow::Owned(_))
}

/// The kind of an error, without the addresses of other servers unless they are to be
/// shown.
pub(super) fn shown(kind: &ErrorKind, addresses: bool) -> Cow<'_, ErrorKind> {
    let unnamed = |target: &str| match target.strip_prefix(SERVER) {
        Some(_) => "the leader".to_owned(),
        None => target.to_owned(),
    };
    match kind {
        _ if addresses => Cow::Borrowed(kind),
        ErrorKind::Unreachable { target, .. } => Cow::Owned(ErrorKind::Unreachable {
            target: unnamed(target),
            reason: "check that it is up, and that this server has its address".into(),
        }),
        ErrorKind::DeadlineExceeded { target, after } if target.starts_with(SERVER) => {
            Cow::Owned(ErrorKind::DeadlineExceeded {
                target: unnamed(target),
                after: *after,
            })
        }
        ErrorKind::NotLeader { leader: Some(_) } => {
            Cow::Owned(ErrorKind::NotLeader { leader: None })
        }
        _ => Cow::Borrowed(kind),
    }
}

/// What stands before the address of a server.
const SERVER: &str = "server ";

/// The text in the `Precise` dialect: the error's own, but in the words of the
/// newest Consul where clients look for them.
pub(super) fn precise(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::PermissionDenied {
            resource,
            access,
            identity,
        } => match identity {
            Identity::Accessor(id) => format!(
                "Permission denied: token with AccessorID '{id}' lacks permission \
                 '{resource}:{access}'"
            ),
            Identity::Anonymous => format!(
                "Permission denied: anonymous token lacks permission '{resource}:{access}'. \
                 The anonymous token is used implicitly when a request does not specify a token."
            ),
            _ => format!("Permission denied: token lacks permission '{resource}:{access}'"),
        },
        ErrorKind::UnknownToken => "ACL not found".into(),
        ErrorKind::NoLeader => {
            let text = kind.to_string();
            text.replacen("no cluster leader", "No cluster leader", 1)
        }
        ErrorKind::NoPathToDatacenter { datacenter } => format!(
            "No path to datacenter {}: check its name, and that it is joined",
            quote(datacenter.as_str())
        ),
        ErrorKind::UnknownServer(server) => unknown_server(server),
        kind => kind.to_string(),
    }
}

/// The text in a Consul dialect.
pub(super) fn consul(error: &OperatorError, view: &View, rules: &Rules) -> String {
    let forwards = match error.kind() {
        // The last one has words of its own.
        ErrorKind::Unreachable { .. } => error.forwards().saturating_sub(1),
        _ => error.forwards(),
    };
    let mut text = rules.forwarded.repeat(forwards.into());
    let own = match &*shown(error.kind(), view.addresses) {
        ErrorKind::PermissionDenied { access, .. } => denied(view.endpoint, *access),
        ErrorKind::UnknownToken => "ACL not found".into(),
        ErrorKind::NoLeader | ErrorKind::NotLeader { .. } | ErrorKind::NotMember { .. } => {
            "No cluster leader".into()
        }
        ErrorKind::NoPathToDatacenter { .. } => "No path to datacenter".into(),
        ErrorKind::UnknownServer(server) => unknown_server(server),
        ErrorKind::LastVoter => rules.last_voter.into(),
        ErrorKind::InvalidKey(error) => error.to_string(),
        // Nothing was sent, or it was and no answer came.
        ErrorKind::Unreachable { .. } if error.outcome() == Outcome::Unknown => {
            format!("{}stream closed", rules.forwarded)
        }
        ErrorKind::Unreachable { target, .. } => {
            let address = target.strip_prefix(SERVER).filter(|_| view.addresses);
            format!(
                "{}failed to get conn: dial tcp{}{}: connect: connection refused",
                rules.no_connection,
                if address.is_some() { " " } else { "" },
                address.unwrap_or_default()
            )
        }
        kind => kind.to_string(),
    };
    text.push_str(&own);
    text
}

fn denied(endpoint: Endpoint, access: Access) -> String {
    match endpoint {
        Endpoint::Keyring => match access {
            Access::Read => "Reading keyring denied by ACLs".into(),
            Access::Write => "Modifying keyring denied due to ACLs".into(),
        },
        Endpoint::AutopilotConfiguration | Endpoint::AutopilotHealth | Endpoint::AutopilotState => {
            format!("Permission denied: Missing operator:{access} permissions")
        }
        Endpoint::Index
        | Endpoint::RaftConfiguration
        | Endpoint::RaftPeer
        | Endpoint::TransferLeader => "Permission denied".into(),
    }
}

fn unknown_server(server: &PeerSelector) -> String {
    let (what, name) = match server {
        PeerSelector::Id(id) => ("id", id.as_str()),
        PeerSelector::Address(address) => ("address", address.as_str()),
    };
    format!(
        "{what} {} was not found in the Raft configuration",
        quote(name)
    )
}

/// What a node says, in Serf's words.
pub(super) fn message(message: &NodeMessage, access: Access) -> Cow<'_, str> {
    match message {
        NodeMessage::Failed(failure) => match (failure, access) {
            (NodeFailure::KeyNotInstalled, _) => "Requested key is not in the keyring".into(),
            (NodeFailure::PrimaryKey, _) => "Removing the primary key is not allowed".into(),
            (NodeFailure::EncryptionOff, Access::Read) => {
                "Keyring is empty (encryption not enabled)".into()
            }
            (NodeFailure::EncryptionOff, Access::Write) => {
                "No keyring to modify (encryption not enabled)".into()
            }
            (NodeFailure::KeySize, _) => "key size must be 16, 24 or 32 bytes".into(),
            (failure, _) => failure.to_string().into(),
        },
        NodeMessage::Truncated { shown, total } => {
            format!("truncated key list response, showing first {shown} of {total} keys").into()
        }
        NodeMessage::Note(note) => note.into(),
    }
}
