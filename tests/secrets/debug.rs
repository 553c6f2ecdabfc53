//! `Debug`, `Display` and the serialized form of public types.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::acl::{Access, AclError, DefaultPolicy, Identity, Resource};
use cluster_operator::autopilot::AutopilotConfiguration;
use cluster_operator::consul::{Dialect, Request, Wire};
use cluster_operator::keyring::{
    Answers, GossipQuery, KeyChange, Keyring, NodeFailure, NodeKeys, RingReport,
};
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockKeyring, MockPeers, MockToken};
use cluster_operator::operation::{
    KeyringAction, KeyringReply, KeyringScope, RequestId, RingOutcome,
};
use cluster_operator::peers::{EnvelopeReply, SendError, SendFailure, Target};
use cluster_operator::raft::{ConfigVersion, LeaderHint, PeerSelector};
use cluster_operator::service::{BuildError, Caller};
use cluster_operator::{
    AllowAll, DatacenterName, Envelope, ErrorKind, GossipKey, NodeName, Operation, OperatorError,
    OperatorReply, OperatorRequest, OperatorService, Outcome, Peers, Pool,
};
use futures_executor::block_on;
use serde_json::Value;

use crate::search::{TOKEN, assert_no_secret, escaped, key, key_text, token};

#[track_caller]
fn assert_debug_is_safe(value: &impl Debug) {
    assert_no_secret(format!("{value:?}"));
    assert_no_secret(format!("{value:#?}"));
}

