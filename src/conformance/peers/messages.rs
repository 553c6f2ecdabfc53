//! What arrives, and what comes back.

use super::PeersFixture;
use super::far::{Answer, Far};
use super::samples::{errors, removal, replies, requests};
use crate::acl::Token;
use crate::conformance::poll::patience;
use crate::conformance::verdict::{Stop, Verdict, ensure, same};
use crate::error::ErrorKind;
use crate::keyring::{GossipKey, RelayFactor};
use crate::peers::Target;
use crate::raft::Consistency;
use crate::reply::OperatorReply;
use crate::request::{KeyringAction, KeyringScope, Operation, OperatorRequest};

pub(super) async fn send(
    peers: &dyn PeersFixture,
    target: &Target,
    request: OperatorRequest,
) -> Answer {
    peers.peers().send(target, request, patience(peers)).await
}

/// That a request through the peers does, and has as its answer, just what the
/// service does and answers by itself.
async fn as_called(
    peers: &dyn PeersFixture,
    target: &Target,
    far: &Far,
    request: OperatorRequest,
) -> Verdict {
    let datacenter = match target {
        Target::Server(_) => "dc1",
        Target::Datacenter(datacenter) => datacenter.as_str(),
    };
    far.take();
    let expected = far.service(datacenter)?.call(request.clone()).await;
    let done = far.take();
    let seen = send(peers, target, request).await;
    same("the answer", &expected, &seen)?;
    let arrived = far.take();
    ensure(
        arrived == done,
        format_args!("what the service is asked: {done:?}"),
        arrived,
    )
}

pub(super) async fn a_reply_comes_back_as_it_was(peers: &dyn PeersFixture) -> Verdict {
    let far = Far::answering(Ok(OperatorReply::PeerRemoved));
    let target = far.here(peers).await?;
    for (operation, reply) in replies() {
        far.answer(Ok(reply));
        as_called(peers, &target, &far, OperatorRequest::new(operation)).await?;
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
        let request = OperatorRequest::new(operation).in_datacenter("dc2");
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
        as_called(peers, &target, &far, OperatorRequest::new(read)).await?;
        as_called(peers, &target, &far, removal("a")).await?;
    }
    Ok(())
}

pub(super) async fn the_request_arrives_as_it_was_sent(peers: &dyn PeersFixture) -> Verdict {
    let far = Far::answering(Err(ErrorKind::NoLeader.into()));
    let target = far.here(peers).await?;
    for request in requests() {
        as_called(peers, &target, &far, request).await?;
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
        let request = OperatorRequest::new(Operation::Keyring {
            action,
            scope: KeyringScope::Remote,
            relay_factor: RelayFactor::MAX,
        });
        as_called(peers, &target, &far, request).await?;
    }
    Ok(())
}
