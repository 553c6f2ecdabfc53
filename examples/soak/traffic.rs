//! The connections that read all the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_operator::ErrorKind;
use cluster_operator::client::{ClientError, OperatorClient};
use cluster_operator::raft::Consistency;

use crate::servers::{DAVE, DC1, Servers};
use crate::timeline::Phase;
use crate::tokens;
use crate::{Error, Soak};

/// One of so many connections to dc1 asks about dc2.
const ASKS_DC2: usize = 20;

/// One of so many connections asks dave.
const OF_DAVE: usize = 6;

/// The client's own timeout. The servers give up before.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a connection reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Read {
    /// The leader's configuration, which two of three servers of dc1 forward to.
    Configuration,
    /// The server's own view of it.
    StaleConfiguration,
    /// Autopilot's configuration, from the leader.
    Autopilot,
    /// The configuration of dc2, asked in dc1. It hangs with dave.
    OtherDatacenter,
    /// The configuration of dc2, asked there. It hangs with dave.
    Dave,
}

impl Read {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Read::Configuration => "Raft configuration",
            Read::StaleConfiguration => "the same, stale",
            Read::Autopilot => "autopilot's configuration",
            Read::OtherDatacenter => "Raft configuration of dc2, asked in dc1",
            Read::Dave => "Raft configuration of dc2, asked there",
        }
    }

    /// Returns true if it needs dc1 only.
    pub(crate) fn is_in_dc1(self) -> bool {
        !matches!(self, Read::OtherDatacenter | Read::Dave)
    }
}

/// What the connections have seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How long answers of a kind took, in a phase.
    pub(crate) times: BTreeMap<(Read, Phase), Vec<Duration>>,
    /// Failures in a phase.
    pub(crate) failed: BTreeMap<(Read, Phase), u64>,
    /// Reads that should have succeeded.
    pub(crate) failures: Vec<String>,
    /// Valid tokens that were not accepted.
    pub(crate) denied: u64,
    /// The longest time that a server of dc1 took for an answer.
    pub(crate) slowest: Duration,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Seen) {
        for (key, times) in other.times {
            self.times.entry(key).or_default().extend(times);
        }
        for (key, failed) in other.failed {
            *self.failed.entry(key).or_default() += failed;
        }
        self.failures.extend(other.failures);
        self.denied += other.denied;
        self.slowest = self.slowest.max(other.slowest);
    }

    fn note(&mut self, soak: &Soak, read: Read, began: Instant, answer: Result<(), ClientError>) {
        let ended = Instant::now();
        let phase = soak.timeline.phase(began, ended);
        if read != Read::Dave {
            self.slowest = self.slowest.max(ended - began);
        }
        let Err(error) = answer else {
            let times = self.times.entry((read, phase)).or_default();
            return times.push(ended - began);
        };
        *self.failed.entry((read, phase)).or_default() += 1;
        let kind = error.kind();
        let denied = matches!(
            kind,
            ErrorKind::UnknownToken | ErrorKind::PermissionDenied { .. }
        );
        self.denied += u64::from(denied);
        let may_fail = match phase {
            Phase::Calm => false,
            Phase::Hang | Phase::Between => !read.is_in_dc1(),
            Phase::Down => true,
        };
        if denied || !may_fail {
            self.failures
                .push(format!("{}, {phase:?}: {error}", read.name()));
        }
    }
}

/// Reads over one connection until the soak ends.
pub(crate) async fn connection(soak: Arc<Soak>, number: usize) -> Result<Seen, Error> {
    let (at, read) = role(number);
    let client = Servers::client(at, &tokens::reader(number))?;
    let client = client.with_deadline(DEADLINE);
    let mut seen = Seen::default();
    // So that they do not all begin at once.
    let mut pause = soak.pause.mul_f64(fastrand::f64());
    loop {
        tokio::time::sleep(pause).await;
        if !soak.is_running() {
            return Ok(seen);
        }
        let began = Instant::now();
        let answer = {
            let _under_way = soak.under_way();
            ask(&client, read).await
        };
        seen.note(&soak, read, began, answer);
        pause = soak.pause.mul_f64(0.5 + fastrand::f64());
    }
}

/// Returns the server that a connection asks, and what it reads.
fn role(number: usize) -> (usize, Read) {
    if number.is_multiple_of(OF_DAVE) {
        return (DAVE, Read::Dave);
    }
    let read = match number % 20 {
        _ if number % ASKS_DC2 == 1 => Read::OtherDatacenter,
        0..12 => Read::Configuration,
        12..16 => Read::StaleConfiguration,
        _ => Read::Autopilot,
    };
    (number / OF_DAVE % DC1, read)
}

async fn ask(client: &OperatorClient, read: Read) -> Result<(), ClientError> {
    match read {
        Read::Configuration | Read::Dave => {
            let read = client.raft_configuration(Consistency::Default).await;
            read.map(drop)
        }
        Read::StaleConfiguration => client
            .raft_configuration(Consistency::Stale)
            .await
            .map(drop),
        Read::Autopilot => client.autopilot_configuration().await.map(drop),
        Read::OtherDatacenter => {
            let there = client.clone().in_datacenter("dc2");
            there
                .raft_configuration(Consistency::Default)
                .await
                .map(drop)
        }
    }
}
