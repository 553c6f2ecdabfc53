//! The service: routes an operation to the server that has to serve it,
//! authorizes it there, and does it.

mod builder;
mod keyring;
mod raft;
mod route;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::acl::{Access, AclAuthorizer, DefaultPolicy, Identity, Resource, Token};
use crate::autopilot::{AutopilotBackend, AutopilotConfiguration, AutopilotState};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::{GossipKey, KeyringBackend, RelayFactor};
use crate::operation::{
    KeyringAction, KeyringReply, KeyringScope, Operation, OperatorReply, OperatorRequest,
};
use crate::peers::{Envelope, EnvelopeReply, Peers};
use crate::raft::{Consistency, PeerSelector, QuorumGuard, RaftBackend, RaftConfiguration};
use crate::timer::{Budget, Timer};
use crate::types::{DatacenterName, ServerId};

pub use builder::{BuildError, OperatorServiceBuilder};

/// Consul's operator operations for one server.
///
/// Cheap to clone; clones share everything. It holds no task and no connection
/// of its own: nothing happens between two calls.
///
/// # Where an operation is served
/// - In another datacenter, if the request names one: any server there gets it.
/// - A stale read by the server that is asked.
/// - Everything else of Raft and autopilot by the leader, to which the request
///   is handed on. Without one it fails at once, or after
///   [`leader_wait`](OperatorServiceBuilder::leader_wait).
/// - A keyring operation by the server that is asked, which asks its own rings
///   and every other datacenter's at once. A leader is not needed.
///
/// The serving server authorizes, before it looks anything up. A request that is
/// handed on too often ends in
/// [`TooManyHops`](crate::ErrorKind::TooManyHops), so that two servers cannot
/// forward it back and forth forever.
///
/// # Deadlines and cancelling
/// Every call ends within the deadlines that the builder sets. A future can be
/// dropped at any time; a write that was on its way may then happen or not.
#[derive(Clone)]
pub struct OperatorService {
    inner: Arc<Inner>,
}

struct Inner {
    datacenter: DatacenterName,
    raft: Option<Arc<dyn RaftBackend>>,
    /// In the order of a listing.
    rings: Vec<Arc<dyn KeyringBackend>>,
    autopilot: Option<Arc<dyn AutopilotBackend>>,
    authorizer: Arc<dyn AclAuthorizer>,
    peers: Arc<dyn Peers>,
    timer: Arc<dyn Timer>,
    quorum_guard: QuorumGuard,
    deadline: Duration,
    keyring_deadline: Duration,
    leader_wait: Duration,
    hop_limit: u8,
}

/// Takes the value out of a reply of this kind.
macro_rules! value_of {
    ($reply:expr, $kind:ident) => {
        match $reply {
            OperatorReply::$kind(value) => Ok(value),
            _ => Err(mismatched()),
        }
    };
}

impl OperatorService {
    /// Starts to build the service of a server of this datacenter.
    pub fn builder(datacenter: impl Into<DatacenterName>) -> OperatorServiceBuilder {
        OperatorServiceBuilder::new(datacenter.into())
    }

    /// The datacenter that the server belongs to.
    pub fn datacenter(&self) -> &DatacenterName {
        &self.inner.datacenter
    }

    /// What the authorizer does where no rule says anything.
    pub fn default_policy(&self) -> DefaultPolicy {
        self.inner.authorizer.default_policy()
    }

    #[cfg(feature = "http")]
    pub(crate) fn timer(&self) -> &dyn Timer {
        &*self.inner.timer
    }

    /// Executes a request, forwarding it if another server is responsible.
    ///
    /// # Errors
    /// [`OperatorError`]; its outcome says whether something has changed. A change
    /// that some ring did not confirm is
    /// [`RingsFailed`](ErrorKind::RingsFailed), and so is a listing of which no ring
    /// has anything to show; the error holds the full
    /// [reply](OperatorError::reply). A listing that only some rings answered is
    /// `Ok`: look at each ring's error and report.
    ///
    /// # Cancel safety
    /// The future can be dropped; whether a write happens is then unknown.
    pub async fn call(&self, request: OperatorRequest) -> Result<OperatorReply, OperatorError> {
        self.inner.route(request.into()).await
    }

    /// Answers an envelope that another server's
    /// [`Peers::send`](crate::Peers::send) has brought.
    ///
    /// The reply holds an error too. An envelope that cannot be read, because it
    /// comes from another version of this library, is answered as not applied, with
    /// the words which of the two servers is too old.
    ///
    /// # Cancel safety
    /// As [`call`](OperatorService::call).
    pub async fn answer(&self, envelope: &Envelope) -> EnvelopeReply {
        let result = match envelope.open() {
            Ok(call) => self.inner.route(call).await,
            Err(error) => Err(error),
        };
        EnvelopeReply::new(&result)
    }

    /// Decides whether the caller may do this, without doing it, and says who it is.
    ///
    /// The service authorizes by itself. This is for a front end that does not
    /// want to tell a caller who is denied anyway what is wrong with a request.
    ///
    /// # Errors
    /// As the authorizer decides.
    pub async fn authorize(
        &self,
        caller: &Caller,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, OperatorError> {
        let budget = Budget::new(&*self.inner.timer, self.inner.deadline);
        let token = caller.token.as_ref();
        self.inner
            .authorize_within(budget, &mut budget.deadline(), token, (resource, access))
            .await
    }

    /// The Raft configuration.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn raft_configuration(
        &self,
        caller: &Caller,
        consistency: Consistency,
    ) -> Result<RaftConfiguration, OperatorError> {
        let operation = Operation::RaftConfiguration(consistency);
        value_of!(self.ask(caller, operation).await?, RaftConfiguration)
    }

