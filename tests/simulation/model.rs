//! A simple model of a federation in which some servers are down and nothing else is
//! wrong: without routing, futures or transport errors.

use std::collections::{BTreeMap, BTreeSet};

use cluster_operator::acl::Access;
use cluster_operator::operation::KeyringScope;
use cluster_operator::raft::{Consistency, QuorumGuard};
use cluster_operator::{DatacenterName, GossipKey, NodeName, Outcome, Pool};

use crate::Violation;
use crate::issue::{Ask, Holder, Issue};
use crate::seen::{Seen, SeenRing, see};
use crate::world::{Answered, DATACENTERS, Ring, UNKNOWN_DATACENTER, World, is_voter};

#[derive(Debug, Clone)]
pub(crate) struct Model {
    up: BTreeSet<NodeName>,
    guard: QuorumGuard,
    clusters: BTreeMap<DatacenterName, Cluster>,
    rings: Vec<Ring>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cluster {
    servers: Vec<NodeName>,
    leader: Option<NodeName>,
    index: u64,
    rules: Option<(u64, u64)>,
}

impl Cluster {
    fn of(world: &World, datacenter: &DatacenterName) -> Cluster {
        let configuration = world.federation.configuration(datacenter.clone());
        let servers = configuration.servers.into_iter();
        Cluster {
            servers: servers.map(|server| server.name.unwrap()).collect(),
            leader: world.federation.leader(datacenter.clone()),
            index: configuration.index,
            rules: world.rules(datacenter),
        }
    }

    fn voters(&self) -> impl Iterator<Item = &NodeName> {
        self.servers.iter().filter(|name| is_voter(name))
    }

    fn alive(&self, up: &BTreeSet<NodeName>) -> usize {
        self.voters().filter(|name| up.contains(*name)).count()
    }

    fn has_quorum(&self, up: &BTreeSet<NodeName>) -> bool {
        self.alive(up) > self.voters().count() / 2
    }

    /// Keeps the leader if it can lead, else elects the first live voter.
    fn elect(&mut self, up: &BTreeSet<NodeName>) {
        let can = |name: &NodeName| up.contains(name) && self.servers.contains(name);
        if !self.has_quorum(up) {
            self.leader = None;
        } else if !self.leader.as_ref().is_some_and(can) {
            let first = self.voters().find(|name| can(name)).cloned();
            self.leader = first;
        }
    }
}

impl Model {
    pub(crate) fn of(world: &World) -> Model {
        let clusters = DATACENTERS.iter().map(|name| {
            let name = DatacenterName::new(*name);
            (name.clone(), Cluster::of(world, &name))
        });
        let servers = world.servers().into_iter();
        Model {
            up: servers
                .filter(|server| world.federation.is_up(server.clone()))
                .collect(),
            guard: world.guard,
            clusters: clusters.collect(),
            rings: world.rings(),
        }
    }

    /// Returns the expected answer, and updates the model.
    pub(crate) fn answer(&mut self, world: &World, issue: &Issue) -> Seen {
        let failed = |why| Seen::Failed(why, Outcome::NotApplied);
        let here = world.datacenter_of(&issue.at);
        if issue.ask.is_keyring() {
            return match (issue.holder, issue.access()) {
                (Holder::Unknown, _) => failed("unknown-token"),
                (Holder::Root, _) | (Holder::Viewer, Access::Read) => {
                    self.ask_rings(&issue.ask, &here)
                }
                _ => failed("permission-denied"),
            };
        }
        let place = issue.place(world);
        if place == UNKNOWN_DATACENTER {
            return failed("no-path-to-datacenter");
        }
        // In another datacenter the first live server gets the request.
        let entry = match place == here {
            true => issue.at.clone(),
            false => {
                let mut there = world.federation.servers(place.clone()).into_iter();
                match there.find(|name| self.up.contains(name)) {
                    Some(entry) => entry,
                    None => return failed("unreachable"),
                }
            }
        };
        let cluster = self.clusters.get_mut(&place).unwrap();
        let is_stale = issue.ask == Ask::Read(Consistency::Stale);
        if !is_stale && !cluster.servers.contains(&entry) {
            return failed("not-member");
        }
        if !is_stale && cluster.leader.is_none() {
            return failed("no-leader");
        }
        match (issue.holder, issue.access()) {
            (Holder::Unknown, _) => failed("unknown-token"),
            (Holder::Root, _) | (Holder::Viewer, Access::Read) => {
                cluster.answer(&issue.ask, &self.up, self.guard)
            }
            _ => failed("permission-denied"),
        }
    }

