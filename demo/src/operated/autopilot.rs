//! The autopilot of a server: its flags, its task, and what it logs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::ValueEnum;
use cluster_operator::autopilot::{
    Action, AutopilotConfiguration, InvalidSettings, Reason, Refusal, Settings,
};
use cluster_operator::error::OperatorError;
use cluster_operator::service::{self, Tick};
use cluster_operator::{OperatorService, ServerId};
use cluster_operator_serf::SerfDetector;
use tokio::task::AbortHandle;

use crate::cluster::{Raft, Server};

/// The flags of autopilot.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Autopilot")]
pub struct Autopilot {
    /// What autopilot does about dead servers and about servers without a vote. Give all
    /// servers the same.
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::DryRun)]
    pub autopilot: Mode,
    /// The number of voters that the cluster is meant to have. [default: the number of
    /// --peers; with --join, as the others]
    #[arg(long, value_name = "NUMBER")]
    pub intended_size: Option<usize>,
    /// How many seconds a server has to be dead before it is removed or replaced.
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub failed_hold: u64,
}

/// What autopilot does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Does not run. The servers' health is shown all the same.
    Off,
    /// Logs what it would do.
    DryRun,
    /// Removes dead servers, and promotes servers without a vote.
    On,
}

impl Autopilot {
    /// Returns the settings for a cluster that is meant to have this number of voters;
    /// `None` if autopilot is off.
    ///
    /// # Errors
    /// A flag is not safe.
    pub fn settings(&self, size: usize) -> Result<Option<Settings>, InvalidSettings> {
        let settings = Settings::new(size, AutopilotConfiguration::default())?
            .with_hold(Duration::from_secs(self.failed_hold))?;
        Ok(match self.autopilot {
            Mode::Off => None,
            Mode::DryRun => Some(settings),
            Mode::On => Some(settings.acting()),
        })
    }
}

/// Runs the autopilot of a server in a task, if the server has settings for it.
pub(super) fn start(service: &OperatorService, server: &Server) -> Option<AbortHandle> {
    let settings = server.autopilot()?.clone();
    let detector = SerfDetector::new(server.lan().clone());
    let autopilot = service::Autopilot::new(service, detector, settings);
    let mut log = Log::new(server.raft().clone());
    let running = tokio::spawn(autopilot.run(move |tick| log.write(tick)));
    Some(running.abort_handle())
}

/// Logs what is new in a tick, and not every time that a server has still failed.
struct Log {
    raft: Raft,
    /// The names of the servers, also of those that were removed since the last tick.
    names: BTreeMap<ServerId, String>,
    /// What the last tick said.
    last: BTreeSet<Topic>,
}

/// The server that a line is about, and the rule or the result that it tells.
type Topic = (Option<ServerId>, &'static str);

impl Log {
    fn new(raft: Raft) -> Self {
        Log {
            raft,
            names: BTreeMap::new(),
            last: BTreeSet::new(),
        }
    }

    fn write(&mut self, tick: &Result<Tick, OperatorError>) {
        let members = self.members();
        self.names.extend(members.clone());
        let lines = match tick {
            Ok(tick) => self.lines(tick),
            Err(error) => {
                let topic = (None, error.kind().name());
                vec![(topic, format!("cannot decide: {error}"))]
            }
        };
        for (topic, line) in &lines {
            if !self.last.contains(topic) {
                tracing::info!("autopilot {line}");
            }
        }
        self.last = lines.into_iter().map(|(topic, _)| topic).collect();
        // No later tick tells of the others.
        self.names = members;
    }

    /// Returns the names of the servers of the configuration.
    fn members(&self) -> BTreeMap<ServerId, String> {
        let metrics = self.raft.metrics().borrow().clone();
        let members = metrics.membership_config.nodes();
        let named = members.map(|(id, node)| {
            let id = ServerId::from(node.operator_id(*id));
            (id, node.name.clone())
        });
        named.collect()
    }

    fn lines(&self, tick: &Tick) -> Vec<(Topic, String)> {
        let mut lines = Vec::new();
        for Refusal { server, reason } in &tick.decision.refusals {
            // The followers have nothing to tell.
            if *reason != Reason::NotLeader {
                let about = server.as_ref().map(|id| format!("{}: ", self.name(id)));
                let (about, rule) = (about.unwrap_or_default(), reason.rule());
                let line = format!("waits: {about}{reason} (rule {rule})");
                lines.push(((server.clone(), rule), line));
            }
        }
        if let Some(action) = &tick.decision.action {
            let (what, line) = self.action(action, tick.result.as_ref());
            lines.push(((Some(action.id().clone()), what), line));
        }
        lines
    }

    /// Tells what became of an action, with the names of the servers.
    fn action(
        &self,
        action: &Action,
        result: Option<&Result<(), OperatorError>>,
    ) -> (&'static str, String) {
        let reason = action.reason();
        let (change, changed) = match action {
            Action::Promote { .. } => ("promote", "promoted"),
            Action::Remove { .. } => ("remove", "removed"),
            Action::Replace { .. } => ("replace", "replaced"),
            _ => ("change", "changed"),
        };
        let mut server = self.name(action.id()).to_owned();
        if let Action::Replace { with, .. } = action {
            server = format!("{server} with {}", self.name(with));
        }
        match result {
            None => ("would", format!("would {change} {server}: {reason}")),
            Some(Ok(())) => ("did", format!("{changed} {server}: {reason}")),
            Some(Err(error)) => (
                "tried",
                format!("tried to {change} {server}: {reason}: {error}"),
            ),
        }
    }

    fn name<'a>(&'a self, id: &'a ServerId) -> &'a str {
        self.names.get(id).map_or(id.as_str(), String::as_str)
    }
}