#[track_caller]
fn assert_text_is_safe(value: &(impl Debug + Display)) {
    assert_debug_is_safe(value);
    assert_no_secret(value.to_string());
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
fn key_ring_and_report_show_no_key() {
    assert_debug_is_safe(&key());
    assert_no_secret(key().fingerprint());
    assert_debug_is_safe(&Keyring::new(key()));
    assert_debug_is_safe(&report());
    assert_debug_is_safe(&report().keys);
    let reply = reply();
    assert_debug_is_safe(&OperatorReply::Keyring(reply.clone()));
    assert_text_is_safe(&report().failure().unwrap());
    // With the reply inside.
    let error = reply.confirmed().unwrap_err();
    assert!(error.reply().is_some());
    assert_text_is_safe(&error);
}

#[test]
fn query_and_its_answers_show_no_key() {
    for change in [
        KeyChange::Install(key()),
        KeyChange::Use(key()),
        KeyChange::Remove(key()),
    ] {
        assert_debug_is_safe(&change);
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
        assert_debug_is_safe(&answer);
        query.answers.answered(node, answer);
        assert_debug_is_safe(&query);
        assert_debug_is_safe(&query.answers);
    }
    // The report holds the keys, but `Debug` shows only fingerprints.
    let report = query.answers.report().unwrap();
    assert_eq!(report.keys.get(&key()), 2);
    assert!(format!("{query:?}").contains(&key().fingerprint()));
    assert_debug_is_safe(&Answers::default());
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
fn caller_token_and_request_show_no_secret() {
    assert_debug_is_safe(&token());
    assert_debug_is_safe(&Caller::with_token(token()).in_datacenter("dc1"));
    for action in actions() {
        assert_debug_is_safe(&action);
        let operation = Operation::Keyring {
            action,
            scope: KeyringScope::Federation,
            relay_factor: Default::default(),
        };
        assert_debug_is_safe(&operation);
        let request = OperatorRequest::new(operation).with_token(token());
        assert_debug_is_safe(&request);
        let id = "request-1".parse::<RequestId>().unwrap();
        assert_debug_is_safe(&request.with_request_id(id));
    }
}

#[test]
fn error_of_a_malformed_request_id_does_not_repeat_it() {
    for bad in [
        TOKEN.to_owned(),
        key_text(),
        format!("{} ", &TOKEN[..8]),
        TOKEN.repeat(9),
    ] {
        assert_text_is_safe(&bad.parse::<RequestId>().unwrap_err());
        let json = serde_json::to_string(&bad).unwrap();
        assert_text_is_safe(&serde_json::from_str::<RequestId>(&json).unwrap_err());
    }
}

/// Peers that keep the sent envelopes and answer with the closure's result.
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

    /// The service of a server in dc1 that knows only dc2.
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

/// Envelopes that install a key and that list keys, with the token.
fn envelopes() -> Vec<Envelope> {
    let peers = Capture::new(|| Err(SendError::NoPath));
    let service = peers.service();
    let caller = Caller::with_token(token());
    let error = block_on(service.install_key(&caller, key())).unwrap_err();
    assert_text_is_safe(&error);
    let listed = block_on(service.list_keys(&caller, KeyringScope::Federation));
    assert_debug_is_safe(&listed.unwrap());
    let sent = peers.sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 2);
    sent
}

/// Returns the bytes truncated and changed at many positions.
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

/// Returns the JSON with each of its values in turn replaced by a secret.
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
fn debug_of_envelope_shows_no_secret() {
    for (envelope, has_key) in envelopes().iter().zip([true, false]) {
        assert_debug_is_safe(envelope);
        assert_debug_is_safe(&envelope.with_timeout(Duration::from_secs(1)));
        // The bytes contain the secrets, because they have to be sent.
        let text = String::from_utf8(envelope.as_bytes().to_vec()).unwrap();
        assert!(text.contains(TOKEN));
        assert_eq!(text.contains(&key_text()), has_key);
    }
}

#[test]
fn answer_to_malformed_envelope_repeats_no_secret() {
    let peers = Capture::new(|| Err(SendError::NoPath));
    let service = peers.service();
    let envelope = &envelopes()[0];
    let mut refused = 0;
    let bytes = envelope.as_bytes();
    for bytes in broken(bytes).into_iter().chain(misplaced(bytes)) {
        let reply = block_on(service.answer(&Envelope::from_bytes(bytes)));
        assert_debug_is_safe(&reply);
        assert_no_secret(reply.as_bytes());
        let text = String::from_utf8(reply.as_bytes().to_vec()).unwrap();
        refused += usize::from(text.contains("incompatible-server"));
    }
    assert!(refused > envelope.as_bytes().len() / 3, "{refused}");
}

#[test]
fn error_for_malformed_reply_repeats_no_secret() {
    let source = Capture::new(|| Err(SendError::NoPath));
    let listing = &envelopes()[1];
    let whole = block_on(source.service().answer(listing));
    assert_debug_is_safe(&whole);
    assert!(String::from_utf8_lossy(whole.as_bytes()).contains(&key_text()));
    let mut unread = 0;
    let bytes = whole.as_bytes();
    for bytes in broken(bytes).into_iter().chain(misplaced(bytes)) {
        let peers = Capture::new(move || Ok(EnvelopeReply::from_bytes(bytes.clone())));
        let caller = Caller::with_token(token());
        let service = peers.service();
        let reply = block_on(service.list_keys(&caller, KeyringScope::Federation)).unwrap();
        for ring in reply.rings {
            // Names of nodes can be any text.
            if let Some(error) = ring.error {
                assert_text_is_safe(&error);
                unread += usize::from(error.kind().name() == "invalid-reply");
            }
        }
    }
    assert!(unread > whole.as_bytes().len() / 3, "{unread}");
}

#[test]
fn transport_errors_contain_no_secret() {
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
        assert_text_is_safe(&fail());
        let service = Capture::new(move || Err(fail())).service();
        let caller = Caller::with_token(token());
        let error = block_on(service.install_key(&caller, key())).unwrap_err();
        assert_text_is_safe(&error);
        let error = error.into_reply().unwrap().rings[1].error.clone().unwrap();
        assert_text_is_safe(&error);
        assert_no_secret(serde_json::to_string(&error).unwrap());
        if let Some(source) = error.source() {
            assert_no_secret(format!("{source} {source:?}"));
        }
    }
}

#[test]
fn error_for_malformed_key_does_not_repeat_it() {
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
        assert_text_is_safe(&error);
        assert_text_is_safe(&OperatorError::from(error));
    }
    assert_text_is_safe(&GossipKey::from_bytes(&key().as_bytes()[..31]).unwrap_err());
}

