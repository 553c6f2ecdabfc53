//! Finds a token by its digest.

use super::accessor::Accessor;
use super::secret::SecretDigest;
use super::set::{Allowed, NEVER};

/// A token for a table.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) digest: SecretDigest,
    pub(super) allowed: Allowed,
    pub(super) detail: Detail,
}

/// What only some decisions need.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Detail {
    pub(super) accessor: Accessor,
    /// Seconds since 1970.
    pub(super) expires: u64,
}

/// A token that was found.
pub(super) struct Found<'a> {
    pub(super) allowed: Allowed,
    /// Whether it ever expires.
    pub(super) expires: bool,
    pub(super) detail: &'a Detail,
}

/// A hash table that never changes.
///
/// The tokens lie in the order of their digests, each as near behind its home
/// as the ones before allow; a gap ends the search. With a third of the slots
/// empty that takes two slots on the average.
pub(super) struct TokenTable {
    slots: Vec<Slot>,
    /// Beside each slot. To find a token among many is to wait for memory, so
    /// the slots hold what every decision needs and nothing else: the fewer
    /// cache lines they fill, the more of them are at hand.
    details: Vec<Detail>,
    homes: u64,
    len: usize,
}

/// A digest, with flags in the byte that it leaves free. A gap has none.
#[derive(Clone, Copy)]
struct Slot([u64; 2]);

impl Slot {
    const GAP: Slot = Slot([0; 2]);
    const TAKEN: u64 = 0b1_0000;
    const EXPIRES: u64 = 0b10_0000;

    fn new(entry: &Entry) -> Self {
        let [high, low] = entry.digest.words();
        let expires = if entry.detail.expires == NEVER {
            0
        } else {
            Slot::EXPIRES
        };
        Slot([
            high,
            low | u64::from(entry.allowed.bits()) | Slot::TAKEN | expires,
        ])
    }

    fn is_gap(self) -> bool {
        self.0[1] & Slot::TAKEN == 0
    }

    fn digest(self) -> SecretDigest {
        SecretDigest::from_words(self.0)
    }
}

impl TokenTable {
    /// The tokens have to be in the order of their digests, which differ.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let len = entries.len();
        let homes = len + len / 2 + 1;
        let mut table = TokenTable {
            slots: Vec::with_capacity(homes + 64),
            details: Vec::with_capacity(homes + 64),
            homes: homes as u64,
            len,
        };
        for entry in entries {
            let home = table.home(entry.digest);
            if table.slots.len() < home {
                table.leave_gaps_up_to(home);
            }
            table.slots.push(Slot::new(&entry));
            table.details.push(entry.detail);
        }
        // At least one gap at the end, so that every search ends.
        table.leave_gaps_up_to(homes.max(table.slots.len() + 1));
        table
    }

    fn leave_gaps_up_to(&mut self, end: usize) {
        self.slots.resize(end, Slot::GAP);
        let nobody = Detail {
            accessor: Accessor::Uuid([0; 16]),
            expires: 0,
        };
        self.details.resize(end, nobody);
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn home(&self, digest: SecretDigest) -> usize {
        // Digests are spread evenly, so the first word is a fraction of the table.
        let [high, _] = digest.words();
        ((u128::from(high) * u128::from(self.homes)) >> 64) as usize
    }

    /// How many slots it looks at depends on the keyed hash, which says nothing
    /// about the secret.
    pub(super) fn find(&self, digest: SecretDigest) -> Option<Found<'_>> {
        let home = self.home(digest);
        let (at, slot) = self.slots[home..]
            .iter()
            .enumerate()
            .take_while(|(_, slot)| !slot.is_gap())
            .find(|(_, slot)| slot.digest().matches(&digest))?;
        Some(Found {
            allowed: Allowed::from_bits(slot.0[1]),
            expires: slot.0[1] & Slot::EXPIRES != 0,
            detail: &self.details[home + at],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::secret::SecretHasher;
    use super::*;

    fn entries(hasher: &SecretHasher, numbers: std::ops::Range<u32>) -> Vec<Entry> {
        let mut entries: Vec<_> = numbers
            .map(|n| Entry {
                digest: hasher.digest(&n.to_string()),
                allowed: Allowed::from_bits(n.into()),
                detail: Detail {
                    accessor: Accessor::new(&n.to_string()),
                    expires: if n % 3 == 0 { NEVER } else { n.into() },
                },
            })
            .collect();
        entries.sort_unstable_by_key(|entry| entry.digest);
        entries
    }

    fn finds(table: &TokenTable, entry: &Entry) -> bool {
        table.find(entry.digest).is_some_and(|found| {
            found.allowed == entry.allowed
                && found.expires == (entry.detail.expires != NEVER)
                && *found.detail == entry.detail
        })
    }

    #[test]
    fn every_token_is_found_and_no_other() {
        let hasher = SecretHasher::new();
        for tokens in [0, 1, 2, 3, 10, 1000] {
            let entries = entries(&hasher, 0..tokens);
            let table = TokenTable::new(entries.clone());
            assert_eq!(table.len(), entries.len());
            assert!(entries.iter().all(|entry| finds(&table, entry)));
            for n in tokens..tokens + 1000 {
                assert!(table.find(hasher.digest(&n.to_string())).is_none());
            }
        }
    }

    #[test]
    fn tokens_that_crowd_at_the_end_are_found() {
        let hasher = SecretHasher::new();
        // The highest of many digests all have their home in the last slots.
        let entries = entries(&hasher, 0..10_000);
        let (others, crowd) = entries.split_at(9_900);
        let table = TokenTable::new(crowd.to_vec());
        assert!(crowd.iter().all(|entry| finds(&table, entry)));
        assert!(others.iter().all(|entry| !finds(&table, entry)));
    }

    #[test]
    fn a_token_lies_near_its_home_and_a_gap_ends_the_search() {
        let entries = entries(&SecretHasher::new(), 0..1000);
        let table = TokenTable::new(entries.clone());
        let way = |entry: &Entry| {
            let home = &table.slots[table.home(entry.digest)..];
            home.iter()
                .position(|slot| slot.digest().matches(&entry.digest))
                .unwrap()
        };
        let ways: usize = entries.iter().map(way).sum();
        assert!(ways < 3 * entries.len(), "{ways} slots for 1000 tokens");
        let gaps = table.slots.iter().filter(|slot| slot.is_gap()).count();
        assert_eq!(gaps, table.slots.len() - 1000);
    }

    #[test]
    fn four_slots_fill_a_cache_line() {
        assert_eq!(size_of::<Slot>(), 16);
    }
}
