//! The simulated federation and its random history.

use std::time::Duration;

use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::mock::{
    Calls, Fault, Grant, MockAcl, MockAutopilot, MockClock, MockFederation, MockToken,
};
use cluster_operator::raft::QuorumGuard;
use cluster_operator::{
    AutopilotBackend, DatacenterName, GossipKey, KeyringBackend, NodeName, OperatorError,
    OperatorReply, Pool, Timer,
};
use fastrand::Rng;

use crate::attribution::Account;
use crate::issue::{Issue, any_server};
use crate::model::Model;
use crate::tally::Tally;
use crate::{Violation, random, rotating, scenarios};

pub(crate) const DATACENTERS: [&str; 3] = ["dc1", "dc2", "dc3"];

/// A datacenter that does not exist.
pub(crate) const UNKNOWN_DATACENTER: &str = "dc9";

/// The voters of each datacenter.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// The non-voter.
const NONVOTER: &str = "dc3-f";

pub(crate) fn is_voter(server: &NodeName) -> bool {
    *server != NONVOTER
}

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) const KEYRING_DEADLINE: Duration = Duration::from_secs(5);

pub(crate) const HOP_LIMIT: u8 = 4;

/// The duration of every call between servers.
const LATENCY: Duration = Duration::from_millis(1);

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) clock: MockClock,
    pub(crate) federation: MockFederation,
    /// How long the servers wait for a leader.
    pub(crate) leader_wait: Duration,
    /// Which removals the servers refuse.
    pub(crate) guard: QuorumGuard,
    /// The number of requests so far.
    pub(crate) steps: usize,
    /// What was covered.
    pub(crate) tally: Tally,
    /// All keys so far.
    keys: Vec<GossipKey>,
    numbers: u64,
}

