//! A simulated cluster in which every server runs an autopilot, on a virtual clock.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::autopilot::{
    AutopilotBackend, AutopilotConfiguration, Detected, Detection, FailureDetector, Refusal,
    Settings,
};
use cluster_operator::mock::{MockAutopilot, MockClock, MockFederation, MockKeyring};
use cluster_operator::observer::{Ended, Observer, Source, Started};
use cluster_operator::raft::RaftServer;
use cluster_operator::service::{Autopilot, Tick};
use cluster_operator::{NodeName, OperatorError, Pool, Timer};
use futures_util::future::select;
use tokio::sync::watch;

pub(crate) const DC: &str = "dc1";

/// The state of a server's process. Each start is another version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Off,
    On,
    /// The test is over.
    Ended,
}

/// Is told of every tick: on which server, in which of its processes.
pub(crate) type Report = dyn Fn(&str, usize, &Result<Tick, OperatorError>) + Send + Sync;

/// Servers whose names are one letter each, also as ids.
pub(crate) struct Cluster {
    pub(crate) clock: MockClock,
    pub(crate) federation: MockFederation,
    settings: Settings,
    processes: BTreeMap<String, watch::Sender<Process>>,
    lies: Lies,
    record: Arc<Mutex<Record>>,
    running: Running,
}

/// The number of actions that are being executed.
#[derive(Clone, Default)]
struct Running(Arc<AtomicUsize>);

