//! Keys in base64, one a line, as changes of a ring: a ring is never empty, holds a key once,
//! and keeps its primary key.
#![no_main]

use cluster_operator::GossipKey;
use cluster_operator::keyring::Keyring;
use cluster_operator_fuzz::KEY;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut ring = Keyring::new(KEY.parse().expect("a key"));
    for line in input.lines() {
        let (change, text) = line.split_at_checked(1).unwrap_or_default();
        let Ok(key) = GossipKey::from_base64(text) else {
            continue;
        };
        let again = GossipKey::from_base64(&key.to_base64());
        assert_eq!(again.as_ref(), Ok(&key));
        assert!([16, 24, 32].contains(&key.as_bytes().len()));
        let primary = ring.primary().clone();
        match change {
            "+" => {
                ring.install(key);
                assert_eq!(ring.primary(), &primary);
            }
            "=" => assert_eq!(ring.use_key(&key).is_ok(), ring.primary() == &key),
            _ => {
                let _ = ring.remove(&key);
                assert_eq!(ring.primary(), &primary);
            }
        }
        let keys = ring.keys();
        assert!(!keys.is_empty());
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key));
        }
    }
});
