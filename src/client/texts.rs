//! The meaning of the error texts of Consul, which has no other names for its errors.
//!
//! The texts are those of 0.7 to 1.17. A server that forwards an error prefixes it with
//! `rpc error`.

use std::collections::BTreeSet;

use Excludes::{All, Nothing, Raft};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as Unreadable;
use tokio::time::Instant;

use crate::acl::{Access, AccessorId, Identity, Resource};
use crate::error::ErrorKind;
use crate::operation::{KeyringAction, Operation};
use crate::raft::PeerSelector;
use crate::transport::ServerUri;
use crate::types::DatacenterName;

/// The meaning of an error text.
pub(super) struct Meaning {
    pub(super) kind: ErrorKind,
    /// The writes that are not applied.
    pub(super) excludes: Excludes,
    /// The advice, where that of the kind is not specific enough.
    pub(super) advice: Option<&'static str>,
}

/// The writes that are certainly not applied after an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Excludes {
    /// No write: it may have been applied.
    Nothing,
    /// A write to Raft. A keyring write may have been applied: Consul changes its
    /// own rings before it asks the other datacenters, and then answers with the
    /// first error that comes from there.
    Raft,
    /// Any write, unless another server has forwarded the text.
    All,
}

/// What was asked of which server: the meaning of an answer depends on it.
pub(super) struct Asked<'a> {
    pub(super) operation: &'a Operation,
    /// The method and the path.
    pub(super) endpoint: String,
    pub(super) server: &'a ServerUri,
    pub(super) datacenter: Option<&'a DatacenterName>,
    pub(super) token: Option<&'a str>,
    pub(super) begin: Instant,
}

