//! The flags and commands.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use cluster_operator::Token;
use cluster_operator::autopilot::ValueChange;

/// Operates Consul, or servers that embed cluster-operator: their Raft peers, their
/// gossip keys and autopilot.
///
/// The flags and environment variables of a connection are those of Consul's own command
/// line; flags of more than one letter may begin with one dash or with two.
#[derive(Debug, Parser)]
#[command(
    name = "cluster-operator",
    version,
    max_term_width = 100,
    after_long_help = "\
Exit codes:
  0  done
  1  refused: nothing has changed; doctor and autopilot health: something is wrong
  2  usage: the command line, the environment or a name in it is wrong; nothing was changed
  3  partly done: some rings or nodes have changed, others have not
  4  unknown: the change may have been made; look before you repeat it"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Prints JSON for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The connection to the servers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The address of a server: host:port, a URL, or unix:///path. Several, separated by
    /// commas: a read goes to the next one if one cannot be reached.
    #[arg(
        long,
        global = true,
        env = "CONSUL_HTTP_ADDR",
        value_delimiter = ',',
        default_value = DEFAULT_ADDRESS,
        value_name = "ADDRESS"
    )]
    pub(crate) http_addr: Vec<String>,
    /// The ACL token. Other users of the machine can read it in the list of processes: prefer
    /// the variable or --token-file.
    #[arg(
        long,
        global = true,
        env = "CONSUL_HTTP_TOKEN",
        hide_env_values = true,
        value_parser = token,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<Token>,
    /// A file with the ACL token. It comes before the variable CONSUL_HTTP_TOKEN, and --token
    /// before both.
    #[arg(
        long,
        global = true,
        env = "CONSUL_HTTP_TOKEN_FILE",
        value_parser = path,
        value_name = "FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Use HTTPS for addresses without a scheme.
    #[arg(
        long,
        global = true,
        env = "CONSUL_HTTP_SSL",
        value_parser = switch,
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    pub(crate) http_ssl: bool,
    /// A PEM file with the certificate authorities to trust instead of the system's.
    #[arg(long, global = true, env = "CONSUL_CACERT", value_parser = path, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// A PEM file with this client's certificate.
    #[arg(
        long,
        global = true,
        env = "CONSUL_CLIENT_CERT",
        value_parser = path,
        value_name = "FILE"
    )]
    pub(crate) client_cert: Option<PathBuf>,
    /// A PEM file with the private key of this client's certificate.
    #[arg(
        long,
        global = true,
        env = "CONSUL_CLIENT_KEY",
        value_parser = path,
        value_name = "FILE"
    )]
    pub(crate) client_key: Option<PathBuf>,
    /// The name that the server's certificate has to have, if it is not the address.
    #[arg(
        long,
        global = true,
        env = "CONSUL_TLS_SERVER_NAME",
        value_name = "NAME"
    )]
    pub(crate) tls_server_name: Option<String>,
    /// The datacenter whose Raft and autopilot are operated; the server's own by default.
    /// Keys are those of all datacenters.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) datacenter: Option<String>,
    /// The longest time for one request.
    #[arg(
        long,
        global = true,
        default_value = "30s",
        value_parser = duration,
        value_name = "TIME"
    )]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows and changes the Raft configuration.
    #[command(subcommand)]
    Raft(Raft),
    /// Shows and changes the gossip keys.
    #[command(subcommand)]
    Keyring(Keyring),
    /// Shows and changes autopilot's settings.
    #[command(subcommand)]
    Autopilot(Autopilot),
    /// Looks for everything that is wrong, and says how to repair it.
    Doctor,
    /// Prints a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the manual page.
    #[command(hide = true)]
    Man,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Raft {
    /// Lists the servers.
    #[command(visible_alias = "list-peers")]
    List {
        /// Asks the server itself, also if there is no leader. Its answer may be old.
        #[arg(long)]
        stale: bool,
    },
    /// Shows what the removal of a server would do, and changes nothing.
    Plan {
        /// The server's name, id or Raft address.
        server: String,
    },
    /// Removes a server from the configuration, after it has shown the plan.
    #[command(visible_alias = "remove-peer")]
    Remove {
        /// The server's name, id or Raft address.
        server: String,
        /// Does not ask.
        #[arg(long, short)]
        yes: bool,
        /// Removes it although the plan says that the cluster would lose its quorum. The
        /// servers still prove that a majority of those that stay is alive.
        #[arg(long)]
        force: bool,
    },
    /// Replaces a voter by a server without a vote, in one change.
    Replace {
        /// The voter to remove: its name, id or Raft address.
        old: String,
        /// The server that becomes a voter.
        new: String,
        /// Does not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Transfers the leadership to another voter.
    #[command(visible_alias = "transfer-leader")]
    Transfer {
        /// The next leader: its name, id or Raft address. Without it, the best voter.
        server: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keyring {
    /// Lists the keys of all rings, by their fingerprints.
    List {
        /// Shows the keys themselves.
        #[arg(long)]
        show_keys: bool,
        /// Lists the rings of the server's own datacenter only.
        #[arg(long)]
        local_only: bool,
    },
    /// Installs a key on all nodes, which do not use it yet.
    Install(NewKey),
    /// Makes an installed key the one that all nodes encrypt with.
    Use(OldKey),
    /// Removes a key from all nodes.
    Remove(OldKey),
    /// Replaces the key: installs a new one, uses it and removes the old ones, and checks
    /// each step on every node of every ring. It can be run again, and continues.
    Rotate {
        #[command(flatten)]
        key: NewKey,
        /// Waits for nodes that are down, for this time in total.
        #[arg(long, value_parser = duration, value_name = "TIME", conflicts_with = "leave_behind")]
        wait: Option<Duration>,
        /// Leaves nodes that are down with their old keys. They cannot rejoin until they are
        /// repaired.
        #[arg(long)]
        leave_behind: bool,
    },
    /// Gives a node that was left behind by a rotation the key that the others use.
    Repair {
        /// The HTTP address of that node's own server; --http-addr is any other server.
        address: String,
    },
}

/// A key to install. It is never an argument: others could read it in the list of processes.
#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// A file with the key in base64, or - for standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "generate")]
    pub(crate) key_file: Option<PathBuf>,
    /// Generates a key of 32 bytes, and writes it into this file, which must not exist. With
    /// --key-file instead, the key of an interrupted command is used again.
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    pub(crate) generate: Option<PathBuf>,
}

/// A key that is installed.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct OldKey {
    /// The fingerprint that `keyring list` shows, or its beginning.
    #[arg(long, value_name = "TEXT")]
    pub(crate) fingerprint: Option<String>,
    /// A file with the key in base64, or - for standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Autopilot {
    /// Shows the settings.
    #[command(visible_alias = "get-config")]
    Get,
    /// Changes the settings that are named.
    #[command(visible_alias = "set-config")]
    Set(Settings),
    /// Shows the health of the servers.
    Health,
    /// Shows the servers, the rule that blocks autopilot, and its last actions.
    State,
}

/// Autopilot's settings.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Settings {
    /// Removes dead servers automatically.
    #[arg(long, value_name = "BOOL")]
    pub(crate) cleanup_dead_servers: Option<bool>,
    /// The longest time that a healthy server may be without contact to the leader.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) last_contact_threshold: Option<Duration>,
    /// The largest number of log entries by which a healthy server may lag behind.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_trailing_logs: Option<u64>,
    /// The number of servers below which none is removed.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) min_quorum: Option<u64>,
    /// The time for which a new server has to be healthy before it becomes a voter.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) server_stabilization_time: Option<Duration>,
    /// The node tag that holds a server's redundancy zone.
    #[arg(long, value_name = "TAG")]
    pub(crate) redundancy_zone_tag: Option<String>,
    /// Disables automatic upgrades.
    #[arg(long, value_name = "BOOL")]
    pub(crate) disable_upgrade_migration: Option<bool>,
    /// The node tag that holds a server's version for upgrades.
    #[arg(long, value_name = "TAG")]
    pub(crate) upgrade_version_tag: Option<String>,
    /// The time for which a server has to have failed before it is removed, or `default`. With
    /// the two below only for servers on which an autopilot of the library runs.
    #[arg(long, value_parser = or_default(duration), value_name = "TIME")]
    pub(crate) failed_hold: Option<ValueChange<Duration>>,
    /// The number of voters that the cluster is meant to have, or `default`.
    #[arg(long, value_parser = or_default(number), value_name = "NUMBER")]
    pub(crate) intended_size: Option<ValueChange<u64>>,
    /// Only tells what autopilot would do: `true`, `false` or `default`.
    #[arg(long, value_parser = or_default(switch), value_name = "BOOL")]
    pub(crate) dry_run: Option<ValueChange<bool>>,
}

