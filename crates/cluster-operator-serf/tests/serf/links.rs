//! A transport whose links can be cut.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use memberlist_core::proto::Payload;
use serf::net::NetTransportOptions;
use serf::tokio::{TokioSocketAddrResolver, TokioTcp};
use serf::transport::{Connection, PacketSubscriber, StreamSubscriber, Transport};
use serf::types::SmolStr;
use tokio::time::Instant;

use crate::pool;

type Inner = pool::Transport;
type Error = <Inner as Transport>::Error;

/// The links between nodes. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Links {
    isolated: Arc<RwLock<HashSet<SocketAddr>>>,
    refused: Arc<AtomicUsize>,
}

impl Links {
    /// Cuts the links between this node and the others.
    pub(crate) fn isolate(&self, node: SocketAddr) {
        self.isolated.write().unwrap().insert(node);
    }

    /// Mends all links.
    pub(crate) fn mend(&self) {
        self.isolated.write().unwrap().clear();
    }

    /// The number of connections that were tried over cut links.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    fn are_cut(&self, one: &SocketAddr, other: &SocketAddr) -> bool {
        let isolated = self.isolated.read().unwrap();
        isolated.contains(one) != isolated.contains(other)
    }
}

/// TCP and UDP over links.
pub(crate) struct Linked {
    inner: Inner,
    links: Links,
}

impl Transport for Linked {
    type Error = Error;
    type Id = SmolStr;
    type Address = <Inner as Transport>::Address;
    type ResolvedAddress = SocketAddr;
    type Resolver = <Inner as Transport>::Resolver;
    type Connection = <Inner as Transport>::Connection;
    type Runtime = <Inner as Transport>::Runtime;
    type Options = (
        NetTransportOptions<SmolStr, TokioSocketAddrResolver, TokioTcp>,
        Links,
    );

    async fn new((options, links): Self::Options) -> Result<Self, Error> {
        let inner = Inner::new(options).await?;
        Ok(Linked { inner, links })
    }

    /// A packet over a cut link is lost.
    async fn send_to(
        &self,
        to: &SocketAddr,
        packet: Payload,
    ) -> Result<(usize, Instant), Self::Error> {
        if self.links.are_cut(self.advertise_address(), to) {
            Ok((packet.as_slice().len(), Instant::now()))
        } else {
            self.inner.send_to(to, packet).await
        }
    }

    /// A connection over a cut link fails at the deadline.
    async fn open(&self, to: &SocketAddr, deadline: Instant) -> Result<Self::Connection, Error> {
        if self.links.are_cut(self.advertise_address(), to) {
            tokio::time::sleep_until(deadline).await;
            self.links.refused.fetch_add(1, Ordering::Relaxed);
            Err(io::Error::from(io::ErrorKind::TimedOut).into())
        } else {
            self.inner.open(to, deadline).await
        }
    }

    async fn read(
        &self,
        from: &SocketAddr,
        reader: &mut <Self::Connection as Connection>::Reader,
    ) -> Result<usize, Error> {
        self.inner.read(from, reader).await
    }

    async fn write(
        &self,
        writer: &mut <Self::Connection as Connection>::Writer,
        payload: Payload,
    ) -> Result<usize, Error> {
        self.inner.write(writer, payload).await
    }

    async fn resolve(&self, address: &Self::Address) -> Result<SocketAddr, Error> {
        self.inner.resolve(address).await
    }

    fn local_id(&self) -> &SmolStr {
        self.inner.local_id()
    }

    fn local_address(&self) -> &Self::Address {
        self.inner.local_address()
    }

    fn advertise_address(&self) -> &SocketAddr {
        self.inner.advertise_address()
    }

    fn max_packet_size(&self) -> usize {
        self.inner.max_packet_size()
    }

    fn header_overhead(&self) -> usize {
        self.inner.header_overhead()
    }

    fn blocked_address(&self, address: &SocketAddr) -> Result<(), Error> {
        self.inner.blocked_address(address)
    }

    fn packet(&self) -> PacketSubscriber<SocketAddr, Instant> {
        self.inner.packet()
    }

    fn stream(&self) -> StreamSubscriber<SocketAddr, Self::Connection> {
        self.inner.stream()
    }

    fn packet_reliable(&self) -> bool {
        self.inner.packet_reliable()
    }

    fn packet_secure(&self) -> bool {
        self.inner.packet_secure()
    }

    fn stream_secure(&self) -> bool {
        self.inner.stream_secure()
    }

    async fn shutdown(&self) -> Result<(), Error> {
        self.inner.shutdown().await
    }
}