/// Returns the kind of an error with this text.
type Kind = fn(&Asked<'_>, &str) -> ErrorKind;

/// A text that Consul's error contains.
struct Text {
    part: &'static str,
    excludes: Excludes,
    kind: Kind,
    advice: Option<&'static str>,
}

const fn text(part: &'static str, excludes: Excludes, kind: Kind) -> Text {
    Text {
        part,
        excludes,
        kind,
        advice: None,
    }
}

impl Text {
    const fn advise(mut self, advice: &'static str) -> Self {
        self.advice = Some(advice);
        self
    }
}

/// The first text that an error contains counts.
const TEXTS: &[Text] = &[
    text("ermission denied", All, denied),
    text("eyring denied ", All, denied),
    text("ACL not found", All, |_, _| ErrorKind::UnknownToken),
    text("esolve root ACL", All, |_, _| ErrorKind::UnknownToken)
        .advise("use another token: this one has a name that Consul reserves"),
    text("blocked by agent configuration", All, unsupported)
        .advise("ask another server, or unblock the endpoint in the agent's `http_config`"),
    text("ccess is restricted", All, unsupported)
        .advise("ask from an address in the agent's `allow_write_http_from`"),
    text("must run against a server node", All, unsupported)
        .advise("ask a server, not a client agent"),
    text("o known Consul servers", All, unreachable)
        .advise("ask a server, or check that the client agent has joined the cluster"),
    text("ate limit exceeded", All, |_, text| {
        ErrorKind::Unavailable {
            reason: text.to_owned(),
        }
    }),
    text("o cluster leader", Raft, |_, _| ErrorKind::NoLeader),
    text("leader not found in server lookup", Raft, unreachable)
        .advise("check that the leader is up and joined to the gossip, then repeat it"),
    text("node is not the leader", Raft, not_leader),
    text("leadership transfer in progress", Raft, not_leader),
    text("leadership lost", Nothing, not_leader),
    text("leadership transfer timeout", Nothing, backend)
        .advise("read the Raft configuration to see which server leads"),
    text("o path to datacenter", Raft, no_path),
    text("emote DC has no server", Raft, unreachable_datacenter)
        .advise("check that a server of it is up and joined to the WAN"),
    text("not found in the Raft configuration", Raft, unknown_server),
    text("ould not find address for server id", Raft, unknown_server)
        .advise("check its id, that it is up, and that a server of its own datacenter is asked"),
    text("cannot find replication state", Raft, unknown_server),
    text("transfer leadership to itself", Raft, already_leader),
    text("cannot find peer", Raft, |_, _| ErrorKind::NoTransferTarget),
    text("eed at least one voter", Raft, |_, _| ErrorKind::LastVoter),
    text(RINGS_FAILED, Nothing, rings_failed),
    // Nothing was sent to the server that would have executed it.
    text("failed to get conn", Raft, unreachable).advise(BETWEEN_SERVERS),
    text("rpc error getting client", Raft, unreachable).advise(BETWEEN_SERVERS),
    text("connection refused", Nothing, unreachable).advise(BETWEEN_SERVERS),
    text("connection reset", Nothing, unreachable).advise(BETWEEN_SERVERS),
    text("stream closed", Nothing, unreachable).advise(BETWEEN_SERVERS),
    text("i/o timeout", Nothing, unreachable).advise(BETWEEN_SERVERS),
    text(": EOF", Nothing, unreachable).advise(BETWEEN_SERVERS),
];

const RINGS_FAILED: &str = "nodes reported ";

const BETWEEN_SERVERS: &str = "check that the servers are up and reach each other";

/// Returns the meaning of a text; `None` if it is not known. The text of an error that
/// names many nodes is cut; `whole` is not.
pub(super) fn meaning(asked: &Asked<'_>, error: &str, whole: &str) -> Option<Meaning> {
    let text = TEXTS.iter().find(|text| error.contains(text.part))?;
    let mut meaning = Meaning {
        kind: (text.kind)(asked, error),
        excludes: text.excludes,
        advice: text.advice,
    };
    if matches!(meaning.kind, ErrorKind::RingsFailed { .. }) {
        let reasons = Reasons::read(whole);
        meaning.advice = reasons.advice();
        if reasons.encryption_is_off() {
            meaning.kind = ErrorKind::EncryptionOff;
        }
        if reasons.complete {
            meaning.excludes = All;
        }
    }
    Some(meaning)
}

/// Consul names the token and the permission from 1.12 on. Older ones deny the
/// permission that the operation needs.
pub(super) fn denied(asked: &Asked<'_>, text: &str) -> ErrorKind {
    let quoted = |before| Some(text.split_once(before)?.1.split_once('\'')?.0);
    let named = quoted("lacks permission '").and_then(permission);
    let (resource, access) = named.unwrap_or_else(|| asked.operation.permission());
    let identity = match quoted("AccessorID '") {
        Some(id) => Identity::Accessor(AccessorId::new(id)),
        None if asked.token.is_none() || text.contains("anonymous token") => Identity::Anonymous,
        None => Identity::Unnamed,
    };
    ErrorKind::PermissionDenied {
        resource,
        access,
        identity,
    }
}

/// Reads a permission such as `operator:write`.
fn permission(text: &str) -> Option<(Resource, Access)> {
    let (resource, access) = text.split_once(':')?;
    let resource = IntoDeserializer::<Unreadable>::into_deserializer(resource);
    let access = IntoDeserializer::<Unreadable>::into_deserializer(access);
    Some((
        Resource::deserialize(resource).ok()?,
        Access::deserialize(access).ok()?,
    ))
}

pub(super) fn unsupported(asked: &Asked<'_>, _: &str) -> ErrorKind {
    let what = asked.endpoint.clone();
    ErrorKind::Unsupported { what }
}

pub(super) fn backend(_: &Asked<'_>, text: &str) -> ErrorKind {
    let message = text.to_owned();
    ErrorKind::Backend { message }
}

fn unreachable(asked: &Asked<'_>, text: &str) -> ErrorKind {
    ErrorKind::Unreachable {
        target: format!("a server behind {}", asked.server),
        reason: text.to_owned(),
    }
}

fn unreachable_datacenter(asked: &Asked<'_>, text: &str) -> ErrorKind {
    let named = asked.datacenter.map(|name| format!("datacenter {name}"));
    ErrorKind::Unreachable {
        target: named.unwrap_or_else(|| "another datacenter".into()),
        reason: text.to_owned(),
    }
}

/// A keyring operation asks all datacenters, and Consul does not name the one that it
/// did not reach.
fn no_path(asked: &Asked<'_>, _: &str) -> ErrorKind {
    let datacenter = asked.datacenter.cloned().unwrap_or_else(|| "".into());
    ErrorKind::NoPathToDatacenter { datacenter }
}

fn not_leader(_: &Asked<'_>, _: &str) -> ErrorKind {
    ErrorKind::NotLeader { leader: None }
}

fn unknown_server(asked: &Asked<'_>, text: &str) -> ErrorKind {
    match asked.operation {
        Operation::RemovePeer { server, .. } | Operation::PlanRemoval { server } => {
            ErrorKind::UnknownServer(server.clone())
        }
        Operation::TransferLeadership { to: Some(id) } => {
            ErrorKind::UnknownServer(PeerSelector::Id(id.clone()))
        }
        _ => backend(asked, text),
    }
}

fn already_leader(asked: &Asked<'_>, text: &str) -> ErrorKind {
    match asked.operation {
        Operation::TransferLeadership { to: Some(id) } => {
            ErrorKind::AlreadyLeader { id: id.clone() }
        }
        _ => backend(asked, text),
    }
}

/// Consul names the rings that failed in prose only.
fn rings_failed(asked: &Asked<'_>, text: &str) -> ErrorKind {
    match asked.operation {
        Operation::Keyring { .. } => ErrorKind::RingsFailed {
            failed: Vec::new(),
            rings: 0,
        },
        _ => backend(asked, text),
    }
}

const NOT_INSTALLED: &str = "Requested key is not in the keyring";
const PRIMARY: &str = "Removing the primary key is not allowed";
const ENCRYPTION_OFF: &str = "(encryption not enabled)";

/// The reasons for which nodes refused a keyring operation.
#[derive(Default)]
pub(super) struct Reasons {
    named: BTreeSet<&'static str>,
    /// Some nodes gave another reason.
    other: bool,
    /// Every node of every ring refused for a named reason.
    complete: bool,
}

impl Reasons {
    /// Collects the reasons in nodes' messages.
    pub(super) fn of<'a>(messages: impl IntoIterator<Item = &'a str>) -> Self {
        let mut reasons = Reasons::default();
        for message in messages {
            reasons.add(message);
        }
        reasons
    }

    fn add(&mut self, message: &str) {
        let named = [NOT_INSTALLED, PRIMARY, ENCRYPTION_OFF];
        match named.into_iter().find(|reason| message.ends_with(reason)) {
            Some(reason) => _ = self.named.insert(reason),
            None => self.other = true,
        }
    }

    /// Reads the text of Consul 1.10 and later: a line for each ring that failed, and
    /// one for each node that gave a reason. Older ones count the nodes only.
    ///
    /// Rings that succeeded are not in it. The WAN ring's nodes name the
    /// datacenters, so all rings have failed if that one is there, and the LAN ring
    /// of each of its datacenters.
    fn read(text: &str) -> Self {
        let mut reasons = Reasons::default();
        let (mut refusals, mut nodes, mut wan) = (0_usize, 0, false);
        let (mut lans, mut datacenters) = (BTreeSet::new(), BTreeSet::new());
        let mut readable = true;
        for line in text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("* "))
        {
            if let Some((ring, fault)) = line.split_once(" error: ") {
                match refused_by_all(fault) {
                    Some(count) => nodes = count.saturating_add(nodes),
                    None => readable = false,
                }
                match ring.strip_suffix(" (LAN)") {
                    Some(datacenter) => _ = lans.insert(datacenter),
                    None if ring == "WAN" => wan = true,
                    None => readable = false,
                }
            } else if let Some((node, message)) = line.split_once(": ") {
                reasons.add(message);
                refusals += 1;
                datacenters.extend(node.rsplit_once('.').map(|(_, datacenter)| datacenter));
            } else {
                readable = false;
            }
        }
        let every_ring = wan && lans == datacenters;
        reasons.complete = readable && every_ring && refusals == nodes && !reasons.other;
        reasons
    }

    pub(super) fn encryption_is_off(&self) -> bool {
        !self.other && self.named.len() == 1 && self.named.contains(ENCRYPTION_OFF)
    }

    pub(super) fn advice(&self) -> Option<&'static str> {
        if self.named.contains(PRIMARY) {
            return Some("use another key first, then remove this one");
        }
        let not_installed = self.named.contains(NOT_INSTALLED);
        not_installed.then_some("install the key first, then use it")
    }
}

