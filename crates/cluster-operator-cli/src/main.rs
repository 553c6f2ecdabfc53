//! The command `cluster-operator`: operates Consul, and servers that embed the library of
//! the same name.
//!
//! | file | content |
//! |---|---|
//! | `flags.rs` | the flags and commands |
//! | `connection.rs` | the connection to the servers, with TLS and failover |
//! | `raft.rs`, `keyring.rs`, `autopilot.rs`, `doctor.rs` | the commands |
//! | `progress.rs` | the progress of a rotation |
//! | `output.rs` | tables, colours and JSON |
//! | `exit.rs` | the exit codes |

mod autopilot;
mod connection;
mod doctor;
mod exit;
mod flags;
mod keyring;
mod output;
mod progress;
mod raft;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use self::connection::Servers;
use self::exit::{End, Failure};
use self::flags::{Cli, Command};
use self::output::{BAD, styled};

fn main() -> ExitCode {
    let cli = flags::parse();
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(cli)));
    match ended {
        Ok(()) => End::Done.into(),
        Err(failure) => {
            output::note(format!("{} {failure}", styled(BAD, "error:")));
            failure.end().into()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let (connection, json) = (&cli.connection, cli.json);
    let servers = || Servers::new(connection);
    match cli.command {
        Command::Raft(command) => raft::run(command, &servers()?, json).await,
        Command::Keyring(command) => keyring::run(command, &servers()?, connection, json).await,
        Command::Autopilot(command) => autopilot::run(command, &servers()?, json).await,
        Command::Doctor => doctor::run(&servers()?, json).await,
        Command::Completions { shell } => {
            // Not to the output itself: a script that cannot be written would be a panic.
            let mut script = Vec::new();
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "cluster-operator", &mut script);
            Ok(io::stdout().write_all(&script)?)
        }
        Command::Man => Ok(clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?),
    }
}
