//! The types that keyring backends use, without any feature.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::keyring::{GossipQuery, KeyChange, NodeKeys, RelayFactor, exposed};
use cluster_operator::{ErrorKind, GossipKey, KeyringBackend, NodeName, OperatorError, Pool};
use futures_util::FutureExt;

#[test]
fn relay_factor_is_at_most_five() {
    for factor in 0..=5 {
        let relay = RelayFactor::try_from(factor).unwrap();
        assert_eq!(relay.get(), factor);
        assert_eq!(u8::from(relay), factor);
        assert_eq!(serde_json::to_string(&relay).unwrap(), factor.to_string());
        assert_eq!(
            serde_json::from_str::<RelayFactor>(&factor.to_string()).unwrap(),
            relay
        );
    }
    assert_eq!(RelayFactor::MAX.get(), 5);
    for factor in [6, 255] {
        let error = RelayFactor::try_from(factor).unwrap_err();
        assert_eq!(error.to_string(), "relay factor must be in range: [0, 5]");
        let error = serde_json::from_str::<RelayFactor>(&factor.to_string());
        assert!(error.unwrap_err().to_string().contains("[0, 5]"));
    }
}

#[test]
fn key_that_is_not_a_string_is_malformed() {
    let read = |json: &str| exposed::deserialize(&mut serde_json::Deserializer::from_str(json));
    let error = read("17").unwrap_err().to_string();
    assert!(error.contains("expected a gossip key in base64"), "{error}");
    assert!(read(r#""short""#).is_err());
    let key = GossipKey::from_bytes(&[7; 16]).unwrap();
    assert_eq!(
        read(&format!("{:?}", key.to_base64().as_str())).unwrap(),
        key
    );
}

/// A ring of one node that counts its calls.
#[derive(Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl KeyringBackend for Counting {
    fn pool(&self) -> &Pool {
        &Pool::Lan
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let alice = NodeName::from("alice");
        query.answers.asking([alice.clone()]);
        let key = GossipKey::from_bytes(&[7; 16]).unwrap();
        query.answers.answered(&alice, Ok(NodeKeys::ring([key])));
        Ok(())
    }

    async fn change(&self, _: &KeyChange, _: &GossipQuery) -> Result<(), OperatorError> {
        self.0.fetch_add(100, Ordering::Relaxed);
        Err(OperatorError::unsupported("changing keys"))
    }
}

/// Calls a backend through a pointer.
fn call_through(ring: impl KeyringBackend) {
    assert_eq!(ring.pool(), &Pool::Lan);
    let query = GossipQuery::new(Duration::from_secs(1));
    ring.list(&query).now_or_never().unwrap().unwrap();
    assert!(query.answers.is_complete());
    let change = KeyChange::Use(GossipKey::from_bytes(&[7; 16]).unwrap());
    let error = ring.change(&change, &query).now_or_never().unwrap();
    let error = error.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }));
}

#[test]
fn shared_and_boxed_backends_forward_calls() {
    let ring = Arc::new(Counting::default());
    call_through(Arc::clone(&ring));
    call_through(Arc::clone(&ring) as Arc<dyn KeyringBackend>);
    call_through(Box::new(Arc::clone(&ring)));
    call_through(Box::new(Arc::clone(&ring)) as Box<dyn KeyringBackend>);
    assert_eq!(ring.0.load(Ordering::Relaxed), 4 * 101);
}

#[test]
fn change_returns_its_key() {
    let key = GossipKey::from_bytes(&[7; 16]).unwrap();
    for change in [
        KeyChange::Install(key.clone()),
        KeyChange::Use(key.clone()),
        KeyChange::Remove(key.clone()),
    ] {
        assert_eq!(change.key(), &key);
    }
}

#[test]
fn clones_of_a_query_share_its_answers() {
    let relay = RelayFactor::MAX;
    let query = GossipQuery::new(Duration::from_secs(1)).with_relay(relay);
    let clone = query.clone();
    assert_eq!((clone.relay, clone.timeout), (relay, query.timeout));
    clone.answers.asking([NodeName::from("alice")]);
    assert_eq!(query.answers.report().unwrap().silent, ["alice"]);
}
