//! What arrives, and what comes back.

use super::PeersFixture;
use super::far::{Far, asking};
use super::samples::{errors, foreign, removal, replies, request, requests};
use crate::poll::patience;
use crate::verdict::{Stop, Verdict, ensure, same};
use cluster_operator::acl::Token;
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::keyring::{GossipKey, RelayFactor};
use cluster_operator::operation::OperatorReply;
use cluster_operator::operation::{KeyringAction, KeyringScope, Operation, OperatorRequest};
use cluster_operator::peers::{Envelope, EnvelopeReply, SendError, Target};
use cluster_operator::raft::Consistency;

pub(super) type Sent = Result<EnvelopeReply, SendError>;

pub(super) async fn send(
    peers: &dyn PeersFixture,
    target: &Target,
    request: OperatorRequest,
) -> Sent {
    match Envelope::new(request) {
        Ok(envelope) => send_envelope(peers, target, envelope).await,
        Err(error) => Err(SendError::not_sent(error.to_string())),
    }
}

async fn send_envelope(peers: &dyn PeersFixture, target: &Target, envelope: Envelope) -> Sent {
    peers.peers().send(target, envelope, patience(peers)).await
}

/// Checks that an envelope sent through the peers has the effect and the reply that
/// it has where the service itself is given it.
async fn as_answered(
    peers: &dyn PeersFixture,
    target: &Target,
    far: &Far,
    envelope: Envelope,
) -> Verdict {
    let datacenter = match target {
        Target::Server(_) => "dc1",
        Target::Datacenter(datacenter) => datacenter.as_str(),
    };
    far.take();
    let expected = far.service(datacenter)?.answer(&envelope).await;
    let done = far.take();
    let seen = send_envelope(peers, target, envelope).await;
    same_reply(&expected, seen)?;
    same("what the service is asked", &done, &far.take())
}

/// Checks that the reply is this one, byte for byte.
fn same_reply(expected: &EnvelopeReply, seen: Sent) -> Verdict {
    let holds = matches!(&seen, Ok(seen) if seen.as_bytes() == expected.as_bytes());
    let told = |reply: &EnvelopeReply| (reply.clone(), reply.result(Outcome::Unknown));
    ensure(
        holds,
        format_args!("the reply, byte for byte: {:?}", told(expected)),
        seen.as_ref().map(told),
    )
}

async fn as_called(
    peers: &dyn PeersFixture,
    target: &Target,
    far: &Far,
    call: OperatorRequest,
) -> Verdict {
    let envelope = Envelope::new(call);
    let envelope = envelope.map_err(|error| Stop::failed("an envelope", error.to_string()))?;
    as_answered(peers, target, far, envelope).await
}

pub(super) async fn a_reply_comes_back_as_it_was(peers: &dyn PeersFixture) -> Verdict {
    let far = Far::answering(Ok(OperatorReply::PeerRemoved));
    let target = far.here(peers).await?;
    for (operation, reply) in replies() {
        far.answer(Ok(reply));
        as_called(peers, &target, &far, request(operation)).await?;
    }
    Ok(())
}

pub(super) async fn a_reply_comes_back_from_another_datacenter(
    peers: &dyn PeersFixture,
) -> Verdict {
    let far = Far::answering(Ok(OperatorReply::PeerRemoved));
    let target = far.there(peers, "dc2").await?;
    for (operation, reply) in replies() {
        far.answer(Ok(reply));
        let request = request(operation).in_datacenter("dc2");
        as_called(peers, &target, &far, request).await?;
    }
    Ok(())
}

pub(super) async fn an_error_comes_back_as_it_was(peers: &dyn PeersFixture) -> Verdict {
    let far = Far::answering(Ok(OperatorReply::PeerRemoved));
    let target = far.here(peers).await?;
    for error in errors() {
        far.answer(Err(error));
        let read = Operation::RaftConfiguration(Consistency::Default);
        as_called(peers, &target, &far, request(read)).await?;
        as_called(peers, &target, &far, removal("a")).await?;
    }
    Ok(())
}