    fn ask_rings(&mut self, ask: &Ask, here: &DatacenterName) -> Seen {
        if matches!(ask, Ask::InstallHere(_)) {
            return Seen::Failed("invalid-request", Outcome::NotApplied);
        }
        let local_only = *ask == Ask::List(KeyringScope::LocalOnly);
        let up = &self.up;
        let mut seen: Vec<((bool, String, Pool), SeenRing)> = Vec::new();
        for ring in &mut self.rings {
            let datacenter = ring.datacenter.clone().unwrap_or_else(|| here.clone());
            if local_only && (ring.pool == Pool::Wan || datacenter != *here) {
                continue;
            }
            let all_down = ring.nodes.iter().all(|(name, _)| !up.contains(name));
            if all_down && ring.pool != Pool::Lan {
                continue;
            }
            let order = (
                datacenter != *here,
                datacenter.to_string(),
                ring.pool.clone(),
            );
            let answer = if all_down {
                SeenRing::failed(&datacenter, &Pool::Lan, "unreachable")
            } else {
                ring.answer(ask, up, &datacenter)
            };
            seen.push((order, answer));
        }
        seen.sort_by(|(a, _), (b, _)| a.cmp(b));
        let rings: Vec<_> = seen.into_iter().map(|(_, ring)| ring).collect();
        let fails = |ring: &SeenRing| ring.errors > 0 || ring.error.is_some();
        let is_list = matches!(ask, Ask::List(_));
        if !rings.iter().any(fails) || is_list && rings.iter().any(|it| !it.keys.is_empty()) {
            return Seen::Rings(rings);
        }
        // No node is silent in the model: each made the change, refused it, or was
        // not asked.
        let outcome = if rings.iter().all(|ring| ring.errors == ring.nodes) {
            Outcome::NotApplied
        } else {
            Outcome::Unknown
        };
        Seen::RingsFailed(rings, outcome)
    }

