//! A keyring operation over 500 datacenters, each as far away as it is told.
//!
//! The clock is tokio's, paused: whenever nothing can go on it jumps to the next
//! answer. What passes on it is the latency that a caller sees; what passes on
//! the wall meanwhile is computing. The simulated network computes too, and so do the
//! services of the datacenters; the same envelopes are sent without the service that
//! asks, and measured too.
//!
//! ```text
//! cargo bench --bench fan_out
//! ```

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cluster_operator::keyring::{GossipQuery, KeyChange, NodeKeys};
use cluster_operator::operation::KeyringScope;
use cluster_operator::peers::{EnvelopeReply, SendError, Target};
use cluster_operator::service::Caller;
use cluster_operator::{
    AllowAll, DatacenterName, Envelope, GossipKey, KeyringBackend, NodeName, OperatorError,
    OperatorService, Peers, Pool, Token,
};
use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};

const DATACENTERS: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Datacenters that answer after 20 to 270 ms, each with a server of its own.
#[derive(Clone)]
struct Network(Arc<Shared>);

struct Shared {
    services: Vec<(DatacenterName, OperatorService)>,
    /// What was sent last.
    sent: Mutex<Option<Envelope>>,
}

impl Network {
    fn new() -> Self {
        let names = (1..=DATACENTERS).map(|n| DatacenterName::from(format!("dc{n:03}")));
        let services = names.map(|name| {
            let service = OperatorService::builder(name.clone())
                .keyring(Ring::default())
                .authorizer(AllowAll)
                .build();
            (name, service.expect("a whole service"))
        });
        Network(Arc::new(Shared {
            services: services.collect(),
            sent: Mutex::default(),
        }))
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
        let services = self.0.services.iter();
        services.map(|(name, _)| name.clone()).collect()
    }

    async fn send(
        &self,
        target: &Target,
        envelope: Envelope,
        _: Duration,
    ) -> Result<EnvelopeReply, SendError> {
        let Target::Datacenter(datacenter) = target else {
            return Err(SendError::NoPath);
        };
        let number = datacenter.as_str().trim_start_matches("dc").parse();
        let number: usize = number.unwrap_or(0);
        tokio::time::sleep(latency(number)).await;
        let (_, service) = self.0.services.get(number - 1).ok_or(SendError::NoPath)?;
        let reply = service.answer(&envelope).await;
        *self.0.sent.lock().expect("whole") = Some(envelope);
        Ok(reply)
    }
}

/// A ring of one node and three keys, which answers at once.
struct Ring {
    node: NodeName,
    keys: [GossipKey; 3],
}

impl Default for Ring {
    fn default() -> Self {
        Ring {
            node: "node".into(),
            keys: [1, 2, 3].map(|n| GossipKey::from_bytes(&[n; 16]).expect("16 bytes")),
        }
    }
}

#[async_trait]
impl KeyringBackend for Ring {
    fn pool(&self) -> &Pool {
        &Pool::Lan
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        query.answers.asking([self.node.clone()]);
        let keys = NodeKeys::ring(self.keys.clone());
        query.answers.answered(&self.node, Ok(keys));
        Ok(())
    }

    async fn change(&self, _: &KeyChange, _: &GossipQuery) -> Result<(), OperatorError> {
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
    let network = Network::new();
    let service = OperatorService::builder("dc000")
        .keyring(Ring::default())
        .authorizer(AllowAll)
        .peers(network.clone())
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

        let targets = network.datacenters().into_iter().map(Target::Datacenter);
        let targets: Vec<_> = targets.collect();
        let sent = network.0.sent.lock().expect("whole").clone();
        let sent = sent.expect("somebody was asked");
        let (_, on_wall) = timed(
            &runtime,
            join_all(
                targets
                    .iter()
                    .map(|target| network.send(target, sent.clone(), TIMEOUT)),
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
