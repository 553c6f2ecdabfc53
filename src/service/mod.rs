//! The service: routes an operation to the responsible server, authorizes it there and
//! executes it.

mod autopilot;
mod builder;
mod diagnosis;
mod driver;
mod keyring;
mod raft;
mod report;
mod route;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::acl::{Access, AclAuthorizer, DefaultPolicy, Identity, Resource, Token};
use crate::autopilot::{AutopilotBackend, AutopilotConfiguration, AutopilotState, DriverChange};
use crate::diagnosis::Diagnosis;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::{GossipKey, KeyringBackend, Pool, RelayFactor};
use crate::observer::{Observer, Source};
use crate::operation::{
    KeyringAction, KeyringReply, KeyringScope, Operation, OperatorReply, OperatorRequest,
};
use crate::peers::{Envelope, EnvelopeReply, Peers};
use crate::raft::{
    Consistency, PeerSelector, QuorumGuard, RaftBackend, RaftConfiguration, RemovalPlan,
};
use crate::timer::{Budget, Timer};
use crate::types::{DatacenterName, ServerId};

pub use builder::{BuildError, OperatorServiceBuilder};
pub use driver::{Autopilot, Tick};

use report::DriverSlot;

/// Consul's operator operations for one server.
///
/// Cheap to clone; clones share all state. The service has no tasks and no connections
/// of its own, so it does nothing between calls.
///
/// # Routing
/// - A request for another datacenter is forwarded to any server there.
/// - A stale read is served by the server that receives it, and so is a diagnosis, which
///   asks all other servers.
/// - All other Raft and autopilot operations are forwarded to the leader. If there is
///   none, the request fails at once, or after
///   [`leader_wait`](OperatorServiceBuilder::leader_wait).
/// - A keyring operation is served by the server that receives it, which asks its own
///   rings and all other datacenters at once. It needs no leader.
///
/// The server that serves a request authorizes it before any lookup. A request that is
/// forwarded too often fails with [`TooManyHops`](crate::ErrorKind::TooManyHops), so
/// that two servers cannot forward it back and forth forever.
///
/// # Deadlines and cancellation
/// Every call ends within the deadlines that the builder sets. A future can be dropped
/// at any time; the outcome of a write is then unknown.
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
    autopilot_defaults: AutopilotConfiguration,
    driver: DriverSlot,
    authorizer: Arc<dyn AclAuthorizer>,
    peers: Arc<dyn Peers>,
    timer: Arc<dyn Timer>,
    observers: Vec<Arc<dyn Observer>>,
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
    /// Returns a builder for the service of a server in this datacenter.
    pub fn builder(datacenter: impl Into<DatacenterName>) -> OperatorServiceBuilder {
        OperatorServiceBuilder::new(datacenter.into())
    }

    /// Returns the server's datacenter.
    pub fn datacenter(&self) -> &DatacenterName {
        &self.inner.datacenter
    }

    /// Returns the authorizer's decision where no rule applies.
    pub fn default_policy(&self) -> DefaultPolicy {
        self.inner.authorizer.default_policy()
    }

    pub(crate) fn timer(&self) -> &dyn Timer {
        &*self.inner.timer
    }

    /// Tells whether operations are observed, so that requests should have an id.
    pub(crate) fn is_observed(&self) -> bool {
        !self.inner.observers.is_empty()
    }

    /// Tells whether the server has a Raft.
    pub fn has_raft(&self) -> bool {
        self.inner.raft.is_some()
    }

    /// Returns the rule by which removals of voters are rejected while this server leads.
    pub fn quorum_guard(&self) -> QuorumGuard {
        self.inner.quorum_guard
    }

    /// Tells whether the server has an autopilot.
    pub fn has_autopilot(&self) -> bool {
        self.inner.autopilot.is_some()
    }

    /// Returns the defaults of the server's autopilot, for
    /// [`Wire::decode`](crate::consul::Wire::decode); Consul's if it has none.
    pub fn autopilot_defaults(&self) -> &AutopilotConfiguration {
        &self.inner.autopilot_defaults
    }

    /// Returns the pools whose gossip keys the server can change, the WAN first.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.inner.rings.iter().map(|ring| ring.pool())
    }

    /// Executes a request, forwarding it if another server is responsible.
    ///
    /// # Errors
    /// [`OperatorError`], whose outcome says whether the operation took effect. A change
    /// that some ring did not confirm is [`RingsFailed`](ErrorKind::RingsFailed), and so
    /// is a listing in which rings failed and no ring has keys; the error holds the full
    /// [reply](OperatorError::reply). A listing that only some rings answered is `Ok`:
    /// check each ring's error and report.
    ///
    /// # Cancel safety
    /// The future can be dropped; the outcome of a write is then unknown.
    pub async fn call(&self, request: OperatorRequest) -> Result<OperatorReply, OperatorError> {
        self.inner.route(request.into(), Source::FrontEnd).await
    }

    /// Answers an envelope that another server sent with
    /// [`Peers::send`].
    ///
    /// An error is part of the reply. An envelope of another version of this library is
    /// answered as not applied, and the error says which of the two servers is too old.
    ///
    /// # Cancel safety
    /// As [`call`](OperatorService::call).
    pub async fn answer(&self, envelope: &Envelope) -> EnvelopeReply {
        let result = match envelope.open() {
            Ok(call) => self.inner.route(call, Source::Peer).await,
            Err(error) => Err(error),
        };
        EnvelopeReply::new(&result)
    }

    /// Authorizes a caller without an operation, and returns its identity.
    ///
    /// Every operation is authorized in any case. Use this in a front end that checks
    /// a request only for callers that are allowed to make it.
    ///
    /// # Errors
    /// The authorizer's denial or failure.
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

    /// Returns the Raft configuration.
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
    /// If `expected_index` is given, the configuration must have that index.
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

    /// Plans the removal of a server: returns what it would do, and changes nothing.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn plan_removal(
        &self,
        caller: &Caller,
        server: PeerSelector,
    ) -> Result<RemovalPlan, OperatorError> {
        let operation = Operation::PlanRemoval { server };
        value_of!(self.ask(caller, operation).await?, RemovalPlan)
    }

    /// Removes a server as planned. If the configuration has changed since, the error is
    /// a [`Conflict`](ErrorKind::Conflict), and nothing changes. The quorum guard decides
    /// again, because the health of the voters may have changed.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn remove_planned(
        &self,
        caller: &Caller,
        plan: &RemovalPlan,
    ) -> Result<(), OperatorError> {
        let operation = Operation::RemovePlanned {
            id: plan.id().clone(),
            version: plan.version(),
        };
        self.ask(caller, operation).await.map(drop)
    }

    /// Removes a server whatever the quorum guard says. The leader still proves that a
    /// majority of the voters that stay is alive, and the last voter stays.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn force_removal(&self, caller: &Caller, id: ServerId) -> Result<(), OperatorError> {
        let operation = Operation::ForceRemoval { id };
        self.ask(caller, operation).await.map(drop)
    }

    /// Replaces a voter with a server that has no vote and the whole log, in one change.
    /// The cluster tolerates as many failures as before at every moment.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call). [`Unsupported`](ErrorKind::Unsupported) if the
    /// Raft cannot do it.
    pub async fn replace_peer(
        &self,
        caller: &Caller,
        id: ServerId,
        with: ServerId,
    ) -> Result<(), OperatorError> {
        let operation = Operation::ReplacePeer { id, with };
        self.ask(caller, operation).await.map(drop)
    }

    /// Transfers leadership to this voter, or to the most suitable one.
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

    /// Lists the gossip keys of all rings, or of the rings of the local datacenter.
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
    /// As [`call`](OperatorService::call). It is an error unless every node of every
    /// ring confirms it.
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
    /// As [`call`](OperatorService::call). It is an error unless every node of every
    /// ring confirms it.
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
    /// As [`call`](OperatorService::call). It is an error unless every node of every
    /// ring confirms it.
    pub async fn remove_key(
        &self,
        caller: &Caller,
        key: GossipKey,
    ) -> Result<KeyringReply, OperatorError> {
        self.keyring(caller, KeyringAction::Remove(key), KeyringScope::Federation)
            .await
    }

    /// Returns autopilot's configuration, as it is in force on the leader. The settings that
    /// Consul lacks are `None` if no [`Autopilot`] runs there.
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

    /// Replaces autopilot's configuration and returns true. Of the settings that Consul
    /// lacks, those that are `None` stay as they are. If `expected_index` is given and the
    /// configuration was last changed at another index, changes nothing and returns false.
    ///
    /// To change some settings of what
    /// [was read](OperatorService::autopilot_configuration), set those that Consul lacks to
    /// `None` first: a server shows all that are in force, and would store them.
    ///
    /// # Errors
    /// As [`change_autopilot`](OperatorService::change_autopilot).
    pub async fn set_autopilot_configuration(
        &self,
        caller: &Caller,
        configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError> {
        let change = DriverChange::from(&configuration);
        self.change_autopilot(caller, configuration, change, expected_index)
            .await
    }

    /// Replaces Consul's settings of autopilot's configuration, changes the others, and
    /// returns true. If `expected_index` is given and the configuration was last changed at
    /// another index, changes nothing and returns false.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call). Without an index, it is
    /// [`Unavailable`](ErrorKind::Unavailable) if others changed the configuration at the same
    /// time again and again; nothing was changed then. If an [`Autopilot`] runs on the leader,
    /// settings that contradict each other or the embedder's are an
    /// [`InvalidRequest`](ErrorKind::InvalidRequest), and so are settings that Consul lacks
    /// if none runs there.
    pub async fn change_autopilot(
        &self,
        caller: &Caller,
        configuration: AutopilotConfiguration,
        change: DriverChange,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError> {
        let operation = Operation::set_autopilot(configuration, change, expected_index);
        value_of!(
            self.ask(caller, operation).await?,
            AutopilotConfigurationSet
        )
    }

    /// Returns autopilot's state of the servers.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    pub async fn autopilot_state(&self, caller: &Caller) -> Result<AutopilotState, OperatorError> {
        let operation = Operation::AutopilotState(Consistency::Default);
        value_of!(self.ask(caller, operation).await?, AutopilotState)
    }

    /// Asks every known server for its own view of Raft and every ring for its keys, and
    /// returns the state of the federation with what is wrong with it.
    ///
    /// A server, a ring or a datacenter that cannot be asked is a
    /// [finding](crate::diagnosis::Finding), and the rest stays. It needs no leader. The
    /// caller has to be allowed to read the operator and the keyring.
    ///
    /// # Errors
    /// As [`call`](OperatorService::call).
    ///
    /// # Cancel safety
    /// The call only reads; the future can be dropped.
    pub async fn diagnose(&self, caller: &Caller) -> Result<Diagnosis, OperatorError> {
        value_of!(self.ask(caller, Operation::Diagnose).await?, Diagnosis)
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

    /// Calls the service. The reply always answers the operation: the reply of another
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

/// The caller of an operation, and the datacenter that the operation is for.
///
/// ```
/// use cluster_operator::service::Caller;
/// use cluster_operator::Token;
///
/// let caller = Caller::with_token(Token::new("b852fbe7")).in_datacenter("dc2");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    pub(crate) token: Option<Token>,
    pub(crate) datacenter: Option<DatacenterName>,
}

impl Caller {
    /// Creates a caller without a token, for the local datacenter.
    pub fn anonymous() -> Self {
        Caller::default()
    }

    /// Creates a caller with a token, for the local datacenter.
    pub fn with_token(token: Token) -> Self {
        Caller::of(Some(token))
    }

    /// Returns the caller of a request, who may have no token.
    pub(crate) fn of(token: Option<Token>) -> Self {
        Caller {
            token,
            datacenter: None,
        }
    }

    /// Sets the datacenter.
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

/// The error for a reply that does not answer the request.
fn mismatched() -> OperatorError {
    OperatorError::invalid_reply(
        "it does not belong to the request: check that all servers run the same version",
    )
}

fn deadline_exceeded(
    target: impl Into<String>,
    after: Duration,
    outcome: Outcome,
) -> OperatorError {
    let target = target.into();
    OperatorError::new(ErrorKind::DeadlineExceeded { target, after }).with_outcome(outcome)
}
