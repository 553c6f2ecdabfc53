//! The checks of peers.

use futures_util::future::{join, join_all};

use super::PeersCheck;
use super::transport::{Answer, Sent, Server, Transport, ready, sealed};
use crate::check::checks;
use crate::fixture::{Stop, Verdict, ensure, same};
use crate::secret::{PART, tells_part, words};
use cluster_operator::acl::Token;
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::operation::{Operation, OperatorReply, OperatorRequest, RequestId};
use cluster_operator::peers::{Envelope, EnvelopeReply, SendError, Target};
use cluster_operator::raft::{
    Consistency, LeaderHint, PeerSelector, RaftConfiguration, RaftServer,
};

const REMOVED: Answer = Ok(OperatorReply::PeerRemoved);
const READ: Operation = Operation::RaftConfiguration(Consistency::Default);
const ODD: &str = "a b/c?d=%e&ä\"\\\n<🦀>";

checks! {
    ($) __conformance_peers_names, PeersCheck;

    // What arrives, and what comes back.

    /// What the other server's service replies comes back byte for byte, whatever
    /// texts and numbers it holds.
    #[source("the contract of `Peers`")]
    async fn a_reply_comes_back_as_it_was(peers: Transport<'_>) -> Verdict {
        let server = Server::answering(REMOVED);
        let target = peers.here(&server).await?;
        for (operation, reply) in replies() {
            server.answer(Ok(reply));
            as_called(&peers, &target, &server, request(operation)).await?;
        }
        Ok(())
    }

    /// What a service in another datacenter replies comes back byte for byte too.
    #[source("the contract of `Peers`")]
    async fn a_reply_comes_back_from_another_datacenter(peers: Transport<'_>) -> Verdict {
        let server = Server::answering(REMOVED);
        let target = peers.there(&server, "dc2").await?;
        for (operation, reply) in replies() {
            server.answer(Ok(reply));
            let request = request(operation).in_datacenter("dc2");
            as_called(&peers, &target, &server, request).await?;
        }
        Ok(())
    }

    /// An error of the other server's service is a reply too: it comes back byte for
    /// byte, and is not made a text or an error of the transport.
    #[source("Consul: rpc error making call; etcd#1483")]
    async fn an_error_comes_back_as_it_was(peers: Transport<'_>) -> Verdict {
        let server = Server::answering(REMOVED);
        let target = peers.here(&server).await?;
        for error in errors() {
            server.answer(Err(error));
            for operation in [READ, removal("a").operation] {
                as_called(&peers, &target, &server, request(operation)).await?;
            }
        }
        Ok(())
    }

    /// Operation, datacenter, token, request id, count of forwards and timeout arrive
    /// as they were sent: a stale hint could loop otherwise, and an operation be served
    /// with another one's rights.
    #[source("the contract of `Peers`; CVE-2020-13170")]
    async fn the_request_arrives_as_it_was_sent(peers: Transport<'_>) -> Verdict {
        let server = Server::answering(Err(ErrorKind::NoLeader.into()));
        let target = peers.here(&server).await?;
        for request in requests() {
            as_called(&peers, &target, &server, request).await?;
        }
        Ok(())
    }

    /// Envelopes and replies are bytes to the transport: they arrive and come back
    /// unchanged, also those of another version, or that are not JSON.
    #[source("the contract of `Peers`")]
    async fn bytes_arrive_and_come_back_unchanged(peers: Transport<'_>) -> Verdict {
        let server = Server::answering(REMOVED);
        let target = peers.here(&server).await?;
        for bytes in foreign() {
            let envelope = Envelope::from_bytes(bytes);
            as_answered(&peers, &target, &server, envelope).await?;
        }
        for bytes in foreign() {
            let expected = EnvelopeReply::from_bytes(bytes.clone());
            peers.replace_replies(&target, bytes).await?;
            for operation in [READ, removal("a").operation] {
                let seen = peers.send(&target, request(operation)).await;
                same_reply(&expected, seen)?;
            }
        }
        Ok(())
    }

    // Where requests go, how often, and which answer is whose.

    /// A request arrives once, whatever is answered: the caller decides about sending
    /// it again.
    #[source("redpanda#3446")]
    async fn a_request_is_sent_once(peers: Transport<'_>) -> Verdict {
        let unreachable = OperatorError::new(ErrorKind::Unreachable {
            target: "server".into(),
            reason: "reset".into(),
        });
        let server = Server::answering(REMOVED);
        let target = peers.here(&server).await?;
        for answer in [
            REMOVED,
            Err(ErrorKind::NoLeader.into()),
            Err(ErrorKind::NotLeader { leader: None }.into()),
            Err(unreachable.clone()),
            Err(unreachable.with_outcome(Outcome::Unknown)),
            Err(OperatorError::backend("leadership lost while committing log")),
        ] {
            server.answer(answer.clone());
            drop(peers.send(&target, removal("a")).await);
            let what = format!("requests that arrive, answered with {answer:?}");
            same(&what, &1, &server.take().len())?;
        }
        Ok(())
    }

    /// A write whose reply is lost is not sent again, and its error, if there is one,
    /// is `Lost`.
    #[source("etcd#1483")]
    async fn a_lost_reply_is_reported_as_lost(peers: Transport<'_>) -> Verdict {
        let server = Server::answering(REMOVED);
        let target = peers.here(&server).await?;
        peers.lose_answers(&target).await?;
        // For longer than the peers are told: what they say at their deadline counts.
        let answer = peers.overdue(peers.send(&target, removal("a"))).await;
        let holds = matches!(answer, None | Some(Err(SendError::Lost(_))));
        ensure(holds, "no answer, or Lost", answer)?;
        same("requests that arrive", &1, &server.take().len())
    }

    /// A request to a server that was there and is down is an error, and is not left
    /// without an answer.
    #[source("the contract of `Peers`")]
    async fn a_server_that_is_down_is_unreachable(peers: Transport<'_>) -> Verdict {
        let server = Server::answering(REMOVED);
        let target = peers.here(&server).await?;
        drop(peers.send(&target, removal("a")).await);
        peers.stop(&target).await?;
        // A connection that is kept may be found closed only after it was sent.
        failed(peers.overdue(peers.send(&target, removal("b"))).await)?;
        same("requests that arrive", &1, &server.take().len())
    }

    /// A request to an address where nobody listens, or that is none, is `NotSent` or
    /// `NoPath`, neither a panic nor left without an answer.
    #[source("the contract of `Peers`")]
    async fn an_unknown_address_is_unreachable(peers: Transport<'_>) -> Verdict {
        for address in ["127.0.0.1:1", "", "no address", "[::1", "a b:-1"] {
            let target = nobody(address);
            let sent = peers.send(&target, removal("a"));
            let error = failed(peers.overdue(sent).await)?;
            let holds = matches!(error, SendError::NotSent(_) | SendError::NoPath);
            ensure(holds, "NotSent or NoPath", error)?;
        }
        Ok(())
    }

    /// `datacenters` has every datacenter that was joined.
    #[source("Consul's catalog of datacenters")]
    async fn every_joined_datacenter_is_known(peers: Transport<'_>) -> Verdict {
        for name in ["dc2", "dc3"] {
            peers.there(&Server::answering(REMOVED), name).await?;
        }
        peers.until("dc2 and dc3 among the datacenters", || async {
            let known = peers.fixture.peers().datacenters();
            let is_known = |name| known.iter().any(|known| known == name);
            match ["dc2", "dc3"].into_iter().all(is_known) {
                true => Ok(()),
                false => Err(format!("{known:?}")),
            }
        })
        .await
    }

    /// A request arrives at the server or datacenter that is its target, and nowhere
    /// else.
    #[source("the contract of `Peers`")]
    async fn a_request_goes_where_it_is_sent(peers: Transport<'_>) -> Verdict {
        let servers = [echo(), echo(), echo()];
        let targets = [
            peers.here(&servers[0]).await?,
            peers.there(&servers[1], "dc2").await?,
            peers.there(&servers[2], "dc3").await?,
        ];
        for at in [2, 0, 1] {
            drop(peers.send(&targets[at], removal("a")).await);
            let asked = servers.each_ref().map(|server| server.take().len());
            let mut expected = [0; 3];
            expected[at] = 1;
            let what = "requests that arrive in dc1, dc2 and dc3";
            same(what, &expected, &asked)?;
        }
        Ok(())
    }

    /// Of requests at the same time, each gets its own answer.
    #[source("the contract of `Peers`")]
    async fn requests_at_once_get_their_own_answers(peers: Transport<'_>) -> Verdict {
        let targets = [
            peers.here(&echo()).await?,
            peers.there(&echo(), "dc2").await?,
        ];
        let ids: Vec<_> = (0..16).map(|number| format!("server-{number}")).collect();
        let at_once = ids.iter().zip(targets.iter().cycle());
        let at_once = at_once.map(|(id, target)| peers.send(target, removal(id)));
        for (id, answer) in ids.iter().zip(join_all(at_once).await) {
            echoes(id, answer)?;
        }
        Ok(())
    }

    /// A request is answered while another one to the same server is not.
    #[source("the contract of `Peers`")]
    async fn a_request_does_not_wait_for_another_one(peers: Transport<'_>) -> Verdict {
        let target = peers.here(&echo()).await?;
        // Whoever serializes has not given up the first one while the second is waited for.
        let timeout = peers.timeout() * 2;
        let stuck = peers.send_within(timeout, &target, sealed(removal("stuck"))?);
        let next = peers.within(peers.timeout(), peers.send(&target, removal("next")));
        match join(peers.within(peers.timeout(), stuck), next).await {
            (_, Some(answer)) => echoes("next", answer),
            _ => Err(Stop::failed("an answer beside one that takes long", "none")),
        }
    }

    /// After a request whose future was dropped, at any point, the next one gets its
    /// own answer.
    #[source("the contract of `Peers`")]
    async fn a_dropped_request_affects_no_other(peers: Transport<'_>) -> Verdict {
        let target = peers.here(&echo()).await?;
        for polls in 0..4 {
            peers.step(format!("drop a request after {polls} polls"));
            peers.dropped(polls, peers.send(&target, removal("dropped"))).await;
            let id = format!("next-{polls}");
            echoes(&id, peers.send(&target, removal(&id)).await)?;
        }
        Ok(())
    }

    /// No error of the transport's own, nor its source, has the token.
    #[source("consul#2334, consul#23731")]
    async fn no_secret_is_in_an_error_of_the_transport(peers: Transport<'_>) -> Verdict {
        const SECRET: &str = "5ecre7-b852fbe7";
        for target in [nobody("127.0.0.1:1"), Target::Datacenter("dc9".into())] {
            let request = removal("a").with_token(Token::new(SECRET));
            let error = failed(peers.overdue(peers.send(&target, request)).await)?;
            let tells = tells_part(&words(&error), SECRET.as_bytes());
            let expected = format_args!("an error without {PART} letters of the token in a row");
            ensure(!tells, expected, format_args!("an error with a part of it"))?;
        }
        Ok(())
    }
}