    /// Compares the answer and the federation with the model. Adopts the indexes if
    /// they have grown.
    pub(crate) fn compare(
        &mut self,
        world: &World,
        answered: &Answered,
        expected: Seen,
    ) -> Result<(), Violation> {
        let seen = see(&answered.result);
        let issue = &answered.issue;
        let removed = |name: &NodeName| {
            let cluster = &self.clusters[&world.datacenter_of(name)];
            !cluster.servers.contains(name)
        };
        // The model does not know the state of a removed server, which may get a
        // request from another datacenter.
        let is_unknown = issue.ask == Ask::Read(Consistency::Stale)
            && world
                .servers()
                .iter()
                .any(|name| self.up.contains(name) && removed(name));
        if seen != expected && !is_unknown {
            return Err(format!(
                "{issue:?} was answered\n  {seen:?}\nand the model expects\n  {expected:?}"
            ));
        }
        for (name, model) in &mut self.clusters {
            let mut truth = Cluster::of(world, name);
            if truth.index < model.index {
                return Err(format!("the index of {name} decreased"));
            }
            model.index = truth.index;
            match (&mut truth.rules, &mut model.rules) {
                (Some(truth), Some(model)) if truth.1 >= model.1 => model.1 = truth.1,
                (truth, model) => *model = *truth,
            }
            if truth != *model {
                return Err(format!(
                    "{issue:?} left\n  {truth:?}\nand the model expects\n  {model:?}"
                ));
            }
        }
        if world.rings() == self.rings {
            Ok(())
        } else {
            Err(format!("{issue:?} left other keys than the model expects"))
        }
    }
}

impl Cluster {
    fn answer(&mut self, ask: &Ask, up: &BTreeSet<NodeName>, guard: QuorumGuard) -> Seen {
        let failed = |why| Seen::Failed(why, Outcome::NotApplied);
        match ask {
            Ask::Read(_) => {
                let servers = self.servers.iter().map(|name| {
                    let leads = self.leader.as_ref() == Some(name);
                    (name.clone(), leads, up.contains(name))
                });
                Seen::Configuration(servers.collect(), self.index)
            }
            Ask::Remove(name, expected) => {
                if expected.is_some_and(|expected| expected != self.index) {
                    return failed("conflict");
                }
                let Some(at) = self.servers.iter().position(|held| held == name) else {
                    return failed("unknown-server");
                };
                if is_voter(name) && self.voters().count() == 1 {
                    return failed("last-voter");
                }
                let mut after = self.clone();
                after.servers.remove(at);
                if is_voter(name) {
                    match guard {
                        QuorumGuard::Off if !after.has_quorum(up) => {
                            return failed("quorum-unproven");
                        }
                        // With a leader there is a quorum, so that only the removal
                        // of a live voter can lose it.
                        QuorumGuard::Quorum if !after.has_quorum(up) => {
                            return failed("quorum-loss");
                        }
                        QuorumGuard::Margin if after.alive(up) < after.voters().count() / 2 + 2 => {
                            return failed("quorum-loss");
                        }
                        _ => {}
                    }
                }
                after.elect(up);
                *self = after;
                Seen::Removed
            }
            Ask::RemoveUnknown => failed("unknown-server"),
            Ask::Transfer(to) => {
                let leads = |name: &NodeName| self.leader.as_ref() == Some(name);
                let to = match to {
                    Some(to) if !self.servers.contains(to) => return failed("unknown-server"),
                    Some(to) if leads(to) => return failed("already-leader"),
                    Some(to) if !is_voter(to) => return failed("not-voter"),
                    // The backend refuses.
                    Some(to) if !up.contains(to) => return failed("backend"),
                    Some(to) => to.clone(),
                    None => {
                        let mut others = self.voters();
                        match others.find(|name| up.contains(*name) && !leads(name)) {
                            Some(to) => to.clone(),
                            None => return failed("no-transfer-target"),
                        }
                    }
                };
                self.leader = Some(to);
                Seen::Transferred
            }
            Ask::ReadRules => {
                let (number, index) = self.rules.unwrap();
                Seen::Rules(number, index)
            }
            Ask::SetRules(number, expected) => {
                let (_, index) = self.rules.unwrap();
                let set = expected.is_none_or(|expected| expected == index);
                if set {
                    self.rules = Some((*number, index));
                }
                Seen::RulesSet(set)
            }
            Ask::ReadState => {
                let spare = self.alive(up) - (self.voters().count() / 2 + 1);
                let healthy = self.servers.iter().all(|name| up.contains(name));
                Seen::State(healthy, spare as u64)
            }
            Ask::List(_)
            | Ask::Install(_)
            | Ask::InstallHere(_)
            | Ask::Use(_)
            | Ask::RemoveKey(_) => unreachable!(),
        }
    }
}

impl Ring {
    fn answer(
        &mut self,
        ask: &Ask,
        up: &BTreeSet<NodeName>,
        datacenter: &DatacenterName,
    ) -> SeenRing {
        let mut seen = SeenRing {
            name: format!("{datacenter} ({})", self.pool),
            ..SeenRing::default()
        };
        for (name, keys) in &mut self.nodes {
            if !up.contains(name) {
                continue;
            }
            seen.nodes += 1;
            seen.responses += 1;
            if !done(keys, ask, &mut seen.keys) {
                seen.errors += 1;
            }
        }
        seen
    }
}

/// Lets one node execute a request. Returns whether it succeeds.
fn done(
    keys: &mut Vec<GossipKey>,
    ask: &Ask,
    counts: &mut BTreeMap<String, (usize, usize)>,
) -> bool {
    match ask {
        Ask::Install(key) => {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
            true
        }
        Ask::Use(key) => match keys.iter().position(|held| held == key) {
            Some(at) => {
                let key = keys.remove(at);
                keys.insert(0, key);
                true
            }
            None => false,
        },
        Ask::RemoveKey(key) => {
            let is_primary = keys[0] == *key;
            if !is_primary {
                keys.retain(|held| held != key);
            }
            !is_primary
        }
        _ => {
            for (at, key) in keys.iter().enumerate() {
                let count = counts.entry(key.fingerprint()).or_default();
                count.0 += 1;
                count.1 += usize::from(at == 0);
            }
            true
        }
    }
}
