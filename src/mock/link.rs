//! One server's way to the others.

use std::future::pending;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;

use super::fault::CallFault;
use super::network::{Network, Server, Undelivered};
use super::transcript::{NewCall, Number};
use super::{CallEnd, wording};
use crate::error::Outcome;
use crate::operation::{KeyringReply, OperatorReply};
use crate::peers::{Envelope, EnvelopeReply, Forwarded, Peers, SendError, Target};
use crate::timer::Timer;
use crate::types::{DatacenterName, NodeName};

type Answer = Result<EnvelopeReply, Undelivered>;

/// [`Peers`] within a federation. It does not keep the other servers: they are
/// the federation's.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) network: Weak<Network>,
    pub(super) from: NodeName,
    pub(super) datacenters: Vec<DatacenterName>,
}

impl Link {
    async fn deliver(&self, target: &Target, envelope: Envelope) -> Answer {
        let Some(network) = self.network.upgrade() else {
            let why = "the mock federation was dropped: keep it as long as its services";
            return Err(Undelivered::NotSent(why.into()));
        };
        let from = network.server(&self.from);
        from.gate.pass().await;
        let Ok(forwarded) = envelope.open() else {
            return Err(Undelivered::NotSent("the envelope cannot be read".into()));
        };
        let to = match network.resolve(from, target) {
            Ok(to) => to,
            Err(undelivered) => {
                let call = begin(&network, from, name_of(target), &forwarded, "");
                call.ends(CallEnd::NotSent(
                    SendError::from(undelivered.clone()).to_string(),
                ));
                return Err(undelivered);
            }
        };
        let faults = network.call_faults(from, &network.servers[to]);
        let name = network.servers[to].name.clone();
        let call = begin(&network, from, name.clone(), &forwarded, "");
        if faults
            .iter()
            .any(|fault| matches!(fault, CallFault::Refuse))
        {
            let why = format!("{name}: the test lets the call fail");
            call.ends(CallEnd::NotSent(why.clone()));
            return Err(Undelivered::NotSent(why));
        }
        let call = call.open();
        let trip = Trip {
            network: Arc::clone(&network),
            from: from.name.clone(),
            to,
            envelope,
            forwarded,
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
            false => Err(Undelivered::Lost(format!(
                "server {} is stopped",
                from.name
            ))),
        }
    }
}

#[async_trait]
impl Peers for Link {
    fn datacenters(&self) -> Vec<DatacenterName> {
        self.datacenters.clone()
    }

    async fn send(
        &self,
        target: &Target,
        envelope: Envelope,
        _: Duration,
    ) -> Result<EnvelopeReply, SendError> {
        Ok(self.deliver(target, envelope).await?)
    }
}

fn begin<'a>(
    network: &'a Network,
    from: &Server,
    to: NodeName,
    forwarded: &Forwarded,
    repeated: &str,
) -> NewCall<'a> {
    let what = format!("{}{repeated}", wording::request(&forwarded.request));
    let call = network.recorder.call(from.name.clone(), to, what.into());
    call.forwarded(forwarded.hops, forwarded.timeout)
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
    envelope: Envelope,
    forwarded: Forwarded,
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
            _ if reset => {
                let why = format!("{}: the connection was reset", self.server().name);
                recorder.end(self.call, CallEnd::Lost(why.clone()));
                return Some(Err(Undelivered::Lost(why)));
            }
            reply if garbled => garble(reply),
            reply => reply,
        };
        let end = match answer.result(Outcome::Unknown) {
            Ok(_) => CallEnd::Answered,
            Err(error) => CallEnd::Failed(error),
        };
        recorder.end(self.call, end);
        Some(Ok(answer))
    }

    async fn deliver(&self) -> EnvelopeReply {
        let to = self.server();
        to.handed_on.fetch_add(1, Ordering::Relaxed);
        to.gate.pass().await;
        self.network.recorder.arrived(self.call);
        to.service.answer(&self.envelope).await
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
        let from = self.network.server(&self.from);
        let to = self.server().name.clone();
        let second = begin(&self.network, from, to, &self.forwarded, " again");
        let second = Trip {
            network: Arc::clone(&self.network),
            from: self.from.clone(),
            to: self.to,
            envelope: self.envelope.clone(),
            forwarded: self.forwarded.clone(),
            faults: vec![CallFault::Delay(after)],
            call: second.open(),
        };
        drop(self.network.clock.detach(second.make()));
    }
}

/// An answer that makes no sense.
fn garble(reply: EnvelopeReply) -> EnvelopeReply {
    let rings = match reply.result(Outcome::Unknown) {
        Ok(OperatorReply::Keyring(KeyringReply { rings })) => rings,
        Ok(_) => Vec::new(),
        Err(error) if error.reply().is_none() => return reply,
        Err(error) => error
            .into_reply()
            .map_or_else(|_| Vec::new(), |reply| reply.rings),
    };
    let twice: Vec<_> = rings.iter().rev().cloned().collect();
    let mut foreign = twice.clone();
    for ring in &mut foreign {
        ring.datacenter = format!("not {}", ring.datacenter).into();
    }
    let rings = foreign.into_iter().chain(twice).chain(rings);
    let reply = KeyringReply {
        rings: rings.collect(),
    };
    EnvelopeReply::new(&Ok(OperatorReply::Keyring(reply)))
}