/// Reads `N/N nodes reported failure`, of all of a ring's nodes.
fn refused_by_all(fault: &str) -> Option<usize> {
    let counts = fault.strip_suffix(" nodes reported failure")?;
    let (failed, nodes) = counts.split_once('/')?;
    (failed == nodes).then(|| nodes.parse().ok())?
}

/// Returns what to do about an error of this kind in this operation.
pub(super) fn advice(kind: &ErrorKind, operation: &Operation) -> Option<String> {
    let reads = operation.permission().1 == Access::Read;
    let text = match kind {
        ErrorKind::InvalidRequest { .. } => "check the parameters, and the server's version",
        ErrorKind::PermissionDenied {
            resource, access, ..
        } => {
            return Some(format!(
                "use a token whose policy has `{resource} = \"{access}\"`"
            ));
        }
        ErrorKind::UnknownToken => "the token may be mistyped, expired or deleted",
        ErrorKind::NoLeader => match operation {
            Operation::RaftConfiguration(_) => {
                "check that a majority of the voters is up, or read with Consistency::Stale"
            }
            _ => "check that a majority of the voters is up, then repeat it",
        },
        ErrorKind::NotLeader { .. } => "wait until a leader is elected",
        ErrorKind::NoPathToDatacenter { .. } => match operation {
            Operation::Keyring { .. } => {
                "check that every datacenter is joined and has a server up"
            }
            _ => "check its name, and that it is joined",
        },
        ErrorKind::Unreachable { .. } => "check the address, and that the server is up",
        ErrorKind::DeadlineExceeded { .. } => {
            "check that the server is up, or allow more time with with_deadline"
        }
        ErrorKind::UnknownServer(_) => "read the Raft configuration for ids and addresses",
        ErrorKind::LastVoter => "a cluster needs one voter: add another one first",
        ErrorKind::AlreadyLeader { .. } => "name another voter",
        ErrorKind::NoTransferTarget => "add a voter, or bring one back",
        ErrorKind::TransferredElsewhere { .. } => "check that the target is up, then repeat it",
        ErrorKind::EncryptionOff => "start every node with a gossip key first",
        ErrorKind::RingsFailed { .. } => match operation {
            Operation::Keyring {
                action: KeyringAction::Use(_),
                ..
            } => "list the keys: each ring needs the key on all nodes before it can use it",
            Operation::Keyring {
                action: KeyringAction::Remove(_),
                ..
            } => "list the keys: no ring removes its primary key",
            _ if reads => {
                "check the nodes that did not answer, and list again in a minute: a dead node \
                 is counted until gossip has declared it failed"
            }
            _ => "list the keys to see which rings have changed, then repeat it for the rest",
        },
        ErrorKind::Unsupported { .. } => "check the address and the server's version",
        ErrorKind::InvalidReply { .. } => {
            "check that the server speaks Consul's API, or raise with_answer_limit"
        }
        ErrorKind::Unavailable { .. } => "try again in a while",
        ErrorKind::Backend { .. } => "look into the server's log",
        _ => return None,
    };
    Some(text.to_owned())
}
