//! Where requests go, how often, and which answer is whose.

use futures_util::future::{join, join_all};

use super::PeersFixture;
use super::far::Far;
use super::messages::{Sent, send};
use super::samples::removal;
use crate::poll::{given_up, overdue, patience, soon};
use crate::traces::{PART, tells_part, words};
use crate::verdict::{Stop, Verdict, ensure, same, until};
use cluster_operator::acl::Token;
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::operation::Operation;
use cluster_operator::operation::OperatorReply;
use cluster_operator::peers::{Envelope, SendError, Target};
use cluster_operator::raft::{LeaderHint, PeerSelector};

pub(super) async fn a_request_is_sent_once(peers: &dyn PeersFixture) -> Verdict {
    let unknown = |kind| OperatorError::new(kind).with_outcome(Outcome::Unknown);
    let reset = ErrorKind::Unreachable {
        target: "server".into(),
        reason: "reset".into(),
    };
    let far = Far::answering(Ok(OperatorReply::PeerRemoved));
    let target = far.here(peers).await?;
    for answer in [
        Ok(OperatorReply::PeerRemoved),
        Err(ErrorKind::NoLeader.into()),
        Err(ErrorKind::NotLeader { leader: None }.into()),
        Err(OperatorError::new(reset.clone())),
        Err(unknown(reset.clone())),
        Err(OperatorError::backend(
            "leadership lost while committing log",
        )),
    ] {
        far.answer(answer.clone());
        drop(send(peers, &target, removal("a")).await);
        let what = format!("requests that arrive, answered with {answer:?}");
        same(&what, &1, &far.take().len())?;
    }
    Ok(())
}

pub(super) async fn a_write_whose_answer_is_lost_has_an_unknown_outcome(
    peers: &dyn PeersFixture,
) -> Verdict {
    let far = Far::answering(Ok(OperatorReply::PeerRemoved));
    let target = far.here(peers).await?;
    peers.lose_answers(&target).await?;
    // For longer than the peers are told: what they say at their deadline counts.
    let answer = overdue(peers, send(peers, &target, removal("a"))).await;
    let holds = matches!(answer, None | Some(Err(SendError::Lost(_))));
    ensure(holds, "no answer, or Lost", answer)?;
    same("requests that arrive", &1, &far.asked().len())
}

pub(super) async fn a_server_that_is_down_is_unreachable(peers: &dyn PeersFixture) -> Verdict {
    let far = Far::answering(Ok(OperatorReply::PeerRemoved));
    let target = far.here(peers).await?;
    drop(send(peers, &target, removal("a")).await);
    peers.stop(&target).await?;
    // A connection that is kept may be found closed only after it was sent.
    failed(overdue(peers, send(peers, &target, removal("b"))).await)?;
    same("requests that arrive", &1, &far.asked().len())
}

/// The error of a request that is not left without an answer.
fn failed(answer: Option<Sent>) -> Result<SendError, Stop> {
    match answer {
        Some(Err(error)) => Ok(error),
        Some(Ok(reply)) => Err(Stop::failed("an error", format!("{reply:?}"))),
        None => Err(Stop::failed("an error", "no answer: the call hangs")),
    }
}

pub(super) async fn a_server_that_there_never_was_is_unreachable(
    peers: &dyn PeersFixture,
) -> Verdict {
    for address in ["127.0.0.1:1", "", "no address", "[::1", "a b:-1"] {
        let target = Target::Server(LeaderHint {
            id: "nobody".into(),
            address: address.into(),
        });
        let error = failed(overdue(peers, send(peers, &target, removal("a"))).await)?;
        let holds = matches!(error, SendError::NotSent(_) | SendError::NoPath);
        ensure(holds, "NotSent or NoPath", error)?;
    }
    Ok(())
}

pub(super) async fn there_is_no_path_to_an_unknown_datacenter(peers: &dyn PeersFixture) -> Verdict {
    Far::answering(Ok(OperatorReply::PeerRemoved))
        .there(peers, "dc2")
        .await?;
    for name in ["dc9", "DC2", "dc2 ", ""] {
        let target = Target::Datacenter(name.into());
        let answer = send(peers, &target, removal("a").in_datacenter(name)).await;
        let holds = matches!(answer, Err(SendError::NoPath));
        ensure(holds, "NoPath", answer)?;
    }
    Ok(())
}

