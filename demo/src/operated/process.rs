//! Server processes, for programs that start and kill them.

use std::error::Error;
use std::future::pending;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Parser;
use cluster_operator::AllowAll;
use cluster_operator::client::{InvalidServerUri, OperatorClient};
use cluster_operator::consul::Dialect;
use tokio::net::TcpListener;

use super::{Autopilot, HTTP_PORT, Member, Operator};
use crate::serving::{self, Limits};

/// The environment variable with the flags of a server process.
const FLAGS: &str = "CLUSTER_OPERATOR_MEMBER";

#[derive(Parser)]
struct Flags {
    #[arg(long)]
    datacenter: String,
    #[command(flatten)]
    member: Member,
    #[command(flatten)]
    autopilot: Autopilot,
}

/// A server process: this program, started again. It is killed when this value is
/// dropped, and exits when this program exits.
#[derive(Debug)]
pub struct Process {
    /// The server's name.
    pub name: String,
    /// Its address, on which it listens on Consul's ports.
    pub ip: IpAddr,
    /// The folder for its Raft log and keyrings.
    pub data: PathBuf,
    secret: PathBuf,
    flags: Vec<String>,
    arguments: &'static [&'static str],
    child: Option<Child>,
}

impl Process {
    /// Starts a server, with its data and the secret of all servers in `folder`. `flags`
    /// are the flags of [`Member`] by which it joins the others; `arguments` are the
    /// arguments with which this program calls [`serve_if_started_by_another`].
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(
        datacenter: &str,
        (name, ip): (&str, IpAddr),
        folder: &Path,
        flags: &[String],
        arguments: &'static [&'static str],
    ) -> io::Result<Self> {
        let data = folder.join(format!("{name}.{datacenter}"));
        let mut process = Process {
            name: name.into(),
            ip,
            flags: vec![format!("--datacenter={datacenter}")],
            data,
            secret: folder.join("secret"),
            arguments,
            child: None,
        };
        process.restart(Some(flags))?;
        Ok(process)
    }

    /// Restarts the server on the same folder, with new flags if there are any.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn restart(&mut self, flags: Option<&[String]>) -> io::Result<()> {
        self.kill();
        if let Some(flags) = flags {
            self.flags.truncate(1);
            self.flags.extend([
                format!("--name={}", self.name),
                format!("--ip={}", self.ip),
                format!("--data={}", self.data.display()),
                format!("--secret-file={}", self.secret.display()),
            ]);
            self.flags.extend_from_slice(flags);
        }
        std::fs::create_dir_all(&self.data)?;
        let log = std::fs::File::create(self.data.join("log"))?;
        let child = Command::new(std::env::current_exe()?)
            .args(self.arguments)
            .env(FLAGS, self.flags.join("\n"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills the process (SIGKILL), as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Returns the number of its process, if it was started and not killed.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Returns true if it was started and not killed.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Returns true if it has exited, which happens only if it cannot start.
    pub fn has_failed(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// Returns its output.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("log")).unwrap_or_default()
    }

    /// Returns its HTTP address.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::new(self.ip, HTTP_PORT)
    }

    /// Returns a client of its endpoints.
    ///
    /// # Errors
    /// None in practice, because the address makes a valid URI.
    pub fn client(&self) -> Result<OperatorClient, InvalidServerUri> {
        Ok(OperatorClient::new(
            format!("http://{}", self.http()).parse()?,
        ))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the memory (RSS) of a process in KiB, if it runs and this is Linux.
pub fn memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let size = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    size.trim().strip_suffix(" kB")?.parse().ok()
}

/// Runs the server if this process was started by [`Process::start`], until the
/// starting process exits. Otherwise returns `None` at once.
///
/// # Errors
/// The server does not start.
pub fn serve_if_started_by_another() -> Option<Result<(), Box<dyn Error>>> {
    let flags = std::env::var(FLAGS).ok()?;
    // Otherwise the servers of a killed program would run forever.
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    Some(serve(flags))
}

#[tokio::main]
async fn serve(flags: String) -> Result<(), Box<dyn Error>> {
    let flags = Flags::try_parse_from(std::iter::once("server").chain(flags.lines()))?;
    let _log = serving::log_to_stderr()?;
    let listener = TcpListener::bind(flags.member.http()?).await?;
    let member = &flags.member;
    let starting = member.start(&flags.datacenter, &listener, &flags.autopilot);
    let server = starting.await?;
    let operator = Operator::new(&server, &flags.datacenter, AllowAll)?;
    let routes = operator.routes(Dialect::Precise);
    serving::serve(listener, routes, Limits::default(), pending()).await;
    Ok(())
}
