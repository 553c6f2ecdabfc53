//! What the values show of themselves.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::consul::{Dialect, Request, Wire};
use cluster_operator::keyring::{Answers, Keyring};
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockKeyring, MockPeers, MockToken};
use cluster_operator::{
    Access, AclError, AllowAll, BuildError, Caller, ConfigVersion, DatacenterName, DefaultPolicy,
    Envelope, EnvelopeReply, ErrorKind, GossipKey, GossipQuery, Identity, KeyChange, KeyringAction,
    KeyringReply, KeyringScope, LeaderHint, NodeFailure, NodeKeys, NodeName, Operation,
    OperatorError, OperatorReply, OperatorRequest, OperatorService, Outcome, PeerSelector, Peers,
    Pool, RequestId, Resource, RingOutcome, RingReport, SendError, SendFailure, Target,
};
use futures_executor::block_on;
use serde_json::Value;

use crate::needles::{TOKEN, assert_silent, escaped, key, key_text, token};

#[track_caller]
fn shows_nothing(value: &impl Debug) {
    assert_silent(format!("{value:?}"));
    assert_silent(format!("{value:#?}"));
}

#[track_caller]
fn says_nothing(value: &(impl Debug + Display)) {
    shows_nothing(value);
    assert_silent(value.to_string());
}

fn actions() -> Vec<KeyringAction> {
    vec![
        KeyringAction::Install(key()),
        KeyringAction::Use(key()),
        KeyringAction::Remove(key()),
    ]
}

fn report() -> RingReport {
    let mut report = RingReport::new(3);
    report.holds(&[key()]);
    report.holds_more("bob".into(), &[key()], 9);
    report.failed("carol".into(), NodeFailure::PrimaryKey);
    report
}

#[test]
fn a_key_a_ring_and_a_report_show_no_key() {
    shows_nothing(&key());
    assert_silent(key().fingerprint());
    shows_nothing(&Keyring::new(key()));
    shows_nothing(&report());
    shows_nothing(&report().keys);
    let reply = reply();
    shows_nothing(&OperatorReply::Keyring(reply.clone()));
    says_nothing(&report().fault().unwrap());
    // With the reply inside.
    let error = reply.confirmed().unwrap_err();
    assert!(error.reply().is_some());
    says_nothing(&error);
}

#[test]
fn query_and_its_answers_show_no_key() {
    for change in [
        KeyChange::Install(key()),
        KeyChange::Use(key()),
        KeyChange::Remove(key()),
    ] {
        shows_nothing(&change);
    }
    let nodes = ["alice", "bob", "carol", "dave"].map(NodeName::from);
    let query = GossipQuery::new(Duration::from_secs(5));
    query.answers.asking(nodes.iter().cloned());
    let answers = [
        Ok(NodeKeys::ring([key(), key()])),
        Ok(NodeKeys::without_primary([key()]).truncated(9)),
        Ok(NodeKeys::done().with_note("a remark")),
        Err(NodeFailure::PrimaryKey),
    ];
    for (node, answer) in nodes.iter().zip(answers) {
        shows_nothing(&answer);
        query.answers.answered(node, answer);
        shows_nothing(&query);
        shows_nothing(&query.answers);
    }
    // The keys are in it: it is their text that is not.
    let report = query.answers.report().unwrap();
    assert_eq!(report.keys.get(&key()), 2);
    assert!(format!("{query:?}").contains(&key().fingerprint()));
    shows_nothing(&Answers::default());
}

fn reply() -> KeyringReply {
    let mut late = RingOutcome::new("dc1", Pool::Wan, report());
    late.error = Some(OperatorError::backend("the call was lost"));
    let unasked = OperatorError::new(ErrorKind::NoLeader);
    KeyringReply {
        rings: vec![
            late,
            RingOutcome::new("dc1", Pool::Lan, report()),
            RingOutcome::failed("dc2", Pool::Lan, unasked),
        ],
    }
}

#[test]
fn a_caller_a_token_and_a_request_show_neither_key_nor_token() {
    shows_nothing(&token());
    shows_nothing(&Caller::with_token(token()).in_datacenter("dc1"));
    for action in actions() {
        shows_nothing(&action);
        let operation = Operation::Keyring {
            action,
            scope: KeyringScope::Federation,
            relay_factor: Default::default(),
        };
        shows_nothing(&operation);
        let request = OperatorRequest::new(operation).with_token(token());
        shows_nothing(&request);
        shows_nothing(&request.with_request_id(RequestId::generate()));
    }
}

