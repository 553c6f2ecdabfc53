//! Writing and reading of envelopes and replies through the public API.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::mock::{MockClock, MockKeyring, MockPeers, MockRaft};
use cluster_operator::peers::{EnvelopeReply, SendError, Target};
use cluster_operator::{
    AllowAll, DatacenterName, Envelope, GossipKey, Operation, OperatorError, OperatorReply,
    OperatorRequest, OperatorService, Peers, Pool,
};

pub(crate) type Sent = Result<EnvelopeReply, SendError>;

/// Peers that keep the sent envelope, and answer once with a given reply.
#[derive(Clone, Default)]
struct Once {
    envelope: Arc<Mutex<Option<Envelope>>>,
    answer: Arc<Mutex<Option<Sent>>>,
}

#[async_trait]
impl Peers for Once {
    fn datacenters(&self) -> Vec<DatacenterName> {
        vec!["dc2".into()]
    }

    async fn send(&self, _: &Target, envelope: Envelope, _: Duration) -> Sent {
        *self.envelope.lock().unwrap() = Some(envelope);
        let answer = self.answer.lock().unwrap().take();
        answer.unwrap_or(Err(SendError::NoPath))
    }
}

/// The service of a follower, which forwards Raft operations to its leader or to dc2.
fn forwarder(peers: Once) -> OperatorService {
    let key = GossipKey::from_bytes(&[1; 32]).unwrap();
    OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice", "bob"]).at("bob"))
        .keyring(MockKeyring::new(Pool::Lan, key, ["bob"]))
        .authorizer(AllowAll)
        .peers(peers)
        .timer(MockClock::new())
        .build()
        .unwrap()
}

/// Returns the envelope in which a server forwards the request.
pub(crate) async fn sealed(request: OperatorRequest) -> Envelope {
    let peers = Once::default();
    drop(forwarder(peers.clone()).call(request).await);
    let envelope = peers.envelope.lock().unwrap().take();
    envelope.unwrap()
}

/// Returns the reply in which a server sends this answer.
pub(crate) async fn reply(answer: Result<OperatorReply, OperatorError>) -> EnvelopeReply {
    let dc2 = Target::Datacenter("dc2".into());
    let peers =
        MockPeers::new().with_answer(dc2.clone(), move |_| std::future::ready(answer.clone()));
    let any = sealed(OperatorRequest::new(Operation::TransferLeadership {
        to: None,
    }))
    .await;
    peers.send(&dc2, any, Duration::ZERO).await.unwrap()
}

/// Returns the result of a request that a server forwards with this outcome.
pub(crate) async fn concluded(
    request: OperatorRequest,
    sent: Sent,
) -> Result<OperatorReply, OperatorError> {
    let peers = Once::default();
    *peers.answer.lock().unwrap() = Some(sent);
    forwarder(peers).call(request).await
}
