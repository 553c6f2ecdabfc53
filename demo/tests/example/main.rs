//! The main example as a user starts it: its hints work in every mode, and it ends when
//! it is told to.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

mod several;

const TOKENS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/policies/tokens.json"
);

/// The secret in it of the token that may do everything.
const TOKEN: &str = "replace-me-e05d77b1-break-glass";

/// Only a test that fails waits this long.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The binary of the example, which `cargo test` builds beside the tests.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().with_file_name("examples/server");
    assert!(path.exists(), "build it first: cargo build --examples");
    path
}

/// A command that starts it, without what the environment of the tests may set.
fn server() -> Command {
    let mut command = Command::new(binary());
    for name in ["PEER_SECRET", "GOSSIP_KEY", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// The example, listening on a free port.
struct Example {
    process: Child,
    output: BufReader<ChildStdout>,
    /// The lines of its log.
    log: Receiver<String>,
    /// The lines until it is ready.
    hints: Vec<String>,
}

impl Example {
    fn start(arguments: &[&str]) -> Self {
        let mut server = server();
        server.args(["--address", "127.0.0.1:0"]).args(arguments);
        Example::of(server)
    }

    /// Starts this command.
    fn spawn(mut server: Command) -> Self {
        let mut process = server
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Example {
            output: BufReader::new(process.stdout.take().unwrap()),
            log: lines(process.stderr.take().unwrap()),
            process,
            hints: Vec::new(),
        }
    }

    /// Starts this command and waits until it is ready.
    fn of(server: Command) -> Self {
        let mut example = Example::spawn(server);
        loop {
            let mut line = String::new();
            if example.output.read_line(&mut line).unwrap() == 0 {
                let log: String = example.log.iter().collect();
                panic!("{:?} {log}", example.hints);
            }
            if line.starts_with("Press ") {
                return example;
            }
            example.hints.push(line);
        }
    }

    /// Runs the command line as the hints say, with the program that is built already.
    fn commands_succeed(&self) {
        let program = std::env::current_exe().unwrap();
        let program = program.ancestors().nth(2).unwrap().join("cluster-operator");
        if !program.exists() {
            eprintln!("SKIPPED the command line: it is built by `cargo test` of the workspace");
            return;
        }
        let hints = self
            .hints
            .iter()
            .filter(|line| line.contains("cluster-operator-cli -- "));
        let hints: Vec<_> = hints.collect();
        assert_eq!(hints.len(), 2, "{:?}", self.hints);
        for hint in hints {
            let (before, words) = hint.split_once("cluster-operator-cli -- ").unwrap();
            let variables = before
                .split_whitespace()
                .filter_map(|word| word.split_once('='));
            let variables = variables.map(|(name, value)| match value {
                "\"$TOKEN\"" => (name, TOKEN),
                value => (name, value),
            });
            let mut command = Command::new(&program);
            command
                .env_clear()
                .envs(variables)
                .args(words.split_whitespace());
            let output = command.output().unwrap();
            // A hint before has removed a server, which `doctor` may find with code 1.
            let code = output.status.code();
            let expected = if words.contains("doctor") {
                0..=1
            } else {
                0..=0
            };
            assert!(
                code.is_some_and(|code| expected.contains(&code)),
                "{hint}: {output:?}"
            );
        }
    }

    fn curls(&self) -> Vec<Request> {
        let commands = self.hints.iter().map(|line| line.trim());
        let commands = commands.filter(|line| line.starts_with("curl "));
        commands.map(Request::of_curl).collect()
    }

    /// Sends a signal.
    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Reads the log until a line contains the text, and returns what was read.
    fn wait_for_log(&self, text: &str) -> String {
        let began = Instant::now();
        let mut log = String::new();
        while !log.contains(text) {
            let line = self
                .log
                .recv_timeout(TIMEOUT.saturating_sub(began.elapsed()));
            log += &line.unwrap_or_else(|_| panic!("expected: {text}; seen: {log}"));
        }
        log
    }

    /// Ends it, and returns the rest of its output.
    fn terminate(self) -> String {
        self.signal("-TERM");
        self.rest()
    }

    /// Waits for its end, and returns the rest of its output.
    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.process.wait().unwrap().success(), "{rest}");
        rest
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads the lines in a thread, so that a test can wait for one with a limit.
fn lines(log: ChildStderr) -> Receiver<String> {
    let (lines, read) = mpsc::channel();
    std::thread::spawn(move || {
        let mut log = BufReader::new(log);
        let mut line = String::new();
        while log.read_line(&mut line).is_ok_and(|read| read > 0) {
            // To the end, also if nobody waits: the example writes until it ends.
            let _ = lines.send(std::mem::take(&mut line));
        }
    });
    read
}

#[derive(Clone, Debug)]
struct Request {
    method: String,
    host: String,
    target: String,
    headers: String,
    body: String,
}

impl Request {
    /// Reads a command line of curl with the options that the example prints.
    fn of_curl(line: &str) -> Self {
        let (mut method, mut headers, mut body, mut url) =
            ("GET".into(), String::new(), String::new(), String::new());
        let mut words = words(line).into_iter().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "-X" => method = words.next().unwrap(),
                "-H" => headers += &format!("{}\r\n", words.next().unwrap()),
                "-d" => body = words.next().unwrap(),
                _ => url = word,
            }
        }
        let address = url.strip_prefix("http://").expect(line);
        let (host, path) = address.split_once('/').unwrap();
        Request {
            method,
            host: host.into(),
            target: format!("/{path}"),
            headers,
            body,
        }
    }

    /// The same request, with the same token, of something else.
    fn of(&self, method: &str, target: &str) -> Self {
        Request {
            method: method.into(),
            target: target.into(),
            body: String::new(),
            ..self.clone()
        }
    }

    /// Sends it, and returns the status line, the headers and the body.
    fn send(&self) -> String {
        let Request {
            method,
            host,
            target,
            headers,
            body,
        } = self;
        let length = body.len();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             {headers}Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[track_caller]
    fn succeeds(&self) -> String {
        let answer = self.send();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{self:?}: {answer}");
        answer
    }
}

/// Splits a command line at its spaces, except in quotes, and puts the token in.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line
        .replace("$TOKEN", TOKEN)
        .replace("$GOSSIP_KEY", several::KEY)
        .chars()
    {
        match letter {
            '\'' | '"' if quote.is_none() => quote = Some(letter),
            letter if quote == Some(letter) => quote = None,
            ' ' if quote.is_none() => words.push(String::new()),
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    words
}

/// Follows the hints of a mode one after the other.
fn hints_succeed(arguments: &[&str]) -> (Example, Request) {
    let example = Example::start(arguments);
    let curls = example.curls();
    assert!(curls.len() >= 6, "{:?}", example.hints);
    for request in &curls {
        request.succeeds();
    }
    let first = curls[0].clone();
    example.commands_succeed();
    (example, first)
}

#[test]
fn hints_of_the_real_cluster_succeed() {
    let (example, request) = hints_succeed(&[]);
    let autopilot = |what: &str| request.of("GET", &format!("/v1/operator/autopilot/{what}"));
    let state = autopilot("state").succeeds();
    assert!(state.contains(r#""Status":"leader""#), "{state}");
    // A dry run, for which operators set everything that it would act on.
    let cleanup = r#""CleanupDeadServers":true,"LastContactThreshold":"1s""#;
    let configuration = autopilot("configuration").succeeds();
    assert!(configuration.contains(cleanup), "{configuration}");
    let mut change = request.of("PUT", "/v1/operator/autopilot/configuration");
    change.body = r#"{"CleanupDeadServers": false, "MinQuorum": 3}"#.into();
    change.succeeds();
    let configuration = autopilot("configuration").succeeds();
    let set = [r#""CleanupDeadServers":false"#, r#""MinQuorum":3"#];
    let is_set = set.iter().all(|text| configuration.contains(text));
    assert!(is_set, "{configuration}");
    assert!(example.terminate().contains("Stopped."));
}

#[test]
fn hints_of_the_real_cluster_succeed_with_tokens() {
    let (example, request) = hints_succeed(&["--acl", "on", "--autopilot", "off"]);
    let mut change = request.of("PUT", "/v1/operator/autopilot/configuration");
    change.body = r#"{"CleanupDeadServers": true}"#.into();
    let refused = change.send();
    assert!(refused.starts_with("HTTP/1.1 501 "), "{refused}");
    assert!(example.terminate().contains("Stopped."));
}

#[test]
fn autopilot_flags_are_in_the_help_and_checked() {
    let help = server().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for flag in ["--autopilot <MODE>", "--intended-size", "--failed-hold"] {
        assert!(help.contains(flag), "{help}");
    }
    for (flags, text) in [
        (&["--failed-hold=9"][..], "a hold of 9s is too short"),
        (&["--intended-size=0"], "the intended size is 0"),
        (&["--mock", "--autopilot=on"], "cannot be used with"),
    ] {
        let Output { status, stderr, .. } = server().args(flags).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(!status.success() && stderr.contains(text), "{stderr}");
    }
}

#[test]
fn hints_of_the_simulated_federation_succeed() {
    for options in [
        &[][..],
        &["--acl", "on"],
        &["--acl-file", TOKENS],
        &["--dialect", "consul-1.17"],
        &["--dialect", "consul-1.10"],
        &["--dialect", "consul-0.7"],
    ] {
        let (example, request) = hints_succeed(&[&["--mock"], options].concat());
        let configuration = "/v1/operator/raft/configuration";
        let dc2 = request.of("GET", &format!("{configuration}?dc=dc2"));
        assert!(dc2.succeeds().contains("dave"));
        let transfer = request.of("POST", "/v1/operator/raft/transfer-leader");
        if !options.contains(&"--dialect") {
            transfer.succeeds();
            let read = request.of("GET", configuration).succeeds();
            assert!(read.contains(r#""Node":"bob","Address":"127.0.0.2:8300","Leader":true"#));
        }
        assert!(example.terminate().contains("Stopped."));
    }
}

/// Makes a named pipe, whose reader waits for a writer.
fn pipe(directory: &Path) -> String {
    let path = directory.join("pipe.json").display().to_string();
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    path
}

#[test]
fn pipe_in_place_of_a_token_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let Output { status, stderr, .. } = server()
        .args(["--mock", "--address", "127.0.0.1:0", "--acl-file"])
        .arg(pipe(directory.path()))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(
        !status.success() && stderr.contains("not a regular file"),
        "{stderr}"
    );
}

#[test]
fn reload_from_a_pipe_is_refused_and_the_server_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens.json");
    std::fs::copy(TOKENS, &tokens).unwrap();
    let example = Example::start(&["--mock", "--acl-file", tokens.to_str().unwrap()]);
    std::fs::rename(pipe(directory.path()), &tokens).unwrap();
    example.signal("-HUP");
    example.wait_for_log("not a regular file");
    example.curls()[0].succeeds();
    assert!(example.terminate().contains("Stopped."));
}

#[test]
fn log_has_a_line_for_each_request_and_no_secret() {
    let example = Example::start(&["--mock"]);
    let request = &example.curls()[0];
    let configuration = "/v1/operator/raft/configuration";
    request
        .of("GET", &format!("{configuration}?token=hidden"))
        .succeeds();
    request.of("GET", "/hidden?token=hidden").send();
    let log = example.wait_for_log("GET (another path) 404 ");
    assert!(log.contains(&format!("GET {configuration} 200 ")), "{log}");
    assert!(!log.contains("hidden"), "{log}");
    example.terminate();
}

#[test]
fn writes_are_audited_and_metrics_are_shown() {
    let example = Example::start(&["--mock", "--acl", "on"]);
    let request = &example.curls()[0];
    let mut removal = request.of("DELETE", "/v1/operator/raft/peer?id=nobody");
    removal.headers += "X-Request-Id: audited-1\r\n";
    assert!(removal.send().contains("\r\nx-request-id: audited-1\r\n"));
    let log = example.wait_for_log("cluster_operator::audit: ");
    for field in [
        "operation=\"remove-peer\" subject=id \"nobody\"",
        "request_id=\"audited-1\" identity=\"acce5500-0000-4000-8000-000000000001\"",
        "ending=\"failed\" outcome=\"not-applied\" error=\"unknown-server\"",
    ] {
        assert!(log.contains(field), "{log}");
    }
    let metrics = request.of("GET", "/metrics").succeeds();
    for line in [
        "cluster_operator_operations_total{operation=\"remove-peer\",source=\"front-end\",\
         ending=\"failed\",outcome=\"not-applied\",error=\"unknown-server\"} 1",
        "cluster_operator_http_requests_total{endpoint=\"raft/peer\",method=\"DELETE\",\
         status=\"4xx\",error=\"unknown-server\"} 1",
        "# TYPE cluster_operator_http_request_duration_seconds histogram",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    example.terminate();
}

#[test]
fn client_that_stops_within_a_header_is_disconnected() {
    let example = Example::start(&["--mock"]);
    let mut stream = TcpStream::connect(&example.curls()[0].host).unwrap();
    stream
        .write_all(b"GET /v1/operator/ HTTP/1.1\r\nX: ")
        .unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("a closed connection");
    example.terminate();
}

#[test]
fn request_under_way_is_answered_after_term() {
    let example = Example::start(&["--mock"]);
    let mut stream = TcpStream::connect(&example.curls()[0].host).unwrap();
    stream
        .write_all(
            b"POST /v1/operator/keyring HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\
              Expect: 100-continue\r\n\r\n",
        )
        .unwrap();
    let mut going_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut going_on).unwrap();
    // The server waits for the body until a deadline of its own, and then answers.
    example.signal("-TERM");
    example.wait_for_log("stopping");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    assert!(example.rest().contains("Stopped."));
}
