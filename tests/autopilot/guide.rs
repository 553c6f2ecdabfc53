//! `docs/autopilot.md` names tests that exist, and every rule.

use std::time::Duration;

use cluster_operator::autopilot::{Detected, Failure, Reason};

const GUIDE: &str = include_str!("../../docs/autopilot.md");

const SOURCES: [(&str, &str); 6] = [
    ("rules", include_str!("rules.rs")),
    ("properties", include_str!("properties.rs")),
    ("driver", include_str!("driver.rs")),
    ("consul", include_str!("consul.rs")),
    ("simulation", include_str!("simulation.rs")),
    ("wire", include_str!("wire.rs")),
];

/// What the guide names besides tests.
const ITEMS: [&str; 3] = ["service::Autopilot", "autopilot::decide", "Reason::rule"];

/// The words in backquotes, on one line each.
fn quoted() -> impl Iterator<Item = &'static str> {
    let lines = GUIDE.lines().filter(|line| !line.starts_with("```"));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn tests_that_the_guide_names_exist() {
    let mut found = 0;
    for word in quoted().filter(|word| !ITEMS.contains(word)) {
        // `consul::` alone is how the guide names all of a module.
        let Some((module, name)) = word.split_once("::").filter(|(_, name)| !name.is_empty())
        else {
            continue;
        };
        let mut sources = SOURCES.iter();
        let source = sources.find(|(source, _)| *source == module);
        let exists = source.is_some_and(|(_, source)| source.contains(&format!("fn {name}(")));
        assert!(exists, "there is no test {word}");
        found += 1;
    }
    assert!(found > 50, "{found}");
}

#[test]
fn guide_names_every_rule_with_a_test() {
    let (lasted, needed) = (Duration::ZERO, Duration::ZERO);
    let (removed, limit, healthy, voters, intended) = (0, 0, 0, 0, 0);
    let failure = Failure {
        status: Detected::Failed,
        lasted,
        hold: needed,
    };
    let reasons = [
        Reason::NotLeader,
        Reason::NoMajority {
            fresh: 0,
            needed: 0,
        },
        Reason::NewLeader { lasted, needed },
        Reason::ChangeInProgress,
        Reason::Unknown,
        Reason::Silent {
            contact: None,
            threshold: needed,
        },
        Reason::Failing(failure),
        Reason::CleanupOff,
        Reason::WindowFull {
            removed,
            limit,
            window: needed,
        },
        Reason::SpareComing { with: "s".into() },
        Reason::MinQuorum {
            remaining: 0,
            minimum: 0,
            takes_spare: true,
        },
        Reason::UnhealthyMajority { healthy, needed: 0 },
        Reason::Unstable {
            stable_for: lasted,
            needed,
        },
        Reason::Spare { voters, intended },
        Reason::PromotionUnsupported,
    ];
    for reason in reasons {
        let row = format!("| `{}` |", reason.rule());
        let row = GUIDE.lines().find(|line| line.starts_with(&row));
        assert!(row.is_some_and(|row| row.contains("rules::")), "{reason}");
    }
}
