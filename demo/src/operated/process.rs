//! Servers as processes of their own, for programs that kill them.

use std::error::Error;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Parser;
use cluster_operator::AllowAll;
use cluster_operator::client::{InvalidServerUri, OperatorClient};
use cluster_operator::consul::Dialect;
use tokio::net::TcpListener;

use super::{HTTP_PORT, Member, Operator, peer_secret};

/// The flags of a process that is to be a server.
const FLAGS: &str = "CLUSTER_OPERATOR_MEMBER";

#[derive(Parser)]
struct Flags {
    #[arg(long)]
    datacenter: String,
    #[command(flatten)]
    member: Member,
}

/// A server in a process of its own: this program, started again. It is killed
/// when this is dropped, and ends by itself when the program does.
#[derive(Debug)]
pub struct Process {
    /// The server's name.
    pub name: String,
    /// Its address, on which it has Consul's ports.
    pub ip: IpAddr,
    /// The folder that it keeps what outlives it in.
    pub data: PathBuf,
    flags: Vec<String>,
    arguments: &'static [&'static str],
    child: Option<Child>,
}

impl Process {
    /// Starts a server. `how` is how it finds the others, in the flags of
    /// [`Member`]; `arguments` are those under which the program calls
    /// [`serve_if_started_by_another`].
    ///
    /// # Errors
    /// When the system cannot start a process.
    pub fn start(
        datacenter: &str,
        (name, ip): (&str, IpAddr),
        folder: &Path,
        how: &[String],
        arguments: &'static [&'static str],
    ) -> io::Result<Self> {
        let data = folder.join(format!("{name}.{datacenter}"));
        let mut process = Process {
            name: name.into(),
            ip,
            flags: vec![format!("--datacenter={datacenter}")],
            data,
            arguments,
            child: None,
        };
        process.restart(Some(how))?;
        Ok(process)
    }

    /// Starts it again, on the same folder, with other flags if there are any.
    ///
    /// # Errors
    /// When the system cannot start a process.
    pub fn restart(&mut self, how: Option<&[String]>) -> io::Result<()> {
        self.kill();
        if let Some(how) = how {
            self.flags.truncate(1);
            self.flags.extend([
                format!("--name={}", self.name),
                format!("--ip={}", self.ip),
                format!("--data={}", self.data.display()),
            ]);
            self.flags.extend_from_slice(how);
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

    /// Ends it as a power cut does: KILL, without a word to the others.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it was started and not killed.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it has ended by itself, which it does only if it cannot start.
    pub fn has_failed(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("log")).unwrap_or_default()
    }

    /// Where it serves HTTP.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::new(self.ip, HTTP_PORT)
    }

    /// A client of its endpoints.
    ///
    /// # Errors
    /// None: its address makes a URI.
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

/// Serves, if this process is one that [`Process::start`] has started, until the
/// one that did ends; otherwise returns at once.
///
/// # Errors
/// When the server does not start.
pub fn serve_if_started_by_another() -> Option<Result<(), Box<dyn Error>>> {
    let flags = std::env::var(FLAGS).ok()?;
    // Without this, servers of a program that was killed would stay for ever.
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    Some(serve(flags))
}

#[tokio::main]
async fn serve(flags: String) -> Result<(), Box<dyn Error>> {
    let flags = Flags::try_parse_from(std::iter::once("server").chain(flags.lines()))?;
    let address = SocketAddr::new(flags.member.ip()?, HTTP_PORT);
    let listener = TcpListener::bind(address).await?;
    let server = flags.member.start(&flags.datacenter, &listener).await?;
    let operator = Operator::new(&server, &flags.datacenter, AllowAll, peer_secret()?)?;
    axum::serve(listener, operator.routes(Dialect::Precise)).await?;
    Ok(())
}
