//! Another server is killed while one is removed.
//!
//! What the servers have written tells what has happened. As long as every
//! configuration that one of them holds has a majority up, there has to be a leader.
//! A removal cannot prevent that a server dies between the proof and the commit, and
//! takes the majority of a configuration with it; those are counted. A server that
//! dies before the proof must not do that.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cluster_operator::client::ClientError;
use cluster_operator::{Consistency, Outcome, PeerSelector, RaftConfiguration};
use openraft::{Entry, EntryPayload, RaftLogReader};

use crate::datacenter::{Datacenter, ids};
use crate::removal::{WHOLE, agrees, replace};
use crate::{in_time, moment, rounds};
use cluster_operator_demo::cluster::log::Log;
use cluster_operator_demo::cluster::store::Store;
use cluster_operator_demo::cluster::{ELECTION_TIMEOUT, NodeId, Request, TypeConfig};

/// Without a leader for so long, the cluster is taken for one that has none. An
/// election is over within four election timeouts, on a machine that is not busy.
const LEADERLESS: Duration = ELECTION_TIMEOUT.saturating_mul(12);

/// What came of a round.
#[derive(Debug, Default)]
struct Counts {
    done: u32,
    refused: u32,
    unknown: u32,
    /// The killed server had not written what proves that it was alive.
    died_before_the_proof: u32,
    /// A configuration was without a majority until the killed server was back.
    without_majority: u32,
    slowest_election: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_before_the_proof_costs_no_majority_of_three() {
    kill_during_removals(4, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_during_a_removal_costs_no_majority_of_five() {
    kill_during_removals(5, 5).await;
}

async fn kill_during_removals(network: u8, size: usize) {
    let mut datacenter = Datacenter::start(network, size).await;
    let mut counts = Counts::default();
    for round in 0..rounds() {
        kill_another(&mut datacenter, round, &mut counts).await;
    }
    println!("removals from {size} servers: {counts:?}");
}

/// Whom a round asks, removes and kills: the leader is each of them in turn.
fn cast(round: u32, leader: &str, followers: &[String]) -> [String; 3] {
    let at = round as usize / 3;
    let follower = |n: usize| followers[(at + n) % followers.len()].clone();
    let leader = leader.to_owned();
    let (asked, victim, killed) = match round % 3 {
        0 => (leader, follower(0), follower(1)),
        1 => (follower(0), follower(1), leader),
        _ => (follower(0), leader, follower(1)),
    };
    [asked, victim, killed]
}

async fn kill_another(datacenter: &mut Datacenter, round: u32, counts: &mut Counts) {
    let before = datacenter.whole().await;
    let leader = datacenter.leader().await;
    let mut followers = datacenter.running();
    followers.retain(|name| *name != leader);
    let [asked, victim, killed] = cast(round, &leader, &followers);
    let victim_id = number(&before, &victim);
    let killed_id = number(&before, &killed);
    let selector = PeerSelector::Id(victim_id.to_string().into());

    let delay = moment(round / 3 + 2 * (round % 3), WHOLE);
    if delay.is_zero() {
        datacenter.server_mut(&killed).kill();
    }
    let client = datacenter.client(&asked);
    let request = {
        let selector = selector.clone();
        tokio::spawn(async move { in_time(client.remove_peer(&selector, None)).await })
    };
    tokio::time::sleep(delay).await;
    datacenter.server_mut(&killed).kill();
    let answer = request.await.unwrap();
    let elected = leader_within(datacenter, LEADERLESS).await;

    // Those that stay, with what they have written. A leader that is removed does
    // not count, and neither does what was written before the request.
    let log = log(datacenter, &killed).await;
    let had_proof = proofs(&log, before.index) > 0;
    counts.died_before_the_proof += u32::from(!had_proof);
    let proof_needs_it = before.servers.len() == 3 && killed != leader;
    match &answer {
        Ok(()) => counts.done += 1,
        Err(error) if error.outcome() == Outcome::NotApplied => counts.refused += 1,
        Err(_) => counts.unknown += 1,
    }
    println!(
        "{} of {}: removed {victim}, killed {killed} after {delay:?}, {} led: {}; it had {}the proof; leader after {:?}",
        round + 1,
        rounds(),
        leader,
        text(&answer),
        if had_proof { "" } else { "not " },
        elected.as_ref().map(|(_, elapsed)| elapsed),
    );
    if proof_needs_it && !had_proof {
        let refused = answer.as_ref().err();
        let refused = refused.map(|error| error.outcome());
        assert_eq!(refused, Some(Outcome::NotApplied), "{answer:?}");
        assert!(elected.is_some(), "a refusal has cost the leader");
    }

    match elected {
        Some((after, elapsed)) => {
            counts.slowest_election = counts.slowest_election.max(elapsed);
            agrees(&answer, &after, &before, &selector);
            // It takes writes: what an operator does now is to remove the dead one,
            // if nothing else has to be finished first.
            if answer.is_err() && ids(&after) == ids(&before) && proof_needs_it && !had_proof {
                let dead = PeerSelector::Id(killed_id.to_string().into());
                replace(datacenter, &asked, &killed, &dead).await;
                return;
            }
        }
        None => {
            counts.without_majority += 1;
            lost_a_majority(datacenter, &before, &victim).await;
        }
    }

    // With the killed server, there is a leader in any case, and the same
    // configuration on each server that it reaches.
    datacenter.restart(&killed).await;
    let after = datacenter.led().await;
    agrees(&answer, &after, &before, &selector);
    datacenter.agree_but(&victim).await;
    replace(datacenter, &asked, &victim, &selector).await;
}

/// Stops all servers, sees in what they have written that a configuration has no
/// majority among those that were up, and starts them again. The one that is
/// removed would only ask to be taken in again.
async fn lost_a_majority(datacenter: &mut Datacenter, before: &RaftConfiguration, victim: &str) {
    let running = datacenter.running();
    let mut up = BTreeSet::new();
    let mut configurations = BTreeSet::new();
    for name in &running {
        datacenter.server_mut(name).kill();
    }
    for name in &running {
        up.insert(number(before, name));
        for entry in log(datacenter, name).await {
            if let EntryPayload::Membership(sets) = &entry.payload
                && entry.log_id.index >= before.index
            {
                configurations.extend(sets.get_joint_config().clone());
            }
        }
    }
    let lost = configurations
        .iter()
        .find(|voters| voters.intersection(&up).count() <= voters.len() / 2);
    println!("  up: {up:?}; {victim} was removed; configurations: {configurations:?}");
    assert!(
        lost.is_some(),
        "every configuration has a majority up, and there is no leader: {up:?}, {configurations:?}"
    );
    for name in running.iter().filter(|name| *name != victim) {
        datacenter.restart(name).await;
    }
}

/// The configuration of the leader, if there is one in time, and how long it took.
async fn leader_within(
    datacenter: &Datacenter,
    limit: Duration,
) -> Option<(RaftConfiguration, Duration)> {
    let began = Instant::now();
    while began.elapsed() < limit {
        for name in datacenter.running() {
            let read = datacenter.read(&name, Consistency::Consistent);
            let read = tokio::time::timeout(ELECTION_TIMEOUT, read).await;
            if let Ok(Ok(configuration)) = read {
                return Some((configuration, began.elapsed()));
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// What a server that is dead has in its log.
async fn log(datacenter: &Datacenter, name: &str) -> Vec<Entry<TypeConfig>> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("raft.redb");
    std::fs::copy(datacenter.server(name).data.join("raft.redb"), &copy).unwrap();
    let mut log = Log::new(Store::open(&copy).unwrap());
    log.try_get_log_entries(..).await.unwrap()
}

/// How many entries that prove something were written after this configuration.
fn proofs(log: &[Entry<TypeConfig>], configuration: u64) -> usize {
    let proofs = log.iter().filter(|entry| {
        entry.log_id.index > configuration
            && matches!(entry.payload, EntryPayload::Normal(Request::Noop))
    });
    proofs.count()
}

/// A server's number in Raft.
fn number(configuration: &RaftConfiguration, name: &str) -> NodeId {
    let mut servers = configuration.servers.iter();
    let server = servers.find(|server| server.name.as_ref().is_some_and(|n| n.as_str() == name));
    server.unwrap().id.as_str().parse().unwrap()
}

fn text(answer: &Result<(), ClientError>) -> String {
    match answer {
        Ok(()) => "done".into(),
        Err(error) => format!("{:?}, {}", error.outcome(), error.kind().name()),
    }
}