/// A request and its result.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) issue: Issue,
    pub(crate) result: Result<OperatorReply, OperatorError>,
    pub(crate) took: Duration,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let clock = MockClock::new();
        let acl = MockAcl::new(DefaultPolicy::Deny)
            .with_token(MockToken::management("root"))
            .with_token(
                MockToken::new("viewer")
                    .with(Resource::Operator, Grant::Read)
                    .with(Resource::Keyring, Grant::Read),
            );
        let leader_wait = Duration::from_millis(*rng.choice(&[0, 320, 2000]).unwrap());
        let guard = *rng
            .choice(&[
                QuorumGuard::Quorum,
                QuorumGuard::Quorum,
                QuorumGuard::Off,
                QuorumGuard::Margin,
            ])
            .unwrap();
        let first = key(0);
        let mut builder = MockFederation::builder()
            .clock(&clock)
            .seed(seed)
            .authorizer(acl)
            .gossip_key(first.clone())
            .nonvoters([NONVOTER])
            .segment("dc2", "alpha", NAMES.map(|name| format!("dc2-{name}")))
            .service_options(move |service| {
                service
                    .quorum_guard(guard)
                    .leader_wait(leader_wait)
                    .deadline(DEADLINE)
                    .keyring_deadline(KEYRING_DEADLINE)
                    .hop_limit(HOP_LIMIT)
            });
        for datacenter in DATACENTERS {
            let servers = NAMES.iter().map(|name| format!("{datacenter}-{name}"));
            let nonvoter = NONVOTER.starts_with(datacenter);
            let nonvoter = nonvoter.then(|| NONVOTER.to_owned());
            builder = builder.datacenter(datacenter, servers.chain(nonvoter));
        }
        World {
            rng,
            clock,
            federation: builder.build(),
            leader_wait,
            guard,
            steps: 0,
            tally: Tally::default(),
            keys: vec![first],
            numbers: 0,
        }
    }

    /// Runs scenarios in random order until so many requests were made.
    pub(crate) fn live(&mut self, steps: usize) -> Result<(), Violation> {
        while self.steps < steps {
            self.federation.clear_transcript();
            self.recover();
            match self.rng.u64(..15) {
                0 | 1 => self.quiet()?,
                2 => rotating::among_faults(self)?,
                3 => scenarios::many_removals(self)?,
                4 => scenarios::leader_missing(self)?,
                5 => scenarios::lost_leadership(self)?,
                6 => scenarios::two_removals(self)?,
                7 => scenarios::death_during_removal(self)?,
                8 => scenarios::term_change(self)?,
                9 => scenarios::partial_answers(self)?,
                10 => scenarios::unfinished(self)?,
                11 => rotating::left_behind(self)?,
                12 => rotating::diagnose(self)?,
                _ => random::faults(self)?,
            }
            rotating::after_all(self)?;
            self.tally.count(&self.federation.transcript());
        }
        Ok(())
    }

    /// Heals all faults, delivers what is in transit, repairs nodes that cannot read
    /// the others' gossip, and adds removed servers again.
    pub(crate) fn recover(&mut self) {
        self.federation.heal_all();
        self.clock.settle();
        for server in self.servers() {
            self.federation.restart(server.clone());
        }
        for server in self.servers() {
            assert!(self.federation.join(server.clone()), "{server} cannot join");
        }
        for ring in self.rings() {
            if ring.separated().is_some() {
                self.repair(&ring);
            }
        }
        self.federation.inject(Fault::delay(Calls::all(), LATENCY));
    }

    /// Gives all nodes of a pool the same keys.
    fn repair(&self, ring: &Ring) {
        let keyring = |server: &NodeName| self.federation.keyring(server.clone(), &ring.pool);
        let first = keyring(&ring.nodes[0].0);
        let keys = first.ring(first.node().clone());
        for (server, _) in &ring.nodes {
            let keyring = keyring(server);
            keyring.set_ring(keyring.node().clone(), keys.clone());
        }
    }

    /// Makes one request at a time while some servers are down, and compares each
    /// answer and its effects with the model. Sometimes removes the servers of a
    /// datacenter, down to the last voter.
    fn quiet(&mut self) -> Result<(), Violation> {
        for _ in 0..self.rng.u64(..4) {
            let server = any_server(&mut self.rng, &self.federation);
            self.federation.inject(Fault::stop(server));
        }
        if self.rng.u8(..4) == 0 {
            let lost = *self.rng.choice(&DATACENTERS).unwrap();
            for server in self.federation.servers(lost) {
                self.federation.inject(Fault::stop(server));
            }
        }
        let mut model = Model::of(self);
        let target = if self.rng.u8(..4) == 0 {
            Some(*self.rng.choice(&DATACENTERS).unwrap())
        } else {
            None
        };
        for _ in 0..20 {
            let up: Vec<_> = self.servers();
            let up: Vec<_> = up
                .into_iter()
                .filter(|server| self.federation.is_up(server.clone()))
                .collect();
            let at = self.rng.choice(&up).unwrap().clone();
            let issue = match target {
                Some(datacenter) if self.rng.bool() => Issue::take_apart(self, at, datacenter),
                _ => Issue::any(self, at),
            };
            let mut account = Account::open(self);
            let expected = model.answer(self, &issue);
            let before = self.nodes_asked();
            let answered = self.ask(issue);
            let asked = self.nodes_asked() - before;
            account.book(self, std::slice::from_ref(&answered))?;
            if asked != expected.nodes() {
                return Err(format!("{:?} asked {asked} nodes", answered.issue));
            }
            model.compare(self, &answered, expected)?;
        }
        Ok(())
    }

    /// The number of calls to nodes of rings.
    fn nodes_asked(&self) -> usize {
        let transcript = self.federation.transcript();
        transcript
            .calls()
            .filter(|call| call.pool.is_some())
            .count()
    }

    /// Makes one request.
    fn ask(&mut self, issue: Issue) -> Answered {
        let answer = ask_after(&self.clock, &self.federation, issue, Duration::ZERO);
        self.steps += 1;
        self.clock.run(answer)
    }

    pub(crate) fn servers(&self) -> Vec<NodeName> {
        let datacenters = DATACENTERS.iter();
        datacenters
            .flat_map(|datacenter| self.federation.servers(*datacenter))
            .collect()
    }

    pub(crate) fn datacenter_of(&self, server: &NodeName) -> DatacenterName {
        self.federation.service(server.clone()).datacenter().clone()
    }

    /// A new key.
    pub(crate) fn new_key(&mut self) -> GossipKey {
        let key = key(self.keys.len() as u64);
        self.keys.push(key.clone());
        key
    }

    /// An earlier key, usually one of the last.
    pub(crate) fn some_key(&mut self) -> GossipKey {
        let last = self.keys.len().saturating_sub(4);
        let from = if self.rng.u8(..8) == 0 { 0 } else { last };
        self.rng.choice(&self.keys[from..]).unwrap().clone()
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        1000 + self.numbers
    }

    /// The true autopilot configuration of a datacenter: its number and index.
    pub(crate) fn rules(&self, datacenter: &DatacenterName) -> Option<(u64, u64)> {
        let leader = self.federation.leader(datacenter.clone())?;
        let autopilot = MockAutopilot::new(&self.federation.raft(leader));
        let rules = self.clock.run(autopilot.configuration()).ok()?;
        Some((rules.max_trailing_logs, rules.modify_index))
    }

    pub(crate) fn rules_index(&self, datacenter: &DatacenterName) -> u64 {
        self.rules(datacenter).map_or(0, |(_, index)| index)
    }

    /// All rings, with the keys of their nodes.
    pub(crate) fn rings(&self) -> Vec<Ring> {
        let mut rings: Vec<Ring> = Vec::new();
        for server in self.servers() {
            for pool in [Pool::Wan, Pool::Lan, Pool::Segment("alpha".into())] {
                let datacenter = self.datacenter_of(&server);
                if matches!(pool, Pool::Segment(_)) && datacenter != "dc2" {
                    continue;
                }
                let datacenter = Some(datacenter).filter(|_| pool != Pool::Wan);
                let keyring = self.federation.keyring(server.clone(), &pool);
                assert_eq!(keyring.pool(), &pool);
                let keys = keyring.keys(keyring.node().clone());
                let is = |ring: &&mut Ring| (&ring.datacenter, &ring.pool) == (&datacenter, &pool);
                match rings.iter_mut().find(is) {
                    Some(ring) => ring.nodes.push((server.clone(), keys)),
                    None => rings.push(Ring {
                        datacenter,
                        pool,
                        nodes: vec![(server.clone(), keys)],
                    }),
                }
            }
        }
        rings
    }
}

/// The true state of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ring {
    /// `None` for the WAN ring.
    pub(crate) datacenter: Option<DatacenterName>,
    pub(crate) pool: Pool,
    pub(crate) nodes: Vec<(NodeName, Vec<GossipKey>)>,
}

impl Ring {
    /// A node and another one that lacks its primary key.
    pub(crate) fn separated(&self) -> Option<(&NodeName, &NodeName)> {
        self.nodes.iter().find_map(|(node, keys)| {
            let mut others = self.nodes.iter();
            let (other, _) = others.find(|(_, held)| !held.contains(&keys[0]))?;
            Some((node, other))
        })
    }
}

/// Makes a request after some time.
pub(crate) async fn ask_after(
    clock: &MockClock,
    federation: &MockFederation,
    issue: Issue,
    after: Duration,
) -> Answered {
    clock.sleep(after).await;
    let service = federation.service(issue.at.clone());
    let began = clock.now();
    let result = service.call(issue.request(federation)).await;
    Answered {
        issue,
        result,
        took: clock.now() - began,
    }
}

fn key(number: u64) -> GossipKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    GossipKey::from_bytes(&bytes).unwrap()
}