#[test]
fn request_id_is_made_of_no_secret() {
    let id = RequestId::generate();
    says_nothing(&id);
    for bad in [
        TOKEN.to_owned(),
        key_text(),
        format!("{} ", &TOKEN[..8]),
        TOKEN.repeat(9),
    ] {
        says_nothing(&bad.parse::<RequestId>().unwrap_err());
        let json = serde_json::to_string(&bad).unwrap();
        says_nothing(&serde_json::from_str::<RequestId>(&json).unwrap_err());
    }
}

/// Keeps what is sent, and replies with what the closure makes.
#[derive(Clone)]
struct Capture {
    sent: Arc<Mutex<Vec<Envelope>>>,
    reply: Arc<dyn Fn() -> Result<EnvelopeReply, SendError> + Send + Sync>,
}

impl Capture {
    fn new(
        reply: impl Fn() -> Result<EnvelopeReply, SendError> + Send + Sync + 'static,
    ) -> Capture {
        Capture {
            sent: Arc::default(),
            reply: Arc::new(reply),
        }
    }

    /// A server of dc1 that knows dc2, and nobody else.
    fn service(&self) -> OperatorService {
        OperatorService::builder("dc1")
            .keyring(MockKeyring::new(Pool::Lan, key(), ["alice"]))
            .peers(self.clone())
            .authorizer(AllowAll)
            .build()
            .unwrap()
    }
}

#[async_trait]
impl Peers for Capture {
    fn datacenters(&self) -> Vec<DatacenterName> {
        vec!["dc2".into()]
    }

    async fn send(
        &self,
        _: &Target,
        envelope: Envelope,
        _: Duration,
    ) -> Result<EnvelopeReply, SendError> {
        self.sent.lock().unwrap().push(envelope);
        (self.reply)()
    }
}

/// Envelopes that install a key and list keys, with the token.
fn envelopes() -> Vec<Envelope> {
    let peers = Capture::new(|| Err(SendError::NoPath));
    let service = peers.service();
    let caller = Caller::with_token(token());
    let error = block_on(service.install_key(&caller, key())).unwrap_err();
    says_nothing(&error);
    let listed = block_on(service.list_keys(&caller, KeyringScope::Federation));
    shows_nothing(&listed.unwrap());
    let sent = peers.sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 2);
    sent
}

/// Bytes cut and changed at many places.
fn broken(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut broken = Vec::new();
    for at in (0..bytes.len()).step_by(3) {
        broken.push(bytes[..at].to_vec());
        for byte in [b'!', b'"', b'1', b'}', b'\\', 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] = byte;
            broken.push(changed);
        }
    }
    broken
}

/// The same JSON with a secret in place of each of its values in turn.
fn misplaced(bytes: &[u8]) -> Vec<Vec<u8>> {
    let json: Value = serde_json::from_slice(bytes).unwrap();
    let mut pointers = Vec::new();
    pointers_to(&json, String::new(), &mut pointers);
    let secrets = [TOKEN.to_owned(), key_text()];
    let places = pointers.iter().flat_map(|pointer| {
        secrets.iter().map(|secret| {
            let mut json = json.clone();
            *json.pointer_mut(pointer).unwrap() = secret.as_str().into();
            serde_json::to_vec(&json).unwrap()
        })
    });
    places.collect()
}

fn pointers_to(json: &Value, at: String, pointers: &mut Vec<String>) {
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match json {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            pointers_to(value, format!("{at}/{}", escaped(name)), pointers);
        }),
        Value::Array(values) => values.iter().enumerate().for_each(|(index, value)| {
            pointers_to(value, format!("{at}/{index}"), pointers);
        }),
        _ => {}
    }
    pointers.push(at);
}

#[test]
fn envelope_shows_neither_key_nor_token() {
    for (envelope, has_key) in envelopes().iter().zip([true, false]) {
        shows_nothing(envelope);
        shows_nothing(&envelope.with_timeout(Duration::from_secs(1)));
        // They have to travel, so they are there.
        let text = String::from_utf8(envelope.as_bytes().to_vec()).unwrap();
        assert!(text.contains(TOKEN));
        assert_eq!(text.contains(&key_text()), has_key);
    }
}

