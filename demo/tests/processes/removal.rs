//! The leader is killed during a removal.

use std::time::Duration;

use cluster_operator::client::ClientError;
use cluster_operator::raft::{PeerSelector, RaftConfiguration};
use cluster_operator::{Outcome, ServerId};

use crate::datacenter::{Datacenter, eventually, id, ids};
use crate::{in_time, moment, rounds, text};

/// The approximate duration of a removal, with three commits on a busy machine.
pub(crate) const DURATION: Duration = Duration::from_millis(135);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removal_is_atomic_when_leader_is_killed() {
    let mut datacenter = Datacenter::start(1, 5).await;
    let mut seen = Vec::new();
    for round in 0..rounds(3) {
        let (outcome, removed) = kill_during_removal(&mut datacenter, round).await;
        println!(
            "removal {round}, killed after {:?}: {outcome}, removed: {removed}",
            moment(round, DURATION)
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
    let before = datacenter.complete().await;
    let names = datacenter.by_role().await;
    let (leader, asked, victim) = (&names[0], &names[1], &names[2 + round as usize % 3]);
    let selector = PeerSelector::Id(id(&before, victim));

    let client = datacenter.client(asked);
    let request = {
        let selector = selector.clone();
        tokio::spawn(async move { in_time(client.remove_peer(&selector, None)).await })
    };
    tokio::time::sleep(moment(round, DURATION)).await;
    datacenter.server_mut(leader).kill();
    let answer = request.await.unwrap();

    // There is a leader with either the old or the new configuration.
    let after = datacenter.leader_configuration().await;
    check_answer(&answer, &after, &before, &selector);
    let removed = after.servers.len() == 4;

    // All other servers have the same configuration, also the killed one.
    datacenter.restart(leader).await;
    datacenter.agree_except(victim).await;

    replace(datacenter, asked, victim, &selector).await;
    (text(&answer), removed)
}

/// Checks that only the victim was removed, and that the answer is true.
pub(crate) fn check_answer(
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
    assert_eq!(others(after), others(before), "another server was removed");
    let stays = ids(after).iter().any(is_victim);
    match answer {
        Ok(()) => assert!(!stays, "a confirmed removal has no effect"),
        Err(error) if error.outcome() == Outcome::NotApplied => {
            assert!(
                stays,
                "a removal was applied in spite of its error: {error}"
            );
        }
        Err(_) => {}
    }
}

/// Completes the removal if necessary, and lets the victim join as a new server.
pub(crate) async fn replace(
    datacenter: &mut Datacenter,
    asked: &str,
    victim: &str,
    selector: &PeerSelector,
) {
    let client = datacenter.client(asked);
    eventually("a retry of the removal", || async {
        let configuration = datacenter.leader_configuration().await;
        if configuration.servers.len() < datacenter.servers.len() {
            return Ok(());
        }
        let again = in_time(client.remove_peer(selector, None)).await;
        again.map_err(|error| error.to_string())
    })
    .await;
    let join = format!("--join={}", datacenter.server(asked).ip);
    let server = datacenter.server_mut(victim);
    server.kill();
    // It is a new server in Raft. The keyrings stay, because the key may be rotated.
    for file in ["raft.redb", "id"] {
        let _ = std::fs::remove_file(server.data.join(file));
    }
    server.restart(Some(&[join])).unwrap();
    datacenter.complete().await;
}
