//! The servers that are measured, each a process of its own on one core.

use std::fs::{self, File};
use std::future::pending;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware;
use axum::routing::get;
use cluster_operator_demo::operated;
use cluster_operator_demo::serving::{self, Limits};

use crate::Error;

pub(crate) const PATH: &str = "/v1/operator/raft/configuration";

/// The environment variable with the file that the fixed-body server answers with.
const FIXED: &str = "LOAD_FIXED_ANSWER";

/// The environment variable that gives it the main example's listener and access log.
const AS_EXAMPLE: &str = "LOAD_FIXED_AS_EXAMPLE";

/// An answer that takes this long fails the run.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A server process. It is killed when this is dropped.
pub(crate) struct Server {
    process: Child,
    /// Kept open, so that the server can write to it.
    output: BufReader<ChildStdout>,
    /// Its addresses with their names; the fixed-body server has one without a name.
    addresses: Vec<(SocketAddr, String)>,
    pub(crate) log: PathBuf,
}

impl Server {
    /// Starts the main example with three servers over openraft, of which the first one
    /// listens on a free port.
    pub(crate) fn example(
        core: usize,
        acl_file: Option<&Path>,
        logs: bool,
        log: PathBuf,
    ) -> Result<Self, Error> {
        let bench = std::env::current_exe()?;
        let folder = bench.parent().ok_or("the bench is in no folder")?;
        let program = folder.with_file_name("examples").join("server");
        if !program.exists() {
            let build = "cargo build --release -p cluster-operator-demo --example server";
            return Err(format!("{} is missing: run {build}", program.display()).into());
        }
        let mut command = on_core(core, &program);
        command.args(["--address", "127.0.0.1:0"]);
        if let Some(file) = acl_file {
            command.arg("--acl-file").arg(file);
        }
        if !logs {
            command.env("RUST_LOG", "error");
        }
        Server::start(&mut command, log)
    }

    /// Starts the fixed-body server, which is this program again, with the answer of
    /// another server. With `as_example`, it has the listener and the access log of the main
    /// example.
    pub(crate) fn fixed_body(
        core: usize,
        answer: &Path,
        as_example: bool,
        log: PathBuf,
    ) -> Result<Self, Error> {
        let mut command = on_core(core, &std::env::current_exe()?);
        if as_example {
            command.env(AS_EXAMPLE, "");
        }
        Server::start(command.env(FIXED, answer), log)
    }

    fn start(command: &mut Command, log: PathBuf) -> Result<Self, Error> {
        let mut process = command
            .env_remove("GOSSIP_KEY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let mut server = Server {
            process,
            output: BufReader::new(output),
            addresses: Vec::new(),
            log,
        };
        let mut line = String::new();
        while !line.starts_with("Press ") {
            line.clear();
            if server.output.read_line(&mut line)? == 0 {
                return Err(format!("no start: {}", fs::read_to_string(&server.log)?).into());
            }
            if line.starts_with("Listening on ") {
                server.addresses = addresses(&line)?;
            }
        }
        Ok(server)
    }

    /// Returns the address of the leader, which answers by itself, or of the only server.
    pub(crate) fn leader(&self, token: &str) -> Result<SocketAddr, Error> {
        let first = &self.addresses.first().ok_or("no address")?.0;
        if self.addresses.len() == 1 {
            return Ok(*first);
        }
        let answer = ask(*first, token)?;
        let body: serde_json::Value = serde_json::from_slice(answer.body())?;
        let servers = body["Servers"].as_array().into_iter().flatten();
        let leader = servers.into_iter().find(|server| server["Leader"] == true);
        let leader = leader.and_then(|leader| leader["Node"].as_str());
        let leader = leader.ok_or("no leader")?;
        let mut addresses = self.addresses.iter();
        let found = addresses.find(|(_, name)| name == leader);
        Ok(found.ok_or("no address of the leader")?.0)
    }

    /// Returns its memory in KiB.
    pub(crate) fn memory(&self) -> Result<u64, Error> {
        operated::memory(self.process.id()).ok_or_else(|| "/proc shows no VmRSS".into())
    }

