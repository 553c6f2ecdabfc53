//! Autopilot acts on server processes: on one that freezes, on those that die for good, and
//! on one that joins.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use cluster_operator::ErrorKind;
use cluster_operator::autopilot::{AutopilotServer, Settings};
use cluster_operator::raft::{Consistency, RaftConfiguration, Suffrage};

use crate::datacenter::{Datacenter, eventually};
use crate::rounds_of;

/// The shortest hold.
const HOLD: Duration = Settings::SHORTEST_HOLD;

/// How long the frozen server does not answer.
const FROZEN: Duration = Duration::from_secs(25);

/// The flags of a server whose autopilot acts.
fn acting(hold: Duration) -> Vec<String> {
    let hold = format!("--failed-hold={}", hold.as_secs());
    vec!["--autopilot=on".into(), hold]
}

/// Starts servers whose autopilot acts, and waits until all are healthy.
async fn start(network: u8, size: usize, hold: Duration) -> Datacenter {
    let datacenter = Datacenter::launch_with(network, size, &acting(hold));
    datacenter.complete().await;
    healthy(&datacenter, &datacenter.running()[0], size).await;
    datacenter
}

/// Waits until this many servers are healthy, and no other one is known.
async fn healthy(datacenter: &Datacenter, asked: &str, size: usize) {
    let client = datacenter.client(asked);
    eventually("a healthy cluster", || async {
        let health = client.autopilot_health().await;
        let health = health.map_err(|error| error.to_string())?;
        if health.healthy && health.servers.len() == size {
            return Ok(());
        }
        Err(format!("{health:?}"))
    })
    .await;
}

/// Returns the names of the voters.
fn voters(configuration: &RaftConfiguration) -> BTreeSet<String> {
    let servers = configuration.servers.iter();
    let voters = servers.filter(|server| server.suffrage == Suffrage::Voter);
    let names = voters.filter_map(|voter| voter.name.as_ref());
    names.map(ToString::to_string).collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    names.into_iter().cloned().collect()
}

/// Waits until exactly these servers vote, and returns the configuration.
async fn vote(datacenter: &Datacenter, asked: &str, names: &BTreeSet<String>) -> RaftConfiguration {
    eventually("the voters", || async {
        let configuration = datacenter.read(asked, Consistency::Default).await;
        let configuration = configuration.map_err(|error| error.to_string())?;
        if voters(&configuration) == *names {
            return Ok(configuration);
        }
        Err(format!("{configuration:?}"))
    })
    .await
}

/// Returns what autopilot says about a server.
async fn server(
    datacenter: &Datacenter,
    asked: &str,
    name: &str,
) -> Result<AutopilotServer, String> {
    let health = datacenter.client(asked).autopilot_health().await;
    let health = health.map_err(|error| error.to_string())?;
    let mut servers = health.servers.iter();
    let server = servers.find(|server| server.name.as_str() == name);
    server.cloned().ok_or_else(|| format!("{health:?}"))
}

/// Waits until a running server has logged this.
async fn logged(datacenter: &Datacenter, text: &str) {
    eventually(text, || async {
        let running = datacenter
            .servers
            .iter()
            .filter(|server| server.is_started());
        let logs: Vec<_> = running.map(|server| server.log()).collect();
        if logs.iter().any(|log| log.contains(text)) {
            return Ok(());
        }
        Err(logs.concat())
    })
    .await;
}

/// Returns the leader, and then the others.
async fn by_role(datacenter: &Datacenter) -> Vec<String> {
    let leader = datacenter.leader().await;
    let mut names = datacenter.running();
    names.sort_by_key(|name| *name != leader);
    names
}

fn signal(datacenter: &Datacenter, name: &str, signal: &str) {
    let id = datacenter.server(name).id().unwrap().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(sent.success());
}

