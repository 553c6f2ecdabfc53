//! What holds for every sequence of snapshots.

use std::time::Duration;

use cluster_operator::autopilot::{Action, Detected, Detection, Settings, decide};
use cluster_operator::raft::{Leadership, LogPosition, PendingChange, RaftView, Suffrage};
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{World, settings};

const WINDOW: Duration = Duration::from_secs(3600);

/// What happens to the cluster before a decision.
#[derive(Debug, Clone)]
enum Event {
    Kill(usize, Detected),
    Revive(usize),
    /// The detector says something else than the truth.
    Lie(usize, Option<Detected>),
    Silence(usize),
    Log(usize, Option<u64>),
    Join(usize),
    Elect,
    Depose,
    Pending(Option<PendingChange>),
    Wait(u64),
    /// The next action is not applied.
    Fail,
}

fn event() -> impl Strategy<Value = Event> {
    let at = || 0..10_usize;
    let status = || select(vec![Detected::Alive, Detected::Failed, Detected::Left]);
    let pending = select(vec![
        None,
        None,
        None,
        Some(PendingChange::Uncommitted),
        Some(PendingChange::Joint),
    ]);
    prop_oneof![
        4 => (at(), select(vec![Detected::Failed, Detected::Left]))
            .prop_map(|(at, status)| Event::Kill(at, status)),
        3 => at().prop_map(Event::Revive),
        1 => (at(), proptest::option::of(status())).prop_map(|(at, status)| Event::Lie(at, status)),
        1 => at().prop_map(Event::Silence),
        1 => (at(), proptest::option::of(0..1000_u64)).prop_map(|(at, log)| Event::Log(at, log)),
        2 => at().prop_map(Event::Join),
        1 => Just(Event::Elect),
        1 => Just(Event::Depose),
        1 => pending.prop_map(Event::Pending),
        12 => select(vec![1, 5, 10, 60, 170, 180, 190, 400]).prop_map(Event::Wait),
        1 => Just(Event::Fail),
    ]
}

fn happen(world: &mut World, event: &Event) {
    let second = world.second;
    let count = world.servers.len();
    // The leader itself is up.
    let follower = |at: usize| (count > 1).then(|| 1 + at % (count - 1));
    let known = |at: usize| follower(at).unwrap_or(0);
    match *event {
        Event::Kill(at, status) => {
            if let Some(at) = follower(at) {
                world.servers[at].silent_since = Some(second - 1);
                world.servers[at].detected = Some((status, second));
            }
        }
        Event::Revive(at) => {
            let term = world.term;
            let server = &mut world.servers[known(at)];
            server.silent_since = None;
            server.detected = Some((Detected::Alive, second));
            server.log = Some(LogPosition { term, index: 900 });
        }
        Event::Lie(at, status) => {
            world.servers[known(at)].detected = status.map(|status| (status, second / 2));
        }
        Event::Silence(at) => {
            if let Some(at) = follower(at) {
                world.servers[at].silent_since = Some(second / 2);
            }
        }
        Event::Log(at, index) => {
            let term = world.term;
            world.servers[known(at)].log = index.map(|index| LogPosition { term, index });
        }
        Event::Join(at) => {
            let id = format!("s{at}");
            if world.servers.iter().all(|server| server.id != id) && count < 12 {
                world.join(&id, Suffrage::Nonvoter);
                let term = world.term;
                world.server(&id).log = Some(LogPosition { term, index: 900 });
            }
        }
        Event::Elect => {
            world.leads = true;
            world.term += 1;
            world.elected = second;
            for server in &mut world.servers {
                server.log = server.log.map(|log| LogPosition {
                    term: world.term,
                    ..log
                });
            }
        }
        Event::Depose => world.leads = false,
        Event::Pending(change) => world.change = change,
        Event::Wait(seconds) => world.second += seconds,
        Event::Fail => {}
    }
}

