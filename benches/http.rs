//! Requests a second over HTTP, against an axum server that returns a fixed body
//! from memory: both in one process, on one runtime, asked by the same clients
//! in turns.
//!
//! ```text
//! cargo bench --all-features --bench http
//! ```

#[path = "fixture/leader.rs"]
mod leader;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use cluster_operator::acl::{AccessorId, Resource, Rule, Rules, TokenDefinition};
use cluster_operator::mock::MockKeyring;
use cluster_operator::raft::{RaftConfiguration, RaftServer};
use cluster_operator::server::OperatorHttp;
use cluster_operator::{GossipKey, OperatorService, Pool, Token, TokenStore};
use leader::Leader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(700);
const TOKEN: &str = "b852fbe7-fba0-1ebe-cae4-8553c5cf703b";

type Error = Box<dyn std::error::Error + Send + Sync>;

fn service() -> Result<OperatorService, Error> {
    let servers = (1..=5).map(|number| {
        let id = format!("{number:08x}-f6e1-cca3-eaf1-38d1ef9d91c7");
        RaftServer::voter(id, format!("10.0.0.{number}:8300"))
            .with_name(format!("server-{number}"))
            .with_leader(number == 1)
            .with_protocol_version("3")
    });
    let configuration = RaftConfiguration::new(servers, 22);
    let ring = |pool| -> Result<MockKeyring, Error> {
        let ring = MockKeyring::new(pool, GossipKey::from_bytes(&[1; 16])?, ["server-1"]);
        let mut keys = ring.ring("server-1").ok_or("no ring")?;
        keys.install(GossipKey::from_bytes(&[2; 16])?);
        keys.install(GossipKey::from_bytes(&[3; 32])?);
        ring.set_ring("server-1", Some(keys));
        Ok(ring)
    };
    let rules = Rules::new()
        .with(Resource::Operator, Rule::Read)
        .with(Resource::Keyring, Rule::Read);
    let token = TokenDefinition::new(AccessorId::new("bench"), Token::new(TOKEN));
    let store = TokenStore::builder()
        .policy("look", rules)
        .token(token.with_policy("look"))
        .build()?;
    Ok(OperatorService::builder("dc1")
        .raft(Leader::new(&configuration))
        .keyring(ring(Pool::Wan)?)
        .keyring(ring(Pool::Lan)?)
        .authorizer(store)
        .build()?)
}

async fn listen(app: Router) -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

/// Reads one response and returns its body.
async fn response(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server hung up".into());
        }
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end])?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .ok_or("no length")?
            .parse::<usize>()?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(head.to_owned().into());
        }
        if buffer.len() == end + 4 + length {
            return Ok(buffer[end + 4..].to_vec());
        }
    }
}

async fn ask(address: SocketAddr, path: &str, until: Instant) -> Result<usize, Error> {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Consul-Token: {TOKEN}\r\n\r\n");
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    let mut answered = 0;
    while Instant::now() < until {
        stream.write_all(request.as_bytes()).await?;
        response(&mut stream, &mut buffer).await?;
        answered += 1;
    }
    Ok(answered)
}

/// Requests a second, from all connections together.
async fn rate(address: SocketAddr, path: &'static str) -> Result<f64, Error> {
    let start = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| tokio::spawn(ask(address, path, start + ROUND)))
        .collect();
    let mut answered = 0;
    for client in clients {
        answered += client.await??;
    }
    Ok(answered as f64 / start.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let operator = listen(Router::new().fallback_service(OperatorHttp::new(service()?))).await?;
    for (name, path) in [
        (
            "raft configuration, 5 servers",
            "/v1/operator/raft/configuration",
        ),
        ("keyring, 2 rings of 3 keys", "/v1/operator/keyring"),
    ] {
        // The same body, so that both send as many bytes.
        let mut stream = TcpStream::connect(operator).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Consul-Token: {TOKEN}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let body = bytes::Bytes::from(response(&mut stream, &mut Vec::new()).await?);
        let fixed =
            get(
                move || async move { ([(header::CONTENT_TYPE, "application/json")], body.clone()) },
            );
        let fixed = listen(Router::new().route(path, fixed)).await?;

        let (mut fixed_rates, mut rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let floor = rate(fixed, path).await?;
            let ours = rate(operator, path).await?;
            ratios.push(ours / floor);
            fixed_rates.push(floor);
            rates.push(ours);
        }
        println!(
            "{name}: {:.0} requests/s, fixed body {:.0} requests/s, ratio {:.2}",
            median(rates),
            median(fixed_rates),
            median(ratios)
        );
    }
    Ok(())
}