#[test]
fn answer_to_a_broken_envelope_repeats_nothing_of_it() {
    let peers = Capture::new(|| Err(SendError::NoPath));
    let service = peers.service();
    let envelope = &envelopes()[0];
    let mut refused = 0;
    let bytes = envelope.as_bytes();
    for bytes in broken(bytes).into_iter().chain(misplaced(bytes)) {
        let reply = block_on(service.answer(&Envelope::from_bytes(bytes)));
        shows_nothing(&reply);
        assert_silent(reply.as_bytes());
        let text = String::from_utf8(reply.as_bytes().to_vec()).unwrap();
        refused += usize::from(text.contains("incompatible-server"));
    }
    assert!(refused > envelope.as_bytes().len() / 3, "{refused}");
}

#[test]
fn broken_reply_is_not_repeated_in_the_error() {
    let source = Capture::new(|| Err(SendError::NoPath));
    let listing = &envelopes()[1];
    let whole = block_on(source.service().answer(listing));
    shows_nothing(&whole);
    assert!(String::from_utf8_lossy(whole.as_bytes()).contains(&key_text()));
    let mut unread = 0;
    let bytes = whole.as_bytes();
    for bytes in broken(bytes).into_iter().chain(misplaced(bytes)) {
        let peers = Capture::new(move || Ok(EnvelopeReply::from_bytes(bytes.clone())));
        let caller = Caller::with_token(token());
        let service = peers.service();
        let reply = block_on(service.list_keys(&caller, KeyringScope::Federation)).unwrap();
        for ring in reply.rings {
            // The names of nodes may be anything.
            if let Some(error) = ring.error {
                says_nothing(&error);
                unread += usize::from(error.kind().name() == "invalid-reply");
            }
        }
    }
    assert!(unread > whole.as_bytes().len() / 3, "{unread}");
}

#[test]
fn what_became_of_an_envelope_shows_no_secret() {
    type Fail = fn() -> SendError;
    let fails: [Fail; 4] = [
        || SendError::not_sent("no connection"),
        || SendError::lost("the connection broke"),
        || {
            let broken = io::Error::from(io::ErrorKind::ConnectionReset);
            let failure = SendFailure::new("no answer").with_source(broken);
            SendError::Lost(failure.timed_out(Duration::from_secs(5)))
        },
        || SendError::NoPath,
    ];
    for fail in fails {
        says_nothing(&fail());
        let service = Capture::new(move || Err(fail())).service();
        let caller = Caller::with_token(token());
        let error = block_on(service.install_key(&caller, key())).unwrap_err();
        says_nothing(&error);
        let error = error.into_reply().unwrap().rings[1].error.clone().unwrap();
        says_nothing(&error);
        assert_silent(serde_json::to_string(&error).unwrap());
        if let Some(source) = error.source() {
            assert_silent(format!("{source} {source:?}"));
        }
    }
}

#[test]
fn what_is_no_key_is_not_repeated_in_the_error() {
    let text = key_text();
    for bad in [
        text.trim_end_matches('=').to_owned(),
        format!("{text}A"),
        format!("*{text}"),
        text.replace('+', "-"),
        format!("{text}{text}"),
        text[..20].to_owned(),
    ] {
        let error = GossipKey::from_base64(&bad).unwrap_err();
        says_nothing(&error);
        says_nothing(&OperatorError::from(error));
    }
    says_nothing(&GossipKey::from_bytes(&key().as_bytes()[..31]).unwrap_err());
}

#[test]
fn a_request_that_does_not_deserialize_does_not_repeat_its_key() {
    let operation = Operation::Keyring {
        action: KeyringAction::Install(key()),
        scope: KeyringScope::Federation,
        relay_factor: Default::default(),
    };
    let request = OperatorRequest::new(operation).with_token(token());
    let json = serde_json::to_string(&request).unwrap();
    // It has to travel, so it is there.
    assert!(json.contains(&key_text()) && json.contains(TOKEN));
    for broken in [
        json.replace(&key_text(), &key_text()[1..]),
        json.replace("Federation", "Everywhere"),
        json[..json.len() - 2].to_owned(),
    ] {
        let error = serde_json::from_str::<OperatorRequest>(&broken).unwrap_err();
        says_nothing(&error);
    }
}

