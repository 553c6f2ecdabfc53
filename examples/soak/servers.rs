//! Four processes of the main example: three servers of dc1, and one of dc2.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cluster_operator::client::OperatorClient;
use cluster_operator::raft::Consistency;
use cluster_operator::{GossipKey, Token};
use cluster_operator_demo::operated;

use crate::{Error, tokens};

/// The servers of dc1, which are killed, and the one of dc2, which hangs.
pub(crate) const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
pub(crate) const DC1: usize = 3;
pub(crate) const DAVE: usize = 3;

/// An election, the detection of a failure and a rejoin take less together.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The process ids, for those who only look at the processes; 0 for a dead one.
pub(crate) type Pids = Arc<[AtomicU32; 4]>;

pub(crate) struct Servers {
    program: PathBuf,
    folder: PathBuf,
    processes: [Option<Child>; 4],
    pub(crate) pids: Pids,
    /// How often each server was started.
    starts: [u32; 4],
    /// Keyring files that a killed server left half written. serf writes them in place.
    pub(crate) torn_keyrings: u32,
}

impl Servers {
    /// Starts all servers. The folder has the token file already.
    pub(crate) fn start(folder: &Path) -> Result<Self, Error> {
        let program = std::env::current_exe()?.with_file_name("server");
        if !program.exists() {
            let build = "build the example `server` with the same flags first";
            return Err(format!("{} is missing: {build}", program.display()).into());
        }
        let mut servers = Servers {
            program,
            folder: folder.to_owned(),
            processes: Default::default(),
            pids: Arc::default(),
            starts: [0; 4],
            torn_keyrings: 0,
        };
        for at in 0..NAMES.len() {
            servers.spawn(at)?;
        }
        Ok(servers)
    }

    /// Returns a client of a server with connections of its own.
    pub(crate) fn client(at: usize, token: &Token) -> Result<OperatorClient, Error> {
        let client = OperatorClient::new(format!("http://{}:8500", ip(at)).parse()?);
        Ok(client.with_token(token)?)
    }

    fn data(&self, at: usize) -> PathBuf {
        self.folder.join(NAMES[at])
    }

    fn spawn(&mut self, at: usize) -> io::Result<()> {
        self.starts[at] += 1;
        let log = File::create(self.log_file(at))?;
        let place = |at: usize| format!("{}={}", NAMES[at], ip(at));
        let (datacenter, peers, other) = if at == DAVE {
            ("dc2", place(DAVE), ip(0))
        } else {
            let peers: Vec<_> = (0..DC1).map(place).collect();
            ("dc1", peers.join(","), ip(DAVE))
        };
        let child = Command::new(&self.program)
            .args(["--name", NAMES[at], "--datacenter", datacenter])
            .args(["--peers", &peers, "--join-wan", &other.to_string()])
            .arg("--data")
            .arg(self.data(at))
            .arg("--secret-file")
            .arg(self.folder.join("secret"))
            .arg("--acl-file")
            .arg(tokens::file(&self.folder))
            .env_remove("GOSSIP_KEY")
            .env_remove("PEER_SECRET")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.processes[at] = Some(child);
        Ok(())
    }

    fn log_file(&self, at: usize) -> PathBuf {
        self.folder
            .join(format!("{}.{}.log", NAMES[at], self.starts[at]))
    }

    /// Returns what a server has written since its last start.
    pub(crate) fn log(&self, at: usize) -> String {
        fs::read_to_string(self.log_file(at)).unwrap_or_default()
    }

