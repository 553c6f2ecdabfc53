//! The client's operations on the gossip keyring, and a ring as servers list it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::ClientError;
use super::operator::{Call, OperatorClient};
use crate::consul::body::Ring;
use crate::error::Outcome;
use crate::keyring::{GossipKey, KeyCounts, Pool, RelayFactor};
use crate::operation::{KeyringAction, KeyringScope, Operation};
use crate::types::{DatacenterName, NodeName};

impl OperatorClient {
    /// Lists the gossip keys of all rings, in the order of the server's answer.
    ///
    /// If some rings fail, a [`Precise`](crate::consul::Dialect::Precise) server
    /// answers with what it has: check their [`error`](RingListing::error). Consul
    /// fails then.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_keys(&self) -> Result<Vec<RingListing>, ClientError> {
        self.listing(KeyringScope::Federation).await
    }

    /// Lists the gossip keys of the rings of the server's own datacenter, without
    /// the WAN's. Consul 0.7 lists all rings.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_local_keys(&self) -> Result<Vec<RingListing>, ClientError> {
        self.listing(KeyringScope::LocalOnly).await
    }

    /// Adds a key to every ring of every datacenter. `Ok` means that every node that
    /// [counts](OperatorClient#gossip-keys) has it.
    ///
    /// # Errors
    /// [`ClientError`], unless every ring confirmed it.
    pub async fn install_key(&self, key: &GossipKey) -> Result<(), ClientError> {
        let action = KeyringAction::Install(key.clone());
        self.change_key(Method::POST, key, action).await
    }

    /// Makes a key the primary of every ring of every datacenter. A node that does not
    /// [count](OperatorClient#gossip-keys) and does not have the key cannot rejoin.
    ///
    /// # Errors
    /// [`ClientError`], unless every ring confirmed it.
    pub async fn use_key(&self, key: &GossipKey) -> Result<(), ClientError> {
        let action = KeyringAction::Use(key.clone());
        self.change_key(Method::PUT, key, action).await
    }

    /// Removes a key from every ring of every datacenter. A node that does not
    /// [count](OperatorClient#gossip-keys) keeps it, and cannot rejoin if it still
    /// uses it.
    ///
    /// # Errors
    /// [`ClientError`], unless every ring confirmed it.
    pub async fn remove_key(&self, key: &GossipKey) -> Result<(), ClientError> {
        let action = KeyringAction::Remove(key.clone());
        self.change_key(Method::DELETE, key, action).await
    }

    async fn listing(&self, scope: KeyringScope) -> Result<Vec<RingListing>, ClientError> {
        let mut call = self.keyring(Method::GET, KeyringAction::List, scope);
        if scope == KeyringScope::LocalOnly {
            call = call.with("local-only", "true");
        }
        let rings: Option<Vec<RingListing>> = self.read(&call, Instant::now()).await?;
        Ok(rings.unwrap_or_default())
    }

    async fn change_key(
        &self,
        method: Method,
        key: &GossipKey,
        action: KeyringAction,
    ) -> Result<(), ClientError> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Change<'a> {
            #[serde(with = "crate::keyring::exposed")]
            key: &'a GossipKey,
        }

        let call = self.keyring(method, action, KeyringScope::Federation);
        self.execute(&call.with_body(&Change { key })?, Instant::now())
            .await
    }

    pub(super) fn keyring(
        &self,
        method: Method,
        action: KeyringAction,
        scope: KeyringScope,
    ) -> Call {
        let relay_factor = self.relay_factor;
        let operation = Operation::Keyring {
            action,
            scope,
            relay_factor,
        };
        let call = Call::new(method, "keyring", operation);
        if relay_factor == RelayFactor::default() {
            return call;
        }
        call.with("relay-factor", &relay_factor.get().to_string())
    }
}