#[test]
fn the_mocks_show_no_secret() {
    let known = MockToken::new(TOKEN).with(Resource::Keyring, Grant::Write);
    shows_nothing(&known);
    let acl = MockAcl::new(DefaultPolicy::Deny).with_token(known);
    shows_nothing(&acl);
    let keyring = MockKeyring::new(Pool::Lan, key(), ["alice"]);
    shows_nothing(&keyring);
    let dc2 = Target::Datacenter("dc2".into());
    let peers =
        MockPeers::new().with_answer(dc2, |_| std::future::ready(Err(ErrorKind::NoLeader.into())));
    let service = OperatorService::builder("dc1")
        .keyring(keyring)
        .peers(peers.clone())
        .authorizer(acl.clone());
    shows_nothing(&service);
    let service = service.build().unwrap();
    shows_nothing(&service);
    let caller = Caller::with_token(token());
    let error = block_on(service.install_key(&caller, key())).unwrap_err();
    says_nothing(&error);
    assert_eq!(peers.calls(), 1);
    shows_nothing(&peers);
    shows_nothing(&peers.sent());
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .gossip_key(key())
        .authorizer(acl)
        .build();
    shows_nothing(&federation);
}

#[test]
fn each_kind_of_error_says_nothing_of_the_request_that_it_ends() {
    let identity = || Identity::Unnamed;
    let id = || "a".into();
    let after = Duration::from_secs(5);
    let version = ConfigVersion { term: 1, index: 2 };
    for kind in [
        ErrorKind::UnknownToken,
        ErrorKind::PermissionDenied {
            resource: Resource::Keyring,
            access: Access::Write,
            identity: identity(),
        },
        ErrorKind::InvalidKey(GossipKey::from_base64(&key_text()[1..]).unwrap_err()),
        ErrorKind::NoLeader,
        ErrorKind::NotMember { id: id() },
        ErrorKind::NotLeader {
            leader: Some(LeaderHint {
                id: id(),
                address: "10.0.0.1:8300".into(),
            }),
        },
        ErrorKind::NoPathToDatacenter {
            datacenter: "dc9".into(),
        },
        ErrorKind::DeadlineExceeded {
            target: "the LAN pool".into(),
            after,
        },
        ErrorKind::RingsFailed {
            failed: vec![("dc1".into(), Pool::Lan)],
            rings: 2,
        },
        ErrorKind::UnknownServer(PeerSelector::Id(id())),
        ErrorKind::LastVoter,
        ErrorKind::QuorumUnproven {
            confirmed: 1,
            needed: 2,
            after,
        },
        ErrorKind::Conflict {
            expected: version,
            actual: version,
        },
        ErrorKind::TermChanged {
            expected: 1,
            actual: 2,
        },
        ErrorKind::ChangeInProgress,
        ErrorKind::TooManyHops { hops: 4 },
    ] {
        let error = OperatorError::new(kind.clone()).with_source(AclError::UnknownToken);
        let error = error.with_reply(reply());
        says_nothing(&kind);
        says_nothing(&error);
        assert_silent(kind.name());
        assert_silent(serde_json::to_string(&kind).unwrap());
        assert_silent(error.source().unwrap().to_string());
    }
    for outcome in [Outcome::Applied, Outcome::NotApplied, Outcome::Unknown] {
        assert_silent(outcome.name());
    }
    for identity in [Identity::AclsOff, Identity::Anonymous, Identity::Unnamed] {
        says_nothing(&identity);
        says_nothing(&AclError::Denied { identity });
    }
    says_nothing(&BuildError::DuplicatePool(Pool::Lan));
}

#[test]
fn what_is_decoded_refused_and_answered_shows_no_secret() {
    let query = format!("token={}", escaped(TOKEN));
    let body = format!(r#"{{"Key":"{}","Token":"{TOKEN}"}}"#, key_text());
    let broken = format!("{body}x");
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("X-Consul-Token", TOKEN), ("Authorization", &bearer)];
    let mut refused = 0;
    for dialect in [Dialect::Precise, Dialect::Consul1_10, Dialect::Consul0_7] {
        shows_nothing(&Wire::new(dialect));
        for path in [
            "/v1/operator/keyring",
            "/v1//operator/keyring",
            "/v1/operator/raft/peer",
            "/v1/operator/%zz",
        ] {
            for body in [&body, &broken] {
                for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
                    let request = Request {
                        method,
                        path,
                        query: Some(&query),
                        headers: &headers,
                        body: body.clone().into(),
                    };
                    shows_nothing(&request);
                    match Wire::new(dialect).decode(&request) {
                        Ok(call) => {
                            shows_nothing(&call);
                            shows_nothing(&call.request);
                        }
                        Err(rejection) => {
                            refused += 1;
                            shows_nothing(&rejection);
                            shows_nothing(&Wire::new(dialect).reject(&rejection));
                            if let Some(permission) = rejection.only_for() {
                                shows_nothing(permission);
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 0);
}
