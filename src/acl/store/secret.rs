//! Secrets as the store keeps them: hashed under a key.

use std::hash::{BuildHasher, RandomState};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// 120 bits of a secret's hash; the last byte is left free for the table.
///
/// They are enough: without the key nobody can look for two secrets that share
/// them, and among a million tokens chance makes two alike once in 10^24 times.
/// Words, because `subtle` compares a word in one step and bytes one by one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SecretDigest([u64; 2]);

impl SecretDigest {
    /// Clears the byte that is left free.
    pub(super) fn from_words([high, low]: [u64; 2]) -> Self {
        SecretDigest([high, low & !0xff])
    }

    pub(super) fn words(self) -> [u64; 2] {
        self.0
    }

    /// Equality in a time that depends on neither.
    pub(super) fn matches(&self, other: &SecretDigest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Hashes secrets under a key of its own.
///
/// The key makes the hash unpredictable, so that neither the place of a token
/// in memory nor the time to find it can be steered by choosing a token, nor
/// learnt by watching the times of many. It comes from `RandomState`, which std
/// seeds with 128 bits of the system's randomness. A crate for that alone would
/// not be worth its place: a secret is as hard to guess as it was made, and the
/// key adds to that only where someone can watch times or read memory.
///
/// The hash is SHA-256 of the key and the secret. HMAC would cost three blocks
/// more and guards against lengthening a message whose hash is known; no hash
/// leaves this module. With a key of 16 bytes a secret of up to 39 bytes, as
/// every UUID is, takes one block.
#[derive(Clone)]
pub(super) struct SecretHasher {
    key: Zeroizing<[u8; 16]>,
}

impl SecretHasher {
    pub(super) fn new() -> Self {
        let seed = RandomState::new();
        let [high, low] = [0, 1].map(|half: u64| seed.hash_one(half).to_ne_bytes());
        let mut key = Zeroizing::new([0; 16]);
        key[..8].copy_from_slice(&high);
        key[8..].copy_from_slice(&low);
        SecretHasher { key }
    }

    pub(super) fn digest(&self, secret: &str) -> SecretDigest {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(*self.key)
            .chain_update(secret)
            .finalize()
            .into();
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = hash;
        SecretDigest::from_words([
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u64::from_be_bytes([i, j, k, l, m, n, o, p]),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_holds_under_its_key_only() {
        let (a, b) = (SecretHasher::new(), SecretHasher::new());
        assert!(a.digest("x").matches(&a.clone().digest("x")));
        assert!(!a.digest("x").matches(&a.digest("y")));
        assert!(!a.digest("x").matches(&b.digest("x")));
    }

    #[test]
    fn digests_match_if_both_words_do() {
        let digest = SecretDigest::from_words([1, 0x200]);
        assert!(digest.matches(&SecretDigest::from_words([1, 0x2ff])));
        assert!(!digest.matches(&SecretDigest::from_words([1, 0x300])));
        assert!(!digest.matches(&SecretDigest::from_words([3, 0x200])));
    }
}