/// True if all that is known of a server says that it is healthy.
fn is_healthy(view: &RaftView, detected: Option<&Detection>, at: usize) -> bool {
    let limit = Duration::from_millis(200);
    let (status, leader) = (&view.status[at], view.status[0].last_log);
    detected.is_none_or(|it| it.status == Detected::Alive)
        && status.last_contact.is_some_and(|contact| contact <= limit)
        && status
            .last_log
            .zip(leader)
            .is_some_and(|(log, leader)| log.term == leader.term && log.index + 250 >= leader.index)
}

/// Decides, and checks the decision against the snapshot alone.
fn check(
    world: &mut World,
    fails: bool,
    removals: &mut Vec<Duration>,
) -> Result<(), TestCaseError> {
    let snapshot = world.snapshot();
    let decision = decide(&snapshot, &world.settings, world.memory.clone());
    let again = decide(&snapshot, &world.settings, world.memory.clone());
    prop_assert_eq!(&decision, &again);
    prop_assert!(decision.next_check > snapshot.now);
    world.memory = decision.memory;
    let Some(action) = decision.action else {
        return Ok(());
    };

    let view = &snapshot.view;
    prop_assert_eq!(&view.leadership, &Leadership::Local);
    prop_assert_eq!(view.change, None);
    let (with, needed) = match &action {
        Action::Promote { id, .. } => (Some(id), 0),
        Action::Replace { with, .. } => (Some(with), view.membership.voters().count()),
        _ => (None, world.settings.min_quorum()),
    };
    let leaves = action.removes().then(|| action.id());
    let (mut voters, mut healthy, mut was_voter) = (0, 0, false);
    for (at, member) in view.membership.servers.iter().enumerate() {
        let detected = snapshot.detected.get(&member.id);
        if leaves == Some(&member.id) {
            was_voter = member.is_voter();
            let detected = detected.expect("missing data decides nothing");
            prop_assert_ne!(detected.status, Detected::Alive);
            let contact = view.status[at].last_contact;
            for lasted in [Some(detected.lasted), contact] {
                prop_assert!(lasted.is_none_or(|lasted| lasted >= Duration::from_secs(180)));
            }
            continue;
        }
        let is_healthy = is_healthy(view, detected, at);
        if with == Some(&member.id) {
            prop_assert!(detected.is_some() && is_healthy && !member.is_voter());
        }
        if with == Some(&member.id) || member.is_voter() {
            voters += 1;
            healthy += usize::from(is_healthy);
        }
    }
    prop_assert!(
        leaves.is_none() || !was_voter || voters >= needed,
        "{action}"
    );
    prop_assert!(
        healthy > voters / 2 || (leaves.is_some() && !was_voter),
        "{action}"
    );
    prop_assert_eq!(action.after().voters, voters);
    prop_assert_eq!(action.after().alive, healthy);

    if fails {
        world.memory.not_applied();
        return Ok(());
    }
    if action.removes() {
        removals.push(snapshot.now);
        let recent = removals.iter().filter(|at| snapshot.now - **at < WINDOW);
        let limit = (world.settings.intended() - 1) / 2;
        prop_assert!(recent.count() <= limit, "{:?}", removals);
    }
    world.execute(&action);
    Ok(())
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (1..8_usize).prop_flat_map(|intended| {
        (0..=intended as u64).prop_map(move |least| settings(intended, least))
    })
}

proptest! {
    // 20 snapshots at least in each case.
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_sequence_of_snapshots_breaks_a_rule(
        settings in any_settings(),
        voters in 1..8_usize,
        can_replace in any::<bool>(),
        events in proptest::collection::vec(event(), 20..60),
    ) {
        let mut world = World::new(&"abcdefg"[..voters]);
        world.settings = settings;
        world.can_replace = can_replace;
        let mut removals = Vec::new();
        for event in &events {
            happen(&mut world, event);
            check(&mut world, matches!(event, Event::Fail), &mut removals)?;
        }
    }
}
