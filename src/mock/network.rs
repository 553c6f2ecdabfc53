//! The servers of a simulated federation, and the calls between them.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;

use super::clock::{Gate, lock};
use super::fault::{ActiveFaults, CallFault, FaultKind};
use super::keyring::MockKeyring;
use super::raft::MockRaft;
use super::transcript::{Call, CallEnd, Recorder, describe};
use crate::error::Outcome;
use crate::keyring::{KeyringBackend, Pool};
use crate::operation::{KeyringReply, OperatorReply};
use crate::peers::{Envelope, EnvelopeReply, Forwarded, Peers, SendError, Target};
use crate::service::OperatorService;
use crate::timer::Timer;
use crate::types::{DatacenterName, NodeName};

/// All servers, in the order in which the test named them.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) servers: Vec<Arc<Server>>,
    pub(super) faults: Mutex<ActiveFaults>,
    pub(super) recorder: Recorder,
    /// True if the services use the clock of the recorder too.
    pub(super) simulates_time: bool,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: NodeName,
    pub(super) datacenter: DatacenterName,
    pub(super) raft: MockRaft,
    /// One for each pool that the server is in.
    pub(super) rings: Vec<MockKeyring>,
    pub(super) service: OperatorService,
    /// How many requests other servers have forwarded to it.
    pub(super) received: AtomicUsize,
    /// Closed while the server is paused.
    pub(super) gate: Gate,
    pub(super) stopped: AtomicBool,
}

impl Server {
    /// Returns whether the server accepts calls. A paused one does.
    pub(super) fn is_up(&self) -> bool {
        let stopped = self.stopped.load(Ordering::Relaxed);
        self.raft.is_up(self.raft.id().clone()) || (self.gate.is_closed() && !stopped)
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.take_part(false);
    }

    /// Starts the server, unless it is paused: then it continues once it is resumed.
    pub(super) fn restart(&self) {
        self.stopped.store(false, Ordering::Relaxed);
        self.take_part(!self.gate.is_closed());
    }

    pub(super) fn pause(&self) {
        self.gate.close();
        self.take_part(false);
    }

    pub(super) fn resume(&self) {
        self.take_part(!self.stopped.load(Ordering::Relaxed));
        self.gate.open();
    }

    /// Starts or stops its votes and its gossip.
    fn take_part(&self, up: bool) {
        self.raft.set_up(self.raft.id(), up);
        for ring in &self.rings {
            ring.set_up(ring.node(), up);
        }
    }

    pub(super) fn ring(&self, pool: &Pool) -> Option<&MockKeyring> {
        self.rings.iter().find(|ring| ring.pool() == pool)
    }

    /// Returns whether another server is in the same WAN pool. A server knows other
    /// datacenters only through its pool.
    fn is_joined_with(&self, other: &Server) -> bool {
        match (self.ring(&Pool::Wan), other.ring(&Pool::Wan)) {
            (Some(own), Some(others)) => own.is_joined_with(others),
            _ => false,
        }
    }

    /// Returns whether gossip over the WAN counts another server as a member.
    fn sees(&self, other: &Server) -> bool {
        match (self.ring(&Pool::Wan), other.ring(&Pool::Wan)) {
            (Some(own), Some(others)) => own.members().contains(others.node()),
            _ => true,
        }
    }
}

impl Network {
    /// # Panics
    /// If there is no such server.
    pub(super) fn server(&self, name: &NodeName) -> &Arc<Server> {
        match self.servers.iter().find(|server| server.name == *name) {
            Some(server) => server,
            None => panic!("the federation has no server {name:?}"),
        }
    }

    /// Returns the servers of a datacenter.
    ///
    /// # Panics
    /// If there are none.
    pub(super) fn datacenter(&self, datacenter: &DatacenterName) -> Vec<&Arc<Server>> {
        let mut servers: Vec<_> = self.servers.iter().collect();
        servers.retain(|server| server.datacenter == *datacenter);
        assert!(
            !servers.is_empty(),
            "the federation has no datacenter {datacenter:?}"
        );
        servers
    }

    /// Returns whether a partition separates two servers.
    pub(super) fn is_cut(&self, one: &Server, other: &Server) -> bool {
        lock(&self.faults).separate(&one.name, &other.name)
    }

