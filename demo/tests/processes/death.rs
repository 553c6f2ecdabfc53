//! Another server is killed during a removal.
//!
//! The test reads the servers' logs to find out what happened. There must be a leader
//! as long as every configuration in a live server's log has a live majority. A removal
//! cannot prevent a loss of majority by a server that dies between the proof and the
//! commit; the test counts these. A server that dies before the proof must not cause
//! one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cluster_operator::Outcome;
use cluster_operator::raft::{Consistency, PeerSelector, RaftConfiguration};
use cluster_operator_openraft::log_position;
use openraft::{Entry, EntryPayload, RaftLogReader};

use crate::datacenter::{Datacenter, id, ids};
use crate::removal::{DURATION, check_answer, replace};
use crate::{in_time, moment, rounds, text};
use cluster_operator_demo::cluster::log::Log;
use cluster_operator_demo::cluster::store::Store;
use cluster_operator_demo::cluster::{ELECTION_TIMEOUT, NodeId, Request, TypeConfig};

/// The time after which the cluster counts as leaderless. On an idle machine, an
/// election takes up to four election timeouts.
const LEADERLESS: Duration = ELECTION_TIMEOUT.saturating_mul(12);

/// The results of all rounds.
#[derive(Debug, Default)]
struct Counts {
    done: u32,
    refused: u32,
    unknown: u32,
    /// The killed server had not written the entry of the proof.
    died_before_proof: u32,
    /// A configuration had no majority until the killed server was restarted.
    without_majority: u32,
    slowest_election: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_before_proof_costs_no_majority_of_three() {
    // Most of the later rounds kill after the proof, and wait for the leader in vain.
    kill_during_removals(4, 3, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_during_removal_costs_no_majority_of_five() {
    kill_during_removals(5, 5, 2).await;
}

async fn kill_during_removals(network: u8, size: usize, default: u32) {
    let mut datacenter = Datacenter::start(network, size).await;
    let mut counts = Counts::default();
    for round in 0..rounds(default) {
        kill_another(&mut datacenter, round, &mut counts).await;
    }
    println!("removals from {size} servers: {counts:?}");
}

/// Returns the servers that a round asks, removes and kills. The leader takes each role
/// in turn.
fn roles(round: u32, leader: &str, followers: &[String]) -> [String; 3] {
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
    let before = datacenter.complete().await;
    let names = datacenter.by_role().await;
    let (leader, followers) = names.split_first().unwrap();
    let [asked, victim, killed] = roles(round, leader, followers);
    let selector = PeerSelector::Id(id(&before, &victim));

    let delay = moment(round / 3 + 2 * (round % 3), DURATION);
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

    // Only entries that were written after the request prove something.
    let log = log(datacenter, &killed).await;
    let had_proof = proofs(&log, before.index) > 0;
    counts.died_before_proof += u32::from(!had_proof);
    let proof_needs_it = before.servers.len() == 3 && killed != *leader;
    match &answer {
        Ok(()) => counts.done += 1,
        Err(error) if error.outcome() == Outcome::NotApplied => counts.refused += 1,
        Err(_) => counts.unknown += 1,
    }
    println!(
        "{}: removed {victim}, killed {killed} after {delay:?}, {} led: {}; it had {}the proof; leader after {:?}",
        round + 1,
        leader,
        text(&answer),
        if had_proof { "" } else { "not " },
        elected.as_ref().map(|(_, elapsed)| elapsed),
    );
    if proof_needs_it && !had_proof {
        let refused = answer.as_ref().err();
        let refused = refused.map(|error| error.outcome());
        assert_eq!(refused, Some(Outcome::NotApplied), "{answer:?}");
        assert!(elected.is_some(), "no leader after a refused removal");
    }

    match elected {
        Some((after, elapsed)) => {
            counts.slowest_election = counts.slowest_election.max(elapsed);
            check_answer(&answer, &after, &before, &selector);
            // The cluster accepts writes, so the dead server can be removed, unless
            // another change has to be completed first.
            if answer.is_err() && ids(&after) == ids(&before) && proof_needs_it && !had_proof {
                let dead = PeerSelector::Id(id(&before, &killed));
                replace(datacenter, &asked, &killed, &dead).await;
                return;
            }
        }
        None => {
            counts.without_majority += 1;
            check_lost_majority(datacenter, &before, &victim).await;
        }
    }

    // Once the killed server is restarted, there is a leader, and all other servers
    // have its configuration.
    datacenter.restart(&killed).await;
    let after = datacenter.leader_configuration().await;
    check_answer(&answer, &after, &before, &selector);
    datacenter.agree_except(&victim).await;
    replace(datacenter, &asked, &victim, &selector).await;
}

/// Stops all servers, checks in their logs that a configuration has no live majority,
/// and restarts all but the victim, which would only ask to join again.
async fn check_lost_majority(
    datacenter: &mut Datacenter,
    before: &RaftConfiguration,
    victim: &str,
) {
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
                && log_position(&entry.log_id).index >= before.index
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
        "every configuration has a live majority, but there is no leader: {up:?}, {configurations:?}"
    );
    for name in running.iter().filter(|name| *name != victim) {
        datacenter.restart(name).await;
    }
}

/// Waits for a leader and returns its configuration and the elapsed time, or `None` if
/// there is no leader within the limit.
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

/// Returns the log of a killed server.
async fn log(datacenter: &Datacenter, name: &str) -> Vec<Entry<TypeConfig>> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("raft.redb");
    std::fs::copy(datacenter.server(name).data.join("raft.redb"), &copy).unwrap();
    let mut log = Log::new(Store::open(&copy).unwrap());
    log.try_get_log_entries(..).await.unwrap()
}

/// Counts the entries of proofs that were written after this configuration.
fn proofs(log: &[Entry<TypeConfig>], configuration: u64) -> usize {
    let proofs = log.iter().filter(|entry| {
        log_position(&entry.log_id).index > configuration
            && matches!(entry.payload, EntryPayload::Normal(Request::Noop))
    });
    proofs.count()
}

/// Returns a server's number in Raft.
fn number(configuration: &RaftConfiguration, name: &str) -> NodeId {
    id(configuration, name).as_str().parse().unwrap()
}
