//! Attributes changes to requests: every change has a request that may have made it,
//! and every request that reports success has made one.

use std::collections::{BTreeMap, BTreeSet};

use cluster_operator::mock::{Entry, RaftChange};
use cluster_operator::raft::QuorumGuard;
use cluster_operator::{GossipKey, NodeName, OperatorReply, Outcome, Pool, ServerId};

use crate::Violation;
use crate::invariants::{of_answer, of_calls, of_membership, of_nodes, of_removal};
use crate::issue::Ask;
use crate::world::{Answered, DATACENTERS, World};

/// The outcomes that requests have reported since it was opened. At that time the
/// configurations contain all servers.
#[derive(Debug)]
pub(crate) struct Account {
    /// The number of earlier removals in each datacenter.
    removals: BTreeMap<&'static str, usize>,
    /// For each server, how many removals are certain and how many possible.
    removed: BTreeMap<NodeName, (usize, usize)>,
    /// The certain removals that named an index.
    at_index: Vec<(NodeName, u64)>,
    /// New keys that were reported as not installed, in one ring or in all (`None`).
    refused: Vec<(GossipKey, Option<(String, Pool)>)>,
    /// Autopilot configurations that were reported as not set.
    unset: Vec<u64>,
    /// Whether requests may arrive twice: then one may fail and the other succeed.
    pub(crate) duplicates: bool,
}

impl Account {
    pub(crate) fn open(world: &World) -> Account {
        let count = |name: &&'static str| (*name, changes(world, name).len());
        Account {
            removals: DATACENTERS.iter().map(count).collect(),
            removed: BTreeMap::new(),
            at_index: Vec::new(),
            refused: Vec::new(),
            unset: Vec::new(),
            duplicates: false,
        }
    }

    /// Records answers, and checks everything so far.
    pub(crate) fn book(
        &mut self,
        world: &mut World,
        answered: &[Answered],
    ) -> Result<(), Violation> {
        for answered in answered {
            of_answer(answered)?;
            of_membership(world, answered)?;
            self.take_down(answered);
            world.tally.answered(answered);
        }
        of_calls(world)?;
        if !self.duplicates {
            of_nodes(world)?;
        }
        self.check(world)
    }

    fn take_down(&mut self, answered: &Answered) {
        let Answered { issue, result, .. } = answered;
        let outcome = match result {
            Ok(_) => Outcome::Applied,
            Err(error) => error.outcome(),
        };
        match (&issue.ask, outcome) {
            (Ask::Remove(server, index), outcome) if issue.is_allowed() => {
                let counts = self.removed.entry(server.clone()).or_default();
                match outcome {
                    Outcome::Applied => {
                        counts.0 += 1;
                        self.at_index
                            .extend(index.map(|index| (server.clone(), index)));
                    }
                    Outcome::Unknown => counts.1 += 1,
                    Outcome::NotApplied => {}
                }
            }
            (Ask::Install(key) | Ask::InstallHere(key), Outcome::NotApplied) => {
                self.refused.push((key.clone(), None))
            }
            (Ask::Install(key), _) => {
                let reply = match result {
                    Ok(OperatorReply::Keyring(reply)) => reply,
                    Ok(_) => return,
                    Err(error) => match error.reply() {
                        Some(reply) => reply,
                        None => return,
                    },
                };
                for ring in &reply.rings {
                    if ring.outcome() == Outcome::NotApplied {
                        let name = (ring.datacenter.to_string(), ring.pool.clone());
                        self.refused.push((key.clone(), Some(name)));
                    }
                }
            }
            (Ask::SetRules(number, _), Outcome::NotApplied) => self.unset.push(*number),
            (Ask::SetRules(number, _), Outcome::Applied)
                if *result == Ok(OperatorReply::AutopilotConfigurationSet(false)) =>
            {
                self.unset.push(*number);
            }
            _ => {}
        }
    }

