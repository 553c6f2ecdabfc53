//! Autopilot's endpoints on server processes that are killed.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::datacenter::{Datacenter, eventually};

/// Sends a request to an endpoint of autopilot, and returns the status and the body.
async fn ask(server: SocketAddr, method: &str, endpoint: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!(
        "{method} /v1/operator/autopilot/{endpoint} HTTP/1.1\r\nHost: {server}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Returns an answer with this status, as JSON.
async fn read(server: SocketAddr, endpoint: &str, wanted: u16) -> Result<Value, String> {
    let (status, body) = ask(server, "GET", endpoint, "").await;
    if status != wanted {
        return Err(format!("{status} {body}"));
    }
    serde_json::from_str(&body).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_server_is_shown_as_failed_and_thresholds_stay() {
    let mut datacenter = Datacenter::start(9, 3).await;
    let [leader, asked, killed] = datacenter.by_role().await.try_into().unwrap();
    let http = datacenter.server(&asked).http();
    eventually("a healthy cluster", || read(http, "health", 200)).await;

    let set = |body: Value| async move {
        let body = body.to_string();
        ask(http, "PUT", "configuration?cas=0", &body).await
    };
    let mut configuration = read(http, "configuration", 200).await.unwrap();
    configuration["LastContactThreshold"] = "2s".into();
    assert_eq!(set(configuration.clone()).await, (200, "true".into()));
    assert_eq!(set(configuration).await, (200, "false".into()));
    let first = read(http, "configuration", 200).await.unwrap();
    assert_eq!(first["LastContactThreshold"], "2s");

    datacenter.server_mut(&killed).kill();
    eventually("an unhealthy cluster", || async {
        let health = read(http, "health", 429).await?;
        let servers = health["Servers"].as_array().into_iter().flatten();
        let mut unhealthy = servers.filter(|server| server["Healthy"] == false);
        match (unhealthy.next(), unhealthy.next()) {
            (Some(server), None)
                if server["Name"] == killed.as_str()
                    && server["SerfStatus"] == "failed"
                    && health["FailureTolerance"] == 0 =>
            {
                Ok(())
            }
            _ => Err(health.to_string()),
        }
    })
    .await;

    datacenter.restart(&killed).await;
    eventually("a healthy cluster", || read(http, "health", 200)).await;
    datacenter.server_mut(&leader).kill();
    let second = eventually("the configuration of a new leader", || async {
        let state = read(http, "state", 200).await?;
        if state["Servers"][state["Leader"].as_str().unwrap_or_default()]["Name"] == leader {
            return Err("the old leader".into());
        }
        read(http, "configuration", 200).await
    })
    .await;
    assert_eq!(second, first);
}
