//! A keyring operation over 500 datacenters, each as far away as it is told.
//!
//! The clock is tokio's, paused: whenever nothing can go on it jumps to the next
//! answer. What passes on it is the latency that a caller sees; what passes on
//! the wall meanwhile is computing. The simulated network computes too, so the
//! same sleeps are measured without the service.
//!
//! ```text
//! cargo bench --bench fan_out
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cluster_operator::{
    AllowAll, Caller, DatacenterName, GossipKey, KeyringBackend, KeyringReply, KeyringScope,
    Operation, OperatorError, OperatorReply, OperatorRequest, OperatorService, Peers, Pool,
    RelayFactor, RingOutcome, RingReport, Target, Token,
};
use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};

const DATACENTERS: usize = 500;
const PATIENCE: Duration = Duration::from_secs(10);

/// Datacenters that answer after 20 to 270 ms.
struct Network {
    names: Vec<DatacenterName>,
    report: RingReport,
}

impl Network {
    fn new(report: RingReport) -> Self {
        let names = (1..=DATACENTERS).map(|n| format!("dc{n:03}").into());
        Network {
            names: names.collect(),
            report,
        }
    }
}

fn latency(number: usize) -> Duration {
    // Neighbours by name are far apart in time.
    let shuffled = (number * 211) % DATACENTERS + 1;
    Duration::from_micros(shuffled as u64 * 500 + 20_000)
}

#[async_trait]
impl Peers for Network {
    fn datacenters(&self) -> Vec<DatacenterName> {
        self.names.clone()
    }

    async fn send(
        &self,
        target: &Target,
        _: OperatorRequest,
        _: Duration,
    ) -> Result<OperatorReply, OperatorError> {
        let Target::Datacenter(datacenter) = target else {
            return Err(OperatorError::unsupported("a leader"));
        };
        let number = datacenter.as_str().trim_start_matches("dc").parse();
        tokio::time::sleep(latency(number.unwrap_or(0))).await;
        let ring = RingOutcome {
            datacenter: datacenter.clone(),
            pool: Pool::Lan,
            result: Ok(self.report.clone()),
        };
        Ok(OperatorReply::Keyring(KeyringReply { rings: vec![ring] }))
    }
}

/// The server's own ring, which answers at once.
struct Ring(RingReport);

#[async_trait]
impl KeyringBackend for Ring {
    fn pool(&self) -> Pool {
        Pool::Lan
    }

    async fn list(&self, _: RelayFactor) -> Result<RingReport, OperatorError> {
        Ok(self.0.clone())
    }

    async fn install(&self, _: &GossipKey, _: RelayFactor) -> Result<RingReport, OperatorError> {
        Err(OperatorError::unsupported("a change"))
    }

    async fn use_key(&self, _: &GossipKey, _: RelayFactor) -> Result<RingReport, OperatorError> {
        Err(OperatorError::unsupported("a change"))
    }

    async fn remove(&self, _: &GossipKey, _: RelayFactor) -> Result<RingReport, OperatorError> {
        Err(OperatorError::unsupported("a change"))
    }
}

fn paused() -> Runtime {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime")
}

/// What passes on the simulated clock, and on the wall.
fn timed<T>(runtime: &Runtime, work: impl Future<Output = T>) -> (Duration, Duration) {
    let start = Instant::now();
    let simulated = runtime.block_on(async {
        let start = tokio::time::Instant::now();
        black_box(work.await);
        start.elapsed()
    });
    (simulated, start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let mut report = RingReport::new(1);
    report.holds(&[1, 2, 3].map(|n| GossipKey::from_bytes(&[n; 16]).expect("16 bytes")));
    let network = Network::new(report.clone());
    let service = OperatorService::builder("dc000")
        .keyring(Ring(report.clone()))
        .authorizer(AllowAll)
        .peers(Network::new(report))
        .build()
        .expect("a whole service");
    let caller = Caller::with_token(Token::new("b852fbe7-fba0-1ebe-cae4-8553c5cf703b"));
    let runtime = paused();

    let (mut simulated, mut ours, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..51 {
        let (on_clock, on_wall) = timed(&runtime, async {
            let reply = service.list_keys(&caller, KeyringScope::Federation).await;
            let reply = reply.expect("an answer");
            assert_eq!(reply.rings.len(), DATACENTERS + 1);
            reply.confirmed().expect("everyone's")
        });
        simulated.push(on_clock);
        ours.push(on_wall);

        let targets = network.names.iter().cloned().map(Target::Datacenter);
        let targets: Vec<_> = targets.collect();
        let request = || OperatorRequest::new(Operation::TransferLeadership { to: None });
        let (_, on_wall) = timed(
            &runtime,
            join_all(
                targets
                    .iter()
                    .map(|target| network.send(target, request(), PATIENCE)),
            ),
        );
        without.push(on_wall);
    }
    let slowest = (1..=DATACENTERS).map(latency).max().unwrap_or_default();
    let (simulated, ours, without) = (median(simulated), median(ours), median(without));
    let each = |time: Duration| time.as_secs_f64() * 1e6 / DATACENTERS as f64;
    println!(
        "{DATACENTERS} datacenters: {:.3} of the slowest one's {slowest:?}; {:.2} us of computing \
         for each, of which the simulated network takes {:.2} us",
        simulated.as_secs_f64() / slowest.as_secs_f64(),
        each(ours),
        each(without),
    );
}
