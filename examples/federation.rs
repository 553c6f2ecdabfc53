//! Two datacenters of three servers each, every server a process with a real Raft on
//! disk and real gossip. The example shows what an operator does.
//!
//! ```text
//! cargo run --example federation --all-features
//! ```
//!
//! The servers listen on 127.0.1.1 to 127.0.2.3, on Consul's ports. On macOS, add each
//! of these addresses first: `sudo ifconfig lo0 alias 127.0.1.1`.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cluster_operator::client::{ClientError, OperatorClient, RingListing};
use cluster_operator::raft::{Consistency, PeerSelector, RaftConfiguration};
use cluster_operator::{GossipKey, NodeName};
use cluster_operator_demo::operated::{Process, serve_if_started_by_another};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const DATACENTERS: [(&str, [&str; 3]); 2] = [
    ("dc1", ["alice", "bob", "carol"]),
    ("dc2", ["dave", "erin", "frank"]),
];

/// The timeout for an election, the detection of a failure and a rejoin together.
const TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let result = serve_if_started_by_another().unwrap_or_else(run);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let start = Instant::now();
    let mut federation = Federation::start(folder.path())?;
    let result = federation.operate().await;
    if result.is_err() {
        federation.print_logs();
    }
    result?;
    println!(
        "\nAll as expected, in {:.0} s.",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

struct Federation {
    datacenters: [[Process; 3]; 2],
}

impl Federation {
    fn start(folder: &std::path::Path) -> Result<Self> {
        let start = |at: usize| -> Result<[Process; 3]> {
            let (datacenter, names) = DATACENTERS[at];
            let peers: Vec<_> = (0..3)
                .map(|n| format!("{}={}", names[n], ip(at, n)))
                .collect();
            let flags = [
                format!("--peers={}", peers.join(",")),
                format!("--join-wan={}", ip(1 - at, 0)),
            ];
            let start =
                |n: usize| Process::start(datacenter, (names[n], ip(at, n)), folder, &flags, &[]);
            Ok([start(0)?, start(1)?, start(2)?])
        };
        Ok(Federation {
            datacenters: [start(0)?, start(1)?],
        })
    }

    async fn operate(&mut self) -> Result<()> {
        let alice = self.datacenters[0][0].client()?;
        let bob = self.datacenters[0][1].client()?;

        print_step("Six servers start, three each in dc1 and dc2.");
        eventually("a leader in dc1", || leader(&alice)).await?;
        let in_dc2 = alice.clone().in_datacenter("dc2");
        eventually("a leader in dc2", || leader(&in_dc2)).await?;
        let rings =
            eventually("rings of 6, 3 and 3 nodes", || ask_rings(&alice, [6, 3, 3])).await?;
        let old_key = only_key(&rings)?;

        print_step("Any server shows the Raft configuration of both datacenters.");
        for datacenter in ["dc1", "dc2"] {
            let client = bob.clone().in_datacenter(datacenter);
            let configuration = eventually("an answer of bob", || leader(&client)).await?;
            show(&configuration);
            expect("three servers", configuration.servers.len() == 3)?;
        }

        self.replace_carol(&alice).await?;
        let new_key = GossipKey::from_bytes(&[7; 32])?;
        self.rotate(&bob, &old_key, &new_key).await?;
        self.lose_dc2(&alice, &new_key).await
    }

    async fn replace_carol(&mut self, alice: &OperatorClient) -> Result<()> {
        print_step("Carol is killed. Gossip detects it, and an operator removes her.");
        let [_, bob, carol] = &mut self.datacenters[0];
        carol.kill();
        // If she was the leader, the others elect another one first.
        eventually("a leader without carol", || leader(alice)).await?;
        eventually("rings without carol", || ask_rings(alice, [5, 2, 3])).await?;
        let before = alice.raft_configuration(Consistency::Default).await?;
        let carol_peer = before
            .servers
            .iter()
            .find(|server| server.name == Some("carol".into()));
        let carol_id = carol_peer
            .ok_or("carol is not in the configuration")?
            .id
            .clone();
        let selector = PeerSelector::Id(carol_id);
        // Only if nobody has changed the configuration in the meantime.
        alice.remove_peer(&selector, Some(before.index)).await?;
        let after = bob
            .client()?
            .raft_configuration(Consistency::Default)
            .await?;
        show(&after);
        expect("two servers are left", after.servers.len() == 2)?;

        let again = alice.remove_peer(&selector, None).await;
        refused(again, "unknown-server")?;

        print_step("A new carol with an empty disk joins.");
        std::fs::remove_dir_all(&carol.data)?;
        let flags = [
            format!("--join={}", bob.ip),
            format!("--join-wan={}", ip(1, 0)),
        ];
        carol.restart(Some(&flags))?;
        let three = || async {
            let configuration = leader(alice).await?;
            match configuration.servers.len() {
                3 => Ok(configuration),
                n => Err(format!("{n} servers")),
            }
        };
        show(&eventually("three voters", three).await?);
        eventually("rings of 6, 3 and 3 nodes", || ask_rings(alice, [6, 3, 3])).await?;
        Ok(())
    }

    async fn rotate(&self, bob: &OperatorClient, old: &GossipKey, new: &GossipKey) -> Result<()> {
        print_step("The gossip key is rotated in both datacenters and in the WAN pool.");
        refused(bob.use_key(new).await, "rings-failed")?;
        bob.install_key(new).await?;
        println!("  installed: every ring holds both keys");
        bob.use_key(new).await?;
        println!("  used:      every ring encrypts with the new key");
        refused(bob.remove_key(new).await, "rings-failed")?;
        bob.remove_key(old).await?;
        println!("  removed:   the old key is gone");
        let rings = eventually("rings of 6, 3 and 3 nodes", || ask_rings(bob, [6, 3, 3])).await?;
        show_rings(&rings);
        expect("the new key is the only one", only_key(&rings)? == *new)
    }

    async fn lose_dc2(&mut self, alice: &OperatorClient, key: &GossipKey) -> Result<()> {
        print_step("All servers of dc2 are killed.");
        for server in &mut self.datacenters[1] {
            server.kill();
        }
        let in_dc2 = alice.clone().in_datacenter("dc2");
        let lost = || async {
            match in_dc2.raft_configuration(Consistency::Default).await {
                Err(error) if error.kind().name() == "unreachable" => Ok(error),
                Err(error) => Err(error.to_string()),
                Ok(_) => Err("dc2 answers".into()),
            }
        };
        let error = eventually("dc2 is unreachable", lost).await?;
        println!("  error for dc2: {error}");

        let dc1_only = || async {
            let rings = alice.list_keys().await.map_err(|error| error.to_string())?;
            let whole = |ring: &&RingListing| ring.error.is_none() && ring.nodes == 3;
            match rings.iter().filter(whole).count() {
                2 => Ok(rings),
                n => Err(format!("{n} rings of 3 nodes")),
            }
        };
        let rings = eventually("the rings of dc1 and an error for dc2", dc1_only).await?;
        show_rings(&rings);
        expect(
            "the ring of dc2 has an error",
            rings
                .iter()
                .any(|ring| ring.datacenter == "dc2" && ring.error.is_some()),
        )?;

        print_step("The servers of dc2 restart with their data on disk.");
        for server in &mut self.datacenters[1] {
            server.restart(None)?;
        }
        show(&eventually("a leader in dc2", || leader(&in_dc2)).await?);
        let rings = eventually("rings of 6, 3 and 3 nodes", || ask_rings(alice, [6, 3, 3])).await?;
        show_rings(&rings);
        expect("all have the rotated key", only_key(&rings)? == *key)
    }

    fn print_logs(&mut self) {
        for server in self.datacenters.iter_mut().flatten() {
            if server.has_failed() {
                eprintln!("{} has exited:\n{}", server.name, server.log());
            }
        }
    }
}

fn ip(datacenter: usize, server: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, datacenter as u8 + 1, server as u8 + 1).into()
}