    /// Removes a server from the Raft configuration.
    ///
    /// With `expected_index`, only if that is the configuration's index.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn remove_peer(
        &self,
        caller: &Caller,
        server: PeerSelector,
        expected_index: Option<u64>,
    ) -> Result<(), OperatorError> {
        let operation = Operation::RemovePeer {
            server,
            expected_index,
        };
        self.ask(caller, operation).await.map(drop)
    }

    /// Hands the lead to this voter, or to the best suited.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn transfer_leadership(
        &self,
        caller: &Caller,
        to: Option<ServerId>,
    ) -> Result<(), OperatorError> {
        let operation = Operation::TransferLeadership { to };
        self.ask(caller, operation).await.map(drop)
    }

    /// The gossip keys of all rings, or of the local datacenter's.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn list_keys(
        &self,
        caller: &Caller,
        scope: KeyringScope,
    ) -> Result<KeyringReply, OperatorError> {
        self.keyring(caller, KeyringAction::List, scope).await
    }

    /// Adds a key to every ring.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call): unless every node of every ring confirms
    /// it, it is an error.
    pub async fn install_key(
        &self,
        caller: &Caller,
        key: GossipKey,
    ) -> Result<KeyringReply, OperatorError> {
        self.keyring(
            caller,
            KeyringAction::Install(key),
            KeyringScope::Federation,
        )
        .await
    }

    /// Makes a key the primary of every ring.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call): unless every node of every ring confirms
    /// it, it is an error.
    pub async fn use_key(
        &self,
        caller: &Caller,
        key: GossipKey,
    ) -> Result<KeyringReply, OperatorError> {
        self.keyring(caller, KeyringAction::Use(key), KeyringScope::Federation)
            .await
    }

    /// Removes a key from every ring.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call): unless every node of every ring confirms
    /// it, it is an error.
    pub async fn remove_key(
        &self,
        caller: &Caller,
        key: GossipKey,
    ) -> Result<KeyringReply, OperatorError> {
        self.keyring(caller, KeyringAction::Remove(key), KeyringScope::Federation)
            .await
    }

    /// Autopilot's rules.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn autopilot_configuration(
        &self,
        caller: &Caller,
    ) -> Result<AutopilotConfiguration, OperatorError> {
        let operation = Operation::AutopilotConfiguration(Consistency::Default);
        value_of!(self.ask(caller, operation).await?, AutopilotConfiguration)
    }

    /// Replaces autopilot's rules; with `expected_index`, only if they were last
    /// changed at that index. Says whether they were replaced.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn set_autopilot_configuration(
        &self,
        caller: &Caller,
        configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError> {
        let operation = Operation::SetAutopilotConfiguration {
            configuration,
            expected_index,
        };
        value_of!(
            self.ask(caller, operation).await?,
            AutopilotConfigurationSet
        )
    }

    /// Autopilot's view of the servers.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn autopilot_state(&self, caller: &Caller) -> Result<AutopilotState, OperatorError> {
        let operation = Operation::AutopilotState(Consistency::Default);
        value_of!(self.ask(caller, operation).await?, AutopilotState)
    }

    async fn keyring(
        &self,
        caller: &Caller,
        action: KeyringAction,
        scope: KeyringScope,
    ) -> Result<KeyringReply, OperatorError> {
        let operation = Operation::Keyring {
            action,
            scope,
            relay_factor: RelayFactor::default(),
        };
        value_of!(self.ask(caller, operation).await?, Keyring)
    }

    /// Calls the service. The reply always answers the operation: that of another
    /// server was checked when it arrived.
    async fn ask(
        &self,
        caller: &Caller,
        operation: Operation,
    ) -> Result<OperatorReply, OperatorError> {
        let mut request = OperatorRequest::new(operation);
        request.token = caller.token.clone();
        request.datacenter = caller.datacenter.clone();
        self.call(request).await
    }
}

/// Who asks for an operation, and of which datacenter.
///
/// ```
/// use cluster_operator::{Caller, Token};
///
/// let caller = Caller::with_token(Token::new("b852fbe7")).in_datacenter("dc2");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    pub(crate) token: Option<Token>,
    pub(crate) datacenter: Option<DatacenterName>,
}

impl Caller {
    /// Someone without a token, who asks of the local datacenter.
    pub fn anonymous() -> Self {
        Caller::default()
    }

    /// The owner of a token, who asks of the local datacenter.
    pub fn with_token(token: Token) -> Self {
        Caller {
            token: Some(token),
            datacenter: None,
        }
    }

    /// The same caller, who asks of this datacenter.
    #[must_use]
    pub fn in_datacenter(mut self, datacenter: impl Into<DatacenterName>) -> Self {
        self.datacenter = Some(datacenter.into());
        self
    }
}

impl fmt::Debug for OperatorService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorService")
            .field("datacenter", &self.inner.datacenter)
            .finish_non_exhaustive()
    }
}

/// Another server's reply does not answer what it was asked.
fn mismatched() -> OperatorError {
    OperatorError::invalid_reply(
        "it does not belong to the request: check that all servers run the same version",
    )
}

fn too_late(target: impl Into<String>, after: Duration, outcome: Outcome) -> OperatorError {
    let target = target.into();
    OperatorError::new(ErrorKind::DeadlineExceeded { target, after }).with_outcome(outcome)
}
