//! The builder of the service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::report::DriverSlot;
use super::{Inner, OperatorService};
use crate::acl::AclAuthorizer;
use crate::autopilot::AutopilotBackend;
use crate::keyring::{KeyringBackend, Pool};
use crate::observer::Observer;
use crate::peers::{Envelope, EnvelopeReply, Peers, SendError, Target};
use crate::raft::{QuorumGuard, RaftBackend};
use crate::timer::Timer;
use crate::types::DatacenterName;

/// Builds an [`OperatorService`].
///
/// An authorizer and at least one backend are required. Operations without a backend
/// return [`Unsupported`](crate::ErrorKind::Unsupported). Without
/// [`peers`](OperatorServiceBuilder::peers), the service reaches no other server.
///
/// ```
/// use cluster_operator::service::BuildError;
/// use cluster_operator::OperatorService;
///
/// let error = OperatorService::builder("dc1").build().unwrap_err();
/// assert_eq!(error, BuildError::NoAuthorizer);
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct OperatorServiceBuilder {
    datacenter: DatacenterName,
    raft: Option<Arc<dyn RaftBackend>>,
    rings: Vec<Arc<dyn KeyringBackend>>,
    autopilot: Option<Arc<dyn AutopilotBackend>>,
    pub(crate) authorizer: Option<Arc<dyn AclAuthorizer>>,
    peers: Option<Arc<dyn Peers>>,
    timer: Option<Arc<dyn Timer>>,
    observers: Vec<Arc<dyn Observer>>,
    quorum_guard: QuorumGuard,
    deadline: Duration,
    keyring_deadline: Duration,
    leader_wait: Duration,
    hop_limit: u8,
}

/// The reason why a service cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The authorizer is missing.
    #[error(
        "no authorizer: give one to `OperatorServiceBuilder::authorizer`, or name `AllowAll` there \
         to let everyone read the gossip keys and remove servers"
    )]
    NoAuthorizer,
    /// Both the Raft backend and a keyring backend are missing.
    #[error("no backend: give one to `raft` or `keyring`")]
    NoBackend,
    /// Two keyring backends have the same pool.
    #[error("two keyring backends for the pool {0}: give each pool one")]
    DuplicatePool(Pool),
    /// The timer is missing.
    #[error("no timer: give one to `timer`, or turn on the feature `tokio`")]
    NoTimer,
}

impl OperatorServiceBuilder {
    pub(super) fn new(datacenter: DatacenterName) -> Self {
        OperatorServiceBuilder {
            datacenter,
            raft: None,
            rings: Vec::new(),
            autopilot: None,
            authorizer: None,
            peers: None,
            timer: default_timer(),
            observers: Vec::new(),
            quorum_guard: QuorumGuard::default(),
            deadline: Duration::from_secs(10),
            keyring_deadline: Duration::from_secs(5),
            leader_wait: Duration::ZERO,
            hop_limit: 4,
        }
    }

    /// Sets the backend of the server's Raft.
    pub fn raft(mut self, raft: impl RaftBackend + 'static) -> Self {
        self.raft = Some(Arc::new(raft));
        self
    }

    /// Adds the backend of a gossip pool that the server is a member of.
    pub fn keyring(mut self, keyring: impl KeyringBackend + 'static) -> Self {
        self.rings.push(Arc::new(keyring));
        self
    }

    /// Sets the backend of the server's autopilot.
    pub fn autopilot(mut self, autopilot: impl AutopilotBackend + 'static) -> Self {
        self.autopilot = Some(Arc::new(autopilot));
        self
    }

    /// Sets the authorizer.
    pub fn authorizer(mut self, authorizer: impl AclAuthorizer + 'static) -> Self {
        self.authorizer = Some(Arc::new(authorizer));
        self
    }

    /// Sets the transport to the other servers. Default: none.
    pub fn peers(mut self, peers: impl Peers + 'static) -> Self {
        self.peers = Some(Arc::new(peers));
        self
    }