/// Prints the times of all rounds, their median and the slowest.
fn print_times(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: median {median:.1?}, slowest {slowest:.1?} of {times:.1?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_that_freezes_for_25_s_stays_a_voter() {
    // Longer than the freeze also on a machine that is slow to end it.
    let datacenter = start(60, 5, HOLD * 6).await;
    let names = by_role(&datacenter).await;
    let (asked, frozen) = (&names[0], &names[4]);
    let before = vote(&datacenter, asked, &set(&names)).await;

    signal(&datacenter, frozen, "-STOP");
    let silent = eventually("a silence of 25 s", || async {
        let server = server(&datacenter, asked, frozen).await?;
        if server.last_contact >= FROZEN && server.node_status == "failed" {
            return Ok(server.last_contact);
        }
        Err(format!("{server:?}"))
    })
    .await;
    // Autopilot has seen it, and only the hold protects it.
    logged(
        &datacenter,
        &format!("autopilot waits: {frozen}: failed for "),
    )
    .await;
    signal(&datacenter, frozen, "-CONT");
    healthy(&datacenter, asked, 5).await;
    let after = vote(&datacenter, asked, &set(&names)).await;
    assert_eq!(after.index, before.index, "the configuration has changed");
    println!("frozen for {silent:.1?}, and a voter all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_server_of_five_is_removed_after_its_hold() {
    // Longer than a removal takes that does not wait for it.
    let hold = HOLD * 2;
    let (mut removed, mut voting) = (Vec::new(), Vec::new());
    for round in 0..rounds_of("AUTOPILOT_ROUNDS", 1) {
        // Another cluster in each round: the window allows two removals.
        let mut datacenter = start(61 + (round % 20) as u8, 5, hold).await;
        let names = by_role(&datacenter).await;
        let (asked, killed) = (&names[0], &names[4]);
        let client = datacenter.client(asked);
        let mut configuration = client.autopilot_configuration().await.unwrap();
        configuration.min_quorum = 3;
        let set_min = client.set_autopilot_configuration(&configuration, None);
        assert!(set_min.await.unwrap());

        datacenter.server_mut(killed).kill();
        let began = Instant::now();
        vote(&datacenter, asked, &set(&names[..4])).await;
        let took = began.elapsed();
        assert!(took >= hold, "removed after {took:?}");
        removed.push(took);
        // Four of five are left, so that one more can die.
        let reason = " s of 20, 4 healthy voters of 4 remain";
        logged(
            &datacenter,
            &format!("autopilot removed {killed}: failed for 2"),
        )
        .await;
        logged(&datacenter, reason).await;
        logged(&datacenter, "operation=\"remove-peer\"").await;
        logged(&datacenter, "source=\"autopilot\"").await;

        // The fifth voter is one that joins.
        let began = Instant::now();
        let joined = datacenter.join(&acting(hold));
        let five = names[..4].iter().chain([&joined]);
        vote(&datacenter, asked, &set(five)).await;
        voting.push(began.elapsed());
        logged(
            &datacenter,
            &format!("autopilot promoted {joined}: healthy for 1"),
        )
        .await;
        healthy(&datacenter, asked, 5).await;
    }
    print_times("removed after the kill, with a hold of 20 s", removed);
    print_times(
        "a new server votes after its start, in a free place",
        voting,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_server_of_three_is_replaced_by_one_that_joins() {
    let (mut refused, mut voting) = (Vec::new(), Vec::new());
    for round in 0..rounds_of("AUTOPILOT_ROUNDS", 1) {
        let mut datacenter = start(81 + (round % 20) as u8, 3, HOLD).await;
        let names = by_role(&datacenter).await;
        let (asked, killed) = (&names[0], &names[2]);

        datacenter.server_mut(killed).kill();
        let began = Instant::now();
        let refusal = "dead, but 2 voters would remain, below MinQuorum 3: add a spare";
        logged(
            &datacenter,
            &format!("autopilot waits: {killed}: {refusal}"),
        )
        .await;
        refused.push(began.elapsed());
        vote(&datacenter, asked, &set(&names)).await;

        let began = Instant::now();
        let joined = datacenter.join(&acting(HOLD));
        let three = names[..2].iter().chain([&joined]);
        vote(&datacenter, asked, &set(three)).await;
        voting.push(began.elapsed());
        logged(
            &datacenter,
            &format!("autopilot replaced {killed} with {joined}: failed for "),
        )
        .await;
        healthy(&datacenter, asked, 3).await;
        // It decides as the others do when it leads.
        let size = datacenter.server(&joined).data.join("intended-size");
        assert_eq!(std::fs::read_to_string(size).unwrap(), "3");
    }
    print_times(
        "the refusal is shown after the kill, with a hold of 10 s",
        refused,
    );
    print_times(
        "a new server votes after its start, in a dead one's place",
        voting,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_of_three_of_five_keeps_what_recovery_needs() {
    let mut datacenter = start(101, 5, HOLD).await;
    let names = by_role(&datacenter).await;
    let asked = &names[0];
    for killed in &names[3..] {
        datacenter.server_mut(killed).kill();
    }
    // One is removed, and the other one is needed: with three voters left, the third death
    // would leave a majority of a majority.
    let four = eventually("four voters", || async {
        let configuration = datacenter.read(asked, Consistency::Default).await;
        let voters = voters(&configuration.map_err(|error| error.to_string())?);
        (voters.len() < 5)
            .then_some(voters)
            .ok_or_else(|| "all five".into())
    })
    .await;
    let kept = names[3..].iter().find(|name| four.contains(*name)).unwrap();
    logged(
        &datacenter,
        &format!("autopilot waits: {kept}: dead, but 3 voters would remain"),
    )
    .await;
    vote(&datacenter, asked, &four).await;
    assert_eq!(four.len(), 4);

    datacenter.server_mut(&names[2]).kill();
    let client = datacenter.client(asked);
    eventually("the loss of the majority", || async {
        match client.raft_configuration(Consistency::Default).await {
            Err(error) if *error.kind() == ErrorKind::NoLeader => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for name in &names[..2] {
        let view = datacenter.view(name).await.unwrap();
        assert_eq!(voters(&view), four, "{name}");
    }

    let began = Instant::now();
    for killed in &names[2..] {
        datacenter.restart(killed).await;
    }
    vote(&datacenter, asked, &four).await;
    healthy(&datacenter, asked, 4).await;
    println!("healthy again {:.1?} after the restart", began.elapsed());
    assert_eq!(voters(&datacenter.leader_configuration().await), four);
}
