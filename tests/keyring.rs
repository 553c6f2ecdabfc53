//! What every author of a keyring backend touches, without any feature.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use cluster_operator::keyring::exposed;
use cluster_operator::{
    ErrorKind, GossipKey, KeyringBackend, OperatorError, Pool, RelayFactor, RingReport,
};

#[test]
fn a_relay_factor_is_at_most_five() {
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
fn what_should_be_a_key_and_is_not_even_a_text_is_said_to_be_no_key() {
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

/// A ring that cannot tell its members.
struct Opaque;

#[async_trait]
impl KeyringBackend for Opaque {
    fn pool(&self) -> Pool {
        Pool::Lan
    }

    async fn list(&self, _: RelayFactor) -> Result<RingReport, OperatorError> {
        Ok(RingReport::new(0))
    }

    async fn install(&self, _: &GossipKey, _: RelayFactor) -> Result<RingReport, OperatorError> {
        Ok(RingReport::new(0))
    }

    async fn use_key(&self, _: &GossipKey, _: RelayFactor) -> Result<RingReport, OperatorError> {
        Ok(RingReport::new(0))
    }

    async fn remove(&self, _: &GossipKey, _: RelayFactor) -> Result<RingReport, OperatorError> {
        Ok(RingReport::new(0))
    }
}

#[test]
fn a_ring_that_cannot_tell_its_members_says_so() {
    let error = Opaque.members().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }));
}
