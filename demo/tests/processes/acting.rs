//! Autopilot acts on server processes: on one that freezes, on those that die for good, and
//! on one that joins.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use cluster_operator::ErrorKind;
use cluster_operator::autopilot::{
    ActionKind, ActionResult, AutopilotReport, AutopilotServer, DriverChange, Settings, ValueChange,
};
use cluster_operator::raft::{Consistency, RaftConfiguration, Suffrage};

use crate::datacenter::{Datacenter, eventually};
use crate::{print_times, rounds_of};

/// The shortest hold.
const HOLD: Duration = Settings::SHORTEST_HOLD;

/// How long the frozen server does not answer.
const FROZEN: Duration = Duration::from_secs(25);

/// The flags of a server with this hold, without others a dry run.
fn dry_run(hold: Duration) -> Vec<String> {
    vec![format!("--failed-hold={}", hold.as_secs())]
}

/// The flags of a server whose autopilot acts.
fn acting(hold: Duration) -> Vec<String> {
    [dry_run(hold), vec!["--autopilot=on".into()]].concat()
}

/// Starts servers with these flags, and waits until all are healthy.
async fn start(network: u8, size: usize, flags: &[String]) -> Datacenter {
    let datacenter = Datacenter::launch_with(network, size, flags);
    datacenter.complete().await;
    datacenter.healthy(&datacenter.running()[0], size).await;
    datacenter
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

/// Returns what autopilot says about a server, and reports of itself.
async fn state(
    datacenter: &Datacenter,
    asked: &str,
    name: &str,
) -> Result<(AutopilotServer, AutopilotReport), String> {
    let state = datacenter.client(asked).autopilot_state().await;
    let state = state.map_err(|error| error.to_string())?;
    let mut servers = state.servers.iter();
    let server = servers.find(|server| server.name.as_str() == name);
    match (server, &state.autopilot) {
        (Some(server), Some(report)) => Ok((server.clone(), report.clone())),
        _ => Err(format!("{state:?}")),
    }
}

/// Waits until autopilot shows that this rule keeps it from a change of a server.
async fn refused(datacenter: &Datacenter, asked: &str, name: &str, rule: &str) -> String {
    eventually("a refusal", || async {
        let (server, report) = state(datacenter, asked, name).await?;
        match report.servers.get(&server.id) {
            Some(refused) if refused.rule == rule => Ok(refused.reason.clone()),
            _ => Err(format!("{report:?}")),
        }
    })
    .await
}

/// Waits until the log of a running server has a line with all these texts.
async fn logged(datacenter: &Datacenter, texts: &[&str]) {
    eventually(&format!("the log {texts:?}"), || async {
        let running = datacenter.servers.iter();
        let running = running.filter(|server| server.is_started());
        let logs = running.map(|server| server.log()).collect::<String>();
        let mut lines = logs.lines();
        if lines.any(|line| texts.iter().all(|text| line.contains(text))) {
            return Ok(());
        }
        Err(logs)
    })
    .await;
}

/// Lets autopilot act, whatever its servers were started with.
async fn act(datacenter: &Datacenter, asked: &str) {
    let client = datacenter.client(asked);
    let configuration = client.autopilot_configuration().await.unwrap();
    assert_eq!(configuration.dry_run, Some(true));
    let change = DriverChange {
        dry_run: ValueChange::Set(false),
        ..DriverChange::default()
    };
    let changed = client.change_autopilot(&configuration, change, None);
    assert!(changed.await.unwrap());
}

fn signal(datacenter: &Datacenter, name: &str, signal: &str) {
    let id = datacenter.server(name).id().unwrap().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_that_freezes_for_25_s_stays_a_voter() {
    // Longer than the freeze also on a machine that is slow to end it.
    let datacenter = start(60, 5, &acting(HOLD * 6)).await;
    let names = datacenter.by_role().await;
    let (asked, frozen) = (&names[0], &names[4]);
    let before = vote(&datacenter, asked, &set(&names)).await;

    signal(&datacenter, frozen, "-STOP");
    let silent = eventually("a silence of 25 s", || async {
        let (server, _) = state(&datacenter, asked, frozen).await?;
        if server.last_contact >= FROZEN && server.node_status == "failed" {
            return Ok(server.last_contact);
        }
        Err(format!("{server:?}"))
    })
    .await;
    // Only the hold protects it.
    let reason = refused(&datacenter, asked, frozen, "hold").await;
    signal(&datacenter, frozen, "-CONT");
    datacenter.healthy(asked, 5).await;
    let after = vote(&datacenter, asked, &set(&names)).await;
    assert_eq!(after.index, before.index, "the configuration has changed");
    println!("frozen for {silent:.1?}, {reason}, and a voter all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_server_of_five_is_removed_after_its_hold() {
    // Longer than a removal takes that does not wait for it.
    let hold = HOLD * 2;
    let flags = acting(hold);
    let (mut removed, mut voting) = (Vec::new(), Vec::new());
    for round in 0..rounds_of("AUTOPILOT_ROUNDS", 1) {
        // Another cluster in each round: the window allows two removals.
        let mut datacenter = start(61 + (round % 20) as u8, 5, &flags).await;
        let names = datacenter.by_role().await;
        let (asked, killed) = (&names[0], &names[4]);
        let client = datacenter.client(asked);
        let mut configuration = client.autopilot_configuration().await.unwrap();
        configuration.min_quorum = 3;
        // What the programs say of the rest stays theirs.
        let change = DriverChange::default();
        let changed = client.change_autopilot(&configuration, change, None);
        assert!(changed.await.unwrap());

        datacenter.server_mut(killed).kill();
        let began = Instant::now();
        vote(&datacenter, asked, &set(&names[..4])).await;
        let took = began.elapsed();
        assert!(took >= hold, "removed after {took:?}");
        removed.push(took);
        let reason = " s of 20, 4 healthy voters of 4 remain";
        let line = format!("autopilot removed {killed}: failed for ");
        logged(&datacenter, &[&line, reason]).await;
        let audit = [
            "cluster_operator::audit: ",
            "operation=\"remove-peer\"",
            "source=\"autopilot\"",
            "outcome=\"applied\"",
            reason,
        ];
        logged(&datacenter, &audit).await;

        // The fifth voter is one that joins.
        let began = Instant::now();
        let joined = datacenter.join(&flags);
        let five = names[..4].iter().chain([&joined]);
        vote(&datacenter, asked, &set(five)).await;
        voting.push(began.elapsed());
        let line = format!("autopilot promoted {joined}: healthy for ");
        logged(&datacenter, &[&line, "5 healthy voters of 5 follow"]).await;
        datacenter.healthy(asked, 5).await;
    }
    print_times("removed after the kill, with a hold of 20 s", &mut removed);
    print_times("a vote after the start, in a free place", &mut voting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_server_of_three_is_replaced_by_one_that_joins() {
    let (mut refusals, mut voting) = (Vec::new(), Vec::new());
    for round in 0..rounds_of("AUTOPILOT_ROUNDS", 1) {
        let mut datacenter = start(81 + (round % 20) as u8, 3, &dry_run(HOLD)).await;
        let names = datacenter.by_role().await;
        let (asked, killed) = (&names[0], &names[2]);
        // No flag lets it act, so the leader knows better than the server that joins.
        act(&datacenter, asked).await;

        datacenter.server_mut(killed).kill();
        let began = Instant::now();
        let reason = refused(&datacenter, asked, killed, "min-quorum").await;
        refusals.push(began.elapsed());
        assert!(
            reason.contains("below MinQuorum 3: add a spare"),
            "{reason}"
        );
        vote(&datacenter, asked, &set(&names)).await;

        let began = Instant::now();
        let joined = datacenter.join(&dry_run(HOLD));
        let three = names[..2].iter().chain([&joined]);
        vote(&datacenter, asked, &set(three)).await;
        voting.push(began.elapsed());
        let line = format!("autopilot replaced {killed} with {joined}: failed for ");
        logged(&datacenter, &[&line, "3 healthy voters of 3 follow"]).await;
        datacenter.healthy(asked, 3).await;
        // It decides as the others do when it leads.
        let size = datacenter.server(&joined).data.join("intended-size");
        assert_eq!(std::fs::read_to_string(size).unwrap(), "3");
    }
    print_times("refused after the kill, with a hold of 10 s", &mut refusals);
    print_times("a vote after the start, in a dead one's place", &mut voting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_of_three_of_five_keeps_what_recovery_needs() {
    let mut datacenter = start(101, 5, &dry_run(HOLD)).await;
    let names = datacenter.by_role().await;
    let asked = &names[0];
    let before = vote(&datacenter, asked, &set(&names)).await;
    for killed in &names[3..] {
        datacenter.server_mut(killed).kill();
    }
    let removal = eventually("an action that is not executed", || async {
        let (_, report) = state(&datacenter, asked, asked).await?;
        let mut actions = report.actions.iter();
        let removal = actions.find(|action| action.kind == ActionKind::Remove);
        let removal = removal.ok_or_else(|| format!("{report:?}"))?;
        assert_eq!(removal.result, ActionResult::DryRun);
        Ok(removal.reason.clone())
    })
    .await;
    logged(&datacenter, &["autopilot would remove "]).await;
    let after = vote(&datacenter, asked, &set(&names)).await;
    assert_eq!(after.index, before.index, "a dry run did {removal}");

    act(&datacenter, asked).await;
    // One is removed, and the other one is kept: by default, MinQuorum of five is four.
    let four = eventually("four voters", || async {
        let configuration = datacenter.read(asked, Consistency::Default).await;
        let voters = voters(&configuration.map_err(|error| error.to_string())?);
        let four = (voters.len() < 5).then_some(voters);
        four.ok_or_else(|| "all five".into())
    })
    .await;
    let kept = names[3..].iter().find(|name| four.contains(*name)).unwrap();
    let reason = refused(&datacenter, asked, kept, "min-quorum").await;
    assert!(reason.contains("below MinQuorum 4"), "{reason}");
    vote(&datacenter, asked, &four).await;

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

    // One of the dead is enough for a leader.
    let began = Instant::now();
    datacenter.restart(kept).await;
    vote(&datacenter, asked, &four).await;
    let led = began.elapsed();
    for killed in names[2..].iter().filter(|name| *name != kept) {
        datacenter.restart(killed).await;
    }
    datacenter.healthy(asked, 4).await;
    vote(&datacenter, asked, &four).await;
    println!("a leader {led:.1?} after the restart of {kept}");
}
