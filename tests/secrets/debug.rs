//! What the values show of themselves.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::time::Duration;

use cluster_operator::keyring::Keyring;
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockKeyring, MockPeers, MockToken};
use cluster_operator::wire::{Dialect, Request, Wire};
use cluster_operator::{
    Access, AclError, BuildError, Caller, DefaultPolicy, ErrorKind, GossipKey, KeyFault,
    KeyringAction, KeyringReply, KeyringScope, KeyringWrite, NodeFailure, Operation, OperatorError,
    OperatorReply, OperatorRequest, OperatorService, PeerSelector, Pool, Resource, RingOutcome,
    RingReport, Target,
};

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
    let fault = KeyFault::TooLong { limit: 1024 };
    vec![
        KeyringAction::Install(key()),
        KeyringAction::Use(key()),
        KeyringAction::Remove(key()),
        KeyringAction::Rehearse {
            write: KeyringWrite::Install,
            fault,
        },
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
    let ring = RingOutcome {
        datacenter: "dc1".into(),
        pool: Pool::Lan,
        result: Ok(report()),
    };
    let reply = KeyringReply { rings: vec![ring] };
    shows_nothing(&OperatorReply::Keyring(reply.clone()));
    says_nothing(&report().fault().unwrap());
    says_nothing(&reply.confirmed().unwrap_err());
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
        shows_nothing(&OperatorRequest::new(operation).with_token(token()));
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
        says_nothing(&KeyFault::from(error));
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
    let reply = futures_executor::block_on(service.install_key(&caller, key())).unwrap();
    shows_nothing(&reply);
    assert_eq!(peers.calls(), 1);
    shows_nothing(&peers);
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice"])
        .gossip_key(key())
        .authorizer(acl)
        .build();
    shows_nothing(&federation);
}

#[test]
fn each_kind_of_error_says_nothing_of_the_request_that_it_ends() {
    for kind in [
        ErrorKind::UnknownToken,
        ErrorKind::PermissionDenied {
            resource: Resource::Keyring,
            access: Access::Write,
            accessor: None,
        },
        ErrorKind::DeadlineExceeded {
            target: "the LAN pool".into(),
            after: Duration::from_secs(5),
        },
        ErrorKind::RingsFailed {
            failed: vec![("dc1".into(), Pool::Lan)],
            rings: 2,
        },
        ErrorKind::UnknownServer(PeerSelector::Id("a".into())),
    ] {
        let error = OperatorError::new(kind.clone()).with_source(AclError::UnknownToken);
        says_nothing(&kind);
        says_nothing(&error);
        assert_silent(serde_json::to_string(&error).unwrap());
        assert_silent(error.source().unwrap().to_string());
    }
    says_nothing(&AclError::Denied { accessor: None });
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
                        Err(refusal) => {
                            refused += 1;
                            shows_nothing(&refusal);
                            shows_nothing(&refusal.response);
                            if let Some(permission) = &refusal.only_for {
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