#[test]
fn deserialization_error_of_request_repeats_no_secret() {
    let operation = Operation::Keyring {
        action: KeyringAction::Install(key()),
        scope: KeyringScope::Federation,
        relay_factor: Default::default(),
    };
    let request = OperatorRequest::new(operation).with_token(token());
    let json = serde_json::to_string(&request).unwrap();
    // The JSON contains the secrets, because it has to be sent.
    assert!(json.contains(&key_text()) && json.contains(TOKEN));
    for broken in [
        json.replace(&key_text(), &key_text()[1..]),
        json.replace("Federation", "Everywhere"),
        json[..json.len() - 2].to_owned(),
    ] {
        let error = serde_json::from_str::<OperatorRequest>(&broken).unwrap_err();
        assert_text_is_safe(&error);
    }
}

#[test]
fn mocks_show_no_secret() {
    let known = MockToken::new(TOKEN).with(Resource::Keyring, Grant::Write);
    assert_debug_is_safe(&known);
    let acl = MockAcl::new(DefaultPolicy::Deny).with_token(known);
    assert_debug_is_safe(&acl);
    let keyring = MockKeyring::new(Pool::Lan, key(), ["alice"]);
    assert_debug_is_safe(&keyring);
    let dc2 = Target::Datacenter("dc2".into());
    let peers =
        MockPeers::new().with_answer(dc2, |_| std::future::ready(Err(ErrorKind::NoLeader.into())));
    let service = OperatorService::builder("dc1")
        .keyring(keyring)
        .peers(peers.clone())
        .authorizer(acl.clone());
    assert_debug_is_safe(&service);
    let service = service.build().unwrap();
    assert_debug_is_safe(&service);
    let caller = Caller::with_token(token());
    let error = block_on(service.install_key(&caller, key())).unwrap_err();
    assert_text_is_safe(&error);
    assert_eq!(peers.sent().len(), 1);
    assert_debug_is_safe(&peers);
    assert_debug_is_safe(&peers.sent());
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .gossip_key(key())
        .authorizer(acl)
        .build();
    assert_debug_is_safe(&federation);
}

#[test]
fn no_kind_of_error_shows_secrets_of_the_request() {
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
        assert_text_is_safe(&kind);
        assert_text_is_safe(&error);
        assert_no_secret(kind.name());
        assert_no_secret(serde_json::to_string(&kind).unwrap());
        assert_no_secret(error.source().unwrap().to_string());
    }
    for outcome in [Outcome::Applied, Outcome::NotApplied, Outcome::Unknown] {
        assert_no_secret(outcome.name());
    }
    for identity in [Identity::AclsOff, Identity::Anonymous, Identity::Unnamed] {
        assert_text_is_safe(&identity);
        assert_text_is_safe(&AclError::Denied { identity });
    }
    assert_text_is_safe(&BuildError::DuplicatePool(Pool::Lan));
}

#[test]
fn debug_of_requests_and_rejections_shows_no_secret() {
    let query = format!("token={}", escaped(TOKEN));
    let body = format!(r#"{{"Key":"{}","Token":"{TOKEN}"}}"#, key_text());
    let broken = format!("{body}x");
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("X-Consul-Token", TOKEN), ("Authorization", &bearer)];
    let mut refused = 0;
    for dialect in [
        Dialect::Precise,
        Dialect::Consul1_17,
        Dialect::Consul1_10,
        Dialect::Consul0_7,
    ] {
        assert_debug_is_safe(&Wire::new(dialect));
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
                    assert_debug_is_safe(&request);
                    match Wire::new(dialect).decode(&request, &AutopilotConfiguration::default()) {
                        Ok(call) => {
                            assert_debug_is_safe(&call);
                            assert_debug_is_safe(&call.request);
                        }
                        Err(rejection) => {
                            refused += 1;
                            assert_debug_is_safe(&rejection);
                            assert_debug_is_safe(&Wire::new(dialect).reject(&rejection));
                            if let Some(permission) = rejection.only_for() {
                                assert_debug_is_safe(permission);
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 0);
}
