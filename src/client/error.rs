//! Errors of the client.

use std::error::Error;
use std::fmt;

use http::StatusCode;

use super::keyring::RingListing;
use super::texts;
use crate::error::{ErrorKind, Outcome};
use crate::operation::Operation;
use crate::raft::RemovalPlan;

/// Why an operation failed, and whether it was applied all the same.
///
/// Neither its texts nor its `Debug` contain the token or the key of the request.
///
/// ```no_run
/// # use cluster_operator::client::OperatorClient;
/// # use cluster_operator::raft::PeerSelector;
/// use cluster_operator::ErrorKind;
///
/// # async fn run(client: OperatorClient, carol: PeerSelector) {
/// if let Err(error) = client.remove_peer(&carol, None).await {
///     match error.kind() {
///         ErrorKind::UnknownServer(_) => println!("{carol} is gone already"),
///         ErrorKind::QuorumLoss { alive, needed, .. } => {
///             println!("{alive} voters would be left, and {needed} are needed");
///         }
///         _ => println!("{error}"),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct ClientError {
    kind: Box<ErrorKind>,
    status: Option<u16>,
    message: String,
    advice: Option<String>,
    /// The message says by itself what to do and what has changed.
    complete: bool,
    outcome: Outcome,
    rings: Vec<RingListing>,
    plan: Option<Box<RemovalPlan>>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ClientError {
    /// Creates an error of this operation in the kind's own words, not applied.
    pub(super) fn new(kind: ErrorKind, operation: &Operation) -> Self {
        ClientError {
            status: None,
            message: kind.to_string(),
            advice: texts::advice(&kind, operation),
            complete: false,
            outcome: Outcome::NotApplied,
            rings: Vec::new(),
            plan: None,
            source: None,
            kind: Box::new(kind),
        }
    }

    pub(super) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status.as_u16());
        self
    }

    pub(super) fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Replaces the kind's advice by a more specific one, if there is one.
    pub(super) fn with_advice(mut self, advice: Option<&str>) -> Self {
        if let Some(advice) = advice {
            self.advice = Some(advice.to_owned());
        }
        self
    }

    /// Sets a message that says by itself what to do and what has changed.
    pub(super) fn complete(mut self, message: String) -> Self {
        self.message = message;
        self.advice = None;
        self.complete = true;
        self
    }

    pub(super) fn with_rings(mut self, rings: Vec<RingListing>) -> Self {
        self.rings = rings;
        self
    }

    pub(super) fn with_plan(mut self, plan: Option<RemovalPlan>) -> Self {
        self.plan = plan.map(Box::new);
        self
    }

    pub(super) fn with_source(mut self, source: Option<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = source;
        self
    }

    /// Returns the kind of the error.
    ///
    /// A server that answers in [`Precise`](crate::consul::Dialect::Precise) sends it
    /// with all its data. For other servers, Consul among them, it is concluded from
    /// the text and the status; data that neither they nor the request hold is empty
    /// or zero.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns the status of the answer; `None` if there was none.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Returns the server's words; without an answer, the client's.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Tells whether the operation was applied all the same. Consul does not say it;
    /// then it is concluded from the error, and unknown where that is not possible.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns what each ring did, if the server answers in
    /// [`Precise`](crate::consul::Dialect::Precise); otherwise empty.
    pub fn rings(&self) -> &[RingListing] {
        &self.rings
    }

    /// Returns the plan of a removal that was rejected by it, if the server answers in
    /// [`Precise`](crate::consul::Dialect::Precise).
    pub fn plan(&self) -> Option<&RemovalPlan> {
        self.plan.as_deref()
    }

    /// Returns what to do about it, if the [message](ClientError::message) does not
    /// say it.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

/// The message, the status, and what neither of them says: what to do, and whether
/// something may have changed.
impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(status) = self.status {
            write!(f, " (HTTP {status})")?;
        }
        if let Some(advice) = &self.advice {
            write!(f, "; {advice}")?;
        }
        f.write_str(match self.outcome {
            _ if self.complete => "",
            Outcome::NotApplied => "",
            Outcome::Applied => " (the change has been made)",
            Outcome::Unknown => " (the change may have been made: look before you repeat it)",
        })
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn Error + 'static))
    }
}
