//! The report of a suite whose fixture or backend panics, hangs or does not end.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use cluster_operator::acl::{Access, AclError, Identity, Resource};
use cluster_operator::mock::MockClock;
use cluster_operator::{AclAuthorizer, AllowAll, Timer, Token};
use cluster_operator_conformance::acl::{Acl, AclFixture, acl_authorizer, by_name, run};
use cluster_operator_conformance::{CheckResult, Fixture, NotSupported, Report};

#[derive(Clone, Copy, PartialEq)]
enum Call {
    Allows,
    Panics,
    Hangs,
    HangsLater,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Good,
    CloseHangs,
    ClosePanics,
    DropPanics,
}

struct Bad {
    clock: MockClock,
    call: Call,
    end: End,
    calls: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

struct Authorizer(Call, Arc<AtomicUsize>);

#[async_trait]
impl AclAuthorizer for Authorizer {
    async fn authorize(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, AclError> {
        let earlier = self.1.fetch_add(1, Ordering::Relaxed);
        match self.0 {
            Call::Panics => panic!("number {}", 7),
            Call::Hangs => pending().await,
            Call::HangsLater if earlier > 1 => pending().await,
            _ => AllowAll.authorize(token, resource, access).await,
        }
    }
}

#[async_trait]
impl Fixture for Bad {
    fn timer(&self) -> &dyn Timer {
        &self.clock
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        match self.end {
            End::CloseHangs => pending().await,
            End::ClosePanics => panic!("cannot stop"),
            _ => {}
        }
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        assert!(self.end != End::DropPanics, "cannot go");
    }
}

#[async_trait]
impl AclFixture for Bad {
    fn authorizer(&self) -> Arc<dyn AclAuthorizer> {
        Arc::new(Authorizer(self.call, Arc::clone(&self.calls)))
    }

    fn tokens(&self) -> Vec<Token> {
        (0..2).map(crate::acl::secret).collect()
    }

    async fn revoke(&self, _: &Token) -> Result<(), NotSupported> {
        match self.call {
            Call::HangsLater => Ok(()),
            _ => Err(NotSupported::new("cannot revoke")),
        }
    }
}

impl Bad {
    fn new(clock: &MockClock, call: Call, end: End) -> Self {
        Bad {
            clock: clock.clone(),
            call,
            end,
            calls: Arc::default(),
            closed: Arc::default(),
        }
    }
}

/// The result of the check of revoked tokens, after which the fixture is closed.
fn result(call: Call, end: End) -> CheckResult {
    let clock = MockClock::new();
    let closed = Arc::<AtomicBool>::default();
    let bad = async |_: Acl| {
        let mut bad = Bad::new(&clock, call, end);
        bad.closed = Arc::clone(&closed);
        Ok(bad)
    };
    let report = clock.run(run(&by_name::a_revoked_token_is_unknown, bad));
    assert!(closed.load(Ordering::Relaxed));
    report.checks()[0].result.clone()
}

/// The report of the suite, of which the fixture can run the checks with two tokens.
fn report(call: Call) -> Report {
    let clock = MockClock::new();
    let bad = async |wanted: Acl| match wanted.tokens.len() {
        2 => Ok(Bad::new(&clock, call, End::Good)),
        _ => Err(NotSupported::new("there are two tokens")),
    };
    clock.run(acl_authorizer(bad))
}

/// The panic of an assertion about a report.
fn panics(assertion: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(assertion).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn panic_of_a_report_shows_failures_and_skipped_checks() {
    let report = report(Call::Allows);
    let failures = report.failures().count();
    assert!(failures > 1, "{report}");
    let text = panics(|| report.assert());
    for part in [
        &format!(" passed, {failures} failed, "),
        "FAILED   odd_tokens_are_unknown\n",
        "rule:     Any text can be shown as a token. It is unknown",
        "source:   Consul answers a token `manage`",
        "step 1:   the token \" \", operator:read: allowed\n",
        "expected: the token \" \", operator:read: Err(UnknownToken)\n",
        "seen:     Ok(())",
        "skipped  rules_decide_under_default_deny: there are two tokens\n",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn only_assert_complete_rejects_skipped_checks() {
    let clock = MockClock::new();
    let bad = async |_: Acl| Err::<Bad, _>(NotSupported::new("no tokens"));
    let report = clock.run(acl_authorizer(bad));
    report.assert();
    assert!(panics(|| report.assert_complete()).contains("skipped  "));
}

fn seen(result: CheckResult) -> String {
    match result {
        CheckResult::Failed { seen, .. } => seen,
        other => panic!("{other:?}"),
    }
}

#[test]
fn panic_fails_the_check() {
    assert_eq!(seen(result(Call::Panics, End::Good)), "a panic: number 7");
}

#[test]
fn call_that_hangs_fails_the_check() {
    let hangs = seen(result(Call::Hangs, End::Good));
    assert_eq!(hangs, "no end within 60s: a call hangs");
    let hangs = seen(result(Call::HangsLater, End::Good));
    assert_eq!(hangs, "no answer to a call, and before it Ok(())");
}

#[test]
fn fixture_that_does_not_end_fails_a_skipped_check() {
    let reason = "cannot revoke".into();
    let skipped = result(Call::Allows, End::Good);
    assert_eq!(skipped, CheckResult::Skipped { reason });
    for (end, text) in [
        (End::CloseHangs, "no end within 60s: a call hangs"),
        (End::ClosePanics, "a panic: cannot stop"),
        (End::DropPanics, "a panic: cannot go"),
    ] {
        assert_eq!(seen(result(Call::Allows, end)), text);
        // What the check itself found comes first.
        assert_eq!(seen(result(Call::Panics, end)), "a panic: number 7");
    }
}

#[test]
fn factory_that_fails_skips_or_fails_the_check() {
    let check = &by_name::a_revoked_token_is_unknown;
    let refuses = async |_: Acl| Err::<Bad, _>(NotSupported::new("one token only"));
    let report = MockClock::new().run(run(check, refuses));
    let reason = "one token only".into();
    assert_eq!(report.checks()[0].result, CheckResult::Skipped { reason });
    let panics = async |_: Acl| -> Result<Bad, _> { panic!("no port") };
    let report = MockClock::new().run(run(check, panics));
    let text = seen(report.checks()[0].result.clone());
    assert_eq!(text, "a panic: no port");
}
