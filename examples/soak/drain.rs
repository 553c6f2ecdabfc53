//! The end of the servers on TERM, while requests are under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_operator::client::ClientError;
use cluster_operator::raft::Consistency;
use tokio::task::JoinSet;

use crate::servers::{DAVE, DC1, NAMES, Servers, signal};
use crate::timeline::Phase;
use crate::{Error, Sabotage, Soak, tokens};

/// The requests at each server of dc1 that wait for dave when it is told to stop.
const WAITING: usize = 30;

/// Longer than a server's deadline.
const LIMIT: Duration = Duration::from_secs(40);

#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// Requests that waited for dave when their server was told to stop.
    pub(crate) waiting: usize,
    /// Those of them that were answered, if only with an error.
    pub(crate) answered: usize,
    /// From TERM to the end of the last server.
    pub(crate) took: Duration,
    pub(crate) failures: Vec<String>,
}

/// Lets dave hang, sends requests that wait for it, tells the servers of dc1 to stop
/// beside the other load, and lets dave continue. The requests have to be answered.
pub(crate) async fn drain(
    soak: &Arc<Soak>,
    servers: &mut Servers,
    sabotage: Option<Sabotage>,
) -> Result<Drain, Error> {
    let mut drain = Drain::default();
    soak.timeline.enter(Phase::Down);
    signal(&servers.pids, DAVE, "-STOP")?;
    let mut waiting = JoinSet::new();
    for at in (0..DC1).cycle().take(DC1 * WAITING) {
        waiting.spawn(wait_for_dave(at));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    while let Some(early) = waiting.try_join_next() {
        drain
            .failures
            .push(format!("did not wait for dave: {:?}", early?));
    }
    drain.waiting = waiting.len();

    let told = Instant::now();
    for at in 0..DC1 {
        if sabotage == Some(Sabotage::Drain) {
            servers.kill(at);
        } else {
            signal(&servers.pids, at, "-TERM")?;
        }
    }
    while let Some(answer) = waiting.join_next().await {
        drain.answered += usize::from(answer??);
    }
    for (at, name) in NAMES.iter().enumerate().take(DC1) {
        let status = servers.ended(at, LIMIT).await?;
        if !status.is_some_and(|status| status.success()) {
            drain
                .failures
                .push(format!("{name} has ended with {status:?}"));
        }
        let log = servers.log(at);
        if log.contains("cut off") || !log.contains("Stopped.") {
            drain.failures.push(format!(
                "{name} was not drained: its log ends in {:?}",
                log.lines().next_back()
            ));
        }
    }
    drain.took = told.elapsed();
    signal(&servers.pids, DAVE, "-CONT")?;
    if sabotage == Some(Sabotage::Data) {
        (0..DC1).try_for_each(|at| servers.lose_data(at))?;
    }
    Ok(drain)
}

/// Returns true if the server has answered, and false if it has hung up.
async fn wait_for_dave(at: usize) -> Result<bool, Error> {
    let client = Servers::client(at, &tokens::root())?;
    let client = client.in_datacenter("dc2").with_deadline(LIMIT);
    let answer = client.raft_configuration(Consistency::Default).await;
    Ok(answer
        .as_ref()
        .map_or_else(ClientError::status, |_| Some(200))
        .is_some())
}