    /// Passes the partitions in effect to the Rafts and the gossip pools.
    pub(super) fn cut(&self) {
        let pairs = self.servers.iter().flat_map(|from| {
            let cut = self.servers.iter().filter(|to| self.is_cut(from, to));
            cut.map(move |to| (from, to))
        });
        let cuts: Vec<(&Arc<Server>, &Arc<Server>)> = pairs.collect();
        let id = |server: &Server| server.raft.id().clone();
        for server in &self.servers {
            let cut = cuts.iter().map(|(from, to)| (id(from), id(to)));
            server.raft.cut(cut.collect());
            for ring in &server.rings {
                let node = |server: &Server| Some(server.ring(ring.pool())?.node().clone());
                let cut = cuts.iter();
                let cut = cut.filter_map(|(from, to)| Some((node(from)?, node(to)?)));
                ring.cut(cut.collect());
            }
        }
    }

    /// Chooses the server that a request goes to. In another datacenter this is the
    /// first one that the sender reaches and sees alive, else the first one that
    /// is up.
    fn resolve(&self, from: &Server, target: &Target) -> Result<&Arc<Server>, SendError> {
        if !from.is_up() {
            return Err(SendError::not_sent(is_stopped(from)));
        }
        match target {
            Target::Server(leader) => {
                let mut servers = self.datacenter(&from.datacenter).into_iter();
                servers
                    .find(|to| *to.raft.id() == leader.id && to.is_up())
                    .ok_or_else(|| SendError::not_sent("connection refused"))
            }
            Target::Datacenter(datacenter) => {
                let mut joined: Vec<_> = self.servers.iter().collect();
                joined.retain(|to| {
                    let is_local = from.datacenter == to.datacenter;
                    to.datacenter == *datacenter && (is_local || from.is_joined_with(to))
                });
                if joined.is_empty() {
                    return Err(SendError::NoPath);
                }
                joined.retain(|to| to.is_up());
                let mut up = joined.iter();
                up.find(|to| !self.is_cut(from, to) && from.sees(to))
                    .or(joined.first())
                    .copied()
                    .ok_or_else(|| SendError::not_sent("no server is up"))
            }
        }
    }

    /// Prepares the record of a call.
    fn call(&self, from: &Server, to: NodeName, forwarded: &Forwarded, suffix: &str) -> Call {
        let what = format!("{}{suffix}", describe(&forwarded.request));
        Call {
            hops: forwarded.hops,
            timeout: forwarded.timeout,
            ..self.recorder.call(from.name.clone(), to, what.into())
        }
    }
}

fn is_stopped(server: &Server) -> String {
    format!("server {} is stopped", server.name)
}

/// The [`Peers`] of one server. Does not keep the federation alive.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) network: Weak<Network>,
    pub(super) from: NodeName,
    pub(super) datacenters: Vec<DatacenterName>,
}

#[async_trait]
impl Peers for Link {
    fn datacenters(&self) -> Vec<DatacenterName> {
        self.datacenters.clone()
    }

    async fn send(
        &self,
        target: &Target,
        envelope: Envelope,
        _: Duration,
    ) -> Result<EnvelopeReply, SendError> {
        let Some(network) = self.network.upgrade() else {
            let why = "the mock federation was dropped: keep it as long as its services";
            return Err(SendError::not_sent(why));
        };
        let from = network.server(&self.from);
        from.gate.pass().await;
        let Ok(forwarded) = envelope.open() else {
            return Err(SendError::not_sent("the envelope cannot be decoded"));
        };
        let to = match network.resolve(from, target) {
            Ok(to) => to,
            Err(error) => {
                let to = match target {
                    Target::Server(leader) => leader.address.as_str(),
                    Target::Datacenter(datacenter) => datacenter.as_str(),
                };
                let call = network.call(from, to.into(), &forwarded, "");
                network.recorder.fail(call, error.to_string());
                return Err(error);
            }
        };
        let faults = lock(&network.faults).of_call(&from.name, &to.name);
        let call = network.call(from, to.name.clone(), &forwarded, "");
        if faults.contains(&CallFault::Refuse) {
            let why = format!("{}: a fault of the test", to.name);
            network.recorder.fail(call, why.clone());
            return Err(SendError::not_sent(why));
        }
        let trip = Trip {
            network: Arc::clone(&network),
            from: Arc::clone(from),
            to: Arc::clone(to),
            envelope,
            forwarded,
            faults,
            call: network.recorder.begin(call),
        };
        let answer = if network.simulates_time {
            network.recorder.clock.detach(trip.run()).await
        } else {
            trip.run().await
        };
        // A caller that gets no answer waits for its own timeout.
        let Some(answer) = answer else {
            return pending().await;
        };
        from.gate.pass().await;
        if from.is_up() {
            answer.map_err(SendError::lost)
        } else {
            Err(SendError::lost(is_stopped(from)))
        }
    }
}

