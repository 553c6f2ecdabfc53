//! The commands about Raft.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;

use cluster_operator::client::ClientError;
use cluster_operator::raft::{
    Consistency, LeaderHint, Leadership, Membership, PeerSelector, QuorumGuard, RaftConfiguration,
    RaftMember, RaftServer, RaftView, RemovalPlan, RemovalVerdict, ServerStatus, Suffrage,
};

use crate::connection::{Servers, is_unknown_to_server};
use crate::exit::Failure;
use crate::flags::Raft;
use crate::output::{self, BAD, GOOD, Table, WARNING, safe, styled};

pub(crate) async fn run(command: Raft, servers: &Servers, json: bool) -> Result<(), Failure> {
    match command {
        Raft::List { stale } => list(servers, stale, json).await,
        Raft::Plan { server } => {
            let configuration = configuration(servers, Consistency::Default).await?;
            let planned = plan(servers, &configuration, &server).await?;
            if json {
                return Ok(output::json(&plan_json(&planned))?);
            }
            show(&planned)
        }
        Raft::Remove { server, yes, force } => remove(servers, &server, yes, force, json).await,
        Raft::Replace { old, new, yes } => replace(servers, &old, &new, yes, json).await,
        Raft::Transfer { server } => transfer(servers, server.as_deref(), json).await,
    }
}

async fn configuration(
    servers: &Servers,
    consistency: Consistency,
) -> Result<RaftConfiguration, ClientError> {
    servers
        .read(async |client| client.raft_configuration(consistency).await)
        .await
}

async fn list(servers: &Servers, stale: bool, json: bool) -> Result<(), Failure> {
    let consistency = match stale {
        true => Consistency::Stale,
        false => Consistency::Default,
    };
    let configuration = configuration(servers, consistency).await?;
    if json {
        return Ok(output::json(&shown(&configuration))?);
    }
    let mut table = Table::new(["Node", "ID", "Address", "State", "Voter", "Protocol", "Log"]);
    let last = configuration
        .servers
        .iter()
        .filter_map(|server| server.last_index)
        .max();
    for server in &configuration.servers {
        let or_dash = |text: Option<&str>| text.map_or("-".into(), safe);
        let state = match server.leader {
            true => styled(GOOD, "leader"),
            false => "follower".into(),
        };
        let voter = match server.suffrage {
            Suffrage::Voter => "yes",
            _ => "no",
        };
        let log = match (server.last_index, last) {
            (Some(index), Some(last)) if index < last => format!("{} behind", last - index),
            (Some(index), _) => index.to_string(),
            (None, _) => "-".into(),
        };
        table.row([
            or_dash(server.name.as_ref().map(|name| name.as_str())),
            safe(server.id.as_str()),
            safe(server.address.as_str()),
            state,
            voter.into(),
            or_dash(server.protocol_version.as_ref().map(|it| it.as_str())),
            log,
        ]);
    }
    table.print()?;
    if !configuration.servers.iter().any(|server| server.leader) {
        output::note(styled(WARNING, "no leader is known"));
    }
    Ok(())
}

/// The configuration in Consul's JSON.
fn shown(configuration: &RaftConfiguration) -> serde_json::Value {
    let servers = configuration.servers.iter().map(|server| {
        serde_json::json!({
            "ID": server.id,
            "Node": server.name,
            "Address": server.address,
            "Leader": server.leader,
            "ProtocolVersion": server.protocol_version,
            "Voter": server.suffrage == Suffrage::Voter,
            "LastIndex": server.last_index,
        })
    });
    serde_json::json!({
        "Servers": servers.collect::<Vec<_>>(),
        "Index": configuration.index,
    })
}

/// Finds a server by its name, id or address.
fn find<'a>(configuration: &'a RaftConfiguration, text: &str) -> Result<&'a RaftServer, Failure> {
    let named = configuration.servers.iter().filter(|server| {
        let name = server.name.as_ref().map(|name| name.as_str());
        server.id == text || server.address == text || name == Some(text)
    });
    match named.collect::<Vec<_>>()[..] {
        [server] => Ok(server),
        [] => {
            let known = configuration.servers.iter().map(title).collect::<Vec<_>>();
            Err(Failure::usage(format!(
                "the configuration has no server {text:?}; it has {}",
                known.join(", ")
            )))
        }
        _ => Err(Failure::usage(format!(
            "several servers are called {text:?}: give the id or the address"
        ))),
    }
}

