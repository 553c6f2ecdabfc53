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

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::connection::Servers;
use self::exit::{End, Failure};
use self::flags::{Cli, Command};
use self::output::{BAD, styled};

fn main() -> ExitCode {
    let arguments = std::env::args().map(flags::with_two_dashes);
    let cli = Cli::parse_from(arguments);
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(cli)));
    match ended {
        Ok(()) => End::Done.into(),
        Err(failure) => {
            anstream::eprintln!("{} {failure}", styled(BAD, "error:"));
            failure.end().into()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let command = match cli.command {
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "cluster-operator", &mut io::stdout());
            return Ok(());
        }
        Command::Man => {
            let page = clap_mangen::Man::new(Cli::command());
            return Ok(page.render(&mut io::stdout())?);
        }
        command => command,
    };
    let servers = Servers::new(&cli.connection)?;
    match command {
        Command::Raft(command) => raft::run(command, &servers, cli.json).await,
        Command::Keyring(command) => {
            keyring::run(command, &servers, &cli.connection, cli.json).await
        }
        Command::Autopilot(command) => autopilot::run(command, &servers, cli.json).await,
        Command::Doctor => doctor::run(&servers, cli.json).await,
        // Printed above.
        Command::Completions { .. } | Command::Man => Ok(()),
    }
}
