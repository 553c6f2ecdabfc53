//! What holds for every snapshot, and for every sequence of snapshots.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use cluster_operator::autopilot::{
    Action, Decision, Detected, Detection, Memory, Settings, Snapshot, decide,
};
use cluster_operator::raft::{
    Leadership, LogPosition, Membership, PendingChange, RaftMember, RaftView, ServerStatus,
    Suffrage,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{HOLD, PAUSE, World, settings};

const WINDOW: Duration = Duration::from_secs(3600);

/// The default number of random snapshots, and of sequences of 10 to 50 of them.
const SNAPSHOTS: u32 = 10_000;
const SEQUENCES: u32 = 2_000;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

thread_local! {
    /// The kinds of actions that the snapshots of a test have led to, and how often.
    static COVERED: RefCell<BTreeMap<&'static str, usize>> = RefCell::default();
}

fn cover(action: &Action, snapshot: &Snapshot) {
    let member = snapshot.view.membership.get(action.id());
    let kind = match action {
        Action::Replace { .. } => "replaces a voter",
        Action::Promote { .. } => "promotes a server",
        _ if member.is_some_and(RaftMember::is_voter) => "removes a voter",
        _ => "removes a spare",
    };
    COVERED.with_borrow_mut(|covered| *covered.entry(kind).or_default() += 1);
}

/// Checks that a property has met actions of each kind, a fair number of times in so many
/// cases.
fn check_cover(property: fn(), cases: u32) {
    COVERED.take();
    property();
    let covered = COVERED.take();
    println!("{covered:?}");
    if self::cases(cases).cases >= cases {
        for kind in [
            "replaces a voter",
            "promotes a server",
            "removes a voter",
            "removes a spare",
        ] {
            let times = covered.get(kind).copied().unwrap_or_default();
            assert!(times >= 10, "{kind}: {times} times in {cases} cases");
        }
    }
}

/// Decides, twice, and checks that both decisions are the same.
fn decide_twice(
    snapshot: &Snapshot,
    settings: &Settings,
    memory: &Memory,
) -> Result<Decision, TestCaseError> {
    let decision = decide(snapshot, settings, memory.clone());
    let again = decide(snapshot, settings, memory.clone());
    prop_assert_eq!(&decision, &again, "another decision on the same snapshot");
    prop_assert!(
        decision.next_check > snapshot.now,
        "no time to the next check"
    );
    Ok(decision)
}

/// True if all that is known of a server says that it is healthy.
fn is_healthy(view: &RaftView, detected: Option<&Detection>, at: usize) -> bool {
    let limit = Duration::from_millis(200);
    let (status, leader) = (&view.status[at], view.status[0].last_log);
    let contact = if at == 0 {
        Some(Duration::ZERO)
    } else {
        status.last_contact
    };
    detected.is_none_or(|it| it.status == Detected::Alive)
        && contact.is_some_and(|contact| contact <= limit)
        && status
            .last_log
            .zip(leader)
            .is_some_and(|(log, leader)| log.term == leader.term && log.index + 250 >= leader.index)
}

/// Checks an action against its snapshot alone. The first server of the view leads.
fn check(action: &Action, snapshot: &Snapshot, settings: &Settings) -> Result<(), TestCaseError> {
    let view = &snapshot.view;
    prop_assert_eq!(&view.leadership, &Leadership::Local, "{}", action);
    prop_assert_eq!(view.change, None, "{}", action);
    let led = view.leading_for;
    prop_assert!(
        led.is_none_or(|led| led >= seconds(PAUSE)),
        "{action}: a new leader"
    );
    let joins = match action {
        Action::Promote { id, .. } => Some(id),
        Action::Replace { with, .. } => Some(with),
        _ => None,
    };
    let leaves = action.removes().then(|| action.id());
    let (mut voters, mut healthy, mut fresh) = (0, 0, 0);
    let mut was_voter = false;
    for (at, member) in view.membership.servers.iter().enumerate() {
        let detected = snapshot.detected.get(&member.id);
        let contact = view.status[at].last_contact;
        let answered = at == 0 || contact.is_some_and(|it| it <= Duration::from_millis(200));
        fresh += usize::from(member.is_voter() && answered);
        if leaves == Some(&member.id) {
            was_voter = member.is_voter();
            let Some(detected) = detected else {
                return Err(TestCaseError::fail(format!("{action}: it is unknown")));
            };
            prop_assert_ne!(detected.status, Detected::Alive, "{}", action);
            for lasted in [Some(detected.lasted), contact] {
                let hold = seconds(HOLD);
                prop_assert!(
                    lasted.is_none_or(|lasted| lasted >= hold),
                    "{action}: too early"
                );
            }
            continue;
        }
        let is_healthy = is_healthy(view, detected, at);
        if joins == Some(&member.id) {
            prop_assert!(
                detected.is_some() && is_healthy,
                "{action}: no healthy spare"
            );
            prop_assert_eq!(member.suffrage, Suffrage::Nonvoter, "{}", action);
        }
        if joins == Some(&member.id) || member.is_voter() {
            voters += 1;
            healthy += usize::from(is_healthy);
        }
    }
    let before = view.membership.voters().count();
    prop_assert!(fresh > before / 2, "{action}: no contact to a majority");
    prop_assert!(
        healthy > voters / 2,
        "{action}: no majority of healthy voters"
    );
    prop_assert_eq!(
        (action.after().voters, action.after().alive),
        (voters, healthy)
    );
    match action {
        Action::Remove { .. } if was_voter => {
            let least = settings.min_quorum();
            prop_assert!(voters >= least, "{action}: below MinQuorum {least}");
        }
        Action::Replace { .. } => {
            prop_assert!(was_voter && voters == before, "{action}: another size");
            prop_assert!(snapshot.can_replace, "{action}: unsupported");
        }
        Action::Promote { .. } => prop_assert!(snapshot.can_promote, "{action}: unsupported"),
        _ => {}
    }
    Ok(())
}

/// The intended size and MinQuorum.
fn limits() -> impl Strategy<Value = (usize, u64)> {
    (1..8_usize).prop_flat_map(|intended| (Just(intended), 0..=intended as u64))
}

/// One server in a random snapshot. The times are in seconds, at the limits and beside.
#[derive(Debug, Clone)]
struct Server {
    suffrage: Suffrage,
    contact: Option<f64>,
    detected: Option<(Detected, u64)>,
    /// The term, and how many entries it lacks.
    log: Option<(u64, u64)>,
}

fn server() -> impl Strategy<Value = Server> {
    use Detected::{Alive, Failed, Left};
    let suffrage = select(vec![
        Suffrage::Voter,
        Suffrage::Voter,
        Suffrage::Nonvoter,
        Suffrage::Staging,
    ]);
    let at_limits = vec![Some((2, 250)), Some((2, 251)), Some((1, 0)), None];
    let log = prop_oneof![8 => Just(Some((2, 0))), 2 => select(at_limits)];
    // Most are clearly healthy or clearly dead, so that something can be done.
    let state = prop_oneof![
        8 => Just((Some(0.0), Some((Alive, 400)))),
        3 => Just((Some(400.0), Some((Failed, 400)))),
        2 => (
            select(vec![Some(0.2), Some(0.201), Some(179.0), Some(180.0), None]),
            select(vec![
                Some((Alive, 180)),
                Some((Failed, 180)),
                Some((Failed, 179)),
                Some((Left, 180)),
                None,
            ]),
        ),
    ];
    (suffrage, state, log).prop_map(|(suffrage, (contact, detected), log)| Server {
        suffrage,
        contact,
        detected,
        log,
    })
}

/// A random snapshot, and the one that was decided on before.
#[derive(Debug, Clone)]
struct Situation {
    servers: Vec<Server>,
    leads: bool,
    leading_for: Option<u64>,
    change: Option<PendingChange>,
    can_replace: bool,
    can_promote: bool,
    /// The seconds since the snapshot before, if there was one. It had the same servers,
    /// in the same state, but for those that were seen healthy then.
    observed: Option<u64>,
    healthy_then: Vec<usize>,
}

fn situation() -> impl Strategy<Value = Situation> {
    let servers = proptest::collection::vec(server(), 1..9);
    let usually = || proptest::bool::weighted(0.8);
    let pending = vec![Some(PendingChange::Uncommitted), Some(PendingChange::Joint)];
    let change = prop_oneof![8 => Just(None), 2 => select(pending)];
    let led = select(vec![None, Some(400), Some(10), Some(9)]);
    let short = vec![Some(179), Some(10), Some(9), None];
    let long = vec![Some(400), Some(180)];
    let observed = prop_oneof![6 => select(long), 4 => select(short)];
    let healthy_then = proptest::collection::vec(0..9_usize, 0..2);
    let raft = (usually(), usually(), usually());
    (servers, raft, led, change, observed, healthy_then).prop_map(
        |(servers, (leads, can_replace, can_promote), leading_for, change, observed, healthy)| {
            Situation {
                servers,
                leads,
                leading_for,
                change,
                can_replace,
                can_promote,
                observed,
                healthy_then: healthy,
            }
        },
    )
}

impl Situation {
    /// The snapshot, or the one so many seconds before.
    fn snapshot(&self, before: u64) -> Snapshot {
        let name = |at: usize| char::from(b'a' + at as u8).to_string();
        let members = self.servers.iter().enumerate().map(|(at, server)| {
            let mut member = RaftMember::voter(name(at), name(at));
            member.suffrage = server.suffrage;
            member
        });
        let mut view = RaftView::new("a", Membership::new(members).into());
        if self.leads {
            view.leadership = Leadership::Local;
        }
        view.term = 2;
        view.leading_for = self
            .leading_for
            .map(|led| seconds(led.saturating_sub(before)));
        view.change = self.change;
        let mut snapshot = Snapshot::new(seconds(10_000 - before), RaftView::clone(&view));
        for (at, server) in self.servers.iter().enumerate() {
            let was_healthy = before > 0 && self.healthy_then.contains(&at);
            let mut status = ServerStatus::unknown();
            let (contact, detected) = match was_healthy {
                true => (Some(0.0), Some((Detected::Alive, 400))),
                false => (server.contact, server.detected),
            };
            let ago = |contact: f64| match contact >= 1.0 {
                true => Duration::from_secs_f64((contact - before as f64).max(1.0)),
                false => Duration::from_secs_f64(contact),
            };
            status.last_contact = contact.map(ago);
            let log = |(term, lacks): (u64, u64)| LogPosition {
                term,
                index: 900 - lacks,
            };
            status.last_log = if was_healthy {
                Some(log((2, 0)))
            } else {
                server.log.map(log)
            };
            snapshot.view.status.push(status);
            if let Some((status, lasted)) = detected {
                let lasted = seconds(lasted.saturating_sub(before));
                let detection = Detection { status, lasted };
                snapshot
                    .detected
                    .insert(name(at).as_str().into(), detection);
            }
        }
        snapshot.can_replace = self.can_replace;
        snapshot.can_promote = self.can_promote;
        snapshot
    }
}

/// What happens to the cluster before a decision.
#[derive(Debug, Clone)]
enum Event {
    Wait(u64),
    Kill(usize, Detected),
    Revive(usize),
    Join(usize),
    /// The detector says something else than the truth.
    Lie(usize, Option<Detected>),
    Silence(usize),
    Log(usize, Option<u64>),
    /// The same process leads again.
    Elect,
    /// Another process leads, which remembers nothing.
    Succeed,
    Depose,
    Pending(Option<PendingChange>),
    /// The next action is not applied.
    Fail,
}

fn event() -> impl Strategy<Value = Event> {
    use Detected::{Alive, Failed, Left};
    let at = || 0..10_usize;
    let pending = select(vec![
        None,
        None,
        None,
        Some(PendingChange::Uncommitted),
        Some(PendingChange::Joint),
    ]);
    let said = select(vec![None, Some(Alive), Some(Failed), Some(Left)]);
    prop_oneof![
        12 => select(vec![1, 5, 10, 60, 170, 180, 190, 400]).prop_map(Event::Wait),
        4 => (at(), select(vec![Failed, Left])).prop_map(|(at, status)| Event::Kill(at, status)),
        3 => at().prop_map(Event::Revive),
        2 => at().prop_map(Event::Join),
        1 => (at(), said).prop_map(|(at, status)| Event::Lie(at, status)),
        1 => at().prop_map(Event::Silence),
        1 => (at(), proptest::option::of(0..1000_u64)).prop_map(|(at, log)| Event::Log(at, log)),
        1 => Just(Event::Elect),
        1 => Just(Event::Succeed),
        1 => Just(Event::Depose),
        1 => pending.prop_map(Event::Pending),
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
        Event::Elect | Event::Succeed => {
            world.leads = true;
            world.term += 1;
            world.elected = second;
            for server in &mut world.servers {
                server.log = server.log.map(|log| LogPosition {
                    term: world.term,
                    ..log
                });
            }
            if matches!(event, Event::Succeed) {
                world.memory = Memory::default();
            }
        }
        Event::Depose => world.leads = false,
        Event::Pending(change) => world.change = change,
        Event::Wait(seconds) => world.second += seconds,
        Event::Fail => {}
    }
}

/// What happened in a sequence so far.
#[derive(Default)]
struct Story {
    text: String,
    /// The time since which the process leads, as it remembers it.
    since: Duration,
    last: Option<Duration>,
    /// The removals of this process, and whether they were of voters.
    removals: Vec<(Duration, bool)>,
}

impl Story {
    /// Decides, and checks the decision against the snapshot and the story.
    fn step(&mut self, world: &mut World, event: &Event) -> Result<(), TestCaseError> {
        let snapshot = world.snapshot();
        let now = snapshot.now;
        if matches!(event, Event::Succeed) {
            (self.since, self.removals) = (now, Vec::new());
        }
        let decision = decide_twice(&snapshot, &world.settings, &world.memory)?;
        world.memory = decision.memory;
        let Some(action) = decision.action else {
            return Ok(());
        };
        _ = write!(self.text, "\n  {} s: {action}", now.as_secs());
        cover(&action, &snapshot);
        check(&action, &snapshot, &world.settings)?;
        let pause = self.last.map_or(Duration::MAX, |last| now - last);
        prop_assert!(
            pause >= seconds(PAUSE),
            "{action}: no pause after the last one"
        );
        self.last = Some(now);
        if matches!(event, Event::Fail) {
            world.memory.not_applied();
            return Ok(());
        }
        if action.removes() {
            self.check_removal(&action, &snapshot, &world.settings)?;
        }
        world.execute(&action);
        Ok(())
    }

    fn check_removal(
        &mut self,
        action: &Action,
        snapshot: &Snapshot,
        settings: &Settings,
    ) -> Result<(), TestCaseError> {
        let (now, limit) = (snapshot.now, settings.removal_limit());
        let led = now - self.since;
        prop_assert!(
            led >= seconds(HOLD),
            "{action}: not observed by this leader"
        );
        let member = snapshot.view.membership.get(action.id());
        let was_voter = member.is_some_and(RaftMember::is_voter);
        self.removals.push((now, was_voter));
        let recent = self.removals.iter();
        let recent = recent.filter(|(at, voter)| now - *at < WINDOW && (*voter || !was_voter));
        let most = limit.max(usize::from(!was_voter));
        prop_assert!(recent.count() <= most, "{action}: the window is full");
        // What an earlier leader removed is unknown; what is missing is not.
        let missing = settings.intended().saturating_sub(action.after().voters);
        let shrinks = was_voter && matches!(action, Action::Remove { .. });
        let known = led >= WINDOW || !shrinks;
        prop_assert!(known || missing <= limit, "{action}: {missing} are missing");
        Ok(())
    }
}

/// `PROPTEST_CASES` sets another number of cases.
fn cases(default: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig {
            cases: default,
            ..config
        },
    }
}