/// A server's name and address.
fn title(server: &RaftServer) -> String {
    let name = server.name.as_ref().map(|name| name.as_str());
    safe(&format!(
        "{} ({})",
        name.unwrap_or(server.id.as_str()),
        server.address
    ))
}

/// Selects a server in a way that every version of Consul understands.
fn selector(server: &RaftServer) -> PeerSelector {
    // Consul 0.7 has no ids, and shows the address in their place.
    if server.id == server.address.as_str() {
        PeerSelector::Address(server.address.clone())
    } else {
        PeerSelector::Id(server.id.clone())
    }
}

/// What a removal would do, by the leader or else by what can be seen.
struct Planned {
    plan: RemovalPlan,
    server: RaftServer,
    /// What this command cannot see, if it has made the plan by itself.
    unseen: Option<&'static str>,
}

async fn plan(
    servers: &Servers,
    configuration: &RaftConfiguration,
    text: &str,
) -> Result<Planned, Failure> {
    let server = find(configuration, text)?.clone();
    let planned = servers.current().plan_removal(&selector(&server)).await;
    match planned {
        Ok(plan) => Ok(Planned {
            plan,
            server,
            unseen: None,
        }),
        Err(error) if is_unknown_to_server(&error) => {
            let (view, unseen) = view(servers, configuration).await;
            let plan = RemovalPlan::new(&view, &selector(&server), QuorumGuard::Off);
            let plan = plan.map_err(|error| Failure::usage(error.to_string()))?;
            Ok(Planned {
                plan,
                server,
                unseen: Some(unseen),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes a view of what a server shows that makes no plans, and says what is missing.
async fn view(servers: &Servers, configuration: &RaftConfiguration) -> (RaftView, &'static str) {
    let members = configuration
        .servers
        .iter()
        .map(|server| match server.suffrage {
            Suffrage::Voter => RaftMember::voter(server.id.clone(), server.address.clone()),
            _ => RaftMember::nonvoter(server.id.clone(), server.address.clone()),
        });
    let leader = configuration.servers.iter().find(|server| server.leader);
    // The health is the leader's opinion.
    let id = leader.map_or("".into(), |leader| leader.id.clone());
    let mut view = RaftView::new(id, Arc::new(Membership::new(members)));
    if let Some(leader) = leader {
        view.leadership = Leadership::Remote(LeaderHint {
            id: leader.id.clone(),
            address: leader.address.clone(),
        });
    }
    let health = servers.current().autopilot_health().await.ok();
    let known = health.iter().flat_map(|health| &health.servers);
    let status = |server: &RaftServer| {
        let known = known.clone().find(|known| known.id == server.id);
        let mut status = ServerStatus::unknown();
        status.alive = match known.map(|known| known.node_status.as_str()) {
            Some("alive") => Some(true),
            Some("failed" | "left" | "leaving") => Some(false),
            // Autopilot has not heard of it.
            Some(_) => None,
            None => server.leader.then_some(true),
        };
        status
    };
    view.status = configuration.servers.iter().map(status).collect();
    let unseen = match &health {
        Some(_) => {
            "this server makes no plans: the plan is this command's, by autopilot's health; the \
             server will neither check it nor prove that the others are alive, and the \
             configuration may change before the removal"
        }
        None => {
            "this server makes no plans and shows no health: the plan is this command's, and \
             cannot say which voters are alive; the server will neither check it nor prove it"
        }
    };
    (view, unseen)
}

/// The plan in JSON.
fn plan_json(planned: &Planned) -> serde_json::Value {
    let mut value = serde_json::json!({ "Plan": planned.plan });
    if let Some(unseen) = planned.unseen {
        value["Unverified"] = unseen.into();
    }
    value
}

fn show(planned: &Planned) -> Result<(), Failure> {
    let Planned {
        plan,
        server,
        unseen,
    } = planned;
    let role = match (plan.leads(), plan.is_voter()) {
        (true, _) => "the leader",
        (false, true) => "a voter",
        (false, false) => "a server without a vote",
    };
    output::line(format!("Removing {}, {role}:", title(server)))?;
    let (style, verdict) = match plan.verdict() {
        RemovalVerdict::Safe => (GOOD, "safe"),
        RemovalVerdict::ReducesTolerance => (WARNING, "the cluster will tolerate fewer failures"),
        RemovalVerdict::UnknownHealth => (WARNING, "unknown: not all voters' health is known"),
        RemovalVerdict::LosesQuorum => (BAD, "the cluster will lose its quorum"),
        RemovalVerdict::LastVoter => (BAD, "impossible: it is the last voter"),
        _ => (WARNING, "this version does not know the server's verdict"),
    };
    output::line(format!("  {}", styled(style, verdict)))?;
    let mut table = Table::new(["", "voters", "alive", "quorum", "may fail"]);
    for (when, count) in [("  before", plan.before()), ("  after", plan.after())] {
        table.row([
            when.into(),
            count.voters.to_string(),
            count.alive.to_string(),
            count.quorum.to_string(),
            count.failure_tolerance.to_string(),
        ]);
    }
    table.print()?;
    for (what, ids) in [
        ("not alive", plan.unhealthy()),
        ("of unknown health", plan.unknown()),
        ("could take its place (raft replace)", plan.replacements()),
    ] {
        if !ids.is_empty() {
            let ids: Vec<_> = ids.iter().map(|id| safe(id.as_str())).collect();
            output::line(format!("  {what}: {}", ids.join(", ")))?;
        }
    }
    if !plan.is_allowed() {
        let guard = plan.guard().name();
        output::line(format!(
            "  the servers' quorum guard ({guard}) will refuse it"
        ))?;
    }
    if let Some(unseen) = unseen {
        let note = styled(WARNING, format!("note: {unseen}"));
        output::line(format!("  {note}"))?;
    }
    Ok(())
}

async fn remove(
    servers: &Servers,
    text: &str,
    yes: bool,
    force: bool,
    json: bool,
) -> Result<(), Failure> {
    let configuration = configuration(servers, Consistency::Default).await?;
    let planned = plan(servers, &configuration, text).await?;
    let plan = &planned.plan;
    let is_dangerous = matches!(
        plan.verdict(),
        RemovalVerdict::LosesQuorum | RemovalVerdict::LastVoter
    );
    let is_refused = !force && (is_dangerous || !plan.is_allowed());
    if !json {
        show(&planned)?;
    } else if is_refused {
        output::json(&plan_json(&planned))?;
    }
    if is_refused {
        let way = match (plan.verdict(), plan.replacements()) {
            (RemovalVerdict::LastVoter, []) => "add another voter first",
            (RemovalVerdict::LastVoter, _) => "replace it instead",
            (_, []) => "repair the other servers first, or use --force",
            (_, _) => "replace it instead, or use --force",
        };
        return Err(Failure::refused(format!("nothing was removed: {way}")));
    }
    confirm(&format!("Remove {}?", title(&planned.server)), yes)?;
    let client = servers.current();
    match (planned.unseen, force) {
        (None, false) => client.remove_planned(plan).await?,
        (None, true) => client.force_removal(plan.id()).await?,
        // Consul has one removal, which is always forced.
        (Some(_), _) => client.remove_peer(&selector(&planned.server), None).await?,
    }
    let mut value = plan_json(&planned);
    value["Removed"] = true.into();
    output::done(json, &value, format!("Removed {}.", title(&planned.server)));
    Ok(())
}

async fn replace(
    servers: &Servers,
    old: &str,
    new: &str,
    yes: bool,
    json: bool,
) -> Result<(), Failure> {
    let configuration = configuration(servers, Consistency::Default).await?;
    let (old, new) = (find(&configuration, old)?, find(&configuration, new)?);
    confirm(&format!("Replace {} by {}?", title(old), title(new)), yes)?;
    servers.current().replace_peer(&old.id, &new.id).await?;
    let value = serde_json::json!({ "ID": old.id, "With": new.id });
    output::done(
        json,
        &value,
        format!("Replaced {} by {}.", title(old), title(new)),
    );
    Ok(())
}

async fn transfer(servers: &Servers, to: Option<&str>, json: bool) -> Result<(), Failure> {
    let configuration = configuration(servers, Consistency::Default).await?;
    let to = to.map(|text| find(&configuration, text)).transpose()?;
    let id = to.map(|server| &server.id);
    servers.current().transfer_leadership(id).await?;
    let text = match to {
        Some(server) => format!("{} leads.", title(server)),
        None => "The leadership was transferred.".into(),
    };
    output::done(json, &serde_json::json!({ "Leader": id }), text);
    Ok(())
}

/// Asks the operator, unless the answer was given on the command line.
fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nothing was changed: nobody can be asked, since the input is no terminal: use --yes",
        ));
    }
    let mut terminal = io::stderr().lock();
    write!(terminal, "{question} [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::refused("nothing was changed")),
    }
}
