//! The progress of a rotation: bars on a terminal, lines elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use cluster_operator::rotation::{RingState, RotationEvent, RotationStep};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::{note, safe};

/// Shows the steps, and for each ring how many of its nodes have made the step.
pub(crate) struct Progress {
    shown: Shown,
    /// The furthest step that was begun, in any attempt.
    begun: Option<RotationStep>,
}

enum Shown {
    /// For programs.
    Quiet,
    Lines {
        step: Option<RotationStep>,
        /// What the rotation waits for.
        waiting: String,
    },
    Bars {
        all: MultiProgress,
        step: ProgressBar,
        rings: BTreeMap<String, ProgressBar>,
        current: Option<RotationStep>,
    },
}

impl Progress {
    pub(crate) fn new(json: bool) -> Self {
        let shown = if json {
            Shown::Quiet
        } else if io::stderr().is_terminal() {
            Shown::bars()
        } else {
            Shown::Lines {
                step: None,
                waiting: String::new(),
            }
        };
        Progress { shown, begun: None }
    }

    pub(crate) fn show(&mut self, event: RotationEvent<'_>) {
        if let RotationEvent::Step(step) = event {
            self.begun = self.begun.max(Some(step));
        }
        self.shown.show(event);
    }

    /// Leaves the last state on the terminal, and returns the furthest step.
    pub(crate) fn finish(self) -> Option<RotationStep> {
        if let Shown::Bars { step, rings, .. } = self.shown {
            step.abandon();
            for bar in rings.values() {
                bar.abandon();
            }
        }
        self.begun
    }
}

impl Shown {
    fn bars() -> Self {
        let all = MultiProgress::new();
        let step = all.add(ProgressBar::new(RotationStep::ALL.len() as u64));
        step.set_style(style("{pos}/{len} {wide_msg}"));
        Shown::Bars {
            all,
            step,
            rings: BTreeMap::new(),
            current: None,
        }
    }

    fn show(&mut self, event: RotationEvent<'_>) {
        match self {
            Shown::Quiet => {}
            // A step that is tried every second is told once.
            Shown::Lines { step, waiting } => match event {
                RotationEvent::Step(next) => {
                    let is_repeated = step.replace(next) == Some(next);
                    if !is_repeated {
                        note(next);
                    }
                }
                RotationEvent::Ring(ring) => note(format!("  {}", safe(&ring.to_string()))),
                RotationEvent::Waiting { error, left } => {
                    let reason = safe(&error.reason.to_string());
                    if *waiting != reason {
                        let left = left.as_secs();
                        note(format!("  waiting for up to {left} s: {reason}"));
                        *waiting = reason;
                    }
                }
                _ => {}
            },
            Shown::Bars {
                all,
                step,
                rings,
                current,
            } => match event {
                RotationEvent::Step(next) => {
                    *current = Some(next);
                    let number = RotationStep::ALL.iter().position(|step| *step == next);
                    step.set_position(number.unwrap_or_default() as u64 + 1);
                    step.set_message(next.to_string());
                }
                RotationEvent::Ring(ring) => {
                    let name = safe(&format!("{} ({})", ring.datacenter, ring.pool));
                    let bar = rings.entry(name.clone()).or_insert_with(|| {
                        let bar = all.add(ProgressBar::new(0));
                        bar.set_style(style("  {prefix:24} [{bar:24}] {pos}/{len} {wide_msg}"));
                        bar.set_prefix(name);
                        bar
                    });
                    bar.set_length(ring.nodes as u64);
                    bar.set_position(made(ring, *current) as u64);
                    bar.set_message(trouble(ring));
                }
                RotationEvent::Waiting { error, left } => {
                    let text = safe(&error.reason.to_string());
                    step.set_message(format!("waiting, {} s left: {text}", left.as_secs()));
                }
                _ => {}
            },
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants that a test reads.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// The number of nodes that have made the step.
fn made(ring: &RingState, step: Option<RotationStep>) -> usize {
    match step {
        Some(step) if step >= RotationStep::Use => ring.using_new_key.unwrap_or(ring.with_new_key),
        _ => ring.with_new_key,
    }
}

/// What holds a ring up.
fn trouble(ring: &RingState) -> String {
    let mut all = Vec::new();
    if let Some(error) = &ring.error {
        all.push(error.to_string());
    }
    if !ring.silent.is_empty() {
        let names: Vec<_> = ring.silent.iter().map(|node| node.as_str()).collect();
        all.push(format!("silent: {}", names.join(", ")));
    }
    if !ring.absent.is_empty() {
        let names: Vec<_> = ring.absent.iter().map(|node| node.as_str()).collect();
        all.push(format!("failed: {}", names.join(", ")));
    }
    safe(&all.join("; "))
}