/// A request in transit to another server, and its answer.
#[derive(Clone)]
struct Trip {
    network: Arc<Network>,
    from: Arc<Server>,
    to: Arc<Server>,
    envelope: Envelope,
    forwarded: Forwarded,
    faults: Vec<CallFault>,
    /// The number of the call in the transcript.
    call: usize,
}

impl Trip {
    /// Returns the answer, or why the connection broke; nothing if the caller gets
    /// neither.
    async fn run(self) -> Option<Result<EnvelopeReply, String>> {
        let recorder = &self.network.recorder;
        let has = |fault| self.faults.contains(&fault);
        let delays = self.faults.iter().filter_map(|fault| match fault {
            CallFault::Delay(by) => Some(*by),
            _ => None,
        });
        let delay = delays.fold(Duration::ZERO, Duration::saturating_add);
        for fault in &self.faults {
            if let CallFault::Duplicate(after) = fault {
                self.repeat(delay.saturating_add(*after));
            }
        }
        recorder.clock.sleep(delay).await;
        if has(CallFault::LoseRequest) || !self.is_open() || self.is_silent() {
            recorder.end(self.call, CallEnd::RequestLost);
            return None;
        }
        let to = &self.to;
        to.received.fetch_add(1, Ordering::Relaxed);
        to.gate.pass().await;
        recorder.arrived(self.call);
        let mut answer = to.service.answer(&self.envelope).await;
        to.gate.pass().await;
        if has(CallFault::LoseAnswer) || !self.is_open() {
            recorder.end(self.call, CallEnd::AnswerLost);
            return None;
        }
        if has(CallFault::Reset) {
            let why = format!("{}: the connection was reset", to.name);
            recorder.end(self.call, CallEnd::Lost(why.clone()));
            return Some(Err(why));
        }
        if has(CallFault::Garble) {
            answer = garble(answer);
        }
        let end = match answer.result(Outcome::Unknown) {
            Ok(_) => CallEnd::Answered,
            Err(error) => CallEnd::Failed(error),
        };
        recorder.end(self.call, end);
        Some(Ok(answer))
    }

    /// Returns whether the server can be reached at this moment.
    fn is_open(&self) -> bool {
        self.to.is_up() && !self.network.is_cut(&self.from, &self.to)
    }

    /// Returns whether the request comes from outside into a silent datacenter.
    fn is_silent(&self) -> bool {
        let silent = FaultKind::SilentDatacenter(self.to.datacenter.clone());
        self.from.datacenter != self.to.datacenter && lock(&self.network.faults).contains(&silent)
    }

    /// Lets the same request arrive a second time.
    fn repeat(&self, after: Duration) {
        let to = self.to.name.clone();
        let call = self.network.call(&self.from, to, &self.forwarded, " again");
        let second = Trip {
            faults: vec![CallFault::Delay(after)],
            call: self.network.recorder.begin(call),
            ..self.clone()
        };
        drop(self.network.recorder.clock.detach(second.run()));
    }
}

/// Replaces an answer by a list of rings with errors in it.
fn garble(reply: EnvelopeReply) -> EnvelopeReply {
    let rings = match reply.result(Outcome::Unknown) {
        Ok(OperatorReply::Keyring(KeyringReply { rings })) => rings,
        Ok(_) => Vec::new(),
        Err(error) => match error.into_reply() {
            Ok(reply) => reply.rings,
            Err(_) => return reply,
        },
    };
    let twice: Vec<_> = rings.iter().rev().cloned().collect();
    let mut foreign = twice.clone();
    for ring in &mut foreign {
        ring.datacenter = format!("not {}", ring.datacenter).into();
    }
    let rings = foreign.into_iter().chain(twice).chain(rings).collect();
    EnvelopeReply::new(&Ok(OperatorReply::Keyring(KeyringReply { rings })))
}
