//! One server's way to the others.

use std::future::pending;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;

use super::fault::CallFault;
use super::network::{Network, Server, stopped};
use super::transcript::Number;
use super::{CallEnd, unreachable, wording};
use crate::error::{OperatorError, Outcome};
use crate::name::{DatacenterName, NodeName};
use crate::peers::{Peers, Target};
use crate::reply::{KeyringReply, OperatorReply};
use crate::request::OperatorRequest;
use crate::time::Timer;

type Answer = Result<OperatorReply, OperatorError>;

/// [`Peers`] within a federation. It does not keep the other servers: they are
/// the federation's.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) network: Weak<Network>,
    pub(super) from: NodeName,
    pub(super) datacenters: Vec<DatacenterName>,
}

impl Link {
    fn network(&self) -> Result<Arc<Network>, OperatorError> {
        self.network.upgrade().ok_or_else(|| {
            unreachable(
                "the mock federation",
                "it was dropped: keep it as long as its services",
            )
        })
    }
}

#[async_trait]
impl Peers for Link {
    fn datacenters(&self) -> Vec<DatacenterName> {
        self.datacenters.clone()
    }

    async fn send(&self, target: &Target, request: OperatorRequest, _: Duration) -> Answer {
        let network = self.network()?;
        let from = network.server(&self.from);
        from.gate.pass().await;
        let what = Arc::from(wording::request(&request));
        let begin = |to: NodeName| {
            let call = network.recorder.call(from.name.clone(), to, what);
            call.handed_on(request.forwards, request.patience)
        };
        let to = match network.resolve(from, target) {
            Ok(to) => to,
            Err(error) => {
                begin(name_of(target)).ends(CallEnd::NotSent(error.clone()));
                return Err(error);
            }
        };
        let faults = network.call_faults(from, &network.servers[to]);
        let call = begin(network.servers[to].name.clone());
        if faults
            .iter()
            .any(|fault| matches!(fault, CallFault::Refuse))
        {
            let error = unreachable(
                format!("server {}", network.servers[to].name),
                "the test lets the call fail",
            );
            call.ends(CallEnd::NotSent(error.clone()));
            return Err(error);
        }
        let call = call.open();
        let outcome = request.operation.unanswered();
        let trip = Trip {
            network: Arc::clone(&network),
            from: from.name.clone(),
            to,
            request,
            faults,
            call,
        };
        let simulated = network.simulates_time.then(|| network.clock.clone());
        let answer = match simulated {
            Some(clock) => clock.detach(trip.make()).await,
            None => trip.make().await,
        };
        // Whoever gets no answer waits for it until it gives up.
        let Some(answer) = answer else {
            return pending().await;
        };
        from.gate.pass().await;
        match from.is_up() {
            true => answer,
            false => Err(stopped(from).with_outcome(outcome)),
        }
    }
}

fn name_of(target: &Target) -> NodeName {
    match target {
        Target::Server(leader) => leader.address.as_str().into(),
        Target::Datacenter(datacenter) => datacenter.as_str().into(),
    }
}

/// A request on its way to another server, and the answer on its way back.
struct Trip {
    network: Arc<Network>,
    from: NodeName,
    to: usize,
    request: OperatorRequest,
    faults: Vec<CallFault>,
    call: Number,
}

impl Trip {
    fn server(&self) -> &Server {
        &self.network.servers[self.to]
    }

    /// The answer, if there is one.
    async fn make(self) -> Option<Answer> {
        let recorder = self.network.recorder.clone();
        let mut arrives = true;
        let mut returns = true;
        let mut reset = false;
        let mut garbled = false;
        let mut delay = Duration::ZERO;
        let mut repeats = Vec::new();
        for fault in &self.faults {
            match fault {
                CallFault::Refuse => {}
                CallFault::LoseRequest => arrives = false,
                CallFault::LoseAnswer => returns = false,
                CallFault::Reset => reset = true,
                CallFault::Garble => garbled = true,
                CallFault::Delay(by) => delay = delay.saturating_add(*by),
                CallFault::Duplicate(after) => repeats.push(*after),
            }
        }
        for after in repeats {
            self.repeat(delay.saturating_add(after));
        }
        self.network.clock.sleep(delay).await;
        if !arrives || !self.enters() {
            recorder.end(self.call, CallEnd::RequestLost);
            return None;
        }
        let answer = self.deliver().await;
        self.server().gate.pass().await;
        if !returns || !self.passes() {
            recorder.end(self.call, CallEnd::AnswerLost);
            return None;
        }
        let answer = match answer {
            _ if reset => Err(unreachable(
                format!("server {}", self.server().name),
                "the connection was reset",
            )
            .with_outcome(Outcome::Unknown)),
            Ok(reply) if garbled => Ok(garble(reply)),
            answer => answer,
        };
        let end = match &answer {
            Ok(_) => CallEnd::Answered,
            Err(error) => CallEnd::Failed(error.clone()),
        };
        recorder.end(self.call, end);
        Some(answer)
    }

    async fn deliver(&self) -> Answer {
        let to = self.server();
        to.handed_on.fetch_add(1, Ordering::Relaxed);
        to.gate.pass().await;
        self.network.recorder.arrived(self.call);
        to.service.call(self.request.clone()).await
    }

    /// Whether the request gets in at this moment.
    fn enters(&self) -> bool {
        let from = self.network.server(&self.from);
        self.passes() && !self.network.is_silent(from, self.server())
    }

    /// Whether anything passes between the two at this moment.
    fn passes(&self) -> bool {
        let from = self.network.server(&self.from);
        self.server().is_up() && !self.network.is_cut(from, self.server())
    }

    /// Lets the same request arrive again.
    fn repeat(&self, after: Duration) {
        let clock = &self.network.clock;
        let second = self.network.recorder.call(
            self.from.clone(),
            self.server().name.clone(),
            Arc::from(format!("{} again", wording::request(&self.request))),
        );
        let second = Trip {
            network: Arc::clone(&self.network),
            from: self.from.clone(),
            to: self.to,
            request: self.request.clone(),
            faults: vec![CallFault::Delay(after)],
            call: second
                .handed_on(self.request.forwards, self.request.patience)
                .open(),
        };
        drop(clock.detach(second.make()));
    }
}

/// An answer that makes no sense.
fn garble(reply: OperatorReply) -> OperatorReply {
    let OperatorReply::Keyring(KeyringReply { rings }) = reply else {
        return OperatorReply::Keyring(KeyringReply::default());
    };
    let twice: Vec<_> = rings.iter().rev().cloned().collect();
    let mut foreign = twice.clone();
    for ring in &mut foreign {
        ring.datacenter = format!("not {}", ring.datacenter).into();
    }
    let rings = foreign.into_iter().chain(twice).chain(rings);
    OperatorReply::Keyring(KeyringReply {
        rings: rings.collect(),
    })
}