fn print_step(text: &str) {
    println!("\n{text}");
}

fn expect(what: &str, holds: bool) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(format!("expected: {what}").into())
    }
}

/// Retries until the look succeeds.
async fn eventually<T, F>(what: &str, look: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return Ok(seen),
            Err(seen) if start.elapsed() > TIMEOUT => {
                return Err(format!("expected: {what}; after {TIMEOUT:?}: {seen}").into());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Returns the configuration from a confirmed leader.
async fn leader(client: &OperatorClient) -> Result<RaftConfiguration, String> {
    let answer = client.raft_configuration(Consistency::Consistent).await;
    answer.map_err(|error| error.to_string())
}

/// Returns the rings of the WAN, dc1 and dc2 if they have these numbers of nodes.
async fn ask_rings(client: &OperatorClient, nodes: [usize; 3]) -> Result<Vec<RingListing>, String> {
    let rings = client
        .list_keys()
        .await
        .map_err(|error| error.to_string())?;
    let errors: Vec<_> = rings.iter().filter_map(|ring| ring.error.clone()).collect();
    let seen: Vec<_> = rings.iter().map(|ring| ring.nodes).collect();
    if seen == nodes && errors.is_empty() {
        Ok(rings)
    } else {
        Err(format!("rings of {seen:?} nodes {}", errors.join(", ")))
    }
}

/// Returns the only key, which every node of every ring has and uses.
fn only_key(rings: &[RingListing]) -> Result<GossipKey> {
    let keys: BTreeSet<_> = rings
        .iter()
        .flat_map(|ring| ring.keys.iter())
        .map(|(key, _)| key)
        .collect();
    for ring in rings {
        let everywhere = |(_, count): (&GossipKey, usize)| count == ring.nodes;
        expect("every node has the key", ring.keys.iter().all(everywhere))?;
        expect(
            "every node uses the key",
            ring.primary_keys.iter().all(everywhere),
        )?;
    }
    match Vec::from_iter(keys).as_slice() {
        [key] => Ok((*key).clone()),
        keys => Err(format!("expected: one key; seen: {}", keys.len()).into()),
    }
}

/// Checks that the answer is an error of this kind.
fn refused(answer: Result<(), ClientError>, kind: &str) -> Result<()> {
    match answer {
        Err(error) if error.kind().name() == kind => {
            println!("  rejected, as expected: {error}");
            Ok(())
        }
        Err(error) => Err(format!("expected: {kind}; seen: {error}").into()),
        Ok(()) => Err(format!("expected: {kind}; seen: success").into()),
    }
}

fn show(configuration: &RaftConfiguration) {
    for server in &configuration.servers {
        let name = server.name.as_ref().map_or("(unknown)", NodeName::as_str);
        let role = if server.leader { "leader" } else { "follower" };
        println!("  {name:<6} {} {role}", server.address);
    }
}

fn show_rings(rings: &[RingListing]) {
    for ring in rings {
        let (datacenter, pool, nodes) = (&ring.datacenter, &ring.pool, ring.nodes);
        let mut line = format!("  {datacenter} {pool} {nodes} nodes");
        for (key, count) in ring.keys.iter() {
            let _ = write!(line, ", key {} on {count}", key.fingerprint());
        }
        if let Some(error) = &ring.error {
            let _ = write!(line, ", {error}");
        }
        println!("{line}");
    }
}
