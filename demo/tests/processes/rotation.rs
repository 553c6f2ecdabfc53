//! The leader is killed during a rotation of the gossip key.

use std::time::Duration;

use cluster_operator::GossipKey;
use cluster_operator::client::{ClientError, OperatorClient};

use crate::datacenter::{Datacenter, eventually, ids};
use crate::{in_time, moment, rounds};

/// The approximate duration of a rotation: three rounds of gossip in two pools.
const DURATION: Duration = Duration::from_millis(350);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_is_lost_when_leader_is_killed_in_rotation() {
    let mut datacenter = Datacenter::start(2, 3).await;
    for round in 0..rounds(2) {
        let steps = kill_during_rotation(&mut datacenter, round).await;
        println!(
            "rotation {round}, killed after {:?}: {steps} of 3 steps confirmed",
            moment(round, DURATION)
        );
    }
}

async fn kill_during_rotation(datacenter: &mut Datacenter, round: u32) -> usize {
    let before = datacenter.complete().await;
    let [old] = &datacenter.complete_rings().await[..] else {
        panic!("a rotation has left more than one key")
    };
    let old = old.clone();
    let new = GossipKey::from_bytes(&[round as u8 + 1; 32]).unwrap();
    let names = datacenter.by_role().await;
    let (leader, asked) = (&names[0], &names[1]);

    let client = datacenter.client(asked);
    let request = {
        let (old, new) = (old.clone(), new.clone());
        tokio::spawn(async move { rotate(&client, &old, &new).await })
    };
    tokio::time::sleep(moment(round, DURATION)).await;
    datacenter.server_mut(leader).kill();
    let confirmed = request.await.unwrap();

    datacenter.leader_configuration().await;
    datacenter.restart(leader).await;
    // Confirmed changes are on all nodes, also on the killed one.
    let keys = datacenter.complete_rings().await;
    if confirmed >= 1 {
        assert!(keys.contains(&new), "the installed key is lost");
    }
    if confirmed < 2 {
        assert!(keys.contains(&old), "a key that may be in use is lost");
    }
    if confirmed == 3 {
        assert_eq!(
            keys,
            std::slice::from_ref(&new),
            "the old key is still there"
        );
    }
    let after = datacenter.complete().await;
    assert_eq!(ids(&after), ids(&before), "a server was removed");

    // The rotation can be repeated and completes.
    let client = datacenter.client(asked);
    eventually("the repeated rotation", || async {
        match rotate(&client, &old, &new).await {
            3 => Ok(()),
            steps => Err(format!("{steps} of 3 steps")),
        }
    })
    .await;
    confirmed
}

/// Installs, uses and removes keys, each step only after every node has confirmed the
/// previous one. Returns the number of confirmed steps.
async fn rotate(client: &OperatorClient, old: &GossipKey, new: &GossipKey) -> usize {
    let mut confirmed = 0;
    let steps = async {
        in_time(client.install_key(new)).await?;
        confirmed += 1;
        in_time(client.use_key(new)).await?;
        confirmed += 1;
        in_time(client.remove_key(old)).await?;
        confirmed += 1;
        Ok::<(), ClientError>(())
    };
    // The error is that of the first step that was not confirmed.
    let _ = steps.await;
    confirmed
}
