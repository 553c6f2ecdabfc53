//! The leader is killed in the middle of a removal.

use std::time::Duration;

use cluster_operator::client::ClientError;
use cluster_operator::{Outcome, PeerSelector, RaftConfiguration, ServerId};

use crate::datacenter::{Datacenter, eventually, ids};
use crate::{in_time, moment, rounds};

/// What a removal takes: three commits, and what a busy machine adds.
pub(crate) const WHOLE: Duration = Duration::from_millis(135);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_is_done_or_not_when_the_leader_is_killed() {
    let mut datacenter = Datacenter::start(1, 5).await;
    let mut seen = Vec::new();
    for round in 0..rounds() {
        let (outcome, removed) = kill_during_removal(&mut datacenter, round).await;
        println!(
            "removal {round}, killed after {:?}: {outcome}, removed: {removed}",
            moment(round, WHOLE)
        );
        seen.push(removed);
    }
    println!(
        "removed in {} of {} rounds",
        seen.iter().filter(|removed| **removed).count(),
        seen.len()
    );
}

async fn kill_during_removal(datacenter: &mut Datacenter, round: u32) -> (String, bool) {
    let before = datacenter.whole().await;
    let leader = datacenter.leader().await;
    let mut others = datacenter.running();
    others.retain(|name| *name != leader);
    let (asked, victim) = (others[0].clone(), others[1 + round as usize % 3].clone());
    let id = before
        .servers
        .iter()
        .find(|server| server.name == Some(victim.as_str().into()));
    let selector = PeerSelector::Id(id.unwrap().id.clone());

    let client = datacenter.client(&asked);
    let request = {
        let selector = selector.clone();
        tokio::spawn(async move { in_time(client.remove_peer(&selector, None)).await })
    };
    tokio::time::sleep(moment(round, WHOLE)).await;
    datacenter.server_mut(&leader).kill();
    let answer = request.await.unwrap();

    // There is a leader, and what it has is the old configuration or the new one.
    let after = datacenter.led().await;
    agrees(&answer, &after, &before, &selector);
    let removed = after.servers.len() == 4;
    let outcome = answer.map_or_else(|error| format!("{:?}", error.outcome()), |()| "done".into());

    // So it is on every server that the leader reaches, and on the killed one too.
    datacenter.restart(&leader).await;
    datacenter.agree_but(&victim).await;

    replace(datacenter, &asked, &victim, &selector).await;
    (outcome, removed)
}

/// Nobody but the victim has gone, and it has where that was answered.
pub(crate) fn agrees(
    answer: &Result<(), ClientError>,
    after: &RaftConfiguration,
    before: &RaftConfiguration,
    victim: &PeerSelector,
) {
    let is_victim = |id: &ServerId| PeerSelector::Id(id.clone()) == *victim;
    let others = |configuration: &RaftConfiguration| {
        let mut others = ids(configuration);
        others.retain(|id| !is_victim(id));
        others
    };
    assert_eq!(others(after), others(before), "nobody else has gone");
    let is_there = ids(after).iter().any(is_victim);
    match answer {
        Ok(()) => assert!(!is_there, "what was confirmed has happened"),
        Err(error) if error.outcome() == Outcome::NotApplied => {
            assert!(is_there, "what was denied has not happened: {error}");
        }
        Err(_) => {}
    }
}

/// Ends the removal if it has not ended, and has the victim join anew.
pub(crate) async fn replace(
    datacenter: &mut Datacenter,
    asked: &str,
    victim: &str,
    selector: &PeerSelector,
) {
    let client = datacenter.client(asked);
    eventually("the removal, asked for again", || async {
        let led = datacenter.led().await;
        if led.servers.len() < datacenter.servers.len() {
            return Ok(());
        }
        let again = in_time(client.remove_peer(selector, None)).await;
        again.map_err(|error| error.to_string())
    })
    .await;
    let join = format!("--join={}", datacenter.server(asked).ip);
    let server = datacenter.server_mut(victim);
    server.kill();
    // A new server in Raft; the keys stay, as the pool may have rotated.
    for file in ["raft.redb", "id"] {
        let _ = std::fs::remove_file(server.data.join(file));
    }
    server.restart(Some(&[join])).unwrap();
    datacenter.whole().await;
}