pub(super) async fn the_request_arrives_as_it_was_sent(peers: &dyn PeersFixture) -> Verdict {
    let far = Far::answering(Err(ErrorKind::NoLeader.into()));
    let target = far.here(peers).await?;
    for call in requests() {
        as_called(peers, &target, &far, call).await?;
    }
    Ok(())
}

pub(super) async fn the_token_arrives_and_no_token_arrives_as_none(
    peers: &dyn PeersFixture,
) -> Verdict {
    let far = Far::answering(Err(ErrorKind::UnknownToken.into()));
    let target = far.here(peers).await?;
    for token in [
        Some("b852fbe7-fba0"),
        None,
        Some("ä \"quoted\" token"),
        Some(""),
    ] {
        let mut request = removal("a");
        request.token = token.map(Token::new);
        // The answer is not told, since it could show the token.
        drop(send(peers, &target, request.clone()).await);
        let arrived: Vec<_> = far.take().into_iter().map(|seen| seen.token).collect();
        let holds = arrived == [request.token];
        ensure(
            holds,
            "one request with the token that was sent, or none",
            "another one",
        )?;
    }
    Ok(())
}

pub(super) async fn a_key_and_the_rings_report_travel(peers: &dyn PeersFixture) -> Verdict {
    let far = Far::answering(Err(ErrorKind::NoLeader.into()));
    let target = far.there(peers, "dc2").await?;
    let key = GossipKey::from_base64("0eK8RjnsGC/+I1fJErQsBA==");
    let key = key.map_err(|error| Stop::failed("a key", error.to_string()))?;
    for action in [
        KeyringAction::List,
        KeyringAction::Install(key.clone()),
        KeyringAction::Use(key.clone()),
        KeyringAction::Remove(key),
    ] {
        let operation = Operation::Keyring {
            action,
            scope: KeyringScope::Remote,
            relay_factor: RelayFactor::MAX,
        };
        as_called(peers, &target, &far, request(operation)).await?;
    }
    Ok(())
}

pub(super) async fn bytes_arrive_and_come_back_unchanged(peers: &dyn PeersFixture) -> Verdict {
    let far = Far::answering(Ok(OperatorReply::PeerRemoved));
    let target = far.here(peers).await?;
    for bytes in foreign() {
        as_answered(peers, &target, &far, Envelope::from_bytes(bytes)).await?;
    }
    for bytes in foreign() {
        let expected = EnvelopeReply::from_bytes(bytes.clone());
        peers.replace_replies(&target, bytes).await?;
        same_reply(&expected, send(peers, &target, removal("a")).await)?;
    }
    Ok(())
}

pub(super) async fn a_reply_that_cannot_be_read_leaves_a_write_unknown(
    peers: &dyn PeersFixture,
) -> Verdict {
    let target = Far::answering(Ok(OperatorReply::PeerRemoved))
        .here(peers)
        .await?;
    let Target::Server(leader) = &target else {
        return Err(Stop::failed("a server", format!("{target:?}")));
    };
    let service = asking(peers, leader)?;
    // One of them can be read, and does not belong to the request.
    let other = EnvelopeReply::new(&Ok(OperatorReply::LeadershipTransferred));
    for bytes in foreign().into_iter().chain([other.as_bytes().to_vec()]) {
        peers.replace_replies(&target, bytes).await?;
        let read = Operation::RaftConfiguration(Consistency::Default);
        for (request, outcome) in [
            (removal("a"), Outcome::Unknown),
            (request(read), Outcome::NotApplied),
        ] {
            let answer = service.call(request).await;
            let seen = answer.as_ref().map_err(OperatorError::outcome);
            ensure(
                seen == Err(outcome),
                format_args!("an error with the outcome {outcome:?}"),
                &answer,
            )?;
        }
    }
    Ok(())
}