/// Checks a request that was forwarded once, as [`as_answered`] does.
async fn as_called(
    peers: &Transport<'_>,
    target: &Target,
    server: &Server,
    request: OperatorRequest,
) -> Verdict {
    let envelope = server.forwarded(datacenter(target), request).await?;
    as_answered(peers, target, server, envelope).await
}

/// Checks that an envelope sent through the peers has the effect and the reply that
/// it has where the service itself is given it.
async fn as_answered(
    peers: &Transport<'_>,
    target: &Target,
    server: &Server,
    envelope: Envelope,
) -> Verdict {
    let service = server.service(datacenter(target))?;
    let reply = service.answer(&envelope).await;
    let asked = server.take();
    let seen = peers.send_envelope(target, envelope).await;
    same_reply(&reply, seen)?;
    let arrived = server.take();
    let bytes = |asked: &[Envelope]| -> Vec<_> {
        let envelopes = asked.iter();
        envelopes.map(|asked| asked.as_bytes().clone()).collect()
    };
    let told = |asked: &[Envelope]| -> Vec<_> { asked.iter().map(Envelope::request).collect() };
    ensure(
        bytes(&asked) == bytes(&arrived),
        format_args!(
            "the request, byte for byte, count of forwards and timeout too: {:?}",
            told(&asked)
        ),
        told(&arrived),
    )
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

fn datacenter(target: &Target) -> &str {
    match target {
        Target::Server(_) => "dc1",
        Target::Datacenter(datacenter) => datacenter.as_str(),
    }
}

/// A server that there never was.
fn nobody(address: &str) -> Target {
    Target::Server(LeaderHint {
        id: "nobody".into(),
        address: address.into(),
    })
}

/// The error of a request that is not left without an answer.
fn failed(answer: Option<Sent>) -> Result<SendError, Stop> {
    match answer {
        Some(Err(error)) => Ok(error),
        Some(Ok(reply)) => Err(Stop::failed("an error", format!("{reply:?}"))),
        None => Err(Stop::failed("an error", "no answer: the call hangs")),
    }
}

/// A server that says in its answer which server it is asked to remove. It never
/// answers what is asked of a server called `stuck`.
fn echo() -> Server {
    Server::new(|request| {
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

/// The removal of the server with this id.
fn removal(id: &str) -> OperatorRequest {
    request(Operation::RemovePeer {
        server: PeerSelector::Id(id.into()),
        expected_index: None,
    })
}

/// A request with an id, so that no server on its way makes one.
fn request(operation: Operation) -> OperatorRequest {
    let mut request = OperatorRequest::new(operation);
    request.request_id = RequestId::try_from(String::from("7f3a-01")).ok();
    request
}

fn requests() -> Vec<OperatorRequest> {
    let operations = [
        READ,
        Operation::RaftConfiguration(Consistency::Consistent),
        Operation::RemovePeer {
            server: PeerSelector::Id(ODD.into()),
            expected_index: Some(u64::MAX),
        },
        Operation::RemovePeer {
            server: PeerSelector::Address("".into()),
            expected_index: Some(0),
        },
        Operation::TransferLeadership { to: None },
        Operation::TransferLeadership {
            to: Some(ODD.into()),
        },
    ];
    let tokens = ["b852fbe7-fba0", ODD, ""];
    let removal = |token| removal("a").with_token(Token::new(token));
    let with_tokens = tokens.map(|token| removal(token).in_datacenter("dc1"));
    operations
        .map(request)
        .into_iter()
        .chain(with_tokens)
        .collect()
}

fn replies() -> [(Operation, OperatorReply); 3] {
    let server = RaftServer::nonvoter("id ä", "10.0.0.2:8300")
        .with_name(ODD)
        .with_protocol_version("3")
        .with_last_index(u64::MAX)
        .with_alive(false);
    let configuration = RaftConfiguration {
        servers: vec![RaftServer::voter("", "").with_leader(true), server],
        index: u64::MAX,
    };
    let nothing = RaftConfiguration::default();
    [
        (READ, OperatorReply::RaftConfiguration(configuration)),
        (READ, OperatorReply::RaftConfiguration(nothing)),
        (removal("a").operation, OperatorReply::PeerRemoved),
    ]
}

/// Errors of a few kinds with every outcome. To a transport, others are no different.
fn errors() -> impl Iterator<Item = OperatorError> {
    let kinds = [
        ErrorKind::InvalidRequest { reason: ODD.into() },
        ErrorKind::UnknownToken,
        ErrorKind::NotLeader { leader: None },
        ErrorKind::QuorumLoss {
            voters: 3,
            alive: 1,
            needed: 2,
        },
        ErrorKind::Backend {
            message: "Permission denied".into(),
        },
    ];
    let outcomes = [Outcome::NotApplied, Outcome::Applied, Outcome::Unknown];
    let with_outcomes = move |kind| {
        let error = OperatorError::new(kind);
        outcomes.map(|outcome| error.clone().with_outcome(outcome))
    };
    kinds.into_iter().flat_map(with_outcomes)
}

/// Bytes that are no envelope and no reply of this version.
fn foreign() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        b"{}".to_vec(),
        b"\"Err\"".to_vec(),
        b" {\"version\" : 3 , \"more\": 1e2}\r\n\n".to_vec(),
        b"{\"version\":\"\xff\xfe".to_vec(),
        b"--x\r\n\0\x80\r\n.\r\n".to_vec(),
        [b"\n".repeat(5000), vec![0; 5000]].concat(),
    ]
}
