//! Lets things go wrong, and puts them right again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;

use super::fault::{CallFault, Kind};
use super::network::{Network, Server};
use super::{Fault, MockClock, MockFederation, Transcript, lock};
use crate::keyring::KeyringBackend;
use crate::types::NodeName;

/// A fault that was injected. No two federations have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(u64);

impl FaultId {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        FaultId(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// What goes wrong at this moment.
#[derive(Debug)]
pub(super) struct Injected {
    faults: Vec<Active>,
    rng: Rng,
}

#[derive(Debug)]
struct Active {
    id: FaultId,
    kind: Kind,
    /// How many calls it could have been for.
    seen: u64,
}

impl Injected {
    pub(super) fn new(seed: u64) -> Self {
        Injected {
            faults: Vec::new(),
            rng: Rng::with_seed(seed),
        }
    }

    fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.faults.iter().map(|fault| &fault.kind)
    }
}

/// Faults.
impl MockFederation {
    /// Lets something go wrong from now on.
    ///
    /// # Panics
    /// If it names what does not exist, contradicts itself, or takes time
    /// without a [clock](super::MockFederationBuilder::clock).
    pub fn inject(&self, fault: Fault) -> FaultId {
        self.check(&fault);
        let id = FaultId::next();
        lock(&self.network.injected).faults.push(Active {
            id,
            kind: fault.0.clone(),
            seen: 0,
        });
        self.note(fault.to_string());
        self.begin(id, &fault.0);
        self.spread();
        id
    }

    /// Puts one thing right again. What has been put right, stays so.
    pub fn heal(&self, fault: FaultId) {
        let healed = {
            let mut injected = lock(&self.network.injected);
            let at = injected.faults.iter().position(|held| held.id == fault);
            at.map(|at| injected.faults.remove(at).kind)
        };
        if let Some(kind) = healed {
            self.note(format!("healed: {kind}"));
            self.end(fault, &kind);
            self.spread();
        }
    }

    /// Puts everything right again that was injected.
    pub fn heal_all(&self) {
        let faults: Vec<_> = lock(&self.network.injected)
            .faults
            .iter()
            .map(|fault| fault.id)
            .collect();
        for fault in faults {
            self.heal(fault);
        }
    }

    /// What has gone between servers so far, and between them and the nodes of
    /// rings. Of long stories the beginning is forgotten.
    pub fn transcript(&self) -> Transcript {
        self.network.recorder.transcript()
    }

    /// Forgets the transcript.
    pub fn clear_transcript(&self) {
        self.network.recorder.clear();
    }

    /// Writes a line of the test's own into the transcript.
    pub fn note(&self, text: impl Into<String>) {
        self.network.recorder.note(text.into());
    }

    /// The clock that the transcript goes by: the one that the federation was
    /// [built with](super::MockFederationBuilder::clock), or one that nobody
    /// moves.
    pub fn clock(&self) -> MockClock {
        self.network.clock.clone()
    }

    fn check(&self, fault: &Fault) {
        assert!(
            self.network.simulates_time || !fault.takes_time(),
            "a fault that takes time ({fault}): give the federation a clock"
        );
        match &fault.0 {
            Kind::Stop(server)
            | Kind::Pause(server)
            | Kind::LoseAtRemoval(server)
            | Kind::UnfinishedRemoval(server, _) => drop(self.server(server.clone())),
            Kind::Partition(group, other) => {
                for server in group.iter().chain(other) {
                    self.server(server.clone());
                }
                let both = group.iter().find(|server| other.contains(server));
                if let Some(both) = both {
                    panic!("{both:?} stands on both sides of a partition");
                }
            }
            Kind::Silence(datacenter)
            | Kind::LoseLead(datacenter, _)
            | Kind::FailRemoval(datacenter, _)
            | Kind::SlowRaft(datacenter, _) => drop(self.network.datacenter(datacenter)),
            Kind::Call(calls, _) => {
                for server in calls.from.iter().chain(&calls.to) {
                    self.server(server.clone());
                }
            }
            Kind::Node(server, pool, _) => drop(self.keyring(server.clone(), pool)),
            Kind::StaleHint(server, leader) => {
                let datacenter = |name: &NodeName| &self.server(name.clone()).datacenter;
                assert!(
                    datacenter(server) == datacenter(leader),
                    "{server:?} and {leader:?} are servers of different datacenters"
                );
            }
        }
    }

