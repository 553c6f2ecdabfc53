//! Raft servers, their configuration's version, and how requests name them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ServerAddress, ServerId};

/// Identifies one Raft configuration: the log position of the entry that holds it.
///
/// The index alone does not identify it, because an index repeats across terms.
///
/// ```
/// use cluster_operator::ConfigVersion;
///
/// let version = ConfigVersion { term: 3, index: 17 };
/// assert_eq!(version.to_string(), "3-17");
/// ```
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ConfigVersion {
    /// The term in which the entry was written.
    pub term: u64,
    /// The entry's index.
    pub index: u64,
}

impl fmt::Display for ConfigVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}

/// A position in the Raft log.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogPosition {
    /// The term in which the entry was written.
    pub term: u64,
    /// The entry's index.
    pub index: u64,
}

/// Where a server believes the leader to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaderHint {
    /// The leader's id.
    pub id: ServerId,
    /// The leader's Raft address.
    pub address: ServerAddress,
}

/// A server's right to vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Suffrage {
    /// It votes and counts for the quorum.
    Voter,
    /// It gets the log and does not vote.
    Nonvoter,
    /// It is to become a voter once it has caught up.
    Staging,
}

/// How an operator names a server of the Raft configuration. Matched byte for
/// byte, without normalising.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerSelector {
    /// By its id.
    Id(ServerId),
    /// By its address.
    Address(ServerAddress),
}

impl fmt::Display for PeerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerSelector::Id(id) => write!(f, "id {id:?}"),
            PeerSelector::Address(address) => write!(f, "address {address:?}"),
        }
    }
}

/// How fresh a read has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Consistency {
    /// From whoever leads, or has just stopped leading without knowing it.
    #[default]
    Default,
    /// From the leader, after it has made sure that it still leads.
    Consistent,
    /// From the server that is asked, however old its view.
    Stale,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_displays_as_consul_names_it() {
        let id = PeerSelector::Id("a\"b".into());
        assert_eq!(id.to_string(), r#"id "a\"b""#);
        let address = PeerSelector::Address("127.0.0.1:8300".into());
        assert_eq!(address.to_string(), r#"address "127.0.0.1:8300""#);
    }
}