/// Reads the command line.
///
/// A variable that is set and empty is like one that is not set, as in Consul's command line.
pub(crate) fn parse() -> Cli {
    let arguments = std::env::args_os().map(|argument| match argument.into_string() {
        Ok(text) => with_two_dashes(text).into(),
        Err(bytes) => bytes,
    });
    let matches = Cli::command().get_matches_from(arguments);
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let connection = &mut cli.connection;
    let is_empty = |file: &mut PathBuf| file.as_os_str().is_empty();
    for file in [
        &mut connection.token_file,
        &mut connection.ca_file,
        &mut connection.client_cert,
        &mut connection.client_key,
    ] {
        file.take_if(is_empty);
    }
    let name = &mut connection.tls_server_name;
    name.take_if(|name| name.is_empty());
    connection.http_addr.retain(|address| !address.is_empty());
    if connection.http_addr.is_empty() {
        connection.http_addr.push(DEFAULT_ADDRESS.into());
    }
    let given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    if given("token") && !given("token_file") {
        connection.token_file = None;
    }
    cli
}

const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";

fn token(text: &str) -> Result<Token, Infallible> {
    Ok(Token::new(text.trim()))
}

fn path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(text.into())
}

/// Reads `default`, or a value. What the program on the server says is the default.
fn or_default<T>(
    read: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<ValueChange<T>, String> + Clone + Send + Sync + 'static
where
    T: 'static,
{
    move |text| match text {
        "default" => Ok(ValueChange::Reset),
        text => read(text).map(ValueChange::Set),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a whole number from 0 on"))
}

/// Reads a bool as Go does.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".into()),
    }
}

