//! The federation's servers, and what goes between them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::gate::Gate;
use super::inject::Injected;
use super::transcript::Recorder;
use super::{MockClock, MockKeyring, MockRaft};
use crate::keyring::{KeyringBackend, Pool};
use crate::peers::{SendError, Target};
use crate::service::OperatorService;
use crate::types::{DatacenterName, NodeName};

/// All servers, in the order in which the test has named them.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) servers: Vec<Server>,
    /// What goes wrong.
    pub(super) injected: Mutex<Injected>,
    pub(super) recorder: Recorder,
    pub(super) clock: MockClock,
    /// Whether the servers go by the clock too.
    pub(super) simulates_time: bool,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: NodeName,
    pub(super) datacenter: DatacenterName,
    /// The datacenters that it knows, its own first.
    pub(super) datacenters: Vec<DatacenterName>,
    pub(super) raft: MockRaft,
    /// One for each pool that it is a node of.
    pub(super) rings: Vec<MockKeyring>,
    pub(super) service: OperatorService,
    /// How many requests other servers have handed to it.
    pub(super) handed_on: AtomicUsize,
    /// What it waits at while it is paused.
    pub(super) gate: Gate,
    /// Whether the test has stopped it.
    pub(super) stopped: AtomicBool,
}

impl Server {
    /// Whether it takes calls. One that is paused does.
    pub(super) fn is_up(&self) -> bool {
        let stopped = self.stopped.load(Ordering::Relaxed);
        self.raft.is_up(self.raft.id().clone()) || (self.gate.is_closed() && !stopped)
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.leave();
    }

    /// Starts it, unless it is paused: then it goes on when it is resumed.
    pub(super) fn restart(&self) {
        self.stopped.store(false, Ordering::Relaxed);
        if !self.gate.is_closed() {
            self.join();
        }
    }

    pub(super) fn pause(&self) {
        self.gate.close();
        self.leave();
    }

    pub(super) fn resume(&self) {
        if !self.stopped.load(Ordering::Relaxed) {
            self.join();
        }
        self.gate.open();
    }

    /// It neither votes nor gossips.
    fn leave(&self) {
        self.raft.stop(self.raft.id().clone());
        for ring in &self.rings {
            ring.stop(ring.node().clone());
        }
    }

    fn join(&self) {
        self.raft.restart(self.raft.id().clone());
        for ring in &self.rings {
            ring.restart(ring.node().clone());
        }
    }

    pub(super) fn ring(&self, pool: &Pool) -> Option<&MockKeyring> {
        self.rings.iter().find(|ring| *ring.pool() == *pool)
    }

    /// What gossip over the WAN says of a server of another datacenter.
    fn takes_for_alive(&self, other: &Server) -> bool {
        match (self.ring(&Pool::Wan), other.ring(&Pool::Wan)) {
            (Some(mine), Some(theirs)) => mine.members().contains(theirs.node()),
            _ => true,
        }
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

/// Why a call has no reply.
#[derive(Debug, Clone)]
pub(super) enum Undelivered {
    NotSent(String),
    Lost(String),
    NoPath,
}

impl Undelivered {
    /// What a stopped server can do.
    pub(super) fn stopped(server: &Server) -> Self {
        Undelivered::NotSent(format!("server {} is stopped", server.name))
    }
}

impl From<Undelivered> for SendError {
    fn from(undelivered: Undelivered) -> Self {
        match undelivered {
            Undelivered::NotSent(why) => SendError::not_sent(why),
            Undelivered::Lost(why) => SendError::lost(why),
            Undelivered::NoPath => SendError::NoPath,
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

    /// The server that a request goes to. Of a datacenter it is the first that
    /// the sender reaches and takes for alive, else the first that is up.
    pub(super) fn resolve(&self, from: &Server, target: &Target) -> Result<usize, Undelivered> {
        if !from.is_up() {
            return Err(Undelivered::stopped(from));
        }
        let mut servers = self.servers.iter();
        match target {
            Target::Server(leader) => servers
                .position(|to| {
                    let meant = to.datacenter == from.datacenter && *to.raft.id() == leader.id;
                    meant && to.is_up()
                })
                .ok_or_else(|| Undelivered::NotSent("connection refused".into())),
            Target::Datacenter(datacenter) => {
                if !from.datacenters.contains(datacenter) {
                    return Err(Undelivered::NoPath);
                }
                let local = from.datacenter == *datacenter;
                let up = |to: &Server| {
                    let joined = local || from.is_joined_with(to);
                    to.datacenter == *datacenter && joined && to.is_up()
                };
                servers
                    .position(|to| up(to) && !self.is_cut(from, to) && from.takes_for_alive(to))
                    .or_else(|| self.servers.iter().position(up))
                    .ok_or_else(|| Undelivered::NotSent("no server is up".into()))
            }
        }
    }
}