    /// What happens to servers at once.
    fn begin(&self, id: FaultId, kind: &Kind) {
        match kind {
            Kind::Stop(server) => self.server(server.clone()).stop(),
            Kind::Pause(server) => self.server(server.clone()).pause(),
            Kind::LoseLead(datacenter, nth) => {
                let raft = &self.network.datacenter(datacenter)[0].raft;
                raft.mishaps(|mishaps| mishaps.lose_lead_in.push((id, *nth)));
            }
            Kind::FailRemoval(datacenter, outcome) => {
                let raft = &self.network.datacenter(datacenter)[0].raft;
                raft.mishaps(|mishaps| mishaps.failed_removals.push_back((id, *outcome)));
            }
            Kind::LoseAtRemoval(server) => {
                let raft = &self.server(server.clone()).raft;
                raft.mishaps(|mishaps| mishaps.to_lose.push((id, raft.id().clone())));
            }
            Kind::UnfinishedRemoval(server, at) => {
                let raft = &self.server(server.clone()).raft;
                let unfinished = (id, raft.id().clone(), *at);
                raft.mishaps(|mishaps| mishaps.unfinished = Some(unfinished));
            }
            _ => {}
        }
    }

    fn end(&self, id: FaultId, kind: &Kind) {
        let still = |same: &dyn Fn(&Kind) -> bool| lock(&self.network.injected).kinds().any(same);
        match kind {
            Kind::Stop(server)
                if !still(&|kind| matches!(kind, Kind::Stop(other) if other == server)) =>
            {
                self.server(server.clone()).restart();
            }
            Kind::Pause(server)
                if !still(&|kind| matches!(kind, Kind::Pause(other) if other == server)) =>
            {
                self.server(server.clone()).resume();
            }
            Kind::LoseLead(datacenter, _) | Kind::FailRemoval(datacenter, _) => {
                let raft = &self.network.datacenter(datacenter)[0].raft;
                raft.forget(id);
            }
            Kind::LoseAtRemoval(server) | Kind::UnfinishedRemoval(server, _) => {
                self.server(server.clone()).raft.forget(id);
            }
            _ => {}
        }
    }

    /// Tells Raft and gossip what they have to know of the faults.
    fn spread(&self) {
        let network = &self.network;
        let kinds: Vec<_> = lock(&network.injected).kinds().cloned().collect();
        let mut cuts = BTreeSet::new();
        for from in &network.servers {
            for to in network.servers.iter().filter(|to| network.is_cut(from, to)) {
                cuts.insert((&from.name, &to.name));
            }
        }
        for server in &network.servers {
            let id = |name| network.server(name).raft.id().clone();
            let cut = cuts.iter().map(|(from, to)| (id(from), id(to))).collect();
            let hints = kinds.iter().filter_map(|kind| match kind {
                Kind::StaleHint(misled, leader) => Some((id(misled), id(leader))),
                _ => None,
            });
            let slow = kinds.iter().filter_map(|kind| match kind {
                Kind::SlowRaft(slow, delay) if *slow == server.datacenter => Some(*delay),
                _ => None,
            });
            let slow = slow.reduce(Duration::saturating_add);
            let slow = slow.map(|delay| (network.clock.clone(), delay));
            server.raft.set_cuts(cut);
            server.raft.mishaps(|mishaps| {
                mishaps.stale_hints = hints.collect();
                mishaps.slow = slow;
            });
            for ring in &server.rings {
                let node = |name| network.server(name).ring(ring.pool()).map(|it| it.node());
                let cut = cuts
                    .iter()
                    .filter_map(|(from, to)| Some((node(from)?.clone(), node(to)?.clone())));
                ring.set_cuts(cut.collect());
                let faults = kinds.iter().filter_map(|kind| match kind {
                    Kind::Node(name, pool, fault) if pool == ring.pool() => {
                        Some((node(name)?.clone(), fault.clone()))
                    }
                    _ => None,
                });
                ring.set_faults(faults.collect::<BTreeMap<_, _>>());
            }
        }
    }
}

impl Network {
    /// What goes wrong with a call.
    pub(super) fn call_faults(&self, from: &Server, to: &Server) -> Vec<CallFault> {
        let mut injected = lock(&self.injected);
        let Injected { faults, rng, .. } = &mut *injected;
        let mut hit = Vec::new();
        for fault in faults {
            match &fault.kind {
                Kind::Call(calls, what)
                    if calls.matches(&from.name, &to.name, &mut fault.seen, rng) =>
                {
                    hit.push(*what);
                }
                _ => {}
            }
        }
        hit
    }

    /// Whether a call is lost at the door of a silent datacenter.
    pub(super) fn is_silent(&self, from: &Server, to: &Server) -> bool {
        from.datacenter != to.datacenter
            && lock(&self.injected)
                .kinds()
                .any(|kind| matches!(kind, Kind::Silence(silent) if *silent == to.datacenter))
    }

    /// Whether a partition is between two servers.
    pub(super) fn is_cut(&self, one: &Server, other: &Server) -> bool {
        lock(&self.injected).kinds().any(|kind| match kind {
            Kind::Partition(group, rest) => {
                let parts =
                    |a: &Server, b: &Server| group.contains(&a.name) && rest.contains(&b.name);
                parts(one, other) || parts(other, one)
            }
            _ => false,
        })
    }
}
