//! Connectors that the embedder provides.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use cluster_operator::client::{OperatorClient, Transport};
use cluster_operator::mock::MockRaft;
use cluster_operator::peer_http::PeerHttp;
use cluster_operator::raft::Consistency;
use cluster_operator::server::OperatorHttp;
use cluster_operator::{AllowAll, OperatorService};
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{ask, peers_of, read};

/// A stand-in for an encrypted stream.
pub(crate) struct Stream<S>(S);

impl<S> Connection for Stream<S> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

type Connecting<S> = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream<S>>>> + Send>>;

/// Connects over TCP, but never to `black.hole`; it counts these attempts.
#[derive(Clone)]
struct BlackHole(Arc<AtomicUsize>);

impl tower::Service<Uri> for BlackHole {
    type Response = TokioIo<Stream<TcpStream>>;
    type Error = io::Error;
    type Future = Connecting<TcpStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let authority = uri.authority().unwrap().to_string();
        let attempts = self.0.clone();
        Box::pin(async move {
            if authority == "black.hole" {
                attempts.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            let stream = TcpStream::connect(authority).await?;
            Ok(TokioIo::new(Stream(stream)))
        })
    }
}

pub(crate) fn with_a_black_hole() -> (Transport, Arc<AtomicUsize>) {
    let attempts = Arc::new(AtomicUsize::new(0));
    (Transport::over(BlackHole(attempts.clone())), attempts)
}

/// Connections in memory to one server, as a TLS connector makes them over TCP.
#[derive(Clone)]
struct Secure {
    server: mpsc::UnboundedSender<DuplexStream>,
    asked: mpsc::UnboundedSender<Uri>,
}

impl tower::Service<Uri> for Secure {
    type Response = TokioIo<Stream<DuplexStream>>;
    type Error = io::Error;
    type Future = Connecting<DuplexStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (near, far) = tokio::io::duplex(4096);
        self.asked.send(uri).unwrap();
        self.server.send(far).unwrap();
        Box::pin(std::future::ready(Ok(TokioIo::new(Stream(near)))))
    }
}

/// The server side of a [`Secure`] connector.
struct Incoming(mpsc::UnboundedReceiver<DuplexStream>);

impl axum::serve::Listener for Incoming {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(stream) => (stream, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn connector_for_tls_is_used() {
    let service = OperatorService::builder("dc2")
        .raft(MockRaft::voters(["dave"]))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let app = axum::Router::new()
        .route_service(
            cluster_operator::peer_http::PEER_PATH,
            PeerHttp::new(service.clone()),
        )
        .fallback_service(OperatorHttp::new(service));
    let (server, incoming) = mpsc::unbounded_channel();
    let (asked, mut uris) = mpsc::unbounded_channel();
    tokio::spawn(async move { axum::serve(Incoming(incoming), app).await });

    // Both share the connections.
    let transport = Transport::over(Secure { server, asked });
    let peers = peers_of(&["https://dave.example.com:8501"]).with_transport(transport.clone());
    ask(&peers, read()).await.unwrap();
    ask(&peers, read()).await.unwrap();
    let client = OperatorClient::new("https://dave.example.com:8501".parse().unwrap())
        .with_transport(transport);
    let configuration = client.raft_configuration(Consistency::Stale).await.unwrap();
    assert_eq!(configuration.servers[0].id, "dave");

    assert_eq!(
        uris.try_recv().unwrap().to_string(),
        "https://dave.example.com:8501/"
    );
    assert!(uris.try_recv().is_err());
}