/// Reads a time as Go writes it, in whole numbers: 500ms, 30s, 3m0s.
fn duration(text: &str) -> Result<Duration, String> {
    let malformed = || format!("{text:?} is not a time: write it as 500ms, 30s, 5m or 1h");
    let mut millis = 0_u64;
    let mut rest = text;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (number, after) = rest.split_at(digits.unwrap_or(rest.len()));
        let letters = after.find(|c: char| c.is_ascii_digit());
        let (unit, after) = after.split_at(letters.unwrap_or(after.len()));
        let scale = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(malformed()),
        };
        let number: u64 = number.parse().map_err(|_| malformed())?;
        millis = number
            .checked_mul(scale)
            .and_then(|more| millis.checked_add(more))
            .ok_or_else(malformed)?;
        if after.is_empty() {
            return Ok(Duration::from_millis(millis));
        }
        rest = after;
    }
}

/// Lets flags of more than one letter begin with one dash, as in Consul's command line.
fn with_two_dashes(argument: String) -> String {
    let mut letters = argument.chars();
    let is_long = letters.next() == Some('-')
        && letters
            .next()
            .is_some_and(|letter| letter.is_ascii_alphabetic())
        && letters.next().is_some_and(|letter| letter != '=');
    if is_long {
        format!("-{argument}")
    } else {
        argument
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_dash_is_enough_for_long_flags() {
        for (written, read) in [
            ("-http-addr=a:1", "--http-addr=a:1"),
            ("-token", "--token"),
            ("--token", "--token"),
            ("-y", "-y"),
            ("-", "-"),
            ("raft", "raft"),
            ("-1", "-1"),
        ] {
            assert_eq!(with_two_dashes(written.into()), read);
        }
    }

    #[test]
    fn time_is_whole_numbers_with_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        // As `--json` shows it.
        assert_eq!(duration("1h0m5s"), Ok(Duration::from_secs(3605)));
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "1m5",
            "1m s",
            "99999999999999999999s",
            "9999999999999999h",
            "18446744073709551615ms1ms",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