    /// Returns the processor time that it has used, all threads together.
    pub(crate) fn processor_time(&self) -> Result<Duration, Error> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name before it may contain spaces.
        let (_, fields) = stat.rsplit_once(')').ok_or("malformed /proc/*/stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
        // Linux counts hundredths of a second here.
        Ok(Duration::from_millis(10 * ticks.iter().sum::<u64>()))
    }

    /// Returns the number of lines of its access log, or of all that it has logged.
    pub(crate) fn logged_lines(&self) -> Result<u64, Error> {
        let mut lines = 0;
        let mut log = File::open(&self.log)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = log.read(&mut buffer)?;
            if read == 0 {
                return Ok(lines);
            }
            lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command that runs a program on one core.
pub(crate) fn on_core(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(core.to_string()).arg(program);
    command
}

/// Reads `Listening on http://A as alice, http://B as bob and http://C as carol of dc1. ..`.
fn addresses(line: &str) -> Result<Vec<(SocketAddr, String)>, Error> {
    let line = line.split(". ").next().unwrap_or_default();
    let mut words = line.split_whitespace().peekable();
    let mut addresses = Vec::new();
    while let Some(word) = words.next() {
        let Some(address) = word.strip_prefix("http://") else {
            continue;
        };
        let name = words.next_if_eq(&"as").and_then(|_| words.next());
        let name = name.unwrap_or_default().trim_end_matches(',');
        addresses.push((address.parse()?, name.to_owned()));
    }
    Ok(addresses)
}

/// Sends one request, and returns the whole answer if it is a success.
pub(crate) fn ask(server: SocketAddr, token: &str) -> Result<Answer, Error> {
    let mut stream = connect(server)?;
    send(&mut stream, server, token)?;
    receive(&mut stream)
}

pub(crate) fn connect(server: SocketAddr) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

pub(crate) fn send(stream: &mut TcpStream, server: SocketAddr, token: &str) -> Result<(), Error> {
    let request =
        format!("GET {PATH} HTTP/1.1\r\nHost: {server}\r\nX-Consul-Token: {token}\r\n\r\n");
    Ok(stream.write_all(request.as_bytes())?)
}

pub(crate) fn receive(stream: &mut TcpStream) -> Result<Answer, Error> {
    let mut bytes = Vec::new();
    loop {
        let answer = Answer { bytes };
        if let Some(length) = answer.length() {
            if !answer.bytes.starts_with(b"HTTP/1.1 200 ") {
                return Err(String::from_utf8_lossy(&answer.bytes).into());
            }
            if answer.bytes.len() == length {
                return Ok(answer);
            }
        }
        bytes = answer.bytes;
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err("the server has closed the connection".into());
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// The bytes of an answer.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    fn head(&self) -> Option<&str> {
        let end = self.bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
        std::str::from_utf8(&self.bytes[..end]).ok()
    }

    /// The length with the head, once the head is complete.
    fn length(&self) -> Option<usize> {
        let head = self.head()?;
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let body = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
        Some(head.len() + 4 + body.1.parse::<usize>().ok()?)
    }

    fn body(&self) -> &[u8] {
        self.head()
            .map_or(&[], |head| &self.bytes[head.len() + 4..])
    }
}

/// Runs the fixed-body server if this process was started as one.
pub(crate) fn serve_fixed_body() -> Option<Result<(), Error>> {
    let answer = std::env::var_os(FIXED)?;
    Some(fixed_body(Path::new(&answer)))
}

#[tokio::main]
async fn fixed_body(answer: &Path) -> Result<(), Error> {
    let answer = Answer {
        bytes: fs::read(answer)?,
    };
    let head = answer.head().ok_or("no head")?;
    let mut headers = HeaderMap::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        // The server adds these two by itself.
        if !["content-length", "date"].contains(&name) {
            headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
    }
    let body = bytes::Bytes::copy_from_slice(answer.body());
    let fixed = get(async move || (headers.clone(), body.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "Listening on http://{}\nPress Ctrl-C to stop.",
        listener.local_addr()?
    );
    let app = Router::new().route(PATH, fixed);
    if std::env::var_os(AS_EXAMPLE).is_none() {
        return Ok(axum::serve(listener, app).await?);
    }
    let _log = serving::log_to_stderr().map_err(|error| error.to_string())?;
    let app = app.layer(middleware::from_fn(serving::log));
    serving::serve(listener, app, Limits::default(), pending()).await;
    Ok(())
}