    fn check(&self, world: &World) -> Result<(), Violation> {
        self.check_removals(world)?;
        if self.duplicates {
            return Ok(());
        }
        for datacenter in DATACENTERS {
            if let Some((number, _)) = world.rules(&datacenter.into())
                && self.unset.contains(&number)
            {
                return Err(format!(
                    "configuration {number} was reported as not set in {datacenter}"
                ));
            }
        }
        let rings = world.rings();
        for (key, refused) in &self.refused {
            for ring in &rings {
                let datacenter = ring.datacenter.as_ref().map(ToString::to_string);
                let meant = match refused {
                    None => true,
                    Some((_, Pool::Wan)) => ring.pool == Pool::Wan,
                    Some((name, Pool::Lan)) if ring.pool != Pool::Wan => {
                        // A datacenter that could not be asked is reported as its
                        // LAN.
                        datacenter.as_ref() == Some(name) && ring.pool == Pool::Lan
                    }
                    Some((name, pool)) => datacenter.as_ref() == Some(name) && ring.pool == *pool,
                };
                if meant && ring.nodes.iter().any(|(_, keys)| keys.contains(key)) {
                    return Err(format!(
                        "the key {} was reported as not installed in {refused:?}",
                        key.fingerprint()
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_removals(&self, world: &World) -> Result<(), Violation> {
        let mut counts: BTreeMap<ServerId, usize> = BTreeMap::new();
        let mut indexes: Vec<(ServerId, u64)> = Vec::new();
        let others = Others::in_transcript(world);
        let certain: BTreeSet<_> = self
            .removed
            .iter()
            .filter(|(_, (certain, _))| *certain > 0)
            .map(|(server, _)| world.federation.raft(server.clone()).id().clone())
            .collect();
        for (datacenter, before) in &self.removals {
            for change in &changes(world, datacenter)[*before..] {
                let Some(removed) = &change.removed else {
                    continue;
                };
                match others.are_lost {
                    false => of_removal(change, world.guard)?,
                    // Servers may be lost after the proof. A reported success holds
                    // nevertheless.
                    true if certain.contains(removed) => {
                        of_removal(change, QuorumGuard::Quorum)?;
                    }
                    true => {}
                }
                *counts.entry(removed.clone()).or_default() += 1;
                indexes.push((removed.clone(), change.before.index));
            }
        }
        for server in world.servers() {
            let id = world.federation.raft(server.clone()).id().clone();
            let removed = counts.get(&id).copied().unwrap_or(0);
            let asked = self.removed.get(&server).copied();
            let (certain, mut perhaps) = asked.unwrap_or_default();
            perhaps += others.removals.get(server.as_str()).copied().unwrap_or(0);
            let by_duplicate = self.duplicates && asked.is_some();
            if removed < certain {
                return Err(format!("{server} was reported as removed and was not"));
            }
            if removed > certain + perhaps && !by_duplicate {
                return Err(format!(
                    "{server} was removed {removed} times; {certain} requests report success, \
                     {perhaps} may have done it"
                ));
            }
        }
        for (server, index) in &self.at_index {
            let id = world.federation.raft(server.clone()).id().clone();
            if !indexes.contains(&(id, *index)) {
                return Err(format!(
                    "{server} was not removed at the expected index {index}"
                ));
            }
        }
        Ok(())
    }
}

/// Faults that affect removals.
#[derive(Default)]
struct Others {
    /// For each server, how many joint configurations without it were left
    /// unfinished.
    removals: BTreeMap<String, usize>,
    /// Whether servers may be lost between proof and change.
    are_lost: bool,
}

impl Others {
    fn in_transcript(world: &World) -> Others {
        let mut others = Others::default();
        for entry in world.federation.transcript().entries() {
            let Entry::Note { text, .. } = entry else {
                continue;
            };
            others.are_lost |= text.ends_with("is lost in the middle of the next change");
            let removed = text.strip_prefix("the removal of ");
            if let Some(server) = removed.and_then(|it| it.strip_suffix(" is unfinished: Joint")) {
                *others.removals.entry(server.to_owned()).or_default() += 1;
            }
        }
        others
    }
}

fn changes(world: &World, datacenter: &str) -> Vec<RaftChange> {
    let servers = world.federation.servers(datacenter);
    world.federation.raft(servers[0].clone()).changes()
}