    /// Sets the timer. Default: `TokioTimer`, with the feature `tokio`.
    pub fn timer(mut self, timer: impl Timer + 'static) -> Self {
        self.timer = Some(Arc::new(timer));
        self
    }

    /// Adds an observer of the operations, for an audit, traces or metrics. There can be
    /// several. Default: none, which costs nothing.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Sets the rule by which removals of voters are rejected. Default:
    /// [`QuorumGuard::Quorum`].
    pub fn quorum_guard(mut self, guard: QuorumGuard) -> Self {
        self.quorum_guard = guard;
        self
    }

    /// Sets the timeout of a call, including the time to wait for a leader and for other
    /// servers. Keyring operations have
    /// [their own](OperatorServiceBuilder::keyring_deadline). Default: 10 s.
    ///
    /// Set it to at least eight election timeouts of your Raft: a removal is proven
    /// within a quarter of it, and a shorter proof rejects removals whenever the leader
    /// changes.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the timeout of a keyring operation. All rings and datacenters are asked at
    /// once. Default: 5 s.
    pub fn keyring_deadline(mut self, deadline: Duration) -> Self {
        self.keyring_deadline = deadline;
        self
    }

    /// Sets how long a call waits for a leader if there is none. Default: zero. Consul
    /// waits 7 s.
    pub fn leader_wait(mut self, wait: Duration) -> Self {
        self.leader_wait = wait;
        self
    }

    /// Sets how often a request can be forwarded. Default: 4, which is enough for a
    /// follower in another datacenter and one outdated leader hint.
    pub fn hop_limit(mut self, hops: u8) -> Self {
        self.hop_limit = hops;
        self
    }

    /// Builds the service.
    ///
    /// # Errors
    /// [`BuildError`] says what is missing.
    pub fn build(self) -> Result<OperatorService, BuildError> {
        let authorizer = self.authorizer.ok_or(BuildError::NoAuthorizer)?;
        if self.raft.is_none() && self.rings.is_empty() {
            return Err(BuildError::NoBackend);
        }
        let mut rings = self.rings;
        rings.sort_by(|a, b| a.pool().cmp(b.pool()));
        for pair in rings.windows(2) {
            if pair[0].pool() == pair[1].pool() {
                return Err(BuildError::DuplicatePool(pair[0].pool().clone()));
            }
        }
        Ok(OperatorService {
            inner: Arc::new(Inner {
                datacenter: self.datacenter,
                raft: self.raft,
                rings,
                autopilot_defaults: self
                    .autopilot
                    .as_ref()
                    .map_or_else(Default::default, |autopilot| autopilot.defaults()),
                autopilot: self.autopilot,
                driver: DriverSlot::default(),
                authorizer,
                peers: self.peers.unwrap_or_else(|| Arc::new(NoPeers)),
                timer: self.timer.ok_or(BuildError::NoTimer)?,
                observers: self.observers,
                quorum_guard: self.quorum_guard,
                deadline: self.deadline,
                keyring_deadline: self.keyring_deadline,
                leader_wait: self.leader_wait,
                hop_limit: self.hop_limit,
            }),
        })
    }
}

impl fmt::Debug for OperatorServiceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorServiceBuilder")
            .field("datacenter", &self.datacenter)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "tokio")]
fn default_timer() -> Option<Arc<dyn Timer>> {
    Some(Arc::new(crate::timer::TokioTimer))
}

#[cfg(not(feature = "tokio"))]
fn default_timer() -> Option<Arc<dyn Timer>> {
    None
}

/// The default transport, which reaches no server.
struct NoPeers;

#[async_trait]
impl Peers for NoPeers {
    fn datacenters(&self) -> Vec<DatacenterName> {
        Vec::new()
    }

    async fn send(
        &self,
        target: &Target,
        _: Envelope,
        _: Duration,
    ) -> Result<EnvelopeReply, SendError> {
        Err(match target {
            Target::Server(_) => SendError::not_sent("this server was built without peers"),
            Target::Datacenter(_) => SendError::NoPath,
        })
    }
}
