//! The result of a suite, and of each check.

use std::fmt;

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckResult {
    /// The backend keeps the rule.
    Passed,
    /// The backend breaks the rule.
    Failed {
        /// What the rule asks for.
        expected: String,
        /// What was there instead.
        seen: String,
    },
    /// The check did not run.
    Skipped {
        /// Why it did not.
        reason: String,
    },
}

/// One check of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// The check's name.
    pub name: &'static str,
    /// The rule that it tests.
    pub rule: &'static str,
    /// The source of the rule.
    pub source: &'static str,
    /// The result.
    pub result: CheckResult,
    /// The steps that it took, in their order.
    pub steps: Vec<String>,
}

/// The results of a suite, in the order of its checks.
///
/// `Display` writes a line for each check. For one that failed it adds the rule, its
/// source, the steps that were taken, what was expected, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report does nothing by itself: see `Report::assert`"]
pub struct Report {
    pub(crate) suite: &'static str,
    pub(crate) checks: Vec<Checked>,
}

impl Report {
    /// All checks, in the order of the suite.
    pub fn checks(&self) -> &[Checked] {
        &self.checks
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Checked> {
        let failed = |check: &&Checked| matches!(check.result, CheckResult::Failed { .. });
        self.checks.iter().filter(failed)
    }

    /// The checks that passed.
    pub fn passed(&self) -> impl Iterator<Item = &Checked> {
        let passed = |check: &&Checked| check.result == CheckResult::Passed;
        self.checks.iter().filter(passed)
    }

    /// The checks that did not run.
    pub fn skipped(&self) -> impl Iterator<Item = &Checked> {
        let skipped = |check: &&Checked| matches!(check.result, CheckResult::Skipped { .. });
        self.checks.iter().filter(skipped)
    }

    /// Asserts that no check failed. Skipped checks are accepted; see
    /// [`assert_complete`](Report::assert_complete).
    ///
    /// # Panics
    /// With the whole report if a check failed.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.failures().next().is_none(), "{self}");
    }

    /// Asserts that every check passed.
    ///
    /// # Panics
    /// With the whole report if a check failed or was skipped.
    #[track_caller]
    pub fn assert_complete(&self) {
        assert!(self.passed().count() == self.checks.len(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "conformance of {}: {} passed, {} failed, {} skipped",
            self.suite,
            self.passed().count(),
            self.failures().count(),
            self.skipped().count()
        )?;
        self.checks
            .iter()
            .try_for_each(|check| write!(f, "\n{check}"))
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match &self.result {
            CheckResult::Passed => write!(f, "passed   {name}"),
            CheckResult::Skipped { reason } => write!(f, "skipped  {name}: {reason}"),
            CheckResult::Failed { expected, seen } => {
                write!(f, "FAILED   {name}\n         rule:     {}", self.rule)?;
                write!(f, "\n         source:   {}", self.source)?;
                for (number, step) in (1..).zip(&self.steps) {
                    write!(f, "\n         step {:<5}{step}", format!("{number}:"))?;
                }
                write!(f, "\n         expected: {expected}")?;
                write!(f, "\n         seen:     {seen}")
            }
        }
    }
}
