//! The leader is killed in the middle of a rotation of the gossip key.

use std::time::Duration;

use cluster_operator::GossipKey;
use cluster_operator::client::{ClientError, OperatorClient};

use crate::datacenter::{Datacenter, eventually, ids};
use crate::{in_time, moment, rounds};

/// What a rotation takes: three rounds of gossip in two pools.
const WHOLE: Duration = Duration::from_millis(350);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_is_lost_when_the_leader_is_killed_in_a_rotation() {
    let mut datacenter = Datacenter::start(2, 5).await;
    for round in 0..rounds() {
        let steps = kill_during_rotation(&mut datacenter, round).await;
        println!(
            "rotation {round}, killed after {:?}: {steps} of 3 steps confirmed",
            moment(round, WHOLE)
        );
    }
}

async fn kill_during_rotation(datacenter: &mut Datacenter, round: u32) -> usize {
    let before = datacenter.whole().await;
    let [old] = &datacenter.rings_of_all().await[..] else {
        panic!("a rotation has left more than one key")
    };
    let old = old.clone();
    let new = GossipKey::from_bytes(&[round as u8 + 1; 32]).unwrap();
    let leader = datacenter.leader().await;
    let asked = datacenter
        .running()
        .into_iter()
        .find(|name| *name != leader)
        .unwrap();

    let client = datacenter.client(&asked);
    let request = {
        let (old, new) = (old.clone(), new.clone());
        tokio::spawn(async move { rotate(&client, &old, &new).await })
    };
    tokio::time::sleep(moment(round, WHOLE)).await;
    datacenter.server_mut(&leader).kill();
    let confirmed = request.await.unwrap();

    datacenter.led().await;
    datacenter.restart(&leader).await;
    // What every node has confirmed is there, on the killed one too.
    let keys = datacenter.rings_of_all().await;
    if confirmed >= 1 {
        assert!(keys.contains(&new), "the installed key is there");
    }
    if confirmed < 2 {
        assert!(keys.contains(&old), "the key that may be in use is there");
    }
    if confirmed == 3 {
        assert_eq!(keys, std::slice::from_ref(&new), "the removed key is gone");
    }
    let after = datacenter.whole().await;
    assert_eq!(ids(&after), ids(&before), "no server is lost");

    // The operator begins again, and comes to the end.
    let client = datacenter.client(&asked);
    eventually("the rotation, begun again", || async {
        match rotate(&client, &old, &new).await {
            3 => Ok(()),
            steps => Err(format!("{steps} of 3 steps")),
        }
    })
    .await;
    confirmed
}

/// Installs, uses, removes, each only after every node has confirmed the one
/// before. How many of the steps were confirmed.
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
    // The step that failed is the one that is missing.
    let _ = steps.await;
    confirmed
}