    /// Kills a server (SIGKILL), as a power failure would.
    pub(crate) fn kill(&mut self, at: usize) {
        self.pids[at].store(0, Ordering::Relaxed);
        if let Some(mut child) = self.processes[at].take() {
            // Both fail only if the process has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts killed or stopped servers again, and waits until all servers see each other.
    pub(crate) async fn restart(&mut self, servers: &[usize]) -> Result<(), Error> {
        for &at in servers {
            self.spawn(at)?;
        }
        self.complete().await
    }

    /// Waits until dc1 has a confirmed leader, every server answers, and every ring is
    /// complete.
    pub(crate) async fn complete(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            self.revive()?;
            let Err(seen) = look().await else { break };
            if began.elapsed() > TIMEOUT {
                return Err(format!("the servers do not see each other: {seen}").into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for (at, process) in self.processes.iter().enumerate() {
            let pid = process.as_ref().map_or(0, Child::id);
            self.pids[at].store(pid, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Starts a server again that does not start because serf was killed while it wrote
    /// the keyring file, with the keyrings of another server.
    fn revive(&mut self) -> Result<(), Error> {
        for (at, name) in NAMES.iter().enumerate() {
            let Some(process) = &mut self.processes[at] else {
                continue;
            };
            let Some(status) = process.try_wait()? else {
                continue;
            };
            let log = self.log(at);
            if at == DAVE || !log.contains("gossip keys") {
                return Err(format!("{name} has ended with {status}: {log}").into());
            }
            self.torn_keyrings += 1;
            let healthy = (at + 1) % DC1;
            for ring in ["lan.keyring", "wan.keyring"] {
                fs::copy(self.data(healthy).join(ring), self.data(at).join(ring))?;
            }
            self.spawn(at)?;
        }
        Ok(())
    }

    /// Waits until a server has ended by itself.
    pub(crate) async fn ended(
        &mut self,
        at: usize,
        limit: Duration,
    ) -> Result<Option<ExitStatus>, Error> {
        let began = Instant::now();
        while began.elapsed() < limit {
            let Some(process) = &mut self.processes[at] else {
                return Ok(None);
            };
            if let Some(status) = process.try_wait()? {
                self.processes[at] = None;
                self.pids[at].store(0, Ordering::Relaxed);
                return Ok(Some(status));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(None)
    }

    /// Removes the Raft log of a dead server, to see that the loss is noticed.
    pub(crate) fn lose_data(&self, at: usize) -> io::Result<()> {
        fs::remove_file(self.data(at).join("raft.redb"))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for at in 0..NAMES.len() {
            self.kill(at);
        }
    }
}

/// Sends a signal to a server, unless it is dead.
pub(crate) fn signal(pids: &Pids, at: usize, name: &str) -> io::Result<()> {
    match pids[at].load(Ordering::Relaxed) {
        0 => Ok(()),
        pid => {
            Command::new("kill")
                .args([name, &pid.to_string()])
                .status()?;
            Ok(())
        }
    }
}

/// Returns the number of files that a process has open, and its memory in KiB.
pub(crate) fn usage(pid: u32) -> Option<(usize, u64)> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some((files, operated::memory(pid)?))
}

/// Succeeds if every server has the leader's answer and complete rings.
async fn look() -> Result<(), String> {
    for (at, name) in NAMES.iter().enumerate() {
        let client = Servers::client(at, &tokens::root()).map_err(|error| error.to_string())?;
        let client = client.with_deadline(Duration::from_secs(5));
        let read = client.raft_configuration(Consistency::Consistent).await;
        read.map_err(|error| format!("{name}: {error}"))?;
        let keys = keys(&client).await;
        keys.map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// The nodes of all rings: four in the WAN, and three and one in the datacenters.
pub(crate) const NODES: usize = 8;

/// Returns on how many nodes each gossip key is. Fails if a ring is not complete.
pub(crate) async fn keys(client: &OperatorClient) -> Result<Vec<(GossipKey, usize)>, String> {
    let rings = client.list_keys().await;
    let rings = rings.map_err(|error| error.to_string())?;
    if let Some(error) = rings.iter().find_map(|ring| ring.error.as_ref()) {
        return Err(error.clone());
    }
    let nodes: usize = rings.iter().map(|ring| ring.nodes).sum();
    if nodes != NODES {
        return Err(format!("rings of {nodes} nodes together"));
    }
    let mut keys = Vec::<(GossipKey, usize)>::new();
    for (key, nodes) in rings.iter().flat_map(|ring| ring.keys.iter()) {
        match keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, sum)) => *sum += nodes,
            None => keys.push((key.clone(), nodes)),
        }
    }
    Ok(keys)
}

fn ip(at: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 90, at as u8 + 1).into()
}
