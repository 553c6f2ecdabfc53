//! A change of the Raft configuration, and the proof that comes before it.

use std::time::Duration;

use super::RaftView;
use crate::error::OperatorError;
use crate::types::{ConfigVersion, ServerId, majority, margin};

/// The proof that a backend has to make before it appends a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Proof {
    /// A majority of the voters that stay holds an entry that was written after
    /// the request arrived.
    #[default]
    Majority,
    /// One voter more than a majority of those that stay holds such an entry, so that
    /// the cluster survives the failure of one more voter at any moment of the change.
    Margin,
}

impl Proof {
    /// Returns how many of the voters that stay have to hold the entry.
    ///
    /// ```
    /// use cluster_operator::raft::Proof;
    ///
    /// assert_eq!(Proof::Majority.needed(4), 3);
    /// assert_eq!(Proof::Margin.needed(4), 4);
    /// // Two voters cannot have the margin.
    /// assert_eq!(Proof::Margin.needed(2), 3);
    /// ```
    pub fn needed(self, stayers: usize) -> usize {
        match self {
            Proof::Majority => majority(stayers),
            Proof::Margin => margin(stayers),
        }
    }
}

/// A change of the Raft configuration, valid only for the view that it is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// What is changed.
    pub kind: ChangeKind,
    /// The leader's term in that view.
    pub term: u64,
    /// The configuration's version in that view.
    pub version: ConfigVersion,
    /// The proof to make, on the voters after the change, before it is appended.
    pub proof: Proof,
    /// The timeout of the whole call.
    pub timeout: Duration,
}

/// What a [`Change`] changes.
///
/// More kinds may be added: a backend answers those that it does not know, or cannot make,
/// with [`Change::unsupported`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// Removes a server, voter or not, from the configuration.
    Remove {
        /// The server.
        id: ServerId,
    },
    /// Removes a voter, and makes a server without a vote a voter in its place.
    Replace {
        /// The voter that is removed.
        id: ServerId,
        /// The server that becomes a voter.
        with: ServerId,
    },
    /// Makes a server without a vote a voter.
    Promote {
        /// The server.
        id: ServerId,
    },
}

impl Change {
    /// Creates a change of the cluster in this view, with the proof of a majority.
    pub fn new(kind: ChangeKind, view: &RaftView, timeout: Duration) -> Self {
        Change {
            kind,
            term: view.term,
            version: view.version,
            proof: Proof::default(),
            timeout,
        }
    }

    /// Creates the removal of a server from the cluster in this view.
    pub fn remove(id: impl Into<ServerId>, view: &RaftView, timeout: Duration) -> Self {
        Change::new(ChangeKind::Remove { id: id.into() }, view, timeout)
    }

    /// Creates the replacement of a voter of the cluster in this view.
    pub fn replace(
        id: impl Into<ServerId>,
        with: impl Into<ServerId>,
        view: &RaftView,
        timeout: Duration,
    ) -> Self {
        let (id, with) = (id.into(), with.into());
        Change::new(ChangeKind::Replace { id, with }, view, timeout)
    }

    /// Creates the promotion of a server of the cluster in this view.
    pub fn promote(id: impl Into<ServerId>, view: &RaftView, timeout: Duration) -> Self {
        Change::new(ChangeKind::Promote { id: id.into() }, view, timeout)
    }

    /// Sets the proof.
    #[must_use]
    pub fn with_proof(mut self, proof: Proof) -> Self {
        self.proof = proof;
        self
    }

    /// Creates the error of a backend that does not make changes of this kind.
    pub fn unsupported(&self) -> OperatorError {
        OperatorError::unsupported(match self.kind {
            ChangeKind::Remove { .. } => "removing a server",
            ChangeKind::Replace { .. } => "replacing a voter in one change",
            ChangeKind::Promote { .. } => "promoting a server to a voter",
        })
    }
}
