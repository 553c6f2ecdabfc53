//! Leadership transfers: undisturbed, and while the leader or the target is killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cluster_operator::raft::RaftConfiguration;
use cluster_operator::{ErrorKind, Outcome, ServerId};
use cluster_operator_demo::cluster::network::Network;
use cluster_operator_demo::cluster::transfer::{WRITE, WriteError};
use cluster_operator_demo::cluster::{ELECTION_TIMEOUT, NodeId, Reply, Request};
use tokio::task::JoinHandle;

use crate::datacenter::{Datacenter, eventually, id, ids};
use crate::{in_time, moment, print_times, rounds, text};

/// The approximate duration of a transfer on a busy machine.
const DURATION: Duration = Duration::from_millis(90);
/// The time after which a write that has no answer is repeated elsewhere. It is longer
/// than a transfer holds writes back.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfer_leaves_a_leader_when_a_server_is_killed() {
    let mut datacenter = Datacenter::start(6, 3).await;
    let mut counts = BTreeMap::<String, u32>::new();
    for round in 0..rounds(2) {
        let outcome = kill_during_transfer(&mut datacenter, round).await;
        *counts.entry(outcome).or_default() += 1;
    }
    println!("outcomes: {counts:?}");
}

async fn kill_during_transfer(datacenter: &mut Datacenter, round: u32) -> String {
    let before = datacenter.complete().await;
    let [leader, mut target, mut other] = datacenter.by_role().await.try_into().unwrap();
    if round % 2 == 1 {
        std::mem::swap(&mut target, &mut other);
    }
    let killed = [&leader, &target][round as usize % 2].clone();
    // The leader answers, or a follower that forwards the request.
    let asked = [&other, &leader][round as usize / 2 % 2];
    let to = id(&before, &target);
    // A transfer first waits until the leader has led for so long. Without this pause,
    // nearly all deaths would be in that time.
    tokio::time::sleep(ELECTION_TIMEOUT).await;

    let client = datacenter.client(asked);
    let request = {
        let to = to.clone();
        tokio::spawn(async move { in_time(client.transfer_leadership(Some(&to))).await })
    };
    let delay = moment(round / 2, DURATION);
    tokio::time::sleep(delay).await;
    datacenter.server_mut(&killed).kill();
    let answer = request.await.unwrap();
    let died = Instant::now();
    let after = datacenter.leader_configuration().await;
    let elected = died.elapsed();
    let leads = leading(&after);
    println!(
        "{}: from {leader} to {target}, asked {asked}, killed {killed} after {delay:?}: {}; \
         {leads:?} leads, {elected:?} after the answer",
        round + 1,
        text(&answer)
    );
    match &answer {
        // A dead target has led for a moment.
        Ok(()) if killed == target => {}
        Ok(()) => assert_eq!(leads, Some(to), "a confirmed transfer has no effect"),
        Err(error) if error.outcome() == Outcome::NotApplied => {
            if let ErrorKind::TransferredElsewhere { leader } = error.kind() {
                assert_eq!(
                    leads.as_ref(),
                    Some(leader),
                    "the named server does not lead"
                );
            } else if killed == target {
                assert_eq!(leads, Some(id(&before, &leader)), "not applied: {error}");
            }
        }
        Err(_) => {}
    }

    // All servers have the same configuration as before, also the killed one.
    datacenter.restart(&killed).await;
    let after = datacenter.complete().await;
    assert_eq!(ids(&after), ids(&before), "the configuration has changed");
    text(&answer)
}

/// Prints how long clients cannot write during a transfer and after the death of the
/// leader. Only the comparison is asserted, because the times depend on the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfer_interrupts_writes_for_less_time_than_a_death() {
    let mut datacenter = Datacenter::start(7, 3).await;
    let mut transfers = Vec::new();
    let mut loaded = Vec::new();
    let mut deaths = Vec::new();
    for round in 0..rounds(2) {
        let configuration = datacenter.complete().await;
        let idle = Writers::start(&datacenter.network(), &configuration, 1);
        transfers.push(measure_transfer(&datacenter, &idle).await);

        let leader = datacenter.leader().await;
        let gap = idle.gap(async {
            datacenter.server_mut(&leader).kill();
            datacenter.leader_configuration().await;
        });
        deaths.push(gap.await);
        idle.stop().await;
        datacenter.restart(&leader).await;

        let configuration = datacenter.complete().await;
        let load = Writers::start(&datacenter.network(), &configuration, 4);
        loaded.push(measure_transfer(&datacenter, &load).await);
        load.stop().await;
        println!(
            "{}: without writes for {:?} in a transfer, {:?} under load, {:?} after a death",
            round + 1,
            transfers.last(),
            loaded.last(),
            deaths.last()
        );
    }
    for (what, gaps) in [
        ("transfer", &mut transfers),
        ("transfer under load", &mut loaded),
        ("death of the leader", &mut deaths),
    ] {
        print_times(what, gaps);
    }
    // A pause of the machine can lengthen one of them.
    assert!(transfers.first() < deaths.last());
    assert!(loaded.first() < deaths.last());
}

