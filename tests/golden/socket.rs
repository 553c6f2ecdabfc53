//! The servers of a scenario behind sockets, as programs reach them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use cluster_operator::consul::Dialect;
use cluster_operator::mock::MockFederation;
use cluster_operator::server::OperatorHttp;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::recording::{Request, Response};

/// One listener for each server.
pub(crate) struct Sockets {
    addresses: BTreeMap<String, SocketAddr>,
    /// Dropped last, it stops the listeners.
    _runtime: Runtime,
}

impl Sockets {
    pub(crate) fn open(federation: &MockFederation, dialect: Dialect) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut addresses = BTreeMap::new();
        for server in federation
            .datacenters()
            .iter()
            .flat_map(|it| federation.servers(it.clone()))
        {
            let endpoints = OperatorHttp::new(federation.service(server.clone()));
            let app = Router::new().fallback_service(endpoints.with_dialect(dialect));
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            addresses.insert(server.to_string(), listener.local_addr().unwrap());
            runtime.spawn(async move { axum::serve(listener, app).await });
        }
        Sockets {
            addresses,
            _runtime: runtime,
        }
    }

    pub(crate) fn send(&self, server: &str, target: &str, request: &Request) -> Response {
        let address = self.addresses[server];
        let body = request.body.as_deref().unwrap_or_default();
        let method = &request.method;
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        for (name, value) in &request.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if request.body.is_some() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
            .write_all(format!("{head}\r\n{body}").as_bytes())
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        // What the transport adds was not recorded.
        let headers =
            headers.filter(|(name, _)| !["date", "content-length", "connection"].contains(name));
        Response {
            status: status.parse().unwrap(),
            headers: headers
                .map(|(name, value)| (canonical(name), value.into()))
                .collect(),
            body: body.to_owned(),
        }
    }
}

/// A header's name as Go writes it; hyper writes it in lower case.
fn canonical(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}