impl Observer for Running {
    fn started(&self, started: &Started<'_>) {
        if started.source == Source::Autopilot {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ended(&self, started: &Started<'_>, _: &Ended<'_>) {
        if started.source == Source::Autopilot {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What the autopilots did and refused.
#[derive(Default)]
struct Record {
    acts: Vec<(Duration, String)>,
    refusals: BTreeMap<String, Vec<Refusal>>,
}

/// What detectors say of a server that is not true; `None` if they do not know it.
type Lies = Arc<Mutex<BTreeMap<NodeName, Option<Detection>>>>;

/// The gossip of one server, with the lies.
struct Detector {
    gossip: MockKeyring,
    lies: Lies,
}

#[async_trait]
impl FailureDetector for Detector {
    async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
        let mut detected = self.gossip.detect().await?;
        for (name, lie) in self.lies.lock().unwrap().iter() {
            match lie {
                Some(lie) => _ = detected.insert(name.clone(), *lie),
                None => _ = detected.remove(name),
            }
        }
        Ok(detected)
    }
}

impl Cluster {
    /// Voters and spares, all of them up.
    pub(crate) fn new(voters: &str, spares: &str, settings: Settings) -> Self {
        Cluster::with_clock(voters, spares, settings, &MockClock::new())
    }

    pub(crate) fn with_clock(
        voters: &str,
        spares: &str,
        settings: Settings,
        clock: &MockClock,
    ) -> Self {
        let names = || voters.chars().chain(spares.chars()).map(String::from);
        let running = Running::default();
        let observer = running.clone();
        let federation = MockFederation::builder()
            .datacenter(DC, names())
            .nonvoters(spares.chars().map(String::from))
            .raft_servers(|server: &mut RaftServer| {
                if let Some(name) = &server.name {
                    server.id = name.as_str().into();
                }
                server.last_index = Some(0);
            })
            .service_options(move |service| service.observer(observer.clone()))
            .clock(clock)
            .build();
        let cluster = Cluster {
            clock: clock.clone(),
            federation,
            settings: settings.clone(),
            processes: names()
                .map(|name| (name, watch::Sender::new(Process::On)))
                .collect(),
            lies: Lies::default(),
            record: Arc::default(),
            running,
        };
        cluster.configure(|configuration| {
            let least = settings.min_quorum() as u64;
            // Of the two, the backend's counts.
            configuration.min_quorum = least;
        });
        cluster
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.processes.keys().map(String::as_str)
    }

    /// Changes autopilot's configuration, as an operator does.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut AutopilotConfiguration)) {
        let leader = self.federation.leader(DC).unwrap();
        let backend = MockAutopilot::new(&self.federation.raft(leader));
        futures_executor::block_on(async {
            let mut configuration = backend.configuration().await.unwrap();
            change(&mut configuration);
            backend
                .set_configuration(configuration, None)
                .await
                .unwrap();
        });
    }

    /// Runs the autopilots while the script runs. The seed decides which of those that
    /// can do something goes on.
    pub(crate) fn play(&self, seed: u64, report: &Report, script: impl Future<Output = ()>) {
        let script = async {
            script.await;
            for process in self.processes.values() {
                process.send_replace(Process::Ended);
            }
        };
        let mut all: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = vec![Box::pin(script)];
        for name in self.processes.keys() {
            all.push(Box::pin(self.serve(name, report)));
        }
        self.clock.run_all(seed, all);
    }

    /// Runs a script that needs no seed.
    pub(crate) fn script(&self, script: impl Future<Output = ()>) {
        self.play(1, &|_, _, _| {}, script);
    }

    /// Runs the autopilot of a server, in one process after the other.
    async fn serve(&self, name: &str, report: &Report) {
        let mut process = self.processes[name].subscribe();
        for number in 0.. {
            let state = *process.borrow_and_update();
            match state {
                Process::Ended => return,
                Process::Off => _ = process.changed().await,
                Process::On => {
                    let run = self.autopilot(name).run(|tick| {
                        self.record(name, tick);
                        report(name, number, tick);
                    });
                    select(pin!(run), pin!(process.changed())).await;
                }
            }
        }
    }

    fn autopilot(&self, name: &str) -> Autopilot {
        let detector = Detector {
            gossip: self.federation.keyring(name, &Pool::Lan),
            lies: Arc::clone(&self.lies),
        };
        Autopilot::new(
            &self.federation.service(name),
            detector,
            self.settings.clone(),
        )
    }

    fn record(&self, name: &str, tick: &Result<Tick, OperatorError>) {
        let Ok(tick) = tick else {
            return;
        };
        let mut record = self.record.lock().unwrap();
        let refusals = tick.decision.refusals.clone();
        record.refusals.insert(name.into(), refusals);
        if let (Some(action), Some(result)) = (&tick.decision.action, &tick.result) {
            let text = match result {
                Ok(()) => action.to_string(),
                Err(error) => format!("{action}: {error}"),
            };
            record.acts.push((self.clock.now(), text));
        }
    }

    pub(crate) async fn wait(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    /// Waits until something holds, for an hour at most. Returns the seconds that it took.
    pub(crate) async fn wait_until(&self, holds: impl Fn() -> bool) -> u64 {
        for second in 0..3600 {
            if holds() {
                return second;
            }
            self.wait(1).await;
        }
        panic!("it does not hold within an hour: {:?}", self.acts());
    }

    /// Ends the processes of servers without notice.
    pub(crate) fn kill(&self, names: &str) {
        for name in names.chars().map(String::from) {
            self.federation.stop(name.as_str());
            self.processes[&name].send_replace(Process::Off);
        }
    }

    pub(crate) fn start(&self, names: &str) {
        for name in names.chars().map(String::from) {
            if *self.processes[&name].borrow() == Process::Off {
                self.federation.restart(name.as_str());
                self.processes[&name].send_replace(Process::On);
            }
        }
    }

    /// Lets all detectors say this of a server, whether it is true or not.
    pub(crate) fn lie(&self, name: &str, status: Option<Detected>) {
        let lasted = Duration::from_secs(86_400);
        let lie = status.map(|status| Detection { status, lasted });
        self.lies.lock().unwrap().insert(name.into(), lie);
    }

    pub(crate) fn stop_lies(&self) {
        self.lies.lock().unwrap().clear();
    }

    pub(crate) fn voters(&self) -> String {
        self.servers(true)
    }

    pub(crate) fn spares(&self) -> String {
        self.servers(false)
    }

    fn servers(&self, vote: bool) -> String {
        let servers = self.federation.configuration(DC).servers.into_iter();
        let servers = servers.filter(|server| server.is_voter() == vote);
        let mut names: Vec<_> = servers.map(|server| server.id.to_string()).collect();
        names.sort();
        names.concat()
    }

    pub(crate) fn leader(&self) -> Option<String> {
        let leader = self.federation.leader(DC);
        leader.map(|leader| leader.to_string())
    }

    /// Returns whether an autopilot is executing an action.
    pub(crate) fn is_acting(&self) -> bool {
        self.running.0.load(Ordering::Relaxed) > 0
    }

    /// Returns whether a server's process runs, and is not paused.
    pub(crate) fn runs(&self, name: &str) -> bool {
        self.federation.raft(name).is_up(name)
    }

    /// What the autopilots did, and when.
    pub(crate) fn acts(&self) -> Vec<(u64, String)> {
        let acts = self.record.lock().unwrap().acts.clone();
        acts.into_iter()
            .map(|(at, text)| (at.as_secs(), text))
            .collect()
    }

    /// The last refusals of the leader, as shown.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let leader = self.leader().unwrap_or_default();
        let record = self.record.lock().unwrap();
        let refusals = record.refusals.get(&leader).into_iter().flatten();
        refusals.map(ToString::to_string).collect()
    }
}