pub(super) async fn the_datacenters_are_told_once_each(peers: &dyn PeersFixture) -> Verdict {
    for name in ["dc2", "dc3"] {
        let far = Far::answering(Ok(OperatorReply::PeerRemoved));
        far.there(peers, name).await?;
    }
    let told = until(peers, "dc2 and dc3 among the datacenters", || async {
        let mut told = peers.peers().datacenters();
        told.sort();
        let wanted = ["dc2", "dc3"];
        if wanted
            .iter()
            .all(|name| told.iter().any(|told| told == name))
        {
            Ok(told)
        } else {
            Err(format!("{told:?}"))
        }
    })
    .await?;
    let mut once = told.clone();
    once.dedup();
    same("each datacenter once", &once, &told)?;
    let mut again = peers.peers().datacenters();
    again.sort();
    same("the datacenters, asked again", &told, &again)
}

pub(super) async fn a_request_goes_where_it_is_sent(peers: &dyn PeersFixture) -> Verdict {
    let far = [echo(), echo(), echo()];
    let targets = [
        far[0].here(peers).await?,
        far[1].there(peers, "dc2").await?,
        far[2].there(peers, "dc3").await?,
    ];
    for at in [2, 0, 1] {
        drop(send(peers, &targets[at], removal("a")).await);
        let asked: Vec<_> = far.iter().map(|far| far.take().len()).collect();
        let mut expected = vec![0; far.len()];
        expected[at] = 1;
        let what = format!(
            "requests that arrive in dc1, dc2 and dc3, sent to {:?}",
            targets[at]
        );
        same(&what, &expected, &asked)?;
    }
    Ok(())
}

/// A server that says in its answer which server it is asked to remove. It never
/// answers what is asked of a server called `stuck`.
fn echo() -> Far {
    Far::new(|request| {
        let told = match &request.operation {
            Operation::RemovePeer { server, .. } => server.to_string(),
            other => format!("{other:?}"),
        };
        (told != removed("stuck")).then(|| Err(OperatorError::invalid_request(told)))
    })
}

fn removed(id: &str) -> String {
    PeerSelector::Id(id.into()).to_string()
}

/// Checks that the answer is the echo of this.
fn echoes(id: &str, answer: Sent) -> Verdict {
    let told = removed(id);
    let answer = answer.map(|reply| reply.result(Outcome::Unknown));
    let holds = matches!(&answer, Ok(Err(error)) if error.to_string() == told);
    ensure(holds, format_args!("the answer to {id}"), answer)
}

pub(super) async fn requests_at_once_get_their_own_answers(peers: &dyn PeersFixture) -> Verdict {
    let far = [echo(), echo()];
    let targets = [far[0].here(peers).await?, far[1].there(peers, "dc2").await?];
    let ids: Vec<_> = (0..16).map(|number| format!("server-{number}")).collect();
    let at_once = ids.iter().enumerate();
    let at_once = at_once.map(|(at, id)| send(peers, &targets[at % 2], removal(id)));
    for (id, answer) in ids.iter().zip(join_all(at_once).await) {
        echoes(id, answer)?;
    }
    Ok(())
}

pub(super) async fn a_request_does_not_wait_for_another_one(peers: &dyn PeersFixture) -> Verdict {
    let target = echo().here(peers).await?;
    // Whoever serializes has not given up the first one while the second is waited for.
    let transport = peers.peers();
    let stuck = Envelope::new(removal("stuck"));
    let stuck = stuck.map_err(|error| Stop::failed("an envelope", error.to_string()))?;
    let stuck = transport.send(&target, stuck, patience(peers) * 2);
    let next = soon(peers, send(peers, &target, removal("next")));
    let (_, answer) = join(soon(peers, stuck), next).await;
    match answer {
        Some(answer) => echoes("next", answer),
        None => Err(Stop::failed("an answer beside one that takes long", "none")),
    }
}

pub(super) async fn a_dropped_request_leaves_the_next_one_alone(
    peers: &dyn PeersFixture,
) -> Verdict {
    let target = echo().here(peers).await?;
    for polls in 0..4 {
        given_up(peers, polls, send(peers, &target, removal("dropped"))).await;
        let id = format!("next-{polls}");
        echoes(&id, send(peers, &target, removal(&id)).await)?;
    }
    Ok(())
}

pub(super) async fn no_secret_is_in_an_error_of_the_transport(peers: &dyn PeersFixture) -> Verdict {
    const SECRET: &str = "5ecre7-b852fbe7";
    let nowhere = Target::Server(LeaderHint {
        id: "nobody".into(),
        address: "127.0.0.1:1".into(),
    });
    for target in [nowhere, Target::Datacenter("dc9".into())] {
        let request = removal("a").with_token(Token::new(SECRET));
        let error = failed(overdue(peers, send(peers, &target, request)).await)?;
        let tells = tells_part(&words(&error), SECRET.as_bytes());
        let expected = format_args!("an error without {PART} letters of the token in a row");
        ensure(!tells, expected, format_args!("an error with a part of it"))?;
    }
    Ok(())
}
