//! A diagnosis over HTTP, also of Consul.

use super::operator::OperatorClient;
use super::rings::{Member, Servers, add};
use crate::diagnosis::{AskedServer, Diagnosis, Observations, ObservedDatacenter, ServerView};
use crate::error::{KeyringReply, OperatorError, RingOutcome};
use crate::keyring::Pool;
use crate::raft::Consistency;
use crate::rotation::Rings;
use crate::types::{DatacenterName, QuorumGuard};

impl Servers {
    /// Asks each server for its own view of Raft, and for the keys of all rings, and
    /// returns the state of the federation with what is wrong with it.
    ///
    /// A server that cannot be asked is a [finding](crate::diagnosis::Finding), and the
    /// rest stays. Give all servers, since over HTTP a server cannot ask the others for
    /// their views. Consul shows neither the term nor the last log position of a server,
    /// and which servers are up only to a token that may read nodes. Each server shows
    /// its own datacenter, whatever [datacenter](OperatorClient::in_datacenter) its client
    /// has.
    ///
    /// Ask a server with this library for its own
    /// [diagnosis](OperatorClient::diagnosis) first: it sees more.
    ///
    /// # Cancel safety
    /// The call only reads; the future can be dropped.
    pub async fn diagnose(&self) -> Diagnosis {
        let observed = self.clients.iter().map(Observed::ask);
        let observed = futures_util::future::join_all(observed).await;
        let mut datacenters: Vec<ObservedDatacenter> = Vec::new();
        let mut rings: Option<Result<KeyringReply, OperatorError>> = None;
        // A server that did not name its datacenter is shown with the first one.
        let named = observed.iter().find_map(|it| it.datacenter.clone());
        let named = named.unwrap_or_else(|| "".into());
        for Observed {
            datacenter,
            server,
            listing,
        } in observed
        {
            let name = datacenter.unwrap_or_else(|| named.clone());
            match datacenters.iter_mut().find(|it| it.name == name) {
                Some(ObservedDatacenter {
                    servers: Ok(servers),
                    ..
                }) => servers.push(server),
                _ => datacenters.push(ObservedDatacenter {
                    name,
                    servers: Ok(vec![server]),
                }),
            }
            rings = match (rings, listing) {
                (Some(Ok(mut all)), Ok(reply)) => {
                    add(&mut all, reply);
                    Some(Ok(all))
                }
                (Some(Ok(all)), Err(_)) => Some(Ok(all)),
                (None | Some(Err(_)), listing) => Some(listing),
            };
        }
        Observations {
            datacenters,
            rings,
            guard: QuorumGuard::default(),
        }
        .examine()
    }
}

/// The answers of one server.
struct Observed {
    datacenter: Option<DatacenterName>,
    server: AskedServer,
    listing: Result<KeyringReply, OperatorError>,
}

impl Observed {
    async fn ask(client: &OperatorClient) -> Self {
        // Neither rings nor members can be asked for by datacenter.
        let client = &client.in_own_datacenter();
        let view = client.raft_configuration(Consistency::Stale).await;
        let mut view = view.map(ServerView::from).map_err(OperatorError::from);
        let mut listing = client.list().await;
        let members = client.agent_members(false).await.unwrap_or_default();
        if let Ok(view) = &mut view {
            see(view, &members);
        }
        let dc = members.iter().find_map(|member| member.tags.get("dc"));
        let mut datacenter = dc.map(|name| DatacenterName::new(name.as_str()));
        if let Ok(KeyringReply { rings }) = &mut listing {
            // The asked server's datacenter comes first.
            let first = rings.first().map(|ring| ring.datacenter.clone());
            datacenter = datacenter.or(first);
            let wan = client.agent_members(true).await.unwrap_or_default();
            for ring in rings.iter_mut() {
                match ring.pool {
                    Pool::Wan => name(ring, &wan),
                    Pool::Lan if Some(&ring.datacenter) == datacenter.as_ref() => {
                        name(ring, &members);
                    }
                    Pool::Lan | Pool::Segment(_) => {}
                }
            }
        }
        let address = client.server().to_string().into();
        Observed {
            datacenter,
            server: AskedServer::new(None, address, view),
            listing,
        }
    }
}

/// Adds the names of its nodes to a ring.
fn name(ring: &mut RingOutcome, members: &[Member]) {
    let Some(report) = &mut ring.report else {
        return;
    };
    let of = |status| {
        let mut names = Member::names(members, status);
        names.sort_unstable();
        names
    };
    if report.asked.is_empty() {
        report.asked = of(Member::ALIVE);
    }
    if report.absent.is_empty() {
        report.absent = of(Member::FAILED);
    }
}

/// Adds to a view which servers the gossip believes to be up.
fn see(view: &mut ServerView, members: &[Member]) {
    for seen in &mut view.servers {
        let server = &mut seen.server;
        let mut members = members.iter();
        let member = members.find(|member| Some(&member.name) == server.name.as_ref());
        server.alive = match member.map(|member| member.status) {
            Some(Member::ALIVE) => Some(true),
            Some(Member::FAILED) => Some(false),
            _ => None,
        };
    }
}
