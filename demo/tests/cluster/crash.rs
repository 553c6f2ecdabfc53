use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::cluster::{Server, Settings};
use super::{cluster, has, leader, own_ip, set, settings, stop};

const FOLDER: &str = "EXAMPLE_CLUSTER_FOLDER";
const ACKNOWLEDGED: &str = "acknowledged ";

/// The process that is killed: writes forever and prints each acknowledged write.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the test below"]
async fn writes_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let settings = Settings {
        data: Some(folder.into()),
        ..settings(own_ip(), 1)
    };
    let servers = cluster([settings]).await;
    let server = leader(&servers).await;
    for number in 0.. {
        let number = u64::to_string(&number);
        set(server, &number, &number).await;
        println!("\n{ACKNOWLEDGED}{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_process_keeps_acknowledged_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::writes_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .filter_map(|line| Some(line.unwrap().strip_prefix(ACKNOWLEDGED)?.to_owned()));
    assert!(acknowledged.by_ref().take(20).count() == 20);
    child.kill().unwrap();
    // Writes that were printed before the process ended count too.
    let last = acknowledged.last();
    child.wait().unwrap();

    let settings = Settings {
        data: Some(folder.path().to_owned()),
        ..settings(own_ip(), 1)
    };
    let server = Server::start(settings).await.unwrap();
    let last: u64 = last.map_or(19, |last| last.parse().unwrap());
    for number in (0..=last).map(|number| number.to_string()) {
        has(&server, &number, &number).await;
    }
    // The server accepts further writes.
    let servers = [server];
    set(leader(&servers).await, "alive", "yes").await;
    stop(servers).await;
}
