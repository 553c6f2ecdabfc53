//! The addresses of the other servers.

use std::collections::{BTreeMap, HashMap};

use crate::peers::Target;
use crate::transport::{InvalidServerUri, ServerUri};
use crate::types::{DatacenterName, ServerId};

/// Knows where the other servers listen: the URIs under which their
/// [`PeerHttp`](super::PeerHttp) is mounted.
///
/// [`HttpPeers`](super::HttpPeers) asks it for every request, so it can follow the
/// gossip members. An [`AddressBook`] is a directory that does not change.
///
/// # Contract
/// - Both methods are cheap and do not block.
/// - They may name servers that are down.
///
/// ```
/// use cluster_operator::peer_http::{Directory, ServerUri};
/// use cluster_operator::peers::Target;
/// use cluster_operator::DatacenterName;
///
/// /// Every server listens on port 8501 of the host that it has for Raft, and a
/// /// load balancer stands in front of each datacenter.
/// struct ByConvention;
///
/// impl Directory for ByConvention {
///     fn datacenters(&self) -> Vec<DatacenterName> {
///         vec!["dc1".into(), "dc2".into()]
///     }
///
///     fn uris(&self, target: &Target) -> Vec<ServerUri> {
///         let host = match target {
///             Target::Server(leader) => match leader.address.as_str().rsplit_once(':') {
///                 Some((host, _port)) => host.to_owned(),
///                 None => return Vec::new(),
///             },
///             Target::Datacenter(datacenter) => format!("consul.{datacenter}.example.com"),
///         };
///         format!("https://{host}:8501").parse().into_iter().collect()
///     }
/// }
/// # use cluster_operator::raft::LeaderHint;
/// # let leader = LeaderHint { id: "a".into(), address: "10.0.0.1:8300".into() };
/// # let uris = ByConvention.uris(&Target::Server(leader));
/// # assert_eq!(uris[0].to_string(), "https://10.0.0.1:8501");
/// ```
pub trait Directory: Send + Sync {
    /// Returns the known datacenters, in any order, with or without the local one.
    fn datacenters(&self) -> Vec<DatacenterName>;

    /// Returns the URIs of a target; none if they are not known.
    ///
    /// For a datacenter, one URI for each of its servers: each can serve it, and
    /// they are tried in this order, beginning with the one that answered last.
    /// For a server, its own URIs only.
    fn uris(&self, target: &Target) -> Vec<ServerUri>;
}

/// A [`Directory`] that does not change.
///
/// ```
/// use cluster_operator::peer_http::AddressBook;
///
/// let book = AddressBook::new()
///     .with_server("8c2562c7", "http://10.0.0.1:8501")?
///     .with_server("5fa2ae1d", "http://10.0.0.2:8501")?
///     .with_datacenter("dc2", ["http://10.2.0.1:8501", "http://10.2.0.2:8501"])?;
/// # Ok::<(), cluster_operator::peer_http::InvalidServerUri>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct AddressBook {
    servers: HashMap<ServerId, ServerUri>,
    datacenters: BTreeMap<DatacenterName, Vec<ServerUri>>,
}

impl AddressBook {
    /// Creates an empty address book.
    pub fn new() -> Self {
        AddressBook::default()
    }

    /// Sets where a server of the own datacenter listens. The id is the one that
    /// [`Leadership::Remote`](crate::raft::Leadership::Remote) names when it leads.
    ///
    /// # Errors
    /// The URI is malformed.
    pub fn with_server(
        mut self,
        id: impl Into<ServerId>,
        uri: impl AsRef<str>,
    ) -> Result<Self, InvalidServerUri> {
        self.servers.insert(id.into(), uri.as_ref().parse()?);
        Ok(self)
    }

    /// Sets where the servers of another datacenter listen, in the order in which
    /// they are tried.
    ///
    /// # Errors
    /// One of the URIs is malformed.
    pub fn with_datacenter(
        mut self,
        datacenter: impl Into<DatacenterName>,
        uris: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, InvalidServerUri> {
        let uris: Result<_, _> = uris.into_iter().map(|uri| uri.as_ref().parse()).collect();
        self.datacenters.insert(datacenter.into(), uris?);
        Ok(self)
    }
}

impl Directory for AddressBook {
    fn datacenters(&self) -> Vec<DatacenterName> {
        self.datacenters.keys().cloned().collect()
    }

    fn uris(&self, target: &Target) -> Vec<ServerUri> {
        match target {
            Target::Server(leader) => self.servers.get(&leader.id).cloned().into_iter().collect(),
            Target::Datacenter(name) => self.datacenters.get(name).cloned().unwrap_or_default(),
        }
    }
}
