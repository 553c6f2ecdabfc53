//! The rings that a rotation changes: those of a service or of a client.

use async_trait::async_trait;

use crate::error::OperatorError;
use crate::keyring::{KeyChange, Pool};
use crate::operation::{KeyringReply, KeyringScope};
use crate::service::{Caller, OperatorService};
use crate::timer::Timer;
use crate::types::{DatacenterName, NodeName};

/// All gossip rings of a federation, for [`rotate_with`](super::rotate_with) and
/// [`repair`](super::repair()).
///
/// [`ServiceRings`] implements it over a service. With the feature `client`,
/// `OperatorClient` and `client::Servers` implement it over HTTP, also for Consul.
///
/// # Contract
/// - `list` and `change` concern every ring of every datacenter.
/// - If rings were asked, a call returns the outcome of each one, also of those that
///   failed. It returns an error only if that is not known.
/// - A call that was dropped can be repeated.
#[async_trait]
pub trait Rings: Send + Sync {
    /// Lists the keys of all rings, the rings of the asked server's datacenter first.
    ///
    /// # Errors
    /// The rings could not be asked.
    async fn list(&self) -> Result<KeyringReply, OperatorError>;

    /// Makes a change in all rings. The reply has no rings if every node confirmed the
    /// change and the server does not name them, as over HTTP.
    ///
    /// # Errors
    /// The change failed, and what each ring did is not known.
    async fn change(&self, change: &KeyChange) -> Result<KeyringReply, OperatorError>;

    /// Returns the failed members of each ring that the gossip knows: `None` if the
    /// listing names them itself. A ring that is left out is one whose members are not
    /// known.
    ///
    /// # Errors
    /// The members could not be asked for.
    async fn members(&self) -> Result<Option<Vec<RingMembers>>, OperatorError> {
        Ok(None)
    }

    /// Returns the timer with which a rotation waits.
    fn timer(&self) -> &dyn Timer;
}

/// The members of a ring, as the gossip knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingMembers {
    /// The ring's datacenter; for the WAN, that of the server that knows the members.
    pub datacenter: DatacenterName,
    /// The ring's pool.
    pub pool: Pool,
    /// The members that are up.
    pub alive: Vec<NodeName>,
    /// The members that gossip has declared failed. Those that left are not members.
    pub failed: Vec<NodeName>,
}

/// The rings that a caller reaches through a service.
#[derive(Debug, Clone)]
pub struct ServiceRings {
    service: OperatorService,
    caller: Caller,
}

impl ServiceRings {
    /// Creates the rings of this service, changed with the caller's token.
    pub fn new(service: &OperatorService, caller: &Caller) -> Self {
        ServiceRings {
            service: service.clone(),
            caller: caller.clone(),
        }
    }
}

#[async_trait]
impl Rings for ServiceRings {
    async fn list(&self) -> Result<KeyringReply, OperatorError> {
        let scope = KeyringScope::Federation;
        let reply = self.service.list_keys(&self.caller, scope).await;
        reply.or_else(OperatorError::into_reply)
    }

    async fn change(&self, change: &KeyChange) -> Result<KeyringReply, OperatorError> {
        let (service, caller) = (&self.service, &self.caller);
        let reply = match change.clone() {
            KeyChange::Install(key) => service.install_key(caller, key).await,
            KeyChange::Use(key) => service.use_key(caller, key).await,
            KeyChange::Remove(key) => service.remove_key(caller, key).await,
        };
        reply.or_else(OperatorError::into_reply)
    }

    fn timer(&self) -> &dyn Timer {
        self.service.timer()
    }
}