/// One ring as a server lists it over HTTP.
///
/// It has less than a [`RingReport`](crate::keyring::RingReport): how many nodes failed is
/// there only as text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Ring<'_>")]
#[non_exhaustive]
pub struct RingListing {
    /// The datacenter; for the WAN ring that of the server that asked it.
    pub datacenter: DatacenterName,
    /// The pool.
    pub pool: Pool,
    /// The number of nodes in the pool.
    pub nodes: usize,
    /// On how many nodes each key is.
    pub keys: KeyCounts,
    /// On how many nodes each key is the primary; empty from a server that does
    /// not tell, as Consul 0.7 does not.
    pub primary_keys: KeyCounts,
    /// What single nodes had to say, such as that their listing is cut off.
    pub messages: BTreeMap<NodeName, String>,
    /// The nodes that have not answered, the first 100 of them by name. Only
    /// [`Precise`](crate::consul::Dialect::Precise) servers name them.
    pub silent: Vec<NodeName>,
    /// The members that gossip has declared failed, the first 100 of them by name. Only
    /// [`Precise`](crate::consul::Dialect::Precise) servers name them.
    pub absent: Vec<NodeName>,
    /// What went wrong in this ring. Only [`Precise`](crate::consul::Dialect::Precise)
    /// servers say it for each ring.
    pub error: Option<String>,
    /// The outcome of a change that failed in this ring.
    pub outcome: Option<Outcome>,
}

impl From<Ring<'_>> for RingListing {
    fn from(ring: Ring<'_>) -> Self {
        let text = |text: Cow<'_, str>| text.into_owned();
        RingListing {
            datacenter: text(ring.datacenter).into(),
            pool: match (ring.wan, ring.segment.map(text)) {
                (true, _) => Pool::Wan,
                (false, Some(segment)) if !segment.is_empty() => Pool::Segment(segment.into()),
                (false, _) => Pool::Lan,
            },
            nodes: ring.num_nodes,
            keys: ring.keys.into_owned(),
            primary_keys: ring.primary_keys.unwrap_or_default().into_owned(),
            messages: ring
                .messages
                .into_iter()
                .flatten()
                .map(|(node, message)| (text(node).into(), text(message)))
                .collect(),
            silent: ring.silent.unwrap_or_default().into_owned(),
            absent: ring.absent.unwrap_or_default().into_owned(),
            error: ring.error.map(text).filter(|error| !error.is_empty()),
            outcome: ring.outcome.as_deref().map(outcome),
        }
    }
}

/// The outcome with this name; unknown if a newer server has made up another one.
pub(super) fn outcome(name: &str) -> Outcome {
    Outcome::from_name(name).unwrap_or(Outcome::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(json: &str) -> RingListing {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn two_fields_name_the_pool() {
        let pool = |wan, segment| {
            let json = format!(
                r#"{{"WAN":{wan},"Datacenter":"dc1","Segment":"{segment}","Keys":null,"NumNodes":2}}"#
            );
            ring(&json).pool
        };
        assert_eq!(pool(true, ""), Pool::Wan);
        assert_eq!(pool(false, ""), Pool::Lan);
        assert_eq!(pool(false, "alpha"), Pool::Segment("alpha".into()));
    }

    #[test]
    fn ring_of_any_version_is_read() {
        let old = ring(r#"{"WAN":true,"Datacenter":"dc1","Keys":{},"NumNodes":1}"#);
        assert_eq!((old.nodes, old.error, old.outcome), (1, None, None));
        let new = ring(
            r#"{"WAN":false,"Datacenter":"dc1","Partition":"x","Messages":{"a":"m"},
                "Keys":{"0eK8RjnsGC/+I1fJErQsBA==":2},
                "PrimaryKeys":{"0eK8RjnsGC/+I1fJErQsBA==":1},
                "NumNodes":2,"Silent":["b"],"Error":"e","Outcome":"applied"}"#,
        );
        assert_eq!(new.messages["a"], "m");
        assert_eq!(new.silent, ["b"]);
        assert_eq!((new.keys.len(), new.primary_keys.len()), (1, 1));
        assert_eq!(new.error.as_deref(), Some("e"));
        assert_eq!(new.outcome, Some(Outcome::Applied));
    }
}
