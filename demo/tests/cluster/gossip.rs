use serf::key_manager::KeyResponse;
use serf::types::{MaybeResolvedAddress, MemberStatus, SecretKey, SmolStr};

use super::cluster::gossip::{address, join, members};
use super::cluster::{Gossip, Server, Settings};
use super::{KEY, eventually, own_ip, settings, stop, text};

const NEXT_KEY: &str = "5K9OtfP7efFrNKe5WCQvXvnaXJ5cWP0SvXiwe0kkjM4=";

fn secret(key: &str) -> SecretKey {
    key.parse().unwrap()
}

/// Waits until the agent sees these servers with these statuses.
async fn sees(agent: &Gossip, expected: &[(&str, MemberStatus)]) {
    eventually("the members", async || {
        let members = members(agent).await;
        let seen = members.iter().map(|m| (m.name.as_str(), m.status));
        seen.eq(expected.iter().copied()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_join_lan_and_wan_pools() {
    let ip = own_ip();
    let first = Server::start(settings(ip, 1)).await.unwrap();
    let second = Server::start(settings(ip, 2)).await.unwrap();
    let remote = Settings {
        datacenter: "dc2".to_owned(),
        ..settings(ip, 1)
    };
    let remote = Server::start(remote).await.unwrap();

    // The same list on each server, including its own address.
    let addresses = [&first, &second, &remote].map(|server| address(server.wan()));
    for server in [&first, &second, &remote] {
        join(server.wan(), &addresses).await;
    }
    join(second.lan(), &[address(first.lan())]).await;

    use MemberStatus::Alive;
    for server in [&first, &second] {
        sees(server.lan(), &[("server-1", Alive), ("server-2", Alive)]).await;
    }
    sees(remote.lan(), &[("server-1", Alive)]).await;
    let all = [
        ("server-1.dc1", Alive),
        ("server-1.dc2", Alive),
        ("server-2.dc1", Alive),
    ];
    for server in [&first, &second, &remote] {
        sees(server.wan(), &all).await;
    }
    let known = members(first.wan()).await;
    assert_eq!(known[1].about.datacenter, "dc2");
    assert_eq!(known[1].about.http, remote.node().http);
    stop([first, second, remote]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_joins_those_that_start_later_and_know_nobody() {
    let ip = own_ip();
    let first = Server::start(settings(ip, 1)).await.unwrap();
    let second = Server::start(settings(ip, 2)).await.unwrap();
    let third = Server::start(settings(ip, 3)).await.unwrap();
    let later = Settings {
        ports: third.ports(),
        ..settings(ip, 3)
    };
    let (agent, others) = (first.lan().clone(), [&second, &third]);
    let others = others.map(|server| address(server.lan()));
    stop([third]).await;
    let joining = tokio::spawn(async move { join(&agent, &others).await });

    use MemberStatus::Alive;
    let two = [("server-1", Alive), ("server-2", Alive)];
    sees(first.lan(), &two).await;
    let third = Server::start(later).await.unwrap();
    let all = [&two[..], &[("server-3", Alive)]].concat();
    for server in [&first, &second, &third] {
        sees(server.lan(), &all).await;
    }
    joining.await.unwrap();
    stop([first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashed_server_is_failed_and_leaving_server_is_left() {
    let ip = own_ip();
    let mut servers = Vec::new();
    for id in 1..=3 {
        let server = Server::start(settings(ip, id)).await.unwrap();
        if let Some(first) = servers.first().map(Server::lan) {
            join(server.lan(), &[address(first)]).await;
        }
        servers.push(server);
    }
    use MemberStatus::{Alive, Failed, Left};
    let all = [
        ("server-1", Alive),
        ("server-2", Alive),
        ("server-3", Alive),
    ];
    for server in &servers {
        sees(server.lan(), &all).await;
    }
    let mut servers = servers.into_iter();
    let first = servers.next().unwrap();
    servers.next().unwrap().leave().await.unwrap();
    servers.next().unwrap().shutdown().await.unwrap();
    let rest = [
        ("server-1", Alive),
        ("server-2", Left),
        ("server-3", Failed),
    ];
    sees(first.lan(), &rest).await;
    stop([first]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_with_another_key_cannot_join() {
    let ip = own_ip();
    let server = Server::start(settings(ip, 1)).await.unwrap();
    let other = Settings {
        key: NEXT_KEY.parse().unwrap(),
        ..settings(ip, 2)
    };
    let other = Server::start(other).await.unwrap();
    let target = MaybeResolvedAddress::resolved(address(server.lan()));
    other.lan().join(target, true).await.unwrap_err();
    assert_eq!(members(server.lan()).await.len(), 1);
    assert_eq!(members(other.lan()).await.len(), 1);
    stop([server, other]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_key_survives_restart() {
    let ip = own_ip();
    let folder = tempfile::tempdir().unwrap();
    let on_disk = Settings {
        data: Some(folder.path().to_owned()),
        ..settings(ip, 2)
    };
    let first = Server::start(settings(ip, 1)).await.unwrap();
    let second = Server::start(on_disk.clone()).await.unwrap();
    join(second.lan(), &[address(first.lan())]).await;
    use MemberStatus::{Alive, Failed};
    for server in [&first, &second] {
        sees(server.lan(), &[("server-1", Alive), ("server-2", Alive)]).await;
    }

    let keys = first.lan().key_manager();
    let (old, new) = (secret(KEY), secret(NEXT_KEY));
    all_of(2, keys.install_key(new, None).await.unwrap());
    all_of(2, keys.use_key(new, None).await.unwrap());
    all_of(2, keys.remove_key(old, None).await.unwrap());

    let ports = second.ports();
    second.shutdown().await.unwrap();
    sees(first.lan(), &[("server-1", Alive), ("server-2", Failed)]).await;
    // Its configuration still has the old key.
    let second = Server::start(Settings { ports, ..on_disk }).await.unwrap();
    join(second.lan(), &[address(first.lan())]).await;
    for server in [&first, &second] {
        sees(server.lan(), &[("server-1", Alive), ("server-2", Alive)]).await;
    }
    let listed = eventually("an answer of both", async || {
        let listed = first.lan().key_manager().list_keys().await.ok()?;
        (listed.num_resp() == 2).then_some(listed)
    })
    .await;
    assert_eq!(listed.keys().get(&new), Some(&2));
    assert_eq!(listed.primary_keys().get(&new), Some(&2));
    assert_eq!(listed.keys().len(), 1);
    // The other pool was not rotated.
    let wan = second.wan().key_manager().list_keys().await.unwrap();
    assert_eq!(wan.primary_keys().get(&old), Some(&1));
    stop([first, second]).await;
}

#[track_caller]
fn all_of(nodes: usize, response: KeyResponse<SmolStr>) {
    assert_eq!(response.num_resp(), nodes);
    assert_eq!(response.num_err(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_keyring_file_prevents_start() {
    let ip = own_ip();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wan.keyring"), "[\"5K9Otf").unwrap();
    let settings = Settings {
        data: Some(folder.path().to_owned()),
        ..settings(ip, 1)
    };
    let error = text(&Server::start(settings).await.unwrap_err());
    assert!(error.contains("no gossip keys"), "{error}");
    assert!(!error.contains("5K9Otf"), "{error}");
}
