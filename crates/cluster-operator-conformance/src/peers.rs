//! The suite for [`Peers`](cluster_operator::Peers).
//!
//! A failed check lists what it sent, and how each call ended.

mod server;

use cluster_operator::acl::Token;
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::operation::{Operation, OperatorReply, OperatorRequest, RequestId};
use cluster_operator::peers::{Envelope, EnvelopeReply, SendError, Target};
use cluster_operator::raft::{
    ConfigVersion, Consistency, LeaderHint, LogPosition, PeerSelector, RaftConfiguration,
    RaftServer,
};
use futures_util::future::{join, join_all};

use self::server::{Answer, Sent, Server, Transport, sealed};
use crate::check::suite;
use crate::fixture::{Stop, Verdict, ensure, same};
use crate::secret::{hides, words};

pub use self::server::PeersFixture;

const REMOVED: Answer = Ok(OperatorReply::PeerRemoved);
const READ: Operation = Operation::RaftConfiguration(Consistency::Default);
const ODD: &str = "a b/c?d=%e&ä\"\\\n<🦀>";

suite! {
    ($) __conformance_peers_tests;

    /// Runs the whole suite, each check on servers of its own.
    suite peers::peers(Peers, PeersFixture, ());

    /// The reply of the other server's service comes back byte for byte, whatever texts
    /// and numbers it contains, also from another datacenter. So does an error, which is
    /// not turned into a text or an error of the transport.
    #[source("the contract of `Peers`; Consul: rpc error making call; etcd#1483")]
    async fn a_reply_comes_back_as_it_was(peers: Transport<'_>) -> Verdict {
        for datacenter in ["dc1", "dc2"] {
            let server = Server::new(datacenter);
            let target = peers.start(&server).await?;
            for (operation, answer) in answers() {
                server.answer(answer);
                let request = request(operation).in_datacenter(datacenter);
                as_called(peers, &target, &server, request).await?;
            }
        }
        Ok(())
    }

    /// Operation, datacenter, token, request id, count of forwards and timeout arrive as
    /// they were sent: otherwise a stale hint could loop, or an operation be served with
    /// another token's rules.
    #[source("the contract of `Peers`; CVE-2020-13170")]
    async fn the_request_arrives_as_it_was_sent(peers: Transport<'_>) -> Verdict {
        let server = Server::new("dc1");
        let target = peers.start(&server).await?;
        for request in requests() {
            as_called(peers, &target, &server, request).await?;
        }
        Ok(())
    }

    /// Envelopes and replies are bytes to the transport: they arrive and come back
    /// unchanged, even in another version, or if they are not JSON.
    #[source("the contract of `Peers`")]
    async fn bytes_arrive_and_come_back_unchanged(peers: Transport<'_>) -> Verdict {
        let server = Server::new("dc1");
        let target = peers.start(&server).await?;
        for bytes in foreign() {
            as_answered(peers, &target, &server, Envelope::from_bytes(bytes)).await?;
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

    /// A request arrives once, whatever the answer: the caller decides about a retry.
    #[source("redpanda#3446")]
    async fn a_request_is_sent_once(peers: Transport<'_>) -> Verdict {
        let unreachable = OperatorError::new(ErrorKind::Unreachable {
            target: "server".into(),
            reason: "reset".into(),
        });
        let server = Server::new("dc1");
        let target = peers.start(&server).await?;
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

    /// A write whose reply is lost is not sent again, and its error, if it returns, is
    /// `Lost`.
    #[source("etcd#1483")]
    async fn a_lost_reply_is_reported_as_lost(peers: Transport<'_>) -> Verdict {
        let server = Server::new("dc1");
        let target = peers.start(&server).await?;
        peers.lose_answers(&target).await?;
        let answer = peers.overdue(peers.send(&target, removal("a"))).await;
        let holds = matches!(answer, None | Some(Err(SendError::Lost(_))));
        ensure(holds, "no answer, or Lost", answer)?;
        same("requests that arrive", &1, &server.take().len())
    }

    /// A request to a server that is down is an error, and does not hang.
    #[source("the contract of `Peers`")]
    async fn a_server_that_is_down_is_unreachable(peers: Transport<'_>) -> Verdict {
        let server = Server::new("dc1");
        let target = peers.start(&server).await?;
        drop(peers.send(&target, removal("a")).await);
        peers.stop(&target).await?;
        // Lost as well: that a kept connection is closed may show only after sending.
        peers.fails(&target, removal("b")).await?;
        same("requests that arrive", &1, &server.take().len())
    }

    /// A request to an address where nobody listens, or to a malformed one, is `NotSent`
    /// or `NoPath`, and neither panics nor hangs.
    #[source("the contract of `Peers`")]
    async fn an_unknown_address_is_unreachable(peers: Transport<'_>) -> Verdict {
        for address in ["127.0.0.1:1", "", "no address", "[::1", "a b:-1"] {
            let target = nobody(address);
            let error = peers.fails(&target, removal("a")).await?;
            let holds = matches!(error, SendError::NotSent(_) | SendError::NoPath);
            ensure(holds, "NotSent or NoPath", error)?;
        }
        Ok(())
    }

    /// A request arrives at the server or datacenter that is its target, and nowhere
    /// else. `datacenters` has every datacenter that was joined.
    #[source("the contract of `Peers`; Consul's catalog of datacenters")]
    async fn a_request_goes_where_it_is_sent(peers: Transport<'_>) -> Verdict {
        let servers = ["dc1", "dc2", "dc3"].map(Server::new);
        let mut targets = Vec::new();
        for server in &servers {
            targets.push(peers.start(server).await?);
        }
        for at in [2, 0, 1] {
            drop(peers.send(&targets[at], removal("a")).await);
            let asked = servers.each_ref().map(|server| server.take().len());
            let mut expected = [0; 3];
            expected[at] = 1;
            same("requests that arrive in dc1, dc2 and dc3", &expected, &asked)?;
        }
        peers.until("dc2 and dc3 among the datacenters", || async {
            let known = peers.fixture.peers().datacenters();
            let is_known = |name| known.iter().any(|known| known == name);
            let all = ["dc2", "dc3"].into_iter().all(is_known);
            if all { Ok(()) } else { Err(format!("{known:?}")) }
        })
        .await
    }

    /// Of requests at the same time, each gets its own answer.
    #[source("the contract of `Peers`")]
    async fn requests_at_once_get_their_own_answers(peers: Transport<'_>) -> Verdict {
        let targets = [
            peers.start(&Server::new("dc1")).await?,
            peers.start(&Server::new("dc2")).await?,
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
        let target = peers.start(&Server::new("dc1")).await?;
        // The first one has more time than the second is waited for.
        let timeout = peers.timeout() * 2;
        let stuck = peers.send_within(timeout, &target, sealed(removal("stuck"))?);
        let stuck = peers.within(peers.timeout(), stuck);
        let next = peers.within(peers.timeout(), peers.send(&target, removal("next")));
        match join(stuck, next).await {
            (_, Some(answer)) => echoes("next", answer),
            _ => Err(Stop::failed("an answer beside one that takes long", "none")),
        }
    }

    /// After a request whose future was dropped, at any point, the next one gets its own
    /// answer.
    #[source("the contract of `Peers`")]
    async fn a_dropped_request_affects_no_other(peers: Transport<'_>) -> Verdict {
        let target = peers.start(&Server::new("dc1")).await?;
        for polls in 0..4 {
            peers.step(format!("drop a request after {polls} polls"));
            peers.dropped(polls, peers.send(&target, removal("dropped"))).await;
            let id = format!("next-{polls}");
            echoes(&id, peers.send(&target, removal(&id)).await)?;
        }
        Ok(())
    }

    /// Neither an error of the transport nor its sources contain the token.
    #[source("consul#2334, consul#23731")]
    async fn no_secret_is_in_an_error_of_the_transport(peers: Transport<'_>) -> Verdict {
        const SECRET: &str = "5ecre7-b852fbe7";
        for target in [nobody("127.0.0.1:1"), Target::Datacenter("dc9".into())] {
            let request = removal("a").with_token(Token::new(SECRET));
            let error = peers.fails(&target, request).await?;
            hides("an error", &words(&error), SECRET.as_bytes())?;
        }
        Ok(())
    }
}

/// There is nothing to wait for.
async fn ready((): (), _: Transport<'_>) -> Verdict {
    Ok(())
}

/// Checks a request that was forwarded once, as [`as_answered`] does.
async fn as_called(
    peers: Transport<'_>,
    target: &Target,
    server: &Server,
    request: OperatorRequest,
) -> Verdict {
    let service = server.service()?;
    service.answer(&sealed(request)?).await;
    let Some(forwarded) = server.take().pop() else {
        return Err(Stop::failed("a service that forwards", "none"));
    };
    as_answered(peers, target, server, forwarded).await
}

/// Checks that an envelope that goes through the transport has the effect and the reply
/// that it has if it is handed to the service itself.
async fn as_answered(
    peers: Transport<'_>,
    target: &Target,
    server: &Server,
    envelope: Envelope,
) -> Verdict {
    let service = server.service()?;
    let reply = service.answer(&envelope).await;
    let asked = server.take();
    let seen = peers.send_within(peers.timeout(), target, envelope).await;
    same_reply(&reply, seen)?;
    let arrived = server.take();
    let holds = asked
        .iter()
        .map(Envelope::as_bytes)
        .eq(arrived.iter().map(Envelope::as_bytes));
    let shown = |asked: &[Envelope]| -> Vec<_> { asked.iter().map(Envelope::request).collect() };
    let expected = format!(
        "the same bytes, count of forwards and timeout too: {:?}",
        shown(&asked)
    );
    ensure(holds, expected, shown(&arrived))
}

/// Checks that the reply is this one, byte for byte.
fn same_reply(expected: &EnvelopeReply, seen: Sent) -> Verdict {
    let holds = matches!(&seen, Ok(seen) if seen.as_bytes() == expected.as_bytes());
    let shown = |reply: &EnvelopeReply| (reply.clone(), reply.result(Outcome::Unknown));
    let expected = format!("the reply, byte for byte: {:?}", shown(expected));
    ensure(holds, expected, seen.as_ref().map(shown))
}

/// A server that never existed.
fn nobody(address: &str) -> Target {
    Target::Server(LeaderHint {
        id: "nobody".into(),
        address: address.into(),
    })
}

/// Checks that the answer is the echo of this removal.
fn echoes(id: &str, answer: Sent) -> Verdict {
    let removed = PeerSelector::Id(id.into());
    let expected = OperatorError::invalid_request(removed.to_string()).to_string();
    let answer = answer.map(|reply| reply.result(Outcome::Unknown));
    let holds = matches!(&answer, Ok(Err(error)) if error.to_string() == expected);
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

fn requests() -> impl Iterator<Item = OperatorRequest> {
    let removal_of = |server, expected_index| Operation::RemovePeer {
        server,
        expected_index,
    };
    let operations = [
        READ,
        Operation::RaftConfiguration(Consistency::Consistent),
        removal_of(PeerSelector::Id(ODD.into()), Some(u64::MAX)),
        removal_of(PeerSelector::Address("".into()), Some(0)),
        Operation::TransferLeadership { to: None },
        Operation::TransferLeadership {
            to: Some(ODD.into()),
        },
        Operation::PlanRemoval {
            server: PeerSelector::Address(ODD.into()),
        },
        Operation::RemovePlanned {
            id: ODD.into(),
            version: ConfigVersion {
                term: u64::MAX,
                index: 0,
            },
        },
        Operation::ForceRemoval { id: ODD.into() },
        Operation::ReplacePeer {
            id: "".into(),
            with: ODD.into(),
        },
    ];
    let with_token = |token| {
        removal("a")
            .with_token(Token::new(token))
            .in_datacenter("dc1")
    };
    let with_tokens = ["b852fbe7-fba0", ODD, ""].map(with_token);
    operations.map(request).into_iter().chain(with_tokens)
}

/// Replies with odd values, and errors of a few kinds with every outcome: others are no
/// different to a transport.
fn answers() -> Vec<(Operation, Answer)> {
    let server = RaftServer::nonvoter("id ä", "10.0.0.2:8300")
        .with_name(ODD)
        .with_protocol_version("3")
        .with_last_index(u64::MAX)
        .with_alive(false);
    let servers = [RaftServer::voter("", "").with_leader(true), server];
    let last = LogPosition {
        term: u64::MAX,
        index: u64::MAX,
    };
    let configuration = RaftConfiguration::new(servers, u64::MAX).with_last_log(last);
    let configurations = [configuration, RaftConfiguration::default()];
    let mut answers = configurations
        .map(|configuration| (READ, Ok(OperatorReply::RaftConfiguration(configuration))))
        .to_vec();
    let removal = removal("a").operation;
    answers.push((removal.clone(), REMOVED));
    for kind in [
        ErrorKind::InvalidRequest { reason: ODD.into() },
        ErrorKind::NotLeader { leader: None },
        ErrorKind::Backend {
            message: "Permission denied".into(),
        },
    ] {
        for outcome in [Outcome::NotApplied, Outcome::Applied, Outcome::Unknown] {
            let error = OperatorError::new(kind.clone()).with_outcome(outcome);
            answers.push((READ, Err(error.clone())));
            answers.push((removal.clone(), Err(error)));
        }
    }
    answers
}

/// Bytes that are neither an envelope nor a reply of this version.
fn foreign() -> [Vec<u8>; 7] {
    [
        Vec::new(),
        b"{}".to_vec(),
        b"\"Err\"".to_vec(),
        b" {\"version\" : 3 , \"more\": 1e2}\r\n\n".to_vec(),
        b"{\"version\":\"\xff\xfe".to_vec(),
        b"--x\r\n\0\x80\r\n.\r\n".to_vec(),
        [b"\n".repeat(5000), vec![0; 5000]].concat(),
    ]
}