#[test]
fn no_random_snapshot_breaks_a_rule() {
    check_cover(random_snapshot, SNAPSHOTS);
}

proptest! {
    #![proptest_config(cases(SNAPSHOTS))]

    fn random_snapshot(limits in limits(), situation in situation()) {
        let settings = settings(limits.0, limits.1);
        let mut memory = Memory::default();
        if let Some(ago) = situation.observed {
            memory = decide(&situation.snapshot(ago), &settings, memory).memory;
        }
        let snapshot = situation.snapshot(0);
        let decision = decide_twice(&snapshot, &settings, &memory)?;
        if let Some(action) = &decision.action {
            cover(action, &snapshot);
            check(action, &snapshot, &settings)?;
            let observed = situation.observed.unwrap_or_default();
            let needed = if action.removes() { HOLD } else { PAUSE };
            prop_assert!(observed >= needed, "{action}: observed for {observed} s");
        }
    }
}

#[test]
fn no_sequence_of_snapshots_breaks_a_rule() {
    check_cover(sequence_of_snapshots, SEQUENCES);
}

proptest! {
    #![proptest_config(cases(SEQUENCES))]

    fn sequence_of_snapshots(
        limits in limits(),
        voters in 1..8_usize,
        can_replace in any::<bool>(),
        events in proptest::collection::vec(event(), 10..50),
    ) {
        let mut world = World::new(&"abcdefg"[..voters]);
        world.settings = settings(limits.0, limits.1);
        world.can_replace = can_replace;
        let mut story = Story { since: seconds(900), ..Story::default() };
        for event in &events {
            happen(&mut world, event);
            story.step(&mut world, event).map_err(|error| match error {
                TestCaseError::Fail(why) => {
                    TestCaseError::fail(format!("{why}\nthe actions:{}", story.text))
                }
                reject => reject,
            })?;
        }
    }
}
