//! Positions in the Raft log, and how requests name servers and choose consistency.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ServerAddress, ServerId};

/// Identifies one Raft configuration: the log position of the entry that holds it.
///
/// The index alone does not identify it, because an index repeats across terms.
///
/// ```
/// use cluster_operator::raft::ConfigVersion;
///
/// let version = ConfigVersion { term: 3, index: 17 };
/// assert_eq!(version.to_string(), "3-17");
/// assert_eq!("3-17".parse(), Ok(version));
/// assert!("17".parse::<ConfigVersion>().is_err());
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

/// The error for a text that is not a [`ConfigVersion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version of the Raft configuration is a term and an index, such as 3-17")]
pub struct InvalidConfigVersion;

impl FromStr for ConfigVersion {
    type Err = InvalidConfigVersion;

    fn from_str(text: &str) -> Result<Self, InvalidConfigVersion> {
        let (term, index) = term_and_index(text).ok_or(InvalidConfigVersion)?;
        Ok(ConfigVersion { term, index })
    }
}

/// Reads a term and an index, such as `3-17`.
fn term_and_index(text: &str) -> Option<(u64, u64)> {
    // `u64::from_str` accepts a plus sign.
    let number = |digits: &str| digits.parse().ok().filter(|_| !digits.starts_with('+'));
    let (term, index) = text.split_once('-')?;
    Some((number(term)?, number(index)?))
}

/// A position in the Raft log, written as term and index: `3-17`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogPosition {
    /// The term in which the entry was written.
    pub term: u64,
    /// The entry's index.
    pub index: u64,
}

#[cfg(feature = "client")]
impl LogPosition {
    /// Reads the text of a position.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (term, index) = term_and_index(text)?;
        Some(LogPosition { term, index })
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}

/// The leader that a server knows of.
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
    /// Votes and counts for the quorum.
    Voter,
    /// Receives the log and does not vote.
    Nonvoter,
    /// Becomes a voter once it has caught up.
    Staging,
}

/// Selects a server of the Raft configuration. Matched byte for byte, without
/// normalization.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerSelector {
    /// Selects the server with this id.
    Id(ServerId),
    /// Selects the server with this address.
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

/// The consistency of a read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Consistency {
    /// Read from the server that believes that it leads. It may have lost leadership a
    /// moment ago.
    #[default]
    Default,
    /// Read from the leader, after a majority confirmed that it still leads.
    Consistent,
    /// Read from the server that receives the request, however old its view is.
    Stale,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_log_position_are_two_numbers() {
        let largest = ConfigVersion {
            term: u64::MAX,
            index: 0,
        };
        assert_eq!(largest.to_string().parse(), Ok(largest));
        for text in [
            "",
            "3",
            "3-",
            "-3",
            "3-+4",
            "3-4-5",
            "3 - 4",
            "99999999999999999999-1",
        ] {
            assert_eq!(
                text.parse::<ConfigVersion>(),
                Err(InvalidConfigVersion),
                "{text}"
            );
            #[cfg(feature = "client")]
            assert_eq!(LogPosition::parse(text), None, "{text}");
        }
    }

    #[test]
    fn selector_displays_as_in_consul() {
        let id = PeerSelector::Id("a\"b".into());
        assert_eq!(id.to_string(), r#"id "a\"b""#);
        let address = PeerSelector::Address("127.0.0.1:8300".into());
        assert_eq!(address.to_string(), r#"address "127.0.0.1:8300""#);
    }
}
