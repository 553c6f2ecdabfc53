//! The failure detector of a gossip pool.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ::serf::delegate::Delegate;
use ::serf::transport::Transport;
use ::serf::types::MemberStatus;
use ::serf::{DefaultDelegate, Serf};
use async_trait::async_trait;

use crate::lock;
use cluster_operator::NodeName;
use cluster_operator::autopilot::{Detected, Detection, FailureDetector};
use cluster_operator::error::OperatorError;

/// The failure detector of the members of a gossip pool, for an
/// [`Autopilot`](cluster_operator::service::Autopilot).
///
/// A member is failed or has left if both serf and memberlist say so. One on which they
/// differ, or that is about to leave, is not known.
///
/// serf does not show since when a member has its status, so a time begins when a call
/// notices the change, and a recovery between two calls goes unnoticed. The autopilot also
/// compares with the server's last answer to the leader. Clones share the times.
pub struct SerfDetector<T, D = DefaultDelegate<T>>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    serf: Serf<T, D>,
    seen: Arc<Mutex<BTreeMap<NodeName, (Detected, Instant)>>>,
}

impl<T, D> SerfDetector<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    /// Creates the detector of the pool of which `serf` is this server's member. A node's
    /// name is its id as `Display` writes it.
    pub fn new(serf: Serf<T, D>) -> Self {
        SerfDetector {
            serf,
            seen: Arc::default(),
        }
    }
}

#[async_trait]
impl<T, D> FailureDetector for SerfDetector<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
        let online = self.serf.memberlist().online_members().await;
        let members = self.serf.members().await;
        let now = Instant::now();
        let mut seen = lock(&self.seen);
        // What is not known any more begins anew.
        let before = std::mem::take(&mut *seen);
        let mut detected = BTreeMap::new();
        for member in members.iter() {
            let id = member.node().id();
            let is_online = online.iter().any(|node| node.id() == id);
            let status = match (*member.status(), is_online) {
                (MemberStatus::Alive, true) => Detected::Alive,
                (MemberStatus::Failed, false) => Detected::Failed,
                (MemberStatus::Left, false) => Detected::Left,
                _ => continue,
            };
            let name = NodeName::from(id.to_string());
            let known = before.get(&name).filter(|(known, _)| *known == status);
            let since = known.map_or(now, |(_, since)| *since);
            seen.insert(name.clone(), (status, since));
            let lasted = now.saturating_duration_since(since);
            detected.insert(name, Detection { status, lasted });
        }
        Ok(detected)
    }
}

impl<T, D> Clone for SerfDetector<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    fn clone(&self) -> Self {
        SerfDetector {
            serf: self.serf.clone(),
            seen: Arc::clone(&self.seen),
        }
    }
}

impl<T, D> fmt::Debug for SerfDetector<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerfDetector")
            .field("node", self.serf.local_id())
            .finish_non_exhaustive()
    }
}
