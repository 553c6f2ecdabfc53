//! Gossip pools.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SegmentName;

/// A gossip pool. Each has a ring of its own on every member.
///
/// The order is the order of a listing: WAN, LAN, then segments by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pool {
    /// The pool of all servers of all datacenters.
    Wan,
    /// The pool of all nodes of one datacenter.
    Lan,
    /// A part of a datacenter that gossips by itself.
    Segment(SegmentName),
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pool::Wan => f.write_str("WAN"),
            Pool::Lan => f.write_str("LAN"),
            Pool::Segment(name) => write!(f, "segment {name}"),
        }
    }
}

/// Through how many other nodes each answer is sent a second time, as in Serf:
/// 0 to 5.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct RelayFactor(u8);

impl RelayFactor {
    /// The largest factor.
    pub const MAX: RelayFactor = RelayFactor(5);

    /// The factor as a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// A relay factor above 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("relay factor must be in range: [0, 5]")]
pub struct InvalidRelayFactor;

impl TryFrom<u8> for RelayFactor {
    type Error = InvalidRelayFactor;

    fn try_from(factor: u8) -> Result<Self, InvalidRelayFactor> {
        if factor <= RelayFactor::MAX.0 {
            Ok(RelayFactor(factor))
        } else {
            Err(InvalidRelayFactor)
        }
    }
}

impl From<RelayFactor> for u8 {
    fn from(factor: RelayFactor) -> u8 {
        factor.0
    }
}
