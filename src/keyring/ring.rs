//! The keyring of one node.

use super::{GossipKey, KeyChange, NodeFailure, NodeKeys};

/// The keys of one node of a gossip pool, the primary key first.
///
/// A node encrypts with the primary key and decrypts with any key of the ring. The
/// rules are those of memberlist's `Keyring`: a ring is never empty, it holds a key
/// only once, and the primary key cannot be removed.
///
/// ```
/// use cluster_operator::keyring::NodeFailure;
/// use cluster_operator::GossipKey;
/// use cluster_operator::keyring::Keyring;
///
/// let (old, new) = (GossipKey::from_bytes(&[1; 16])?, GossipKey::from_bytes(&[2; 32])?);
/// let mut ring = Keyring::new(old.clone());
/// assert!(ring.install(new.clone()));
/// assert_eq!(ring.remove(&old), Err(NodeFailure::PrimaryKey));
/// ring.use_key(&new)?;
/// assert_eq!(ring.primary(), &new);
/// assert_eq!(ring.remove(&old), Ok(true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    /// Never empty. The first one is the primary key.
    keys: Vec<GossipKey>,
}

impl Keyring {
    /// Creates a ring of one key.
    pub fn new(primary: GossipKey) -> Self {
        Keyring {
            keys: vec![primary],
        }
    }

    /// Returns the primary key.
    pub fn primary(&self) -> &GossipKey {
        &self.keys[0]
    }

    /// Returns all keys, the primary key first.
    pub fn keys(&self) -> &[GossipKey] {
        &self.keys
    }

    /// Returns true if the ring holds this key.
    pub fn contains(&self, key: &GossipKey) -> bool {
        self.keys.contains(key)
    }

    /// Adds a key after the others. Returns false and changes nothing if the ring
    /// already holds it.
    pub fn install(&mut self, key: GossipKey) -> bool {
        let new = !self.contains(&key);
        if new {
            self.keys.push(key);
        }
        new
    }

    /// Makes an installed key the primary. The others keep their order.
    ///
    /// # Errors
    /// [`NodeFailure::KeyNotInstalled`]; the ring is unchanged.
    pub fn use_key(&mut self, key: &GossipKey) -> Result<(), NodeFailure> {
        let at = self
            .keys
            .iter()
            .position(|held| held == key)
            .ok_or(NodeFailure::KeyNotInstalled)?;
        self.keys[..=at].rotate_right(1);
        Ok(())
    }

    /// Returns the node's answer to a listing.
    pub fn listed(&self) -> NodeKeys {
        NodeKeys::ring(self.keys.iter().cloned())
    }

    /// Makes a change and returns the node's answer.
    ///
    /// # Errors
    /// Those of [`use_key`](Keyring::use_key) and [`remove`](Keyring::remove); the
    /// ring is unchanged.
    pub fn change(&mut self, change: &KeyChange) -> Result<NodeKeys, NodeFailure> {
        match change {
            KeyChange::Install(key) => _ = self.install(key.clone()),
            KeyChange::Use(key) => self.use_key(key)?,
            KeyChange::Remove(key) => _ = self.remove(key)?,
        }
        Ok(NodeKeys::done())
    }

    /// Removes a key. Returns false if the ring does not hold it, which is not an error.
    ///
    /// # Errors
    /// [`NodeFailure::PrimaryKey`]; the ring is unchanged.
    pub fn remove(&mut self, key: &GossipKey) -> Result<bool, NodeFailure> {
        if self.primary() == key {
            return Err(NodeFailure::PrimaryKey);
        }
        let before = self.keys.len();
        self.keys.retain(|held| held != key);
        Ok(self.keys.len() < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> GossipKey {
        GossipKey::from_bytes(&[n; 16]).unwrap()
    }

    #[test]
    fn use_moves_key_to_front_and_keeps_order_of_others() {
        let mut ring = Keyring::new(key(0));
        for n in 1..4 {
            ring.install(key(n));
        }
        ring.use_key(&key(2)).unwrap();
        assert_eq!(ring.keys(), [key(2), key(0), key(1), key(3)]);
    }

    #[test]
    fn failed_call_changes_nothing() {
        let mut ring = Keyring::new(key(0));
        ring.install(key(1));
        let before = ring.clone();
        assert_eq!(ring.use_key(&key(9)), Err(NodeFailure::KeyNotInstalled));
        assert_eq!(ring.remove(&key(0)), Err(NodeFailure::PrimaryKey));
        assert_eq!(ring.remove(&key(9)), Ok(false));
        assert_eq!(ring, before);
        assert_eq!(ring.remove(&key(1)), Ok(true));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Install(u8),
        Use(u8),
        Remove(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6u8).prop_map(Step::Install),
            (0..6u8).prop_map(Step::Use),
            (0..6u8).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn ring_is_never_empty_and_keys_are_unique(steps in proptest::collection::vec(step(), 0..60)) {
            let mut ring = Keyring::new(key(0));
            for step in steps {
                let primary = ring.primary().clone();
                match step {
                    Step::Install(n) => {
                        ring.install(key(n));
                        prop_assert!(ring.contains(&key(n)));
                        prop_assert_eq!(ring.primary(), &primary);
                    }
                    Step::Use(n) => {
                        let held = ring.contains(&key(n));
                        prop_assert_eq!(ring.use_key(&key(n)).is_ok(), held);
                        prop_assert_eq!(ring.primary(), &if held { key(n) } else { primary });
                    }
                    Step::Remove(n) => {
                        let removed = ring.remove(&key(n)).is_ok();
                        prop_assert_eq!(removed, primary != key(n));
                        prop_assert_eq!(ring.contains(&key(n)), !removed);
                        prop_assert_eq!(ring.primary(), &primary);
                    }
                }
                let mut distinct = ring.keys().to_vec();
                distinct.sort();
                distinct.dedup();
                prop_assert!(!distinct.is_empty());
                prop_assert_eq!(distinct.len(), ring.keys().len());
            }
        }
    }
}
