//! The federation's servers, and what goes between them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;

use super::{MockKeyring, MockRaft, unreachable};
use crate::error::{ErrorKind, OperatorError};
use crate::keyring::{KeyringBackend, Pool};
use crate::name::{DatacenterName, NodeName};
use crate::peers::{Peers, Target};
use crate::reply::OperatorReply;
use crate::request::OperatorRequest;
use crate::service::OperatorService;

/// All servers, in the order in which the test has named them.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) servers: Vec<Server>,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: NodeName,
    pub(super) datacenter: DatacenterName,
    pub(super) raft: MockRaft,
    /// One for each pool that it is a node of.
    pub(super) rings: Vec<MockKeyring>,
    pub(super) service: OperatorService,
    /// How many requests other servers have handed to it.
    pub(super) handed_on: AtomicUsize,
}

impl Server {
    pub(super) fn is_up(&self) -> bool {
        self.raft.is_up(self.raft.id().clone())
    }

    pub(super) fn ring(&self, pool: &Pool) -> Option<&MockKeyring> {
        self.rings.iter().find(|ring| ring.pool() == *pool)
    }

    /// Whether they are in the same WAN pool. A server knows of no other
    /// datacenter than through this.
    fn is_joined_with(&self, other: &Server) -> bool {
        match (self.ring(&Pool::Wan), other.ring(&Pool::Wan)) {
            (Some(mine), Some(theirs)) => mine.is_joined_with(theirs),
            _ => false,
        }
    }
}

impl Network {
    /// # Panics
    /// If there is no such server: the test has mistyped it.
    pub(super) fn server(&self, name: &NodeName) -> &Server {
        match self.servers.iter().find(|server| server.name == *name) {
            Some(server) => server,
            None => panic!("the federation has no server {name:?}"),
        }
    }

    /// The servers of a datacenter.
    ///
    /// # Panics
    /// If there are none: the test has mistyped it.
    pub(super) fn datacenter(&self, datacenter: &DatacenterName) -> Vec<&Server> {
        let servers = self.servers.iter();
        let servers: Vec<_> = servers
            .filter(|server| server.datacenter == *datacenter)
            .collect();
        assert!(
            !servers.is_empty(),
            "the federation has no datacenter {datacenter:?}"
        );
        servers
    }

    /// The datacenters that a server knows, its own first.
    fn datacenters(&self, from: &Server) -> Vec<DatacenterName> {
        let mut datacenters = vec![from.datacenter.clone()];
        for server in self.servers.iter().filter(|to| from.is_joined_with(to)) {
            if !datacenters.contains(&server.datacenter) {
                datacenters.push(server.datacenter.clone());
            }
        }
        datacenters
    }

    /// The server that a request goes to.
    fn resolve(&self, from: &Server, target: &Target) -> Result<&Server, OperatorError> {
        if !from.is_up() {
            return Err(unreachable(
                format!("server {}", from.name),
                "it is stopped",
            ));
        }
        match target {
            Target::Server(leader) => self
                .servers
                .iter()
                .filter(|server| server.datacenter == from.datacenter)
                .find(|server| *server.raft.id() == leader.id && server.is_up())
                .ok_or_else(|| {
                    unreachable(format!("server {}", leader.address), "connection refused")
                }),
            Target::Datacenter(datacenter) => {
                if !self.datacenters(from).contains(datacenter) {
                    return Err(ErrorKind::NoPathToDatacenter {
                        datacenter: datacenter.clone(),
                    }
                    .into());
                }
                let local = from.datacenter == *datacenter;
                self.servers
                    .iter()
                    .filter(|to| to.datacenter == *datacenter && (local || from.is_joined_with(to)))
                    .find(|to| to.is_up())
                    .ok_or_else(|| {
                        unreachable(format!("datacenter {datacenter}"), "no server is up")
                    })
            }
        }
    }
}

/// One server's way to the others. It does not keep them: they are the
/// federation's.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) network: Weak<Network>,
    pub(super) from: NodeName,
}

impl Link {
    fn network(&self) -> Result<Arc<Network>, OperatorError> {
        self.network.upgrade().ok_or_else(|| {
            unreachable(
                "the mock federation",
                "it was dropped: keep it as long as its services",
            )
        })
    }
}

#[async_trait]
impl Peers for Link {
    fn datacenters(&self) -> Vec<DatacenterName> {
        self.network().map_or_else(
            |_| Vec::new(),
            |network| network.datacenters(network.server(&self.from)),
        )
    }

    async fn send(
        &self,
        target: &Target,
        request: OperatorRequest,
        _: Duration,
    ) -> Result<OperatorReply, OperatorError> {
        let network = self.network()?;
        let to = network.resolve(network.server(&self.from), target)?;
        to.handed_on.fetch_add(1, Ordering::Relaxed);
        to.service.call(request).await
    }
}