/// Transfers leadership to a follower. Returns the longest time without a committed write.
/// A busy machine can be too slow for a transfer, which is then refused.
async fn measure_transfer(datacenter: &Datacenter, writers: &Writers) -> Duration {
    loop {
        let names = datacenter.by_role().await;
        let configuration = datacenter.leader_configuration().await;
        let to = id(&configuration, &names[1]);
        let client = datacenter.client(&names[0]);
        let mut answer = Ok(());
        let gap = writers.gap(async {
            answer = in_time(client.transfer_leadership(Some(&to))).await;
        });
        let gap = gap.await;
        match answer {
            Ok(()) => {
                let after = datacenter.leader_configuration().await;
                assert_eq!(leading(&after), Some(to));
                return gap;
            }
            Err(error) => {
                println!("refused: {error}");
                assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
            }
        }
    }
}

/// Clients that write to the leader, each one entry after the other.
struct Writers {
    stop: Arc<AtomicBool>,
    /// The times of the committed writes.
    written: Arc<Mutex<Vec<Instant>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(network: &Network, configuration: &RaftConfiguration, clients: usize) -> Self {
        let servers = configuration.servers.iter();
        let servers: BTreeMap<NodeId, SocketAddr> = servers
            .map(|server| {
                let (id, address) = (server.id.as_str(), server.address.as_str());
                (id.parse().unwrap(), address.parse().unwrap())
            })
            .collect();
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<_>>::default());
        let write = |_| {
            let (network, servers) = (network.clone(), servers.clone());
            let (stop, written) = (stop.clone(), Arc::clone(&written));
            tokio::spawn(async move { keep_writing(&network, &servers, &stop, &written).await })
        };
        Writers {
            tasks: (0..clients).map(write).collect(),
            stop,
            written,
        }
    }

    /// Returns the longest time without a committed write around this event.
    async fn gap(&self, event: impl Future<Output = ()>) -> Duration {
        let count = || self.written.lock().unwrap().len();
        let more = async |than: usize| {
            eventually("writes", || async {
                let now = count();
                if now > than + 5 {
                    Ok(())
                } else {
                    Err(format!("{now} writes"))
                }
            })
            .await;
        };
        more(count()).await;
        let first = count() - 1;
        event.await;
        more(count()).await;
        let written = self.written.lock().unwrap();
        let gaps = written[first..].windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap()
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

async fn keep_writing(
    network: &Network,
    servers: &BTreeMap<NodeId, SocketAddr>,
    stop: &AtomicBool,
    written: &Mutex<Vec<Instant>>,
) {
    let mut others = servers.keys().copied().cycle();
    let mut to = others.next().unwrap();
    while !stop.load(Ordering::Relaxed) {
        let write = network.post(servers[&to], Some(to), WRITE, &Request::Noop);
        let answer = tokio::time::timeout(WRITE_TIMEOUT, write).await;
        let answer: Option<Result<Reply, WriteError>> = answer.ok().and_then(Result::ok);
        to = match answer {
            Some(Ok(_)) => {
                written.lock().unwrap().push(Instant::now());
                to
            }
            Some(Err(error)) => {
                let leader = error.forward_to_leader().and_then(|to| to.leader_id);
                leader.or_else(|| others.next()).unwrap()
            }
            None => others.next().unwrap(),
        };
        tokio::time::sleep(PAUSE).await;
    }
}

fn leading(configuration: &RaftConfiguration) -> Option<ServerId> {
    let mut servers = configuration.servers.iter();
    let leader = servers.find(|server| server.leader);
    leader.map(|leader| leader.id.clone())
}
